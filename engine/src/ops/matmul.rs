//! Small matrix products for convolutions: few rows, few terms, many columns.

// Vectors are loaded and stored through pointers: a check of every load would cost as much as the load.
#![allow(unsafe_code)]

use super::view::Plane;
use crate::aligned::Aligned;
use crate::simd::{MOST_LANES, Simd, kernel};

/// Rows computed together.
const ROWS: usize = 4;
/// Vectors of columns computed together.
const VECTORS: usize = 2;
/// Most columns of a panel.
const PANEL: usize = VECTORS * MOST_LANES;

/// The right-hand matrix of a product, `[terms, columns]`.
#[derive(Clone, Copy)]
pub(crate) enum Matrix<'a> {
    /// Rows `stride` apart.
    Rows { data: &'a [f32], stride: usize },
    /// Each row is a plane as its readers see it.
    Planes(&'a [Plane<'a>]),
}

kernel! {
    /// c `[rows, columns]` = a `[rows, terms]` · right (+ bias `[rows]`), rows of c being `stride` apart. `packed` is scratch that keeps its
    /// allocation.
    pub(crate) fn multiply(
        simd, a: &[f32], right: Matrix<'_>, terms: usize, bias: Option<&[f32]>, c: &mut [f32], stride: usize, columns: usize,
        packed: &mut Aligned,
    ) {
        let rows = a.len() / terms;
        let width = VECTORS * S::LANES;
        assert!(a.len() == rows * terms && c.len() >= (rows - 1) * stride + columns && stride >= columns);
        packed.resize(terms * PANEL);
        let mut start = 0;
        while start < columns {
            let here = width.min(columns - start);
            // Rows of a matrix are read where they lie, unless a vector would reach beyond the last one.
            let (b, pitch) = match right {
                Matrix::Rows { data, stride } if here == width => {
                    assert!(data.len() >= (terms - 1) * stride + start + width);
                    (data[start..].as_ptr(), stride)
                }
                Matrix::Rows { data, stride } => {
                    for (term, packed) in packed.chunks_exact_mut(width).take(terms).enumerate() {
                        packed[..here].copy_from_slice(&data[term * stride + start..][..here]);
                        packed[here..].fill(0.0);
                    }
                    (packed.as_ptr(), width)
                }
                Matrix::Planes(planes) => {
                    for (plane, packed) in planes.iter().zip(packed.chunks_exact_mut(width)) {
                        plane.read(simd, start, &mut packed[..here]);
                        packed[here..].fill(0.0);
                    }
                    (packed.as_ptr(), width)
                }
            };
            let mut row = 0;
            while row < rows {
                let group = if row + ROWS <= rows { ROWS } else { 1 };
                // SAFETY: `a` has the rows, and behind `b` are `terms` rows of `VECTORS` vectors.
                unsafe {
                    match group {
                        ROWS => panel::<S, ROWS>(simd, a, b, pitch, terms, row, bias, c, stride, start, here),
                        _ => panel::<S, 1>(simd, a, b, pitch, terms, row, bias, c, stride, start, here),
                    }
                }
                row += group;
            }
            start += here;
        }
    }

    /// c `[rows, terms]` += a · bᵀ, where the rows of a and of b are `stride` apart and `columns` long: all dot products of the rows of two
    /// matrices.
    pub(crate) fn add_products_of_rows(simd, a: &[f32], b: &[f32], c: &mut [f32], rows: usize, terms: usize, stride: usize, columns: usize) {
        assert!(stride >= columns && c.len() == rows * terms);
        assert!(a.len() >= (rows - 1) * stride + columns && b.len() >= (terms - 1) * stride + columns);
        let mut row = 0;
        while row < rows {
            let height = if row + 2 <= rows { 2 } else { 1 };
            let mut term = 0;
            while term < terms {
                let width = if term + 4 <= terms { 4 } else { 1 };
                // SAFETY: rows within both matrices, as asserted.
                unsafe {
                    let (a, b) = (a.as_ptr().add(row * stride), b.as_ptr().add(term * stride));
                    let c = &mut c[row * terms + term..];
                    match (height, width) {
                        (2, 4) => dots::<S, 2, 4>(simd, a, b, c, terms, stride, columns),
                        (2, _) => dots::<S, 2, 1>(simd, a, b, c, terms, stride, columns),
                        (_, 4) => dots::<S, 1, 4>(simd, a, b, c, terms, stride, columns),
                        _ => dots::<S, 1, 1>(simd, a, b, c, terms, stride, columns),
                    }
                }
                term += width;
            }
            row += height;
        }
    }
}

/// `R` rows of one panel.
///
/// # Safety
/// `a` has `R` rows from `row` on; behind `b`, `pitch` apart, are as many rows of [`VECTORS`] vectors as there are terms.
#[allow(clippy::too_many_arguments)] // the operands of a panel, taken apart anyway
#[inline(always)]
unsafe fn panel<S: Simd, const R: usize>(
    simd: S,
    a: &[f32],
    b: *const f32,
    pitch: usize,
    terms: usize,
    row: usize,
    bias: Option<&[f32]>,
    c: &mut [f32],
    stride: usize,
    start: usize,
    width: usize,
) {
    let mut sums = [[simd.splat(0.0); VECTORS]; R];
    if let Some(bias) = bias {
        for (sums, bias) in sums.iter_mut().zip(&bias[row..]) {
            *sums = [simd.splat(*bias); VECTORS];
        }
    }
    // SAFETY: as the caller says.
    unsafe {
        let a = a.as_ptr().add(row * terms);
        for term in 0..terms {
            let b: [S::V; VECTORS] = std::array::from_fn(|v| simd.load(b.add(term * pitch + v * S::LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = simd.splat(*a.add(r * terms + term));
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = simd.mul_add(factor, b, *sum);
                }
            }
        }
    }
    if width == VECTORS * S::LANES {
        assert!(c.len() >= (row + R - 1) * stride + start + VECTORS * S::LANES);
        let c = c[row * stride + start..].as_mut_ptr();
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                // SAFETY: a whole panel of c, as asserted.
                unsafe { simd.store(c.add(r * stride + v * S::LANES), *sum) };
            }
        }
        return;
    }
    let mut rest = [0f32; PANEL];
    for (r, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: the array has room for the widest panel.
            unsafe { simd.store(rest.as_mut_ptr().add(v * S::LANES), *sum) };
        }
        c[(row + r) * stride + start..][..width].copy_from_slice(&rest[..width]);
    }
}

/// Adds the dot products of `R` rows of a with `T` rows of b.
///
/// # Safety
/// The rows can be read.
#[inline(always)]
unsafe fn dots<S: Simd, const R: usize, const T: usize>(
    simd: S,
    a: *const f32,
    b: *const f32,
    c: &mut [f32],
    terms: usize,
    stride: usize,
    columns: usize,
) {
    let whole = columns / S::LANES * S::LANES;
    let mut sums = [[simd.splat(0.0); T]; R];
    // SAFETY: as the caller says.
    unsafe {
        let mut at = 0;
        while at < whole {
            let b: [S::V; T] = std::array::from_fn(|t| simd.load(b.add(t * stride + at)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = simd.load(a.add(r * stride + at));
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = simd.mul_add(a, b, *sum);
                }
            }
            at += S::LANES;
        }
        for (r, sums) in sums.iter().enumerate() {
            for (t, sum) in sums.iter().enumerate() {
                let mut rest = 0.0;
                for at in whole..columns {
                    rest += *a.add(r * stride + at) * *b.add(t * stride + at);
                }
                c[r * terms + t] += simd.sum(*sum) + rest;
            }
        }
    }
}
