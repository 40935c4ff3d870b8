use serde::{Deserialize, Serialize};

use crate::ModelError;

/// Whether a cell keeps or halves the size of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellKind {
    /// Keeps the size.
    Normal,
    /// Halves it and doubles the channels.
    Reduction,
}

impl CellKind {
    /// The kind of cell `index` of `cells`: reduction cells stand at a third and two thirds of the
    /// depth.
    pub fn of(index: usize, cells: usize) -> Self {
        if [cells / 3, 2 * cells / 3].contains(&index) { Self::Reduction } else { Self::Normal }
    }
}

/// What comes before the first cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// One 3×3 convolution to three times the initial channels, at full size.
    Cifar,
    /// Three 3×3 convolutions of stride 2: the cells see an eighth of the size.
    Imagenet,
}

impl Stem {
    /// Channels, height and width of the images of the data set that it is named after.
    pub fn image(self) -> [usize; 3] {
        match self {
            Self::Cifar => [3, 32, 32],
            Self::Imagenet => [3, 224, 224],
        }
    }

    /// What the sides of an image must be a multiple of, to be halved down to the last cell.
    pub fn halvings(self) -> usize {
        match self {
            Self::Cifar => 4,
            Self::Imagenet => 32,
        }
    }

    /// Classes of the data set that it is named after.
    pub fn classes(self) -> usize {
        match self {
            Self::Cifar => 10,
            Self::Imagenet => 1000,
        }
    }
}

// Bounds far beyond any network of use, so that a damaged or mistyped size is an error and no
// product of sizes overflows.
const MAX_CELLS: usize = 1 << 10;
pub(crate) const MAX_CHANNELS: usize = 1 << 14;
const MAX_CLASSES: usize = 1 << 20;
const MAX_SIDE: usize = 1 << 14;

/// Everything about a network but its cells' insides: sizes of images, cells and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skeleton {
    /// What comes before the first cell.
    pub stem: Stem,
    /// Number of cells; reduction cells stand at a third and two thirds of the depth.
    pub cells: usize,
    /// Channels of a node in the first cell.
    pub channels: usize,
    /// Classes the network tells apart.
    pub classes: usize,
    /// Channels, height and width of an image.
    pub image: [usize; 3],
}

/// Place of a cell in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellSite {
    /// Position, from 0.
    pub index: usize,
    /// Normal or reduction.
    pub kind: CellKind,
    /// Channels of its nodes.
    pub channels: usize,
}

impl Skeleton {
    /// The cells from first to last.
    pub fn cells(&self) -> Vec<CellSite> {
        let mut channels = self.channels;
        (0..self.cells)
            .map(|index| {
                let kind = CellKind::of(index, self.cells);
                if kind == CellKind::Reduction {
                    channels *= 2;
                }
                CellSite { index, kind, channels }
            })
            .collect()
    }

    /// The cell whose output feeds the auxiliary classifier: the second reduction.
    pub fn auxiliary_cell(&self) -> usize {
        2 * self.cells / 3
    }

    /// Checks that the sizes make a network.
    ///
    /// # Errors
    /// When there are fewer than three cells, a size that the halvings do not divide, or one beyond
    /// all networks that could be built.
    pub fn validate(&self) -> Result<(), ModelError> {
        let fail = |message: String| Err(ModelError::Invalid(message));
        let [_, height, width] = self.image;
        check_cells(self.cells)?;
        check_size("channels", self.channels, MAX_CHANNELS)?;
        check_image(self.image, self.classes, 1)?;
        if self.channels == 0 {
            return fail("channels must be at least 1".into());
        }
        let (divisor, even) = (self.stem.halvings(), self.stem == Stem::Imagenet);
        if !height.is_multiple_of(divisor) || !width.is_multiple_of(divisor) {
            return fail(format!(
                "images of {height}×{width} cannot be halved down to the last cell: sides must be \
                 multiples of {divisor}"
            ));
        }
        if even && !self.channels.is_multiple_of(2) {
            return fail(format!(
                "the ImageNet stem needs an even number of channels, got {}",
                self.channels
            ));
        }
        Ok(())
    }
}

/// Checks that a network can have so many cells.
pub(crate) fn check_cells(cells: usize) -> Result<(), ModelError> {
    check_size("cells", cells, MAX_CELLS)?;
    if cells < 3 {
        return Err(ModelError::Invalid(format!(
            "a network needs at least 3 cells, two of which reduce; got {cells}"
        )));
    }
    Ok(())
}

/// Checks that a network can read images `[channels, height, width]` and tell so many classes
/// apart.
pub(crate) fn check_image(
    [channels, height, width]: [usize; 3],
    classes: usize,
    smallest_side: usize,
) -> Result<(), ModelError> {
    check_size("classes", classes, MAX_CLASSES)?;
    check_size("image channels", channels, MAX_CHANNELS)?;
    check_size("image height", height, MAX_SIDE)?;
    check_size("image width", width, MAX_SIDE)?;
    if classes < 2 || channels == 0 {
        return Err(ModelError::Invalid(
            "an image must have at least 1 channel, and classes must be at least 2".into(),
        ));
    }
    if height.min(width) < smallest_side {
        return Err(ModelError::Invalid(format!(
            "images of {height}×{width} are too small: sides must be at least {smallest_side}"
        )));
    }
    Ok(())
}

fn check_size(name: &str, size: usize, max: usize) -> Result<(), ModelError> {
    if size > max {
        return Err(ModelError::Invalid(format!(
            "{name} = {size} is more than a network can have here: at most {max}"
        )));
    }
    Ok(())
}
