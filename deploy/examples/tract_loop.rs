//! A plain loop around tract beside the bench, in turns: `tract_loop MODEL.onnx SECONDS TURNS` prints two medians of runs in milliseconds, those of the
//! bench and those of the loop. `scripts/check-latency` compares them.
//!
//! Both are one program: how fast tract's tensors are come by depends on what the allocator has seen, which has to be the same for both.
#![allow(clippy::print_stdout, reason = "its result")]

use std::{
    env,
    path::Path,
    time::{Duration, Instant},
};

use adwp_deploy::{
    latency::{self, LatencyOptions, TimedSession},
    onnx::OnnxModel,
    runtime::Runtime,
};
use tract_onnx::{prelude::*, tract_core::internal::TractErrorContext as _};

fn main() -> TractResult<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    let [path, seconds, turns] = args.as_slice() else { tract_onnx::tract_core::internal::bail!("tract_loop MODEL.onnx SECONDS TURNS") };
    let (time, turns) = (Duration::from_secs_f64(seconds.parse()?), turns.parse::<usize>()?);

    let model = OnnxModel::load(Path::new(path))?;
    let mut session = [TimedSession::start(&model, Runtime::Tract, 1, 1, None)?];
    let options = LatencyOptions { batch: 1, min_time: time, repeats: 1, ..LatencyOptions::default() };

    let model = tract_onnx::onnx().model_for_path(path)?.into_optimized()?.into_runnable()?;
    let fact = model.model().input_fact(0)?.clone();
    let shape = fact.shape.as_concrete().context("the shape of the input is open")?;
    // Memory that nobody has written to would be one page that is read again and again.
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i % 255) as f32 / 127.0 - 1.0).collect();
    let images = Tensor::from_shape(shape, &values)?.into_tvalue();
    let plain = |runs: usize, time: Duration| -> TractResult<Vec<f64>> {
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < runs || start.elapsed() < time {
            let start = Instant::now();
            model.run(tvec!(images.clone()))?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(times)
    };

    let (mut bench, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let report = latency::measure(&mut session, &options, &mut |_| ())?.remove(0);
        bench.push(report.p50_ms);
        // The bench warms up too.
        plain(report.warm_up_runs, Duration::ZERO)?;
        alone.push(median(plain(1, time)?));
    }
    println!("{} {}", median(bench), median(alone));
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    latency::percentile(&times, 50.0)
}
