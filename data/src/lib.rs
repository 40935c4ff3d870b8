//! Image data sets, augmentation and loaders that give batches as plain `f32` arrays.
//!
//! [`open`] reads a data set into a pair of [`Dataset`]s with the [`Normalization`] that belongs to
//! them; a [`Loader`] walks one of them in background threads:
//!
//! ```
//! use adwp_data::{Augmentation, DatasetKind, Loader, LoaderConfig, OpenOptions, Order, open};
//!
//! let splits = open(DatasetKind::Sample, None, &OpenOptions::default())?;
//! let mut loader = Loader::new(LoaderConfig {
//!     augmentation: Augmentation::CIFAR,
//!     order: Order::Shuffled,
//!     seed: 7,
//!     ..LoaderConfig::sequential(splits.train.clone(), splits.normalization.clone(), 64)
//! })?;
//! let batch = loader.next().expect("the sample has more than one batch")?;
//! assert_eq!(batch.images.len(), 64 * splits.train.shape().values());
//! # Ok::<(), adwp_data::DataError>(())
//! ```
//!
//! Invariants: this crate knows no other crate of the workspace; what a loader yields depends only
//! on its configuration, never on the number of threads or on timing; no input causes a panic.

mod augment;
mod check;
mod cifar;
mod colour;
mod dataset;
mod decode;
mod error;
mod exif;
mod fashion_mnist;
mod folder;
mod format;
mod idx;
mod jpeg;
mod kind;
mod left_out;
mod loader;
mod normalization;
mod open;
mod part;
mod random;
mod resize;
mod room;
mod sample;
mod shape;
mod sides;
mod subset;
mod tiff;

pub use augment::{Augmentation, AutoAugment, ColorJitter, Placement};
pub use check::{Problem, Report, SplitReport, check, unreadable};
pub use dataset::Dataset;
pub use decode::{MOST_BYTES, decode_image, decode_image_bytes, decode_image_framed};
pub use error::DataError;
pub use folder::{images_below, images_in};
pub use kind::DatasetKind;
pub use left_out::{Counted, LeftOut, Reason};
pub use loader::{Batch, Loader, LoaderConfig, Order, epoch_order};
pub use normalization::Normalization;
pub use open::{
    DEFAULT_IMAGE_SIZE, LARGEST_IMAGE_SIZE, OpenOptions, Splits, kind_of_folder, open, open_part,
    undivided,
};
pub use part::Part;
pub use resize::{EVALUATION_MARGIN, Framing, Interpolation};
pub use shape::ImageShape;
pub use sides::VAL_SHARE;
pub use subset::{split, subset};
