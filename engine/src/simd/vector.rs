/// Vectors of `f32` and what can be done with them. Every function is inlined into a function
/// compiled for the instruction set.
pub(crate) trait Simd: Copy {
    type V: Copy;
    /// Number of `f32` in a vector.
    const LANES: usize;

    /// The same value in all lanes.
    fn splat(self, value: f32) -> Self::V;

    /// Reads [`Self::LANES`] values, at any alignment.
    ///
    /// # Safety
    /// That many values can be read from `from` on.
    unsafe fn load(self, from: *const f32) -> Self::V;

    /// Writes [`Self::LANES`] values, at any alignment.
    ///
    /// # Safety
    /// That many values can be written from `to` on.
    unsafe fn store(self, to: *mut f32, v: Self::V);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;

    fn sub(self, a: Self::V, b: Self::V) -> Self::V;

    fn mul(self, a: Self::V, b: Self::V) -> Self::V;

    /// a · b + c, rounded once where the instruction set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// The sum of the lanes: of the first half and the second half lane by lane, and so on.
    fn sum(self, v: Self::V) -> f32;

    /// The sums of the lanes of four vectors, in an order of their own.
    fn sums(self, v: [Self::V; 4]) -> [f32; 4];

    /// The larger of each two values; NaN stays NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;

    /// Values below zero become zero; NaN stays NaN.
    fn relu(self, v: Self::V) -> Self::V;

    /// `v` where `condition` is above zero, else zero.
    fn where_positive(self, condition: Self::V, v: Self::V) -> Self::V;

    /// `v` where `a` is greater than `b`, else `other`.
    fn where_greater(self, a: Self::V, b: Self::V, v: Self::V, other: Self::V) -> Self::V;

    /// `v` where `a` equals `b`, else zero.
    fn where_equal(self, a: Self::V, b: Self::V, v: Self::V) -> Self::V;

    /// Of `a` and `b` behind it, the values at even places and those at odd places.
    fn part(self, a: Self::V, b: Self::V) -> (Self::V, Self::V);

    /// The values of `even` and `odd` in turn: undoes [`Self::part`].
    fn weave(self, even: Self::V, odd: Self::V) -> (Self::V, Self::V);
}

/// Most lanes of a vector, in any instruction set.
pub(crate) const MOST_LANES: usize = 16;
