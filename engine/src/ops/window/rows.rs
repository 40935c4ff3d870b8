use crate::simd::{MOST_LANES, Simd};

/// Rows of `count` values, each through `f`.
///
/// # Safety
/// `from` and `to` have `rows` rows of `count` values, `from_pitch` and `to_pitch` apart.
#[allow(clippy::too_many_arguments)] // two matrices
#[inline(always)]
pub(super) unsafe fn rows_of<S: Simd>(
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
        unsafe {
            match count / S::LANES {
                1 => return vectors_of::<S, 1>(simd, from, from_pitch, to, to_pitch, rows, f),
                2 => return vectors_of::<S, 2>(simd, from, from_pitch, to, to_pitch, rows, f),
                4 => return vectors_of::<S, 4>(simd, from, from_pitch, to, to_pitch, rows, f),
                _ => {}
            }
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

/// Writes as many lanes as there is room for.
#[inline(always)]
pub(super) fn put_first<S: Simd>(simd: S, v: S::V, to: &mut [f32]) {
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
