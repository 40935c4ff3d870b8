//! Resizing as Pillow does it (and so torchvision): a filter that is widened when shrinking, columns
//! first, fixed-point weights, rounded to a byte between the two passes. Only what the crop keeps is
//! computed.

use std::array;

use serde::{Deserialize, Serialize};

use crate::kind::DatasetKind;
use crate::shape::ImageShape;

/// For evaluation an image is scaled to 256/224 of the size wanted before the centre is cut out of
/// it, the convention of ImageNet: numerator and denominator.
pub const EVALUATION_MARGIN: (usize, usize) = (256, 224);

/// The filter that pictures are scaled with, in the terms of Pillow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A triangle.
    #[default]
    Bilinear,
    /// A cubic with a = -0.5.
    Bicubic,
}

impl Interpolation {
    /// The name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        }
    }

    /// How far the filter reaches on each side, in pixels of the coarser grid.
    fn reach(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The weight at a distance from its centre.
    fn weight(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// How much of a picture is kept when it is brought to the shape wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Scaled just so that it covers the shape, then the centre: all of the shorter side is kept.
    Cover,
    /// Scaled larger by [`EVALUATION_MARGIN`], then the centre.
    Evaluation,
    /// Scaled just so that it covers this size, then the centre. A side that is shorter than that of
    /// the shape counts as that.
    Scaled {
        /// In pixels.
        height: usize,
        /// In pixels.
        width: usize,
        /// With which filter; the others are scaled bilinearly.
        interpolation: Interpolation,
    },
}

impl Framing {
    /// What the test images of a data set are brought to their shape by.
    #[must_use]
    pub const fn of(kind: DatasetKind) -> Self {
        match kind {
            DatasetKind::Sample
            | DatasetKind::FashionMnist
            | DatasetKind::Cifar10
            | DatasetKind::Cifar100 => Self::Cover,
            DatasetKind::ImageFolder => Self::Evaluation,
        }
    }

    /// Height and width that a picture is scaled to cover before the centre of `shape` is cut out.
    /// One of its sides becomes as long as here, and the other no shorter.
    #[must_use]
    pub fn covered(self, shape: ImageShape) -> [usize; 2] {
        let (numerator, denominator) = EVALUATION_MARGIN;
        let larger = |side: usize| side.saturating_mul(numerator) / denominator;
        match self {
            Self::Cover => [shape.height, shape.width],
            Self::Evaluation => [larger(shape.height), larger(shape.width)],
            Self::Scaled { height, width, .. } => {
                [height.max(shape.height), width.max(shape.width)]
            }
        }
    }

    fn interpolation(self) -> Interpolation {
        match self {
            Self::Cover | Self::Evaluation => Interpolation::Bilinear,
            Self::Scaled { interpolation, .. } => interpolation,
        }
    }
}

/// A picture with interleaved channels: u8 [height, width, channels].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) pixels: Vec<u8>,
}

impl Picture {
    /// From u8 [channels, height, width] of `shape`.
    pub(crate) fn from_planes(planes: &[u8], shape: ImageShape) -> Self {
        let ImageShape { channels, height, width } = shape;
        let pixels = (0..height * width)
            .flat_map(|at| planes.iter().skip(at).step_by(height * width).copied())
            .collect();
        Self { width, height, channels, pixels }
    }
}

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// Scales a part of `picture`, which lies in it and has a pixel, to `shape`, as if the part had
/// been cut out before. The rest is as for [`frame`].
pub(crate) fn resize_region(picture: &Picture, region: Region, shape: ImageShape, out: &mut [u8]) {
    let filter = Interpolation::Bilinear;
    let columns = Weights::new(filter, region.width, shape.width, 0, shape.width);
    let rows = Weights::new(filter, region.height, shape.height, 0, shape.height);
    let (columns, rows) = (columns.behind(region.left), rows.behind(region.top));
    resample(picture, &columns, &rows, out);
}

/// Scales and crops `picture` to `shape` and writes it as u8 [channels, height, width]. The picture
/// must have the channels of the shape, both at least one pixel, and `out` the values of the shape.
pub(crate) fn frame(picture: &Picture, shape: ImageShape, framing: Framing, out: &mut [u8]) {
    let (scaled_width, scaled_height) = scaled_size(picture, shape, framing);
    let left = centre(scaled_width - shape.width);
    let top = centre(scaled_height - shape.height);
    let filter = framing.interpolation();
    let columns = Weights::new(filter, picture.width, scaled_width, left, shape.width);
    let rows = Weights::new(filter, picture.height, scaled_height, top, shape.height);
    resample(picture, &columns, &rows, out);
}

/// Width and height of the whole picture once scaled: never smaller than the shape, sides in the
/// proportion of the picture. The side that needs the larger factor decides; the other one is rounded
/// down, as torchvision does.
fn scaled_size(picture: &Picture, shape: ImageShape, framing: Framing) -> (usize, usize) {
    let [height, width] = framing.covered(shape);
    (
        width.max(height.saturating_mul(picture.width) / picture.height),
        height.max(width.saturating_mul(picture.height) / picture.width),
    )
}

/// Half of `slack`, a tie going to the even number: Python's `round`, which torchvision's crop
/// uses.
fn centre(slack: usize) -> usize {
    let half = slack / 2;
    if slack.is_multiple_of(2) { half } else { half + half % 2 }
}

/// Bits after the binary point: 32 less 8 for the pixel and 2 for the overshoot of other filters,
/// as in Pillow.
const PRECISION: u32 = 22;
const HALF: i32 = 1 << (PRECISION - 1);

/// For a run of output positions along one axis: which input positions each is made of, and their
/// weights.
struct Weights {
    /// First input position and number of weights, per output position.
    spans: Vec<(usize, usize)>,
    /// Weights of all output positions, `stride` apart.
    values: Vec<i32>,
    stride: usize,
}

impl Weights {
    /// For outputs `from .. from + count` of an axis scaled from `input` to `scaled` positions.
    fn new(filter: Interpolation, input: usize, scaled: usize, from: usize, count: usize) -> Self {
        let scale = input as f64 / scaled as f64;
        let widened = scale.max(1.0);
        let support = filter.reach() * widened;
        let stride = support.ceil() as usize * 2 + 1;
        let mut spans = Vec::with_capacity(count);
        let mut values = vec![0; stride * count];
        let mut exact = vec![0.0; stride];
        for (position, row) in (from..from + count).zip(values.chunks_exact_mut(stride)) {
            let centre = (position as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let length = end.saturating_sub(first).min(stride);
            let mut total = 0.0;
            for (offset, weight) in exact[..length].iter_mut().enumerate() {
                let distance = ((offset + first) as f64 - centre + 0.5) * (1.0 / widened);
                *weight = filter.weight(distance);
                total += *weight;
            }
            for (fixed, weight) in row.iter_mut().zip(&exact[..length]) {
                let weight = weight / total * f64::from(1_u32 << PRECISION);
                *fixed = (weight + 0.5_f64.copysign(weight)) as i32;
            }
            // A weight of nothing at the end is common, that of the second input where the sizes
            // are the same.
            let length =
                row[..length].iter().rposition(|&weight| weight != 0).map_or(0, |last| last + 1);
            spans.push((first, length));
        }
        Self { spans, values, stride }
    }

    /// The same for an input that begins `start` positions later.
    fn behind(mut self, start: usize) -> Self {
        self.spans.iter_mut().for_each(|(first, _)| *first += start);
        self
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans
            .iter()
            .zip(self.values.chunks_exact(self.stride))
            .map(|(&(first, n), row)| (first, &row[..n]))
    }

    /// The input positions that any output needs.
    fn reach(&self) -> std::ops::Range<usize> {
        let first = self.spans.iter().map(|&(first, _)| first).min().unwrap_or(0);
        let end = self.spans.iter().map(|&(first, n)| first + n).max().unwrap_or(0);
        first..end
    }
}

fn resample(picture: &Picture, columns: &Weights, rows: &Weights, out: &mut [u8]) {
    let channels = picture.channels;
    let needed = rows.reach();
    let width = columns.spans.len();
    // u8 [channels, needed, width]
    let mut narrow = vec![0; channels * needed.len() * width];
    let source = picture.pixels.chunks_exact(picture.width * channels).skip(needed.start);
    for (row, from) in source.take(needed.len()).enumerate() {
        let to = narrow.chunks_exact_mut(width).skip(row).step_by(needed.len());
        match channels {
            3 => squeeze_row::<3>(from, columns, to),
            _ => squeeze_row::<1>(from, columns, to),
        }
    }
    let mut sums = vec![0; width];
    for (from, to) in narrow
        .chunks_exact(needed.len() * width)
        .zip(out.chunks_exact_mut(rows.spans.len() * width))
    {
        for (to, (first, weights)) in to.chunks_exact_mut(width).zip(rows.iter()) {
            mix_rows(&from[(first - needed.start) * width..], weights, &mut sums, to);
        }
    }
}

/// `from`: u8 [width, channels]; `to`: a row for each channel.
fn squeeze_row<'a, const CHANNELS: usize>(
    from: &[u8],
    columns: &Weights,
    mut to: impl Iterator<Item = &'a mut [u8]>,
) {
    let (from, _) = from.as_chunks::<CHANNELS>();
    let mut to: [&mut [u8]; CHANNELS] = array::from_fn(|_| to.next().unwrap_or_default());
    for (x, (first, weights)) in columns.iter().enumerate() {
        let mut sums = [HALF; CHANNELS];
        for (&weight, pixel) in weights.iter().zip(&from[first..]) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += weight * i32::from(value);
            }
        }
        for (to, sum) in to.iter_mut().zip(sums) {
            to[x] = to_byte(sum);
        }
    }
}

/// `from`: rows as long as `to`, the first of which have the weights; `sums`: as long, for its own
/// use.
fn mix_rows(from: &[u8], weights: &[i32], sums: &mut [i32], to: &mut [u8]) {
    sums.fill(HALF);
    for (&weight, row) in weights.iter().zip(from.chunks_exact(to.len())) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += weight * i32::from(value);
        }
    }
    for (to, &sum) in to.iter_mut().zip(&*sums) {
        *to = to_byte(sum);
    }
}

/// A cubic overshoots, and the rounding of weights may bring any sum beyond the highest value.
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(width: usize, height: usize, pixels: Vec<u8>) -> Picture {
        Picture { width, height, channels: 1, pixels }
    }

    fn shape(channels: usize, height: usize, width: usize) -> ImageShape {
        ImageShape { channels, height, width }
    }

    fn scaled(height: usize, width: usize) -> Framing {
        Framing::Scaled { height, width, interpolation: Interpolation::Bicubic }
    }

    #[test]
    fn the_size_wanted_is_copied() {
        let picture = gray(3, 2, vec![9, 1, 200, 4, 255, 0]);
        let mut out = [0; 6];
        frame(&picture, shape(1, 2, 3), Framing::Cover, &mut out);
        assert_eq!(out[..], picture.pixels);
    }

    #[test]
    fn the_centre_is_kept() {
        let picture = gray(6, 2, vec![0, 0, 7, 8, 0, 0, 0, 0, 9, 10, 0, 0]);
        let mut out = [0; 4];
        frame(&picture, shape(1, 2, 2), Framing::Cover, &mut out);
        assert_eq!(out, [7, 8, 9, 10]);
    }

    #[test]
    fn sizes_follow_torchvision() {
        let size = |w, h, s, f| scaled_size(&gray(w, h, vec![]), s, f);
        let square = shape(3, 224, 224);
        assert_eq!(size(500, 375, square, Framing::Evaluation), (341, 256));
        assert_eq!(size(375, 500, square, Framing::Evaluation), (256, 341));
        assert_eq!(size(500, 375, square, Framing::Cover), (298, 224));
        assert_eq!(size(10, 10, square, Framing::Cover), (224, 224));
        assert_eq!(size(100, 100, shape(3, 10, 40), Framing::Cover), (40, 40));
        assert_eq!(size(1, 60_000, square, Framing::Cover), (224, 224 * 60_000));
        assert_eq!(size(500, 375, square, scaled(300, 300)), (400, 300));
        assert_eq!(size(500, 375, square, scaled(0, 250)), (298, 224));
        assert_eq!([0, 1, 2, 3, 4, 5, 7].map(centre), [0, 0, 1, 2, 2, 2, 4]);
    }

    #[test]
    fn a_cubic_is_that_of_pillow() {
        // Pillow 12: Image.fromarray(…).resize((side, side), Image.BICUBIC).
        let smaller = [
            45, 151, 142, 198, 111, 129, 171, 192, 195, 137, 120, 167, 164, 147, 88, 163, 138, 84,
            150, 142, 62, 107, 127, 105, 115,
        ];
        let larger = [
            0, 11, 82, 174, 126, 113, 131, 121, 93, 89, 131, 135, 94, 50, 240, 196, 131, 88, 166,
            137, 62, 225, 248, 203, 84, 208, 255, 237, 70, 150, 182, 110, 157, 226, 255, 82, 130,
            175, 176, 138, 147, 175, 180, 166, 184, 236, 147, 81, 59,
        ];
        for (from, to, expected) in [(8, 5, &smaller[..]), (5, 7, &larger)] {
            let pixels = (0..from * from).map(|i| (i * i * 37 + i * 11) as u8).collect();
            let mut out = vec![0; to * to];
            frame(&gray(from, from, pixels), shape(1, to, to), scaled(to, to), &mut out);
            assert_eq!(out, expected, "{from} to {to}");
        }
    }

    #[test]
    fn extreme_proportions_stay_in_bounds() {
        for (width, height) in [(1, 1), (1, 4000), (4000, 1), (3, 7)] {
            let picture = gray(width, height, vec![77; width * height]);
            let most = scaled(usize::MAX, usize::MAX);
            for framing in [Framing::Cover, Framing::Evaluation, most] {
                let mut out = vec![0; 32 * 32];
                frame(&picture, shape(1, 32, 32), framing, &mut out);
                assert!(out.iter().all(|&v| v == 77));
            }
        }
    }
}
