use serde_json::{Map, Value};

use crate::escape::escape;
use crate::format::{
    amount, count, difference, duration, fixed, megabytes, ms, percent, percent_of,
};
use crate::{BudgetRow, FormatRow, LatencyRow, PhaseTime, RunReport, RuntimeAccuracy};

/// Images listed one by one in a cell of a table; more of them are folded away.
const LISTED: usize = 8;

/// A column: its heading and unit.
pub(crate) enum Column {
    Text(&'static str),
    /// Aligned to the right.
    Number(&'static str, &'static str),
}

/// Rows hold HTML.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let heading = |column: &Column| match column {
        Column::Text(name) => format!("<th>{name}</th>"),
        Column::Number(name, "") => format!("<th class=\"n\">{name}</th>"),
        Column::Number(name, unit) => {
            format!("<th class=\"n\">{name}<span class=\"unit\">{unit}</span></th>")
        }
    };
    let cell = |(column, content): (&Column, &String)| match column {
        Column::Text(_) => format!("<td>{content}</td>"),
        Column::Number(..) => format!("<td class=\"n\">{content}</td>"),
    };
    let row = |row: &Vec<String>| {
        format!("<tr>{}</tr>\n", columns.iter().zip(row).map(cell).collect::<String>())
    };
    format!(
        "<div class=\"scroll\"><table{}>\n<thead><tr>{}</tr></thead>\n\
         <tbody>\n{}</tbody>\n</table></div>\n",
        if columns.len() > 8 { " class=\"many\"" } else { "" },
        columns.iter().map(heading).collect::<String>(),
        rows.iter().map(row).collect::<String>(),
    )
}

fn nothing(what: &str) -> String {
    format!("<p class=\"quiet\">{what}</p>\n")
}

pub(super) fn budgets(rows: &[BudgetRow]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("budget"),
        Number("asked", "at most"),
        Number("predicted", "by the search"),
        Number("measured", ""),
        Text("kept"),
    ];
    let row = |row: &BudgetRow| {
        let number = |value: Option<f64>| value.map_or_else(String::new, amount);
        let error = |error: f64| format!("<small> ± {} %</small>", fixed(100.0 * error, 1));
        vec![
            format!("{} <span class=\"unit\">{}</span>", escape(&row.resource), escape(&row.unit)),
            amount(row.limit),
            number(row.predicted) + &row.prediction_error.map_or_else(String::new, error),
            number(row.value),
            row.value.map_or_else(
                || "<small>not measured</small>".to_owned(),
                |value| kept(row.limit, value),
            ),
        ]
    };
    table(&columns, &rows.iter().map(row).collect::<Vec<_>>())
}

/// Whether a limit was kept, and by how much of it.
fn kept(limit: f64, value: f64) -> String {
    if !limit.is_finite() || !value.is_finite() {
        return "n/a".to_owned();
    }
    let distance = if limit > 0.0 {
        format!(", {} %", fixed(100.0 * (value / limit - 1.0).abs(), 1))
    } else {
        String::new()
    };
    match value <= limit {
        true => format!("yes<small>{distance} below</small>"),
        false => format!("<strong class=\"over\">no</strong><small>{distance} above</small>"),
    }
}

pub(super) fn phases(phases: &[PhaseTime]) -> String {
    if phases.is_empty() {
        return nothing("No phase was timed.");
    }
    let total: f64 = phases.iter().map(|phase| phase.seconds).sum();
    let memory =
        phases.iter().any(|phase| phase.planned_bytes.is_some() || phase.peak_bytes.is_some());
    let cells = |planned: Option<u64>, peak: Option<u64>| match memory {
        true => [planned, peak]
            .map(|bytes| format!("<td class=\"n\">{}</td>", megabytes(bytes)))
            .concat(),
        false => String::new(),
    };
    let row = |phase: &PhaseTime| {
        let share = 100.0 * phase.seconds / total;
        let width = if share.is_finite() { share.clamp(0.0, 100.0) } else { 0.0 };
        format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"bar\"><span \
             style=\"width:{width:.1}%\"></span></td>{}</tr>\n",
            escape(&phase.name),
            fixed(phase.seconds, 2),
            duration(phase.seconds),
            cells(phase.planned_bytes, phase.peak_bytes),
        )
    };
    format!(
        "<div class=\"scroll\"><table class=\"phases\">\n<thead><tr><th>phase</th><th \
         class=\"n\">wall time<span class=\"unit\">s</span></th>\
         <th class=\"n\"></th><th class=\"bar\"></th>{}</tr></thead>\n<tbody>\n{}<tr \
         class=\"total\"><td>total</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"bar\"></td>{}</tr>\n</tbody>\n</table></div>\n",
        if memory {
            "<th class=\"n\">planned memory<span class=\"unit\">MB</span></th><th \
             class=\"n\">measured<span class=\"unit\">MB</span></th>"
        } else {
            ""
        },
        phases.iter().map(row).collect::<String>(),
        fixed(total, 2),
        duration(total),
        cells(None, None),
    )
}

pub(super) fn latency(rows: &[LatencyRow]) -> String {
    if rows.is_empty() {
        return nothing("No latency was measured.");
    }
    use Column::{Number, Text};
    let columns = [
        Text("runtime"),
        Text("version"),
        Number("threads", ""),
        Number("batch", "images"),
        Number("load", "ms"),
        Number("first", "ms"),
        Number("n", "runs"),
        Number("min", "ms"),
        Number("mean", "ms"),
        Number("sd", "ms"),
        Number("p50", "ms"),
        Number("p90", "ms"),
        Number("p95", "ms"),
        Number("p99", "ms"),
        Number("median of<br>repeat means", "ms"),
    ];
    let row = |row: &LatencyRow| {
        vec![
            escape(&row.runtime),
            escape(&row.runtime_version),
            row.threads.to_string(),
            row.batch.to_string(),
            ms(row.load_ms),
            ms(row.first_ms),
            count(row.n),
            ms(row.min_ms),
            ms(row.mean_ms),
            ms(row.sd_ms),
            ms(row.p50_ms),
            ms(row.p90_ms),
            ms(row.p95_ms),
            ms(row.p99_ms),
            ms(row.median_repeat_mean_ms),
        ]
    };
    format!(
        "<p class=\"quiet\">Wall-clock time of one run of the exported file on a batch, after \
         warm-up; models and runtimes take turns.</p>\n{}",
        table(&columns, &rows.iter().map(row).collect::<Vec<_>>()),
    )
}

pub(super) fn accuracy(report: &RunReport) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("executor"),
        Number("accuracy", "%"),
        Number("correct", "images"),
        Number("of", "images"),
        Text("classified unlike the engine"),
    ];
    let engine = vec![
        "engine".to_owned(),
        percent(report.test_accuracy),
        count(report.test_correct),
        count(report.test_images),
        "<small>the reference</small>".to_owned(),
    ];
    let runtime = |row: &RuntimeAccuracy| {
        vec![
            escape(&row.runtime),
            percent_of(row.correct, row.images),
            count(row.correct),
            count(row.images),
            differing(&row.differing),
        ]
    };
    let with_flips = report.test_correct_with_flips.map(|correct| {
        let note = "<small>mean of each image and its mirror image; the file alone does not do \
                    that</small>"
            .to_owned();
        let executor = "engine, with mirror images".to_owned();
        vec![
            executor,
            percent_of(correct, report.test_images),
            count(correct),
            count(report.test_images),
            note,
        ]
    });
    let rows: Vec<_> = std::iter::once(engine)
        .chain(with_flips)
        .chain(report.runtime_accuracy.iter().map(runtime))
        .collect();
    format!(
        "<p class=\"quiet\">On the test images: the trained network in the engine, and the \
         exported file in each runtime.</p>\n{}",
        table(&columns, &rows)
    )
}

/// How many images differ, and which.
fn differing(images: &[usize]) -> String {
    let list = images.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    match images.len() {
        0 => "none".to_owned(),
        n @ 1..=LISTED => format!("{n}: <small>number {list}</small>"),
        n => format!(
            "<details><summary>{}</summary><small>number {list}</small></details>",
            count(n)
        ),
    }
}

pub(super) fn parity(report: &RunReport) -> String {
    use Column::{Number, Text};
    let largest = format!(
        "<p class=\"quiet\">The largest difference of a logit between the engine and any runtime: \
         {}.</p>\n",
        difference(report.parity_max_abs)
    );
    if report.parity.is_empty() {
        return largest;
    }
    let columns = [
        Text("executor"),
        Text("compared with"),
        Number("largest<br>difference", "of a logit"),
        Number("mean<br>difference", "of a logit"),
        Number("same class", "images"),
        Number("of", "images"),
    ];
    let rows: Vec<_> = report
        .parity
        .iter()
        .map(|row| {
            vec![
                escape(&row.a),
                escape(&row.b),
                difference(row.max_abs),
                difference(row.mean_abs),
                count(row.top1_agree),
                count(row.n),
            ]
        })
        .collect();
    largest + &table(&columns, &rows)
}

/// The other files of the network, with a row for each runtime that runs them.
pub(super) fn formats(formats: &[FormatRow]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("file"),
        Text("numbers"),
        Number("size", "bytes"),
        Text("takes"),
        Text("runtime"),
        Number("accuracy", "%"),
        Number("against<br>the engine", "points"),
        Number("correct", "images"),
        Text("classified<br>unlike the engine"),
        Number("largest<br>difference", "of a logit"),
        Number("accepted", "of a logit"),
    ];
    let row = |format: &FormatRow, index: usize| {
        // What is the same for all runtimes is in the first row only.
        let once = |text: String| if index == 0 { text } else { String::new() };
        let takes = if format.pixels { "pixels" } else { "floats" };
        let facts = [
            escape(&format.file),
            escape(&format.precision),
            count(format.bytes),
            takes.to_owned(),
        ]
        .map(once);
        let Some(row) = format.runtimes.get(index) else {
            return facts
                .into_iter()
                .chain(std::iter::repeat_with(String::new).take(columns.len() - 4))
                .collect();
        };
        let parity = format.parity.iter().find(|parity| parity.b == row.runtime);
        let accepted = format.tolerance.map_or_else(|| "<small>any</small>".to_owned(), difference);
        let measured = [
            escape(&row.runtime),
            percent_of(row.correct, row.images),
            points(row.correct as f64 - format.correct_before as f64, row.images),
            format!("{} of {}", count(row.correct), count(row.images)),
            differing(&row.differing),
            parity.map_or_else(String::new, |parity| difference(parity.max_abs)),
            accepted,
        ];
        facts.into_iter().chain(measured).collect::<Vec<_>>()
    };
    let rows: Vec<_> = formats
        .iter()
        .flat_map(|format| (0..format.runtimes.len().max(1)).map(move |index| row(format, index)))
        .collect();
    let notes = formats.iter().flat_map(|format| {
        let scales = format.calibration.iter().map(|how| format!("scales of activations: {how}"));
        scales
            .chain(format.refused.iter().map(|refused| format!("cannot be run by {refused}")))
            .map(|note| (&format.file, note))
    });
    format!(
        "<p class=\"quiet\">On the test images: the same network in files of other kinds. Of \
         8-bit integers the accuracy is told, whatever the logits are.</p>\n{}{}",
        table(&columns, &rows),
        notes
            .map(|(file, note)| format!(
                "<p class=\"quiet\">{}: {}</p>\n",
                escape(file),
                escape(&note)
            ))
            .collect::<String>(),
    )
}

/// A difference of some images as percentage points, with its sign.
fn points(images: f64, of: usize) -> String {
    let points = 100.0 * images / of as f64;
    format!("{}{}", if points > 0.0 { "+" } else { "" }, fixed(points, 2))
}

pub(super) fn machine(machine: &Map<String, Value>) -> String {
    if machine.is_empty() {
        return nothing("The machine was not described.");
    }
    let row = |(key, value): (&String, &Value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        format!("<tr><td>{}</td><td class=\"wide\">{}</td></tr>\n", escape(key), escape(&text))
    };
    format!(
        "<div class=\"scroll\"><table>\n<tbody>\n{}</tbody>\n</table></div>\n",
        machine.iter().map(row).collect::<String>()
    )
}
