use super::vector::Simd;

/// Eight values in an array: what the compiler makes of them depends on the architecture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 8] {
        // SAFETY: the caller vouches for eight values; they need no alignment beyond that of `f32`,
        // which arrays share.
        unsafe { from.cast::<[f32; 8]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: [f32; 8]) {
        // SAFETY: the caller vouches for room for eight values; they need no alignment beyond that
        // of `f32`, which arrays share.
        unsafe { to.cast::<[f32; 8]>().write(v) }
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Where the architecture has no such instruction, `f32::mul_add` calls a function that is a
        // hundred times slower.
        if cfg!(target_arch = "aarch64") {
            std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn sum(self, v: [f32; 8]) -> f32 {
        let quarters: [f32; 4] = std::array::from_fn(|i| v[i] + v[i + 4]);
        (quarters[0] + quarters[2]) + (quarters[1] + quarters[3])
    }

    #[inline(always)]
    fn sums(self, v: [[f32; 8]; 4]) -> [f32; 4] {
        v.map(|v| self.sum(v))
    }

    #[inline(always)]
    fn max(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if b[i] > a[i] || b[i].is_nan() { b[i] } else { a[i] })
    }

    #[inline(always)]
    fn relu(self, v: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if v[i] < 0.0 { 0.0 } else { v[i] })
    }

    #[inline(always)]
    fn where_positive(self, condition: [f32; 8], v: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if condition[i] > 0.0 { v[i] } else { 0.0 })
    }

    #[inline(always)]
    fn where_greater(self, a: [f32; 8], b: [f32; 8], v: [f32; 8], other: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if a[i] > b[i] { v[i] } else { other[i] })
    }

    #[inline(always)]
    fn where_equal(self, a: [f32; 8], b: [f32; 8], v: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if a[i] == b[i] { v[i] } else { 0.0 })
    }

    #[inline(always)]
    fn part(self, a: [f32; 8], b: [f32; 8]) -> ([f32; 8], [f32; 8]) {
        let at = |i: usize| if i < 8 { a[i] } else { b[i - 8] };
        (std::array::from_fn(|i| at(2 * i)), std::array::from_fn(|i| at(2 * i + 1)))
    }

    #[inline(always)]
    fn weave(self, even: [f32; 8], odd: [f32; 8]) -> ([f32; 8], [f32; 8]) {
        let at = |i: usize| if i.is_multiple_of(2) { even[i / 2] } else { odd[i / 2] };
        (std::array::from_fn(at), std::array::from_fn(|i| at(i + 8)))
    }
}
