//! Fully connected layers: x `[n, inputs]`, weight `[outputs, inputs]`.

use rayon::prelude::*;

use super::{Write, dot};

/// Rows of the weight that one task handles.
const ROWS: usize = 256;

/// y = x · weightᵀ + bias.
pub(crate) fn forward(x: &[f32], inputs: usize, weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let outputs = weight.len() / inputs;
    let row = |x: &[f32], first: usize, y: &mut [f32]| {
        for (o, y) in y.iter_mut().enumerate().map(|(i, y)| (first + i, y)) {
            *y = dot(x, &weight[o * inputs..][..inputs]) + bias.map_or(0.0, |bias| bias[o]);
        }
    };
    if x.len() == inputs {
        // One sample: the generating blocks, whose outputs are many.
        y.par_chunks_mut(ROWS).enumerate().for_each(|(chunk, y)| row(x, chunk * ROWS, y));
    } else {
        y.par_chunks_mut(outputs).zip(x.par_chunks(inputs)).for_each(|(y, x)| row(x, 0, y));
    }
}

/// Gradient of the input.
pub(crate) fn backward_input(weight: &[f32], inputs: usize, dy: &[f32], dx: &mut [f32], write: Write) {
    let outputs = weight.len() / inputs;
    let combine = |dy: &[f32], weight: &[f32]| {
        let mut sum = vec![0f32; inputs];
        for (dy, weight) in dy.iter().zip(weight.chunks_exact(inputs)) {
            sum.iter_mut().zip(weight).for_each(|(sum, weight)| *sum += dy * weight);
        }
        sum
    };
    if dx.len() == inputs {
        let parts: Vec<Vec<f32>> =
            dy.par_chunks(ROWS).zip(weight.par_chunks(ROWS * inputs)).map(|(dy, weight)| combine(dy, weight)).collect();
        write.clear(dx);
        for part in parts {
            Write::Add.apply(dx, part);
        }
    } else {
        dx.par_chunks_mut(inputs).zip(dy.par_chunks(outputs)).for_each(|(dx, dy)| write.apply(dx, combine(dy, weight)));
    }
}

/// Gradient of the weight.
pub(crate) fn backward_weight(x: &[f32], inputs: usize, dy: &[f32], dweight: &mut [f32], write: Write) {
    let outputs = dweight.len() / inputs;
    dweight.par_chunks_mut(inputs).enumerate().with_min_len((4 * ROWS / inputs).max(1)).for_each(|(o, dweight)| {
        write.clear(dweight);
        for (x, dy) in x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)) {
            let dy = dy[o];
            Write::Add.apply(dweight, x.iter().map(|x| dy * x));
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
