//! Small matrix products for convolutions: few rows, few terms, many columns.

// Vectors are loaded and stored through pointers: a check of every load would cost as much as the
// load.
#![allow(unsafe_code)]

use super::view::Plane;
use crate::aligned::Aligned;
use crate::simd::{MOST_LANES, Simd, kernel};

/// Vectors of columns computed together.
const VECTORS: usize = 2;
/// Values of planes that are packed at a time: well within the second cache, and so many of each
/// plane that those ahead are fetched in time.
const PACKED: usize = 1 << 14;

/// The right-hand matrix of a product, `[terms, columns]`.
#[derive(Clone, Copy)]
pub(crate) enum Matrix<'a> {
    /// Rows `stride` apart, with [`MOST_LANES`] values behind the last one that vectors may read.
    Rows { data: &'a [f32], stride: usize },
    /// Each row is a plane as its readers see it.
    Planes(&'a [Plane<'a>]),
}

kernel! {
    /// c `[rows, columns]` = a `[rows, terms]` · right (+ bias `[rows]`), rows of c being `stride`
    /// apart. `packed` is scratch that keeps its allocation.
    pub(crate) fn multiply(
        simd, a: &[f32], right: Matrix<'_>, terms: usize, bias: Option<&[f32]>, c: &mut [f32],
        stride: usize, columns: usize, packed: &mut Aligned,
    ) {
        let rows = a.len() / terms;
        assert!(a.len() == rows * terms && stride >= columns);
        assert!(c.len() >= (rows - 1) * stride + columns);
        assert!(bias.is_none_or(|bias| bias.len() == rows));
        let left = Left { a, rows, terms, bias };
        match right {
            Matrix::Rows { data, stride: pitch } => {
                assert!(data.len() >= (terms - 1) * pitch + columns + MOST_LANES);
                // SAFETY: both matrices have the columns, and the right-hand one the vector behind
                // them.
                unsafe {
                    block(simd, &left, data.as_ptr(), pitch, c.as_mut_ptr(), stride, columns);
                }
            }
            Matrix::Planes(planes) => {
                let step = VECTORS * S::LANES;
                let width = (PACKED / terms / step).max(1) * step;
                packed.resize(terms * width + MOST_LANES);
                let mut start = 0;
                while start < columns {
                    let here = width.min(columns - start);
                    for (plane, packed) in planes.iter().zip(packed.chunks_exact_mut(width)) {
                        plane.read(simd, start, &mut packed[..here]);
                    }
                    // SAFETY: as above.
                    unsafe {
                        let (right, to) = (packed.as_ptr(), c[start..].as_mut_ptr());
                        block(simd, &left, right, width, to, stride, here);
                    }
                    start += here;
                }
            }
        }
    }

    /// c `[rows, terms]` += a · bᵀ, where the rows of a and of b are `stride` apart and `columns`
    /// long: all dot products of the rows of two matrices.
    pub(crate) fn add_products_of_rows(
        simd, a: &[f32], b: &[f32], c: &mut [f32], rows: usize, terms: usize, stride: usize,
        columns: usize,
    ) {
        assert!(stride >= columns && c.len() == rows * terms);
        assert!(a.len() >= (rows - 1) * stride + columns);
        assert!(b.len() >= (terms - 1) * stride + columns);
        let mut row = 0;
        while row < rows {
            let height = rows_together(rows - row);
            let mut term = 0;
            while term < terms {
                let width = if term + 2 <= terms { 2 } else { 1 };
                // SAFETY: rows within both matrices, as asserted.
                unsafe {
                    let (a, b) = (a.as_ptr().add(row * stride), b.as_ptr().add(term * stride));
                    let c = &mut c[row * terms + term..];
                    match (height, width) {
                        (6, 2) => dots::<S, 6, 2>(simd, a, b, c, terms, stride, columns),
                        (6, _) => dots::<S, 6, 1>(simd, a, b, c, terms, stride, columns),
                        (4, 2) => dots::<S, 4, 2>(simd, a, b, c, terms, stride, columns),
                        (4, _) => dots::<S, 4, 1>(simd, a, b, c, terms, stride, columns),
                        (_, 2) => dots::<S, 1, 2>(simd, a, b, c, terms, stride, columns),
                        _ => dots::<S, 1, 1>(simd, a, b, c, terms, stride, columns),
                    }
                }
                term += width;
            }
            row += height;
        }
    }
}

/// How many of the remaining rows are computed together: 6, 4 or 1. Six by two vectors are the most
/// that registers hold; eight rows are four and four, as two left over would take as long.
fn rows_together(rows: usize) -> usize {
    match rows {
        1..=3 => 1,
        4 | 5 | 8 => 4,
        _ => 6,
    }
}

/// The left-hand matrix of a product, and what is added to its rows.
struct Left<'a> {
    a: &'a [f32],
    rows: usize,
    terms: usize,
    bias: Option<&'a [f32]>,
}

/// Some columns of a product, panel by panel.
///
/// # Safety
/// Behind `b` are as many rows as there are terms, `pitch` apart, and behind `c` as many as `left`
/// has, `stride` apart: of `columns` values each, where one vector more can be read behind those of
/// `b`.
#[inline(always)]
unsafe fn block<S: Simd>(
    simd: S,
    left: &Left<'_>,
    b: *const f32,
    pitch: usize,
    c: *mut f32,
    stride: usize,
    columns: usize,
) {
    let mut start = 0;
    while start < columns {
        let width = (VECTORS * S::LANES).min(columns - start);
        // SAFETY: a panel begins within the columns and ends at most a vector behind them.
        unsafe {
            let (b, c) = (b.add(start), c.add(start));
            if width > S::LANES {
                panel::<S, VECTORS>(simd, left, b, pitch, c, stride, width);
            } else {
                panel::<S, 1>(simd, left, b, pitch, c, stride, width);
            }
        }
        start += width;
    }
}

/// All rows of `V` vectors of columns, of which `width` columns are written.
///
/// # Safety
/// The vectors can be read from the rows of `b`, and the columns written in those of `c`.
#[inline(always)]
unsafe fn panel<S: Simd, const V: usize>(
    simd: S,
    left: &Left<'_>,
    b: *const f32,
    pitch: usize,
    c: *mut f32,
    stride: usize,
    width: usize,
) {
    let mut row = 0;
    while row < left.rows {
        let here = rows_together(left.rows - row);
        // SAFETY: as the caller says.
        unsafe {
            let c = c.add(row * stride);
            match here {
                6 => put(simd, sums::<S, 6, V>(simd, left, row, b, pitch), c, stride, width),
                4 => put(simd, sums::<S, 4, V>(simd, left, row, b, pitch), c, stride, width),
                _ => put(simd, sums::<S, 1, V>(simd, left, row, b, pitch), c, stride, width),
            }
        }
        row += here;
    }
}

/// `R` rows of a panel.
///
/// # Safety
/// `left` has `R` rows from `row` on, and from the rows of `b` `V` vectors can be read.
#[inline(always)]
unsafe fn sums<S: Simd, const R: usize, const V: usize>(
    simd: S,
    left: &Left<'_>,
    row: usize,
    b: *const f32,
    pitch: usize,
) -> [[S::V; V]; R] {
    let mut sums = [[simd.splat(0.0); V]; R];
    if let Some(bias) = left.bias {
        for (sums, bias) in sums.iter_mut().zip(&bias[row..]) {
            *sums = [simd.splat(*bias); V];
        }
    }
    // SAFETY: as the caller says.
    unsafe {
        let a = left.a.as_ptr().add(row * left.terms);
        for term in 0..left.terms {
            let b: [S::V; V] =
                std::array::from_fn(|v| simd.load(b.add(term * pitch + v * S::LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = simd.splat(*a.add(r * left.terms + term));
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = simd.mul_add(factor, b, *sum);
                }
            }
        }
    }
    sums
}

/// Writes the first `width` columns of some rows.
///
/// # Safety
/// They can be written in rows `stride` apart from `c` on.
#[inline(always)]
unsafe fn put<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sums: [[S::V; V]; R],
    c: *mut f32,
    stride: usize,
    width: usize,
) {
    let mut rest = [0f32; VECTORS * MOST_LANES];
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: as the caller says; the array has room for the vectors of any panel.
        unsafe {
            let c = c.add(r * stride);
            let whole = width == V * S::LANES;
            let to = if whole { c } else { rest.as_mut_ptr() };
            for (v, sum) in sums.iter().enumerate() {
                simd.store(to.add(v * S::LANES), *sum);
            }
            if !whole {
                std::ptr::copy_nonoverlapping(to, c, width);
            }
        }
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
    let mut sums = [[simd.splat(0.0); R]; T];
    // SAFETY: as the caller says.
    unsafe {
        let mut at = 0;
        while at < whole {
            let b: [S::V; T] = std::array::from_fn(|t| simd.load(b.add(t * stride + at)));
            for r in 0..R {
                let a = simd.load(a.add(r * stride + at));
                for (sums, b) in sums.iter_mut().zip(b) {
                    sums[r] = simd.mul_add(a, b, sums[r]);
                }
            }
            at += S::LANES;
        }
        for first in (0..R * T).step_by(4) {
            let sums = simd.sums(std::array::from_fn(|i| {
                let i = (first + i).min(R * T - 1);
                sums[i / R][i % R]
            }));
            for (i, sum) in (first..R * T).zip(sums) {
                let (t, r) = (i / R, i % R);
                let mut rest = 0.0;
                for at in whole..columns {
                    rest += *a.add(r * stride + at) * *b.add(t * stride + at);
                }
                c[r * terms + t] += sum + rest;
            }
        }
    }
}
