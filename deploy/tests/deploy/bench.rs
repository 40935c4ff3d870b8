use std::{fs, time::Duration};

use adwp_measure::{
    DeployError,
    bench::{self, BenchOptions, BenchReport, Metric, Verdict},
    latency::LatencyOptions,
    runtime::{Runtime, Session, SessionOptions},
};
use tempfile::TempDir;
use tract_onnx::pb::{
    AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto, attribute_proto::AttributeType,
    tensor_proto::DataType,
};

use crate::{
    models::{Builder, CLASSIFIER_MADDS, CLASSIFIER_PARAMS, classifier, int},
    runtimes::runtimes,
};

fn quick(runtimes: Vec<Runtime>) -> BenchOptions {
    let latency = LatencyOptions {
        batch: 1,
        min_time: Duration::from_millis(5),
        repeats: 3,
        max_warm_up: Duration::from_millis(50),
    };
    BenchOptions {
        runtimes,
        latency,
        threads: vec![1, 2],
        profile: Some(Duration::from_millis(5)),
        ..Default::default()
    }
}

fn report(dir: &TempDir) -> BenchReport {
    let open = classifier(-1).metadata("adwp.params", "444").write(dir, "open.onnx");
    let fixed = classifier(3).write(dir, "fixed.onnx");
    let mut messages = Vec::new();
    let report = bench::run(&[open, fixed], &quick(runtimes()), &mut |message| {
        messages.push(message.to_owned())
    });
    assert!(messages.iter().any(|message| message.contains("fixed.onnx")));
    report.unwrap()
}

#[test]
fn a_file_that_is_none_is_left_out_of_those_that_are_measured() {
    let dir = TempDir::new().unwrap();
    let model = classifier(-1).write(&dir, "model.onnx");
    let [text, missing] = ["text.onnx", "missing.onnx"].map(|name| dir.path().join(name));
    std::fs::write(&text, "hello").unwrap();
    let options = BenchOptions { threads: vec![1], profile: None, ..quick(vec![Runtime::Tract]) };
    let mut said = Vec::new();
    let paths = [text.clone(), model, missing.clone()];
    let report = bench::run(&paths, &options, &mut |text| said.push(text.to_owned())).unwrap();
    assert_eq!((report.models.len(), report.models[0].latency.len()), (1, 1));
    let failed: Vec<_> = report.failed.iter().map(|failed| &failed.path).collect();
    assert_eq!(failed, [&text, &missing]);
    for reason in ["text.onnx: not an ONNX file", "missing.onnx: no such file"] {
        for told in [report.warnings(), said.clone()] {
            assert!(told.iter().any(|line| line.contains(reason)), "{told:?}");
        }
    }
    let kept = dir.path().join("bench.json");
    report.write(&kept).unwrap();
    assert_eq!(BenchReport::read(&kept).unwrap(), report);
    let error = bench::run(&[missing, text], &options, &mut |_| ()).unwrap_err();
    assert!(matches!(error, DeployError::Missing(_)), "{error}");
}

#[test]
fn a_report_holds_what_was_measured_and_survives_its_file() {
    let dir = TempDir::new().unwrap();
    let report = report(&dir);
    let with_ort = runtimes().contains(&Runtime::Ort);
    assert_eq!(report.models.len(), 2);
    assert_eq!((report.models[0].stated_params, report.models[1].stated_params), (Some(444), None));
    for (model, batch) in report.models.iter().zip([1, 3]) {
        let cost = model.cost.counted().unwrap();
        assert_eq!((cost.params, cost.madds), (CLASSIFIER_PARAMS, CLASSIFIER_MADDS));
        let sessions: Vec<_> =
            model.latency.iter().map(|latency| (latency.runtime, latency.threads)).collect();
        let expected = [(Runtime::Ort, 1), (Runtime::Ort, 2), (Runtime::Tract, 1)];
        assert_eq!(sessions, if with_ort { &expected[..] } else { &expected[2..] });
        for latency in &model.latency {
            assert_eq!((latency.batch, latency.repeat_mean_ms.len()), (batch, 3));
            let ordered =
                [latency.min_ms, latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms];
            assert!(ordered.is_sorted() && latency.min_ms > 0.0 && latency.n >= 3, "{latency:?}");
            assert!(latency.load_ms > 0.0 && latency.first_ms > 0.0 && latency.warm_up_runs > 0);
            let from_mean = batch as f64 * 1000.0 / latency.median_repeat_mean_ms;
            assert!((latency.throughput - from_mean).abs() < 1e-6 * from_mean);
        }
        assert_eq!(model.parity.len(), sessions.len() - 1);
        for other in &model.parity {
            assert!(
                other.parity.max_abs < 1e-4
                    && other.parity.top1_agree == 8
                    && other.parts_at.is_none(),
                "{other:?}"
            );
        }
        assert_eq!(model.profile.len(), sessions.len());
        for profile in &model.profile {
            let share: f64 = profile.nodes.iter().map(|node| node.share).sum();
            assert!(
                (share - 1.0).abs() < 1e-9
                    && profile.runs > 0
                    && profile.nodes.is_sorted_by(|a, b| a.ms >= b.ms),
                "{profile:?}"
            );
            // Which nodes a runtime merges is its business; one of the convolutions keeps its name.
            let costs =
                [64 * 162, 16 * 54, 16 * 48, 16 * 72].map(|madds| Some(batch as u64 * madds));
            assert!(
                profile
                    .nodes
                    .iter()
                    .any(|node| costs.contains(&node.madds) && node.gmacs.is_some()),
                "{profile:?}"
            );
        }
    }
    let path = dir.path().join("bench.json");
    report.write(&path).unwrap();
    assert_eq!(BenchReport::read(&path).unwrap(), report);
    let files: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(bench::compare(&report, &report, 0.0).unwrap().is_empty());
}

#[test]
fn reports_of_another_schema_and_unknown_keys_are_errors() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("bench.json");
    let report = report(&dir);
    report.write(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let refused = |text: &str| {
        fs::write(&path, text).unwrap();
        match BenchReport::read(&path) {
            Err(error @ DeployError::Report { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let damaged = refused(&text.replacen("\"repeats\": ", "\"repeats\": 1", 1));
    assert!(damaged.contains("bench.json") && damaged.contains("checksum"), "{damaged}");
    // As an older version wrote it.
    let text = adwp_base::output::as_json(&report).unwrap();
    fs::write(&path, &text).unwrap();
    assert_eq!(BenchReport::read(&path).unwrap(), report);
    assert!(refused(&text.replace("adwp/bench/2", "adwp/bench/1")).contains("adwp/bench/1"));
    assert!(refused(&text.replacen("\"cpu\"", "\"cpuu\"", 1)).contains("cpuu"));
    assert!(refused(&text.replacen("\"layers\"", "\"leyers\"", 1)).contains("leyers"));
    assert!(refused("{}").contains("schema"));
    assert!(refused("[1, 2]").contains("schema"));
    refused(&text[..text.len() / 2]);
    assert!(refused("").contains("bench.json"));
    assert!(matches!(
        BenchReport::read(dir.path().join("none.json")),
        Err(DeployError::Missing { .. })
    ));
}

#[test]
fn what_moved_is_found() {
    let dir = TempDir::new().unwrap();
    let mut before = report(&dir);
    // As if every repeat had been alike.
    for latency in before.models.iter_mut().flat_map(|model| &mut model.latency) {
        latency.repeat_min_ms = vec![latency.min_ms; 3];
    }
    let mut after = before.clone();
    after.models[0].latency[0].repeat_min_ms.iter_mut().for_each(|ms| *ms *= 1.2);
    let found = bench::compare(&before, &after, 0.1).unwrap();
    assert_eq!(
        (found.len(), found[0].metric, found[0].threads, found[0].verdict),
        (1, Metric::LatencyMs, Some(1), Verdict::Regression)
    );
    assert!((found[0].change() - 0.2).abs() < 1e-9);
    assert!(found[0].to_string().contains("open.onnx") && found[0].to_string().contains("+20.0 %"));
    assert!(bench::compare(&before, &after, 0.25).unwrap().is_empty());
    assert_eq!(bench::compare(&after, &before, 0.1).unwrap()[0].verdict, Verdict::Improvement);
    assert!(bench::compare(&before, &after, f64::NAN).is_err());
    assert!(bench::compare(&before, &before, 0.0).unwrap().is_empty());

    // Slower than a fast repeat that nothing confirms: nobody knows. Fast repeats among slow ones:
    // something else was going on.
    let fast = before.models[0].latency[0].min_ms;
    let with = |repeats: [f64; 5]| {
        let mut report = before.clone();
        report.models[0].latency[0].repeat_min_ms = repeats.map(|factor| factor * fast).to_vec();
        report
    };
    let unsure = bench::compare(&with([1.3, 1.0, 1.3, 1.3, 1.3]), &with([1.2; 5]), 0.05).unwrap();
    assert_eq!(unsure[0].verdict, Verdict::WithinNoise);
    assert_eq!(unsure[0].intervals, Some([(fast, 1.3 * fast), (1.2 * fast, 1.2 * fast)]));
    assert!(
        bench::compare(&with([1.0; 5]), &with([1.5, 1.0, 1.5, 1.0, 1.5]), 0.05).unwrap().is_empty()
    );
    // Without fastest runs in both, medians count.
    let mut older = with([1.0; 5]);
    older.models[0].latency[0].repeat_min_ms.clear();
    assert!(bench::compare(&older, &with([9.0; 5]), 0.05).unwrap().is_empty());
    older.models[0].latency[0].repeat_p50_ms.iter_mut().for_each(|ms| *ms *= 2.0);
    assert_eq!(bench::compare(&before, &older, 0.05).unwrap()[0].verdict, Verdict::Regression);

    let mut larger = before.clone();
    if let bench::CostReport::Counted(cost) = &mut larger.models[1].cost {
        (cost.params, cost.madds) = (cost.params * 2, cost.madds + 1);
    }
    let found = bench::compare(&before, &larger, 0.05).unwrap();
    assert_eq!(found.iter().map(|found| found.metric).collect::<Vec<_>>(), [Metric::Params]);

    let mut shorter = before.clone();
    shorter.models.remove(0);
    shorter.models[0].latency.clear();
    let found = bench::compare(&before, &shorter, 0.05).unwrap();
    assert_eq!(found.len(), 1 + before.models[1].latency.len());
    assert!(
        found
            .iter()
            .all(|found| found.metric == Metric::Missing && found.verdict == Verdict::Regression)
    );
    assert!(bench::compare(&shorter, &before, 0.05).unwrap().is_empty());
}

#[test]
fn settings_that_measure_nothing_are_errors() {
    let dir = TempDir::new().unwrap();
    let path = classifier(-1).write(&dir, "model.onnx");
    let run =
        |options: &BenchOptions| bench::run(std::slice::from_ref(&path), options, &mut |_| ());
    let mut no_repeats = quick(vec![Runtime::Tract]);
    no_repeats.latency.repeats = 0;
    assert!(matches!(run(&no_repeats), Err(DeployError::Setting { name: "repeats", .. })));
    assert!(matches!(run(&quick(vec![])), Err(DeployError::Setting { .. })));
    assert!(bench::run(&[], &quick(vec![Runtime::Tract]), &mut |_| ()).is_err());
    assert!(
        bench::run(&[dir.path().join("none.onnx")], &quick(vec![Runtime::Tract]), &mut |_| ())
            .is_err()
    );
}

#[test]
fn every_key_of_a_report_is_documented() {
    fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(object) => {
                for (key, value) in object {
                    found.push(key.clone());
                    keys(value, found);
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let dir = TempDir::new().unwrap();
    let mut report = report(&dir);
    let at = adwp_measure::bisect::Difference {
        node: "n".into(),
        op: "o".into(),
        after: None,
        max_abs: 1.0,
        largest: 1.0,
    };
    let memory = adwp_measure::trial::PeakMemory { peak_bytes: 2, before_bytes: 1 };
    for model in &mut report.models {
        model.parity.iter_mut().for_each(|parity| parity.parts_at = Some(at.clone()));
        model.latency.iter_mut().for_each(|latency| latency.memory = Some(memory));
    }
    let mut found = Vec::new();
    keys(&serde_json::to_value(&report).unwrap(), &mut found);
    let documented = include_str!("../../bench-schema.md");
    for key in found {
        assert!(documented.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn a_runtime_that_cannot_is_a_row_and_not_the_end() {
    let dir = TempDir::new().unwrap();
    // tract has no bfloat16.
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .node("GlobalAveragePool", &["x"], "gap", vec![])
        .node("Flatten", &["gap"], "flat", vec![])
        .node("Cast", &["flat"], "narrow", vec![int("to", DataType::Bfloat16 as i64)])
        .node("Cast", &["narrow"], "y", vec![int("to", DataType::Float as i64)])
        .output("y", &[-1, 4]);
    let narrow = model.write(&dir, "narrow.onnx");
    let usual = classifier(-1).write(&dir, "usual.onnx");
    let run = |paths: &[_], runtimes| bench::run(paths, &quick(runtimes), &mut |_| {});
    let alone = run(std::slice::from_ref(&narrow), vec![Runtime::Tract]).unwrap_err().to_string();
    assert!(alone.contains("narrow.onnx: tract cannot load"), "{alone}");

    let report = run(&[narrow.clone(), usual], runtimes()).unwrap();
    let [narrow_row, usual_row] = &report.models[..] else { unreachable!() };
    let [failed] = &narrow_row.failed[..] else { unreachable!() };
    assert_eq!((failed.runtime, failed.threads), (Runtime::Tract, 1));
    assert!(failed.reason.contains("narrow.onnx: tract cannot load"), "{}", failed.reason);
    assert!(report.warnings().contains(&failed.reason));
    let with_ort = usize::from(runtimes().contains(&Runtime::Ort));
    assert_eq!((narrow_row.latency.len(), narrow_row.profile.len()), (2 * with_ort, 2 * with_ort));
    // What follows in the list has the latencies that are its own.
    assert!(usual_row.failed.is_empty());
    assert_eq!(usual_row.latency.len(), 2 * with_ort + 1);
    assert_eq!(usual_row.latency.last().unwrap().runtime, Runtime::Tract);
    let path = dir.path().join("report.json");
    report.write(&path).unwrap();
    assert_eq!(BenchReport::read(&path).unwrap(), report);
}

/// A model that ends in `op` of the domain `local`, which the file itself defines: it negates.
fn with_function(op: &str) -> Builder {
    let mut model = classifier(-1);
    model.node(op, &["y"], "z", vec![]);
    model.graph().node.last_mut().unwrap().domain = "local".into();
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
    model.model.opset_import.push(opset("local", 1));
    let negative = NodeProto {
        op_type: "Neg".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        ..Default::default()
    };
    model.model.functions.push(FunctionProto {
        name: Some(op.into()),
        domain: Some("local".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![negative],
        opset_import: vec![opset("", 17)],
        ..Default::default()
    });
    model.graph().output.clear();
    model.output("z", &[-1, 4]);
    model
}

#[test]
fn a_function_of_the_file_is_not_what_tract_calls_so() {
    let dir = TempDir::new().unwrap();
    for (op, words) in [
        (
            "Relu",
            "node `z` is a function of the file, local.Relu, which it does not have, but another",
        ),
        ("Turn", "node `z` is a function of the file, local.Turn, which it does not have"),
    ] {
        let path = with_function(op).write(&dir, "function.onnx");
        let run = |runtimes| bench::run(std::slice::from_ref(&path), &quick(runtimes), &mut |_| {});
        let alone = run(vec![Runtime::Tract]).unwrap_err().to_string();
        assert!(alone.contains(words), "{alone}");
        if !runtimes().contains(&Runtime::Ort) {
            continue;
        }
        let report = run(runtimes()).unwrap();
        let model = &report.models[0];
        let cost = model.cost.counted().unwrap();
        assert_eq!((cost.params, cost.madds), (CLASSIFIER_PARAMS, CLASSIFIER_MADDS));
        assert_eq!(cost.unknown[0].op, format!("local.{op}"));
        assert!(model.latency.iter().all(|of| of.runtime == Runtime::Ort));
        assert_eq!((model.latency.len(), model.failed.len()), (2, 1));
        assert!(model.failed[0].reason.contains(words));
    }
    // Nor is what is inside of a node, or of another domain; but some of those it has.
    let refused = |model: &mut Builder, domain: &str, op: &str| {
        model.node(op, &["y"], "z", vec![]);
        model.graph().node.last_mut().unwrap().domain = domain.into();
        let opset = OperatorSetIdProto { domain: domain.into(), version: 1 };
        model.model.opset_import.push(opset);
        model.graph().output.clear();
        let path = model.output("z", &[-1, 4]).write(&dir, "domain.onnx");
        let options = SessionOptions::default();
        Session::load(Runtime::Tract, path, &options).map_err(|error| error.to_string()).err()
    };
    let error = refused(&mut classifier(-1), "com.microsoft", "Relu").unwrap();
    assert!(error.contains("an operator, com.microsoft.Relu, which it does not have"), "{error}");
    assert_eq!(refused(&mut classifier(-1), "com.microsoft", "QuickGelu"), None);
    assert_eq!(refused(&mut classifier(-1), "ai.onnx", "Relu"), None);
    let mut inside = with_function("Relu");
    let mut branch = inside.graph().clone();
    branch.node = branch.node.split_off(branch.node.len() - 1);
    (branch.input, branch.initializer) = Default::default();
    inside.graph().node.pop();
    let branch = |name: &str| AttributeProto {
        name: name.into(),
        r#type: AttributeType::Graph as i32,
        g: Some(branch.clone()),
        ..Default::default()
    };
    inside.integers("yes", DataType::Bool, &[1]);
    inside.node("If", &["yes"], "z", vec![branch("then_branch"), branch("else_branch")]);
    let path = inside.write(&dir, "inside.onnx");
    let error = Session::load(Runtime::Tract, path, &SessionOptions::default()).unwrap_err();
    assert!(error.to_string().contains("a function of the file, local.Relu"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_no_text_is_shown_as_far_as_it_is() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(OsStr::from_bytes(b"a\xffb.onnx"));
    fs::write(&path, classifier(-1).bytes()).unwrap();
    let report = bench::run(&[path], &quick(vec![Runtime::Tract]), &mut |_| {}).unwrap();
    let shown = report.models[0].path.to_str().unwrap();
    assert!(shown.ends_with("a\u{fffd}b.onnx"), "{shown}");
    report.write(dir.path().join("report.json")).unwrap();
}

#[test]
fn a_file_that_works_for_one_image_alone_is_compared_one_by_one() {
    let dir = TempDir::new().unwrap();
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .node("GlobalAveragePool", &["x"], "gap", vec![])
        .indices("shape", &[1, 4])
        .node("Reshape", &["gap", "shape"], "flat", vec![])
        .weight("w", &[4, 3])
        .node("MatMul", &["flat", "w"], "y", vec![])
        .output("y", &[-1, 3]);
    let path = model.write(&dir, "one.onnx");
    let report = bench::run(&[path], &quick(runtimes()), &mut |_| {}).unwrap();
    assert!(report.models[0].failed.is_empty(), "{:?}", report.models[0].failed);
    assert!(report.models[0].parity.iter().all(|of| of.parity.top1_agree == 8));
}
