//! A plain loop around tract, without anything of this crate: `tract_loop MODEL.onnx SECONDS` prints the median of its runs in milliseconds. `scripts/check-latency`
//! holds what the bench measures against it.
#![allow(clippy::print_stdout, reason = "its result")]

use std::{
    env,
    time::{Duration, Instant},
};

use tract_onnx::{prelude::*, tract_core::internal::TractErrorContext as _};

fn main() -> TractResult<()> {
    let mut args = env::args().skip(1);
    let (model, seconds) = (args.next().context("no model")?, args.next().context("no number of seconds")?.parse()?);
    let model = tract_onnx::onnx().model_for_path(model)?.into_optimized()?.into_runnable()?;
    let fact = model.model().input_fact(0)?.clone();
    let shape = fact.shape.as_concrete().context("the shape of the input is open")?;
    // Memory that nobody has written to would be one page that is read again and again.
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i % 255) as f32 / 127.0 - 1.0).collect();
    let images = Tensor::from_shape(shape, &values)?.into_tvalue();
    let run = || model.run(tvec!(images.clone()));
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_millis(300) {
        run()?;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort();
    println!("{}", times[times.len() / 2].as_secs_f64() * 1000.0);
    Ok(())
}
