use super::{BenchLatency, BenchMachine, BenchModel, BenchPage};
use adwp_base::output::name;

use crate::format::{count, difference, fixed, megabytes, millions, ms, percent};

/// Nodes of a profile in a table.
pub(super) const SLOWEST: usize = 10;

/// The result as columns for a terminal.
pub fn bench_table(page: &BenchPage) -> String {
    let mut text = String::new();
    for machine in &page.machines {
        if page.machines.len() > 1 {
            text += &format!("== {}\n", name(&machine.name));
        }
        let processor = machine.facts.iter().find(|(fact, _)| fact == "processor");
        text += &processor.map_or_else(String::new, |(_, value)| format!("{}\n", name(value)));
        machine.models.iter().for_each(|model| text += &model_table(model));
        text += "\n";
        machine.warnings.iter().for_each(|warning| {
            text += &format!("warning: {}\n", name(warning));
        });
    }
    text.trim_end().to_owned() + "\n"
}

fn model_table(model: &BenchModel) -> String {
    let known = |value: Option<u64>, show: &dyn Fn(u64) -> String| {
        value.map_or_else(|| "n/a".to_owned(), show)
    };
    let mega = |bytes: u64| format!("{} MB", megabytes(Some(bytes)));
    let mut text = format!(
        "\n{}\n  params {} M, multiply-adds {} M, activations {}, file {}\n",
        name(&model.path),
        known(model.params, &millions),
        known(model.madds, &millions),
        known(model.activation_bytes, &mega),
        mega(model.file_bytes),
    );
    if let Some(images) = &model.images {
        text += &format!("  {}\n", name(images));
    }
    for node in &model.uncounted {
        text += &format!("  not counted: {}\n", name(node));
    }
    let mut rows = vec![
        [
            "runtime", "threads", "batch", "p50 ms", "p90 ms", "p99 ms", "mean ms", "sd ms",
            "first ms", "load ms", "images/s", "peak MB", "spread", "n",
        ]
        .map(str::to_owned),
    ];
    rows.extend(model.latency.iter().map(|l| {
        [
            format!("{} {}", l.row.runtime, l.row.runtime_version),
            l.row.threads.to_string(),
            l.row.batch.to_string(),
            ms(l.row.p50_ms),
            ms(l.row.p90_ms),
            ms(l.row.p99_ms),
            ms(l.row.mean_ms),
            ms(l.row.sd_ms),
            fixed(l.row.first_ms, 2),
            fixed(l.row.load_ms, 2),
            fixed(l.images_per_s, 1),
            megabytes(l.peak_bytes),
            format!("{}%{}", fixed(100.0 * l.spread, 1), if l.noisy { "!" } else { "" }),
            l.row.n.to_string(),
        ]
    }));
    text += &columns(&rows);
    for p in &model.parity {
        text += &format!(
            "  {} against {}: logits differ by at most {}, {} on average, cosine {:.6}; first \
             class of {}, first five of {} of {} images alike\n",
            p.session,
            p.reference,
            difference(p.max_abs),
            difference(p.mean_abs),
            p.cosine,
            p.top1_agree,
            p.top5_agree,
            p.n
        );
        if !p.agrees {
            text += &format!(
                "  they do not agree; they part at {}\n",
                p.parts_at.as_deref().map_or("a node that was not found".into(), name)
            );
        }
    }
    for profile in &model.profiles {
        text += &format!(
            "  {}: slowest of {} nodes, {} ms a run\n",
            profile.session,
            profile.nodes.len(),
            ms(profile.run_ms)
        );
        let mut rows = vec![["node", "operator", "ms", "share", "GMAC/s"].map(str::to_owned)];
        rows.extend(profile.nodes.iter().take(SLOWEST).map(|node| {
            let gmacs = node.gmacs.map_or_else(String::new, |gmacs| fixed(gmacs, 2));
            [
                name(&node.name),
                name(&node.op),
                ms(node.ms),
                format!("{}%", fixed(100.0 * node.share, 1)),
                gmacs,
            ]
        }));
        text += &columns(&rows);
    }
    text
}

/// The first column to the left, the others to the right.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let rest =
            (1..N).map(|column| format!("  {:>width$}", row[column], width = widths[column]));
        let line = format!("  {:<width$}{}", row[0], rest.collect::<String>(), width = widths[0]);
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The result as lines of values separated by commas, one for each session; a value that is not
/// known is empty. Numbers have all their digits.
pub fn bench_csv(page: &BenchPage) -> String {
    let mut text = String::from(
        "machine,model,params,madds,weight_bytes,activation_bytes,file_bytes,accuracy,\
         runtime,version,optimization,threads,batch,load_ms,first_ms,warm_up_runs,stable,\
         n,min_ms,mean_ms,sd_ms,p50_ms,p90_ms,p95_ms,p99_ms,median_repeat_mean_ms,spread,\
         images_per_s,peak_bytes,model_bytes\n",
    );
    for (machine, model, latency) in sessions(page) {
        text += &csv_line(machine, model, latency);
    }
    text
}

fn csv_line(machine: &BenchMachine, model: &BenchModel, l: &BenchLatency) -> String {
    fn shown<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    let values = [
        quoted(&machine.name),
        quoted(&model.name),
        shown(model.params),
        shown(model.madds),
        shown(model.weight_bytes),
        shown(model.activation_bytes),
        model.file_bytes.to_string(),
        shown(model.accuracy),
        quoted(&l.row.runtime),
        quoted(&l.row.runtime_version),
        quoted(&l.optimization),
        l.row.threads.to_string(),
        l.row.batch.to_string(),
        l.row.load_ms.to_string(),
        l.row.first_ms.to_string(),
        l.warm_up_runs.to_string(),
        l.stable.to_string(),
        l.row.n.to_string(),
        l.row.min_ms.to_string(),
        l.row.mean_ms.to_string(),
        l.row.sd_ms.to_string(),
        l.row.p50_ms.to_string(),
        l.row.p90_ms.to_string(),
        l.row.p95_ms.to_string(),
        l.row.p99_ms.to_string(),
        l.row.median_repeat_mean_ms.to_string(),
        l.spread.to_string(),
        l.images_per_s.to_string(),
        shown(l.peak_bytes),
        shown(l.model_bytes),
    ];
    values.join(",") + "\n"
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The result as a Markdown table.
pub fn bench_markdown(page: &BenchPage) -> String {
    let several = page.machines.len() > 1;
    let machine = |text: &str| if several { format!("| {text} ") } else { String::new() };
    let mut text = format!(
        "{}| model | params, M | multiply-adds, M | activations, MB | file, MB | accuracy, % | \
         runtime | threads | batch | p50, ms | p90, ms | p99, ms | images/s | peak, MB |\n",
        machine("machine")
    );
    text += &format!(
        "{}|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|\n",
        if several { "|---" } else { "" }
    );
    for (of, model, l) in sessions(page) {
        let cells = [
            cell(&model.name),
            model.params.map_or_else(String::new, millions),
            model.madds.map_or_else(String::new, millions),
            megabytes(model.activation_bytes),
            megabytes(Some(model.file_bytes)),
            model.accuracy.map_or_else(String::new, percent),
            cell(&format!("{} {}", l.row.runtime, l.row.runtime_version)),
            l.row.threads.to_string(),
            l.row.batch.to_string(),
            format!("{}{}", ms(l.row.p50_ms), if l.noisy { " (noisy)" } else { "" }),
            ms(l.row.p90_ms),
            ms(l.row.p99_ms),
            fixed(l.images_per_s, 1),
            megabytes(l.peak_bytes),
        ];
        text += &format!("{}| {} |\n", machine(&cell(&of.name)), cells.join(" | "));
    }
    for machine in &page.machines {
        let name = if several { format!("{}: ", cell(&machine.name)) } else { String::new() };
        let facts: Vec<_> =
            machine.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
        text += &format!("\n{name}{}.\n", cell(&facts.join("; ")));
        for warning in &machine.warnings {
            text += &format!("\nNoise: {}.\n", cell(warning));
        }
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// Every session with its model and machine.
pub(super) fn sessions(
    page: &BenchPage,
) -> impl Iterator<Item = (&BenchMachine, &BenchModel, &BenchLatency)> {
    page.machines.iter().flat_map(|machine| {
        machine.models.iter().flat_map(move |model| {
            model.latency.iter().map(move |latency| (machine, model, latency))
        })
    })
}

/// `1,234 nodes`.
pub(super) fn counted(n: usize, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}
