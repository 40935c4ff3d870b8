//! Convolution with any number of groups: pointwise directly, others by unfolding each sample's windows into a matrix.

use rayon::prelude::*;

use super::window::Window;
use super::{Write, depthwise, matmul};
use crate::graph::Conv2d;

/// The sizes of a convolution.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    window: Window,
    groups: usize,
    /// Input and output channels of one group.
    inputs: usize,
    outputs: usize,
}

/// Sample chunks whose weight gradients are summed separately, then in order: fixed, so that the sum does not depend on the threads.
const WEIGHT_CHUNKS: usize = 8;

impl Geometry {
    /// From the shapes of input, weight and output.
    pub(crate) fn new(conv: &Conv2d, x: [usize; 4], weight: [usize; 4], y: [usize; 4]) -> Self {
        let window = Window::new([x[2], x[3]], [y[2], y[3]], weight[2], conv.stride, conv.padding, conv.dilation);
        Self { window, groups: conv.groups, inputs: weight[1], outputs: weight[0] / conv.groups }
    }

    fn is_depthwise(&self) -> bool {
        self.inputs == 1 && self.outputs == 1
    }

    /// Whether the input itself is the matrix of windows.
    fn is_direct(&self) -> bool {
        let w = &self.window;
        w.kernel == 1 && w.stride == 1 && w.padding == 0
    }

    /// Rows of the matrix of windows.
    fn terms(&self) -> usize {
        self.inputs * self.window.kernel * self.window.kernel
    }

    fn x_group(&self) -> usize {
        self.inputs * self.window.plane()
    }

    fn y_group(&self) -> usize {
        self.outputs * self.window.out_plane()
    }

    fn weight_group(&self) -> usize {
        self.outputs * self.terms()
    }

    /// Calls `f` with every position of the matrix of windows that lies inside of the input: its index there and the input's.
    fn each_row(&self, mut f: impl FnMut(usize, RowSpan)) {
        let w = &self.window;
        for channel in 0..self.inputs {
            for ky in 0..w.kernel {
                for kx in 0..w.kernel {
                    let row = (channel * w.kernel + ky) * w.kernel + kx;
                    // Output columns whose input column lies inside: 0 ≤ ox · stride + kx · dilation - padding < w.
                    let shift = kx * w.dilation;
                    let from = w.padding.saturating_sub(shift).div_ceil(w.stride).min(w.out_w);
                    let to = (w.w + w.padding).saturating_sub(shift).div_ceil(w.stride).min(w.out_w).max(from);
                    for oy in 0..w.out_h {
                        let y = oy * w.stride + ky * w.dilation;
                        let inside = (w.padding..w.h + w.padding).contains(&y) && to > from;
                        f(
                            (row * w.out_h + oy) * w.out_w,
                            RowSpan {
                                from: if inside { from } else { w.out_w },
                                to: if inside { to } else { w.out_w },
                                start: if inside { (channel * w.h + y - w.padding) * w.w + from * w.stride + shift - w.padding } else { 0 },
                            },
                        );
                    }
                }
            }
        }
    }

    fn unfold(&self, x: &[f32], columns: &mut [f32]) {
        let w = &self.window;
        self.each_row(|at, span| {
            let row = &mut columns[at..at + w.out_w];
            row[..span.from].fill(0.0);
            row[span.to..].fill(0.0);
            let inside = &mut row[span.from..span.to];
            if inside.is_empty() {
                row.fill(0.0);
            } else {
                inside.iter_mut().zip(x[span.start..].iter().step_by(w.stride)).for_each(|(c, x)| *c = *x);
            }
        });
    }

    fn fold_into(&self, columns: &[f32], dx: &mut [f32]) {
        let w = &self.window;
        self.each_row(|at, span| {
            let inside = &columns[at + span.from..at + span.to];
            dx[span.start..].iter_mut().step_by(w.stride).zip(inside).for_each(|(x, c)| *x += c);
        });
    }
}

/// Columns `from..to` of an output row read inputs from index `start` on.
struct RowSpan {
    from: usize,
    to: usize,
    start: usize,
}

/// x `[n, c, h, w]` with weight `[o, c / groups, k, k]` → y.
pub(crate) fn forward(g: &Geometry, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    if g.is_depthwise() {
        return depthwise::forward(&g.window, g.groups, x, weight, bias, y);
    }
    let positions = g.window.out_plane();
    y.par_chunks_mut(g.groups * g.y_group()).zip(x.par_chunks(g.groups * g.x_group())).for_each_init(
        || (Vec::new(), vec![0.0; if g.is_direct() { 0 } else { g.terms() * positions }]),
        |(packed, columns), (y, x)| {
            for (group, (y, x)) in y.chunks_exact_mut(g.y_group()).zip(x.chunks_exact(g.x_group())).enumerate() {
                let weight = &weight[group * g.weight_group()..][..g.weight_group()];
                let bias = bias.map(|bias| &bias[group * g.outputs..][..g.outputs]);
                let matrix = if g.is_direct() {
                    x
                } else {
                    g.unfold(x, columns);
                    &*columns
                };
                matmul::multiply(weight, matrix, bias, y, positions, Write::Set, packed);
            }
        },
    );
}

/// Gradient of the input.
pub(crate) fn backward_input(g: &Geometry, weight: &[f32], dy: &[f32], dx: &mut [f32], write: Write) {
    if g.is_depthwise() {
        return depthwise::backward_input(&g.window, g.groups, weight, dy, dx, write);
    }
    let positions = g.window.out_plane();
    let (terms, outputs) = (g.terms(), g.outputs);
    let mut transposed = vec![0.0; weight.len()];
    for (transposed, weight) in transposed.chunks_exact_mut(g.weight_group()).zip(weight.chunks_exact(g.weight_group())) {
        for (i, value) in weight.iter().enumerate() {
            transposed[(i % terms) * outputs + i / terms] = *value;
        }
    }
    dx.par_chunks_mut(g.groups * g.x_group()).zip(dy.par_chunks(g.groups * g.y_group())).for_each_init(
        || (Vec::new(), vec![0.0; if g.is_direct() { 0 } else { terms * positions }]),
        |(packed, columns), (dx, dy)| {
            for (group, (dx, dy)) in dx.chunks_exact_mut(g.x_group()).zip(dy.chunks_exact(g.y_group())).enumerate() {
                let transposed = &transposed[group * g.weight_group()..][..g.weight_group()];
                if g.is_direct() {
                    matmul::multiply(transposed, dy, None, dx, positions, write, packed);
                } else {
                    matmul::multiply(transposed, dy, None, columns, positions, Write::Set, packed);
                    write.clear(dx);
                    g.fold_into(columns, dx);
                }
            }
        },
    );
}

/// Gradient of the weight.
pub(crate) fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32], dweight: &mut [f32], write: Write) {
    if g.is_depthwise() {
        return depthwise::backward_weight(&g.window, g.groups, x, dy, dweight, write);
    }
    let positions = g.window.out_plane();
    let (x_sample, y_sample) = (g.groups * g.x_group(), g.groups * g.y_group());
    let batch = x.len() / x_sample;
    let chunk = batch.div_ceil(WEIGHT_CHUNKS);
    let partials: Vec<Vec<f32>> = (0..batch.div_ceil(chunk))
        .into_par_iter()
        .map(|c| {
            let mut partial = vec![0.0; dweight.len()];
            let mut scratch = Vec::new();
            let mut columns = vec![0.0; if g.is_direct() { 0 } else { g.terms() * positions }];
            for n in c * chunk..((c + 1) * chunk).min(batch) {
                let (x, dy) = (&x[n * x_sample..][..x_sample], &dy[n * y_sample..][..y_sample]);
                let groups = x.chunks_exact(g.x_group()).zip(dy.chunks_exact(g.y_group()));
                for ((x, dy), partial) in groups.zip(partial.chunks_exact_mut(g.weight_group())) {
                    let matrix = if g.is_direct() {
                        x
                    } else {
                        g.unfold(x, &mut columns);
                        &columns
                    };
                    matmul::add_products_of_rows(dy, matrix, partial, positions, &mut scratch);
                }
            }
            partial
        })
        .collect();
    write.clear(dweight);
    for partial in partials {
        Write::Add.apply(dweight, partial);
    }
}

/// Gradient of the bias: the sum over batch and positions.
pub(crate) fn backward_bias(g: &Geometry, dy: &[f32], dbias: &mut [f32], write: Write) {
    let (channels, positions) = (g.groups * g.outputs, g.window.out_plane());
    let sums: Vec<f32> = (0..channels)
        .into_par_iter()
        .map(|channel| {
            let planes = dy.chunks_exact(positions).skip(channel).step_by(channels);
            planes.map(|plane| plane.iter().map(|&v| f64::from(v)).sum::<f64>()).sum::<f64>() as f32
        })
        .collect();
    write.apply(dbias, sums);
}
