use std::collections::BTreeMap;
use std::fmt::Write;

use adwp_engine::{Candidate, Conv2d, NodeId, Op, Owner, Pool};

use super::choices::{Choices, Decision};
use super::features::{Features, Term};
use super::{NamedSpace, Space, TableRules};
use crate::blocks::{Builder, Weights};
use crate::cells::{CellPlan, Choice, Realisation, states};
use crate::{
    CellKind, CellSite, Discrete, Genotype, Heads, Hypernetwork, HypernetworkOptions, ModelError,
    Skeleton, Stem,
};

/// Nodes of a cell beside its input.
const NODES: usize = 3;
/// Edges of a cell: every node reads all before it.
const EDGES: usize = 6;
/// Stages of a network, each of twice the channels at half the size of the one before.
const STAGES: usize = 3;

/// Name in files and tables; the position is the option of a [`Decision`].
const OPERATIONS: [(&str, Operation); 5] = [
    ("none", Operation::Nothing),
    ("skip_connect", Operation::Skip),
    ("nor_conv_1x1", Operation::Conv { kernel: 1 }),
    ("nor_conv_3x3", Operation::Conv { kernel: 3 }),
    ("avg_pool_3x3", Operation::AvgPool),
];

pub(super) static SPACE: NamedSpace = NamedSpace {
    name: "nas-bench-201",
    published: Skeleton {
        stem: Stem::Cifar,
        cells: 15,
        channels: 16,
        classes: 10,
        image: [3, 32, 32],
    },
    has_sizes: true,
    open: |skeleton| Ok(Box::new(NasBench201::new(skeleton)?)),
    parse,
    has_drop_path: true,
    table: TableRules::STRICT,
};

/// The cells of NAS-Bench-201 (Dong and Yang, 2020): three nodes, each the sum of one operation on
/// every earlier node; all cells of a network are alike. 15,625 architectures are 6,466 different
/// cells.
///
/// The network is theirs: a 3×3 convolution, three stages of cells, of as many channels, twice and
/// four times as many, a residual block of stride 2 before the second and the third, then
/// BatchNorm, ReLU, global average and a linear layer. What no output depends on is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NasBench201 {
    skeleton: Skeleton,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Nothing,
    Skip,
    /// ReLU, convolution, BatchNorm.
    Conv {
        kernel: usize,
    },
    /// Of 3×3, padding not counted.
    AvgPool,
}

/// An operation on an earlier state.
#[derive(Clone, Copy)]
struct OnEdge {
    input: usize,
    option: usize,
}

impl Choice for OnEdge {
    fn input(self) -> usize {
        self.input
    }

    fn operation(self) -> &'static str {
        OPERATIONS[self.option].0
    }

    fn is_identity(self) -> bool {
        OPERATIONS[self.option].1 == Operation::Skip
    }

    fn build(
        self,
        b: &mut Builder,
        name: &str,
        x: NodeId,
        stride: usize,
        weights: Weights,
    ) -> Result<Option<NodeId>, ModelError> {
        Ok(match OPERATIONS[self.option].1 {
            Operation::Nothing => None,
            Operation::Skip => Some(x),
            Operation::Conv { kernel } => {
                let channels = b.channels(x);
                Some(b.relu_conv_norm(name, x, channels, kernel, stride, weights)?)
            }
            Operation::AvgPool => {
                let pool = Pool { kernel: 3, stride, padding: 1 };
                Some(b.graph.add(name, Op::AvgPool(pool), &[x])?)
            }
        })
    }
}

impl NasBench201 {
    /// The space for networks of `skeleton`, whose cells are those of all three stages together.
    ///
    /// # Errors
    /// When the stages cannot have the same number of cells, or the sizes make no network.
    pub fn new(skeleton: Skeleton) -> Result<Self, ModelError> {
        skeleton.validate()?;
        let fail = |message: String| Err(ModelError::Invalid(message));
        if skeleton.stem != Stem::Cifar {
            return fail(format!("{} has a stem of its own: leave out the stem", SPACE.name));
        }
        if !skeleton.cells.is_multiple_of(STAGES) {
            let cells = skeleton.cells;
            return fail(format!(
                "{} has {STAGES} stages of equal depth, which {cells} cells do not make",
                SPACE.name
            ));
        }
        Ok(Self { skeleton })
    }

    /// What the classifier reads.
    fn backbone(
        &self,
        b: &mut Builder,
        realisation: &mut dyn Realisation,
        choices: &Choices,
        images: NodeId,
    ) -> Result<NodeId, ModelError> {
        let Skeleton { cells, mut channels, .. } = self.skeleton;
        let nodes: Vec<Vec<OnEdge>> = (0..NODES)
            .map(|node| {
                let on = |input: usize| {
                    let kept = choices.0[edge(node, input)].iter();
                    kept.map(move |&option| OnEdge { input, option })
                };
                (0..=node).flat_map(on).collect()
            })
            .collect();
        let mut x = b.owned(Owner::Stem { stage: 0 }, |b, name| {
            let same = Conv2d { padding: [1; 2], ..Conv2d::default() };
            b.conv_norm(name, "", images, channels, 3, same, Weights::Own)
        })?;
        for index in 0..cells {
            if index > 0 && index.is_multiple_of(cells / STAGES) {
                channels *= 2;
                let owner = Owner::Input { cell: index, input: 0 };
                x = b.owned(owner, |b, name| b.residual_reduction(name, x, channels))?;
            }
            let site = CellSite { index, kind: CellKind::Normal, channels };
            let plan = CellPlan { nodes: &nodes, output: &[NODES] };
            realisation.enter(b, site)?;
            let states = states(b, realisation, site, &[x], &plan)?;
            x = states[NODES];
            b.outputs.push(x);
        }
        Ok(b.owned(Owner::Classifier, |b, name| {
            let x = b.batch_norm(&format!("{name}/bn"), x)?;
            b.relu(x)
        })?)
    }
}

/// Position of the edge from state `input` to node `node`, counted from 0 without the input.
fn edge(node: usize, input: usize) -> usize {
    node * (node + 1) / 2 + input
}

/// The ways from the input to the output, each as its edges.
fn ways() -> Vec<Vec<usize>> {
    let mut ways = vec![(0, Vec::new())];
    let mut whole = Vec::new();
    while let Some((state, edges)) = ways.pop() {
        if state == NODES {
            whole.push(edges);
            continue;
        }
        ways.extend(
            (state..NODES).map(|node| (node + 1, [&edges[..], &[edge(node, state)]].concat())),
        );
    }
    whole
}

/// The operations on every edge that a text such as
/// `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|` names.
fn read(text: &str) -> Result<Choices, ModelError> {
    let invalid = |why: String| ModelError::Invalid(format!("{}: {text:?}: {why}", SPACE.name));
    let nodes: Vec<&str> = text.split('+').collect();
    if nodes.len() != NODES {
        return Err(invalid(format!("{} nodes, expected {NODES}", nodes.len())));
    }
    let mut choices = Choices(vec![Vec::new(); EDGES]);
    for (node, operations) in nodes.into_iter().enumerate() {
        let inner = operations.strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
        let inner = inner.ok_or_else(|| invalid(format!("node {node} is not between |")))?;
        for operation in inner.split('|') {
            let wrong = || invalid(format!("{operation:?} is not OPERATION~NODE"));
            let (name, input) = operation.split_once('~').ok_or_else(wrong)?;
            let input: usize = input.parse().map_err(|_| wrong())?;
            let option = OPERATIONS.iter().position(|(known, _)| *known == name);
            let option = option.ok_or_else(|| {
                let known = OPERATIONS.map(|(name, _)| name).join(", ");
                invalid(format!("unknown operation {name:?}; known are {known}"))
            })?;
            if input > node {
                return Err(invalid(format!("{operation:?} reads a node that is not before it")));
            }
            let kept = &mut choices.0[edge(node, input)];
            if kept.contains(&option) {
                return Err(invalid(format!("{operation:?} is there twice")));
            }
            kept.push(option);
            kept.sort_unstable();
        }
    }
    match choices.0.iter().position(Vec::is_empty) {
        Some(edge) => Err(invalid(format!("edge {edge} has no operation"))),
        None => Ok(choices),
    }
}

/// An edge has one of the operations.
const DECISIONS: [Decision; EDGES] = [Decision { options: OPERATIONS.len(), keep: 1 }; EDGES];

fn parse(text: &str) -> Result<Choices, ModelError> {
    let choices = read(text)?;
    choices.check(&DECISIONS)?;
    Ok(choices)
}

fn write(choices: &Choices) -> String {
    let mut text = String::new();
    for node in 0..NODES {
        text += if node == 0 { "|" } else { "+|" };
        for input in 0..=node {
            for &option in &choices.0[edge(node, input)] {
                write!(text, "{}~{input}|", OPERATIONS[option].0).expect("a string takes all");
            }
        }
    }
    text
}

impl Space for NasBench201 {
    fn name(&self) -> &'static str {
        SPACE.name
    }

    fn decisions(&self) -> &[Decision] {
        &DECISIONS
    }

    fn option(&self, candidate: Candidate) -> (usize, usize) {
        let option = OPERATIONS.iter().position(|(name, _)| *name == candidate.operation);
        (edge(candidate.node - 1, candidate.input), option.expect("an operation of the space"))
    }

    fn terms(&self, node: usize) -> usize {
        node
    }

    /// As the authors' code tells cells apart (`to_unique_str` of AutoDL-Projects): a skip is what
    /// it reads, the order of terms does not matter, and what reads nothing gives nothing.
    fn key(&self, choices: &Choices) -> String {
        const NOTHING: &str = "#";
        let mut states = vec!["0".to_owned()];
        for node in 0..NODES {
            let mut terms = Vec::new();
            for (input, state) in states.iter().enumerate() {
                for &option in &choices.0[edge(node, input)] {
                    terms.push(match OPERATIONS[option] {
                        (_, Operation::Nothing) => NOTHING.to_owned(),
                        _ if state == NOTHING => NOTHING.to_owned(),
                        (_, Operation::Skip) => state.clone(),
                        (name, Operation::Conv { .. } | Operation::AvgPool) => {
                            format!("({state})@{name}")
                        }
                    });
                }
            }
            terms.sort_unstable();
            states.push(terms.join("+"));
        }
        states.swap_remove(NODES)
    }

    fn text(&self, choices: &Choices) -> String {
        write(choices)
    }

    fn parse(&self, text: &str) -> Result<Choices, ModelError> {
        parse(text)
    }

    /// Operations on edges that lie on a way from the input to the output; how many of each there
    /// are; for every sequence of operations but skips, how many ways there are along it; and
    /// whether there is one.
    fn features(&self) -> Features {
        let mut f = Features::of(self.decisions());
        let operations = 1..OPERATIONS.len();
        let passes: Vec<Term> = (0..EDGES)
            .map(|edge| {
                let nothing = f.option(edge, 0);
                f.not(nothing)
            })
            .collect();
        // Whether a way leads from the input to a state, and from a state to the output.
        let mut reached = vec![f.constant(1.0)];
        for node in 0..NODES - 1 {
            let ways: Vec<Term> =
                (0..=node).map(|i| f.product(&[reached[i], passes[edge(node, i)]])).collect();
            let any = f.any(&ways);
            reached.push(any);
        }
        let mut used = vec![f.constant(1.0)];
        for input in (1..NODES).rev() {
            let ways: Vec<Term> = (input..NODES)
                .map(|node| f.product(&[used[NODES - 1 - node], passes[edge(node, input)]]))
                .collect();
            let any = f.any(&ways);
            used.push(any);
        }
        let mut live = vec![Vec::new(); OPERATIONS.len()];
        for node in 0..NODES {
            for (input, &reached) in reached.iter().enumerate().take(node + 1) {
                for option in operations.clone() {
                    let kept = f.option(edge(node, input), option);
                    live[option].push(f.product(&[kept, reached, used[NODES - 1 - node]]));
                }
            }
        }
        let counts = operations.clone().map(|option| f.sum(&live[option])).collect();
        let mut sequences: BTreeMap<Vec<usize>, Vec<Term>> = BTreeMap::new();
        for way in ways() {
            let mut walks = vec![(Vec::new(), Vec::new())];
            for edge in way {
                walks = walks
                    .into_iter()
                    .flat_map(|(sequence, terms): (Vec<usize>, Vec<Term>)| {
                        let f = &f;
                        operations.clone().map(move |option| {
                            let is_skip = OPERATIONS[option].1 == Operation::Skip;
                            let next: &[usize] = if is_skip { &[] } else { &[option] };
                            ([&sequence, next].concat(), {
                                [&terms[..], &[f.option(edge, option)]].concat()
                            })
                        })
                    })
                    .collect();
            }
            for (sequence, terms) in walks {
                let along = f.product(&terms);
                sequences.entry(sequence).or_default().push(along);
            }
        }
        let along = sequences.values().map(|ways| f.sum(ways)).collect();
        let present = sequences.values().map(|ways| f.any(ways)).collect();
        f.group(live.concat());
        f.group(counts);
        f.group(along);
        f.group(present);
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
            EDGES,
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
    use crate::discrete::Drops;
    use crate::space::features::tests as features;
    use crate::space::tests::{candidates_of_the_widest, check_parameters_of_the_widest};
    use std::collections::HashSet;

    fn published() -> NasBench201 {
        NasBench201::new(SPACE.published).unwrap()
    }

    /// Every architecture.
    fn all() -> impl Iterator<Item = Choices> {
        let base = OPERATIONS.len();
        (0..base.pow(EDGES as u32)).map(move |number| {
            Choices((0..EDGES).map(|edge| vec![number / base.pow(edge as u32) % base]).collect())
        })
    }

    /// Params and multiply-adds of a network with everything in it that no output depends on, as
    /// publications of this space count.
    fn unpruned(space: NasBench201, choices: &Choices) -> [u64; 2] {
        let mut b = Builder::new(true);
        let [c, h, w] = space.skeleton.image;
        let images = b.graph.input("images", [1, c, h, w]).unwrap();
        let mut drops = Drops::new(None, 1);
        let x = space.backbone(&mut b, &mut drops, choices, images).unwrap();
        drops.classifier(&mut b, x, space.skeleton.classes).unwrap();
        let cost = count(&b.graph);
        [cost.params, cost.madds]
    }

    #[test]
    fn the_cells_are_as_many_as_published() {
        let keys: HashSet<String> = all().map(|choices| published().key(&choices)).collect();
        assert_eq!((all().count(), keys.len()), (15_625, 6_466));
        // `unique_str` of rows 0 and 1 of the table.
        for (text, key) in [
            (
                "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+\
                 |nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
                "(0)@avg_pool_3x3+(0)@avg_pool_3x3+(0)@nor_conv_1x1+(0)@nor_conv_1x1",
            ),
            (
                "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+\
                 |skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
                "((0)@nor_conv_3x3)@avg_pool_3x3+(0)@nor_conv_3x3+\
                 ((0)@nor_conv_3x3)@nor_conv_3x3+0",
            ),
        ] {
            let choices = published().parse(text).unwrap();
            assert_eq!(
                (published().key(&choices).as_str(), published().text(&choices)),
                (key, text.to_owned())
            );
        }
    }

    #[test]
    fn features_are_alike_for_cells_that_compute_alike() {
        let space = published();
        // Ways can have edges in common: whether there is any is not linear.
        features::check(&space, 30 + 24 + 4 + 40);
        let groups: Vec<usize> = space.features().groups().collect();
        // 4 + 4² + 4² + 4³ walks along the four ways; without skips 1 + 3 + 9 + 27 sequences.
        assert_eq!(groups, [30, 24, 4, 40, 40]);
        let features = |text: &str| features::features(&space, &space.parse(text).unwrap());
        // The first edge leads to nothing; the second is the first one's mirror.
        let a = features("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|");
        let b = features("|none~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|");
        assert_eq!(a[30..], b[30..]);
        assert_eq!(a[30..54].iter().sum::<f64>(), 1.0, "one edge is used");
        // Through one node or the other.
        let a = features("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|");
        let b = features("|none~0|+|skip_connect~0|none~1|+|none~0|none~1|nor_conv_3x3~2|");
        assert_eq!(a[58..], b[58..]);
        assert_ne!(a[30..54], b[30..54]);
    }

    #[test]
    fn params_and_multiply_adds_are_the_published_ones() {
        // Rows of the table; its multiply-adds also count 3 for every value of a ReLU-Conv-BN (2
        // for BatchNorm and 1 for the ReLU), 9 for every value of an average pool, and 160,832 for
        // the like outside of cells.
        let rows = [
            (
                "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+\
                 |nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
                129_306,
                17_958_592,
            ),
            (
                "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+\
                 |skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
                802_426,
                116_692_670,
            ),
        ];
        for (text, params, flops) in rows {
            let choices = published().parse(text).unwrap();
            let [counted, madds] = unpruned(published(), &choices);
            let values = 5 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8);
            let of = |name| text.matches(name).count() as u64;
            let beside = 3 * of("conv") * values + 9 * of("pool") * values + 160_832;
            assert_eq!(counted, params);
            assert!((madds + beside).abs_diff(flops) <= 2, "{} {flops}", madds + beside);
        }
    }

    #[test]
    fn counts_are_linear_in_the_operations_of_all_architectures() {
        let space =
            NasBench201::new(Skeleton { cells: 3, channels: 2, ..SPACE.published }).unwrap();
        let nothing = unpruned(space, &Choices(vec![vec![0]; EDGES]));
        let of_one: Vec<[u64; 2]> = (0..OPERATIONS.len())
            .map(|option| {
                let mut choices = Choices(vec![vec![0]; EDGES]);
                choices.0[2] = vec![option];
                let counted = unpruned(space, &choices);
                [counted[0] - nothing[0], counted[1] - nothing[1]]
            })
            .collect();
        assert!(of_one[1] == [0, 0] && of_one[4] == [0, 0] && of_one[3][1] == 9 * of_one[2][1]);
        for choices in all() {
            let sum = |i: usize| {
                nothing[i] + choices.0.iter().map(|kept| of_one[kept[0]][i]).sum::<u64>()
            };
            assert_eq!(unpruned(space, &choices), [sum(0), sum(1)], "{choices:?}");
            // What is delivered has nothing that no output depends on.
            let delivered = count(&space.build(&choices, 1, None).unwrap().graph);
            assert!(delivered.params <= sum(0) && delivered.madds <= sum(1));
        }
    }

    #[test]
    fn candidates_of_the_widest_network_stand_for_options() {
        let space =
            NasBench201::new(Skeleton { cells: 3, channels: 2, ..SPACE.published }).unwrap();
        let options = candidates_of_the_widest(&space);
        // A skip is its input, and nothing is nothing.
        assert_eq!(options.len(), EDGES * 3);
        assert!(options.iter().all(|(_, option, name)| OPERATIONS[*option].0 == *name));
    }

    #[test]
    fn the_widest_network_has_the_parameters_of_every_other() {
        let space =
            NasBench201::new(Skeleton { cells: 3, channels: 2, ..SPACE.published }).unwrap();
        check_parameters_of_the_widest(&space);
    }

    #[test]
    fn texts_that_are_none_are_refused() {
        let right = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|";
        let choices = published().parse(right).unwrap();
        assert_eq!(published().text(&choices), right);
        for (from, to, why) in [
            ("+|none~0|none~1|avg_pool_3x3~2|", "", "2 nodes, expected 3"),
            ("avg_pool_3x3", "max_pool_3x3", "unknown operation \"max_pool_3x3\""),
            ("skip_connect~1", "skip_connect~2", "not before it"),
            ("skip_connect~1", "skip_connect", "not OPERATION~NODE"),
            ("skip_connect~1", "none~0", "there twice"),
            ("|skip_connect~1", "", "edge 2 has no operation"),
            ("skip_connect~1", "skip_connect~1|none~1", "expected 1 of 5"),
            ("|nor_conv_3x3~0|", "nor_conv_3x3~0", "not between |"),
        ] {
            let error = published().parse(&right.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(NasBench201::new(Skeleton { cells: 14, ..SPACE.published }).is_err());
        assert!(
            NasBench201::new(Skeleton {
                stem: Stem::Imagenet,
                image: [3, 64, 64],
                ..SPACE.published
            })
            .is_err()
        );
    }
}
