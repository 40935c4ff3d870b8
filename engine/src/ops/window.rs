//! Sliding windows over one plane, laid out so that every tap of a kernel is a contiguous run of
//! the plane.
//!
//! The plane is padded and, for stride s, split into s × s phases (all rows and columns of one
//! remainder). Then output position (row, column) reads `scratch[offset(tap) + row · pitch +
//! column]` for each tap, whatever stride, padding and dilation are. The padding on the right of a
//! row is the padding on the left of the next.

// Vectors are loaded and stored through pointers: a check of every load would cost as much as the
// load.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::view::{GradientPlane, Pass, Plane};
use crate::simd::{MOST_LANES, Simd, kernel};

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
    /// Length of one phase in the scratch.
    phase_len: usize,
    phases: usize,
    /// Where each tap starts in the scratch.
    offsets: Vec<usize>,
    /// Runs of the plane that lie in the scratch, those of one row of the plane together.
    runs: Vec<Run>,
    /// At stride 2, the rows of the plane that lie there.
    halves: Option<Halves>,
    /// Whether they are the whole plane.
    covered: bool,
    /// For each phase the taps that read it.
    taps_of_phase: Vec<Vec<Distant>>,
    back: Option<Box<Window>>,
    /// How far into the scratch the taps reach.
    reach: usize,
    /// Tells windows apart at a glance; copies of one are alike. The next one is that of the flat
    /// layout.
    id: u64,
}

/// A tap, and how far before a position of its phase the gradient of the output lies that read it
/// there, behind the lead.
#[derive(Clone, Copy, Debug)]
struct Distant {
    tap: usize,
    distance: usize,
}

/// `count` elements of the plane from `plane` on, `stride` apart, lie in the scratch from `scratch`
/// on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    plane: usize,
    scratch: usize,
    count: usize,
}

impl Window {
    pub(crate) fn new(
        input: [usize; 2],
        output: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> Self {
        let back = match (dilation * (kernel - 1)).checked_sub(padding) {
            Some(padding) if stride == 1 => {
                Some(Box::new(Self::one_way(output, input, kernel, 1, padding, dilation)))
            }
            _ => None,
        };
        Self { back, ..Self::one_way(input, output, kernel, stride, padding, dilation) }
    }

    fn one_way(
        [h, w]: [usize; 2],
        [out_h, out_w]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let extent = dilation * (kernel - 1);
        let phases = stride.min(extent + 1);
        // Rows and columns of a phase that windows read, and which of them hold the plane: first in
        // the plane, first here, how many.
        let read = |out: usize| out + extent / stride;
        let held = |phase: usize, size: usize, read: usize| {
            let first = (phase + stride - padding % stride) % stride;
            let here = (first + padding) / stride;
            (
                first,
                here,
                size.saturating_sub(first).div_ceil(stride).min(read.saturating_sub(here)),
            )
        };
        let (read_h, read_w) = (read(out_h), read(out_w));
        let columns: Vec<_> = (0..phases).map(|phase| held(phase, w, read_w)).collect();
        // What is read behind the last column that holds the plane may be the padding before the
        // next row's first.
        let lead = columns.iter().map(|&(_, here, _)| here).min().unwrap_or(0);
        let last = columns.iter().map(|&(_, here, count)| here + count).max().unwrap_or(0);
        let pitch = last.max(read_w - lead.min(read_w));
        let phase_len = read_h * pitch + lead;
        let place = |k: usize| ((k * dilation) % stride, (k * dilation) / stride);
        let offsets: Vec<usize> = (0..kernel * kernel)
            .map(|tap| {
                let ((phase_y, row), (phase_x, column)) =
                    (place(tap / kernel), place(tap % kernel));
                (phase_y * phases + phase_x) * phase_len + row * pitch + column
            })
            .collect();
        let farthest = offsets.iter().map(|offset| offset % phase_len).max().unwrap_or(0);
        let taps_of_phase = (0..phases * phases)
            .map(|phase| {
                let here = |(_, offset): &(usize, &usize)| *offset / phase_len == phase;
                let taps = offsets.iter().enumerate().filter(here);
                taps.map(|(tap, offset)| Distant { tap, distance: farthest - offset % phase_len })
                    .collect()
            })
            .collect();
        let columns: Vec<_> =
            columns.into_iter().enumerate().filter(|(_, (_, _, count))| *count > 0).collect();
        let mut runs = Vec::new();
        for phase_y in 0..phases {
            let (first_y, row, rows) = held(phase_y, h, read_h);
            for i in 0..rows {
                runs.extend(columns.iter().map(|&(phase_x, (first_x, column, count))| Run {
                    plane: (first_y + i * stride) * w + first_x,
                    scratch: (phase_y * phases + phase_x) * phase_len + (row + i) * pitch + column,
                    count,
                }));
            }
        }
        let reach = offsets.iter().max().map_or(0, |last| last + (out_h - 1) * pitch + out_w);
        let covered = runs.iter().map(|run| run.count).sum::<usize>() == h * w;
        let halves = (stride == 2 && columns.len() == 2).then(|| Halves::of(&runs));
        Self {
            h,
            w,
            kernel,
            stride,
            padding,
            dilation,
            out_h,
            out_w,
            pitch,
            phase_len,
            phases,
            offsets,
            runs,
            halves,
            covered,
            taps_of_phase,
            back: None,
            reach,
            id: NEXT.fetch_add(2, Ordering::Relaxed),
        }
    }

    /// Names the layout of the scratch.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Names the layout of the gradient that [`transpose`] reads.
    pub(crate) fn flat_id(&self) -> u64 {
        self.id + 1
    }

    pub(crate) fn plane(&self) -> usize {
        self.h * self.w
    }

    pub(crate) fn out_plane(&self) -> usize {
        self.out_h * self.out_w
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The window that carries gradients of the output back to the input, for kernels that are
    /// turned round; at stride 1.
    pub(crate) fn back(&self) -> Option<&Self> {
        self.back.as_deref()
    }

    /// Whether it is three by three taps next to each other.
    #[inline(always)]
    fn is_three(&self) -> bool {
        (self.kernel, self.stride, self.dilation) == (3, 1, 1)
    }

    /// Where the plane begins in the scratch, and how far its rows are apart there; at stride 1.
    pub(crate) fn inside(&self) -> (usize, usize) {
        (self.runs.first().map_or(0, |run| run.scratch), self.pitch)
    }

    /// The largest distance of a tap from the beginning of its phase.
    fn lead(&self) -> usize {
        self.offsets.iter().map(|offset| offset % self.phase_len).max().unwrap_or(0)
    }

    /// Length of the gradient with the rows of the scratch, as [`transpose`] reads it.
    pub(crate) fn flat_len(&self) -> usize {
        self.lead() + self.phase_len + 4 * MOST_LANES
    }

    /// Length of the scratch: all phases, and what the last vector may read beyond them.
    pub(crate) fn scratch_len(&self) -> usize {
        self.phases * self.phases * self.phase_len + self.pitch + MOST_LANES
    }
}

kernel! {
    /// Loads a plane into a scratch that was filled before; what lies around it is left alone.
    pub(crate) fn load(simd, window: &Window, plane: Plane<'_>, scratch: &mut [f32]) {
        if window.stride == 1 {
            plane.pass(simd, LoadRows { simd, window, plane: plane.data, scratch });
        } else {
            plane.pass(simd, LoadPhases { simd, window, plane: plane.data, scratch });
        }
    }

    /// Loads the gradient of a plane into a scratch of the window that carries it back
    /// ([`Window::back`]), which was filled before.
    pub(crate) fn load_gradient(simd, back: &Window, gradient: GradientPlane<'_>, scratch: &mut [f32]) {
        for run in &back.runs {
            gradient.read(simd, run.plane, &mut scratch[run.scratch..][..run.count]);
        }
    }

    /// Gathers the scratch back into a plane: the transpose of [`load`]. Positions that no window
    /// covers are zero.
    pub(crate) fn unload(simd, window: &Window, scratch: &[f32], plane: &mut [f32]) {
        if !window.covered {
            plane.fill(0.0);
        }
        let done = window.halves.as_ref().map_or(0, |halves| halves.weave(simd, scratch, plane));
        for run in window.runs.iter().filter(|run| run.count > done) {
            let from = &scratch[run.scratch..][..run.count];
            for (i, value) in from.iter().enumerate().skip(done) {
                plane[run.plane + i * window.stride] = *value;
            }
        }
    }

    /// out\[row, column\] = Σ over taps of weight · what the tap reads there.
    pub(crate) fn correlate(simd, window: &Window, scratch: &[f32], weights: &[f32], out: &mut [f32]) {
        let (w, h) = (window.out_w, window.out_h);
        assert!(out.len() == h * w && weights.len() == window.offsets.len());
        assert!(scratch.len() >= window.reach + S::LANES);
        let taps = Taps { window, weights, src: scratch.as_ptr(), next: S::LANES };
        let whole = w / S::LANES * S::LANES;
        let mut column = 0;
        while column < whole {
            let out = &mut out[column..];
            // SAFETY: blocks of rows and columns within the output; each tap then reads within
            // `reach`.
            column += unsafe {
                match (whole - column) / S::LANES {
                    1 => columns::<S, 1, 4>(simd, &taps, column, out, S::LANES),
                    _ => columns::<S, 2, 4>(simd, &taps, column, out, S::LANES),
                }
            };
        }
        if whole < w {
            let mut row = 0;
            while row < h {
                let rows = if row + 4 <= h { 4 } else { 1 };
                // SAFETY: a vector may read up to its lanes beyond `reach`, which the scratch has;
                // the array has room for all lanes.
                unsafe {
                    let at = row * window.pitch + whole;
                    match rows {
                        4 => put(simd, block::<S, 1, 4>(simd, &taps, at, 1), &mut out[row * w..], whole, w),
                        _ => put(simd, block::<S, 1, 1>(simd, &taps, at, 1), &mut out[row * w..], whole, w),
                    }
                }
                row += rows;
            }
        }
    }

    /// [`correlate`] of two planes by the same weights, the second `next` behind the first in the
    /// scratch and `next_out` in the output. Where a row is a single vector, the sums of one plane
    /// are too few to hide the latency of a multiply-add.
    pub(crate) fn correlate_two(
        simd,
        window: &Window,
        scratch: &[f32],
        next: usize,
        weights: &[f32],
        out: &mut [f32],
        next_out: usize,
    ) {
        let plane = window.out_plane();
        if window.out_w != S::LANES {
            correlate(window, scratch, weights, &mut out[..plane]);
            correlate(window, &scratch[next..], weights, &mut out[next_out..][..plane]);
            return;
        }
        assert!(out.len() >= next_out + plane && weights.len() == window.offsets.len());
        assert!(scratch.len() >= next + window.reach + S::LANES);
        let taps = Taps { window, weights, src: scratch.as_ptr(), next };
        // SAFETY: all rows of the one vector that they are, each tap of both planes within `reach`.
        unsafe { columns::<S, 2, 4>(simd, &taps, 0, out, next_out) };
    }

    /// The transpose of [`correlate`]: gives every position of the scratch the weighted gradients
    /// of the outputs that read it. `flat` has [`Window::flat_len`] elements, zeros but where
    /// earlier gradients of the same window were.
    pub(crate) fn transpose(simd, window: &Window, gradient: &[f32], weights: &[f32], flat: &mut [f32], scratch: &mut [f32]) {
        let (phase_len, lead, w) = (window.phase_len, window.lead(), window.out_w);
        let count = window.phases * window.phases;
        assert!(flat.len() == window.flat_len() && scratch.len() >= count * phase_len + MOST_LANES);
        assert!(weights.len() == window.offsets.len() && gradient.len() == window.out_plane());
        // The gradient with the rows of the scratch, so that each tap reads it at one distance.
        // SAFETY: the rows of the gradient are fewer than those of a phase, which has room for them
        // behind the lead.
        unsafe { rows_of(simd, gradient.as_ptr(), w, flat[lead..].as_mut_ptr(), window.pitch, window.out_h, w, |x| x) };
        for phase in 0..count {
            let taps = &window.taps_of_phase[phase];
            let to = scratch[phase * phase_len..].as_mut_ptr();
            let mut at = 0;
            while at < phase_len {
                // SAFETY: `flat` reaches as far beyond the phase, and the scratch a vector; what is
                // written there belongs to the next phase, which comes later, or to no one.
                unsafe {
                    if at + 4 * S::LANES <= phase_len {
                        distant::<S, 4>(simd, taps, weights, flat.as_ptr().add(at), to.add(at));
                        at += 4 * S::LANES;
                    } else {
                        distant::<S, 1>(simd, taps, weights, flat.as_ptr().add(at), to.add(at));
                        at += S::LANES;
                    }
                }
            }
        }
    }

    /// Adds to `sums[tap]`, lane by lane, the products of the gradient of the output with what the
    /// tap reads. `sums` has room for [`MOST_LANES`] for each tap; see [`sum_taps`].
    pub(crate) fn tap_products(simd, window: &Window, gradient: &[f32], scratch: &[f32], sums: &mut [f32]) {
        let (w, h) = (window.out_w, window.out_h);
        assert!(gradient.len() == h * w && sums.len() == window.offsets.len() * MOST_LANES);
        assert!(scratch.len() >= window.reach + S::LANES);
        if window.stride == 1 && w.is_multiple_of(S::LANES) {
            // SAFETY: every tap can be read at every output position, which are whole vectors.
            let done = unsafe {
                match (window.kernel, window.dilation) {
                    (3, 1) => products_of_kernel_rows::<S, 3, 1, 3>(simd, window, gradient, scratch, 0, sums),
                    (3, 2) => products_of_kernel_rows::<S, 3, 2, 3>(simd, window, gradient, scratch, 0, sums),
                    (5, 1) => products_of_five::<S, 1>(simd, window, gradient, scratch, sums),
                    (5, 2) => products_of_five::<S, 2>(simd, window, gradient, scratch, sums),
                    _ => false,
                }
            };
            if done {
                return;
            }
        }
        let mut taps = &window.offsets[..];
        let mut sums = &mut sums[..];
        while !taps.is_empty() {
            // Enough sums at once to hide the latency of one, and no more than there are registers.
            let count = match taps.len() {
                left if left % 8 == 1 && left >= 9 => 9,
                left if left >= 8 => 8,
                left if left >= 4 => 4,
                _ => 1,
            };
            let (here, rest) = sums.split_at_mut(count * S::LANES);
            // SAFETY: whole vectors of rows of the gradient, read at offsets within `reach`.
            unsafe {
                match count {
                    9 => products::<S, 9>(simd, window, gradient, scratch, taps, here),
                    8 => products::<S, 8>(simd, window, gradient, scratch, taps, here),
                    4 => products::<S, 4>(simd, window, gradient, scratch, taps, here),
                    _ => products::<S, 1>(simd, window, gradient, scratch, taps, here),
                }
            }
            (taps, sums) = (&taps[count..], rest);
        }
    }

    /// The sums that [`tap_products`] left in lanes, one a tap, of some kernels one after the
    /// other.
    pub(crate) fn sum_taps(simd, window: &Window, lanes: &[f32], sums: &mut [f32]) {
        let taps = window.taps();
        for (sums, lanes) in sums.chunks_exact_mut(taps).zip(lanes.chunks_exact(taps * MOST_LANES)) {
            for (sum, lanes) in sums.iter_mut().zip(lanes.chunks_exact(S::LANES)) {
                // SAFETY: as many values as a vector has lanes.
                *sum = simd.sum(unsafe { simd.load(lanes.as_ptr()) });
            }
        }
    }

    /// out = Σ over taps of what the tap reads there.
    pub(crate) fn sum(simd, window: &Window, scratch: &[f32], out: &mut [f32]) {
        join_windows::<S, Sum>(simd, window, scratch, out);
    }

    /// out = max over taps. The scratch is minus infinity around the plane.
    pub(crate) fn maximum(simd, window: &Window, scratch: &[f32], out: &mut [f32]) {
        join_windows::<S, Maximum>(simd, window, scratch, out);
    }

    /// The tap at which each window first has its maximum, rows `pitch` apart. The scratch is minus
    /// infinity around the plane.
    pub(crate) fn first_maximum(simd, window: &Window, scratch: &[f32], taps: &mut [f32], pitch: usize) {
        let (w, h) = (window.out_w, window.out_h);
        assert!(taps.len() >= (h - 1) * pitch + w && pitch >= w && scratch.len() >= window.reach + S::LANES);
        for column in (0..w).step_by(S::LANES) {
            let width = S::LANES.min(w - column);
            let src = scratch[column..].as_ptr();
            // SAFETY: as for `maximum`.
            unsafe {
                if window.is_three() {
                    let below = [simd.splat(3.0), simd.splat(6.0)];
                    let (mut first, mut second) = (chosen_of_row(simd, src), chosen_of_row(simd, src.add(window.pitch)));
                    for row in 0..h {
                        let third = chosen_of_row(simd, src.add((row + 2) * window.pitch));
                        let mut chosen = first;
                        for (other, below) in [second, third].into_iter().zip(below) {
                            chosen.choose(simd, other.max, simd.add(other.tap, below));
                        }
                        put_first(simd, chosen.tap, &mut taps[row * pitch + column..][..width]);
                        (first, second) = (second, third);
                    }
                    continue;
                }
                for row in 0..h {
                    let mut chosen = Chosen::none(simd);
                    let mut tap = simd.splat(0.0);
                    for &offset in &window.offsets {
                        chosen.choose(simd, simd.load(src.add(row * window.pitch + offset)), tap);
                        tap = simd.add(tap, simd.splat(1.0));
                    }
                    put_first(simd, chosen.tap, &mut taps[row * pitch + column..][..width]);
                }
            }
        }
    }

    /// Gives every position of a plane the gradients of the outputs whose chosen tap lies there.
    /// `back` is the window that carries gradients back ([`Window::back`]), loaded with the
    /// gradients and with the taps chosen, which are -1 around the plane.
    pub(crate) fn gather_chosen(simd, back: &Window, gradients: &[f32], taps: &[f32], dx: &mut [f32]) {
        let (w, h) = (back.out_w, back.out_h);
        assert!(dx.len() == h * w && gradients.len() == taps.len() && taps.len() >= back.reach + S::LANES);
        for column in (0..w).step_by(S::LANES) {
            let width = S::LANES.min(w - column);
            let (dy, tap) = (gradients[column..].as_ptr(), taps[column..].as_ptr());
            // SAFETY: as for `maximum`.
            unsafe {
                if back.is_three() {
                    // What is loaded serves the three rows that read it.
                    let mut sums = [simd.splat(0.0); 3];
                    for line in 0..h + 2 {
                        add_chosen_of_row(simd, dy.add(line * back.pitch), tap.add(line * back.pitch), &mut sums);
                        if line >= 2 {
                            put_first(simd, sums[2], &mut dx[(line - 2) * w + column..][..width]);
                        }
                        sums = [simd.splat(0.0), sums[0], sums[1]];
                    }
                    continue;
                }
                for row in 0..h {
                    let mut sum = simd.splat(0.0);
                    let mut turned = simd.splat((back.offsets.len() - 1) as f32);
                    for &offset in &back.offsets {
                        let at = row * back.pitch + offset;
                        sum = simd.add(sum, simd.where_equal(simd.load(tap.add(at)), turned, simd.load(dy.add(at))));
                        turned = simd.sub(turned, simd.splat(1.0));
                    }
                    put_first(simd, sum, &mut dx[row * w + column..][..width]);
                }
            }
        }
    }

    /// Adds the gradient of each output to the position of its chosen tap, for windows of any
    /// stride.
    pub(crate) fn scatter_chosen(simd, window: &Window, gradient: &[f32], taps: &[f32], scratch: &mut [f32]) {
        scratch.fill(0.0);
        for (row, (gradient, taps)) in gradient.chunks_exact(window.out_w).zip(taps.chunks_exact(window.out_w)).enumerate() {
            for (column, (gradient, tap)) in gradient.iter().zip(taps).enumerate() {
                scratch[window.offsets[*tap as usize] + row * window.pitch + column] += gradient;
            }
        }
    }
}

/// [`load`] at stride 1, where the runs are the rows of the plane, one below the other.
struct LoadRows<'a, S> {
    simd: S,
    window: &'a Window,
    plane: &'a [f32],
    scratch: &'a mut [f32],
}

impl<S: Simd> Pass<S> for LoadRows<'_, S> {
    #[inline(always)]
    fn run(self, formula: impl Fn(S::V) -> S::V) {
        let Self { simd, window, plane, scratch } = self;
        let (Some(first), Some(last)) = (window.runs.first(), window.runs.last()) else { return };
        let (rows, count) = (window.runs.len(), first.count);
        assert!(
            last.plane == first.plane + (rows - 1) * window.w && last.plane + count <= plane.len()
        );
        assert!(
            last.scratch == first.scratch + (rows - 1) * window.pitch
                && last.scratch + count <= scratch.len()
        );
        let (from, to) = (plane[first.plane..].as_ptr(), scratch[first.scratch..].as_mut_ptr());
        // SAFETY: `count` elements of each row lie in both, as asserted.
        unsafe { rows_of(simd, from, window.w, to, window.pitch, rows, count, formula) };
    }
}

/// [`load`] for windows with phases.
struct LoadPhases<'a, S> {
    simd: S,
    window: &'a Window,
    plane: &'a [f32],
    scratch: &'a mut [f32],
}

impl<S: Simd> Pass<S> for LoadPhases<'_, S> {
    #[inline(always)]
    fn run(self, formula: impl Fn(S::V) -> S::V) {
        let Self { simd, window, plane, scratch } = self;
        let mut lanes = [0f32; MOST_LANES];
        let done =
            window.halves.as_ref().map_or(0, |halves| halves.part(simd, plane, scratch, &formula));
        for run in window.runs.iter().filter(|run| run.count > done) {
            let mut at = done;
            while at < run.count {
                let here = S::LANES.min(run.count - at);
                for (i, lane) in lanes[..here].iter_mut().enumerate() {
                    *lane = plane[run.plane + (at + i) * window.stride];
                }
                // SAFETY: the array has room for the lanes of any vector.
                unsafe { simd.store(lanes.as_mut_ptr(), formula(simd.load(lanes.as_ptr()))) };
                scratch[run.scratch + at..][..here].copy_from_slice(&lanes[..here]);
                at += here;
            }
        }
    }
}

/// The rows of a plane at stride 2: the even and the odd columns of each are runs of the scratch.
#[derive(Clone, Debug)]
struct Halves {
    rows: Vec<HalvedRow>,
    /// How long both halves are at least.
    count: usize,
}

/// Where a row, and where its halves begin.
#[derive(Clone, Copy, Debug)]
struct HalvedRow {
    row: usize,
    even: usize,
    odd: usize,
}

impl Halves {
    /// Of runs of which every row has two.
    fn of(runs: &[Run]) -> Self {
        let pairs = || {
            runs.chunks_exact(2).map(|pair| {
                if pair[0].plane < pair[1].plane { [pair[0], pair[1]] } else { [pair[1], pair[0]] }
            })
        };
        let rows = pairs().map(|[even, odd]| HalvedRow {
            row: even.plane,
            even: even.scratch,
            odd: odd.scratch,
        });
        Self { rows: rows.collect(), count: runs.iter().map(|run| run.count).min().unwrap_or(0) }
    }

    /// Elements of each half that are done in whole vectors; checks that they lie in a plane and in
    /// a scratch of these lengths.
    #[inline(always)]
    fn whole<S: Simd>(&self, plane: usize, scratch: usize) -> usize {
        let whole = self.count / S::LANES * S::LANES;
        assert!(
            self.rows
                .iter()
                .all(|at| at.row + 2 * whole <= plane && at.even.max(at.odd) + whole <= scratch)
        );
        whole
    }

    /// Parts the rows in whole vectors. Returns how many elements of each half that are.
    #[inline(always)]
    fn part<S: Simd>(
        &self,
        simd: S,
        plane: &[f32],
        scratch: &mut [f32],
        formula: impl Fn(S::V) -> S::V,
    ) -> usize {
        let whole = self.whole::<S>(plane.len(), scratch.len());
        let (from, to) = (plane.as_ptr(), scratch.as_mut_ptr());
        for &HalvedRow { row, even, odd } in &self.rows {
            let mut at = 0;
            while at < whole {
                // SAFETY: whole vectors of the row and of its halves, as was checked.
                unsafe {
                    let from = from.add(row + 2 * at);
                    let halves =
                        simd.part(formula(simd.load(from)), formula(simd.load(from.add(S::LANES))));
                    simd.store(to.add(even + at), halves.0);
                    simd.store(to.add(odd + at), halves.1);
                }
                at += S::LANES;
            }
        }
        whole
    }

    /// Undoes [`Self::part`].
    #[inline(always)]
    fn weave<S: Simd>(&self, simd: S, scratch: &[f32], plane: &mut [f32]) -> usize {
        let whole = self.whole::<S>(plane.len(), scratch.len());
        let (from, to) = (scratch.as_ptr(), plane.as_mut_ptr());
        for &HalvedRow { row, even, odd } in &self.rows {
            let mut at = 0;
            while at < whole {
                // SAFETY: whole vectors of the row and of its halves, as was checked.
                unsafe {
                    let (first, second) =
                        simd.weave(simd.load(from.add(even + at)), simd.load(from.add(odd + at)));
                    let to = to.add(row + 2 * at);
                    simd.store(to, first);
                    simd.store(to.add(S::LANES), second);
                }
                at += S::LANES;
            }
        }
        whole
    }
}

/// Rows of `count` values, each through `f`.
///
/// # Safety
/// `from` and `to` have `rows` rows of `count` values, `from_pitch` and `to_pitch` apart.
#[allow(clippy::too_many_arguments)] // two matrices
#[inline(always)]
unsafe fn rows_of<S: Simd>(
    simd: S,
    from: *const f32,
    from_pitch: usize,
    to: *mut f32,
    to_pitch: usize,
    rows: usize,
    count: usize,
    f: impl Fn(S::V) -> S::V,
) {
    // Rows of a few vectors are common, and a loop would cost as much as they do.
    if count.is_multiple_of(S::LANES) {
        // SAFETY: as the caller says.
        match count / S::LANES {
            1 => {
                return unsafe {
                    vectors_of::<S, 1>(simd, from, from_pitch, to, to_pitch, rows, f)
                };
            }
            2 => {
                return unsafe {
                    vectors_of::<S, 2>(simd, from, from_pitch, to, to_pitch, rows, f)
                };
            }
            4 => {
                return unsafe {
                    vectors_of::<S, 4>(simd, from, from_pitch, to, to_pitch, rows, f)
                };
            }
            _ => {}
        }
    }
    let whole = count / S::LANES * S::LANES;
    let mut ends = [0f32; MOST_LANES];
    for row in 0..rows {
        // SAFETY: as the caller says; what is left of a row goes through the array, which has room
        // for the lanes of any vector.
        unsafe {
            let (from, to) = (from.add(row * from_pitch), to.add(row * to_pitch));
            let mut at = 0;
            while at < whole {
                simd.store(to.add(at), f(simd.load(from.add(at))));
                at += S::LANES;
            }
            if whole < count {
                std::ptr::copy_nonoverlapping(from.add(whole), ends.as_mut_ptr(), count - whole);
                simd.store(ends.as_mut_ptr(), f(simd.load(ends.as_ptr())));
                std::ptr::copy_nonoverlapping(ends.as_ptr(), to.add(whole), count - whole);
            }
        }
    }
}

/// [`rows_of`] `V` vectors.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn vectors_of<S: Simd, const V: usize>(
    simd: S,
    from: *const f32,
    from_pitch: usize,
    to: *mut f32,
    to_pitch: usize,
    rows: usize,
    f: impl Fn(S::V) -> S::V,
) {
    for row in 0..rows {
        // SAFETY: as the caller says.
        unsafe {
            let (from, to) = (from.add(row * from_pitch), to.add(row * to_pitch));
            let values: [S::V; V] = std::array::from_fn(|v| f(simd.load(from.add(v * S::LANES))));
            for (v, value) in values.into_iter().enumerate() {
                simd.store(to.add(v * S::LANES), value);
            }
        }
    }
}

/// What [`block`] reads.
struct Taps<'a> {
    window: &'a Window,
    weights: &'a [f32],
    src: *const f32,
    /// From one vector to the next of the `V` of a row: its lanes, or the distance to another
    /// plane.
    next: usize,
}

/// All rows of `V` vectors from `column` on, about `R` rows at a time; `out` begins at that column,
/// and has the vectors of a row `next_out` apart. Returns how many columns they are where they are
/// next to each other.
///
/// # Safety
/// Every tap can be read at every row and column computed.
#[inline(always)]
unsafe fn columns<S: Simd, const V: usize, const R: usize>(
    simd: S,
    taps: &Taps<'_>,
    column: usize,
    out: &mut [f32],
    next_out: usize,
) -> usize {
    let &Window { out_w: w, out_h: h, pitch, stride, dilation, .. } = taps.window;
    // Rows of one block read the same rows of the plane, shifted: at stride 1 those as far apart as
    // the taps are.
    let apart = if stride == 1 { dilation } else { 1 };
    for first in 0..apart.min(h) {
        let mut row = first;
        while row < h {
            let whole = row + (R - 1) * apart < h;
            // SAFETY: as the caller says; the stores are within the rows, which the slices check.
            unsafe {
                let at = row * pitch + column;
                if whole {
                    store_rows(
                        simd,
                        block::<S, V, R>(simd, taps, at, apart),
                        &mut out[row * w..],
                        apart * w,
                        next_out,
                    );
                } else {
                    store_rows(
                        simd,
                        block::<S, V, 1>(simd, taps, at, apart),
                        &mut out[row * w..],
                        apart * w,
                        next_out,
                    );
                }
            }
            row += if whole { R * apart } else { apart };
        }
    }
    V * S::LANES
}

#[inline(always)]
fn store_rows<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: [[S::V; V]; R],
    out: &mut [f32],
    apart: usize,
    next: usize,
) {
    for (r, sums) in rows.iter().enumerate() {
        let out = &mut out[r * apart..][..(V - 1) * next + S::LANES];
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: within the slice.
            unsafe { simd.store(out.as_mut_ptr().add(v * next), *sum) };
        }
    }
}

/// `R` rows of `V` vectors of outputs, `apart` from each other, the first at position `at` of the
/// scratch.
///
/// # Safety
/// Every tap can be read there.
#[inline(always)]
unsafe fn block<S: Simd, const V: usize, const R: usize>(
    simd: S,
    taps: &Taps<'_>,
    at: usize,
    apart: usize,
) -> [[S::V; V]; R] {
    let window = taps.window;
    if window.stride > 1 || apart != window.dilation {
        // SAFETY: as the caller says.
        return unsafe { plain_block(simd, taps, at, apart) };
    }
    match window.kernel {
        // SAFETY: as the caller says.
        3 => unsafe { shared_block::<S, V, R, 3>(simd, taps, at, apart) },
        5 => unsafe { shared_block::<S, V, R, 5>(simd, taps, at, apart) },
        _ => unsafe { plain_block(simd, taps, at, apart) },
    }
}

/// [`block`] for any kernel.
///
/// # Safety
/// As for [`block`].
#[inline(always)]
unsafe fn plain_block<S: Simd, const V: usize, const R: usize>(
    simd: S,
    taps: &Taps<'_>,
    at: usize,
    apart: usize,
) -> [[S::V; V]; R] {
    let window = taps.window;
    let mut sums = [[simd.splat(0.0); V]; R];
    for (&offset, &weight) in window.offsets.iter().zip(taps.weights) {
        let weight = simd.splat(weight);
        for (r, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as the caller says.
                let src = unsafe {
                    simd.load(taps.src.add(at + offset + r * apart * window.pitch + v * taps.next))
                };
                *sum = simd.mul_add(src, weight, *sum);
            }
        }
    }
    sums
}

/// [`block`] for a kernel of `K` · `K` taps at stride 1: what is loaded serves all rows of the
/// block, since loads that lie across two lines are what the plain one waits for. The sizes are
/// constants so that the inner loops unroll.
///
/// # Safety
/// As for [`block`].
#[inline(always)]
unsafe fn shared_block<S: Simd, const V: usize, const R: usize, const K: usize>(
    simd: S,
    taps: &Taps<'_>,
    at: usize,
    apart: usize,
) -> [[S::V; V]; R] {
    let window = taps.window;
    let step = apart * window.pitch;
    let mut sums = [[simd.splat(0.0); V]; R];
    for column in 0..K {
        // SAFETY: output row `r` reads this row with its tap `line - r`, as the caller says it can;
        // there are K · K weights.
        unsafe {
            let src = taps.src.add(at + column * window.dilation);
            let weights: [S::V; K] =
                std::array::from_fn(|tap| simd.splat(*taps.weights.as_ptr().add(tap * K + column)));
            for line in 0..R + K - 1 {
                let x: [S::V; V] =
                    std::array::from_fn(|v| simd.load(src.add(line * step + v * taps.next)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    if line >= r && line - r < K {
                        for (sum, x) in sums.iter_mut().zip(x) {
                            *sum = simd.mul_add(x, weights[line - r], *sum);
                        }
                    }
                }
            }
        }
    }
    sums
}

/// `V` vectors of the sum over taps of weight · what lies at the tap's distance.
///
/// # Safety
/// They can be read at every distance, and written.
#[inline(always)]
unsafe fn distant<S: Simd, const V: usize>(
    simd: S,
    taps: &[Distant],
    weights: &[f32],
    from: *const f32,
    to: *mut f32,
) {
    let mut sums = [simd.splat(0.0); V];
    // SAFETY: as the caller says.
    unsafe {
        for &Distant { tap, distance } in taps {
            let weight = simd.splat(weights[tap]);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = simd.mul_add(simd.load(from.add(distance + v * S::LANES)), weight, *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            simd.store(to.add(v * S::LANES), *sum);
        }
    }
}

/// What makes one value of those of a window.
trait Join {
    /// Of no values.
    const NONE: f32;
    /// Of two.
    fn two<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V;
}

struct Sum;

impl Join for Sum {
    const NONE: f32 = 0.0;

    #[inline(always)]
    fn two<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
        simd.add(a, b)
    }
}

struct Maximum;

impl Join for Maximum {
    const NONE: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn two<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
        simd.max(a, b)
    }
}

/// `out` = what `J` makes of what the taps read there.
#[inline(always)]
fn join_windows<S: Simd, J: Join>(simd: S, window: &Window, scratch: &[f32], out: &mut [f32]) {
    let (w, h, pitch) = (window.out_w, window.out_h, window.pitch);
    assert!(out.len() == h * w && scratch.len() >= window.reach + S::LANES);
    for column in (0..w).step_by(S::LANES) {
        let width = S::LANES.min(w - column);
        let src = scratch[column..].as_ptr();
        // SAFETY: a vector may read up to its lanes beyond the reach of the window, which the
        // scratch has.
        unsafe {
            if window.is_three() {
                let (mut first, mut second) =
                    (join_row::<S, J>(simd, src), join_row::<S, J>(simd, src.add(pitch)));
                for row in 0..h {
                    let third = join_row::<S, J>(simd, src.add((row + 2) * pitch));
                    put_first(
                        simd,
                        J::two(simd, J::two(simd, first, second), third),
                        &mut out[row * w + column..][..width],
                    );
                    (first, second) = (second, third);
                }
                continue;
            }
            for row in 0..h {
                let mut joined = simd.splat(J::NONE);
                for &offset in &window.offsets {
                    joined = J::two(simd, joined, simd.load(src.add(row * pitch + offset)));
                }
                put_first(simd, joined, &mut out[row * w + column..][..width]);
            }
        }
    }
}

/// Of three vectors next to each other by one value.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn join_row<S: Simd, J: Join>(simd: S, from: *const f32) -> S::V {
    // SAFETY: as the caller says.
    unsafe {
        J::two(simd, J::two(simd, simd.load(from), simd.load(from.add(1))), simd.load(from.add(2)))
    }
}

/// The largest value seen, and the first tap that read it.
#[derive(Clone, Copy)]
struct Chosen<V> {
    max: V,
    tap: V,
}

impl<V: Copy> Chosen<V> {
    #[inline(always)]
    fn none<S: Simd<V = V>>(simd: S) -> Self {
        Self { max: simd.splat(f32::NEG_INFINITY), tap: simd.splat(0.0) }
    }

    /// Turns to what a later tap read, where that is larger.
    #[inline(always)]
    fn choose<S: Simd<V = V>>(&mut self, simd: S, x: V, tap: V) {
        self.tap = simd.where_greater(x, self.max, tap, self.tap);
        self.max = simd.where_greater(x, self.max, x, self.max);
    }
}

/// What is chosen of three vectors next to each other by one value.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn chosen_of_row<S: Simd>(simd: S, from: *const f32) -> Chosen<S::V> {
    let mut chosen = Chosen::none(simd);
    for tap in 0..3 {
        // SAFETY: as the caller says.
        chosen.choose(simd, unsafe { simd.load(from.add(tap)) }, simd.splat(tap as f32));
    }
    chosen
}

/// Adds to the sums of three rows, of which this is the first, second or third that they read, the
/// gradients of a row whose tap lies there.
///
/// # Safety
/// Of gradients and taps three vectors next to each other by one value can be read.
#[inline(always)]
unsafe fn add_chosen_of_row<S: Simd>(
    simd: S,
    gradients: *const f32,
    taps: *const f32,
    sums: &mut [S::V; 3],
) {
    for column in 0..3 {
        // SAFETY: as the caller says.
        let (dy, tap) = unsafe { (simd.load(gradients.add(column)), simd.load(taps.add(column))) };
        for (line, sum) in sums.iter_mut().enumerate() {
            let turned = simd.splat((8 - (3 * line + column)) as f32);
            *sum = simd.add(*sum, simd.where_equal(tap, turned, dy));
        }
    }
}

/// Writes as many lanes as there is room for.
#[inline(always)]
fn put_first<S: Simd>(simd: S, v: S::V, to: &mut [f32]) {
    if to.len() >= S::LANES {
        // SAFETY: a whole vector.
        unsafe { simd.store(to.as_mut_ptr(), v) };
        return;
    }
    let mut lanes = [0f32; MOST_LANES];
    // SAFETY: the array has room for the lanes of any vector.
    unsafe { simd.store(lanes.as_mut_ptr(), v) };
    to.copy_from_slice(&lanes[..to.len()]);
}

/// Writes the first lanes of one vector a row to the columns from `from` on.
#[inline(always)]
fn put<S: Simd, const R: usize>(
    simd: S,
    rows: [[S::V; 1]; R],
    out: &mut [f32],
    from: usize,
    w: usize,
) {
    let mut lanes = [0f32; MOST_LANES];
    for (row, [sum]) in rows.into_iter().enumerate() {
        // SAFETY: the array has room for the lanes of any vector.
        unsafe { simd.store(lanes.as_mut_ptr(), sum) };
        out[row * w + from..(row + 1) * w].copy_from_slice(&lanes[..w - from]);
    }
}

/// [`tap_products`] of the first `T` taps.
///
/// # Safety
/// Every tap can be read at every output position.
#[inline(always)]
unsafe fn products<S: Simd, const T: usize>(
    simd: S,
    window: &Window,
    gradient: &[f32],
    scratch: &[f32],
    taps: &[usize],
    sums: &mut [f32],
) {
    let w = window.out_w;
    let whole = w / S::LANES * S::LANES;
    let taps: [usize; T] = std::array::from_fn(|t| taps[t]);
    let mut totals = [simd.splat(0.0); T];
    for (total, sums) in totals.iter_mut().zip(sums.chunks_exact(S::LANES)) {
        // SAFETY: there are as many sums as a vector has lanes.
        *total = unsafe { simd.load(sums.as_ptr()) };
    }
    // The end of a row, with zeros behind it.
    let mut end = [0f32; MOST_LANES];
    for row in 0..window.out_h {
        let mut column = 0;
        while column < whole {
            // SAFETY: within the row of the gradient; the taps as the caller says.
            unsafe {
                let gradient = simd.load(gradient.as_ptr().add(row * w + column));
                let src = scratch.as_ptr().add(row * window.pitch + column);
                for (total, &tap) in totals.iter_mut().zip(&taps) {
                    *total = simd.mul_add(simd.load(src.add(tap)), gradient, *total);
                }
            }
            column += S::LANES;
        }
        if whole < w {
            end[..w - whole].copy_from_slice(&gradient[row * w + whole..][..w - whole]);
            // SAFETY: the scratch has as many values as a vector has lanes beyond the last that is
            // needed.
            unsafe {
                let gradient = simd.load(end.as_ptr());
                let src = scratch.as_ptr().add(row * window.pitch + whole);
                for (total, &tap) in totals.iter_mut().zip(&taps) {
                    *total = simd.mul_add(simd.load(src.add(tap)), gradient, *total);
                }
            }
        }
    }
    for (total, sums) in totals.iter().zip(sums.chunks_exact_mut(S::LANES)) {
        // SAFETY: as for the loads.
        unsafe { simd.store(sums.as_mut_ptr(), *total) };
    }
}

/// [`products_of_kernel_rows`] of all rows of a kernel of 5 · 5 taps, as many at once as there are
/// registers for.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn products_of_five<S: Simd, const D: usize>(
    simd: S,
    window: &Window,
    gradient: &[f32],
    scratch: &[f32],
    sums: &mut [f32],
) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        products_of_kernel_rows::<S, 5, D, 2>(simd, window, gradient, scratch, 0, sums);
        products_of_kernel_rows::<S, 5, D, 2>(simd, window, gradient, scratch, 2, sums);
        products_of_kernel_rows::<S, 5, D, 1>(simd, window, gradient, scratch, 4, sums)
    }
}

/// [`tap_products`] of `R` rows, from `first` on, of a kernel of `K` · `K` taps of dilation `D` at
/// stride 1. With all distances constants but that of the rows, the short rows of small planes cost
/// what their products cost. Returns that it is done.
///
/// # Safety
/// Every tap can be read at every output position; rows are whole vectors.
#[inline(always)]
unsafe fn products_of_kernel_rows<S: Simd, const K: usize, const D: usize, const R: usize>(
    simd: S,
    window: &Window,
    gradient: &[f32],
    scratch: &[f32],
    first: usize,
    sums: &mut [f32],
) -> bool {
    let &Window { out_w: w, out_h: h, pitch, .. } = window;
    let sums = &mut sums[first * K * S::LANES..][..R * K * S::LANES];
    let mut totals = [[simd.splat(0.0); K]; R];
    // SAFETY: there are as many sums as a vector has lanes for each tap; the rest as the caller
    // says.
    unsafe {
        for (r, totals) in totals.iter_mut().enumerate() {
            for (kx, total) in totals.iter_mut().enumerate() {
                *total = simd.load(sums.as_ptr().add((r * K + kx) * S::LANES));
            }
        }
        let src = scratch.as_ptr().add(first * D * pitch);
        for row in 0..h {
            let mut column = 0;
            while column < w {
                let dy = simd.load(gradient.as_ptr().add(row * w + column));
                for (r, totals) in totals.iter_mut().enumerate() {
                    let line = src.add((row + r * D) * pitch + column);
                    for (kx, total) in totals.iter_mut().enumerate() {
                        *total = simd.mul_add(simd.load(line.add(kx * D)), dy, *total);
                    }
                }
                column += S::LANES;
            }
        }
        for (r, totals) in totals.iter().enumerate() {
            for (kx, total) in totals.iter().enumerate() {
                simd.store(sums.as_mut_ptr().add((r * K + kx) * S::LANES), *total);
            }
        }
    }
    true
}
