//! Sliding windows over one plane, laid out so that every tap of a kernel is a contiguous run of the plane.
//!
//! The plane is padded and, for stride s, split into s × s phases (all rows and columns of one remainder). Then output position
//! `i = row · pitch + column` reads `scratch[offset(tap) + i]` for each tap, whatever stride, padding and dilation are: one flat loop
//! without borders. The `pitch - out_w` positions after each row are computed and dropped.

use super::Write;

/// Output positions are handled in blocks of this many.
pub(crate) const BLOCK: usize = 32;

/// Geometry of a window: sizes, and where each tap lies in the scratch plane.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    pub(crate) out_h: usize,
    pub(crate) out_w: usize,
    pitch: usize,
    rows: usize,
    phases: usize,
    taps: Vec<Tap>,
    /// For each phase the taps that read it, as [`Window::transpose`] needs them.
    transposed: Vec<PhaseTaps>,
}

#[derive(Clone, Debug)]
struct PhaseTaps {
    taps: Vec<usize>,
    /// Where the gradient of the output that read a position lies, from that position on, behind the lead.
    offsets: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Tap {
    phase: usize,
    /// Within its phase.
    offset: usize,
}

impl Window {
    pub(crate) fn new(
        [h, w]: [usize; 2],
        [out_h, out_w]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> Self {
        let reach = dilation * (kernel - 1);
        let phases = stride.min(reach + 1);
        let (pitch, rows) = (out_w + reach / stride, out_h + reach / stride);
        let place = |k: usize| ((k * dilation) % stride, (k * dilation) / stride);
        let taps: Vec<Tap> = (0..kernel * kernel)
            .map(|t| {
                let ((phase_y, row), (phase_x, column)) = (place(t / kernel), place(t % kernel));
                Tap { phase: phase_y * phases + phase_x, offset: row * pitch + column }
            })
            .collect();
        let lead = taps.iter().map(|tap| tap.offset).max().unwrap_or(0);
        let transposed = (0..phases * phases)
            .map(|phase| {
                let here = || (0..taps.len()).filter(|&t| taps[t].phase == phase);
                PhaseTaps { taps: here().collect(), offsets: here().map(|t| lead - taps[t].offset).collect() }
            })
            .collect();
        Self { h, w, kernel, stride, padding, dilation, out_h, out_w, pitch, rows, phases, taps, transposed }
    }

    pub(crate) fn plane(&self) -> usize {
        self.h * self.w
    }

    pub(crate) fn out_plane(&self) -> usize {
        self.out_h * self.out_w
    }

    /// Length of the flat output, a whole number of blocks.
    pub(crate) fn flat_len(&self) -> usize {
        ((self.out_h - 1) * self.pitch + self.out_w).next_multiple_of(BLOCK)
    }

    /// Length of one phase in the scratch, a whole number of blocks.
    fn phase_len(&self) -> usize {
        (self.rows * self.pitch).next_multiple_of(BLOCK)
    }

    /// Length of the scratch: all phases, and what the last block may read beyond them.
    pub(crate) fn scratch_len(&self) -> usize {
        self.phases * self.phases * self.phase_len() + self.pitch + BLOCK
    }

    /// Where each tap starts in the scratch.
    pub(crate) fn offsets(&self) -> Vec<usize> {
        self.taps.iter().map(|tap| tap.phase * self.phase_len() + tap.offset).collect()
    }

    /// For every used row of the plane: its index, the scratch phase row (as an index of phases along y) and row in it.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        (0..self.h).filter_map(|y| {
            let (phase, row) = ((y + self.padding) % self.stride, (y + self.padding) / self.stride);
            (phase < self.phases && row < self.rows).then_some((y, phase, row))
        })
    }

    /// For a phase along x: first column of the plane that lies in it, its scratch column, and how many columns follow at this stride.
    fn columns(&self, phase: usize) -> (usize, usize, usize) {
        let first = (phase + self.stride - self.padding % self.stride) % self.stride;
        let column = (first + self.padding) / self.stride;
        let in_plane = self.w.saturating_sub(first).div_ceil(self.stride);
        (first, column, in_plane.min(self.pitch.saturating_sub(column)))
    }

    /// Pads and splits a plane into the scratch; positions outside of the plane get `fill`.
    pub(crate) fn load(&self, plane: &[f32], scratch: &mut [f32], fill: f32) {
        scratch.fill(fill);
        for (y, phase_y, row) in self.rows() {
            for phase_x in 0..self.phases {
                let (first, column, count) = self.columns(phase_x);
                let start = (phase_y * self.phases + phase_x) * self.phase_len() + row * self.pitch + column;
                let dst = &mut scratch[start..start + count];
                let src = &plane[y * self.w..(y + 1) * self.w];
                if self.stride == 1 {
                    dst.copy_from_slice(&src[first..first + count]);
                } else {
                    for (d, s) in dst.iter_mut().zip(src.iter().skip(first).step_by(self.stride)) {
                        *d = *s;
                    }
                }
            }
        }
    }

    /// Gathers the scratch back into a plane: the transpose of [`Self::load`]. Positions no window covers are zero.
    pub(crate) fn unload(&self, scratch: &[f32], plane: &mut [f32], write: Write) {
        write.clear(plane);
        for (y, phase_y, row) in self.rows() {
            for phase_x in 0..self.phases {
                let (first, column, count) = self.columns(phase_x);
                let start = (phase_y * self.phases + phase_x) * self.phase_len() + row * self.pitch + column;
                let src = &scratch[start..start + count];
                let dst = &mut plane[y * self.w..(y + 1) * self.w];
                if self.stride == 1 {
                    write.apply(&mut dst[first..first + count], src.iter().copied());
                } else {
                    for (d, s) in dst.iter_mut().skip(first).step_by(self.stride).zip(src) {
                        *d = if write == Write::Set { *s } else { *d + *s };
                    }
                }
            }
        }
    }

    /// Copies the rows of a flat output into an output plane.
    pub(crate) fn collect(&self, flat: &[f32], out: &mut [f32]) {
        for (row, out) in out.chunks_exact_mut(self.out_w).enumerate() {
            out.copy_from_slice(&flat[row * self.pitch..row * self.pitch + self.out_w]);
        }
    }

    /// Copies the rows of an output plane, each value times its factor, into a flat buffer that is zero elsewhere; `lead` zeros come first.
    pub(crate) fn spread(&self, out: &[f32], factor: Option<&[f32]>, flat: &mut [f32], lead: usize) {
        flat.fill(0.0);
        for (row, src) in out.chunks_exact(self.out_w).enumerate() {
            let dst = &mut flat[lead + row * self.pitch..lead + row * self.pitch + self.out_w];
            match factor {
                None => dst.copy_from_slice(src),
                Some(factor) => {
                    let factor = &factor[row * self.out_w..(row + 1) * self.out_w];
                    dst.iter_mut().zip(src.iter().zip(factor)).for_each(|(d, (s, f))| *d = s * f);
                }
            }
        }
    }

    /// Zeros that [`Self::transpose`] needs before the flat gradient.
    pub(crate) fn lead(&self) -> usize {
        self.taps.iter().map(|tap| tap.offset).max().unwrap_or(0)
    }

    /// Length of the buffer that [`Self::spread`] fills for [`Self::transpose`].
    pub(crate) fn spread_len(&self) -> usize {
        self.lead() + self.phase_len().max(self.flat_len()) + BLOCK
    }

    /// The transpose of a correlation: for every scratch position the sum over taps of weight · gradient of the output that read it.
    /// `gradient` is what [`Self::spread`] gives with `lead` = [`Self::lead`].
    pub(crate) fn transpose(&self, gradient: &[f32], weights: &[f32], scratch: &mut [f32]) {
        let mut picked = Vec::with_capacity(weights.len());
        for (phase, taps) in self.transposed.iter().enumerate() {
            picked.clear();
            for &tap in &taps.taps {
                picked.push(weights[tap]);
            }
            let range = phase * self.phase_len()..(phase + 1) * self.phase_len();
            correlate(&mut scratch[range], gradient, &taps.offsets, &picked);
        }
    }
}

/// out\[i\] = Σ weight · src\[offset + i\]. `out` is a whole number of blocks.
#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
pub(crate) fn correlate(out: &mut [f32], src: &[f32], offsets: &[usize], weights: &[f32]) {
    for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut sum = [0f32; BLOCK];
        for (&offset, &weight) in offsets.iter().zip(weights) {
            let src = &src[offset + block * BLOCK..][..BLOCK];
            for (sum, src) in sum.iter_mut().zip(src) {
                *sum += weight * src;
            }
        }
        out.copy_from_slice(&sum);
    }
}

/// out\[i\] = max src\[offset + i\]. `out` is a whole number of blocks.
#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
pub(crate) fn maximum(out: &mut [f32], src: &[f32], offsets: &[usize]) {
    for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut max = [f32::NEG_INFINITY; BLOCK];
        for &offset in offsets {
            let src = &src[offset + block * BLOCK..][..BLOCK];
            for (max, &src) in max.iter_mut().zip(src) {
                *max = if src > *max || src.is_nan() { src } else { *max };
            }
        }
        out.copy_from_slice(&max);
    }
}

/// Adds the gradient of each output to the first position of its window that holds the maximum. `maxima` and `gradient` are a whole number
/// of blocks.
#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
pub(crate) fn scatter_to_maximum(maxima: &[f32], gradient: &[f32], src: &[f32], offsets: &[usize], dsrc: &mut [f32]) {
    for (block, (maxima, gradient)) in maxima.chunks_exact(BLOCK).zip(gradient.chunks_exact(BLOCK)).enumerate() {
        let mut pending = [0f32; BLOCK];
        pending.copy_from_slice(gradient);
        for &offset in offsets {
            let at = offset + block * BLOCK;
            let (src, dsrc) = (&src[at..][..BLOCK], &mut dsrc[at..][..BLOCK]);
            for (((pending, dsrc), src), maximum) in pending.iter_mut().zip(dsrc).zip(src).zip(maxima) {
                let taken = if src == maximum { *pending } else { 0.0 };
                *dsrc += taken;
                // What was taken is itself; subtracting it leaves exactly zero.
                *pending -= taken;
            }
        }
    }
}

/// Adds to `sums[tap]` the dot product of `gradient` with `src` at each tap's offset; `gradient` is a whole number of blocks.
#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
pub(crate) fn tap_products(gradient: &[f32], src: &[f32], offsets: &[usize], sums: &mut [f32]) {
    const GROUP: usize = 5;
    const LANES: usize = 16;
    for (offsets, sums) in offsets.chunks(GROUP).zip(sums.chunks_mut(GROUP)) {
        let mut at = [offsets[0]; GROUP];
        at[..offsets.len()].copy_from_slice(offsets);
        let mut lanes = [[0f32; LANES]; GROUP];
        for (block, gradient) in gradient.chunks_exact(LANES).enumerate() {
            for (lanes, &offset) in lanes.iter_mut().zip(&at) {
                let src = &src[offset + block * LANES..][..LANES];
                for ((lane, src), gradient) in lanes.iter_mut().zip(src).zip(gradient) {
                    *lane += src * gradient;
                }
            }
        }
        for (sum, lanes) in sums.iter_mut().zip(lanes) {
            *sum += super::lane_sum(lanes);
        }
    }
}
