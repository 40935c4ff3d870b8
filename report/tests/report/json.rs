use adwp_base::JsonError;
use adwp_report::{BudgetRow, RunReport, SkippedImages};
use serde_json::{Value, json};

use crate::sample::report;

/// The sample's JSON with a change, which its checksum is not of.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(&report().to_json()).unwrap();
    value.as_object_mut().unwrap().remove("checksum").unwrap();
    change(&mut value);
    value.to_string()
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    match RunReport::from_json(&changed(change)) {
        Err(JsonError::Form(e)) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read() {
    let mut report = report();
    assert_eq!(RunReport::from_json(&report.to_json()).unwrap(), report);
    report.preset = None;
    report.seed = u64::MAX;
    report.test_accuracy = 0.1 + 0.2;
    report.test_correct_with_flips = Some(9_788);
    report.skipped_images = SkippedImages { train: 3, test: 4 };
    assert!(!report.to_json().contains("warnings"));
    report.warnings = vec!["the machine was busy".into()];
    assert!(report.to_json().contains("the machine was busy"));
    assert_eq!(RunReport::from_json(&report.to_json()).unwrap(), report);
}

#[test]
fn the_keys_that_scripts_read_are_there() {
    let value: Value = serde_json::from_str(&report().to_json()).unwrap();
    assert_eq!(value["schema"], "adwp/report/1");
    assert_eq!(value["params"], 3_214_567);
    let memory = json!({"name": "search", "seconds": 11_733.18,
        "planned_bytes": 7_012_345_678_u64, "peak_bytes": 7_112_345_678_u64});
    assert_eq!(value["phases"][1], memory);
    assert_eq!(value["phases"][3], json!({"name": "export", "seconds": 1.83}));
    assert_eq!(value["latency"][0]["p50_ms"], 11.021);
    assert_eq!(value["recipe"], json!(["rate 0.025 with cosine decay", "cutout 16"]));
    assert_eq!(value["skipped_images"], json!({"train": 0, "test": 0}));
    assert!(value.get("test_correct_with_flips").is_none());
}

#[test]
fn budgets_are_there_where_something_was_asked() {
    assert!(!report().to_json().contains("budgets"));
    let mut limited = report();
    let row = BudgetRow {
        resource: "params".to_owned(),
        limit: 3.3e6,
        unit: String::new(),
        predicted: Some(3.2e6),
        prediction_error: Some(0.02),
        value: None,
    };
    limited.budgets = vec![row];
    let text = limited.to_json();
    assert_eq!(RunReport::from_json(&text).unwrap(), limited);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value["budgets"],
        json!([{"resource": "params", "limit": 3.3e6, "unit": "", "predicted": 3.2e6,
            "prediction_error": 0.02, "value": null}])
    );
    let message = refusal(|report| {
        report["budgets"] = json!([{"resource": "params", "limit": 1, "unit": "", "most": 2}])
    });
    assert!(message.contains("unknown field `most`"), "{message}");
    limited.budgets[0].limit = f64::NAN;
    let text = limited.to_json();
    assert_eq!(RunReport::from_json(&text).unwrap().to_json(), text);
}

#[test]
fn a_digit_that_is_another_is_noticed() {
    let text = report().to_json().replacen("3214567", "3214566", 1);
    match RunReport::from_json(&text) {
        Err(e @ JsonError::Changed { .. }) => assert!(e.to_string().contains("checksum"), "{e}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_schema_is_named() {
    // The keys of another version differ as well, and are not what is complained of.
    let text = r#"{"schema": "adwp/report/2", "network": {}}"#;
    match RunReport::from_json(text) {
        Err(JsonError::Schema { found, expected }) => {
            assert_eq!([found.as_str(), expected], ["adwp/report/2", "adwp/report/1"])
        }
        other => panic!("{other:?}"),
    }
    assert!(
        refusal(|report| drop(report.as_object_mut().unwrap().remove("schema")))
            .contains("missing field `schema`")
    );
}

#[test]
fn unknown_and_missing_keys_are_named() {
    assert!(refusal(|report| report["flops"] = json!(1)).contains("unknown field `flops`"));
    for list in ["latency", "parity", "phases", "runtime_accuracy"] {
        assert!(
            refusal(|report| report[list][0]["colour"] = json!(1))
                .contains("unknown field `colour`"),
            "{list}"
        );
    }
    for key in ["madds", "test_accuracy", "genotype", "machine"] {
        let message = refusal(|report| drop(report.as_object_mut().unwrap().remove(key)));
        assert!(message.contains(&format!("missing field `{key}`")), "{message}");
    }
    assert!(refusal(|report| report["params"] = json!(-3)).contains("-3"));
    assert!(refusal(|report| report["test_accuracy"] = json!("high")).contains("high"));
}

#[test]
fn a_diverged_run_has_a_report() {
    let mut report = report();
    report.parity_max_abs = f64::NAN;
    report.latency[0].sd_ms = f64::INFINITY;
    let text = report.to_json();
    let read = RunReport::from_json(&text).unwrap();
    assert!(read.parity_max_abs.is_nan() && read.latency[0].sd_ms.is_nan());
    assert_eq!(read.to_json(), text);
}

#[test]
fn reports_from_before_recipes_are_read() {
    let old = changed(|report| {
        let report = report.as_object_mut().unwrap();
        report.remove("recipe").unwrap();
        report.remove("skipped_images").unwrap();
    });
    let read = RunReport::from_json(&old).unwrap();
    assert!(read.recipe.is_empty() && read.skipped_images == SkippedImages::default());
}
