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
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

// A product of matrices has this many operands; a struct of them would be built and taken apart for every panel.
#[allow(clippy::too_many_arguments)]
#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn panel(a: &[f32], packed: &[f32], bias: Option<&[f32]>, c: &mut [f32], columns: usize, start: usize, width: usize, write: Write) {
    let (packed, _) = packed.as_chunks::<PANEL>();
    let terms = packed.len();
    let rows = c.len() / columns;
    let mut row = 0;
    while row + ROWS <= rows {
        let a = &a[row * terms..(row + ROWS) * terms];
        let (a0, rest) = a.split_at(terms);
        let (a1, rest) = rest.split_at(terms);
        let (a2, a3) = rest.split_at(terms);
        // Four named rows: an array of rows does not stay in registers.
        let (mut s0, mut s1, mut s2, mut s3) = ([0f32; PANEL], [0f32; PANEL], [0f32; PANEL], [0f32; PANEL]);
        for ((((packed, a0), a1), a2), a3) in packed.iter().zip(a0).zip(a1).zip(a2).zip(a3) {
            for (i, b) in packed.iter().enumerate() {
                s0[i] += a0 * b;
                s1[i] += a1 * b;
                s2[i] += a2 * b;
                s3[i] += a3 * b;
            }
        }
        for (r, sums) in [s0, s1, s2, s3].iter().enumerate() {
            store(row + r, sums, bias, c, columns, start, width, write);
        }
        row += ROWS;
    }
    while row < rows {
        let a = &a[row * terms..][..terms];
        let mut sums = [0f32; PANEL];
        for (a, packed) in a.iter().zip(packed) {
            for (sum, packed) in sums.iter_mut().zip(packed) {
                *sum += a * packed;
            }
        }
        store(row, &sums, bias, c, columns, start, width, write);
        row += 1;
    }
}

#[allow(clippy::too_many_arguments)] // the tail of `panel`
#[inline(always)]
fn store(row: usize, sums: &[f32; PANEL], bias: Option<&[f32]>, c: &mut [f32], columns: usize, start: usize, width: usize, write: Write) {
    let bias = match bias {
        Some(bias) => bias[row],
        None => 0.0,
    };
    let c = &mut c[row * columns + start..][..width];
    match write {
        Write::Set => {
            for (c, sum) in c.iter_mut().zip(sums) {
                *c = sum + bias;
            }
        }
        Write::Add => {
            for (c, sum) in c.iter_mut().zip(sums) {
                *c += sum + bias;
            }
        }
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
    let (rows, terms) = (a.len() / columns, b.len() / columns);
    let body = columns / LANES * LANES;
    for row in (0..rows).step_by(2) {
        // A lone last row or term is computed more than once and stored once.
        let a0 = &a[row * columns..][..columns];
        let a1 = &a[(row + 1).min(rows - 1) * columns..][..columns];
        for term in (0..terms).step_by(TERMS) {
            let b0 = &b[term * columns..][..columns];
            let b1 = &b[(term + 1).min(terms - 1) * columns..][..columns];
            let b2 = &b[(term + 2).min(terms - 1) * columns..][..columns];
            let b3 = &b[(term + 3).min(terms - 1) * columns..][..columns];
            let mut lanes = [[[0f32; LANES]; TERMS]; 2];
            for at in (0..body).step_by(LANES) {
                let b = [&b0[at..][..LANES], &b1[at..][..LANES], &b2[at..][..LANES], &b3[at..][..LANES]];
                for (lanes, a) in lanes.iter_mut().zip([&a0[at..][..LANES], &a1[at..][..LANES]]) {
                    for (lanes, b) in lanes.iter_mut().zip(b) {
                        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                            *lane += a * b;
                        }
                    }
                }
            }
            for (r, (lanes, a)) in lanes.iter().zip([a0, a1]).take(rows - row).enumerate() {
                for (t, (lanes, b)) in lanes.iter().zip([b0, b1, b2, b3]).take(terms - term).enumerate() {
                    let mut tail = 0.0;
                    for (a, b) in a[body..].iter().zip(&b[body..]) {
                        tail += a * b;
                    }
                    c[(row + r) * terms + term + t] += lane_sum(*lanes) + tail;
                }
            }
        }
    }
}
