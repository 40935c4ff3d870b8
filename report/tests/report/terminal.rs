use adwp_report::{SkippedImages, terminal_table};

use crate::sample::report;

#[test]
fn the_table_is_aligned() {
    // The whole table, because alignment is only seen in whole.
    let table = terminal_table(&report());
    assert_eq!(
        table,
        "\
         phase                           time
space                    12 min 03 s
search               3 h 15 min 33 s
retrain             25 h 08 min 02 s
export                        1.83 s
bench                         41.3 s
total               28 h 36 min 22 s

params               3.21 M        3,214,567
multiply-adds       523.5 M      523,456,789
test accuracy       97.31 %  9,731 of 10,000

latency             threads  batch        p50
onnxruntime 1.31.1        1      1  11.021 ms
onnxruntime 1.31.1        2      1   7.021 ms
tract 0.23.9              1      1  17.021 ms
"
    );
}

#[test]
fn no_line_reaches_80_columns() {
    let mut report = report();
    report.params = u64::MAX;
    report.phases[0].name = "a phase with a very long name ".repeat(9);
    report.phases[1].name = "two\nlines\u{1b}[31m".to_owned();
    report.latency[0].runtime_version = "1.31.1-".repeat(40);
    report.latency[0].p50_ms = 1e200;
    let table = terminal_table(&report);
    let longest = table.lines().map(|line| line.chars().count()).max();
    assert!(longest.is_some_and(|columns| columns < 80), "{table}");
    assert!(
        table.contains("two\u{fffd}lines\u{fffd}[31m ")
            && table.contains("a phase with a very long na…"),
        "{table}"
    );
}

#[test]
fn a_run_without_results_has_a_table() {
    let mut report = report();
    report.phases.clear();
    report.latency.clear();
    report.test_accuracy = f64::NAN;
    let table = terminal_table(&report);
    assert!(table.starts_with("params") && table.contains("n/a %"), "{table}");
    report.phases = crate::sample::report().phases;
    report.phases[0].seconds = f64::NAN;
    assert!(terminal_table(&report).contains("n/a s"));
}

#[test]
fn mirror_images_and_skipped_ones_have_lines_where_there_are_some() {
    let mut report = report();
    let plain = terminal_table(&report);
    assert!(!plain.contains("mirror") && !plain.contains("skipped"), "{plain}");
    report.test_correct_with_flips = Some(9_788);
    report.skipped_images = SkippedImages { train: 1_200, test: 34 };
    let table = terminal_table(&report);
    assert!(table.contains("with mirror images  97.88 %  9,788 of 10,000\n"), "{table}");
    assert!(table.contains("1,234 skipped\n"), "{table}");
}

#[test]
fn what_makes_a_latency_doubtful_is_said_below_it() {
    let mut report = report();
    let last = terminal_table(&report).lines().last().map(str::to_owned);
    assert!(last.is_some_and(|line| line.starts_with("tract")));
    let long =
        "model.onnx under onnxruntime with 2 threads: the medians of the repeats lie 31 % apart";
    report.warnings = vec!["the machine was busy".into(), long.into(), "\u{1b}x".repeat(200)];
    let table = terminal_table(&report);
    assert!(table.contains("ms\n\nwarning: the machine was busy\nwarning: model.onnx"), "{table}");
    let said = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(long) && !table.contains('\u{1b}'), "{table}");
    assert!(table.lines().all(|line| line.chars().count() < 80), "{table}");
}
