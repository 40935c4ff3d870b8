use adwp_engine::{Candidate, Conv2d, NodeId, Op, Owner};

use super::choices::{Choices, Decision};
use super::features::{Features, Term};
use super::{NamedSpace, Space, TableRules};
use crate::blocks::{Builder, Weights};
use crate::cells::{CellPlan, Choice, Realisation, states};
use crate::{
    CellKind, CellSite, Discrete, Genotype, Heads, Hypernetwork, HypernetworkOptions, ModelError,
    Skeleton, Stem,
};

/// Stages of a network, each of twice the channels at half the size of the one before.
const STAGES: usize = 3;
/// Channels before the classifier, as a multiple of those after the stem.
const HEAD: usize = 40;

/// What a layer does, by the digit that tables write.
const BLOCKS: [(&str, Block); 3] = [
    ("identity", Block::Identity),
    ("inverted_3x3_t3", Block::Inverted { kernel: 3, expansion: 3 }),
    ("inverted_5x5_t6", Block::Inverted { kernel: 5, expansion: 6 }),
];
const IDENTITY: usize = 0;

pub(super) static SPACE: NamedSpace = NamedSpace {
    name: "nas-bench-macro",
    published: Skeleton {
        stem: Stem::Cifar,
        cells: 8,
        channels: 32,
        classes: 10,
        image: [3, 32, 32],
    },
    has_sizes: true,
    open: |skeleton| Ok(Box::new(NasBenchMacro::new(skeleton)?)),
    parse,
    has_drop_path: false,
    table: TableRules {
        selects: &["test_acc_run1"],
        contains_selected: &["test_acc_mean", "test_acc_std"],
    },
};

/// The networks of NAS-Bench-Macro (Su et al., Prioritized Architecture Sampling with Monto-Carlo
/// Tree Search, 2021, section 4): a chain of layers in three stages, each layer an identity or an
/// inverted residual of two sizes. Of 6,561 architectures 3,969 are different networks.
///
/// A 3×3 convolution, the stages, whose first layers have stride 2 and double the channels, a 1×1
/// convolution to 40 times the channels of the first, global average and a linear layer. Where a
/// stage begins, the identity is a 1×1 convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NasBenchMacro {
    skeleton: Skeleton,
    decisions: Vec<Decision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Identity,
    /// 1×1, depthwise, 1×1, added to what it reads where the size stays.
    Inverted {
        kernel: usize,
        expansion: usize,
    },
}

/// A layer: one of the blocks, with the number of its output channels.
#[derive(Clone, Copy)]
struct Layer {
    option: usize,
    out: usize,
}

impl Choice for Layer {
    fn input(self) -> usize {
        0
    }

    fn operation(self) -> &'static str {
        BLOCKS[self.option].0
    }

    fn is_identity(self) -> bool {
        self.option == IDENTITY
    }

    fn build(
        self,
        b: &mut Builder,
        name: &str,
        x: NodeId,
        stride: usize,
        weights: Weights,
    ) -> Result<Option<NodeId>, ModelError> {
        let out = self.out;
        let keeps_shape = stride == 1 && b.channels(x) == out;
        let pointwise = Conv2d::default();
        Ok(Some(match BLOCKS[self.option].1 {
            Block::Identity if keeps_shape => x,
            Block::Identity => {
                let conv = Conv2d { stride: [stride; 2], ..pointwise };
                b.conv_norm(name, "", x, out, 1, conv, weights)?
            }
            Block::Inverted { kernel, expansion } => {
                let hidden = expansion * b.channels(x);
                let depthwise = Conv2d {
                    stride: [stride; 2],
                    padding: [kernel / 2; 2],
                    groups: hidden,
                    ..pointwise
                };
                let y = b.conv_norm(name, "1", x, hidden, 1, pointwise, weights)?;
                let y = b.relu(y)?;
                let y = b.conv_norm(name, "2", y, hidden, kernel, depthwise, weights)?;
                let y = b.relu(y)?;
                let y = b.conv_norm(name, "3", y, out, 1, pointwise, weights)?;
                if keeps_shape { b.graph.add(format!("{name}/sum"), Op::Add, &[x, y])? } else { y }
            }
        }))
    }
}

impl NasBenchMacro {
    /// The space for networks of `skeleton`, whose cells are the layers. Where three stages cannot
    /// be equally long, the later ones are longer by one.
    ///
    /// # Errors
    /// When the sizes make no network.
    pub fn new(skeleton: Skeleton) -> Result<Self, ModelError> {
        skeleton.validate()?;
        if skeleton.stem != Stem::Cifar {
            let message = format!("{} has a stem of its own: leave out the stem", SPACE.name);
            return Err(ModelError::Invalid(message));
        }
        let decision = Decision { options: BLOCKS.len(), keep: 1 };
        Ok(Self { skeleton, decisions: vec![decision; skeleton.cells] })
    }

    /// For each stage its first layer and the one after its last.
    fn stages(&self) -> [[usize; 2]; STAGES] {
        let ends = |stage: usize| stage * self.skeleton.cells / STAGES;
        [0, 1, 2].map(|stage| [ends(stage), ends(stage + 1)])
    }

    /// The same network with the identities of every stage behind its other layers. The first layer
    /// of a stage is no identity, whatever its digit is.
    fn canonical(&self, choices: &Choices) -> Choices {
        let mut choices = choices.clone();
        for [start, end] in self.stages() {
            choices.0[start + 1..end].sort_by_key(|kept| kept[..] == [IDENTITY]);
        }
        choices
    }

    fn check_depth(&self, choices: &Choices) -> Result<(), ModelError> {
        let (found, expected) = (choices.0.len(), self.skeleton.cells);
        if found == expected {
            return Ok(());
        }
        let text = self.text(choices);
        let name = SPACE.name;
        Err(ModelError::Invalid(format!("{name}: {text}: {found} layers, expected {expected}")))
    }

    /// What the classifier reads.
    fn backbone(
        &self,
        b: &mut Builder,
        realisation: &mut dyn Realisation,
        choices: &Choices,
        images: NodeId,
    ) -> Result<NodeId, ModelError> {
        let mut channels = self.skeleton.channels;
        let (head, mut x) = (HEAD * channels, images);
        x = b.owned(Owner::Stem { stage: 0 }, |b, name| {
            let same = Conv2d { padding: [1; 2], ..Conv2d::default() };
            let x = b.conv_norm(name, "", x, channels, 3, same, Weights::Own)?;
            b.relu(x)
        })?;
        for [start, end] in self.stages() {
            channels *= 2;
            for index in start..end {
                let kind = if index == start { CellKind::Reduction } else { CellKind::Normal };
                let options = choices.0[index].iter();
                let layers = options.map(|&option| Layer { option, out: channels }).collect();
                let plan = CellPlan { nodes: &[layers], output: &[1] };
                let site = CellSite { index, kind, channels };
                realisation.enter(b, site)?;
                let states = states(b, realisation, site, &[x], &plan)?;
                x = states[1];
                b.outputs.push(x);
            }
        }
        Ok(b.owned(Owner::Classifier, |b, name| {
            let x = b.conv_norm(name, "", x, head, 1, Conv2d::default(), Weights::Own)?;
            b.relu(x)
        })?)
    }
}

/// A digit for each layer.
fn parse(text: &str) -> Result<Choices, ModelError> {
    let invalid = |why: String| ModelError::Invalid(format!("{}: {text:?}: {why}", SPACE.name));
    let layer = |digit: char| match digit.to_digit(BLOCKS.len() as u32) {
        Some(option) => Ok(vec![option as usize]),
        None => Err(invalid(format!("{digit:?} is not one of the layers 0 to 2"))),
    };
    let choices = Choices(text.chars().map(layer).collect::<Result<_, _>>()?);
    if choices.0.is_empty() { Err(invalid("there are no layers".into())) } else { Ok(choices) }
}

impl Space for NasBenchMacro {
    fn name(&self) -> &'static str {
        SPACE.name
    }

    fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    fn option(&self, candidate: Candidate) -> (usize, usize) {
        let option = BLOCKS.iter().position(|(name, _)| *name == candidate.operation);
        (candidate.cell, option.expect("an operation of the space"))
    }

    fn terms(&self, _: usize) -> usize {
        1
    }

    fn key(&self, choices: &Choices) -> String {
        self.text(&self.canonical(choices))
    }

    /// A digit for each layer; where it keeps several options, they are between parentheses.
    fn text(&self, choices: &Choices) -> String {
        let layer = |kept: &Vec<usize>| {
            let digits: String = kept.iter().map(usize::to_string).collect();
            if kept.len() == 1 { digits } else { format!("({digits})") }
        };
        choices.0.iter().map(layer).collect()
    }

    fn parse(&self, text: &str) -> Result<Choices, ModelError> {
        let choices = parse(text)?;
        self.check_depth(&choices)?;
        Ok(choices)
    }

    /// For each stage how many layers it has of each block; and of its layers but the first, which
    /// block the first of those that are no identity is, which the second, and so on.
    fn features(&self) -> Features {
        let mut f = Features::of(&self.decisions);
        let (mut counts, mut order) = (Vec::new(), Vec::new());
        for [start, end] in self.stages() {
            for option in 0..BLOCKS.len() {
                order.push(f.option(start, option));
                let kept: Vec<Term> =
                    (start + 1..end).map(|layer| f.option(layer, option)).collect();
                counts.push(f.sum(&kept));
            }
            // Element n is the share with which n of the layers so far are not identities.
            let mut before = vec![f.constant(1.0)];
            let places = end - start - 1;
            let mut found = vec![vec![Vec::new(); BLOCKS.len()]; places];
            for layer in start + 1..end {
                let identity = f.option(layer, IDENTITY);
                let other = f.not(identity);
                for (found, &share) in found.iter_mut().zip(&before) {
                    for (option, terms) in found.iter_mut().enumerate() {
                        if option != IDENTITY {
                            let kept = f.option(layer, option);
                            terms.push(f.product(&[share, kept]));
                        }
                    }
                }
                let mut after: Vec<Term> =
                    before.iter().map(|&share| f.product(&[share, identity])).collect();
                after.push(f.constant(0.0));
                for (place, &share) in before.iter().enumerate() {
                    let grown = f.product(&[share, other]);
                    after[place + 1] = f.sum(&[after[place + 1], grown]);
                }
                before = after;
            }
            order
                .extend(found.iter().flatten().filter(|terms| !terms.is_empty()).map(|t| f.sum(t)));
        }
        f.group(counts);
        f.group(order);
        f
    }

    fn skeleton(&self) -> Skeleton {
        self.skeleton
    }

    fn genotype(&self, _: &Choices) -> Result<Option<Genotype>, ModelError> {
        Ok(None)
    }

    fn build(
        &self,
        choices: &Choices,
        batch: usize,
        heads: Option<Heads>,
    ) -> Result<Discrete, ModelError> {
        self.check_depth(choices)?;
        Discrete::with_logits(self.skeleton.image, batch, heads, |b, drops, images| {
            let x = self.backbone(b, drops, choices, images)?;
            Ok((drops.classifier(b, x, self.skeleton.classes)?, None))
        })
    }

    fn with_cells(&self, cells: usize) -> Result<Box<dyn Space>, ModelError> {
        Ok(Box::new(Self::new(Skeleton { cells, ..self.skeleton })?))
    }

    fn hypernetwork(
        &self,
        kept: &Choices,
        batch: usize,
        options: HypernetworkOptions,
    ) -> Result<Hypernetwork, ModelError> {
        let (decisions, option) = (self.decisions(), |candidate| self.option(candidate));
        Hypernetwork::of(
            decisions,
            self.skeleton(),
            option,
            1,
            batch,
            options,
            |b, mixture, images| self.backbone(b, mixture, kept, images),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::count;
    use crate::space::features::tests as features;
    use crate::space::tests::{candidates_of_the_widest, check_parameters_of_the_widest};
    use std::collections::HashSet;

    fn published() -> NasBenchMacro {
        NasBenchMacro::new(SPACE.published).unwrap()
    }

    fn all() -> impl Iterator<Item = Choices> {
        (0..3usize.pow(8))
            .map(|number| Choices((0..8).map(|i| vec![number / 3usize.pow(i) % 3]).collect()))
    }

    #[test]
    fn the_networks_are_as_many_as_there_are() {
        let space = published();
        assert_eq!(space.stages(), [[0, 2], [2, 5], [5, 8]]);
        let keys: HashSet<String> = all().map(|choices| space.key(&choices)).collect();
        assert_eq!((all().count(), keys.len()), (6_561, 3_969));
        let key = |text: &str| space.key(&space.parse(text).unwrap());
        assert_eq!(key("00002012"), "00020012");
    }

    #[test]
    fn params_and_multiply_adds_are_the_published_ones() {
        // Rows of the table.
        for (text, params, flops) in
            [("02012100", 890_666, 47_327_744), ("11111221", 2_181_386, 65_012_224)]
        {
            let space = published();
            let network = space.build(&space.parse(text).unwrap(), 1, None).unwrap();
            let cost = count(&network.graph);
            assert_eq!((cost.params, cost.madds), (params, flops), "{text}");
        }
    }

    #[test]
    fn features_are_alike_for_networks_that_are_alike() {
        let space = published();
        features::check(&space, 52);
        let groups: Vec<usize> = space.features().groups().collect();
        assert_eq!(groups, [24, 9, 9 + 2 * (1 + 2 + 2)]);
        let all: HashSet<String> = all()
            .map(|choices| format!("{:?}", &features::features(&space, &choices)[24..]))
            .collect();
        assert_eq!(all.len(), 3_969, "they tell all others apart");
    }

    #[test]
    fn candidates_of_the_widest_network_stand_for_options() {
        let space =
            NasBenchMacro::new(Skeleton { cells: 6, channels: 2, ..SPACE.published }).unwrap();
        let options = candidates_of_the_widest(&space);
        // Two layers a stage; the identity of the second is what it reads.
        assert_eq!(options.len(), 3 * (3 + 2));
        assert!(options.iter().all(|(_, option, name)| BLOCKS[*option].0 == *name));
    }

    #[test]
    fn the_widest_network_has_the_parameters_of_every_other() {
        let space =
            NasBenchMacro::new(Skeleton { cells: 6, channels: 2, ..SPACE.published }).unwrap();
        check_parameters_of_the_widest(&space);
    }

    #[test]
    fn texts_that_are_none_are_refused() {
        let error = |text: &str| published().parse(text).unwrap_err().to_string();
        assert!(error("0201210").contains("7 layers, expected 8"));
        assert!(error("02012103").contains("'3' is not one of the layers"));
        let choices = published().parse("02012100").unwrap();
        assert_eq!(published().text(&choices), "02012100");
        let image = [3, 64, 64];
        let imagenet = Skeleton { stem: Stem::Imagenet, image, ..SPACE.published };
        assert!(NasBenchMacro::new(imagenet).is_err());
    }
}
