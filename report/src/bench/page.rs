//! The page for a browser: one file that needs nothing else, no script and no network.

use super::{
    BenchModel, BenchPage, BenchProfile, plot,
    text::{SLOWEST, counted, sessions},
};
use crate::escape::escape;
use crate::format::{count, difference, fixed, megabytes, millions, ms, percent};
use crate::html::{Column, Genotype, document, noise, pictures, table};

/// The result as one HTML page, light and dark, for wide and narrow windows.
pub fn bench_html(page: &BenchPage) -> String {
    let names = model_names(page);
    let title = match names.as_slice() {
        [one] => format!("Bench of {}", escape(one)),
        names => format!("Bench of {}", counted(names.len(), "model")),
    };
    let machines: Vec<_> = page.machines.iter().map(|machine| escape(&machine.name)).collect();
    let style = concat!(include_str!("../html/style.css"), include_str!("style.css"));
    let distributions: String = names.iter().map(|name| plot::distributions(page, name)).collect();
    let body = [
        format!(
            "<header>\n<h1>{title}</h1>\n<p class=\"quiet\">{}</p>\n</header>\n",
            machines.join(" · ")
        ),
        warnings(page),
        section("Models", models(page)),
        section("What is had for the time", plot::trade(page)),
        section("Latency", latency(page)),
        section(
            "Distributions",
            with_note(
                "Each line spans the 5th to the 95th percentile of all runs, each box the middle \
                 half; the mark is the median.",
                distributions,
            ),
        ),
        section("Agreement", parity(page)),
        section("Where the time goes", profiles(page)),
        section("Architectures", architectures(page)),
        section("Machines", facts(page)),
    ]
    .concat();
    document(&title, style, &body)
}

/// Nothing where there is nothing to show.
fn section(title: &str, content: String) -> String {
    if content.is_empty() {
        String::new()
    } else {
        format!("<section>\n<h2>{title}</h2>\n{content}</section>\n")
    }
}

fn with_note(note: &str, content: String) -> String {
    if content.is_empty() { content } else { format!("<p class=\"quiet\">{note}</p>\n{content}") }
}

fn models_of(page: &BenchPage) -> impl Iterator<Item = &BenchModel> {
    page.machines.iter().flat_map(|machine| &machine.models)
}

/// Each name once: machines measure the same models.
fn model_names(page: &BenchPage) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for model in models_of(page) {
        if !names.contains(&model.name) {
            names.push(model.name.clone());
        }
    }
    names
}

fn first_of<'a>(page: &'a BenchPage, name: &str) -> Option<&'a BenchModel> {
    models_of(page).find(|model| model.name == name)
}

/// Warnings, above everything else.
fn warnings(page: &BenchPage) -> String {
    let several = page.machines.len() > 1;
    let of = |machine: &super::BenchMachine| {
        let name = if several { format!("{}: ", escape(&machine.name)) } else { String::new() };
        noise(&name, &machine.warnings)
    };
    page.machines.iter().map(of).collect()
}

fn models(page: &BenchPage) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("model"),
        Text("input"),
        Number("classes", ""),
        Number("params", "M"),
        Number("multiply-adds", "M"),
        Number("accuracy", "%"),
        Number("weights", "MB"),
        Number("activations<br>at most", "MB"),
        Number("file", "MB"),
        Text("written by"),
    ];
    let unknown = || "n/a".to_owned();
    let row = |model: &BenchModel| {
        vec![
            escape(&model.name),
            model.input.map(|size| size.to_string()).join("×"),
            count(model.classes),
            model.params.map_or_else(unknown, millions),
            model.madds.map_or_else(unknown, millions),
            model.accuracy.map_or_else(String::new, percent),
            megabytes(model.weight_bytes),
            megabytes(model.activation_bytes),
            megabytes(Some(model.file_bytes)),
            escape(&model.producer),
        ]
    };
    let names = model_names(page);
    let shown: Vec<_> = names.iter().filter_map(|name| first_of(page, name)).collect();
    let rows: Vec<_> = shown.iter().map(|model| row(model)).collect();
    let uncounted = |model: &&BenchModel| {
        let list: String =
            model.uncounted.iter().map(|node| format!("<li>{}</li>", escape(node))).collect();
        let title = format!(
            "Not in the figures of {}: {}",
            escape(&model.name),
            counted(model.uncounted.len(), "node")
        );
        format!("<details><summary>{title}</summary><ul>{list}</ul></details>\n")
    };
    let uncounted: String =
        shown.iter().filter(|model| !model.uncounted.is_empty()).map(uncounted).collect();
    let images = shown.iter().filter_map(|model| {
        let images = escape(model.images.as_ref()?);
        Some(format!("<p>{}: {images}</p>\n", escape(&model.name)))
    });
    let images: String = images.collect();
    format!(
        "<p class=\"quiet\">Counted from the files. A multiply-add is one multiply-accumulate of \
         a convolution or linear layer, for one image; activations are \
         what is alive at once in the order of the file; accuracy is what \
         the file states.</p>\n{}{images}{uncounted}",
        table(&columns, &rows)
    )
}

fn latency(page: &BenchPage) -> String {
    use Column::{Number, Text};
    let several = page.machines.len() > 1;
    let mut columns = vec![Text("model")];
    columns.extend(several.then_some(Text("machine")));
    columns.extend([
        Text("runtime"),
        Number("threads", ""),
        Number("batch", "images"),
        Number("p50", "ms"),
        Number("p90", "ms"),
        Number("p95", "ms"),
        Number("p99", "ms"),
        Number("min", "ms"),
        Number("mean", "ms"),
        Number("sd", "ms"),
        Number("median of<br>repeat means", "ms"),
        Number("repeats<br>apart", "%"),
        Number("throughput", "images/s"),
        Number("first", "ms"),
        Number("load", "ms"),
        Number("peak memory", "MB"),
        Number("of the model", "MB"),
        Number("n", "runs"),
    ]);
    let rows: Vec<_> = sessions(page)
        .map(|(machine, model, l)| {
            let mut row = vec![escape(&model.name)];
            row.extend(several.then(|| escape(&machine.name)));
            row.extend([
                escape(&format!("{} {}", l.row.runtime, l.row.runtime_version)),
                l.row.threads.to_string(),
                l.row.batch.to_string(),
                format!("<strong>{}</strong>", ms(l.row.p50_ms)),
                ms(l.row.p90_ms),
                ms(l.row.p95_ms),
                ms(l.row.p99_ms),
                ms(l.row.min_ms),
                ms(l.row.mean_ms),
                ms(l.row.sd_ms),
                ms(l.row.median_repeat_mean_ms),
                if l.noisy {
                    format!("<strong class=\"over\">{}</strong>", fixed(100.0 * l.spread, 1))
                } else {
                    fixed(100.0 * l.spread, 1)
                },
                fixed(l.images_per_s, 1),
                fixed(l.row.first_ms, 2),
                fixed(l.row.load_ms, 2),
                megabytes(l.peak_bytes),
                megabytes(l.model_bytes),
                count(l.row.n),
            ]);
            row
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let note = "Wall-clock time of one run on a batch, after warm-up; models, runtimes and \
                threads take turns. Memory is that of a process that does nothing else.";
    with_note(note, table(&columns, &rows))
}

fn parity(page: &BenchPage) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("model"),
        Text("session"),
        Text("compared with"),
        Number("largest<br>difference", "of a logit"),
        Number("mean<br>difference", "of a logit"),
        Number("cosine", ""),
        Number("first class<br>alike", "images"),
        Number("first five<br>alike", "images"),
        Number("of", "images"),
        Text("they part at"),
    ];
    let rows: Vec<_> = models_of(page)
        .flat_map(|model| model.parity.iter().map(move |p| (model, p)))
        .map(|(model, p)| {
            vec![
                escape(&model.name),
                escape(&p.session),
                escape(&p.reference),
                difference(p.max_abs),
                difference(p.mean_abs),
                fixed(p.cosine, 6),
                count(p.top1_agree),
                count(p.top5_agree),
                count(p.n),
                match (&p.parts_at, p.agrees) {
                    (_, true) => "they agree".to_owned(),
                    (Some(place), false) => escape(place),
                    (None, false) => "a node that was not found".to_owned(),
                },
            ]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(&columns, &rows) }
}

fn profiles(page: &BenchPage) -> String {
    let several = page.machines.len() > 1;
    let mut html = String::new();
    for machine in &page.machines {
        for model in &machine.models {
            for profile in &model.profiles {
                let of = if several {
                    format!("{}, {}", machine.name, profile.session)
                } else {
                    profile.session.clone()
                };
                html += &format!(
                    "<h3>{}, {}</h3>\n{}",
                    escape(&model.name),
                    escape(&of),
                    bars(profile)
                );
            }
        }
    }
    html
}

fn bars(profile: &BenchProfile) -> String {
    let note = format!(
        "{} and {}, with every node being timed: {} ms a run.",
        counted(profile.runs, "run"),
        counted(profile.nodes.len(), "node"),
        ms(profile.run_ms)
    );
    let nodes = profile.nodes.iter().take(SLOWEST);
    let largest = nodes.clone().map(|node| node.share).fold(f64::MIN_POSITIVE, f64::max);
    let nodes: String = nodes
        .map(|node| {
            let gmacs = node.gmacs.map_or_else(String::new, |gmacs| fixed(gmacs, 2));
            bar(
                &escape(&node.name),
                &[&escape(&node.op)],
                &[ms(node.ms), fixed(100.0 * node.share, 1), gmacs],
                node.share / largest,
            )
        })
        .collect();
    let head = |first: &str, texts: &str, numbers: &str| {
        format!(
            "<div class=\"scroll\"><table \
             class=\"phases\">\n<thead><tr><th>{first}</th>{texts}<th class=\"n\">time<span \
             class=\"unit\">ms</span></th>\
             <th class=\"n\">share<span class=\"unit\">%</span></th>{numbers}<th \
             class=\"bar\"></th></tr></thead>\n<tbody>\n"
        )
    };
    let gmacs = "<th class=\"n\">speed<span class=\"unit\">GMAC/s</span></th>";
    let slowest = format!(
        "{}{nodes}</tbody>\n</table></div>\n",
        head("slowest nodes", "<th>operator</th>", gmacs)
    );
    format!("<p class=\"quiet\">{note}</p>\n{slowest}{}", folds(profile, &head))
}

/// The times of cells, and of operations wherever they are: where names have such parts.
fn folds(profile: &BenchProfile, head: &dyn Fn(&str, &str, &str) -> String) -> String {
    let whole = |depth: usize| profile.folded.iter().filter(move |fold| fold.depth == depth);
    // Names without parts fold into themselves.
    if whole(2).count() == 0 {
        return String::new();
    }
    let rows = |folds: Vec<(&str, f64, f64)>| -> String {
        let largest = folds.iter().map(|fold| fold.2).fold(f64::MIN_POSITIVE, f64::max);
        folds
            .iter()
            .map(|(path, time, share)| {
                bar(&escape(path), &[], &[ms(*time), fixed(100.0 * share, 1)], share / largest)
            })
            .collect()
    };
    let cells = rows(whole(1).map(|fold| (fold.path.as_str(), fold.ms, fold.share)).collect());
    let mut all: Vec<_> = whole(3).map(|fold| (fold.path.as_str(), fold.ms, fold.share)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let operations = rows(all);
    let mut html =
        format!("{}{cells}</tbody>\n</table></div>\n", head("first part of the name", "", ""));
    if !operations.is_empty() {
        html += &format!(
            "<details class=\"folds\"><summary>by the first three \
             parts</summary>{}{operations}</tbody>\n</table></div></details>\n",
            head("cell / node / operation", "", "")
        );
    }
    html
}

/// A row that ends in a bar; `texts` and `name` are HTML.
fn bar(name: &str, texts: &[&str], numbers: &[String], share: f64) -> String {
    let texts: String = texts.iter().map(|text| format!("<td>{text}</td>")).collect();
    let numbers: String =
        numbers.iter().map(|number| format!("<td class=\"n\">{number}</td>")).collect();
    let width = if share.is_finite() { 100.0 * share.clamp(0.0, 1.0) } else { 0.0 };
    format!(
        "<tr><td class=\"node\">{name}</td>{texts}{numbers}<td class=\"bar\"><span \
         style=\"width:{width:.1}%\"></span></td></tr>\n"
    )
}

fn architectures(page: &BenchPage) -> String {
    let names = model_names(page);
    let drawn = names.iter().filter_map(|name| {
        let model = first_of(page, name)?;
        let genotype = model.genotype.as_ref()?;
        Some(format!(
            "<h3>{}</h3>\n{}",
            escape(name),
            pictures(&Genotype::cells(genotype), genotype)
        ))
    });
    drawn.collect()
}

fn facts(page: &BenchPage) -> String {
    let of = |machine: &super::BenchMachine| {
        let row = |(name, value): &(String, String)| {
            format!("<tr><td>{}</td><td class=\"wide\">{}</td></tr>\n", escape(name), escape(value))
        };
        let rows: String = machine.facts.iter().map(row).collect();
        format!(
            "<h3>{}</h3>\n<div class=\"scroll\"><table>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
            escape(&machine.name)
        )
    };
    page.machines.iter().map(of).collect()
}
