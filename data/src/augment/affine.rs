//! Operations that move pixels: the nearest one is taken, and where the image had none there is
//! black.

use crate::augment::canvas::Canvas;
use crate::shape::ImageShape;

/// Bits after the binary point of a coordinate, as in Pillow.
const PRECISION: u32 = 16;

impl Canvas {
    /// Row y is moved left by `share` · y.
    pub(super) fn shear_x(&mut self, share: f64) {
        self.transform([[1.0, share, 0.0], [0.0, 1.0, 0.0]]);
    }

    /// Column x is moved up by `share` · x.
    pub(super) fn shear_y(&mut self, share: f64) {
        self.transform([[1.0, 0.0, 0.0], [share, 1.0, 0.0]]);
    }

    /// Moves the image right and down by these numbers of pixels.
    pub(super) fn translate(&mut self, right: f64, down: f64) {
        self.transform([[1.0, 0.0, -right], [0.0, 1.0, -down]]);
    }

    /// Turns the image counterclockwise around its centre: Pillow's `Image.rotate`.
    pub(super) fn rotate(&mut self, degrees: f64) {
        let ImageShape { height, width, .. } = self.shape;
        let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
        let (sin, cos) = degrees.to_radians().sin_cos();
        self.transform([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]]);
    }

    /// Pillow's `Image.transform` with an affine matrix: x and y in the image that a pixel of the
    /// result shows, each as the factors of its own x and y there and a constant.
    fn transform(&mut self, [of_x, of_y]: [[f64; 3]; 2]) {
        let fixed = |value: f64| (value * f64::from(1_u32 << PRECISION) + 0.5).floor() as i64;
        // Coordinates are those of the centres of pixels.
        let start = |[x, y, constant]: [f64; 3]| fixed(constant + x * 0.5 + y * 0.5);
        let (mut row_x, mut row_y) = (start(of_x), start(of_y));
        let [of_x, of_y] = [of_x, of_y].map(|row| row.map(fixed));

        let ImageShape { channels, height, width } = self.shape;
        let plane = self.plane();
        let inside = |coordinate: i64, length: usize| {
            usize::try_from(coordinate >> PRECISION).ok().filter(|&at| at < length)
        };
        self.replace(|from, to| {
            to.fill(0);
            for row in 0..height {
                let (mut x, mut y) = (row_x, row_y);
                for at in row * width..(row + 1) * width {
                    if let (Some(column), Some(row)) = (inside(x, width), inside(y, height)) {
                        let source = row * width + column;
                        for channel in 0..channels {
                            to[channel * plane + at] = from[channel * plane + source];
                        }
                    }
                    (x, y) = (x + of_x[0], y + of_y[0]);
                }
                (row_x, row_y) = (row_x + of_x[1], row_y + of_y[1]);
            }
        });
    }
}
