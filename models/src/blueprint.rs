use crate::cost::{Cost, count};
use crate::skeleton::MAX_CHANNELS;
use crate::space::Member;
use crate::zoo::{Handmade, WideCells, Width};
use crate::{Choices, Discrete, Genotype, Heads, ModelError, Skeleton, Space, Stem};

/// A network with all its sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blueprint {
    /// Cells in a skeleton.
    Cells {
        /// The cells.
        genotype: Genotype,
        /// What is around them.
        skeleton: Skeleton,
    },
    /// Cells of a wider space in a skeleton.
    WideCells {
        /// The cells.
        cells: WideCells,
        /// What is around them.
        skeleton: Skeleton,
    },
    /// An architecture of a named space at sizes.
    Member {
        /// The architecture.
        member: Member,
        /// What is around its cells.
        skeleton: Skeleton,
    },
    /// A network with a builder of its own.
    Handmade {
        /// The network.
        network: Handmade,
        /// What its channels are multiplied by.
        width: Width,
        /// Channels, height and width of an image.
        image: [usize; 3],
        /// Classes that it tells apart.
        classes: usize,
    },
}

/// Sizes of a network as far as they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What comes before the first cell.
    pub stem: Option<Stem>,
    /// Number of cells.
    pub cells: Option<usize>,
    /// Channels of a node in the first cell.
    pub channels: Option<usize>,
    /// What the channels of a network that is no stack of cells are multiplied by.
    pub width: Option<Width>,
    /// Channels, height and width of an image.
    pub image: Option<[usize; 3]>,
    /// Classes that it tells apart.
    pub classes: Option<usize>,
}

/// What a network may take at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Trainable parameters, without an auxiliary head.
    pub params: Option<u64>,
    /// Multiply-adds for one image.
    pub madds: Option<u64>,
}

impl Bounds {
    /// Whether a network keeps them.
    pub fn hold(self, cost: &Cost) -> bool {
        self.params.is_none_or(|params| cost.params <= params)
            && self.madds.is_none_or(|madds| cost.madds <= madds)
    }
}

impl Blueprint {
    /// The network of an architecture of a space, to be built, retrained, exported.
    ///
    /// # Errors
    /// When the choices are not of the space, or the space has no name that files could give it.
    pub fn of(space: &dyn Space, choices: &Choices) -> Result<Self, ModelError> {
        let skeleton = space.skeleton();
        Ok(match space.genotype(choices)? {
            Some(genotype) => Self::Cells { genotype, skeleton },
            None => Self::Member { member: Member::new(space.name(), choices)?, skeleton },
        })
    }

    /// Builds it for a batch size: for training with the heads given, else for inference.
    ///
    /// # Errors
    /// When the sizes make no network.
    pub fn build(&self, batch: usize, heads: Option<Heads>) -> Result<Discrete, ModelError> {
        match self {
            Self::Cells { genotype, skeleton } => Discrete::build(genotype, skeleton, batch, heads),
            Self::WideCells { cells, skeleton } => cells.build(skeleton, batch, heads),
            Self::Member { member, skeleton } => member.build(skeleton, batch, heads),
            Self::Handmade { network, width, image, classes } => {
                network.build(*width, *image, *classes, batch, heads)
            }
        }
    }

    /// Params and multiply-adds, without an auxiliary head.
    ///
    /// # Errors
    /// When the sizes make no network.
    pub fn cost(&self) -> Result<Cost, ModelError> {
        Ok(count(&self.build(1, None)?.graph))
    }

    /// Channels, height and width of an image.
    pub fn image(&self) -> [usize; 3] {
        match self {
            Self::Cells { skeleton, .. }
            | Self::WideCells { skeleton, .. }
            | Self::Member { skeleton, .. } => skeleton.image,
            Self::Handmade { image, .. } => *image,
        }
    }

    /// Classes that it tells apart.
    pub fn classes(&self) -> usize {
        match self {
            Self::Cells { skeleton, .. }
            | Self::WideCells { skeleton, .. }
            | Self::Member { skeleton, .. } => skeleton.classes,
            Self::Handmade { classes, .. } => *classes,
        }
    }

    /// The same network for images of another size. It has the same weights.
    #[must_use]
    pub fn with_image(mut self, size: [usize; 3]) -> Self {
        match &mut self {
            Self::Cells { skeleton, .. }
            | Self::WideCells { skeleton, .. }
            | Self::Member { skeleton, .. } => skeleton.image = size,
            Self::Handmade { image, .. } => *image = size,
        }
        self
    }

    /// What its channels are multiplied by, where it is no stack of cells.
    pub fn width(&self) -> Option<Width> {
        match self {
            Self::Cells { .. } | Self::WideCells { .. } | Self::Member { .. } => None,
            Self::Handmade { width, .. } => Some(*width),
        }
    }

    /// The same network of another width; one of cells as it is.
    #[must_use]
    pub fn with_width(mut self, of: Width) -> Self {
        if let Self::Handmade { width, .. } = &mut self {
            *width = of;
        }
        self
    }

    /// The cells of the DARTS space that it is built of, where it is.
    pub fn genotype(&self) -> Option<&Genotype> {
        match self {
            Self::Cells { genotype, .. } => Some(genotype),
            Self::WideCells { .. } | Self::Member { .. } | Self::Handmade { .. } => None,
        }
    }

    /// Whether it can have an auxiliary classifier while it is trained.
    pub fn has_auxiliary(&self) -> bool {
        match self {
            Self::Cells { .. } | Self::WideCells { .. } => true,
            Self::Member { .. } | Self::Handmade { .. } => false,
        }
    }

    /// Whether it has operations that can be dropped while it is trained.
    pub fn has_drop_path(&self) -> bool {
        match self {
            Self::Cells { .. } | Self::WideCells { .. } => true,
            Self::Member { member, .. } => member.named().has_drop_path,
            Self::Handmade { network, .. } => network.has_residuals(),
        }
    }

    /// What is around its cells, where it has cells.
    pub fn skeleton(&self) -> Option<Skeleton> {
        match self {
            Self::Cells { skeleton, .. }
            | Self::WideCells { skeleton, .. }
            | Self::Member { skeleton, .. } => Some(*skeleton),
            Self::Handmade { .. } => None,
        }
    }

    /// The same cells with as many channels as the bounds allow, or the same network that is no
    /// stack of cells as wide as they do. More channels always take more of both, more width never
    /// less.
    ///
    /// # Errors
    /// When not even the narrowest network keeps the bounds.
    pub fn widest(&self, bounds: Bounds) -> Result<Self, ModelError> {
        let (step, most, what) = match self {
            Self::Handmade { .. } => (1, Width::MOST.thousandths(), "thousandths of its width"),
            Self::Cells { skeleton, .. } | Self::Member { skeleton, .. } => {
                (of_stem(skeleton.stem), MAX_CHANNELS, "channels")
            }
            Self::WideCells { cells, skeleton } => {
                (cells.channel_step().max(of_stem(skeleton.stem)), MAX_CHANNELS, "channels")
            }
        };
        let with = |steps: usize| {
            let number = steps * step;
            let mut network = self.clone();
            match &mut network {
                Self::Cells { skeleton, .. }
                | Self::WideCells { skeleton, .. }
                | Self::Member { skeleton, .. } => skeleton.channels = number,
                Self::Handmade { width, .. } => *width = Width::of_thousandths(number),
            }
            network
        };
        let narrowest = with(1).cost()?;
        if !bounds.hold(&narrowest) {
            let Cost { params, madds, .. } = narrowest;
            let message = format!(
                "even with {step} {what} the network has {params} params and takes {madds} \
                 multiply-adds"
            );
            return Err(ModelError::Invalid(message));
        }
        let (mut fits, mut beyond) = (1, most / step + 1);
        while beyond - fits > 1 {
            let middle = fits.midpoint(beyond);
            if bounds.hold(&with(middle).cost()?) {
                fits = middle;
            } else {
                beyond = middle;
            }
        }
        Ok(with(fits))
    }
}

/// What channels are multiples of: the ImageNet stem halves them, and some cells have groups of
/// them. All steps are powers of two.
fn of_stem(stem: Stem) -> usize {
    match stem {
        Stem::Cifar => 1,
        Stem::Imagenet => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zoo;

    fn darts(stem: Stem) -> Blueprint {
        Zoo::embedded().find("darts-v2").unwrap().published(stem).unwrap().unwrap()
    }

    fn mobilenet() -> Blueprint {
        let entry = Zoo::embedded().find("mobilenet-v1").unwrap();
        entry.published(Stem::Imagenet).unwrap().unwrap()
    }

    fn channels(network: &Blueprint) -> usize {
        network.skeleton().unwrap().channels
    }

    #[test]
    fn the_widest_network_keeps_the_bounds_and_the_next_does_not() {
        let bounds = |params, madds| Bounds { params, madds };
        for (stem, step, bounds) in [
            (Stem::Cifar, 1, bounds(Some(1_000_000), None)),
            (Stem::Cifar, 1, bounds(None, Some(100_000_000))),
            (Stem::Imagenet, 2, bounds(None, Some(600_000_000))),
            (Stem::Imagenet, 2, bounds(Some(4_000_000), Some(600_000_000))),
        ] {
            let found = darts(stem).widest(bounds).unwrap();
            assert!(bounds.hold(&found.cost().unwrap()), "{bounds:?}");
            let Blueprint::Cells { genotype, mut skeleton } = found else {
                panic!("a network of cells")
            };
            skeleton.channels += step;
            assert!(
                !bounds.hold(&Blueprint::Cells { genotype, skeleton }.cost().unwrap()),
                "{bounds:?}"
            );
        }
        let exact = darts(Stem::Imagenet).cost().unwrap();
        assert_eq!(
            channels(&darts(Stem::Imagenet).widest(bounds(Some(exact.params), None)).unwrap()),
            48,
            "a bound may be reached"
        );
    }

    #[test]
    fn the_widest_network_has_channels_that_split_into_its_groups() {
        let published =
            Zoo::embedded().find("gdas-frc").unwrap().published(Stem::Cifar).unwrap().unwrap();
        let found = published.widest(Bounds { params: Some(500_000), madds: None }).unwrap();
        assert!(channels(&found).is_multiple_of(4) && found.cost().unwrap().params <= 500_000);
        let Blueprint::WideCells { cells, mut skeleton } = found else { panic!("wide cells") };
        skeleton.channels += 4;
        assert!(
            Blueprint::WideCells { cells: cells.clone(), skeleton }.cost().unwrap().params
                > 500_000
        );
        skeleton.channels += 1;
        let error = Blueprint::WideCells { cells, skeleton }.cost().unwrap_err().to_string();
        assert!(error.contains("do not split into 8 groups"), "{error}");
    }

    #[test]
    fn images_of_another_size_leave_the_weights_alone() {
        for network in [darts(Stem::Cifar), mobilenet()] {
            let small = network.clone().with_image([3, 64, 64]);
            assert_eq!(small.image(), [3, 64, 64]);
            let (before, after) = (network.cost().unwrap(), small.cost().unwrap());
            assert_eq!(before.params, after.params);
            assert_ne!(before.madds, after.madds);
            assert_eq!(small.with_image(network.image()), network);
        }
    }

    #[test]
    fn bounds_that_no_network_keeps_are_told() {
        let error = darts(Stem::Cifar)
            .widest(Bounds { params: Some(10), madds: None })
            .unwrap_err()
            .to_string();
        assert!(error.contains("even with 1 channels"), "{error}");
        let none = Bounds { params: None, madds: Some(1000) };
        let error = mobilenet().widest(none).unwrap_err().to_string();
        assert!(error.contains("even with 1 thousandths of its width"), "{error}");
    }

    #[test]
    fn sizes_that_are_not_given_are_as_published_and_others_are_checked() {
        let find = |name| Zoo::embedded().find(name).unwrap();
        let sizes = Sizes::default();
        assert_eq!(find("darts-v2").network(sizes).unwrap(), darts(Stem::Cifar));
        assert_eq!(
            find("darts-v2").network(Sizes { stem: Some(Stem::Imagenet), ..sizes }).unwrap(),
            darts(Stem::Imagenet)
        );
        let on_imagenet = find("pc-darts-imagenet").network(sizes).unwrap();
        assert_eq!(channels(&on_imagenet), 48, "it was published for ImageNet alone");
        let error = find("pc-darts-imagenet")
            .network(Sizes { stem: Some(Stem::Cifar), ..sizes })
            .unwrap_err()
            .to_string();
        assert!(error.contains("cells must be given"), "{error}");
        for wrong in [
            Sizes { cells: Some(8), ..sizes },
            Sizes { channels: Some(8), ..sizes },
            Sizes { stem: Some(Stem::Cifar), ..sizes },
        ] {
            let error = find("mobilenet-v1").network(wrong).unwrap_err().to_string();
            assert!(error.contains("no stack of cells"), "{error}");
        }
    }
}
