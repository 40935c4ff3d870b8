//! Where the time of a case goes.

use std::collections::HashMap;

use adwp_engine::Device;

use crate::cases::{Case, Size};
use crate::engine::Subject;
use crate::failure::Result;

/// Time of one kind of operation in one direction.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    op: &'static str,
    direction: &'static str,
    /// Steps of that kind in a run.
    count: usize,
    /// Of a run.
    seconds: f64,
}

/// Runs a case `repeats` times and gives the mean time by kind of operation and direction, largest first.
pub(crate) fn run(case: &Case, device: &Device, repeats: u32) -> Result<String> {
    let network = case.network(Size::Full)?;
    let mut subject = Subject::new(&network, device)?;
    subject.first()?;
    let mut sums: HashMap<(&'static str, &'static str), (usize, f64)> = HashMap::new();
    let mut add = |op, direction, seconds| {
        let (count, sum) = sums.entry((op, direction)).or_default();
        *count += 1;
        *sum += seconds;
    };
    for _ in 0..repeats {
        let (sample, steps) = subject.once()?;
        for step in &steps {
            add(step.op, if step.backward { "backward" } else { "forward" }, step.time.as_secs_f64());
        }
        if let Some(update) = sample.update {
            add("update", "", update);
        }
    }
    let entry = |((op, direction), (count, seconds))| Entry {
        op,
        direction,
        count: count / repeats as usize,
        seconds: seconds / f64::from(repeats),
    };
    Ok(table(sums.into_iter().map(entry).collect()))
}

fn table(mut entries: Vec<Entry>) -> String {
    entries.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then((a.op, a.direction).cmp(&(b.op, b.direction))));
    let all: f64 = entries.iter().map(|entry| entry.seconds).sum();
    let width = entries.iter().map(|entry| entry.op.len()).max().unwrap_or(0).max("operation".len());
    let mut lines = vec![format!("{:width$}  {:9} {:>6} {:>12} {:>8}", "operation", "direction", "steps", "ms", "share")];
    for Entry { op, direction, count, seconds } in &entries {
        lines.push(format!("{op:width$}  {direction:9} {count:>6} {:>12.3} {:>7.1}%", 1e3 * seconds, 100.0 * seconds / all));
    }
    lines.push(format!("{:width$}  {:9} {:>6} {:>12.3}", "all", "", "", 1e3 * all));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_with_shares() {
        let entry = |op, seconds| Entry { op, direction: "forward", count: 2, seconds };
        let table = table(vec![entry("relu", 0.001), entry("conv2d", 0.003)]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("conv2d") && lines[1].ends_with("75.0%"), "{table}");
        assert!(lines[2].starts_with("relu") && lines[2].ends_with("25.0%"), "{table}");
        assert!(lines[3].ends_with("4.000"), "{table}");
    }
}
