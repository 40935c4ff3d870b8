use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// All random numbers of a run, addressed instead of drawn in sequence.
///
/// A generator belongs to (seed, purpose, epoch, step): what one purpose draws never shifts what
/// another gets, threads cannot race for numbers, and a checkpoint needs no generator state, only
/// the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The generator for one purpose at one step.
    pub fn at(&self, purpose: &str, epoch: usize, step: usize) -> ChaCha8Rng {
        let mut key = [0; 32];
        let words = [self.seed, fnv1a(purpose), epoch as u64, step as u64];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// The generator for something drawn once.
    pub fn once(&self, purpose: &str) -> ChaCha8Rng {
        self.at(purpose, usize::MAX, 0)
    }

    /// A seed for a component that draws by itself, such as a loader.
    pub fn seed_for(&self, purpose: &str) -> u64 {
        self.once(purpose).next_u64()
    }
}

/// 64-bit FNV-1a: a number for each purpose, the same on every platform and in every version.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_and_repeatable() {
        let draw =
            |seed, purpose, epoch, step| Streams::new(seed).at(purpose, epoch, step).next_u64();
        let first = draw(1, "masks", 2, 3);
        assert_eq!(first, draw(1, "masks", 2, 3));
        for other in [
            draw(2, "masks", 2, 3),
            draw(1, "alpha", 2, 3),
            draw(1, "masks", 3, 3),
            draw(1, "masks", 2, 4),
        ] {
            assert_ne!(first, other);
        }
    }
}
