//! Results for people.

use crate::machine::{GEMM_SIDE, Machine};
use crate::measure::{Comparison, Row, Timing};
use crate::pytorch::Versions;

/// What the machine can do, in a few lines.
pub(crate) fn machine(machine: &Machine, pytorch: Option<&Versions>) -> String {
    let processor = machine.processor.as_deref().unwrap_or("unknown processor");
    let mut lines = vec![
        format!(
            "machine            {processor}, {} cores, {} threads used, engine with {}",
            machine.cores, machine.threads, machine.instruction_set
        ),
        format!("registers          {:7.1} GMAC/s  f32 fused multiply-adds", machine.registers_gmacs),
        format!("matrix product     {:7.1} GMAC/s  gemm crate, {GEMM_SIDE}³", machine.gemm_gmacs),
    ];
    if let Some(gmacs) = machine.pytorch_gemm_gmacs {
        lines.push(format!("                   {gmacs:7.1} GMAC/s  PyTorch, {GEMM_SIDE}³"));
    }
    lines.push(format!("memory             {:7.1} GB/s    copy of 256 MiB, bytes read plus bytes written", machine.copy_gbytes));
    if let Some(Versions { torch, python, threads }) = pytorch {
        lines.push(format!("pytorch            {torch}, Python {python}, {threads} threads, eager, default flags"));
    }
    lines.join("\n") + "\n"
}

/// Columns of the table of times.
pub(crate) struct Times {
    name_width: usize,
    pytorch: bool,
}

impl Times {
    /// For cases of these names.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>, pytorch: bool) -> Self {
        Self { name_width: names.into_iter().map(str::len).max().unwrap_or(0).max("case".len()), pytorch }
    }

    /// Two lines above the rows.
    pub(crate) fn head(&self) -> String {
        let width = self.name_width;
        let mut above = format!("{:width$}  {:^49}  {:16}  {:>6}", "", "engine, ms (medians; least)", "", "busy");
        let mut head = format!(
            "{:width$}  {:>9} {:>9} {:>9} {:>9} {:>9}  {:>8} {:>7}  {:>6}",
            "case", "forward", "backward", "update", "total", "least", "GMAC/s", "of gemm", "others"
        );
        if self.pytorch {
            above += &format!("  {:^49}  {:^17}", "PyTorch, ms (medians; least)", "PyTorch / engine");
            head += &format!(
                "  {:>9} {:>9} {:>9} {:>9} {:>9}  {:>8} {:>8}",
                "forward", "backward", "update", "total", "least", "medians", "least"
            );
        }
        format!("{}\n{head}", above.trim_end())
    }

    /// One case.
    pub(crate) fn row(&self, row: &Row) -> String {
        let width = self.name_width;
        let gmacs = optional(row.gmacs, |gmacs| format!("{gmacs:.2}"));
        let share = optional(row.share_of_gemm, |share| format!("{:.1}%", 100.0 * share));
        let others = optional(row.others, |others| format!("{:.0}%", 100.0 * others));
        let mut line = format!("{:width$}  {}  {gmacs:>8} {share:>7}  {others:>6}", row.case, parts(&row.engine));
        match &row.pytorch {
            Some(Comparison::Agrees { timing, ratio, ratio_of_least, .. }) => {
                line += &format!("  {}  {ratio:>7.2}× {ratio_of_least:>7.2}×", parts(timing));
            }
            Some(Comparison::Differs { .. }) => line += &format!("  {:>49}  {:>17}", "", "differs"),
            Some(Comparison::Failed { .. }) => line += &format!("  {:>49}  {:>17}", "", "failed"),
            None => {}
        }
        line
    }
}

fn parts(timing: &Timing) -> String {
    let update = optional(timing.update, |update| ms(update.median));
    let median = [timing.forward, timing.backward, timing.total].map(|spread| ms(spread.median));
    format!("{:>9} {:>9} {update:>9} {:>9} {:>9}", median[0], median[1], median[2], ms(timing.total.min))
}

fn ms(value: f64) -> String {
    let digits = match value {
        v if v < 10.0 => 3,
        v if v < 100.0 => 2,
        v if v < 1000.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

fn optional<T>(value: Option<T>, format: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), format)
}

/// Multiply-adds and memory of the steps; `None` without steps.
///
/// The floor is what a step takes at least on this machine: its multiply-adds at the rate of a large matrix product, and the bytes that its
/// parts hand to each other at the bandwidth of a copy, one after the other.
pub(crate) fn steps(machine: &Machine, rows: &[Row]) -> Option<String> {
    // Only steps have an update.
    let steps: Vec<&Row> = rows.iter().filter(|row| row.engine.update.is_some()).collect();
    let width = steps.iter().map(|row| row.case.len()).max()?;
    let pytorch = steps.iter().any(|row| row.pytorch.is_some());
    let mut lines = vec![
        format!("{:width$}  {:^25}  {:>8} {:>8}  {:^34}", "", "10⁹ multiply-adds", "MiB", "floor", "MiB of the engine"),
        format!(
            "{:width$}  {:>12} {:>12}  {:>8} {:>8}  {:>8} {:>10} {:>14}",
            "step", "forward", "whole step", "moved", "ms", "own", "working", "measured peak"
        ),
    ];
    if pytorch {
        lines[0] += &format!("  {:>14}", "of PyTorch");
        lines[1] += &format!("  {:>14}", "measured peak");
    }
    let mib = |bytes: u64| format!("{}", bytes >> 20);
    let measured = |bytes: Option<u64>| bytes.map_or_else(|| "not measured".to_owned(), mib);
    for row in steps {
        let giga = |count: u64| format!("{:.2}", count as f64 / 1e9);
        let arithmetic = row.multiply_adds.total() as f64 / machine.best_gemm_gmacs();
        let floor = |moved: usize| format!("{:.0}", 1e-6 * (arithmetic + moved as f64 / machine.copy_gbytes));
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let mut line = format!(
            "{:width$}  {:>12} {:>12}  {:>8} {:>8}  {:>8} {:>10} {:>14}",
            row.case,
            giga(row.multiply_adds.forward),
            giga(row.multiply_adds.total()),
            or_dash(row.planned.moved.map(|moved| mib(moved as u64))),
            or_dash(row.planned.moved.map(floor)),
            mib(row.planned.own as u64),
            mib(row.planned.working as u64),
            measured(row.peak_bytes),
        );
        match &row.pytorch {
            Some(Comparison::Agrees { peak_bytes, .. }) => line += &format!("  {:>14}", measured(*peak_bytes)),
            Some(_) => line += &format!("  {:>14}", "–"),
            None => {}
        }
        lines.push(line);
    }
    Some(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::Agreement;
    use crate::count::MultiplyAdds;
    use crate::engine::Planned;
    use crate::stats::Spread;

    fn timing(total: f64, update: Option<f64>) -> Timing {
        let spread = |value| Spread { median: value, min: value, n: 1 };
        Timing { forward: spread(total / 3.0), backward: spread(total / 2.0), update: update.map(spread), total: spread(total) }
    }

    fn machine() -> Machine {
        Machine {
            processor: None,
            cores: 2,
            threads: 2,
            instruction_set: "portable",
            registers_gmacs: 100.0,
            gemm_gmacs: 50.0,
            pytorch_gemm_gmacs: None,
            copy_gbytes: 10.0,
        }
    }

    fn row(case: &str, update: Option<f64>, pytorch: Comparison) -> Row {
        Row {
            case: case.to_owned(),
            multiply_adds: MultiplyAdds { forward: 2_000_000_000, backward: 3_000_000_000 },
            planned: Planned { own: 3 << 20, working: 9 << 20, moved: Some(1000 << 20) },
            peak_bytes: update.map(|_| 12 << 20),
            engine: timing(1234.5, update),
            gmacs: Some(4.05),
            share_of_gemm: Some(0.1),
            others: Some(0.25),
            pytorch: Some(pytorch),
        }
    }

    #[test]
    fn columns_line_up_and_rows_that_differ_have_no_ratio() {
        let agreement = Agreement { difference: 0.5, tolerance: 1e-3, of: "the loss".into() };
        let timing = Box::new(timing(99.0, None));
        let agrees =
            Comparison::Agrees { agreement: agreement.clone(), timing, peak_bytes: Some(5 << 20), ratio: 0.08, ratio_of_least: 0.09 };
        let rows = [row("op/one", None, agrees.clone()), row("step/two", Some(1.0), Comparison::Differs { agreement })];
        let times = Times::new(["op/one", "step/two"], true);
        let lines: Vec<String> = rows.iter().map(|row| times.row(row)).collect();
        let head = times.head();
        let head = head.lines().last().unwrap();
        assert!(lines.iter().all(|line| line.chars().count() == head.chars().count()), "{head}\n{}\n{}", lines[0], lines[1]);
        assert!(lines[0].ends_with("0.08×    0.09×") && lines[1].ends_with("differs"));
        let steps = steps(&machine(), &rows).unwrap();
        assert!(!steps.contains("op/one") && steps.contains("5.00"), "{steps}");
        // 5·10⁹ multiply-adds at 50·10⁹ a second, and 1,048,576,000 bytes at 10·10⁹ a second.
        assert!(steps.contains("  205  "), "{steps}");
        assert!(super::steps(&machine(), &rows[..1]).is_none());
    }

    #[test]
    fn milliseconds_keep_four_digits() {
        assert_eq!([0.12345, 12.345, 123.45, 12345.6].map(ms), ["0.123", "12.35", "123.5", "12346"]);
    }
}
