//! The charts of every phase: what its lines have numbers for.

use serde_json::Value;

use super::architecture::OPERATIONS;
use super::chart::{Lines, Series, Shares};
use super::metrics::{Line, Phase};
use crate::escape::escape;

/// A chart that a phase gets where it has numbers for it.
struct Kind {
    title: &'static str,
    unit: &'static str,
    from_zero: bool,
    scale: f64,
    /// Keys of `metrics.jsonl`, with their names in the legend.
    keys: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 11] = [
    Kind {
        title: "Loss",
        unit: "",
        from_zero: false,
        scale: 1.0,
        keys: &[("train_loss", "train")],
    },
    Kind {
        title: "Accuracy",
        unit: "%",
        from_zero: false,
        scale: 100.0,
        keys: &[
            ("train_accuracy", "train"),
            ("validation_accuracy", "validation"),
            ("test_accuracy", "test"),
        ],
    },
    Kind {
        title: "Learning rate",
        unit: "",
        from_zero: true,
        scale: 1.0,
        keys: &[("learning_rate", "rate")],
    },
    Kind {
        title: "Superiority and stability",
        unit: "",
        from_zero: true,
        scale: 1.0,
        keys: &[("superiority", "superiority"), ("stability", "stability")],
    },
    Kind {
        title: "Entropy of α",
        unit: "1 = even",
        from_zero: false,
        scale: 1.0,
        keys: &[("alpha_entropy", "entropy")],
    },
    Kind {
        title: "Distance of α from its start",
        unit: "",
        from_zero: true,
        scale: 1.0,
        keys: &[
            ("alpha_distance", "root mean square"),
            ("alpha_noise", "of random steps"),
            ("alpha_gap", "gap between kept and dropped"),
        ],
    },
    Kind {
        title: "Kept operations that the start would have kept",
        unit: "%",
        from_zero: true,
        scale: 100.0,
        keys: &[("kept_at_start", "share"), ("kept_by_chance", "chance")],
    },
    Kind {
        title: "Parameters of the likeliest network",
        unit: "M",
        from_zero: false,
        scale: 1e-6,
        keys: &[("params", "parameters")],
    },
    Kind {
        title: "Multiply-adds of the likeliest network",
        unit: "M",
        from_zero: false,
        scale: 1e-6,
        keys: &[("madds", "multiply-adds")],
    },
    Kind {
        title: "Time of a step",
        unit: "ms",
        from_zero: true,
        scale: 1.0,
        keys: &[("step_ms", "step")],
    },
    Kind {
        title: "Speed",
        unit: "images/s",
        from_zero: true,
        scale: 1.0,
        keys: &[("images_per_s", "images/s")],
    },
];

pub(super) fn curves(phases: &[Phase<'_>]) -> String {
    if phases.is_empty() {
        return "<p class=\"quiet\">There are no metrics.</p>\n".to_owned();
    }
    let sections = phases.iter().map(section).collect::<String>();
    format!("<p class=\"quiet\">By epoch; the legend tells the last value.</p>\n{sections}")
}

fn section(phase: &Phase<'_>) -> String {
    let mut charts: Vec<String> = KINDS.iter().filter_map(|kind| lines(kind, phase)).collect();
    charts.extend(shares(phase));
    let charts = if charts.is_empty() {
        "<p class=\"quiet\">No numbers to draw.</p>\n".to_owned()
    } else {
        format!("<div class=\"charts\">\n{}</div>\n", charts.concat())
    };
    format!("<h3>{}</h3>\n{}{charts}", escape(&phase.name), stages(phase))
}

/// Which epochs belong to which stage, each with the shade of its band.
fn stages(phase: &Phase<'_>) -> String {
    if phase.stages.is_empty() {
        return String::new();
    }
    let names = phase.stages.iter().map(|stage| {
        let epochs = &phase.epochs[stage.lines.clone()];
        let (first, last) = (epochs[0], epochs[epochs.len() - 1]);
        let epochs = if first == last { first.to_string() } else { format!("{first}–{last}") };
        format!(
            "<span><i class=\"s{}\"></i>{} {epochs}</span>",
            stage.look % 3,
            escape(&stage.name)
        )
    });
    format!("<div class=\"legend stages\">Epochs: {}</div>\n", names.collect::<String>())
}

fn lines(kind: &Kind, phase: &Phase<'_>) -> Option<String> {
    let series = kind.keys.iter().filter_map(|&(key, name)| {
        // An epoch without the key was not measured, and the curve passes it by.
        let point = |(&line, &epoch): (&&Line, &f64)| {
            let value = line
                .get(key)?
                .as_f64()
                .map(|value| kind.scale * value)
                .filter(|value| value.is_finite());
            Some((epoch, value))
        };
        let points: Vec<_> = phase.lines.iter().zip(&phase.epochs).filter_map(point).collect();
        points.iter().any(|point| point.1.is_some()).then_some(Series { name, points })
    });
    let lines = Lines {
        title: kind.title,
        unit: kind.unit,
        from_zero: kind.from_zero,
        series: series.collect(),
    };
    (!lines.series.is_empty()).then(|| lines.figure(phase))
}

/// The shares of the operations. An epoch whose shares are not all numbers of 0 or more is left
/// out.
fn shares(phase: &Phase<'_>) -> Option<String> {
    let measured: Vec<(f64, &Line)> = phase
        .lines
        .iter()
        .zip(&phase.epochs)
        .filter_map(|(line, &epoch)| Some((epoch, line.get("operation_shares")?.as_object()?)))
        .filter(|(_, shares)| {
            shares
                .values()
                .all(|share| share.as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)))
        })
        .collect();
    let used = |name: &str| measured.iter().any(|(_, shares)| shares.contains_key(name));
    let unknown = measured
        .iter()
        .flat_map(|(_, shares)| shares.keys())
        .map(String::as_str)
        .filter(|name| !OPERATIONS.contains(name));
    let mut names: Vec<&str> = unknown.collect();
    names.sort_unstable();
    names.dedup();
    let names: Vec<&str> = OPERATIONS.into_iter().filter(|name| used(name)).chain(names).collect();
    let column = |(epoch, shares): &(f64, &Line)| {
        let share = |name: &&str| {
            shares.get(*name).and_then(Value::as_f64).map_or(0.0, |share| 100.0 * share)
        };
        (*epoch, names.iter().map(share).collect())
    };
    let columns = measured.iter().map(column).collect();
    (!names.is_empty()).then(|| {
        Shares { title: "Operations of the likeliest network", names, columns }.figure(phase)
    })
}
