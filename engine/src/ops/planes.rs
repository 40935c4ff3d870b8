//! Operations that compute every plane of their output from one of their input.

use rayon::prelude::*;

use super::batch_norm::{PlaneMoments, plane_moments};
use super::scratch;
use super::view::Values;
use super::window::{self, Window};
use super::{InTasks, chunks_if_wanted, planes_per_task};

/// Calls `compute` with the number of every plane of x, a scratch that has it with `fill` around,
/// and the output for it; then takes moments where they are wanted.
pub(super) fn each_plane(
    window: &Window,
    x: Values<'_>,
    y: &mut [f32],
    moments: Option<&mut [PlaneMoments]>,
    fill: f32,
    compute: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) {
    let moments = chunks_if_wanted(moments, 1, y.len() / window.out_plane());
    let planes = y
        .par_chunks_mut(window.out_plane())
        .zip(moments)
        .in_tasks_of(planes_per_task(window.plane()));
    planes.enumerate().for_each(|(plane, (y, moments))| {
        scratch::with(|scratch| {
            let padded = scratch.padded.prepare(window, 1, fill);
            window::load(window, x.at(plane), padded);
            compute(plane, padded, y);
        });
        if let Some([moments]) = moments {
            *moments = plane_moments(y);
        }
    });
}
