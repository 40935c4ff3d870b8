//! Operations that move or average elements without weighing them.

use rayon::prelude::*;

use super::view::{self, Values};
use super::{InTasks, Write, planes_per_task};

/// Copies the samples of `part` to offset `at` of samples of `whole_len` elements.
pub(crate) fn insert(part: Values<'_>, whole: &mut [f32], whole_len: usize, at: usize) {
    let part_len = part.channels * part.plane;
    whole.par_chunks_mut(whole_len).in_tasks_of(1).enumerate().for_each(|(n, whole)| {
        for (c, to) in whole[at..at + part_len].chunks_exact_mut(part.plane).enumerate() {
            view::materialize(part.at(n * part.channels + c), to);
        }
    });
}

/// The transpose of [`insert`].
pub(crate) fn extract(
    whole: &[f32],
    whole_len: usize,
    at: usize,
    part: &mut [f32],
    part_len: usize,
    write: Write,
) {
    part.par_chunks_mut(part_len).zip(whole.par_chunks(whole_len)).in_tasks_of(1).for_each(
        |(part, whole)| {
            view::send_computed(&whole[at..at + part_len], None, write, part);
        },
    );
}

/// Sizes of a crop: the plane `[h, w]` without its first `top` rows and `left` columns.
#[derive(Clone, Copy)]
pub(crate) struct Crop {
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) top: usize,
    pub(crate) left: usize,
}

impl Crop {
    fn out_w(self) -> usize {
        self.w - self.left
    }

    fn out_plane(self) -> usize {
        (self.h - self.top) * self.out_w()
    }
}

/// Drops the first rows and columns of every plane.
pub(crate) fn crop(c: Crop, x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(c.out_plane())
        .zip(x.par_chunks(c.h * c.w))
        .in_tasks_of(planes_per_task(c.h * c.w))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(c.out_w()).zip(x.chunks_exact(c.w).skip(c.top)) {
                y.copy_from_slice(&x[c.left..]);
            }
        });
}

/// Gradient of [`crop`]; what was dropped gets zero.
pub(crate) fn crop_backward(c: Crop, dy: &[f32], dx: &mut [f32], write: Write) {
    dx.par_chunks_mut(c.h * c.w)
        .zip(dy.par_chunks(c.out_plane()))
        .in_tasks_of(planes_per_task(c.h * c.w))
        .for_each(|(dx, dy)| {
            write.clear(dx);
            for (dy, dx) in dy.chunks_exact(c.out_w()).zip(dx.chunks_exact_mut(c.w).skip(c.top)) {
                write.apply(&mut dx[c.left..], dy.iter().copied());
            }
        });
}

/// Sizes of the channels that are taken of samples `[channels, plane]` after these were shuffled by
/// `groups`.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) channels: usize,
    pub(crate) plane: usize,
    pub(crate) groups: usize,
    pub(crate) from: usize,
    pub(crate) count: usize,
}

impl Taken {
    /// The channel that each of those taken is.
    fn sources(self) -> impl Iterator<Item = usize> {
        let each = self.channels / self.groups;
        (self.from..self.from + self.count)
            .map(move |to| to % self.groups * each + to / self.groups)
    }

    fn sample(self) -> usize {
        self.channels * self.plane
    }
}

/// Takes channels.
pub(crate) fn channels(of: Taken, x: &[f32], y: &mut [f32]) {
    let samples = y.par_chunks_mut(of.count * of.plane).zip(x.par_chunks(of.sample()));
    samples.in_tasks_of(planes_per_task(of.sample())).for_each(|(y, x)| {
        for (from, y) in of.sources().zip(y.chunks_exact_mut(of.plane)) {
            y.copy_from_slice(&x[from * of.plane..][..of.plane]);
        }
    });
}

/// Gradient of [`channels`]; what was not taken gets zero.
pub(crate) fn channels_backward(of: Taken, dy: &[f32], dx: &mut [f32], write: Write) {
    let samples = dx.par_chunks_mut(of.sample()).zip(dy.par_chunks(of.count * of.plane));
    samples.in_tasks_of(planes_per_task(of.sample())).for_each(|(dx, dy)| {
        write.clear(dx);
        for (from, dy) in of.sources().zip(dy.chunks_exact(of.plane)) {
            write.apply(&mut dx[from * of.plane..][..of.plane], dy.iter().copied());
        }
    });
}

/// Mean of every plane.
pub(crate) fn global_avg_pool(x: &[f32], plane: usize, y: &mut [f32]) {
    y.par_iter_mut().zip(x.par_chunks(plane)).in_tasks_of(planes_per_task(plane)).for_each(
        |(y, x)| {
            *y = (x.iter().map(|&x| f64::from(x)).sum::<f64>() / plane as f64) as f32;
        },
    );
}

pub(crate) fn global_avg_pool_backward(dy: &[f32], plane: usize, dx: &mut [f32], write: Write) {
    dx.par_chunks_mut(plane).zip(dy).in_tasks_of(planes_per_task(plane)).for_each(|(dx, dy)| {
        write.apply(dx, std::iter::repeat_n(dy / plane as f32, plane));
    });
}
