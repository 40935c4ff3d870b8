use crate::shape::ImageShape;

/// What happens to one image: first it is cropped, then mirrored, then it gets a hole. The default
/// is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Rows that the crop, which has the size of the image, begins below the image's first, at most
    /// its height; negative above it. Outside of the image it is black, which is normalised like
    /// every pixel.
    pub down: isize,
    /// Columns that it begins right of the image's first, at most its width; negative left of it.
    pub right: isize,
    /// Whether the crop is mirrored left and right.
    pub mirrored: bool,
    /// The first row of the result, and the one behind the last, that have a hole: values that are
    /// 0 after normalisation.
    pub hole_rows: (usize, usize),
    /// The columns of these rows that the hole has.
    pub hole_columns: (usize, usize),
}

impl Placement {
    /// Normalises one image and changes it.
    ///
    /// `pixels`: u8 [channels, height, width]; `tables`: normalised values per channel; `out`: like
    /// `pixels`.
    pub(crate) fn paint(
        &self,
        pixels: &[u8],
        shape: ImageShape,
        tables: &[[f32; 256]],
        out: &mut [f32],
    ) {
        let ImageShape { height, width, .. } = shape;
        let plane = height * width;
        let ((top, bottom), (left, right)) = (self.hole_rows, self.hole_columns);
        for ((table, from), to) in
            tables.iter().zip(pixels.chunks_exact(plane)).zip(out.chunks_exact_mut(plane))
        {
            self.crop(from, width, table, to);
            for row in to[top * width..bottom * width].chunks_exact_mut(width) {
                row[left..right].fill(0.0);
            }
        }
    }

    /// Whether the image is cropped or mirrored.
    pub(super) fn moves_pixels(&self) -> bool {
        self.down != 0 || self.right != 0 || self.mirrored
    }

    /// Only the hole: what is left to do of it once the image is cropped and mirrored.
    pub(crate) fn hole(&self) -> Self {
        Self { hole_rows: self.hole_rows, hole_columns: self.hole_columns, ..Self::default() }
    }

    /// Crops and mirrors a channel, and looks its values up in a table, also the black ones outside
    /// of the image.
    ///
    /// `from`: u8 [height, `width`]; `to`: like `from`.
    pub(super) fn crop<T: Copy>(&self, from: &[u8], width: usize, table: &[T; 256], to: &mut [T]) {
        let columns = Shifted::new(width, self.right);
        let rows = Shifted::new(from.len() / width, self.down);
        let black = table[0];
        let (above, rest) = to.split_at_mut(rows.before * width);
        let (inside, below) = rest.split_at_mut(rows.inside * width);
        above.fill(black);
        below.fill(black);
        let from = from.chunks_exact(width).skip(rows.start);
        for (to, from) in inside.chunks_exact_mut(width).zip(from) {
            let (left, rest) = to.split_at_mut(columns.before);
            let (middle, right) = rest.split_at_mut(columns.inside);
            left.fill(black);
            right.fill(black);
            for (to, &from) in middle.iter_mut().zip(&from[columns.start..]) {
                *to = table[usize::from(from)];
            }
            if self.mirrored {
                to.reverse();
            }
        }
    }
}

/// One axis of a crop: how much of the output lies before the image, how much shows it, and from
/// where on.
struct Shifted {
    before: usize,
    inside: usize,
    start: usize,
}

impl Shifted {
    fn new(length: usize, shift: isize) -> Self {
        let distance = shift.unsigned_abs().min(length);
        let (before, start) = if shift < 0 { (distance, 0) } else { (0, distance) };
        Self { before, inside: length - distance, start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Augmentation;
    use crate::random::{Purpose, stream};

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 5, width: 4 };

    /// Distinct pixels that are never black, so that padding differs from them.
    fn image() -> Vec<u8> {
        (1..=SHAPE.values() as u8).collect()
    }

    /// Tables of (v + 100 · channel) + 0.5: no pixel becomes 0, so that a hole differs from it.
    fn tables() -> Vec<[f32; 256]> {
        (0..2).map(|c| std::array::from_fn(|v| v as f32 + 100.0 * c as f32 + 0.5)).collect()
    }

    fn augmented(augmentation: Augmentation, position: u64) -> Vec<f32> {
        let mut out = vec![-1.0; SHAPE.values()];
        let mut rng = stream(Purpose::Augmentation, 5, 0, 0, position);
        augmentation.place(SHAPE, &mut rng).paint(&image(), SHAPE, &tables(), &mut out);
        out
    }

    fn at(image: &[f32], c: usize, y: usize, x: usize) -> f32 {
        image[(c * SHAPE.height + y) * SHAPE.width + x]
    }

    /// The value at (y, x) of the original, black outside of it.
    fn original(c: usize, y: isize, x: isize) -> f32 {
        let inside =
            (0..SHAPE.height as isize).contains(&y) && (0..SHAPE.width as isize).contains(&x);
        let pixel = if inside {
            image()[(c * SHAPE.height + y as usize) * SHAPE.width + x as usize]
        } else {
            0
        };
        tables()[c][pixel as usize]
    }

    #[test]
    fn nothing_on_means_only_normalised() {
        let out = augmented(Augmentation::NONE, 0);
        assert!((0..2).all(|c| {
            (0..5).all(|y| (0..4).all(|x| at(&out, c, y, x) == original(c, y as isize, x as isize)))
        }));
    }

    #[test]
    fn crops_and_flips_are_exactly_the_possible_ones_and_all_occur() {
        const PADDING: isize = 2;
        let augmentation =
            Augmentation { crop_padding: PADDING as usize, flip: true, ..Augmentation::NONE };
        let mut seen = std::collections::HashSet::new();
        for position in 0..1000 {
            let out = augmented(augmentation, position);
            let fits = |dy: isize, dx: isize, mirrored: bool| {
                (0..2).all(|c| {
                    (0..5).all(|y| {
                        (0..4).all(|x| {
                            let from = if mirrored { 3 - x } else { x };
                            at(&out, c, y, x) == original(c, y as isize + dy, from as isize + dx)
                        })
                    })
                })
            };
            let found = (-PADDING..=PADDING)
                .flat_map(|dy| (-PADDING..=PADDING).map(move |dx| (dy, dx)))
                .flat_map(|(dy, dx)| [(dy, dx, false), (dy, dx, true)])
                .find(|&(dy, dx, mirrored)| fits(dy, dx, mirrored));
            seen.insert(found.expect("a crop of the padded image"));
        }
        assert_eq!(seen.len(), 5 * 5 * 2);
    }

    #[test]
    fn a_hole_is_a_square_around_some_pixel_clipped_at_the_border() {
        let mut seen = std::collections::HashSet::new();
        for position in 0..1000 {
            let out = augmented(Augmentation { cutout: 2, ..Augmentation::NONE }, position);
            let holes: Vec<(usize, usize)> = (0..5)
                .flat_map(|y| (0..4).map(move |x| (y, x)))
                .filter(|&(y, x)| at(&out, 0, y, x) == 0.0)
                .collect();
            assert!(
                (0..5)
                    .all(|y| (0..4).all(|x| (at(&out, 1, y, x) == 0.0) == holes.contains(&(y, x))))
            );
            let centre = (0..5).flat_map(|y| (0..4).map(move |x| (y, x))).find(
                |&(y, x): &(usize, usize)| {
                    let square: Vec<_> = (y.saturating_sub(1)..(y + 1).min(5))
                        .flat_map(|y| (x.saturating_sub(1)..(x + 1).min(4)).map(move |x| (y, x)))
                        .collect();
                    square == holes
                },
            );
            seen.insert(centre.expect("a hole around a pixel"));
        }
        assert_eq!(seen.len(), 5 * 4, "every pixel is a centre at some time");
    }

    #[test]
    fn sizes_beyond_the_image_are_no_error() {
        let out =
            augmented(Augmentation { crop_padding: 1000, flip: true, ..Augmentation::NONE }, 0);
        assert!((0..5).all(|y| (0..4).all(|x| at(&out, 1, y, x) == 100.5)));
        let out = augmented(Augmentation { cutout: usize::MAX, ..Augmentation::NONE }, 0);
        assert!(out.iter().all(|&v| v == 0.0));
        augmented(
            Augmentation { crop_padding: usize::MAX, flip: true, cutout: 9, ..Augmentation::NONE },
            0,
        );
    }
}
