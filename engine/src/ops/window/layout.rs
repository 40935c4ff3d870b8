use super::runs::{Halves, Run};
use crate::simd::MOST_LANES;

/// The numbers of [`Window::key`].
pub(crate) type Key = [usize; 8];

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
    pub(super) pitch: usize,
    /// Length of one phase in the scratch.
    pub(super) phase_len: usize,
    pub(super) phases: usize,
    /// Where each tap starts in the scratch.
    pub(super) offsets: Vec<usize>,
    /// Runs of the plane that lie in the scratch, those of one row of the plane together.
    pub(super) runs: Vec<Run>,
    /// At stride 2, the rows of the plane that lie there.
    pub(super) halves: Option<Halves>,
    /// Whether they are the whole plane.
    pub(super) covered: bool,
    /// For each phase the taps that read it.
    pub(super) taps_of_phase: Vec<Vec<Distant>>,
    back: Option<Box<Self>>,
    /// How far into the scratch the taps reach.
    pub(super) reach: usize,
}

/// A tap, and how far before a position of its phase the gradient of the output lies that read it
/// there, behind the lead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distant {
    pub(super) tap: usize,
    pub(super) distance: usize,
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
        }
    }

    /// What all of the layout follows from: windows with equal keys have one layout.
    pub(crate) fn key(&self) -> Key {
        let &Self { h, w, kernel, stride, padding, dilation, out_h, out_w, .. } = self;
        [h, w, kernel, stride, padding, dilation, out_h, out_w]
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
    pub(super) fn is_three(&self) -> bool {
        (self.kernel, self.stride, self.dilation) == (3, 1, 1)
    }

    /// Where the plane begins in the scratch, and how far its rows are apart there; at stride 1.
    pub(crate) fn inside(&self) -> (usize, usize) {
        (self.runs.first().map_or(0, |run| run.scratch), self.pitch)
    }

    /// The largest distance of a tap from the beginning of its phase.
    pub(super) fn lead(&self) -> usize {
        self.offsets.iter().map(|offset| offset % self.phase_len).max().unwrap_or(0)
    }

    /// Length of the gradient with the rows of the scratch, as [`super::transpose`] reads it.
    pub(crate) fn flat_len(&self) -> usize {
        self.lead() + self.phase_len + 4 * MOST_LANES
    }

    /// Length of the scratch: all phases, and what the last vector may read beyond them.
    pub(crate) fn scratch_len(&self) -> usize {
        self.phases * self.phases * self.phase_len + self.pitch + MOST_LANES
    }
}
