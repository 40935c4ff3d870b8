//! Fully connected layers: x `[n, inputs]`, weight `[outputs, inputs]`.

use rayon::prelude::*;

use super::elementwise::scaled;
use super::{InTasks, Write};
use crate::simd::{kernel, sums2};

/// Rows of the weight that one task handles.
const ROWS: usize = 256;

kernel! {
    /// y = weight · x + bias, for rows of the weight.
    fn rows_times(simd, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        for (o, (y, weight)) in y.iter_mut().zip(weight.chunks_exact(x.len())).enumerate() {
            let [sum] = sums2(simd, x, weight, 0.0, |[sum], x, weight| {
                [simd.mul_add(x, weight, sum)]
            });
            *y = sum + bias.map_or(0.0, |bias| bias[o]);
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
}

/// y = x · weightᵀ + bias.
pub(crate) fn forward(
    x: &[f32],
    inputs: usize,
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let outputs = weight.len() / inputs;
    if x.len() == inputs {
        // One sample: the generating blocks, whose outputs are many.
        y.par_chunks_mut(ROWS)
            .zip(weight.par_chunks(ROWS * inputs))
            .in_tasks_of(1)
            .enumerate()
            .for_each(|(chunk, (y, weight))| {
                rows_times(x, weight, bias.map(|bias| &bias[chunk * ROWS..][..y.len()]), y);
            });
    } else {
        y.par_chunks_mut(outputs)
            .zip(x.par_chunks(inputs))
            .for_each(|(y, x)| rows_times(x, weight, bias, y));
    }
}

pub(crate) fn backward_input(
    weight: &[f32],
    inputs: usize,
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    let outputs = weight.len() / inputs;
    if dx.len() == inputs {
        let part = |(dy, weight): (&[f32], &[f32])| {
            let mut sum = vec![0f32; inputs];
            add_combination(dy, weight, &mut sum);
            sum
        };
        let parts: Vec<Vec<f32>> = dy
            .par_chunks(ROWS)
            .zip(weight.par_chunks(ROWS * inputs))
            .in_tasks_of(1)
            .map(part)
            .collect();
        write.clear(dx);
        parts.into_iter().for_each(|part| Write::Add.apply(dx, part));
    } else {
        dx.par_chunks_mut(inputs).zip(dy.par_chunks(outputs)).for_each(|(dx, dy)| {
            write.clear(dx);
            add_combination(dy, weight, dx);
        });
    }
}

pub(crate) fn backward_weight(
    x: &[f32],
    inputs: usize,
    dy: &[f32],
    dweight: &mut [f32],
    write: Write,
) {
    let outputs = dweight.len() / inputs;
    dweight.par_chunks_mut(inputs).enumerate().in_tasks_of((64 * ROWS / inputs).max(1)).for_each(
        |(o, dweight)| {
            for (n, (x, dy)) in x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)).enumerate() {
                scaled(dy[o], x, dweight, if n == 0 { write } else { Write::Add });
            }
        },
    );
}

pub(crate) fn backward_bias(dy: &[f32], dbias: &mut [f32], write: Write) {
    write.clear(dbias);
    for dy in dy.chunks_exact(dbias.len()) {
        Write::Add.apply(dbias, dy.iter().copied());
    }
}
