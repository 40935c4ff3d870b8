//! Operations that treat every element alike, and weighted sums.

use rayon::prelude::*;

use super::{CHUNK, Write, dot};

/// y = max(x, 0). What is no number stays none, so that a network that diverged shows it.
pub(crate) fn relu(x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| Write::Set.apply(y, x.iter().map(|x| if *x < 0.0 { 0.0 } else { *x })));
}

/// Gradient of relu from its output.
pub(crate) fn relu_backward(y: &[f32], dy: &[f32], dx: &mut [f32], write: Write) {
    dx.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK))).for_each(|(dx, (y, dy))| {
        write.apply(dx, y.iter().zip(dy).map(|(y, dy)| if *y > 0.0 { *dy } else { 0.0 }));
    });
}

/// y = factor · x, written or added.
pub(crate) fn scale(x: &[f32], factor: f32, y: &mut [f32], write: Write) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| write.apply(y, x.iter().map(|x| factor * x)));
}

/// y = x, written or added.
pub(crate) fn copy(x: &[f32], y: &mut [f32], write: Write) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| write.apply(y, x.iter().copied()));
}

/// y = Σ weight · x over the pairs given.
pub(crate) fn weighted_sum(terms: &[(f32, &[f32])], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, y)| {
        for (i, (weight, x)) in terms.iter().enumerate() {
            let x = &x[chunk * CHUNK..][..y.len()];
            let write = if i == 0 { Write::Set } else { Write::Add };
            write.apply(y, x.iter().map(|x| weight * x));
        }
    });
}

/// Σ a · b over fixed chunks, summed in order.
pub(crate) fn inner_product(a: &[f32], b: &[f32]) -> f32 {
    let parts: Vec<f32> = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(|(a, b)| dot(a, b)).collect();
    parts.into_iter().map(f64::from).sum::<f64>() as f32
}

/// y\[n\] = mask\[n\] · x\[n\], written or added.
pub(crate) fn scale_samples(x: &[f32], mask: &[f32], y: &mut [f32], write: Write) {
    let sample = x.len() / mask.len();
    y.par_chunks_mut(sample).zip(x.par_chunks(sample).zip(mask)).for_each(|(y, (x, &mask))| write.apply(y, x.iter().map(|x| mask * x)));
}

/// Gradient of the mask of [`scale_samples`].
pub(crate) fn scale_samples_mask_backward(x: &[f32], dy: &[f32], dmask: &mut [f32], write: Write) {
    let sample = x.len() / dmask.len();
    let products: Vec<f32> = x.par_chunks(sample).zip(dy.par_chunks(sample)).map(|(x, dy)| dot(x, dy)).collect();
    write.apply(dmask, products);
}
