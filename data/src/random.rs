//! The only source of chance in this crate. The draws are written out here, not taken from a
//! library's distributions, so that an upgrade of a dependency cannot change which images a seed
//! gives.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream is for: streams of different purposes have nothing in common, whatever their
/// numbers.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Augmentation = 2,
    Split = 3,
    Subset = 4,
    Pixels = 5,
}

/// A stream of its own for every combination of arguments.
pub(crate) fn stream(
    purpose: Purpose,
    seed: u64,
    epoch: u64,
    batch: u64,
    position: u64,
) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (part, value) in key.chunks_exact_mut(8).zip([seed, epoch, batch, purpose as u64]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(position);
    rng
}

/// A uniformly distributed number below `n` (Lemire's method); 0 when `n` is 0.
pub(crate) fn below(rng: &mut impl Rng, n: usize) -> usize {
    let n = n as u64;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        let low = product as u64;
        // 2^64 is no multiple of most n: the first 2^64 mod n values of `low` are drawn again, or
        // some results would be more likely than others.
        if low >= n || low >= n.wrapping_neg() % n {
            return (product >> 64) as usize;
        }
    }
}

/// A number from `low` on, below `high` but for rounding, one of 2⁵³ at equal distances.
pub(crate) fn uniform(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    let share = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    low + share * (high - low)
}

/// Fisher–Yates.
pub(crate) fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_reaches_every_value_about_equally_often() {
        let mut rng = stream(Purpose::Split, 1, 0, 0, 0);
        let mut counts = [0_u32; 5];
        for _ in 0..50_000 {
            counts[below(&mut rng, 5)] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
        assert_eq!(below(&mut rng, 1), 0);
        assert_eq!(below(&mut rng, 0), 0);
    }

    #[test]
    fn uniform_numbers_fill_their_range_evenly() {
        let mut rng = stream(Purpose::Pixels, 1, 0, 0, 0);
        let mut tenths = [0_u32; 10];
        for _ in 0..50_000 {
            let number = uniform(&mut rng, -0.5, 1.5);
            assert!((-0.5..1.5).contains(&number));
            tenths[((number + 0.5) * 5.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| count.abs_diff(5_000) < 300), "{tenths:?}");
        assert_eq!(uniform(&mut rng, 0.25, 0.25), 0.25);
    }

    #[test]
    fn every_argument_matters() {
        let first = |p, s, e, b, i| stream(p, s, e, b, i).next_u64();
        let all = [
            first(Purpose::Order, 0, 0, 0, 0),
            first(Purpose::Split, 0, 0, 0, 0),
            first(Purpose::Order, 1, 0, 0, 0),
            first(Purpose::Order, 0, 1, 0, 0),
            first(Purpose::Order, 0, 0, 1, 0),
            first(Purpose::Order, 0, 0, 0, 1),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    /// Results that users reproduce by seed hang on these draws.
    #[test]
    fn the_shuffle_never_changes() {
        let mut items: Vec<u32> = (0..10).collect();
        shuffle(&mut stream(Purpose::Order, 42, 3, 0, 0), &mut items);
        assert_eq!(items, PINNED);
    }

    const PINNED: [u32; 10] = [0, 4, 5, 7, 9, 2, 3, 1, 6, 8];
}
