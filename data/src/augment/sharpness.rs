use crate::augment::canvas::{Canvas, blend};
use crate::shape::ImageShape;

impl Canvas {
    /// Pillow's `ImageEnhance.Sharpness`: 0 gives the smoothed image, 1 the image, 2 a sharpened
    /// one. Pixels at the border stay.
    pub(super) fn sharpness(&mut self, factor: f32) {
        let ImageShape { height, width, .. } = self.shape;
        let plane = self.plane();
        self.replace(|from, to| {
            to.copy_from_slice(from);
            if height < 3 || width < 3 {
                return;
            }
            for (from, to) in from.chunks_exact(plane).zip(to.chunks_exact_mut(plane)) {
                let neighbours = from.windows(3 * width).step_by(width);
                for (rows, to) in neighbours.zip(to.chunks_exact_mut(width).skip(1)) {
                    sharpen_row(rows, width, factor, &mut to[1..width - 1]);
                }
            }
        });
    }
}

/// `rows`: that of the result with those above and below; `to`: the result but for its first and
/// last pixel.
fn sharpen_row(rows: &[u8], width: usize, factor: f32, to: &mut [u8]) {
    let (above, rest) = rows.split_at(width);
    let (middle, below) = rest.split_at(width);
    for ((to, middle), (above, below)) in
        to.iter_mut().zip(middle.windows(3)).zip(above.windows(3).zip(below.windows(3)))
    {
        let sum = |row: &[u8]| row.iter().copied().map(u32::from).sum::<u32>();
        let weighted = sum(above) + sum(middle) + sum(below) + 4 * u32::from(middle[1]);
        // The kernel of `ImageFilter.SMOOTH` weighs the centre with 5, its neighbours with 1.
        // Pillow adds up in floats: no sum is so near to a half that this would round otherwise.
        let smooth = (2 * weighted + 13) / 26;
        *to = blend(smooth as u8, middle[1], factor);
    }
}
