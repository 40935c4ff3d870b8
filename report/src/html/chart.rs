//! One small line chart as inline SVG.

use super::escape::escape;
use crate::format::short;

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 165.0;
const LEFT: f64 = 42.0;
const RIGHT: f64 = 310.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 142.0;

/// Up to this many points of a curve get a dot, whose title tells its value.
const DOTS: usize = 40;

pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    /// Whether the vertical axis begins at 0, or at the smallest value.
    pub(super) from_zero: bool,
    pub(super) series: Vec<Series<'a>>,
    /// The epochs of the phase: its charts have one horizontal axis, so that they can be compared.
    pub(super) epochs: &'a [f64],
    pub(super) stages: &'a [Stage],
}

/// A curve; at least one of its values is a number.
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    /// Epoch and finite value, or `None` where what was measured is no number: the curve is broken there.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Epochs of one stage of a phase.
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) first: f64,
    pub(super) last: f64,
}

/// Where values lie on an axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let size = low.abs().max(high.abs());
        // Of values that are as good as equal, the middle of the axis says more than their last digits.
        let margin = if high / 2.0 - low / 2.0 > size * 1e-9 { 0.0 } else { size.max(1.0) / 2.0 };
        Self { low: low - margin, high: high + margin, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        // Halved first: the difference of two finite numbers need not be finite.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        self.from + share * (self.to - self.from)
    }

    /// Three to six round values, and the step between them.
    fn ticks(&self, smallest_step: f64) -> (Vec<f64>, f64) {
        let rough = (self.high / 4.0 - self.low / 4.0).max(smallest_step).max(f64::MIN_POSITIVE);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|&step| step >= rough * 0.7).unwrap_or(rough);
        let first = (self.low / step).ceil() * step;
        // Counted, because adding a small step to a large number may leave it as it is.
        let ticks = (0..10).map(|i| first + f64::from(i) * step).take_while(|&tick| tick <= self.high + step * 1e-6).collect();
        (ticks, step)
    }
}

fn tick_label(value: f64, step: f64) -> String {
    if value.abs() >= 1e5 || (step < 1e-4 && value != 0.0) {
        return format!("{value:.1e}");
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 5.0) as usize;
    // Ticks are multiples of a step, so that 0 may come out as -0.
    format!("{:.decimals$}", if value.abs() < step / 2.0 { 0.0 } else { value })
}

impl Chart<'_> {
    pub(super) fn figure(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" <span class=\"unit\">{}</span>", self.unit) };
        let legend = self.series.iter().enumerate().map(|(i, series)| {
            let last = series.points.iter().rev().find_map(|point| point.1);
            format!("<span class=\"{}\"><i></i>{} {}</span>", colour(i), series.name, last.map_or_else(|| "n/a".to_owned(), short))
        });
        format!(
            "<figure><figcaption>{}{unit}</figcaption><div class=\"legend\">{}</div>{}</figure>\n",
            self.title,
            legend.collect::<String>(),
            self.svg()
        )
    }

    fn svg(&self) -> String {
        let values = self.series.iter().flat_map(|series| &series.points).filter_map(|point| point.1);
        let zero = self.from_zero.then_some(0.0);
        let x = Axis::new(self.epochs.iter().copied(), LEFT, RIGHT);
        let y = Axis::new(values.chain(zero), BOTTOM, TOP);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{}{}{}</svg>",
            self.title,
            self.stages.iter().enumerate().map(|(i, stage)| stage.svg(i, &x)).collect::<String>(),
            axes(&x, &y),
            self.series.iter().enumerate().map(|(i, series)| series.svg(colour(i), &x, &y)).collect::<String>(),
        )
    }
}

fn colour(index: usize) -> &'static str {
    ["c1", "c2", "c3"][index % 3]
}

fn axes(x: &Axis, y: &Axis) -> String {
    let (ticks, step) = y.ticks(0.0);
    let horizontal = ticks.into_iter().map(|tick| {
        let at = y.at(tick);
        format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"axis end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 5.0,
            at + 3.5,
            tick_label(tick, step)
        )
    });
    // There is no half an epoch.
    let (ticks, step) = x.ticks(1.0);
    let vertical = ticks.into_iter().map(|tick| {
        format!("<text class=\"axis middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", x.at(tick), BOTTOM + 16.0, tick_label(tick, step))
    });
    horizontal.chain(vertical).collect()
}

impl Stage {
    fn svg(&self, index: usize, x: &Axis) -> String {
        // A stage begins half-way between its first epoch and the one before.
        let from = x.at(self.first - 0.5).clamp(LEFT, RIGHT);
        let to = x.at(self.last + 0.5).clamp(LEFT, RIGHT);
        let shade = if index % 2 == 1 {
            format!(
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                (to - from).max(0.0),
                BOTTOM - TOP,
                escape(&self.name)
            )
        } else {
            String::new()
        };
        let border = if index > 0 {
            format!("<line class=\"border\" x1=\"{from:.1}\" x2=\"{from:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>")
        } else {
            String::new()
        };
        shade + &border
    }
}

impl Series<'_> {
    fn svg(&self, colour: &str, x: &Axis, y: &Axis) -> String {
        let dots = self.points.len() <= DOTS;
        let mut out = String::new();
        for run in self.points.split(|point| point.1.is_none()) {
            let run: Vec<(f64, f64)> = run.iter().filter_map(|&(x, y)| Some((x, y?))).collect();
            if run.len() > 1 {
                let line: Vec<_> = run.iter().map(|&(epoch, value)| format!("{:.1},{:.1}", x.at(epoch), y.at(value))).collect();
                out += &format!("<polyline class=\"line {colour}\" points=\"{}\"/>", line.join(" "));
            }
            // A value alone has no line to be seen by.
            if dots || run.len() == 1 {
                out.extend(run.iter().map(|&(epoch, value)| {
                    format!(
                        "<circle class=\"{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.2\"><title>{}, epoch {epoch}: {}</title></circle>",
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
