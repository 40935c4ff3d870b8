use crate::dataset::Dataset;
use crate::error::DataError;
use crate::random::{Purpose, shuffle, stream};

/// Divides `indices` at random in two: the first part has `fraction` of them (rounded to the
/// nearest number), the second the rest, each in ascending order. The same arguments give the same
/// parts.
///
/// # Errors
/// [`DataError::Selection`] when `fraction` does not lie in [0, 1].
pub fn split(indices: &[u32], fraction: f64, seed: u64) -> Result<(Vec<u32>, Vec<u32>), DataError> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(DataError::Selection(format!(
            "a split at {fraction}, which does not lie in 0 to 1"
        )));
    }
    let mut first = indices.to_vec();
    shuffle(&mut stream(Purpose::Split, seed, 0, 0, 0), &mut first);
    let mut second = first.split_off((indices.len() as f64 * fraction).round() as usize);
    first.sort_unstable();
    second.sort_unstable();
    Ok((first, second))
}

/// Chooses `n` of the images `indices` at random, as many of every class as far as the classes have
/// them: numbers differ by more than one only where a class is used up. Ascending order. The same
/// arguments give the same images.
///
/// # Errors
/// [`DataError::Selection`] when there are fewer than `n` images, [`DataError::NoSuchImage`] for an
/// index beyond the last.
pub fn subset(
    dataset: &Dataset,
    indices: &[u32],
    n: usize,
    seed: u64,
) -> Result<Vec<u32>, DataError> {
    if n > indices.len() {
        let detail =
            format!("{n} images of `{}` were asked for, it has {}", dataset.name(), indices.len());
        return Err(DataError::Selection(detail));
    }
    let mut classes = vec![Vec::new(); dataset.classes().len()];
    for &index in indices {
        let none = || DataError::NoSuchImage {
            name: dataset.name().to_owned(),
            len: dataset.len(),
            index: index as usize,
        };
        classes[*dataset.labels().get(index as usize).ok_or_else(none)? as usize].push(index);
    }
    for (class, position) in classes.iter_mut().zip(0..) {
        shuffle(&mut stream(Purpose::Subset, seed, 0, 1, position), class);
    }
    // Which classes get one more than others must not follow their numbers.
    shuffle(&mut stream(Purpose::Subset, seed, 0, 0, 0), &mut classes);
    let rounds = 0..classes.iter().map(Vec::len).max().unwrap_or(0);
    let mut chosen: Vec<u32> = rounds
        .flat_map(|round| classes.iter().filter_map(move |class| class.get(round)))
        .take(n)
        .copied()
        .collect();
    chosen.sort_unstable();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::ImageShape;

    fn dataset(labels: Vec<u32>) -> Dataset {
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let pixels = vec![0; labels.len()];
        Dataset::from_memory(
            "t",
            ["a", "b", "c"].map(str::to_owned).to_vec(),
            shape,
            labels,
            pixels,
        )
        .unwrap()
    }

    fn counts(data: &Dataset, indices: &[u32]) -> [usize; 3] {
        let mut counts = [0; 3];
        for &index in indices {
            counts[data.labels()[index as usize] as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_split_is_a_partition_that_the_seed_decides() {
        let indices: Vec<u32> = (10..111).collect();
        let (a, b) = split(&indices, 0.5, 1).unwrap();
        assert_eq!((a.len(), b.len()), (51, 50));
        let mut all = [a.clone(), b].concat();
        all.sort_unstable();
        assert_eq!(all, indices);
        assert_eq!(split(&indices, 0.5, 1).unwrap().0, a);
        assert_ne!(split(&indices, 0.5, 2).unwrap().0, a);
        assert!(split(&indices, 0.0, 1).unwrap().0.is_empty());
        assert_eq!(split(&indices, 1.0, 1).unwrap().0, indices);
    }

    #[test]
    fn impossible_fractions_are_errors() {
        for fraction in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
            assert!(split(&[1, 2], fraction, 0).is_err(), "{fraction}");
        }
    }

    #[test]
    fn a_subset_is_balanced() {
        let data = dataset((0..300).map(|i| i % 3).collect());
        let chosen = subset(&data, &data.indices(), 90, 4).unwrap();
        assert_eq!(counts(&data, &chosen), [30; 3]);
        assert!(chosen.is_sorted_by(|a, b| a < b));
        assert_ne!(chosen, subset(&data, &data.indices(), 90, 5).unwrap());
        let mut uneven = counts(&data, &subset(&data, &data.indices(), 91, 4).unwrap());
        uneven.sort_unstable();
        assert_eq!(uneven, [30, 30, 31]);
    }

    #[test]
    fn a_class_that_is_used_up_is_made_up_for_by_others() {
        let mut labels = vec![0; 2];
        labels.extend([1; 50]);
        labels.extend([2; 50]);
        let data = dataset(labels);
        assert_eq!(counts(&data, &subset(&data, &data.indices(), 42, 0).unwrap()), [2, 20, 20]);
        assert_eq!(subset(&data, &data.indices(), 102, 0).unwrap(), data.indices());
        let error = subset(&data, &data.indices(), 103, 0).unwrap_err();
        assert!(error.to_string().contains("103") && error.to_string().contains("102"), "{error}");
    }
    #[test]
    fn a_subset_keeps_to_the_images_it_may_take() {
        let data = dataset((0..300).map(|i| i % 3).collect());
        let allowed: Vec<u32> = (30..300).filter(|index| index % 7 != 0).collect();
        let chosen = subset(&data, &allowed, 90, 4).unwrap();
        assert!(chosen.iter().all(|index| allowed.contains(index)));
        assert_eq!(counts(&data, &chosen), [30; 3]);
        assert!(matches!(
            subset(&data, &[7, 300], 1, 4),
            Err(DataError::NoSuchImage { index: 300, .. })
        ));
    }
}
