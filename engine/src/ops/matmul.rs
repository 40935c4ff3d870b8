//! Small matrix products for convolutions: few rows, few terms, many columns.

use super::{Write, dot, lane_sum};

/// Columns of one panel.
const PANEL: usize = 16;
/// Rows computed together.
const ROWS: usize = 4;
/// With so few columns the products run along the terms instead: a panel would be mostly padding.
const FEW_COLUMNS: usize = 4;

/// c `[rows, columns]` = a `[rows, terms]` · b `[terms, columns]` (+ bias `[rows]`). `packed` is scratch that keeps its allocation.
pub(crate) fn multiply(a: &[f32], b: &[f32], bias: Option<&[f32]>, c: &mut [f32], columns: usize, write: Write, packed: &mut Vec<f32>) {
    let terms = b.len() / columns;
    if columns <= FEW_COLUMNS {
        transpose(b, columns, packed);
        for (row, (a, c)) in a.chunks_exact(terms).zip(c.chunks_exact_mut(columns)).enumerate() {
            let bias = bias.map_or(0.0, |bias| bias[row]);
            write.apply(c, packed.chunks_exact(terms).map(|b| wide_dot(a, b) + bias));
        }
        return;
    }
    packed.resize(terms * PANEL, 0.0);
    for start in (0..columns).step_by(PANEL) {
        let width = PANEL.min(columns - start);
        for (packed, row) in packed.chunks_exact_mut(PANEL).zip(b.chunks_exact(columns)) {
            packed[..width].copy_from_slice(&row[start..start + width]);
            packed[width..].fill(0.0);
        }
        panel(a, packed, bias, c, columns, start, width, write);
    }
}

/// b `[rows, columns]` → `[columns, rows]`.
fn transpose(b: &[f32], columns: usize, transposed: &mut Vec<f32>) {
    transposed.clear();
    transposed.extend((0..columns).flat_map(|column| b.iter().skip(column).step_by(columns)));
}

#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn wide_dot(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn add_scaled(factor: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}

// A product of matrices has this many operands; a struct of them would be built and taken apart for every panel.
#[allow(clippy::too_many_arguments)]
#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn panel(a: &[f32], packed: &[f32], bias: Option<&[f32]>, c: &mut [f32], columns: usize, start: usize, width: usize, write: Write) {
    let terms = packed.len() / PANEL;
    let rows = c.len() / columns;
    let mut store = |row: usize, sum: &[f32; PANEL]| {
        let c = &mut c[row * columns + start..][..width];
        let bias = bias.map_or(0.0, |bias| bias[row]);
        write.apply(c, sum.iter().map(|sum| sum + bias));
    };
    let mut row = 0;
    while row + ROWS <= rows {
        let a: [&[f32]; ROWS] = std::array::from_fn(|r| &a[(row + r) * terms..][..terms]);
        let mut sums = [[0f32; PANEL]; ROWS];
        for (term, packed) in packed.chunks_exact(PANEL).enumerate() {
            for (sums, a) in sums.iter_mut().zip(&a) {
                let a = a[term];
                for (sum, packed) in sums.iter_mut().zip(packed) {
                    *sum += a * packed;
                }
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            store(row + r, sum);
        }
        row += ROWS;
    }
    while row < rows {
        let a = &a[row * terms..][..terms];
        let mut sum = [0f32; PANEL];
        for (a, packed) in a.iter().zip(packed.chunks_exact(PANEL)) {
            for (sum, packed) in sum.iter_mut().zip(packed) {
                *sum += a * packed;
            }
        }
        store(row, &sum);
        row += 1;
    }
}

/// c `[rows, terms]` += a `[rows, columns]` · b `[terms, columns]`ᵀ: all dot products of the rows of two matrices.
/// `scratch` keeps its allocation.
pub(crate) fn add_products_of_rows(a: &[f32], b: &[f32], c: &mut [f32], columns: usize, scratch: &mut Vec<f32>) {
    if columns > FEW_COLUMNS {
        return add_long_products(a, b, c, columns);
    }
    transpose(b, columns, scratch);
    let terms = b.len() / columns;
    for (a, c) in a.chunks_exact(columns).zip(c.chunks_exact_mut(terms)) {
        for (&factor, b) in a.iter().zip(scratch.chunks_exact(terms)) {
            add_scaled(factor, b, c);
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn add_long_products(a: &[f32], b: &[f32], c: &mut [f32], columns: usize) {
    const LANES: usize = 8;
    const TERMS: usize = 4;
    const PAIR: usize = 2;
    let (rows, terms) = (a.len() / columns, b.len() / columns);
    let body = columns / LANES * LANES;
    for row in (0..rows).step_by(PAIR) {
        // A lone last row or term is computed more than once and stored once.
        let a_rows: [&[f32]; PAIR] = std::array::from_fn(|r| &a[(row + r).min(rows - 1) * columns..][..columns]);
        for term in (0..terms).step_by(TERMS) {
            let b_rows: [&[f32]; TERMS] = std::array::from_fn(|t| &b[(term + t).min(terms - 1) * columns..][..columns]);
            let mut lanes = [[[0f32; LANES]; TERMS]; PAIR];
            for at in (0..body).step_by(LANES) {
                let a_block: [&[f32]; PAIR] = std::array::from_fn(|r| &a_rows[r][at..at + LANES]);
                let b_block: [&[f32]; TERMS] = std::array::from_fn(|t| &b_rows[t][at..at + LANES]);
                for r in 0..PAIR {
                    for t in 0..TERMS {
                        for l in 0..LANES {
                            lanes[r][t][l] += a_block[r][l] * b_block[t][l];
                        }
                    }
                }
            }
            for r in 0..PAIR.min(rows - row) {
                for t in 0..TERMS.min(terms - term) {
                    let tail: f32 = a_rows[r][body..].iter().zip(&b_rows[t][body..]).map(|(a, b)| a * b).sum();
                    c[(row + r) * terms + term + t] += lane_sum(lanes[r][t]) + tail;
                }
            }
        }
    }
}
