use std::fmt;

use serde::{Deserialize, Serialize};

/// The data sets that [`open`](crate::open) can read. In text and JSON: `sample`, `fashion-mnist`,
/// `cifar10`, `cifar100`, `image-folder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetKind {
    /// 6,000 + 1,000 images of Fashion-MNIST that are part of the program.
    Sample,
    /// Fashion-MNIST: 60,000 + 10,000 grayscale images of 28×28 in 10 classes, four idx files.
    FashionMnist,
    /// CIFAR-10: 50,000 + 10,000 colour images of 32×32 in 10 classes, the binary version.
    Cifar10,
    /// CIFAR-100: 50,000 + 10,000 colour images of 32×32 in 100 classes, the binary version.
    Cifar100,
    /// A folder with one folder per class of images, as ImageNet is kept.
    ImageFolder,
}

impl DatasetKind {
    /// Every kind, in the order in which lists show them.
    pub const ALL: [Self; 5] =
        [Self::Sample, Self::FashionMnist, Self::Cifar10, Self::Cifar100, Self::ImageFolder];

    /// The name used on the command line and in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::ImageFolder => "image-folder",
        }
    }

    /// Whether [`open`](crate::open) reads this kind from a folder; false for what is part of the
    /// program.
    #[must_use]
    pub const fn needs_folder(self) -> bool {
        match self {
            Self::Sample => false,
            Self::FashionMnist | Self::Cifar10 | Self::Cifar100 | Self::ImageFolder => true,
        }
    }
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_use_the_same_names() {
        for kind in DatasetKind::ALL {
            assert_eq!(kind.to_string().parse::<DatasetKind>().unwrap(), kind);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "cifar".parse::<DatasetKind>().unwrap_err();
        assert!(error.to_string().contains("`cifar`"));
        let hint = error.hint().unwrap();
        assert!(DatasetKind::ALL.iter().all(|kind| hint.contains(kind.name())), "{hint}");
    }
}
