//! Boxes that slices cut out of a stored tensor.

/// Where a box starts and ends along each axis of the stored tensor.
pub(super) type Region = Vec<(usize, usize)>;

/// Boxes apart from each other that are followed for one tensor, at most.
const MOST_BOXES: usize = 200;

pub(super) fn elements(region: &Region) -> u64 {
    region.iter().map(|&(start, end)| end.saturating_sub(start) as u64).product()
}

/// Boxes of one tensor, kept apart from each other.
#[derive(Default)]
pub(super) struct Boxes(Vec<Region>);

impl Boxes {
    /// Takes in `region`: how many of its elements were in none before; `None` where the boxes
    /// become more than are followed.
    pub(super) fn add(&mut self, region: &Region) -> Option<u64> {
        let mut new = vec![region.clone()];
        for known in &self.0 {
            new = new.iter().flat_map(|piece| without(piece, known)).collect();
            if new.len() > MOST_BOXES {
                return None;
            }
        }
        let count = new.iter().map(elements).sum();
        self.0.extend(new);
        (self.0.len() <= MOST_BOXES).then_some(count)
    }
}

/// What is left of `piece` without `other`, in boxes.
fn without(piece: &Region, other: &Region) -> Vec<Region> {
    let meet = |(a, b): (&(usize, usize), &(usize, usize))| a.0.max(b.0) < a.1.min(b.1);
    if !piece.iter().zip(other).all(meet) {
        return vec![piece.clone()];
    }
    let (mut left, mut inside) = (Vec::new(), piece.clone());
    for (axis, &(start, end)) in other.iter().enumerate() {
        let (from, to) = inside[axis];
        for side in [(from, start), (end, to)] {
            if side.0 < side.1 {
                let mut beside = inside.clone();
                beside[axis] = side;
                left.push(beside);
            }
        }
        inside[axis] = (from.max(start), to.min(end));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_counted_once() {
        let mut boxes = Boxes::default();
        assert_eq!(boxes.add(&vec![(0, 4), (0, 4)]), Some(16));
        assert_eq!(boxes.add(&vec![(1, 3), (1, 3)]), Some(0));
        assert_eq!(boxes.add(&vec![(2, 6), (2, 6)]), Some(12));
        assert_eq!(boxes.add(&vec![(0, 6), (0, 6)]), Some(8));
        assert_eq!(boxes.add(&vec![(9, 9), (0, 6)]), Some(0));
    }

    #[test]
    fn scattered_boxes_have_an_end() {
        let mut boxes = Boxes::default();
        let counts: Vec<_> =
            (0..=MOST_BOXES).map(|i| boxes.add(&vec![(2 * i, 2 * i + 1)])).collect();
        assert_eq!((counts[0], counts[MOST_BOXES]), (Some(1), None));
    }
}
