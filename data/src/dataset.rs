use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::decode::{decode_for, decode_into};
use crate::error::DataError;
use crate::open::LARGEST_IMAGE_SIZE;
use crate::resize::{Framing, Picture, Region, frame, resize_region};
use crate::shape::ImageShape;

/// Labelled images of one shape: a training set or a test set.
///
/// The pixels are in memory, or in files that are decoded each time they are asked for, so a data
/// set may be larger than memory. Labels are indices into [`classes`](Self::classes).
#[derive(Clone)]
pub struct Dataset {
    name: String,
    classes: Vec<String>,
    shape: ImageShape,
    labels: Vec<u32>,
    source: Pixels,
}

#[derive(Clone)]
enum Pixels {
    /// u8 [n, channels, height, width]
    Memory(Vec<u8>),
    Files(Files),
}

/// One file per image, in the folder of its class below `root`.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) root: PathBuf,
    /// Only the last part of each path: for a million images the rest would be most of the memory.
    pub(crate) names: Vec<Box<OsStr>>,
    pub(crate) framing: Framing,
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
        Self::new(name, classes, shape, labels, Pixels::Memory(pixels))
    }

    pub(crate) fn from_files(
        name: impl Into<String>,
        classes: Vec<String>,
        shape: ImageShape,
        labels: Vec<u32>,
        files: Files,
    ) -> Result<Self, DataError> {
        let name = name.into();
        if files.names.len() != labels.len() {
            let detail =
                format!("{} labels do not go with {} files", labels.len(), files.names.len());
            return Err(DataError::Inconsistent { name, detail });
        }
        Self::new(name, classes, shape, labels, Pixels::Files(files))
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
        Ok(Self { name, classes, shape, labels, source })
    }

    /// The same images, those in memory at `size` × `size` pixels.
    pub(crate) fn scaled(self, size: usize) -> Self {
        let from = self.shape;
        let shape = ImageShape { height: size, width: size, ..from };
        match self.source {
            Pixels::Memory(pixels) if shape != from => {
                let mut scaled = vec![0; self.labels.len() * shape.values()];
                for (image, out) in
                    pixels.chunks_exact(from.values()).zip(scaled.chunks_exact_mut(shape.values()))
                {
                    frame(&Picture::from_planes(image, from), shape, Framing::Cover, out);
                }
                Self { shape, source: Pixels::Memory(scaled), ..self }
            }
            source => Self { source, ..self },
        }
    }

    /// The same images in another shape, brought to it by `framing`; `None` of a shape that they
    /// cannot have: one without pixels, or of other channels than one or three for files, and for
    /// images in memory than theirs. These are framed now, so that no side may be longer than
    /// [`LARGEST_IMAGE_SIZE`].
    #[must_use]
    pub fn framed(&self, shape: ImageShape, framing: Framing) -> Option<Self> {
        let is_possible = match &self.source {
            Pixels::Memory(_) => {
                shape.channels == self.shape.channels
                    && shape.height.max(shape.width) <= LARGEST_IMAGE_SIZE
            }
            Pixels::Files(_) => matches!(shape.channels, 1 | 3),
        };
        let values = shape.channels.checked_mul(shape.height)?.checked_mul(shape.width)?;
        let bytes = values.checked_mul(self.len())?;
        if !is_possible || values == 0 {
            return None;
        }
        let source = match &self.source {
            Pixels::Memory(pixels) => {
                let mut framed = vec![0; bytes];
                let images = pixels.par_chunks_exact(self.shape.values());
                images.zip(framed.par_chunks_exact_mut(values)).for_each(|(image, out)| {
                    frame(&Picture::from_planes(image, self.shape), shape, framing, out);
                });
                Pixels::Memory(framed)
            }
            Pixels::Files(files) => Pixels::Files(Files { framing, ..files.clone() }),
        };
        Some(Self { shape, source, ..self.clone() })
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

    /// Writes the pixels of image `index` to `out`: u8 [channels, height, width].
    ///
    /// # Errors
    /// When there is no such image, `out` has not [`ImageShape::values`] bytes, or the file cannot
    /// be decoded.
    pub fn read_image(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        self.check_length(out)?;
        match &self.source {
            Pixels::Memory(pixels) => out.copy_from_slice(self.in_memory(pixels, index)?),
            Pixels::Files(files) => {
                decode_into(&self.existing_path(index)?, self.shape, files.framing, out)?
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
    /// width and height, which are those that its file has.
    pub(crate) fn read_region(
        &self,
        index: usize,
        choose: impl FnOnce(usize, usize) -> Region,
        out: &mut [u8],
    ) -> Result<(), DataError> {
        self.check_length(out)?;
        let picture = match &self.source {
            Pixels::Memory(pixels) => {
                Picture::from_planes(self.in_memory(pixels, index)?, self.shape)
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
    /// decoded into `scratch`.
    pub(crate) fn pixels<'a>(
        &'a self,
        index: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DataError> {
        match &self.source {
            Pixels::Memory(pixels) => self.in_memory(pixels, index),
            Pixels::Files(_) => {
                scratch.resize(self.shape.values(), 0);
                self.read_image(index, scratch)?;
                Ok(scratch)
            }
        }
    }

    fn in_memory<'a>(&self, pixels: &'a [u8], index: usize) -> Result<&'a [u8], DataError> {
        let size = self.shape.values();
        if index >= self.len() {
            return Err(self.no_such_image(index));
        }
        Ok(&pixels[index * size..(index + 1) * size])
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

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 1, width: 2 };

    fn classes() -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
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
        let larger = Framing::Scaled { height: 4, width: 4 };
        let twice = read(data.framed(shape(4, 12), Framing::Cover).unwrap());
        let of_twice: Vec<u8> =
            twice.chunks(12).skip(1).take(2).flat_map(|row| row[5..7].to_vec()).collect();
        assert_eq!(read(data.framed(shape(2, 2), larger).unwrap()), of_twice);
        for (channels, height, width) in
            [(3, 2, 2), (1, 0, 2), (1, 2, LARGEST_IMAGE_SIZE + 1), (1, usize::MAX, 2)]
        {
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
