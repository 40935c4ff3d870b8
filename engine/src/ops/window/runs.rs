use crate::simd::Simd;

/// `count` elements of the plane from `plane` on, `stride` apart, lie in the scratch from `scratch`
/// on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) plane: usize,
    pub(super) scratch: usize,
    pub(super) count: usize,
}

/// The rows of a plane at stride 2: the even and the odd columns of each are runs of the scratch.
#[derive(Clone, Debug)]
pub(super) struct Halves {
    rows: Vec<HalvedRow>,
    /// How long both halves are at least.
    count: usize,
}

/// Where a row, and where its halves begin.
#[derive(Clone, Copy, Debug)]
struct HalvedRow {
    row: usize,
    even: usize,
    odd: usize,
}

impl Halves {
    /// Of runs of which every row has two.
    pub(super) fn of(runs: &[Run]) -> Self {
        let pairs = || {
            runs.chunks_exact(2).map(|pair| {
                if pair[0].plane < pair[1].plane { [pair[0], pair[1]] } else { [pair[1], pair[0]] }
            })
        };
        let rows = pairs().map(|[even, odd]| HalvedRow {
            row: even.plane,
            even: even.scratch,
            odd: odd.scratch,
        });
        Self { rows: rows.collect(), count: runs.iter().map(|run| run.count).min().unwrap_or(0) }
    }

    /// Elements of each half that are done in whole vectors; checks that they lie in a plane and in
    /// a scratch of these lengths.
    #[inline(always)]
    fn whole<S: Simd>(&self, plane: usize, scratch: usize) -> usize {
        let whole = self.count / S::LANES * S::LANES;
        assert!(
            self.rows
                .iter()
                .all(|at| at.row + 2 * whole <= plane && at.even.max(at.odd) + whole <= scratch)
        );
        whole
    }

    /// Parts the rows in whole vectors. Returns how many elements of each half that are.
    #[inline(always)]
    pub(super) fn part<S: Simd>(
        &self,
        simd: S,
        plane: &[f32],
        scratch: &mut [f32],
        formula: impl Fn(S::V) -> S::V,
    ) -> usize {
        let whole = self.whole::<S>(plane.len(), scratch.len());
        let (from, to) = (plane.as_ptr(), scratch.as_mut_ptr());
        for &HalvedRow { row, even, odd } in &self.rows {
            let mut at = 0;
            while at < whole {
                // SAFETY: whole vectors of the row and of its halves, as was checked.
                unsafe {
                    let from = from.add(row + 2 * at);
                    let halves =
                        simd.part(formula(simd.load(from)), formula(simd.load(from.add(S::LANES))));
                    simd.store(to.add(even + at), halves.0);
                    simd.store(to.add(odd + at), halves.1);
                }
                at += S::LANES;
            }
        }
        whole
    }

    /// Undoes [`Self::part`].
    #[inline(always)]
    pub(super) fn weave<S: Simd>(&self, simd: S, scratch: &[f32], plane: &mut [f32]) -> usize {
        let whole = self.whole::<S>(plane.len(), scratch.len());
        let (from, to) = (scratch.as_ptr(), plane.as_mut_ptr());
        for &HalvedRow { row, even, odd } in &self.rows {
            let mut at = 0;
            while at < whole {
                // SAFETY: whole vectors of the row and of its halves, as was checked.
                unsafe {
                    let (first, second) =
                        simd.weave(simd.load(from.add(even + at)), simd.load(from.add(odd + at)));
                    let to = to.add(row + 2 * at);
                    simd.store(to, first);
                    simd.store(to.add(S::LANES), second);
                }
                at += S::LANES;
            }
        }
        whole
    }
}
