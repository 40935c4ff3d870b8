use adwp_engine::{Candidate, Graph, Init, NodeId, Op, Owner};
use serde::{Deserialize, Serialize};

use crate::blocks::{Builder, Dropped};
use crate::cells::Realisation;
use crate::discrete::Drops;
use crate::generator::Generator;
use crate::mixture::{Generated, Mixed, Mixture};
use crate::{CellSite, Choices, Decision, ModelError, Skeleton};

/// What a generating block reads of the architecture.
///
/// Section 3.2.1 has it in three ways: "the probabilities of all the operations in the cell";
/// equation 4, which normalises over the candidates of a node; and figure 2, in which a block gets
/// the encoding of the whole cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorInput {
    /// One number, normalised over the node's candidates: the same probability that weighs the
    /// operation (equation 4).
    #[default]
    Node,
    /// One number, normalised over all candidates of the cell (the sentence in section 3.2.1).
    Cell,
    /// What [`Self::Node`] reads of every candidate of the cell (figure 2): the weights of one
    /// candidate then depend on what else is chosen.
    Vector,
}

/// How a HyperNetwork is built.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HypernetworkOptions {
    /// Its generating blocks.
    pub generator: Generator,
    /// What they read.
    pub input: GeneratorInput,
    /// What can be dropped in training.
    pub dropped: Dropped,
}

/// The HyperNetwork (section 3.2.1) of a [`Space`](crate::Space): every convolution of a candidate
/// operation has its own generating block.
/// [`Space::hypernetwork`](crate::Space::hypernetwork) builds it.
///
/// Its architecture parameters are tensors, each of one or more decisions of the space, a row each,
/// which together are all of them in their order.
#[derive(Clone, Debug)]
pub struct Hypernetwork {
    /// Its graph, for one batch size.
    pub graph: Graph,
    /// Input `[batch, channels, height, width]`.
    pub images: NodeId,
    /// Input `[batch]`: class indices.
    pub labels: NodeId,
    /// Output `[batch, classes]`.
    pub logits: NodeId,
    /// Mean cross-entropy.
    pub loss: NodeId,
    /// What α lowers: the loss, and what [`Self::limit`] adds to it.
    pub objective: NodeId,
    /// The inputs that limits read, with their constant values.
    pub constants: Vec<(NodeId, Vec<f32>)>,
    /// Inputs `[batch]`: a mask for every operation that can be dropped.
    pub masks: Vec<NodeId>,
    /// Architecture parameters, `[decisions, options]`: one tensor for each cell, or, where all
    /// cells are alike, one for all of them.
    pub alphas: Vec<NodeId>,
    /// For each of them the softmax of each decision's options.
    pub probabilities: Vec<NodeId>,
}

/// α of an option that is not kept: its softmax is 0 in single precision, next to options of α 0.
const DROPPED: f32 = -1e3;

impl Hypernetwork {
    /// The HyperNetwork of a space for a batch size: of its `decisions` and sizes, with the decision
    /// and the option that a candidate belongs to. A tensor of α has `rows` decisions; `backbone`
    /// gives what the classifier reads.
    pub(crate) fn of(
        decisions: &[Decision],
        skeleton: Skeleton,
        option: impl Fn(Candidate) -> (usize, usize),
        rows: usize,
        batch: usize,
        options: HypernetworkOptions,
        backbone: impl FnOnce(&mut Builder, &mut dyn Realisation, NodeId) -> Result<NodeId, ModelError>,
    ) -> Result<Self, ModelError> {
        let Skeleton { image: [c, h, w], classes, .. } = skeleton;
        let tensors = decisions.len() / rows;
        let mut b = Builder::new(false);
        let images = b.graph.input("images", [batch, c, h, w])?;
        let labels = b.graph.input("labels", [batch])?;
        let (mut alphas, mut probabilities) = (Vec::new(), Vec::new());
        let mut entered: Option<Mixed> = None;
        let place = |candidate: Candidate| {
            let (decision, option) = option(candidate);
            decision % rows * decisions[decision].options + option
        };
        let mut mixture =
            Mixture::new(options.dropped, place, |b: &mut Builder, site: CellSite| {
                if let (true, Some(mixed)) = (alphas.len() == tensors, entered) {
                    return Ok(mixed);
                }
                let of_cell = Owner::Cell { cell: site.index }.to_string();
                let cell = if tensors == 1 { "cells".to_owned() } else { of_cell };
                let (g, width) = (&mut b.graph, decisions[alphas.len() * rows].options);
                let flat = [1, rows * width];
                let alpha =
                    g.parameter(format!("{cell}/alpha"), [rows, width], Init::Normal(1.0))?;
                let over_node = g.add(format!("{cell}/probabilities"), Op::Softmax, &[alpha])?;
                let encoding = match options.input {
                    GeneratorInput::Node => over_node,
                    GeneratorInput::Cell => {
                        let flat = g.reshape(format!("{cell}/alpha_flat"), alpha, flat)?;
                        g.add(format!("{cell}/probabilities_over_cell"), Op::Softmax, &[flat])?
                    }
                    GeneratorInput::Vector => {
                        g.reshape(format!("{cell}/probabilities_flat"), over_node, flat)?
                    }
                };
                alphas.push(alpha);
                probabilities.push(over_node);
                let is_whole = options.input == GeneratorInput::Vector;
                let generated = Generated { encoding, is_whole, generator: options.generator };
                let mixed = Mixed { probabilities: over_node, generated: Some(generated) };
                entered = Some(mixed);
                Ok(mixed)
            });
        let last = backbone(&mut b, &mut mixture, images)?;
        let masks = mixture.masks;
        let logits = Drops::new(None, batch).classifier(&mut b, last, classes)?;
        let loss = b.loss("loss", logits, labels, 0.0)?;
        Ok(Self {
            graph: b.graph,
            images,
            labels,
            logits,
            loss,
            objective: loss,
            constants: Vec::new(),
            masks,
            alphas,
            probabilities,
        })
    }

    /// For each α the values of an architecture: those whose softmax is evenly divided among the
    /// options that a decision keeps.
    ///
    /// # Panics
    /// When the architecture has fewer decisions than the space.
    pub fn discrete_alphas(&self, choices: &Choices) -> Vec<Vec<f32>> {
        let mut rest = &choices.0[..];
        let values = self.alphas.iter().map(|alpha| {
            let [rows, width] = [0, 1].map(|axis| self.graph[*alpha].shape[axis]);
            let (decisions, later) = rest.split_at(rows);
            rest = later;
            let value =
                |kept: &Vec<usize>, option| if kept.contains(&option) { 0.0 } else { DROPPED };
            decisions.iter().flat_map(|kept| (0..width).map(move |i| value(kept, i))).collect()
        });
        values.collect()
    }

    /// The parameters that are not α and on which the loss depends: generating blocks, stem,
    /// preprocessing, classifier.
    pub fn weights(&self) -> Vec<NodeId> {
        let live = self.graph.ancestors(&[self.loss]);
        self.graph.parameters().filter(|id| live[id.index()] && !self.alphas.contains(id)).collect()
    }

    /// The α on which the loss depends: all, unless no candidate of the next two cells reads a
    /// cell.
    pub fn live_alphas(&self) -> Vec<NodeId> {
        let live = self.graph.ancestors(&[self.loss]);
        self.alphas.iter().copied().filter(|id| live[id.index()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Discrete, Intensive, IntensiveSpace, NODES, NasBench201, NasBenchMacro, Space, Stem,
    };
    use adwp_engine::{Device, Executor, Program, Shape, Statistics, Variables};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeMap;

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 3, channels: 2, classes: 2, image: [1, 8, 8] };
    const KEEP: usize = 2;

    fn values(executor: &Executor, id: NodeId) -> Vec<f32> {
        executor.value(id).unwrap().to_vec()
    }

    /// What was computed for images of noise.
    fn computed(
        graph: &Graph,
        images: NodeId,
        outputs: &[NodeId],
        variables: &mut Variables,
    ) -> Executor {
        let program = Program::inference(graph, outputs, Statistics::Batch).unwrap();
        let mut executor = Executor::new(program, &Device::cpu(1).unwrap()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let noise = Init::Normal(1.0).draw(&Shape::clone(&graph[images].shape), &mut rng);
        executor.run(variables, &[(images, &noise)]).unwrap();
        executor
    }

    /// Logits of a HyperNetwork for the α of an architecture, and all weights by the names that
    /// they have in networks of one architecture.
    fn predicted(
        space: &dyn Space,
        input: GeneratorInput,
        choices: &Choices,
    ) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
        let options = HypernetworkOptions { input, ..HypernetworkOptions::default() };
        let net = space.hypernetwork(&space.widest(), 4, options).unwrap();
        let mut variables = Variables::new();
        variables.initialize(&net.graph, &mut ChaCha8Rng::seed_from_u64(8)).unwrap();
        for (id, values) in net.alphas.iter().zip(net.discrete_alphas(choices)) {
            variables.get_mut(&net.graph[*id].name).unwrap().copy_from_slice(&values);
        }
        let is_weight =
            |node: &adwp_engine::Node| node.name.ends_with("/weight") && node.op == Op::Reshape;
        let nodes = net.graph.nodes().filter(|(_, node)| is_weight(node));
        let generated: Vec<NodeId> = nodes.map(|(id, _)| id).collect();
        assert!(!generated.is_empty());
        let outputs = [&[net.logits], &generated[..]].concat();
        let executor = computed(&net.graph, net.images, &outputs, &mut variables);
        let own = variables.iter().map(|own| (own.name.clone(), own.data().unwrap().to_vec()));
        let name = |id: NodeId| net.graph[id].name.clone();
        let generated = generated.iter().map(|&id| (name(id), values(&executor, id)));
        (values(&executor, net.logits), own.chain(generated).collect())
    }

    fn named() -> [(Box<dyn Space>, Vec<&'static str>); 2] {
        let skeleton = Skeleton { cells: 6, channels: 4, image: [3, 8, 8], ..SKELETON };
        let cells = vec![
            "|nor_conv_3x3~0|+|none~0|skip_connect~1|+\
             |avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|",
            "|skip_connect~0|+|skip_connect~0|avg_pool_3x3~1|+\
             |nor_conv_1x1~0|none~1|nor_conv_3x3~2|",
            // The last node of a cell gets nothing that the image decides.
            "|none~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|none~0|skip_connect~1|none~2|",
            "|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+\
             |skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|",
        ];
        // Two layers a stage: identities at the start of some, where they are convolutions.
        let layers = vec!["012012", "000000", "210120", "102001"];
        [
            (Box::new(NasBench201::new(skeleton).unwrap()), cells),
            (Box::new(NasBenchMacro::new(skeleton).unwrap()), layers),
        ]
    }

    #[test]
    fn the_mixture_at_an_architecture_is_its_network_with_the_weights_predicted() {
        let every = [GeneratorInput::Node, GeneratorInput::Cell, GeneratorInput::Vector];
        for (input, (space, texts)) in
            every.into_iter().flat_map(|input| named().map(|space| (input, space)))
        {
            let mut first = Vec::new();
            for text in texts {
                let choices = space.parse(text).unwrap();
                let (logits, weights) = predicted(&*space, input, &choices);
                let Discrete { graph, images, logits: of_network, .. } =
                    space.build(&choices, 4, None).unwrap();
                // Scales and shifts start where BatchNorms of search networks stay.
                let mut variables = Variables::new();
                variables.initialize(&graph, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
                for id in graph.parameters() {
                    let name = &graph[id].name;
                    match weights.get(name) {
                        Some(values) => variables.get_mut(name).unwrap().copy_from_slice(values),
                        None => assert!(name.ends_with("scale") || name.ends_with("shift")),
                    }
                }
                let executor = computed(&graph, images, &[of_network], &mut variables);
                for (a, b) in logits.iter().zip(values(&executor, of_network)) {
                    assert!((a - b).abs() < 1e-4, "{text} {input:?}: {a} {b}");
                }
                first.push(logits[0]);
            }
            first.sort_by(f32::total_cmp);
            assert!(first.windows(2).all(|pair| pair[1] - pair[0] > 1e-3), "{first:?}");
        }
    }

    #[test]
    fn without_the_options_of_probability_zero_logits_and_gradients_are_the_same() {
        let candidates = IntensiveSpace::random(5, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let intensive = Intensive::new(candidates, SKELETON, KEEP).unwrap();
        let [cells, layers] = named().map(|(space, _)| space);
        for space in [Box::new(intensive), cells, layers] {
            let options =
                HypernetworkOptions { input: GeneratorInput::Vector, ..Default::default() };
            let net = |kept: &Choices| space.hypernetwork(kept, 4, options).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(6);
            let choices = space.sample(&mut rng);
            let (whole, part) = (net(&space.widest()), net(&choices));
            let mut variables = Variables::new();
            variables.initialize(&whole.graph, &mut rng).unwrap();
            for (id, values) in whole.alphas.iter().zip(whole.discrete_alphas(&choices)) {
                variables.get_mut(&whole.graph[*id].name).unwrap().copy_from_slice(&values);
            }
            let images =
                Init::Normal(1.0).draw(&Shape::clone(&whole.graph[whole.images].shape), &mut rng);
            let mut computed = |net: &Hypernetwork| {
                let weights = net.weights();
                let program =
                    Program::training(&net.graph, net.loss, &[net.logits], &weights).unwrap();
                let mut executor = Executor::new(program, &Device::cpu(1).unwrap()).unwrap();
                let labels = [0.0, 1.0, 1.0, 0.0];
                executor
                    .run(&mut variables, &[(net.images, &images[..]), (net.labels, &labels)])
                    .unwrap();
                let gradients: BTreeMap<String, Vec<f32>> = weights
                    .iter()
                    .map(|&id| {
                        (net.graph[id].name.clone(), executor.gradient(id).unwrap().to_vec())
                    })
                    .collect();
                (values(&executor, net.logits), gradients)
            };
            let (logits, all) = computed(&whole);
            let (of_part, some) = computed(&part);
            let close = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + a.abs()))
            };
            assert!(close(&logits, &of_part), "{}: {logits:?} {of_part:?}", space.name());
            assert!(some.len() < all.len());
            for (name, gradient) in &all {
                match some.get(name) {
                    Some(of_part) => assert!(close(gradient, of_part), "{name}"),
                    None => assert!(gradient.iter().all(|&value| value == 0.0), "{name}"),
                }
            }
        }
    }

    #[test]
    fn weights_depend_on_other_edges_where_blocks_read_the_whole_cell() {
        let [(space, _), _] = named();
        let weights = |input, last: &str| {
            let text = format!("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|{last}~2|");
            let name = "cell0/node1/nor_conv_3x3@0/conv/weight";
            predicted(&*space, input, &space.parse(&text).unwrap()).1.remove(name).unwrap()
        };
        let moved = |input| weights(input, "nor_conv_1x1") != weights(input, "skip_connect");
        assert!(!moved(GeneratorInput::Node));
        assert!(moved(GeneratorInput::Vector));
    }

    #[test]
    fn all_cells_that_are_alike_have_one_alpha() {
        let shapes = |space: &dyn Space| -> Vec<Vec<usize>> {
            let net =
                space.hypernetwork(&space.widest(), 1, HypernetworkOptions::default()).unwrap();
            assert_eq!(net.alphas.len(), net.probabilities.len());
            assert_eq!(net.live_alphas(), net.alphas);
            net.alphas.iter().map(|alpha| net.graph[*alpha].shape.to_vec()).collect()
        };
        let [(cells, _), (layers, _)] = named();
        assert_eq!(shapes(&*cells), [[6, 5]]);
        assert_eq!(shapes(&*layers), [[1, 3]; 6]);
        let space = IntensiveSpace::random(5, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        assert_eq!(shapes(&Intensive::new(space, SKELETON, KEEP).unwrap()), [[NODES, 5]; 3]);
    }

    #[test]
    fn the_softmax_of_an_architecture_is_divided_among_the_options_kept() {
        let space = IntensiveSpace::random(6, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let space = Intensive::new(space, SKELETON, KEEP).unwrap();
        let net = space.hypernetwork(&space.widest(), 1, HypernetworkOptions::default()).unwrap();
        let choices = space.sample(&mut ChaCha8Rng::seed_from_u64(4));
        let alphas = net.discrete_alphas(&choices);
        assert!(alphas.len() == 3 && alphas.iter().all(|cell| cell.len() == NODES * 6));
        for (node, kept) in alphas.concat().chunks_exact(6).zip(&choices.0) {
            let exp: Vec<f32> = node.iter().map(|alpha| alpha.exp()).collect();
            let softmax: Vec<f32> = exp.iter().map(|e| e / exp.iter().sum::<f32>()).collect();
            let expected: Vec<f32> =
                (0..6).map(|option| if kept.contains(&option) { 0.5 } else { 0.0 }).collect();
            assert_eq!(softmax, expected);
        }
    }
}
