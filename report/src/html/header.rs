//! What stands before the first section: what was run, its result in a few numbers, and what is
//! wrong with it.

use super::metrics::Phase;
use crate::escape::escape;
use crate::format::{count, millions, ms, percent};
use crate::{LatencyRow, RunReport, SkippedImages};

/// `title` is HTML.
pub(super) fn header(report: &RunReport, title: &str) -> String {
    let mut tiles = vec![
        tile(
            "Parameters",
            &millions(report.params),
            "M",
            &format!("{} trainable", count(report.params)),
        ),
        tile(
            "Multiply-adds",
            &millions(report.madds),
            "M",
            &format!("{} for one image", count(report.madds)),
        ),
        tile(
            "Test accuracy",
            &percent(report.test_accuracy),
            "%",
            &format!("{} of {} images", count(report.test_correct), count(report.test_images)),
        ),
    ];
    tiles.extend(headline_latencies(&report.latency).into_iter().map(latency_tile));
    format!(
        "<header>\n<h1>{title}</h1>\n<p class=\"quiet\">{}{} training and {} test images of {} \
         classes · trained on {} · seed {}</p>\n\
         {}{}{}<div class=\"tiles\">\n{}</div>\n<p class=\"quiet\">{} parameters in the exported \
         file, where BatchNorm is folded into the \
         convolutions. A multiply-add is one multiply-accumulate of a convolution \
         or linear layer.</p>\n</header>\n",
        report.network.as_ref().map_or_else(String::new, |name| format!("{} · ", escape(name))),
        count(report.train_images),
        count(report.test_images),
        count(report.classes.len()),
        escape(&report.device),
        report.seed,
        skipped(report.skipped_images),
        recipe(&report.recipe),
        classes(&report.classes),
        tiles.concat(),
        count(report.params_in_file),
    )
}

/// A banner for each phase whose result collapsed, or is that of its random start.
pub(super) fn warnings(phases: &[Phase<'_>]) -> String {
    let banner = |phase: &Phase<'_>, what: &str, reason: String| {
        format!(
            "<aside class=\"warning\"><strong>The result of the phase {} {what}.</strong> \
             {}</aside>\n",
            escape(&phase.name),
            escape(&reason)
        )
    };
    let of = |phase: &Phase<'_>| {
        let collapse = phase.collapse().map(|reason| banner(phase, "has collapsed", reason));
        let start = phase.ended_with("is_start");
        let start = start.map(|reason| banner(phase, "is mostly its random start", reason));
        [collapse, start].into_iter().flatten().collect::<String>()
    };
    phases.iter().map(of).collect()
}

/// Warnings of noise that are shown at once; further ones are folded away.
const MOST_WARNINGS: usize = 6;

/// A banner that says why latencies are noisy; nothing where they are not. `of` is what they are of,
/// in HTML, where that is to be said.
pub(crate) fn noise(of: &str, warnings: &[String]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let list = |warnings: &[String]| {
        let items: String =
            warnings.iter().map(|warning| format!("<li>{}</li>", escape(warning))).collect();
        format!("<ul>{items}</ul>")
    };
    let (shown, more) = warnings.split_at(warnings.len().min(MOST_WARNINGS));
    let more = match more.len() {
        0 => String::new(),
        n => format!("<details><summary>and {n} more</summary>{}</details>", list(more)),
    };
    let shown = list(shown);
    format!(
        "<aside class=\"warning\"><strong>{of}The latencies are noisy.</strong>{shown}{more}\
         </aside>\n"
    )
}

/// How many files were left out, where any was.
fn skipped(SkippedImages { train, test }: SkippedImages) -> String {
    if train + test == 0 {
        return String::new();
    }
    format!(
        "<p class=\"quiet\">{} training and {} test images could not be read and were left out; \
         <code>skipped.json</code> names them.</p>\n",
        count(train),
        count(test)
    )
}

/// What the accuracy was made with.
fn recipe(entries: &[String]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let list = entries.iter().map(|entry| escape(entry)).collect::<Vec<_>>().join(" · ");
    format!("<p class=\"quiet\">Training: {list}</p>\n")
}

/// The classes' names, folded away where they are many.
fn classes(names: &[String]) -> String {
    let list = names.iter().map(|name| escape(name)).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => String::new(),
        1..=20 => format!("<p class=\"quiet\">Classes: {list}</p>\n"),
        n => format!("<details class=\"quiet\"><summary>{n} classes</summary>{list}</details>\n"),
    }
}

fn tile(label: &str, value: &str, unit: &str, detail: &str) -> String {
    format!(
        "<div class=\"tile\"><div class=\"label\">{label}</div><div class=\"value\">{value} <span \
         class=\"unit\">{unit}</span></div>\
         <div class=\"detail\">{detail}</div></div>\n"
    )
}

/// One latency for each runtime: that of the smallest batch and the fewest threads, which says most
/// about a small device.
fn headline_latencies(rows: &[LatencyRow]) -> Vec<&LatencyRow> {
    let mut chosen: Vec<&LatencyRow> = Vec::new();
    for row in rows {
        let size = |row: &LatencyRow| (row.batch, row.threads);
        match chosen.iter_mut().find(|other| other.runtime == row.runtime) {
            Some(other) if size(row) < size(other) => *other = row,
            Some(_) => {}
            None => chosen.push(row),
        }
    }
    chosen
}

fn latency_tile(row: &LatencyRow) -> String {
    let plural =
        |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    tile(
        &format!("p50, {}", escape(&row.runtime)),
        &ms(row.p50_ms),
        "ms",
        &format!(
            "{}, {}",
            plural(row.threads, "thread", "threads"),
            plural(row.batch, "image", "images")
        ),
    )
}
