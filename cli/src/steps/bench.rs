use std::time::{Duration, Instant};

use adwp_base::Result;
use adwp_measure::bench::{self, BenchOptions};
use adwp_measure::latency::LatencyOptions;
use adwp_measure::runtime::Runtime;
use adwp_train::Reporter;

use crate::run::Run;

/// Measures `model.onnx`: `bench.json`.
pub(crate) fn bench(run: &Run, reporter: &mut dyn Reporter) -> Result {
    if run.is_done("bench", "bench.json", reporter)? {
        return Ok(());
    }
    let start = Instant::now();
    let model = run.needs("model.onnx", "export")?;
    let library = run.ort_library(reporter);
    let settings = &run.config().bench;
    let options = BenchOptions {
        runtimes: Runtime::available(library.as_ref()),
        threads: settings.threads.clone(),
        latency: LatencyOptions {
            batch: 1,
            min_time: Duration::from_secs_f64(settings.min_time),
            repeats: settings.repeats,
            ..LatencyOptions::default()
        },
        ort_library: library,
        parity_images: settings.parity_images,
        ..BenchOptions::default()
    };
    let report =
        bench::run(&[model], &options, &mut |text| reporter.message(&format!("bench: {text}")))?;
    report.write(run.dir.file("bench.json"))?;
    run.finish("bench", start.elapsed().as_secs_f64())
}
