//! Softmax and cross-entropy.

use super::Write;

/// Softmax of every row of `width` elements.
pub(crate) fn softmax(x: &[f32], width: usize, y: &mut [f32]) {
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - max).exp());
        let sum: f32 = y.iter().sum();
        y.iter_mut().for_each(|y| *y /= sum);
    }
}

/// Gradient of softmax from its output.
pub(crate) fn softmax_backward(y: &[f32], width: usize, dy: &[f32], dx: &mut [f32], write: Write) {
    for ((y, dy), dx) in
        y.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width))
    {
        let mean: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
        write.apply(dx, y.iter().zip(dy).map(|(y, dy)| y * (dy - mean)));
    }
}

/// The class a label names. Others have none: the loss is then not finite, which the training loop
/// reports.
fn class_of(label: f32, classes: usize) -> Option<usize> {
    (label >= 0.0 && label < classes as f32 && label.fract() == 0.0).then_some(label as usize)
}

/// Mean over the batch of (1 - smoothing) · (-log p\[label\]) + smoothing · mean over classes of
/// -log p.
pub(crate) fn cross_entropy(logits: &[f32], labels: &[f32], smoothing: f32) -> f32 {
    let classes = logits.len() / labels.len();
    let smoothing = f64::from(smoothing);
    let total: f64 = logits
        .chunks_exact(classes)
        .zip(labels)
        .map(|(logits, &label)| {
            let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let log_sum =
                logits.iter().map(|&z| (f64::from(z) - max).exp()).sum::<f64>().ln() + max;
            let mean = logits.iter().map(|&z| f64::from(z)).sum::<f64>() / classes as f64;
            let target =
                class_of(label, classes).map_or(f64::NAN, |class| f64::from(logits[class]));
            log_sum - (1.0 - smoothing) * target - smoothing * mean
        })
        .sum();
    (total / labels.len() as f64) as f32
}

/// Gradient of the logits, times the gradient `dloss` of the loss.
pub(crate) fn cross_entropy_backward(
    logits: &[f32],
    labels: &[f32],
    smoothing: f32,
    dloss: f32,
    dlogits: &mut [f32],
    write: Write,
) {
    let classes = logits.len() / labels.len();
    let scale = dloss / labels.len() as f32;
    let even = smoothing / classes as f32;
    let mut p = vec![0.0; classes];
    for ((logits, &label), dlogits) in
        logits.chunks_exact(classes).zip(labels).zip(dlogits.chunks_exact_mut(classes))
    {
        softmax(logits, classes, &mut p);
        let class = class_of(label, classes);
        let target = |k| match class {
            Some(class) if class == k => even + (1.0 - smoothing),
            Some(_) => even,
            None => f32::NAN,
        };
        write.apply(dlogits, p.iter().enumerate().map(|(k, p)| scale * (p - target(k))));
    }
}
