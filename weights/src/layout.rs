//! What others call the tensors of a network, and what they did around it.

use adwp_data::{Interpolation, Normalization};
use adwp_models::zoo::Handmade;

/// Who gave the tensors of a state dict their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// torchvision 0.29: MobileNetV2, MobileNetV3-Large and -Small, EfficientNet-B0, ShuffleNetV2.
    Torchvision,
    /// timm 1.0: `mobilenetv2_100`, `mobilenetv3_large_100` and `_small_100`, `efficientnet_b0` and
    /// `tf_efficientnet_lite0`.
    Timm,
    /// EfficientNet-PyTorch, and EfficientNet-Lite that follows it: B0 and Lite0.
    EfficientNetPytorch,
}

/// What becomes of photos before weights see them.
#[derive(Clone, Debug, PartialEq)]
pub struct Preparation {
    /// What their pixels are normalised with.
    pub normalization: Normalization,
    /// How they are scaled.
    pub interpolation: Interpolation,
}

/// Where a variable is in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Block(Part),
    Head,
    /// The linear layer before the last one.
    Hidden,
    Classifier,
}

/// Layers of an inverted residual, and of a ShuffleNetV2's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Expand,
    Depthwise,
    Reduce,
    Excite,
    Project,
    ShortcutDepthwise,
    ShortcutProject,
}

/// What a variable is of its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaf {
    Weight,
    Bias,
    Scale,
    Shift,
    Mean,
    Variance,
}

/// A variable of a network here, read from its name.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    place: Place,
    leaf: Leaf,
    /// Everything before the part: `stage1/block0`.
    block: &'a str,
}

impl<'a> Wanted<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let ends = [
            ("/bn/scale", Leaf::Scale),
            ("/bn/shift", Leaf::Shift),
            ("/bn/running_mean", Leaf::Mean),
            ("/bn/running_var", Leaf::Variance),
            ("/weight", Leaf::Weight),
            ("/bias", Leaf::Bias),
        ];
        let (layer, leaf) =
            ends.into_iter().find_map(|(end, leaf)| Some((name.strip_suffix(end)?, leaf)))?;
        let parts = [
            ("/shortcut/dw", Part::ShortcutDepthwise),
            ("/shortcut/project", Part::ShortcutProject),
            ("/main/dw", Part::Depthwise),
            ("/se/reduce", Part::Reduce),
            ("/se/expand", Part::Excite),
            ("/expand", Part::Expand),
            ("/dw", Part::Depthwise),
            ("/project", Part::Project),
        ];
        let (place, block) = match layer {
            "conv" => (Place::First, ""),
            "head" => (Place::Head, ""),
            "classifier/hidden" => (Place::Hidden, ""),
            "classifier/linear" => (Place::Classifier, ""),
            layer => parts
                .into_iter()
                .find_map(|(end, part)| Some((Place::Block(part), layer.strip_suffix(end)?)))?,
        };
        Some(Self { place, leaf, block })
    }
}

/// A block of a network, in the order of the network.
#[derive(Clone, Copy, Debug)]
struct Block<'a> {
    name: &'a str,
    /// Its stage, and which of the stage it is; of a network whose blocks lie in no stages, 0.
    stage: usize,
    index: usize,
    expands: bool,
    squeezes: bool,
}

/// The names that a layout has for the variables of a network.
pub(crate) struct Names<'a> {
    layout: Layout,
    network: Handmade,
    blocks: Vec<Block<'a>>,
}

impl<'a> Names<'a> {
    /// For a network with variables of these names, in their order.
    pub(crate) fn new(
        layout: Layout,
        network: Handmade,
        variables: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut blocks: Vec<Block<'a>> = Vec::new();
        for wanted in variables.filter_map(Wanted::of) {
            let Place::Block(part) = wanted.place else { continue };
            if blocks.last().is_none_or(|last| last.name != wanted.block) {
                let number = |text: &str| text.trim_start_matches(char::is_alphabetic).parse().ok();
                let (stage, index) = match wanted.block.split_once('/') {
                    Some((stage, block)) => (number(stage), number(block)),
                    None => (Some(0), number(wanted.block)),
                };
                let (stage, index) = (stage.unwrap_or(0), index.unwrap_or(0));
                let (expands, squeezes) = (false, false);
                blocks.push(Block { name: wanted.block, stage, index, expands, squeezes });
            }
            if let Some(block) = blocks.last_mut() {
                block.expands |= part == Part::Expand;
                block.squeezes |= part == Part::Reduce;
            }
        }
        Self { layout, network, blocks }
    }

    /// What the layout calls a variable; `None` where it has none of it.
    pub(crate) fn of(&self, variable: &str) -> Option<String> {
        let wanted = Wanted::of(variable)?;
        let [layer, norm] = match wanted.place {
            Place::Block(part) => {
                let at = self.blocks.iter().position(|block| block.name == wanted.block)?;
                self.part(at, part)?
            }
            place => self.outer(place)?.map(str::to_owned),
        };
        Some(match wanted.leaf {
            Leaf::Weight => format!("{layer}.weight"),
            Leaf::Bias => format!("{layer}.bias"),
            Leaf::Scale => format!("{norm}.weight"),
            Leaf::Shift => format!("{norm}.bias"),
            Leaf::Mean => format!("{norm}.running_mean"),
            Leaf::Variance => format!("{norm}.running_var"),
        })
    }

    /// Layer and normalisation outside of the blocks.
    fn outer(&self, place: Place) -> Option<[&'static str; 2]> {
        use Handmade::{
            EfficientnetB0, EfficientnetLite0, MobilenetV2, MobilenetV3Large, MobilenetV3Small,
            ShufflenetV2,
        };
        use Layout::{EfficientNetPytorch, Timm, Torchvision};
        let is_v3 = matches!(self.network, MobilenetV3Large | MobilenetV3Small);
        Some(match (self.layout, self.network, place) {
            (Torchvision, ShufflenetV2, Place::First) => ["conv1.0", "conv1.1"],
            (Torchvision, ShufflenetV2, Place::Head) => ["conv5.0", "conv5.1"],
            (Torchvision, ShufflenetV2, Place::Classifier) => ["fc", ""],
            (Torchvision, _, Place::First) => ["features.0.0", "features.0.1"],
            (Torchvision, MobilenetV2, Place::Head) => ["features.18.0", "features.18.1"],
            (Torchvision, MobilenetV3Large, Place::Head) => ["features.16.0", "features.16.1"],
            (Torchvision, MobilenetV3Small, Place::Head) => ["features.12.0", "features.12.1"],
            (Torchvision, EfficientnetB0, Place::Head) => ["features.8.0", "features.8.1"],
            (Torchvision, _, Place::Hidden) => ["classifier.0", ""],
            (Torchvision, _, Place::Classifier) if is_v3 => ["classifier.3", ""],
            (Torchvision, MobilenetV2 | EfficientnetB0, Place::Classifier) => ["classifier.1", ""],
            (Timm, _, Place::First) => ["conv_stem", "bn1"],
            (Timm, MobilenetV3Large, Place::Head) => ["blocks.6.0.conv", "blocks.6.0.bn1"],
            (Timm, MobilenetV3Small, Place::Head) => ["blocks.5.0.conv", "blocks.5.0.bn1"],
            (Timm, _, Place::Head) => ["conv_head", "bn2"],
            (Timm, _, Place::Hidden) => ["conv_head", ""],
            (Timm, _, Place::Classifier) => ["classifier", ""],
            (EfficientNetPytorch, EfficientnetB0 | EfficientnetLite0, place) => match place {
                Place::First => ["_conv_stem", "_bn0"],
                Place::Head => ["_conv_head", "_bn1"],
                Place::Classifier => ["_fc", ""],
                Place::Hidden | Place::Block(_) => return None,
            },
            _ => return None,
        })
    }

    /// Layer and normalisation of a part of block `at`.
    fn part(&self, at: usize, part: Part) -> Option<[String; 2]> {
        let block = self.blocks[at];
        match self.layout {
            Layout::Torchvision => self.torchvision(at, block, part),
            Layout::Timm => self.timm(at, block, part),
            Layout::EfficientNetPytorch => {
                let [layer, norm] = match part {
                    Part::Expand => ["_expand_conv", "_bn0"],
                    Part::Depthwise => ["_depthwise_conv", "_bn1"],
                    Part::Reduce => ["_se_reduce", ""],
                    Part::Excite => ["_se_expand", ""],
                    Part::Project => ["_project_conv", "_bn2"],
                    Part::ShortcutDepthwise | Part::ShortcutProject => return None,
                };
                Some([layer, norm].map(|of| format!("_blocks.{at}.{of}")))
            }
        }
    }

    fn torchvision(&self, at: usize, block: Block<'_>, part: Part) -> Option<[String; 2]> {
        let Block { stage, index, expands, squeezes, .. } = block;
        let both = |before: String, [layer, norm]: [usize; 2]| {
            Some([format!("{before}.{layer}"), format!("{before}.{norm}")])
        };
        let first = usize::from(expands);
        match self.network {
            Handmade::ShufflenetV2 => {
                let before = format!("stage{}.{index}", stage + 2);
                match part {
                    Part::ShortcutDepthwise => both(format!("{before}.branch1"), [0, 1]),
                    Part::ShortcutProject => both(format!("{before}.branch1"), [2, 3]),
                    Part::Expand => both(format!("{before}.branch2"), [0, 1]),
                    Part::Depthwise => both(format!("{before}.branch2"), [3, 4]),
                    Part::Project => both(format!("{before}.branch2"), [5, 6]),
                    Part::Reduce | Part::Excite => None,
                }
            }
            Handmade::MobilenetV2 => {
                let before = format!("features.{}.conv", at + 1);
                match part {
                    Part::Expand => both(format!("{before}.0"), [0, 1]),
                    Part::Depthwise => both(format!("{before}.{first}"), [0, 1]),
                    Part::Project => both(before, [first + 1, first + 2]),
                    _ => None,
                }
            }
            Handmade::EfficientnetB0 | Handmade::MobilenetV3Large | Handmade::MobilenetV3Small => {
                let before = match self.network {
                    Handmade::EfficientnetB0 => format!("features.{}.{index}.block", stage + 1),
                    _ => format!("features.{}.block", at + 1),
                };
                match part {
                    Part::Expand => both(format!("{before}.0"), [0, 1]),
                    Part::Depthwise => both(format!("{before}.{first}"), [0, 1]),
                    Part::Reduce => Some([format!("{before}.{}.fc1", first + 1), String::new()]),
                    Part::Excite => Some([format!("{before}.{}.fc2", first + 1), String::new()]),
                    Part::Project => {
                        both(format!("{before}.{}", first + 1 + usize::from(squeezes)), [0, 1])
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn timm(&self, at: usize, block: Block<'_>, part: Part) -> Option<[String; 2]> {
        // Of the blocks in their order, how many are in each stage.
        let stages: &[usize] = match self.network {
            Handmade::MobilenetV3Large => &[1, 2, 3, 4, 2, 3],
            Handmade::MobilenetV3Small => &[1, 2, 3, 2, 3],
            _ => &[],
        };
        let (mut stage, mut index) = (block.stage, block.index);
        if !stages.is_empty() {
            (stage, index) = (0, at);
            while index >= *stages.get(stage)? {
                index -= stages[stage];
                stage += 1;
            }
        }
        let [layer, norm] = match (part, block.expands) {
            (Part::Expand, _) => ["conv_pw", "bn1"],
            (Part::Depthwise, true) => ["conv_dw", "bn2"],
            (Part::Depthwise, false) => ["conv_dw", "bn1"],
            (Part::Reduce, _) => ["se.conv_reduce", ""],
            (Part::Excite, _) => ["se.conv_expand", ""],
            (Part::Project, true) => ["conv_pwl", "bn3"],
            (Part::Project, false) => ["conv_pw", "bn2"],
            (Part::ShortcutDepthwise | Part::ShortcutProject, _) => return None,
        };
        Some([layer, norm].map(|of| format!("blocks.{stage}.{index}.{of}")))
    }
}

impl Layout {
    /// What its names are known by.
    pub(crate) fn of(has: impl Fn(&str) -> bool) -> Option<Self> {
        match () {
            () if has("_conv_stem.weight") => Some(Self::EfficientNetPytorch),
            () if has("conv_stem.weight") => Some(Self::Timm),
            () if has("features.0.0.weight") || has("conv1.0.weight") => Some(Self::Torchvision),
            () => None,
        }
    }

    /// Whether it has this network under names that are known.
    pub(crate) fn has(self, network: Handmade) -> bool {
        use Handmade::{
            EfficientnetB0, EfficientnetLite0, MobilenetV2, MobilenetV3Large, MobilenetV3Small,
            ShufflenetV2,
        };
        match network {
            EfficientnetB0 => true,
            EfficientnetLite0 => self != Self::Torchvision,
            ShufflenetV2 => self == Self::Torchvision,
            MobilenetV2 | MobilenetV3Large | MobilenetV3Small => self != Self::EfficientNetPytorch,
            Handmade::InceptionV1 | Handmade::DensenetBc { .. } | Handmade::MobilenetV1 => false,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Torchvision => "torchvision",
            Self::Timm => "timm",
            Self::EfficientNetPytorch => "EfficientNet-PyTorch",
        }
    }

    /// What its BatchNorms add to the variance.
    pub(crate) fn epsilon(self, network: Handmade) -> f32 {
        match (self, network) {
            (Self::Torchvision, Handmade::MobilenetV3Large | Handmade::MobilenetV3Small)
            | (Self::Timm, Handmade::EfficientnetLite0)
            | (Self::EfficientNetPytorch, _) => 1e-3,
            _ => 1e-5,
        }
    }

    /// What it does with photos before this network sees them.
    pub fn preparation(self, network: Handmade) -> Preparation {
        let interpolation = match self {
            Self::Torchvision => Interpolation::Bilinear,
            Self::Timm | Self::EfficientNetPytorch => Interpolation::Bicubic,
        };
        let (mean, std) = match (self, network) {
            (Self::Timm, Handmade::EfficientnetLite0) => ([0.5; 3], [0.5; 3]),
            // (pixel - 127) / 128, as models/official/efficientnet/lite in tensorflow/tpu.
            (Self::EfficientNetPytorch, Handmade::EfficientnetLite0) => {
                ([127.0 / 255.0; 3], [128.0 / 255.0; 3])
            }
            _ => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        };
        let normalization = Normalization { mean: mean.to_vec(), std: std.to_vec() };
        Preparation { normalization, interpolation }
    }
}
