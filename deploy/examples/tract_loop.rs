//! A plain loop around tract and the bench, in turns: `tract_loop MODEL.onnx SECONDS TURNS`
//! prints for each turn two medians of runs in milliseconds, that of the bench and that of the
//! loop. `scripts/check-latency` compares them.
//!
//! Both are one program: how fast tract's tensors are come by depends on what the allocator has
//! seen, which has to be the same for both.
#![allow(clippy::print_stdout, reason = "its result")]

use std::{
    env,
    path::Path,
    time::{Duration, Instant},
};

use adwp_measure::{
    latency::{self, LatencyOptions, TimedSession},
    onnx::OnnxModel,
    runtime::Runtime,
    statistics,
};
use tract_onnx::{prelude::*, tract_core::internal::TractErrorContext as _};

fn main() -> TractResult<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    let [path, seconds, turns] = args.as_slice() else {
        tract_onnx::tract_core::internal::bail!("tract_loop MODEL.onnx SECONDS TURNS")
    };
    let (time, turns) = (Duration::from_secs_f64(seconds.parse()?), turns.parse::<usize>()?);

    let model = OnnxModel::load(Path::new(path))?;
    let mut session = [TimedSession::start(&model, Runtime::Tract, 1, 1, None)?];

    let model = tract_onnx::onnx().model_for_path(path)?.into_optimized()?.into_runnable()?;
    let fact = model.model().input_fact(0)?.clone();
    let shape = fact.shape.as_concrete().context("the shape of the input is open")?;
    // Memory that nobody has written to would be one page that is read again and again.
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|i: usize| (i % 255) as f32 / 127.0 - 1.0).collect();
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

    let warm_up = latency::measure(
        &mut session,
        &LatencyOptions { batch: 1, min_time: time, repeats: 1, ..LatencyOptions::default() },
        &mut |_| (),
    )?;
    plain(warm_up[0].warm_up_runs, time)?;
    let options =
        LatencyOptions { batch: 1, min_time: time, repeats: 1, max_warm_up: Duration::ZERO };
    for _ in 0..turns {
        let report = latency::measure(&mut session, &options, &mut |_| ())?.remove(0);
        println!("{} {}", report.p50_ms, median(plain(1, time)?));
    }
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    statistics::percentile(&times, 50.0)
}
