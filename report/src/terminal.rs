use crate::format::{count, duration, millions, ms, percent, percent_of};
use crate::{LatencyRow, RunReport, SkippedImages};

/// Names longer than this are cut: with the other columns a line then stays under 80.
const NAME_WIDTH: usize = 28;

/// The table that ends `adwp run`: phases with their time, the network, and the median latency of
/// every measurement, with what makes it
/// doubtful. Plain text, under 80 columns.
pub fn terminal_table(report: &RunReport) -> String {
    let mut phases = vec![["phase".to_owned(), "time".to_owned()]];
    phases.extend(report.phases.iter().map(|phase| [name(&phase.name), duration(phase.seconds)]));
    phases.push([
        "total".to_owned(),
        duration(report.phases.iter().map(|phase| phase.seconds).sum()),
    ]);
    let mut network = vec![
        ["params".to_owned(), format!("{} M", millions(report.params)), count(report.params)],
        ["multiply-adds".to_owned(), format!("{} M", millions(report.madds)), count(report.madds)],
        [
            "test accuracy".to_owned(),
            format!("{} %", percent(report.test_accuracy)),
            format!("{} of {}", count(report.test_correct), count(report.test_images)),
        ],
    ];
    if let Some(correct) = report.test_correct_with_flips {
        network.push([
            "with mirror images".to_owned(),
            format!("{} %", percent_of(correct, report.test_images)),
            format!("{} of {}", count(correct), count(report.test_images)),
        ]);
    }
    let SkippedImages { train, test } = report.skipped_images;
    if train + test > 0 {
        network.push([
            "unreadable images".to_owned(),
            String::new(),
            format!("{} skipped", count(train + test)),
        ]);
    }
    let mut latency = vec![["latency", "threads", "batch", "p50"].map(str::to_owned)];
    latency.extend(report.latency.iter().map(latency_row));

    // All blocks have names of one width, so that they read as one table.
    let names =
        [width(&phases, 0), width(&network, 0), width(&latency, 0)].into_iter().max().unwrap_or(0);
    let mut blocks = vec![align(&network, names)];
    if !report.phases.is_empty() {
        blocks.insert(0, align(&phases, names));
    }
    if !report.latency.is_empty() {
        blocks.push(align(&latency, names));
    }
    if !report.warnings.is_empty() {
        blocks.push(report.warnings.iter().map(|text| warning(text)).collect());
    }
    blocks.join("\n")
}

/// A line has fewer columns than this.
const COLUMNS: usize = 80;

/// A warning, in as many lines as it takes.
fn warning(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), "warning:".to_owned());
    for word in text.split_whitespace() {
        let word: String = plain(word).chars().take(COLUMNS - 5).collect();
        if line.chars().count() + 1 + word.chars().count() >= COLUMNS {
            lines += &format!("{line}\n");
            line = " ".repeat(2);
        }
        line += &format!(" {word}");
    }
    lines + &line + "\n"
}

fn latency_row(row: &LatencyRow) -> [String; 4] {
    [
        name(&format!("{} {}", row.runtime, row.runtime_version)),
        row.threads.to_string(),
        row.batch.to_string(),
        format!("{} ms", ms(row.p50_ms)),
    ]
}

/// A name on one line, of a width that leaves room for the numbers.
fn name(text: &str) -> String {
    let clean = plain(text.trim());
    if clean.chars().count() <= NAME_WIDTH {
        return clean;
    }
    clean.chars().take(NAME_WIDTH - 1).chain(['…']).collect()
}

/// A text without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn width<const N: usize>(rows: &[[String; N]], column: usize) -> usize {
    rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
}

/// The first column, `names` wide, to the left, the others to the right.
fn align<const N: usize>(rows: &[[String; N]], names: usize) -> String {
    let line = |row: &[String; N]| {
        let numbers =
            (1..N).map(|column| format!("  {:>width$}", row[column], width = width(rows, column)));
        format!("{:<names$}{}\n", row[0], numbers.collect::<String>())
    };
    rows.iter().map(line).collect()
}
