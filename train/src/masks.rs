use rand::{Rng, RngExt};

/// `count` masks for samples of a batch, `[batch]` each: 0 for a sample that is dropped, else 1 /
/// keep, so that the mean stays.
///
/// Each sample is kept with probability `keep`, above 0.
pub fn drop_masks(rng: &mut impl Rng, keep: f32, batch: usize, count: usize) -> Vec<Vec<f32>> {
    let mut mask =
        || (0..batch).map(|_| if rng.random::<f32>() < keep { 1.0 / keep } else { 0.0 }).collect();
    (0..count).map(|_| mask()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Streams;

    #[test]
    fn masks_drop_their_share_and_keep_the_mean() {
        let masks = drop_masks(&mut Streams::new(1).once("masks"), 0.75, 1000, 4);
        let values = masks.concat();
        assert!(masks.len() == 4 && values.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert_eq!(drop_masks(&mut Streams::new(1).once("masks"), 1.0, 2, 1), [[1.0, 1.0]]);
    }
}
