//! Operations that treat every element alike, and weighted sums.

use rayon::prelude::*;

use super::batch_norm::{plane_product, plane_sum};
use super::view::{self, Gradients, Plane, Values};
use super::{CHUNK, InTasks, Write, planes_per_task};
use crate::simd::{kernel, map, update};

/// Writes x as its readers see it.
pub(crate) fn materialize(x: Values<'_>, y: &mut [f32]) {
    y.par_chunks_mut(x.plane)
        .in_tasks_of(planes_per_task(x.plane))
        .enumerate()
        .for_each(|(i, y)| view::materialize(x.at(i), y));
}

/// Writes or adds a gradient as its readers see it, where what it belongs to lets it through.
pub(crate) fn send(dy: Gradients<'_>, through: Option<Values<'_>>, write: Write, dx: &mut [f32]) {
    dx.par_chunks_mut(dy.plane).in_tasks_of(planes_per_task(dy.plane)).enumerate().for_each(
        |(i, dx)| {
            view::send(dy.at(i), through.map(|through| through.at(i)), write, dx);
        },
    );
}

/// y = factor · x, written or added.
pub(crate) fn scale(x: &[f32], factor: f32, y: &mut [f32], write: Write) {
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .in_tasks_of(1)
        .for_each(|(y, x)| scaled(factor, x, y, write));
}

/// y = Σ weight · x over the pairs given.
pub(crate) fn weighted_sum(terms: &[(f32, Values<'_>)], y: &mut [f32]) {
    let plane = terms.first().map_or(1, |(_, x)| x.plane);
    y.par_chunks_mut(plane).in_tasks_of(planes_per_task(plane)).enumerate().for_each_init(
        Vec::new,
        |planes, (i, y)| {
            planes.clear();
            planes.extend(terms.iter().map(|(weight, x)| (*weight, x.at(i))));
            weighted_planes(planes, y);
        },
    );
}

kernel! {
    /// to = factor · x, written or added.
    pub(crate) fn scaled(simd, factor: f32, x: &[f32], to: &mut [f32], write: Write) {
        let factor = simd.splat(factor);
        match write {
            Write::Set => map(simd, x, to, |x| simd.mul(factor, x)),
            Write::Add => update(simd, to, x, |to, x| simd.mul_add(factor, x, to)),
        }
    }

    fn weighted_planes(simd, terms: &[(f32, Plane<'_>)], y: &mut [f32]) {
        const BLOCK: usize = 64;
        debug_assert!(terms.iter().all(|(_, plane)| !plane.relu), "sums read no tensor through a \
                                                                   ReLU");
        let mut shift = 0.0;
        for (weight, plane) in terms {
            shift += weight * plane.shift;
        }
        let (blocks, rest) = y.as_chunks_mut::<BLOCK>();
        let whole = blocks.len() * BLOCK;
        for (block, y) in blocks.iter_mut().enumerate() {
            let mut sum = [shift; BLOCK];
            for (weight, plane) in terms {
                let factor = weight * plane.factor;
                let x = &plane.data[block * BLOCK..][..BLOCK];
                for i in 0..BLOCK {
                    sum[i] += factor * (x[i] - plane.mean);
                }
            }
            *y = sum;
        }
        for (i, y) in rest.iter_mut().enumerate() {
            *y = shift;
            for (weight, plane) in terms {
                *y += weight * plane.factor * (plane.data[whole + i] - plane.mean);
            }
        }
    }
}

/// A tensor whose products with a gradient are wanted, with its elements less the mean of their
/// channel where means are given.
pub(crate) struct Term<'a> {
    pub(crate) values: Values<'a>,
    pub(crate) means: Option<&'a [f32]>,
}

/// For every plane the sum of dy, and for every term those of dy · (x - mean), x being the bare
/// tensor. All in one pass over dy.
pub(crate) fn products(dy: &[f32], terms: &[Term<'_>]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let plane = terms.first().map_or(1, |term| term.values.plane);
    let count = dy.len() / plane;
    let mut table = vec![0f32; count * (terms.len() + 1)];
    table
        .par_chunks_mut(terms.len() + 1)
        .zip(dy.par_chunks(plane))
        .in_tasks_of(planes_per_task(plane))
        .enumerate()
        .for_each(|(i, (sums, dy))| {
            sums[0] = plane_sum(dy);
            for (sum, term) in sums[1..].iter_mut().zip(terms) {
                let mean = term.means.map_or(0.0, |means| means[i % term.values.channels]);
                *sum = plane_product(dy, &term.values.data[i * plane..][..plane], mean);
            }
        });
    let column =
        |at: usize| table.iter().skip(at).step_by(terms.len() + 1).copied().collect::<Vec<f32>>();
    (column(0), (1..=terms.len()).map(column).collect())
}

/// For every plane Σ dy · x from what [`products`] gave for a term, x being as its readers see it.
fn inner_products<'a>(
    term: &'a Term<'a>,
    dy: &'a [f32],
    products: &'a [f32],
) -> impl Iterator<Item = f64> + 'a {
    dy.iter().zip(products).enumerate().map(|(i, (&dy, &product))| {
        let plane = term.values.at(i);
        // Where the products were not taken with x - mean, that part comes off here.
        let shift = if term.means.is_some() {
            plane.shift
        } else {
            plane.shift - plane.factor * plane.mean
        };
        f64::from(plane.factor) * f64::from(product) + f64::from(shift) * f64::from(dy)
    })
}

/// Σ dy · x from what [`products`] gave for a term, x being as its readers see it.
pub(crate) fn inner_product(term: &Term<'_>, dy: &[f32], products: &[f32]) -> f64 {
    inner_products(term, dy, products).sum()
}

/// Gradient of the mask of a drop-path.
pub(crate) fn mask_backward(x: Values<'_>, dy: &[f32], dmask: &mut [f32], write: Write) {
    let term = [Term { values: x, means: x.affine.map(|affine| affine.mean) }];
    let (dys, products) = products(dy, &term);
    let planes: Vec<f64> = inner_products(&term[0], &dys, &products[0]).collect();
    write.apply(
        dmask,
        planes.chunks_exact(x.channels).map(|planes| planes.iter().sum::<f64>() as f32),
    );
}
