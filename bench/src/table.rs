//! Results for people.

use crate::args::Args;
use crate::machine::{GEMM_SIDE, Gpu, Machine, Processor};
use crate::measure::{Comparison, Row, Timing};
use crate::pytorch::Versions;
use crate::stats::Spread;

/// What the machine can do, in a few lines.
pub(crate) fn machine(machine: &Machine, args: &Args, pytorch: Option<&Versions>) -> String {
    let mut lines = match machine {
        Machine::Cpu(processor) => of_processor(processor),
        Machine::Cuda(gpu) => of_gpu(gpu, args),
    };
    if let Some(Versions { torch, python, mode, .. }) = pytorch {
        lines.push(format!("pytorch            {torch}, Python {python}, {mode}"));
    }
    lines.join("\n") + "\n"
}

const UNKNOWN: &str = "unknown processor";

fn of_processor(machine: &Processor) -> Vec<String> {
    let processor = machine.processor.as_deref().unwrap_or(UNKNOWN);
    let mut lines = vec![
        format!(
            "machine            {processor}, {} cores, {} threads used, engine with {}",
            machine.cores, machine.threads, machine.instruction_set
        ),
        format!(
            "registers          {:7.1} GMAC/s  f32 fused multiply-adds",
            machine.registers_gmacs
        ),
        format!("matrix product     {:7.1} GMAC/s  gemm crate, {GEMM_SIDE}³", machine.gemm_gmacs),
    ];
    if let Some(gmacs) = machine.pytorch_gemm_gmacs {
        lines.push(format!("                   {gmacs:7.1} GMAC/s  PyTorch, {GEMM_SIDE}³"));
    }
    lines.push(format!(
        "memory             {:7.1} GB/s    copy of 256 MiB, bytes read plus bytes written",
        machine.copy_gbytes
    ));
    lines
}

fn of_gpu(machine: &Gpu, args: &Args) -> Vec<String> {
    let processor = machine.processor.as_deref().unwrap_or(UNKNOWN);
    let launches = if args.no_graphs { "launches one by one" } else { "a run as one graph" };
    vec![
        format!(
            "machine            {}, compute capability {}, {processor}, {} cores",
            machine.gpu, machine.capability, machine.cores
        ),
        format!("engine             {}, {launches}", args.precision.name()),
        format!(
            "memory             {:7.1} GB/s    copy of 1 GiB on the device, bytes read plus bytes \
             written",
            machine.copy_gbytes
        ),
    ]
}

/// Columns of the table of times.
pub(crate) struct Times {
    name_width: usize,
    pytorch: bool,
    /// On a GPU, where nothing is known of the parts of a run, but of how busy its memory was.
    gpu: bool,
}

impl Times {
    pub(crate) fn new<'a>(
        names: impl IntoIterator<Item = &'a str>,
        pytorch: bool,
        machine: &Machine,
    ) -> Self {
        let name_width = names.into_iter().map(str::len).max().unwrap_or(0).max("case".len());
        Self { name_width, pytorch, gpu: matches!(machine, Machine::Cuda(_)) }
    }

    /// Two lines above the rows.
    pub(crate) fn head(&self) -> String {
        let width = self.name_width;
        let (above, head) = if self.gpu { self.gpu_head() } else { self.cpu_head() };
        format!("{:width$}  {}\n{:width$}  {head}", "", above.trim_end(), "case")
    }

    fn cpu_head(&self) -> (String, String) {
        let parts = format!(
            "{:>9} {:>9} {:>9} {:>9} {:>9}",
            "forward", "backward", "update", "total", "least"
        );
        let mut above = format!("{:^49}  {:16}  {:>6}", "engine, ms (medians; least)", "", "busy");
        let mut head = format!("{parts}  {:>8} {:>7}  {:>6}", "GMAC/s", "of gemm", "others");
        if self.pytorch {
            above +=
                &format!("  {:^49}  {:^17}", "PyTorch, ms (medians; least)", "PyTorch / engine");
            head += &format!("  {parts}  {:>8} {:>8}", "medians", "least");
        }
        (above, head)
    }

    fn gpu_head(&self) -> (String, String) {
        let mut above = format!(
            "{:^19}  {:8}  {:^26}  {:8}  {:9}  {:>6}",
            "engine, ms", "", "memory", "", "MiB", "busy"
        );
        let mut head = format!(
            "{:>9} {:>9}  {:>8}  {:>9} {:>8} {:>7}  {:>8}  {:>9}  {:>6}",
            "median",
            "least",
            "launches",
            "MiB moved",
            "GB/s",
            "of copy",
            "GMAC/s",
            "planned",
            "others"
        );
        if self.pytorch {
            above += &format!("  {:^19}  {:^17}", "PyTorch, ms", "PyTorch / engine");
            head += &format!("  {:>9} {:>9}  {:>8} {:>8}", "median", "least", "medians", "least");
        }
        (above, head)
    }

    pub(crate) fn row(&self, row: &Row) -> String {
        let width = self.name_width;
        let engine = if self.gpu { gpu_columns(row) } else { cpu_columns(row) };
        let mut line = format!("{:width$}  {engine}", row.case);
        let times_width = self.times(&row.engine).chars().count();
        match &row.pytorch {
            Some(Comparison::Agrees { timing, ratio, ratio_of_least, .. }) => {
                line += &format!("  {}  {ratio:>7.2}× {ratio_of_least:>7.2}×", self.times(timing));
            }
            Some(Comparison::Differs { .. }) => {
                line += &format!("  {:>times_width$}  {:>17}", "", "differs")
            }
            Some(Comparison::Failed { .. }) => {
                line += &format!("  {:>times_width$}  {:>17}", "", "failed")
            }
            None => {}
        }
        line
    }

    fn times(&self, timing: &Timing) -> String {
        if self.gpu { median_and_least(timing) } else { parts(timing) }
    }
}

fn cpu_columns(row: &Row) -> String {
    let share = percent(row.share_of_gemm, 1);
    format!("{}  {:>8} {share:>7}  {:>6}", parts(&row.engine), gmacs(row), percent(row.others, 0))
}

fn gpu_columns(row: &Row) -> String {
    let launches = optional(row.launches, |launches| launches.to_string());
    let gbytes = optional(row.gbytes, |gbytes| format!("{gbytes:.0}"));
    format!(
        "{}  {launches:>8}  {:>9} {gbytes:>8} {:>7}  {:>8}  {:>9}  {:>6}",
        median_and_least(&row.engine),
        row.planned.moved >> 20,
        percent(row.share_of_copy, 1),
        gmacs(row),
        (row.planned.own + row.planned.working) >> 20,
        percent(row.others, 0),
    )
}

fn gmacs(row: &Row) -> String {
    optional(row.gmacs, |gmacs| format!("{gmacs:.2}"))
}

fn percent(share: Option<f64>, digits: usize) -> String {
    optional(share, |share| format!("{:.digits$}%", 100.0 * share))
}

fn parts(timing: &Timing) -> String {
    let part = |spread: Option<Spread>| optional(spread, |spread| ms(spread.median));
    let [forward, backward, update] = [timing.forward, timing.backward, timing.update].map(part);
    format!("{forward:>9} {backward:>9} {update:>9} {}", median_and_least(timing))
}

fn median_and_least(timing: &Timing) -> String {
    format!("{:>9} {:>9}", ms(timing.total.median), ms(timing.total.min))
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

/// Multiply-adds and memory of the steps on a processor; `None` without steps, and on a GPU,
/// for which the other table has them.
///
/// The floor is what a step takes at least on this machine: its multiply-adds at the rate of a
/// large matrix product, and the bytes that its parts hand to each other at the bandwidth of a
/// copy, one after the other.
pub(crate) fn steps(machine: &Machine, rows: &[Row]) -> Option<String> {
    let gemm_gmacs = machine.best_gemm_gmacs()?;
    let steps: Vec<&Row> = rows.iter().filter(|row| row.is_step).collect();
    let width = steps.iter().map(|row| row.case.len()).max()?;
    let pytorch = steps.iter().any(|row| row.pytorch.is_some());
    let mut lines = vec![
        format!(
            "{:width$}  {:^25}  {:>8} {:>8}  {:^34}",
            "", "10⁹ multiply-adds", "MiB", "floor", "MiB of the engine"
        ),
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
        let arithmetic = row.multiply_adds.total() as f64 / gemm_gmacs;
        let floor = format!(
            "{:.0}",
            1e-6 * (arithmetic + row.planned.moved as f64 / machine.copy_gbytes())
        );
        let mut line = format!(
            "{:width$}  {:>12} {:>12}  {:>8} {floor:>8}  {:>8} {:>10} {:>14}",
            row.case,
            giga(row.multiply_adds.forward),
            giga(row.multiply_adds.total()),
            mib(row.planned.moved as u64),
            mib(row.planned.own as u64),
            mib(row.planned.working as u64),
            measured(row.peak_bytes),
        );
        match &row.pytorch {
            Some(Comparison::Agrees { peak_bytes, .. }) => {
                line += &format!("  {:>14}", measured(*peak_bytes))
            }
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

    fn timing(total: f64, update: Option<f64>) -> Timing {
        let spread = |value| Spread { median: value, min: value, n: 1 };
        let (forward, backward) = (Some(spread(total / 3.0)), Some(spread(total / 2.0)));
        Timing { forward, backward, update: update.map(spread), total: spread(total) }
    }

    fn machine() -> Machine {
        Machine::Cpu(Processor::example())
    }

    fn gpu() -> Machine {
        Machine::Cuda(Gpu {
            gpu: "GPU".into(),
            capability: "9.0".into(),
            processor: None,
            cores: 16,
            copy_gbytes: 4000.0,
        })
    }

    fn row(case: &str, update: Option<f64>, pytorch: Comparison) -> Row {
        Row {
            case: case.to_owned(),
            is_step: update.is_some(),
            multiply_adds: MultiplyAdds { forward: 2_000_000_000, backward: 3_000_000_000 },
            planned: Planned { own: 3 << 20, working: 9 << 20, moved: 1000 << 20 },
            launches: Some(533),
            peak_bytes: update.map(|_| 12 << 20),
            engine: timing(1234.5, update),
            gmacs: Some(4.05),
            share_of_gemm: Some(0.1),
            gbytes: Some(849.0),
            share_of_copy: Some(0.21),
            others: Some(0.25),
            pytorch: Some(pytorch),
        }
    }

    #[test]
    fn columns_line_up_and_rows_that_differ_have_no_ratio() {
        let agreement = Agreement { difference: 0.5, tolerance: 1e-3, of: "the loss".into() };
        let timing = Box::new(timing(99.0, None));
        let agrees = Comparison::Agrees {
            agreement: agreement.clone(),
            timing,
            peak_bytes: Some(5 << 20),
            ratio: 0.08,
            ratio_of_least: 0.09,
        };
        let rows = [
            row("op/one", None, agrees.clone()),
            row("step/two", Some(1.0), Comparison::Differs { agreement }),
        ];
        for machine in [machine(), gpu()] {
            let times = Times::new(["op/one", "step/two"], true, &machine);
            let lines: Vec<String> = rows.iter().map(|row| times.row(row)).collect();
            let head = times.head();
            let head = head.lines().last().unwrap();
            assert!(
                lines.iter().all(|line| line.chars().count() == head.chars().count()),
                "{head}\n{}\n{}",
                lines[0],
                lines[1]
            );
            assert!(lines[0].ends_with("0.08×    0.09×") && lines[1].ends_with("differs"));
            assert_eq!(
                lines[0].contains("533"),
                matches!(machine, Machine::Cuda(_)),
                "{}",
                lines[0]
            );
        }
        let steps = steps(&machine(), &rows).unwrap();
        assert!(!steps.contains("op/one") && steps.contains("5.00"), "{steps}");
        // 5·10⁹ multiply-adds at 50·10⁹ a second, and 1,048,576,000 bytes at 10·10⁹ a second.
        assert!(steps.contains("  205  "), "{steps}");
        assert!(
            super::steps(&machine(), &rows[..1]).is_none() && super::steps(&gpu(), &rows).is_none()
        );
    }

    #[test]
    fn milliseconds_keep_four_digits() {
        assert_eq!(
            [0.12345, 12.345, 123.45, 12345.6].map(ms),
            ["0.123", "12.35", "123.5", "12346"]
        );
    }
}
