//! The probabilities of the candidates as colours: a row for each candidate, a column for each
//! epoch.
//!
//! Tens of thousands of values would make a heavy page of as many rectangles. So probabilities are
//! shown in a few steps of colour, and each step of a map is one path of horizontal strokes, each
//! as long as the probability stays in its step.

mod block;
mod search;
mod space;

use serde_json::Value;

use super::architecture::{Genotype, Space};
use super::metrics::Phase;
use crate::escape::escape;

/// Steps of colour, the classes `h0` to `h8`.
const STEPS: usize = 9;

/// Nodes that a cell has.
const NODES: usize = 4;

/// Probabilities of one candidate by epoch; `None` where there is no number from 0 to 1.
type Probabilities = Vec<Option<f64>>;

/// The probabilities of one cell or kind of cell: `[candidates][epochs]`.
type Table = Vec<Probabilities>;

/// What the steps of colour mean.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// From the least to the greatest probability: preferences show early, while all probabilities
    /// are still close to even.
    fn of(tables: &[Table]) -> Option<Self> {
        let values = || tables.iter().flatten().flatten().flatten().copied();
        let low = values().reduce(f64::min)?;
        Some(Self { low, high: values().fold(low, f64::max) })
    }

    fn step(&self, probability: f64) -> usize {
        let share = (probability - self.low) / (self.high - self.low);
        // A cast of what is no number, because all probabilities are equal, gives 0.
        ((share * STEPS as f64) as usize).min(STEPS - 1)
    }

    fn legend(&self) -> String {
        let steps: String = (0..STEPS).map(|step| format!("<i class=\"h{step}\"></i>")).collect();
        // Two digits of the difference between the ends.
        let decimals = (1.0 - (self.high - self.low).log10().floor()).clamp(2.0, 6.0) as usize;
        format!(
            "<div class=\"scale\">{:.decimals$} <span>{steps}</span> {:.decimals$}</div>\n",
            self.low, self.high
        )
    }
}

/// The maps of all phases whose lines have probabilities.
pub(super) fn maps(
    phases: &[Phase<'_>],
    genotype: Option<&Genotype>,
    space: Option<&Space>,
) -> String {
    let maps: String = phases.iter().filter_map(|phase| map(phase, genotype, space)).collect();
    if maps.is_empty() {
        return "<p class=\"quiet\">The metrics have no probabilities of candidates.</p>\n"
            .to_owned();
    }
    format!(
        "<p class=\"quiet\">The probability of every candidate by epoch. Rows are candidates, \
         named by what they read and what they do to it; \
         k−2 and k−1 are the outputs of the two previous cells. A dot marks those that were \
         kept, a \
         dashed line the epoch that was chosen.</p>\n{maps}"
    )
}

fn map(phase: &Phase<'_>, genotype: Option<&Genotype>, space: Option<&Space>) -> Option<String> {
    let phase = phase.having("probabilities");
    let (scale, figures) =
        space::figures(&phase, space).or_else(|| search::figures(&phase, genotype, space))?;
    Some(format!("<h3>{}</h3>\n{}{figures}", escape(&phase.name), scale.legend()))
}

/// The lists of one place in the lines of a phase as a table of `rows` candidates; `None` where no
/// list has that length.
fn table<'a>(
    phase: &Phase<'a>,
    rows: usize,
    list: impl Fn(&'a Value) -> Option<&'a Value>,
) -> Option<Table> {
    let lists: Vec<Option<&Vec<Value>>> = phase
        .lines
        .iter()
        .map(|line| list(line.get("probabilities")?)?.as_array().filter(|list| list.len() == rows))
        .collect();
    lists.iter().any(Option::is_some).then(|| {
        let value = |list: &Option<&Vec<Value>>, row: usize| {
            list.as_ref()?[row].as_f64().filter(|value| (0.0..=1.0).contains(value))
        };
        (0..rows).map(|row| lists.iter().map(|list| value(list, row)).collect()).collect()
    })
}
