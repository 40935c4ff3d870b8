//! Fully connected layers: x `[n, inputs]`, weight `[outputs, inputs]`.

use rayon::prelude::*;

use super::{Write, lane_sum};
use crate::simd::kernel;

/// Rows of the weight that one task handles.
const ROWS: usize = 256;
const LANES: usize = 16;

kernel! {
    /// y = weight · x + bias, for rows of the weight.
    fn rows_times(simd, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        for (o, (y, weight)) in y.iter_mut().zip(weight.chunks_exact(x.len())).enumerate() {
            let ((xs, x_rest), (weights, weight_rest)) = (x.as_chunks::<LANES>(), weight.as_chunks::<LANES>());
            let mut lanes = [0f32; LANES];
            for (x, weight) in xs.iter().zip(weights) {
                for i in 0..LANES {
                    lanes[i] += x[i] * weight[i];
                }
            }
            *y = lane_sum(lanes) + x_rest.iter().zip(weight_rest).map(|(x, w)| x * w).sum::<f32>() + bias.map_or(0.0, |bias| bias[o]);
        }
    }

    /// sum += dy · weight, for rows of the weight.
    fn add_combination(simd, dy: &[f32], weight: &[f32], sum: &mut [f32]) {
        for (dy, weight) in dy.iter().zip(weight.chunks_exact(sum.len())) {
            for (sum, weight) in sum.iter_mut().zip(weight) {
                *sum += dy * weight;
            }
        }
    }

    /// to = factor · x, written or added.
    fn scaled(simd, factor: f32, x: &[f32], to: &mut [f32], write: Write) {
        match write {
            Write::Set => {
                for (to, x) in to.iter_mut().zip(x) {
                    *to = factor * x;
                }
            }
            Write::Add => {
                for (to, x) in to.iter_mut().zip(x) {
                    *to += factor * x;
                }
            }
        }
    }
}

/// y = x · weightᵀ + bias.
pub(crate) fn forward(x: &[f32], inputs: usize, weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let outputs = weight.len() / inputs;
    if x.len() == inputs {
        // One sample: the generating blocks, whose outputs are many.
        y.par_chunks_mut(ROWS).zip(weight.par_chunks(ROWS * inputs)).enumerate().for_each(|(chunk, (y, weight))| {
            rows_times(x, weight, bias.map(|bias| &bias[chunk * ROWS..][..y.len()]), y);
        });
    } else {
        y.par_chunks_mut(outputs).zip(x.par_chunks(inputs)).for_each(|(y, x)| rows_times(x, weight, bias, y));
    }
}

/// Gradient of the input.
pub(crate) fn backward_input(weight: &[f32], inputs: usize, dy: &[f32], dx: &mut [f32], write: Write) {
    let outputs = weight.len() / inputs;
    if dx.len() == inputs {
        let part = |(dy, weight): (&[f32], &[f32])| {
            let mut sum = vec![0f32; inputs];
            add_combination(dy, weight, &mut sum);
            sum
        };
        let parts: Vec<Vec<f32>> = dy.par_chunks(ROWS).zip(weight.par_chunks(ROWS * inputs)).map(part).collect();
        write.clear(dx);
        parts.into_iter().for_each(|part| Write::Add.apply(dx, part));
    } else {
        dx.par_chunks_mut(inputs).zip(dy.par_chunks(outputs)).for_each(|(dx, dy)| {
            write.clear(dx);
            add_combination(dy, weight, dx);
        });
    }
}

/// Gradient of the weight.
pub(crate) fn backward_weight(x: &[f32], inputs: usize, dy: &[f32], dweight: &mut [f32], write: Write) {
    let outputs = dweight.len() / inputs;
    dweight.par_chunks_mut(inputs).enumerate().with_min_len((64 * ROWS / inputs).max(1)).for_each(|(o, dweight)| {
        for (n, (x, dy)) in x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)).enumerate() {
            scaled(dy[o], x, dweight, if n == 0 { write } else { Write::Add });
        }
    });
}

/// Gradient of the bias.
pub(crate) fn backward_bias(dy: &[f32], dbias: &mut [f32], write: Write) {
    write.clear(dbias);
    for dy in dy.chunks_exact(dbias.len()) {
        Write::Add.apply(dbias, dy.iter().copied());
    }
}
