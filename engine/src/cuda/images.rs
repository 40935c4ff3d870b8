//! A data set in the memory of a GPU, which cuts batches out of it.

use crate::cuda::Device;
use crate::cuda::driver::Buffer;
use crate::cuda::problem::{Region, TensorAt};
use crate::cuda::problems::images::Images;
use crate::cuda::schedule::Task;
use crate::cuda::table::Content;
use crate::{EngineError, Result};

/// Bytes of pixels that are on the host at a time while a store is filled, unless an image has
/// more.
const PIECE: usize = 16 << 20;

/// Images of one shape in the memory of a GPU, a byte for each value.
///
/// A batch out of them is a [`Feed::Stored`](crate::Feed::Stored): the GPU looks bytes up in the
/// table of their channel, and changes the image as its [`StoredView`] says.
#[derive(Debug)]
pub struct ImageStore {
    device: Device,
    shape: [usize; 3],
    images: usize,
    /// u8 `[images, channels, height, width]`.
    pixels: Buffer,
    /// f32 `[channels, 256]`.
    tables: Buffer,
}

/// What a batch shows of a stored image, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredView {
    /// Number of the image in its store.
    pub image: u32,
    /// Rows that the crop, which has the size of the image, begins below the image's first;
    /// negative above it. Outside of the image there are zero bytes.
    pub down: i32,
    /// Columns that it begins right of the image's first.
    pub right: i32,
    /// Whether the crop is mirrored left and right.
    pub mirrored: bool,
    /// The first row of the result, and the one behind the last, that have a hole: values that are
    /// 0.
    pub hole_rows: (u32, u32),
    /// The columns of these rows that the hole has.
    pub hole_columns: (u32, u32),
}

impl ImageStore {
    /// Puts `images` images of `shape` [channels, height, width] into the memory of a device.
    /// `read` writes the bytes of one into its second argument, in the order of the shape; it is
    /// called for 0, 1, … once each. `tables` has the value of every byte for each channel.
    ///
    /// # Errors
    /// [`EngineError::StoredImages`] when there is not a table for each channel, or the shape has a
    /// 0 or is beyond 2³¹; [`EngineError::Cuda`] when the device has no room; what `read` fails
    /// with.
    pub fn new<E: From<EngineError>>(
        device: &Device,
        shape: [usize; 3],
        images: usize,
        tables: &[[f32; 256]],
        mut read: impl FnMut(usize, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let image = check(shape, images, tables)?;
        let store = Self {
            device: device.clone(),
            shape,
            images,
            pixels: device.allocate(images * image)?,
            tables: device.allocate(size_of_val(tables))?,
        };
        store.tables.upload(tables.as_flattened())?;
        let per_piece = (PIECE / image).clamp(1, images.max(1));
        let mut piece = vec![0; per_piece * image];
        for first in (0..images).step_by(per_piece) {
            let count = per_piece.min(images - first);
            for (number, out) in (first..).zip(piece.chunks_exact_mut(image).take(count)) {
                read(number, out)?;
            }
            store.pixels.upload_at(first * image, &piece[..count * image])?;
        }
        Ok(store)
    }

    /// Bytes that a store takes of the device's memory.
    pub fn bytes_of(shape: [usize; 3], images: usize) -> usize {
        images
            .saturating_mul(shape.iter().product())
            .saturating_add(shape[0] * size_of::<[f32; 256]>())
    }

    /// Shape of each image: [channels, height, width].
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// How many there are.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Checks that an executor on `device` can be fed with `places`.
    ///
    /// # Errors
    /// [`EngineError::StoredImages`] when the images are elsewhere or have no such number.
    pub(crate) fn check(&self, places: &[StoredView], device: &Device) -> Result<()> {
        if !self.device.is_same(device) {
            return Err(EngineError::StoredImages(
                "they are in the memory of another device".to_owned(),
            ));
        }
        match places.iter().find(|place| place.image as usize >= self.images) {
            Some(place) => Err(EngineError::StoredImages(format!(
                "there is no image {}, only {}",
                place.image, self.images
            ))),
            None => Ok(()),
        }
    }

    /// Starts to write f32 `[places, channels, height, width]` to an address. The places were
    /// checked by [`Self::check`].
    pub(crate) fn cut(&self, places: &[StoredView], to: u64) -> Result<()> {
        let [channels, height, width] = self.shape;
        let rows: Vec<[i32; 8]> = places.iter().map(|place| place.words(height, width)).collect();
        // The same memory for all: the stream cuts one batch before it copies the places of the
        // next.
        let memory = self.device.scratch("places", size_of_val(&rows[..]))?;
        memory.upload(rows.as_flattened())?;

        let addresses = [self.pixels.address(), memory.address(), self.tables.address(), to];
        let [pixels, places, tables, to] = [0, 1, 2, 3].map(Region::Operand);
        let y = TensorAt { region: to, half: false };
        let task = Task::new(&Images {
            batch: rows.len(),
            channels,
            height,
            width,
            pixels,
            places,
            tables,
            y,
        });
        self.device.launch(Content::new([vec![&task]], |region| addresses[region.operand()]))
    }
}

impl StoredView {
    /// As the kernel reads it. Crops beyond the image show nothing of it, wherever they are.
    fn words(&self, height: usize, width: usize) -> [i32; 8] {
        // Sizes were checked when the store was made.
        let within = |shift: i32, size: usize| shift.clamp(-(size as i32), size as i32);
        let end = |position: u32, size: usize| position.min(size as u32) as i32;
        let Self {
            image,
            down,
            right,
            mirrored,
            hole_rows: (top, bottom),
            hole_columns: (left, end_column),
        } = *self;
        [
            image as i32,
            within(down, height),
            within(right, width),
            i32::from(mirrored),
            end(top, height),
            end(bottom, height),
            end(left, width),
            end(end_column, width),
        ]
    }
}

/// Bytes of an image, where the kernel can count all images and the pixels of a plane.
fn check(shape: [usize; 3], images: usize, tables: &[[f32; 256]]) -> Result<usize> {
    let [channels, height, width] = shape;
    let wrong = |detail: String| Err(EngineError::StoredImages(detail));
    if tables.len() != channels {
        return wrong(format!("{channels} channels, but tables for {}", tables.len()));
    }
    let counted = |count: usize| i32::try_from(count).is_ok();
    match height
        .checked_mul(width)
        .filter(|&plane| counted(plane))
        .and_then(|plane| plane.checked_mul(channels))
    {
        Some(image) if image > 0 && counted(images) && image.checked_mul(images).is_some() => {
            Ok(image)
        }
        _ => wrong(format!(
            "{images} of [{channels}, {height}, {width}] are more than the GPU can count, or none"
        )),
    }
}
