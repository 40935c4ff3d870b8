//! The small charts over the epochs of a phase, as inline SVG: lines, and shares that fill a column
//! for each epoch.

use super::architecture::{OPERATIONS, operation};
use super::metrics::{Phase, Stage};
use crate::escape::escape;
use crate::format::short;
use crate::plot::{Axis, Frame};

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 178.0;
/// Above the frame is room for the names of stages.
const FRAME: Frame = Frame { left: 47.0, right: 312.0, top: 20.0, bottom: 154.0 };

/// Up to this many points of a curve get a dot, whose title is its value.
const DOTS: usize = 40;

/// Width of a character of a stage's name, on average and generously.
const STAGE_CHAR: f64 = 5.4;

/// Lines over the epochs of a phase.
pub(super) struct Lines<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    /// Whether the vertical axis begins at 0, or at the smallest value.
    pub(super) from_zero: bool,
    pub(super) series: Vec<Series<'a>>,
}

/// A curve; at least one of its values is a number.
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    /// Epoch and finite value, or `None` where a NaN was measured: the curve is broken
    /// there.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Shares of operations over the epochs of a phase, stacked.
pub(super) struct Shares<'a> {
    pub(super) title: &'a str,
    /// Operations, from the bottom up.
    pub(super) names: Vec<&'a str>,
    /// Epoch and the share of each operation in percent, finite and not negative.
    pub(super) columns: Vec<(f64, Vec<f64>)>,
}

impl Lines<'_> {
    pub(super) fn figure(&self, phase: &Phase<'_>) -> String {
        let entries = self.series.iter().enumerate().map(|(i, series)| {
            let last = series.points.iter().rev().find_map(|point| point.1);
            (colour(i), series.name.to_owned(), last.map_or_else(|| "n/a".to_owned(), short))
        });
        let legend = legend(entries);
        let values =
            self.series.iter().flat_map(|series| &series.points).filter_map(|point| point.1);
        let y = FRAME.y(values.chain(self.from_zero.then_some(0.0)));
        let draw = |x: &Axis| -> String {
            self.series.iter().enumerate().map(|(i, series)| series.svg(colour(i), x, &y)).collect()
        };
        figure(self.title, self.unit, &legend, phase, &y, draw)
    }
}

impl Shares<'_> {
    pub(super) fn figure(&self, phase: &Phase<'_>) -> String {
        let last = self.columns.last().map(|(_, shares)| shares.as_slice()).unwrap_or_default();
        let entries = self
            .names
            .iter()
            .zip(last)
            .map(|(name, &share)| (fill(name), escape(&operation(name)), short(share)));
        let legend = legend(entries);
        let heights = self.columns.iter().map(|(_, shares)| shares.iter().sum());
        let y = FRAME.y(heights.chain([0.0]));
        figure(self.title, "%", &legend, phase, &y, |x| self.svg(x, &y))
    }

    /// An area for each operation, a column for each epoch: what was measured once an epoch has no
    /// slope between epochs.
    fn svg(&self, x: &Axis, y: &Axis) -> String {
        let mut areas = vec![String::new(); self.names.len()];
        for (epoch, shares) in &self.columns {
            let (left, right) = columns(x, *epoch, *epoch);
            let mut below = 0.0;
            for (area, share) in areas.iter_mut().zip(shares) {
                let above = below + share;
                *area += &format!(
                    "M{left:.1} {:.1}H{right:.1}V{:.1}H{left:.1}",
                    y.at(below),
                    y.at(above)
                );
                below = above;
            }
        }
        let area = |(name, area): (&&str, &String)| {
            format!(
                "<path class=\"share {}\" d=\"{area}\"><title>{}</title></path>",
                fill(name),
                escape(&operation(name))
            )
        };
        self.names.iter().zip(&areas).map(area).collect()
    }
}

/// Class, name as HTML, and last value of each entry.
fn legend(entries: impl Iterator<Item = (&'static str, String, String)>) -> String {
    entries
        .map(|(class, name, value)| format!("<span><i class=\"{class}\"></i>{name} {value}</span>"))
        .collect()
}

fn figure(
    title: &str,
    unit: &str,
    legend: &str,
    phase: &Phase<'_>,
    y: &Axis,
    draw: impl FnOnce(&Axis) -> String,
) -> String {
    let unit = if unit.is_empty() {
        String::new()
    } else {
        format!(" <span class=\"unit\">{unit}</span>")
    };
    // All charts of a phase have one horizontal axis, so that they can be compared.
    let x = FRAME.x(phase.epochs.iter().copied()).whole();
    let bands: String = phase.stages.iter().map(|stage| band(stage, &phase.epochs, &x)).collect();
    format!(
        "<figure><figcaption>{title}{unit}</figcaption><div class=\"legend\">{legend}</div>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{title}\">{bands}{}{}{}{}{}</svg></figure>\n",
        FRAME.horizontal_lines(y),
        FRAME.labels_left(y),
        FRAME.labels_below(&x),
        draw(&x),
        phase.chosen.map_or_else(String::new, |epoch| mark(epoch, &x)),
    )
}

/// Where the columns of some epochs begin and end: half-way to the neighbouring epochs.
fn columns(x: &Axis, first: f64, last: f64) -> (f64, f64) {
    (
        x.at(first - 0.5).clamp(FRAME.left, FRAME.right),
        x.at(last + 0.5).clamp(FRAME.left, FRAME.right),
    )
}

fn band(stage: &Stage, epochs: &[f64], x: &Axis) -> String {
    let epochs = &epochs[stage.lines.clone()];
    let (from, to) = columns(x, epochs[0], epochs[epochs.len() - 1]);
    let width = (to - from).max(0.0);
    format!(
        "<g><title>{}</title><rect class=\"stage s{}\" x=\"{from:.1}\" y=\"{}\" \
         width=\"{width:.1}\" height=\"{}\"/>{}</g>",
        escape(&stage.name),
        stage.look % 3,
        FRAME.top - 14.0,
        FRAME.bottom - FRAME.top + 14.0,
        stage_name(&stage.name, from, width, FRAME.top - 4.0),
    )
}

/// The name of a stage in the middle of its band: whole, or its first word, or not at all, as there
/// is room.
pub(super) fn stage_name(name: &str, from: f64, width: f64, y: f64) -> String {
    let fits = |name: &&str| name.chars().count() as f64 * STAGE_CHAR + 4.0 <= width;
    let word = name.split('-').next().unwrap_or_default();
    let shown = [name, word].into_iter().find(fits);
    shown.map_or_else(String::new, |shown| {
        format!(
            "<text class=\"stage middle\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            from + width / 2.0,
            escape(shown)
        )
    })
}

/// The epoch that the phase chose.
fn mark(epoch: f64, x: &Axis) -> String {
    let at = x.at(epoch);
    if !(FRAME.left..=FRAME.right).contains(&at) {
        return String::new();
    }
    // Towards the side that has more room.
    let (class, label) = if at > f64::midpoint(FRAME.left, FRAME.right) {
        ("end", at + 3.0)
    } else {
        ("start", at - 3.0)
    };
    format!(
        "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{}\"/>\
         <text class=\"mark {class}\" x=\"{label:.1}\" y=\"{}\">chosen: epoch {epoch}</text>",
        FRAME.top,
        FRAME.bottom,
        FRAME.top - 5.0,
    )
}

fn colour(index: usize) -> &'static str {
    ["c1", "c2", "c3"][index % 3]
}

/// Each operation has its colour, unknown ones share one.
fn fill(operation: &str) -> &'static str {
    let index = OPERATIONS.iter().position(|name| *name == operation);
    index.map_or("o8", |index| ["o0", "o1", "o2", "o3", "o4", "o5", "o6", "o7"][index])
}

impl Series<'_> {
    fn svg(&self, colour: &str, x: &Axis, y: &Axis) -> String {
        let dots = self.points.len() <= DOTS;
        let mut out = String::new();
        for run in self.points.split(|point| point.1.is_none()) {
            let run: Vec<(f64, f64)> = run.iter().filter_map(|&(x, y)| Some((x, y?))).collect();
            if run.len() > 1 {
                let line: Vec<_> = run
                    .iter()
                    .map(|&(epoch, value)| format!("{:.1},{:.1}", x.at(epoch), y.at(value)))
                    .collect();
                out +=
                    &format!("<polyline class=\"line {colour}\" points=\"{}\"/>", line.join(" "));
            }
            // A value alone has no line to be seen by.
            if dots || run.len() == 1 {
                out.extend(run.iter().map(|&(epoch, value)| {
                    format!(
                        "<circle class=\"{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" \
                         r=\"2.2\"><title>{}, epoch {epoch}: {}</title></circle>",
                        x.at(epoch),
                        y.at(value),
                        self.name,
                        short(value)
                    )
                }));
            }
        }
        out
    }
}
