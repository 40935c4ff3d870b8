//! The curves of `metrics.jsonl`, by phase.

use serde_json::{Map, Value};

use super::chart::{Chart, Series, Stage};
use super::escape::escape;

type Entry = Map<String, Value>;

/// A chart that a phase gets where it has numbers for it.
struct Kind {
    title: &'static str,
    unit: &'static str,
    from_zero: bool,
    scale: f64,
    /// Keys of `metrics.jsonl`, with their names in the legend.
    keys: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 6] = [
    Kind { title: "Loss", unit: "", from_zero: false, scale: 1.0, keys: &[("train_loss", "train")] },
    Kind {
        title: "Accuracy",
        unit: "%",
        from_zero: false,
        scale: 100.0,
        keys: &[("train_accuracy", "train"), ("validation_accuracy", "validation"), ("test_accuracy", "test")],
    },
    Kind {
        title: "Superiority and stability",
        unit: "",
        from_zero: true,
        scale: 1.0,
        keys: &[("superiority", "superiority"), ("stability", "stability")],
    },
    Kind { title: "Entropy of α", unit: "1 = even", from_zero: false, scale: 1.0, keys: &[("alpha_entropy", "entropy")] },
    Kind { title: "Time of a step", unit: "ms", from_zero: true, scale: 1.0, keys: &[("step_ms", "step")] },
    Kind { title: "Speed", unit: "images/s", from_zero: true, scale: 1.0, keys: &[("images_per_s", "images/s")] },
];

pub(super) fn curves(metrics: &[Entry]) -> String {
    let mut phases: Vec<(String, Vec<&Entry>)> = Vec::new();
    for entry in metrics {
        let name = entry.get("phase").map_or_else(|| "unnamed phase".to_owned(), text);
        match phases.iter_mut().find(|(phase, _)| *phase == name) {
            Some((_, entries)) => entries.push(entry),
            None => phases.push((name, vec![entry])),
        }
    }
    if phases.is_empty() {
        return "<p class=\"quiet\">There are no metrics.</p>\n".to_owned();
    }
    let sections = phases.iter().map(|(name, entries)| phase(name, entries)).collect::<String>();
    format!("<p class=\"quiet\">By epoch; the legend tells the last value.</p>\n{sections}")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn phase(name: &str, entries: &[&Entry]) -> String {
    let stages = stages(entries);
    let epochs: Vec<_> = entries.iter().enumerate().map(|(i, entry)| epoch(entry, i)).collect();
    let charts: String = KINDS.iter().filter_map(|kind| chart(kind, entries, &epochs, &stages)).collect();
    let charts = if charts.is_empty() {
        "<p class=\"quiet\">No numbers to draw.</p>\n".to_owned()
    } else {
        format!("<div class=\"charts\">\n{charts}</div>\n")
    };
    let names: Vec<_> = stages.iter().map(|stage| format!("{} {}–{}", escape(&stage.name), stage.first, stage.last)).collect();
    let names = if names.is_empty() { String::new() } else { format!("<p class=\"quiet\">Epochs: {}</p>\n", names.join(", ")) };
    format!("<h3>{}</h3>\n{names}{charts}", escape(name))
}

fn chart(kind: &Kind, entries: &[&Entry], epochs: &[f64], stages: &[Stage]) -> Option<String> {
    let series = kind.keys.iter().filter_map(|&(key, name)| {
        // An epoch without the key was not measured, and the curve passes it by.
        let point = |(&entry, &epoch): (&&Entry, &f64)| {
            let value = entry.get(key)?.as_f64().map(|value| kind.scale * value).filter(|value| value.is_finite());
            Some((epoch, value))
        };
        let points: Vec<_> = entries.iter().zip(epochs).filter_map(point).collect();
        points.iter().any(|point| point.1.is_some()).then_some(Series { name, points })
    });
    let series: Vec<_> = series.collect();
    let chart = Chart { title: kind.title, unit: kind.unit, from_zero: kind.from_zero, series, epochs, stages };
    (!chart.series.is_empty()).then(|| chart.figure())
}

/// The epoch of an entry, or its place where it has none.
fn epoch(entry: &Entry, index: usize) -> f64 {
    entry.get("epoch").and_then(Value::as_f64).unwrap_or(index as f64)
}

/// The stages in their order. One that is named again after another is a stage of its own.
fn stages(entries: &[&Entry]) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let Some(name) = entry.get("stage").map(text) else { continue };
        let epoch = epoch(entry, i);
        match stages.last_mut() {
            Some(stage) if stage.name == name => stage.last = epoch,
            _ => stages.push(Stage { name, first: epoch, last: epoch }),
        }
    }
    stages
}
