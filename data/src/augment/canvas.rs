use std::array;

use crate::augment::Placement;
use crate::shape::ImageShape;

/// An image that operations change in place: u8 [channels, height, width], of one channel or three.
///
/// Each operation gives the bytes that Pillow gives for an image of mode L or RGB.
#[derive(Debug)]
pub(crate) struct Canvas {
    pub(super) shape: ImageShape,
    pub(super) pixels: Vec<u8>,
    /// As many, for operations that read what they have overwritten already.
    spare: Vec<u8>,
}

/// The table that changes nothing.
pub(super) const SAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut value = 0;
    while value < 256 {
        table[value] = value as u8;
        value += 1;
    }
    table
};

impl Canvas {
    /// A black one.
    pub(crate) fn new(shape: ImageShape) -> Self {
        Self { shape, pixels: vec![0; shape.values()], spare: vec![0; shape.values()] }
    }

    pub(crate) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    pub(crate) fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The memory of the pixels, for who needs no canvas.
    pub(crate) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.pixels
    }

    /// Pixels of a channel.
    pub(super) fn plane(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// Crops and mirrors as the placement says, with black outside of the image. Holes come after
    /// normalisation.
    pub(super) fn crop(&mut self, placement: &Placement) {
        if !placement.moves_pixels() {
            return;
        }
        let (plane, width) = (self.plane(), self.shape.width);
        self.replace(|from, to| {
            for (from, to) in from.chunks_exact(plane).zip(to.chunks_exact_mut(plane)) {
                placement.crop(from, width, &SAME, to);
            }
        });
    }

    /// Puts what `write` makes of the pixels, its first argument, in their place.
    pub(super) fn replace(&mut self, write: impl FnOnce(&[u8], &mut [u8])) {
        write(&self.pixels, &mut self.spare);
        std::mem::swap(&mut self.pixels, &mut self.spare);
    }

    /// Looks every value up in `table`.
    pub(super) fn look_up(&mut self, table: &[u8; 256]) {
        self.pixels.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
    }

    /// Looks every value of a channel up in the table that `table` makes of the channel's
    /// histogram.
    pub(super) fn look_up_by_channel(&mut self, table: impl Fn(&Histogram) -> [u8; 256]) {
        let plane = self.plane();
        for plane in self.pixels.chunks_exact_mut(plane) {
            let table = table(&histogram(plane.iter().copied()));
            plane.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
        }
    }

    /// Red, green and blue; none where there is one channel.
    pub(super) fn colors(&mut self) -> Option<[&mut [u8]; 3]> {
        let plane = self.plane();
        let mut planes = self.pixels.chunks_exact_mut(plane);
        let [red, green, blue] = array::from_fn(|_| planes.next());
        Some([red?, green?, blue?])
    }
}

/// How often each value occurs.
pub(super) type Histogram = [usize; 256];

pub(super) fn histogram(values: impl Iterator<Item = u8>) -> Histogram {
    let mut counts = [0; 256];
    values.for_each(|value| counts[usize::from(value)] += 1);
    counts
}

/// Pillow's `Image.blend`: `from` at factor 0, `to` at 1, beyond them outside of that. Rounded
/// down, as there.
pub(super) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    (from + factor * (to - from)) as u8
}
