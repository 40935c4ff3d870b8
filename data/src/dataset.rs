use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use crate::decode::{decode_for, decode_into, luma};
use crate::error::DataError;
use crate::left_out::LeftOut;
use crate::resize::{Framing, Picture, Region, frame, resize_region};
use crate::shape::ImageShape;

/// Labelled images of one shape: a training set or a test set.
///
/// The pixels are in memory, or in files that are decoded each time they are asked for, so a data
/// set may be larger than memory. Labels are indices into [`classes`](Self::classes).
///
/// Pixels in memory keep the size that they were read in, and are scaled each time they are asked
/// for, where all of them in the size wanted would take more memory than 256 MiB and than they do
/// as they are. Else they are scaled once: that takes no memory worth saving, and reading is then a
/// copy. The pixels are the same either way.
#[derive(Clone)]
pub struct Dataset {
    name: String,
    classes: Vec<String>,
    shape: ImageShape,
    /// How images that have another size are brought to the shape.
    framing: Framing,
    labels: Vec<u32>,
    source: Pixels,
}

#[derive(Clone)]
enum Pixels {
    Memory(Stored),
    Files(Arc<Files>),
}

/// Images in memory.
#[derive(Clone)]
struct Stored {
    /// u8 [n, channels, height, width] of `shape`.
    pixels: Arc<Vec<u8>>,
    /// The data set's, or another size of the same channels.
    shape: ImageShape,
}

impl Stored {
    /// The same images, gray of colours or the other way round where they have other channels.
    fn with_channels(&self, channels: usize) -> Self {
        if channels == self.shape.channels {
            return self.clone();
        }
        let (shape, plane) =
            (ImageShape { channels, ..self.shape }, self.shape.height * self.shape.width);
        let mut pixels = vec![0; self.pixels.len() / self.shape.values() * shape.values()];
        let images = self.pixels.par_chunks_exact(self.shape.values());
        images.zip(pixels.par_chunks_exact_mut(shape.values())).for_each(|(image, out)| {
            if channels == 1 {
                let colour = |at: usize| [image[at], image[plane + at], image[2 * plane + at]];
                out.iter_mut().enumerate().for_each(|(at, gray)| *gray = luma(colour(at)));
            } else {
                out.chunks_exact_mut(plane).for_each(|out| out.copy_from_slice(image));
            }
        });
        Self { pixels: Arc::new(pixels), shape }
    }
}

/// Scaled images are kept where all of them take no more bytes.
const MOST_KEPT: usize = 256 << 20;

/// One file per image, in the folder of its class below `root`.
pub(crate) struct Files {
    pub(crate) root: PathBuf,
    /// Only the last part of each path: for a million images the rest would be most of the memory.
    pub(crate) names: Vec<Box<OsStr>>,
    pub(crate) left_out: LeftOut,
}

impl Dataset {
    /// A data set in memory.
    ///
    /// `pixels`: [n, channels, height, width], 0 to 255, n being the number of labels.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] when the numbers of labels and pixels disagree or a label has no
    /// class.
    pub fn from_memory(
        name: impl Into<String>,
        classes: Vec<String>,
        shape: ImageShape,
        labels: Vec<u32>,
        pixels: Vec<u8>,
    ) -> Result<Self, DataError> {
        let name = name.into();
        let expected = shape
            .channels
            .checked_mul(shape.height)
            .and_then(|n| n.checked_mul(shape.width))
            .and_then(|n| n.checked_mul(labels.len()));
        if expected != Some(pixels.len()) {
            let detail = format!(
                "{} labels with images of {shape} do not go with {} bytes of pixels",
                labels.len(),
                pixels.len()
            );
            return Err(DataError::Inconsistent { name, detail });
        }
        let stored = Stored { pixels: Arc::new(pixels), shape };
        Self::new(name, classes, shape, labels, Pixels::Memory(stored))
    }

    pub(crate) fn from_files(
        name: impl Into<String>,
        classes: Vec<String>,
        shape: ImageShape,
        labels: Vec<u32>,
        files: Files,
        framing: Framing,
    ) -> Result<Self, DataError> {
        let name = name.into();
        if files.names.len() != labels.len() {
            let detail =
                format!("{} labels do not go with {} files", labels.len(), files.names.len());
            return Err(DataError::Inconsistent { name, detail });
        }
        let images = Self::new(name, classes, shape, labels, Pixels::Files(Arc::new(files)))?;
        Ok(Self { framing, ..images })
    }

    fn new(
        name: String,
        classes: Vec<String>,
        shape: ImageShape,
        labels: Vec<u32>,
        source: Pixels,
    ) -> Result<Self, DataError> {
        if shape.values() == 0 {
            return Err(DataError::Shape(shape));
        }
        if let Some(at) = labels.iter().position(|&label| label as usize >= classes.len()) {
            let detail = format!(
                "image {at} has the label {}, but there are {} classes",
                labels[at],
                classes.len()
            );
            return Err(DataError::Inconsistent { name, detail });
        }
        if u32::try_from(labels.len()).is_err() {
            let detail = format!("{} images are more than 32 bits can number", labels.len());
            return Err(DataError::Inconsistent { name, detail });
        }
        Ok(Self { name, classes, shape, framing: Framing::Cover, labels, source })
    }

    /// The same images in another shape, of one or three channels, brought to it as they are to the
    /// one that they have: colours become the gray of Pillow, and gray becomes colours that are
    /// alike. `None` of a shape that they cannot have: one without pixels or of other channels.
    #[must_use]
    pub fn in_shape(&self, shape: ImageShape) -> Option<Self> {
        self.framed(shape, self.framing)
    }

    /// Like [`in_shape`](Self::in_shape), brought to it by `framing`.
    #[must_use]
    pub fn framed(&self, shape: ImageShape, framing: Framing) -> Option<Self> {
        let has_channels = match &self.source {
            Pixels::Memory(stored) => {
                let has = stored.shape.channels;
                shape.channels == has || matches!((has, shape.channels), (1, 3) | (3, 1))
            }
            Pixels::Files(_) => matches!(shape.channels, 1 | 3),
        };
        let sides = shape.height.checked_mul(shape.width);
        let values = sides.and_then(|n| n.checked_mul(shape.channels)).unwrap_or(0);
        if !has_channels || values == 0 {
            return None;
        }
        let source = match &self.source {
            Pixels::Memory(stored) => Pixels::Memory(stored.with_channels(shape.channels)),
            files @ Pixels::Files(_) => files.clone(),
        };
        let images = Self { shape, framing, source, ..self.clone() };
        Some(if images.is_kept_scaled() { images.scaled() } else { images })
    }

    /// Whether images in memory are what is wanted as they are.
    fn is_as_stored(&self, stored: &Stored) -> bool {
        let ImageShape { height, width, .. } = self.shape;
        stored.shape == self.shape && self.framing.covered(self.shape) == [height, width]
    }

    /// Whether images are in memory in another size than that wanted, and are to be scaled once.
    fn is_kept_scaled(&self) -> bool {
        match &self.source {
            Pixels::Memory(stored) if !self.is_as_stored(stored) => self
                .len()
                .checked_mul(self.shape.values())
                .is_some_and(|bytes| bytes <= stored.pixels.len().max(MOST_KEPT)),
            _ => false,
        }
    }

    /// The same images, those in memory as they are wanted.
    fn scaled(self) -> Self {
        let Pixels::Memory(stored) = &self.source else { return self };
        let (from, to) = (stored.shape, self.shape);
        let mut pixels = vec![0; self.len() * to.values()];
        let images = stored.pixels.par_chunks_exact(from.values());
        images.zip(pixels.par_chunks_exact_mut(to.values())).for_each(|(image, out)| {
            frame(&Picture::from_planes(image, from), to, self.framing, out);
        });
        let source = Pixels::Memory(Stored { pixels: Arc::new(pixels), shape: to });
        // What is cut out already is not to be scaled once more.
        Self { source, framing: Framing::Cover, ..self }
    }

    /// Name for messages, such as `cifar10 train`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Class names; a label is an index into them.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Shape of every image.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Label of image `index`, or none beyond the end.
    #[must_use]
    pub fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    /// All labels, in the order of the images.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The indices of all images: 0, 1, 2, …
    #[must_use]
    pub fn indices(&self) -> Vec<u32> {
        (0..).take(self.len()).collect()
    }

    /// Images per class, in the order of [`classes`](Self::classes).
    #[must_use]
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// The file that image `index` is decoded from; none for images in memory and beyond the end.
    #[must_use]
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        match &self.source {
            Pixels::Memory(_) => None,
            Pixels::Files(files) => {
                let class = &self.classes[self.label(index)? as usize];
                Some(files.root.join(class).join(&*files.names[index]))
            }
        }
    }

    /// Whether images are decoded from files each time that they are asked for, instead of being in
    /// memory.
    #[must_use]
    pub fn is_in_files(&self) -> bool {
        matches!(self.source, Pixels::Files(_))
    }

    /// Whether an image takes work each time that it is asked for: a file is decoded, or pixels are
    /// scaled.
    #[must_use]
    pub fn is_costly(&self) -> bool {
        match &self.source {
            Pixels::Memory(stored) => !self.is_as_stored(stored),
            Pixels::Files(_) => true,
        }
    }

    /// Bytes of the pixels that are in memory; 0 for files.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.source {
            Pixels::Memory(stored) => stored.pixels.len(),
            Pixels::Files(_) => 0,
        }
    }

    /// What the folders of the files hold that is not an image; none for images in memory.
    #[must_use]
    pub fn left_out(&self) -> Option<&LeftOut> {
        match &self.source {
            Pixels::Memory(_) => None,
            Pixels::Files(files) => Some(&files.left_out),
        }
    }

    /// Writes the pixels of image `index` to `out`: u8 [channels, height, width].
    ///
    /// # Errors
    /// When there is no such image, `out` has not [`ImageShape::values`] bytes, or the file cannot
    /// be decoded.
    pub fn read_image(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        self.check_length(out)?;
        match &self.source {
            Pixels::Memory(stored) => {
                let image = self.in_memory(stored, index)?;
                if self.is_as_stored(stored) {
                    out.copy_from_slice(image);
                } else {
                    let picture = Picture::from_planes(image, stored.shape);
                    frame(&picture, self.shape, self.framing, out);
                }
            }
            Pixels::Files(_) => {
                decode_into(&self.existing_path(index)?, self.shape, self.framing, out)?
            }
        }
        Ok(())
    }

    /// Writes the pixels of several images to `out`: u8 [indices, channels, height, width]. Files
    /// are decoded by as many threads as there are cores.
    ///
    /// # Errors
    /// Those of [`read_image`](Self::read_image), for the first of the images that has one.
    pub fn read_images(&self, indices: &[u32], out: &mut [u8]) -> Result<(), DataError> {
        let (expected, actual) = (indices.len() * self.shape.values(), out.len());
        if actual != expected {
            return Err(DataError::BufferLength { expected, actual });
        }
        let images = out.par_chunks_exact_mut(self.shape.values()).zip(indices);
        images
            .find_map_first(|(out, &index)| self.read_image(index as usize, out).err())
            .map_or(Ok(()), Err)
    }

    /// Like [`read_image`](Self::read_image), of the part that `choose` picks of the picture's
    /// width and height, which are those that its file has, or those of the data set for images in
    /// memory.
    pub(crate) fn read_region(
        &self,
        index: usize,
        choose: impl FnOnce(usize, usize) -> Region,
        out: &mut [u8],
    ) -> Result<(), DataError> {
        self.check_length(out)?;
        let picture = match &self.source {
            Pixels::Memory(_) => {
                Picture::from_planes(self.pixels(index, &mut Vec::new())?, self.shape)
            }
            Pixels::Files(_) => decode_for(&self.existing_path(index)?, self.shape)?,
        };
        resize_region(&picture, choose(picture.width, picture.height), self.shape, out);
        Ok(())
    }

    fn check_length(&self, out: &[u8]) -> Result<(), DataError> {
        let (expected, actual) = (self.shape.values(), out.len());
        if actual == expected { Ok(()) } else { Err(DataError::BufferLength { expected, actual }) }
    }

    fn existing_path(&self, index: usize) -> Result<PathBuf, DataError> {
        self.path(index).ok_or_else(|| self.no_such_image(index))
    }

    /// The pixels of image `index`, u8 [channels, height, width]: where they are in memory, or
    /// decoded or scaled into `scratch`.
    pub(crate) fn pixels<'a>(
        &'a self,
        index: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DataError> {
        match &self.source {
            Pixels::Memory(stored) if self.is_as_stored(stored) => self.in_memory(stored, index),
            _ => {
                scratch.resize(self.shape.values(), 0);
                self.read_image(index, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// As it is stored.
    fn in_memory<'a>(&self, stored: &'a Stored, index: usize) -> Result<&'a [u8], DataError> {
        let size = stored.shape.values();
        if index >= self.len() {
            return Err(self.no_such_image(index));
        }
        Ok(&stored.pixels[index * size..(index + 1) * size])
    }

    fn no_such_image(&self, index: usize) -> DataError {
        DataError::NoSuchImage { name: self.name.clone(), len: self.len(), index }
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .field("classes", &self.classes.len())
            .field("shape", &self.shape)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::Interpolation;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 1, width: 2 };

    fn classes() -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    #[test]
    fn images_in_memory_become_gray_or_coloured_before_they_are_scaled() {
        let colour = ImageShape { channels: 3, ..SHAPE };
        let pixels = vec![10, 255, 200, 0, 30, 0, 1, 2, 3, 4, 5, 6];
        let images =
            Dataset::from_memory("two", classes(), colour, vec![0, 1], pixels.clone()).unwrap();
        let read = |images: &Dataset, index: usize| {
            let mut out = vec![0; images.shape().values()];
            images.read_image(index, &mut out).unwrap();
            out
        };
        let gray = images.in_shape(SHAPE).unwrap();
        let expected = [luma([10, 200, 30]), luma([255, 0, 0]), luma([1, 3, 5]), luma([2, 4, 6])];
        assert_eq!([read(&gray, 0), read(&gray, 1)].concat(), expected);
        let again = gray.in_shape(colour).unwrap();
        assert_eq!(read(&again, 0), [expected[0], expected[1]].repeat(3));
        assert_eq!(read(&images.in_shape(colour).unwrap(), 1), pixels[6..]);
        // Of the mean of gray, and not the gray of a mean: both are rounded.
        let wide = ImageShape { width: 4, ..SHAPE };
        let scaled = gray.in_shape(wide).unwrap();
        assert_eq!(read(&images.in_shape(wide).unwrap(), 0), read(&scaled, 0));
        assert!(images.in_shape(ImageShape { channels: 2, ..SHAPE }).is_none());
    }

    #[test]
    fn images_are_read_in_place() {
        let data =
            Dataset::from_memory("t", classes(), SHAPE, vec![1, 0], vec![1, 2, 3, 4]).unwrap();
        let mut out = [0; 2];
        data.read_image(1, &mut out).unwrap();
        assert_eq!(out, [3, 4]);
        assert_eq!((data.label(0), data.label(2)), (Some(1), None));
        assert_eq!(data.class_counts(), [1, 1]);
        assert_eq!(data.indices(), [0, 1]);
    }

    #[test]
    fn several_images_are_read_in_the_order_asked_for() {
        let data =
            Dataset::from_memory("t", classes(), SHAPE, vec![1, 0, 0], vec![1, 2, 3, 4, 5, 6])
                .unwrap();
        let mut out = [0; 4];
        data.read_images(&[2, 0], &mut out).unwrap();
        assert_eq!(out, [5, 6, 1, 2]);
        assert!(matches!(
            data.read_images(&[0, 7, 9], &mut [0; 6]),
            Err(DataError::NoSuchImage { index: 7, .. })
        ));
        assert!(matches!(
            data.read_images(&[0], &mut out),
            Err(DataError::BufferLength { expected: 2, actual: 4 })
        ));
    }

    #[test]
    fn wrong_indices_and_buffers_are_errors() {
        let data = Dataset::from_memory("t", classes(), SHAPE, vec![1], vec![1, 2]).unwrap();
        assert!(matches!(
            data.read_image(1, &mut [0; 2]),
            Err(DataError::NoSuchImage { index: 1, len: 1, .. })
        ));
        assert!(matches!(
            data.read_image(0, &mut [0; 3]),
            Err(DataError::BufferLength { expected: 2, actual: 3 })
        ));
    }

    /// 3 images of 1x4x6 whose pixels differ.
    fn numbered() -> Dataset {
        let shape = ImageShape { channels: 1, height: 4, width: 6 };
        let pixels = (0..72).map(|i| (i * 37 % 251) as u8).collect();
        Dataset::from_memory("t", classes(), shape, vec![0, 1, 0], pixels).unwrap()
    }

    #[test]
    fn images_scaled_as_they_are_read_are_those_scaled_once() {
        let data = numbered();
        for (height, width) in [(4, 6), (2, 3), (9, 9), (5, 40), (1, 1)] {
            let shape = ImageShape { channels: 1, height, width };
            let once = data.in_shape(shape).unwrap();
            let as_read = Dataset { shape, ..data.clone() };
            assert_eq!(once.held_bytes(), 3 * shape.values(), "{shape}");
            assert!(!once.is_costly());
            assert_eq!(
                (as_read.held_bytes(), as_read.is_costly()),
                (72, (height, width) != (4, 6))
            );
            let all = |data: &Dataset| {
                let mut out = vec![0; 3 * shape.values()];
                data.read_images(&[2, 0, 1], &mut out).unwrap();
                out
            };
            assert_eq!(all(&once), all(&as_read), "{shape}");
            let (mut first, mut second) = (Vec::new(), Vec::new());
            let pixels = [once.pixels(1, &mut first), as_read.pixels(1, &mut second)];
            let [once_pixels, as_read_pixels] = pixels.map(Result::unwrap);
            assert_eq!(once_pixels, as_read_pixels);
            let part = |data: &Dataset| {
                let mut out = vec![0; shape.values()];
                let choose = |width, height| {
                    assert_eq!((width, height), (shape.width, shape.height));
                    Region { top: height / 2, left: 0, height: height.div_ceil(2), width }
                };
                data.read_region(2, choose, &mut out).unwrap();
                out
            };
            assert_eq!(part(&once), part(&as_read), "{shape}");
        }
    }

    #[test]
    fn a_set_that_would_be_large_when_scaled_stays_as_it_is() {
        let shape = ImageShape { channels: 1, height: 8192, width: 16384 };
        let large = numbered().in_shape(shape).unwrap();
        assert_eq!((large.held_bytes(), large.is_costly()), (72, true));
        assert_eq!(large.shape(), shape);
        assert!(matches!(
            large.read_image(3, &mut vec![0; shape.values()]),
            Err(DataError::NoSuchImage { index: 3, .. })
        ));
        // Back from there: nothing was lost.
        let again = large.in_shape(numbered().shape()).unwrap();
        let mut out = [0; 24];
        again.read_image(2, &mut out).unwrap();
        assert_eq!(out[0], (48 * 37 % 251) as u8);
    }

    #[test]
    fn shapes_that_images_in_memory_cannot_have_are_none() {
        let data = numbered();
        for (channels, height, width) in [(2, 4, 6), (1, 0, 6), (1, usize::MAX, usize::MAX)] {
            assert!(data.in_shape(ImageShape { channels, height, width }).is_none());
        }
    }

    #[test]
    fn images_in_memory_are_framed_as_pictures_are() {
        let shape = |height, width| ImageShape { channels: 1, height, width };
        let pixels = vec![0, 0, 7, 8, 0, 0, 0, 0, 9, 10, 0, 0];
        let data = Dataset::from_memory("t", classes(), shape(2, 6), vec![1], pixels).unwrap();
        let read = |data: Dataset| {
            let mut out = vec![0; data.shape().values()];
            data.read_image(0, &mut out).unwrap();
            out
        };
        let centre = data.framed(shape(2, 2), Framing::Cover).unwrap();
        assert_eq!(read(centre), [7, 8, 9, 10]);
        let larger =
            Framing::Scaled { height: 4, width: 4, interpolation: Interpolation::Bilinear };
        let twice = read(data.framed(shape(4, 12), Framing::Cover).unwrap());
        let of_twice: Vec<u8> =
            twice.chunks(12).skip(1).take(2).flat_map(|row| row[5..7].to_vec()).collect();
        assert_eq!(read(data.framed(shape(2, 2), larger).unwrap()), of_twice);
        for (channels, height, width) in [(4, 2, 2), (1, 0, 2), (1, usize::MAX, 2)] {
            let shape = ImageShape { channels, height, width };
            assert!(data.framed(shape, Framing::Cover).is_none(), "{shape}");
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let error =
            Dataset::from_memory("t", classes(), SHAPE, vec![0], vec![1, 2, 3]).unwrap_err();
        assert!(error.to_string().contains("3 bytes"), "{error}");
        let error =
            Dataset::from_memory("t", classes(), SHAPE, vec![0, 2], vec![0; 4]).unwrap_err();
        assert!(error.to_string().contains("image 1 has the label 2"), "{error}");
        let huge = ImageShape { channels: usize::MAX, height: 2, width: 2 };
        assert!(Dataset::from_memory("t", classes(), huge, vec![0], vec![]).is_err());
    }
}
