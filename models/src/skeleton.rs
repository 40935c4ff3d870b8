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
    /// The kind of cell `index` of `cells`: reduction cells stand at a third and two thirds of the depth.
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

// Bounds far beyond any network of use, so that a damaged or mistyped size is an error and no product of sizes overflows.
const MAX_CELLS: usize = 1 << 10;
const MAX_CHANNELS: usize = 1 << 14;
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
    /// When there are fewer than three cells, a size that the halvings do not divide, or one beyond all networks that could be built.
    pub fn validate(&self) -> Result<(), ModelError> {
        let fail = |message: String| Err(ModelError::Invalid(message));
        let [channels, height, width] = self.image;
        check_cells(self.cells)?;
        let sizes = [
            ("channels", self.channels, MAX_CHANNELS),
            ("classes", self.classes, MAX_CLASSES),
            ("image channels", channels, MAX_CHANNELS),
            ("image height", height, MAX_SIDE),
            ("image width", width, MAX_SIDE),
        ];
        for (name, size, max) in sizes {
            check_size(name, size, max)?;
        }
        if self.channels == 0 || self.classes < 2 || channels == 0 {
            return fail("channels must be at least 1 and classes at least 2".into());
        }
        let (divisor, even) = match self.stem {
            Stem::Cifar => (4, false),
            Stem::Imagenet => (32, true),
        };
        if height == 0 || width == 0 || !height.is_multiple_of(divisor) || !width.is_multiple_of(divisor) {
            return fail(format!(
                "images of {height}×{width} cannot be halved down to the last cell: sides must be multiples of {divisor}"
            ));
        }
        if even && !self.channels.is_multiple_of(2) {
            return fail(format!("the ImageNet stem needs an even number of channels, got {}", self.channels));
        }
        Ok(())
    }
}

/// Checks that a network can have so many cells.
pub(crate) fn check_cells(cells: usize) -> Result<(), ModelError> {
    check_size("cells", cells, MAX_CELLS)?;
    if cells < 3 {
        return Err(ModelError::Invalid(format!("a network needs at least 3 cells, two of which reduce; got {cells}")));
    }
    Ok(())
}

fn check_size(name: &str, size: usize, max: usize) -> Result<(), ModelError> {
    if size > max {
        return Err(ModelError::Invalid(format!("{name} = {size} is more than a network can have here: at most {max}")));
    }
    Ok(())
}
