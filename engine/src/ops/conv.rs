//! Convolution as a product of matrices: the weight times the matrix of what the windows see, one
//! or a few samples at a time.
//!
//! How that matrix comes about is the [`Lead`]: it is the input itself, its unfolded windows, or
//! the output of a depthwise convolution that has no other reader and so never leaves the cache.

use std::ops::Range;

use rayon::prelude::*;

use super::batch_norm::{PlaneMoments, Sums, plane_moments, plane_sums};
use super::matmul::{self, Matrix};
use super::scratch::{self, Scratch};
use super::view::{self, Gradients, Values, read_gradient};
use super::window::{self, Window};
use super::{InTasks, TASKS, Write, chunks_if_wanted, depthwise};
use crate::Conv2d;
use crate::aligned::Aligned;
use crate::simd::MOST_LANES;

/// The sizes of a convolution.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    /// Of a depthwise convolution with the same stride and padding in both directions.
    window: Option<Window>,
    axes: [Axis; 2],
    dilation: usize,
    pub(crate) groups: usize,
    /// Input and output channels of one group.
    inputs: usize,
    outputs: usize,
}

/// One direction of a convolution: down or across.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// Columns of the matrices that samples of few positions are put together for.
const COLUMNS: usize = 256;
/// Elements of all matrices of a block beyond which it is divided where it can be: what stays in
/// the second cache.
const CACHED: usize = 96 << 10;
/// Fewest positions for which the output is written where it belongs at once.
const DIRECT: usize = 64;
/// Between the rows of a matrix, so that rows of a power of two do not all fall into the same lines
/// of the cache.
const GAP: usize = MOST_LANES;

impl Geometry {
    /// From the shapes of input, weight and output.
    pub(crate) fn new(conv: &Conv2d, x: [usize; 4], weight: [usize; 4], y: [usize; 4]) -> Self {
        let axes = [0, 1].map(|i| Axis {
            size: x[2 + i],
            out: y[2 + i],
            kernel: weight[2 + i],
            stride: conv.stride[i],
            padding: conv.padding[i],
        });
        let [down, across] = axes;
        let is_square = (down.kernel, down.stride, down.padding)
            == (across.kernel, across.stride, across.padding);
        let (inputs, outputs) = (weight[1], weight[0] / conv.groups);
        let window = (inputs == 1 && outputs == 1 && is_square).then(|| {
            Window::new(
                [x[2], x[3]],
                [y[2], y[3]],
                down.kernel,
                down.stride,
                down.padding,
                conv.dilation,
            )
        });
        Self { window, axes, dilation: conv.dilation, groups: conv.groups, inputs, outputs }
    }

    /// The window of a depthwise convolution with the same stride and padding in both directions:
    /// it has kernels of its own.
    pub(crate) fn depthwise(&self) -> Option<&Window> {
        self.window.as_ref()
    }

    /// Whether the input itself is the matrix of windows.
    pub(crate) fn is_pointwise(&self) -> bool {
        let is_plain = |axis: &Axis| {
            (axis.kernel, axis.stride, axis.padding, axis.out) == (1, 1, 0, axis.size)
        };
        self.axes.iter().all(is_plain)
    }

    pub(crate) fn out_channels(&self) -> usize {
        self.groups * self.outputs
    }

    /// Rows of the matrix of windows of one group.
    fn terms(&self) -> usize {
        self.inputs * self.axes[0].kernel * self.axes[1].kernel
    }

    fn weight_group(&self) -> usize {
        self.outputs * self.terms()
    }

    /// Calls `f` with every row of the output's columns in the matrix of windows of one group: its
    /// row there, its first column, and which input it reads.
    fn each_row(&self, mut f: impl FnMut(usize, usize, RowSpan)) {
        let [down, across] = &self.axes;
        for channel in 0..self.inputs {
            for ky in 0..down.kernel {
                for kx in 0..across.kernel {
                    let row = (channel * down.kernel + ky) * across.kernel + kx;
                    // Output columns whose input column lies inside: 0 ≤ ox · stride + kx ·
                    // dilation - padding < w.
                    let shift = kx * self.dilation;
                    let from = across
                        .padding
                        .saturating_sub(shift)
                        .div_ceil(across.stride)
                        .min(across.out);
                    let to = (across.size + across.padding)
                        .saturating_sub(shift)
                        .div_ceil(across.stride)
                        .min(across.out)
                        .max(from);
                    for oy in 0..down.out {
                        let y = oy * down.stride + ky * self.dilation;
                        let inside =
                            (down.padding..down.size + down.padding).contains(&y) && to > from;
                        let start = || {
                            (channel * down.size + y - down.padding) * across.size
                                + from * across.stride
                                + shift
                                - across.padding
                        };
                        let span = if inside {
                            RowSpan { from, to, start: start() }
                        } else {
                            RowSpan { from: 0, to: 0, start: 0 }
                        };
                        f(row, oy * across.out, span);
                    }
                }
            }
        }
    }

    /// The windows of one group of a sample, as rows `stride` apart.
    fn unfold(&self, x: &[f32], columns: &mut [f32], stride: usize) {
        let across = &self.axes[1];
        self.each_row(|row, at, span| {
            let row = &mut columns[row * stride + at..][..across.out];
            row[..span.from].fill(0.0);
            row[span.to..].fill(0.0);
            let inside = &mut row[span.from..span.to];
            if across.stride == 1 {
                inside.copy_from_slice(&x[span.start..][..inside.len()]);
            } else if !inside.is_empty() {
                inside
                    .iter_mut()
                    .zip(x[span.start..].iter().step_by(across.stride))
                    .for_each(|(c, x)| *c = *x);
            }
        });
    }

    /// The transpose of [`Self::unfold`]: adds to `dx`.
    fn fold(&self, columns: &[f32], stride: usize, dx: &mut [f32]) {
        let across = &self.axes[1];
        self.each_row(|row, at, span| {
            let inside = &columns[row * stride + at..][span.from..span.to];
            if !inside.is_empty() {
                dx[span.start..]
                    .iter_mut()
                    .step_by(across.stride)
                    .zip(inside)
                    .for_each(|(x, c)| *x += c);
            }
        });
    }
}

/// Columns `from..to` of an output row read inputs from index `start` on.
struct RowSpan {
    from: usize,
    to: usize,
    start: usize,
}

/// A depthwise convolution whose only reader is a pointwise one.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise<'a> {
    pub(crate) window: &'a Window,
    pub(crate) weight: &'a [f32],
}

/// What makes the matrix that the weight is multiplied with.
enum Lead<'a> {
    Input,
    Windows,
    Depthwise(Depthwise<'a>),
}

/// One convolution, and the depthwise one before it where that is done on the way.
pub(crate) struct Chain<'a> {
    geometry: &'a Geometry,
    x: Values<'a>,
    lead: Lead<'a>,
    weight: &'a [f32],
}

/// Samples whose matrices are side by side, and which positions of each.
#[derive(Clone)]
struct Block {
    samples: Range<usize>,
    positions: Range<usize>,
}

impl Block {
    fn columns(&self) -> usize {
        self.samples.len() * self.positions.len()
    }
}

/// What the backward pass of a [`Chain`] is asked for. Those of weights have the shape of the
/// weight.
pub(crate) struct Wanted<'a> {
    pub(crate) dx: Option<(&'a mut [f32], Write)>,
    /// Sums for the normalisation that x is read through; `dx` is then its whole gradient.
    pub(crate) sums: Option<Sums<'a>>,
    pub(crate) dweight: Option<(&'a mut [f32], Write)>,
    pub(crate) ddepthwise: Option<(&'a mut [f32], Write)>,
}

/// Sums of weight gradients over some samples; empty where they are not wanted.
struct Partial<'a> {
    weight: &'a mut [f32],
    depthwise: &'a mut [f32],
}

impl<'a> Chain<'a> {
    pub(crate) fn new(
        geometry: &'a Geometry,
        x: Values<'a>,
        depthwise: Option<Depthwise<'a>>,
        weight: &'a [f32],
    ) -> Self {
        let lead = match depthwise {
            Some(depthwise) => Lead::Depthwise(depthwise),
            None if geometry.is_pointwise() => Lead::Input,
            None => Lead::Windows,
        };
        Self { geometry, x, lead, weight }
    }

    fn positions(&self) -> usize {
        self.geometry.axes[0].out * self.geometry.axes[1].out
    }

    fn terms_of_all_groups(&self) -> usize {
        self.geometry.groups * self.geometry.terms()
    }

    /// Samples that are put together into one matrix.
    fn together(&self) -> usize {
        (COLUMNS / self.positions()).max(1)
    }

    fn in_channels(&self) -> usize {
        self.x.channels
    }

    fn batch(&self) -> usize {
        self.x.data.len() / (self.x.channels * self.x.plane)
    }

    /// y, and the moments of its planes where a normalisation by batch statistics follows.
    pub(crate) fn forward(
        &self,
        bias: Option<&[f32]>,
        y: &mut [f32],
        moments: Option<&mut [PlaneMoments]>,
    ) {
        let (g, positions) = (self.geometry, self.positions());
        let together = match self.lead {
            // A depthwise convolution of small planes is done two samples at a time.
            Lead::Depthwise(_) if 2 * positions <= COLUMNS => self.together().min(2),
            Lead::Input | Lead::Windows | Lead::Depthwise(_) if positions >= DIRECT => 1,
            Lead::Input | Lead::Windows | Lead::Depthwise(_) => self.together(),
        };
        let sample = g.out_channels() * positions;
        let moments =
            chunks_if_wanted(moments, together * g.out_channels(), self.batch().div_ceil(together));
        y.par_chunks_mut(together * sample).zip(moments).in_tasks_of(1).enumerate().for_each(
            |(block, (y, moments))| {
                let samples = block * together..block * together + y.len() / sample;
                scratch::with(|scratch| self.block_forward(samples, bias, y, scratch));
                if let Some(moments) = moments {
                    y.chunks_exact(positions)
                        .zip(moments)
                        .for_each(|(y, moments)| *moments = plane_moments(y));
                }
            },
        );
    }

    fn block_forward(
        &self,
        samples: Range<usize>,
        bias: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (g, positions) = (self.geometry, self.positions());
        let columns = samples.len() * positions;
        if matches!(self.lead, Lead::Input) && samples.len() == 1 {
            let channels = self.in_channels();
            let planes: Vec<_> =
                (0..channels).map(|c| self.x.at(samples.start * channels + c)).collect();
            for group in 0..g.groups {
                let b = Matrix::Planes(&planes[group * g.inputs..][..g.inputs]);
                self.product(
                    group,
                    b,
                    bias,
                    &mut y[group * g.outputs * positions..],
                    positions,
                    columns,
                    &mut scratch.packed,
                );
            }
            return;
        }
        let stride = columns + GAP;
        scratch.matrix.resize(self.terms_of_all_groups() * stride);
        self.fill_matrix(&Block { samples, positions: 0..positions }, stride, scratch);
        if positions >= DIRECT {
            for (at, y) in y.chunks_exact_mut(g.out_channels() * positions).enumerate() {
                for group in 0..g.groups {
                    let b = Matrix::Rows {
                        data: &scratch.matrix[group * g.terms() * stride + at * positions..],
                        stride,
                    };
                    self.product(
                        group,
                        b,
                        bias,
                        &mut y[group * g.outputs * positions..],
                        positions,
                        positions,
                        &mut scratch.packed,
                    );
                }
            }
            return;
        }
        scratch.output.resize(g.out_channels() * stride);
        for group in 0..g.groups {
            let b = Matrix::Rows { data: &scratch.matrix[group * g.terms() * stride..], stride };
            let c = &mut scratch.output[group * g.outputs * stride..];
            self.product(group, b, bias, c, stride, columns, &mut scratch.packed);
        }
        for (i, y) in y.chunks_exact_mut(positions).enumerate() {
            let (n, o) = (i / g.out_channels(), i % g.out_channels());
            y.copy_from_slice(&scratch.output[o * stride + n * positions..][..positions]);
        }
    }

    #[allow(clippy::too_many_arguments)] // the operands of one product
    fn product(
        &self,
        group: usize,
        b: Matrix<'_>,
        bias: Option<&[f32]>,
        c: &mut [f32],
        stride: usize,
        columns: usize,
        packed: &mut Aligned,
    ) {
        let g = self.geometry;
        let weight = &self.weight[group * g.weight_group()..][..g.weight_group()];
        let bias = bias.map(|bias| &bias[group * g.outputs..][..g.outputs]);
        matmul::multiply(weight, b, g.terms(), bias, c, stride, columns, packed);
    }

    /// The matrix of a block, rows `stride` apart; of all positions where the lead is not the
    /// input.
    fn fill_matrix(&self, block: &Block, stride: usize, scratch: &mut Scratch) {
        let (g, positions, channels) = (self.geometry, block.positions.len(), self.in_channels());
        if let Lead::Depthwise(d) = &self.lead {
            return self.fill_by_depthwise(d, block, stride, scratch);
        }
        for (at, n) in block.samples.clone().enumerate() {
            let planes = (0..channels).map(|c| self.x.at(n * channels + c));
            match &self.lead {
                Lead::Input => {
                    for (c, plane) in planes.enumerate() {
                        view::materialize(
                            plane.part(block.positions.clone()),
                            &mut scratch.matrix[c * stride + at * positions..][..positions],
                        );
                    }
                }
                Lead::Depthwise(_) => unreachable!("done above"),
                Lead::Windows => {
                    let size = self.x.plane;
                    let x = if self.x.is_plain() {
                        &self.x.data[n * channels * size..][..channels * size]
                    } else {
                        scratch.sample.resize(channels * size);
                        planes
                            .zip(scratch.sample.chunks_exact_mut(size))
                            .for_each(|(plane, x)| view::materialize(plane, x));
                        &scratch.sample[..]
                    };
                    for (group, x) in x.chunks_exact(g.inputs * size).enumerate() {
                        let from = group * g.terms() * stride + at * positions;
                        g.unfold(x, &mut scratch.matrix[from..], stride);
                    }
                }
            }
        }
    }

    /// The matrix that a depthwise convolution makes, two samples at a time. The padded planes
    /// stay, one sample after the other.
    fn fill_by_depthwise(
        &self,
        d: &Depthwise<'_>,
        block: &Block,
        stride: usize,
        scratch: &mut Scratch,
    ) {
        let (positions, channels, size) =
            (block.positions.len(), self.in_channels(), d.window.scratch_len());
        let padded = scratch.padded.prepare(d.window, block.samples.len() * channels, 0.0);
        for (pair, padded) in padded.chunks_mut(2 * channels * size).enumerate() {
            let first = 2 * pair;
            for c in 0..channels {
                for (at, padded) in padded.chunks_exact_mut(channels * size).enumerate() {
                    let plane = self.x.at((block.samples.start + first + at) * channels + c);
                    window::load(d.window, plane, &mut padded[c * size..][..size]);
                }
                let weight = &d.weight[c * d.window.taps()..][..d.window.taps()];
                let to = &mut scratch.matrix[c * stride + first * positions..];
                if padded.len() == channels * size {
                    window::correlate(
                        d.window,
                        &padded[c * size..][..size],
                        weight,
                        &mut to[..positions],
                    );
                } else {
                    window::correlate_two(
                        d.window,
                        &padded[c * size..],
                        channels * size,
                        weight,
                        to,
                        positions,
                    );
                }
            }
        }
    }

    /// The gradients wanted, from that of the output.
    pub(crate) fn backward(&self, dy: Gradients<'_>, wanted: Wanted<'_>) {
        let Wanted { dx, sums, dweight, ddepthwise } = wanted;
        let batch = self.batch();
        let chunk = batch.div_ceil(TASKS);
        let in_sample = self.in_channels() * self.x.plane;
        let write = dx.as_ref().map_or(Write::Set, |(_, write)| *write);
        let turned = self.turned_weight();
        let count = batch.div_ceil(chunk);
        let mut dx_chunks = chunks_if_wanted(dx.map(|(dx, _)| dx), chunk * in_sample, count);
        let (sums, means) = sums.map_or((None, &[][..]), |sums| (Some(sums.planes), sums.means));
        let mut sum_chunks = chunks_if_wanted(sums, chunk * self.in_channels(), count);
        let weights = if dweight.is_some() { self.weight.len() } else { 0 };
        let size = weights + if ddepthwise.is_some() { self.depthwise_weights() } else { 0 };
        scratch::with_sums(count * size, |partials| {
            let mut partial_chunks =
                chunks_if_wanted((size > 0).then_some(&mut *partials), size, count);
            let tasks = dx_chunks
                .par_iter_mut()
                .zip(&mut sum_chunks)
                .zip(&mut partial_chunks)
                .in_tasks_of(1)
                .enumerate();
            tasks.for_each(|(index, ((dx, sums), partial))| {
                let (weight, depthwise) =
                    partial.as_deref_mut().unwrap_or_default().split_at_mut(weights);
                let mut partial = Partial { weight, depthwise };
                let samples = index * chunk..((index + 1) * chunk).min(batch);
                let dx = dx.as_deref_mut().map(|dx| (dx, write));
                let sums = sums.as_deref_mut().map(|planes| Sums { planes, means });
                scratch::with(|scratch| {
                    self.task_backward(samples, &dy, &turned, dx, sums, &mut partial, scratch)
                });
            });
            let sum = |wanted: Option<(&mut [f32], Write)>, part: Range<usize>| {
                let Some((sum, write)) = wanted else { return };
                write.clear(sum);
                partials.chunks_exact(size).for_each(|partial| {
                    Write::Add.apply(sum, partial[part.clone()].iter().copied())
                });
            };
            sum(dweight, 0..weights);
            sum(ddepthwise, weights..size);
        });
    }

    fn depthwise_weights(&self) -> usize {
        match &self.lead {
            Lead::Depthwise(d) => d.weight.len(),
            Lead::Input | Lead::Windows => 0,
        }
    }

    /// The backward pass of some samples, a block at a time.
    #[allow(clippy::too_many_arguments)] // one task of everything that `backward` computes
    fn task_backward(
        &self,
        samples: Range<usize>,
        dy: &Gradients<'_>,
        turned: &[f32],
        mut dx: Option<(&mut [f32], Write)>,
        mut sums: Option<Sums<'_>>,
        partial: &mut Partial<'_>,
        scratch: &mut Scratch,
    ) {
        let (channels, in_sample) = (self.in_channels(), self.in_channels() * self.x.plane);
        scratch.lanes.resize(partial.depthwise.len() * MOST_LANES);
        scratch.lanes.fill(0.0);
        // Sums over planes are taken where whole planes of the gradient are at hand.
        let fitting = CACHED / (2 * self.terms_of_all_groups() + self.geometry.out_channels());
        let divided =
            if matches!(self.lead, Lead::Input) && sums.is_none() && fitting < self.positions() {
                (fitting / COLUMNS).max(1) * COLUMNS
            } else {
                self.positions()
            };
        for n in samples.clone().step_by(self.together()) {
            let here = n..(n + self.together()).min(samples.end);
            let at = n - samples.start;
            for from in (0..self.positions()).step_by(divided) {
                let block = Block {
                    samples: here.clone(),
                    positions: from..(from + divided).min(self.positions()),
                };
                let dx = dx.as_mut().map(|(dx, write)| {
                    (&mut dx[at * in_sample..][..here.len() * in_sample], *write)
                });
                let sums = sums.as_mut().map(|s| Sums {
                    planes: &mut s.planes[at * channels..][..here.len() * channels],
                    means: s.means,
                });
                self.block_backward(&block, dy, turned, dx, sums, partial, scratch);
            }
        }
        if let Lead::Depthwise(d) = &self.lead {
            window::sum_taps(d.window, &scratch.lanes, partial.depthwise);
        }
    }

    /// The weight of each group transposed, `[terms, outputs]`.
    fn turned_weight(&self) -> Vec<f32> {
        let g = self.geometry;
        let (terms, outputs) = (g.terms(), g.outputs);
        let mut turned = vec![0.0; self.weight.len()];
        for (turned, weight) in turned
            .chunks_exact_mut(g.weight_group())
            .zip(self.weight.chunks_exact(g.weight_group()))
        {
            for (i, value) in weight.iter().enumerate() {
                turned[(i % terms) * outputs + i / terms] = *value;
            }
        }
        turned
    }

    #[allow(clippy::too_many_arguments)] // one block of everything that `backward` computes
    fn block_backward(
        &self,
        block: &Block,
        dy: &Gradients<'_>,
        turned: &[f32],
        dx: Option<(&mut [f32], Write)>,
        mut sums: Option<Sums<'_>>,
        partial: &mut Partial<'_>,
        scratch: &mut Scratch,
    ) {
        let (g, positions, outputs) =
            (self.geometry, block.positions.len(), self.geometry.out_channels());
        let columns = block.columns();
        let stride = columns + GAP;
        let (terms, all_terms) = (g.terms(), self.terms_of_all_groups());
        scratch.output.resize(outputs * stride);
        for (at, n) in block.samples.clone().enumerate() {
            for o in 0..outputs {
                let to = &mut scratch.output[o * stride + at * positions..][..positions];
                read_gradient(dy, n * outputs + o, block.positions.start, to);
            }
        }
        if !partial.weight.is_empty() {
            scratch.matrix.resize(all_terms * stride);
            self.fill_matrix(block, stride, scratch);
            for (group, dweight) in partial.weight.chunks_exact_mut(g.weight_group()).enumerate() {
                let (a, b) = (
                    &scratch.output[group * g.outputs * stride..],
                    &scratch.matrix[group * terms * stride..],
                );
                matmul::add_products_of_rows(a, b, dweight, g.outputs, terms, stride, columns);
            }
        }
        if dx.is_none() && partial.depthwise.is_empty() {
            return;
        }
        scratch.dmatrix.resize(all_terms * stride);
        for group in 0..g.groups {
            let turned = &turned[group * g.weight_group()..][..g.weight_group()];
            let b = Matrix::Rows { data: &scratch.output[group * g.outputs * stride..], stride };
            let c = &mut scratch.dmatrix[group * terms * stride..];
            matmul::multiply(turned, b, g.outputs, None, c, stride, columns, &mut scratch.packed);
        }
        if let Lead::Depthwise(d) = &self.lead {
            return self.depthwise_backward(
                d,
                block.samples.clone(),
                stride,
                dx,
                sums,
                partial,
                scratch,
            );
        }
        let Some((dx, write)) = dx else { return };
        let (channels, size) = (self.in_channels(), self.x.plane);
        for (at, (n, dx)) in
            block.samples.clone().zip(dx.chunks_exact_mut(channels * size)).enumerate()
        {
            if !matches!(self.lead, Lead::Input) {
                scratch.sample.resize(channels * size);
                scratch.sample.fill(0.0);
                for (group, sample) in scratch.sample.chunks_exact_mut(g.inputs * size).enumerate()
                {
                    g.fold(
                        &scratch.dmatrix[group * terms * stride + at * positions..],
                        stride,
                        sample,
                    );
                }
            }
            for (c, dx) in dx.chunks_exact_mut(size).enumerate() {
                let plane = self.x.at(n * channels + c);
                if let Lead::Input = self.lead {
                    let (from, part) = (
                        &scratch.dmatrix[c * stride + at * positions..][..positions],
                        block.positions.clone(),
                    );
                    view::send_computed(from, Some(plane.part(part.clone())), write, &mut dx[part]);
                } else {
                    view::send_computed(
                        &scratch.sample[c * size..][..size],
                        Some(plane),
                        write,
                        dx,
                    );
                }
                if let Some(sums) = &mut sums {
                    sums.planes[at * channels + c] = plane_sums(dx, plane.data, sums.means[c]);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // the tail of `block_backward`
    fn depthwise_backward(
        &self,
        d: &Depthwise<'_>,
        samples: Range<usize>,
        stride: usize,
        mut dx: Option<(&mut [f32], Write)>,
        mut sums: Option<Sums<'_>>,
        partial: &mut Partial<'_>,
        scratch: &mut Scratch,
    ) {
        let (positions, channels, size, taps) =
            (self.positions(), self.in_channels(), self.x.plane, d.window.taps());
        let Scratch { dmatrix, padded, turned, phases, lanes, sample, .. } = scratch;
        // The padded planes are still there from the matrix of windows.
        let (padded, loaded) =
            (padded.prepare(d.window, samples.len() * channels, 0.0), !partial.weight.is_empty());
        let count = samples.len();
        // One channel after the other, so that its sums stay in the nearest cache, and two samples
        // at a time.
        for c in 0..channels {
            let weight = &d.weight[c * taps..][..taps];
            let lanes = if partial.depthwise.is_empty() {
                &mut []
            } else {
                &mut lanes[c * taps * MOST_LANES..][..taps * MOST_LANES]
            };
            let plane = |at: usize| self.x.at((samples.start + at) * channels + c);
            let gradient = |at: usize| &dmatrix[c * stride + at * positions..][..positions];
            for at in 0..count {
                if !lanes.is_empty() {
                    let padded = &mut padded[(at * channels + c) * d.window.scratch_len()..]
                        [..d.window.scratch_len()];
                    if !loaded {
                        window::load(d.window, plane(at), padded);
                    }
                    window::tap_products(d.window, gradient(at), padded, lanes);
                }
            }
            let Some((dx, write)) = &mut dx else { continue };
            let place = |at: usize| (at * channels + c) * size..(at * channels + c + 1) * size;
            let mut at = 0;
            if let (Some(back), Some(reversed)) = (d.window.back(), depthwise::reversed(weight)) {
                while at + 2 <= count {
                    sample.resize(2 * size);
                    depthwise::input_gradient_of_two(
                        back,
                        [gradient(at), gradient(at + 1)],
                        &reversed[..taps],
                        turned,
                        sample,
                    );
                    for (at, from) in (at..).zip(sample.chunks_exact(size)) {
                        view::send_computed(from, Some(plane(at)), *write, &mut dx[place(at)]);
                    }
                    at += 2;
                }
            }
            for at in at..count {
                view::send_result(sample, Some(plane(at)), *write, &mut dx[place(at)], |dx| {
                    depthwise::input_gradient(d.window, gradient(at), weight, turned, phases, dx);
                });
            }
            if let Some(sums) = &mut sums {
                for at in 0..count {
                    sums.planes[at * channels + c] =
                        plane_sums(&dx[place(at)], plane(at).data, sums.means[c]);
                }
            }
        }
    }
}

/// Gradient of the bias: the sum over batch and positions.
pub(crate) fn backward_bias(dy: Gradients<'_>, dbias: &mut [f32], write: Write) {
    let (channels, positions) = (dy.channels, dy.plane);
    let batch = dy.data.len() / (channels * positions);
    let sums: Vec<f32> = (0..channels)
        .into_par_iter()
        .map_init(
            || vec![0.0; positions],
            |plane, channel| {
                let planes = (0..batch).map(|n| {
                    read_gradient(&dy, n * channels + channel, 0, plane);
                    plane.iter().map(|&v| f64::from(v)).sum::<f64>()
                });
                planes.sum::<f64>() as f32
            },
        )
        .collect();
    write.apply(dbias, sums);
}
