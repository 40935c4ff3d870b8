use std::collections::{BTreeSet, HashMap};

use adwp_engine::{Candidate, Graph, NodeId, Owner, Shape};
use adwp_models::{CellWiring, Discrete, ModelError};

/// What a graph network sees of an architecture: for each cell its states and operations, and the
/// convolutions whose weights it decodes.
pub(crate) struct Topology {
    pub(crate) cells: Vec<Cell>,
    pub(crate) weights: Vec<Generated>,
}

/// The nodes of a cell: inputs, operations, and the states that operations are summed to.
pub(crate) struct Cell {
    /// For each node what it is, as a position in [`Vocabulary::kinds`].
    pub(crate) kinds: Vec<usize>,
    /// Nodes that each node reads.
    pub(crate) before: Vec<Vec<usize>>,
    /// Nodes that read each node.
    pub(crate) after: Vec<Vec<usize>>,
    /// Nodes that only read those of earlier levels.
    pub(crate) levels: Vec<Vec<usize>>,
}

/// A weight that is decoded.
pub(crate) struct Generated {
    pub(crate) parameter: NodeId,
    pub(crate) name: String,
    pub(crate) shape: [usize; 4],
    pub(crate) cell: usize,
    /// The node whose embedding it is decoded from.
    pub(crate) node: usize,
    /// The branch of the decoder, as a position in [`Vocabulary::slots`].
    pub(crate) slot: usize,
}

/// Everything that the architectures of a space are made of.
pub(crate) struct Vocabulary {
    /// Names of what a node can be; the first two are inputs and sums.
    kinds: Vec<String>,
    /// For each kind of convolution its name and the largest shape of its weight.
    pub(crate) slots: Vec<(String, [usize; 4])>,
}

const INPUT: &str = "input";
const SUM: &str = "sum";

impl Vocabulary {
    /// That of the network which has every candidate.
    pub(crate) fn of(widest: &Discrete) -> Result<Self, ModelError> {
        let operations = widest.cells.iter().flat_map(|cell| cell.nodes.iter().flatten());
        let operations: BTreeSet<&str> = operations.map(|(_, operation)| *operation).collect();
        let kinds = [INPUT, SUM].into_iter().chain(operations).map(str::to_owned).collect();
        let mut slots: Vec<(String, [usize; 4])> = Vec::new();
        for convolution in convolutions(&widest.graph) {
            let Convolution { id, .. } = convolution;
            let name = convolution.slot();
            let shape = dimensions(&widest.graph, id);
            match slots.iter_mut().find(|(known, _)| *known == name) {
                Some((_, largest)) => {
                    largest.iter_mut().zip(shape).for_each(|(most, size)| *most = size.max(*most));
                }
                None => slots.push((name, shape)),
            }
        }
        if slots.is_empty() {
            let message = "no architecture of the space has a convolution to predict weights for";
            return Err(ModelError::Invalid(message.into()));
        }
        Ok(Self { kinds, slots })
    }

    /// How many kinds of nodes there are.
    pub(crate) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// What a network is to the graph network.
    ///
    /// # Panics
    /// When it is not of the space.
    pub(crate) fn topology(&self, network: &Discrete) -> Topology {
        let mut nodes = HashMap::new();
        let cells = network.cells.iter().enumerate();
        let cells = cells.map(|(index, wiring)| self.cell(index, wiring, &mut nodes)).collect();
        let weights = convolutions(&network.graph).into_iter().map(|convolution| {
            let name = convolution.slot();
            let known = self.slots.iter().position(|(known, _)| *known == name);
            let (cell, node) = match convolution.of {
                // The inputs of a cell are its first nodes.
                Part::Input { cell, input } => (cell, input),
                Part::Candidate(Candidate { cell, node, input, operation, .. }) => {
                    (cell, nodes[&(cell, node, input, operation)])
                }
            };
            Generated {
                parameter: convolution.id,
                name: network.graph[convolution.id].name.clone(),
                shape: dimensions(&network.graph, convolution.id),
                cell,
                node,
                slot: known.expect("a convolution of the space"),
            }
        });
        Topology { cells, weights: weights.collect() }
    }

    /// The first convolution of `other` that this one lacks, or has smaller weights of.
    pub(crate) fn lacks<'o>(&self, other: &'o Self) -> Option<&'o str> {
        let has = |(name, sizes): &(String, [usize; 4])| {
            let own = self.slots.iter().find(|(slot, _)| slot == name);
            own.is_some_and(|(_, most)| sizes.iter().zip(most).all(|(size, most)| size <= most))
        };
        other.slots.iter().find(|slot| !has(slot)).map(|(name, _)| name.as_str())
    }

    fn cell(
        &self,
        index: usize,
        wiring: &CellWiring,
        nodes: &mut HashMap<(usize, usize, usize, &'static str), usize>,
    ) -> Cell {
        let kind = |name: &str| {
            let known = self.kinds.iter().position(|kind| kind == name);
            known.expect("an operation of the space")
        };
        let mut kinds = vec![kind(INPUT); wiring.inputs];
        let mut before = vec![Vec::new(); wiring.inputs];
        let mut states: Vec<usize> = (0..wiring.inputs).collect();
        for terms in &wiring.nodes {
            let mut sum = Vec::with_capacity(terms.len());
            for &(input, operation) in terms {
                nodes.insert((index, states.len(), input, operation), kinds.len());
                sum.push(kinds.len());
                kinds.push(kind(operation));
                before.push(vec![states[input]]);
            }
            states.push(kinds.len());
            kinds.push(kind(SUM));
            before.push(sum);
        }
        let mut after = vec![Vec::new(); kinds.len()];
        let mut level = vec![0; kinds.len()];
        for (node, reads) in before.iter().enumerate() {
            for &read in reads {
                after[read].push(node);
                level[node] = level[node].max(level[read] + 1);
            }
        }
        let deepest = level.iter().copied().max().unwrap_or(0);
        let levels = (0..=deepest)
            .map(|at| (0..kinds.len()).filter(|&node| level[node] == at).collect())
            .collect();
        Cell { kinds, before, after, levels }
    }
}

/// A part of a cell that has convolutions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Candidate(Candidate),
    /// What brings an input of the cell to the size of its states.
    Input {
        cell: usize,
        input: usize,
    },
}

/// The weight of a convolution of a cell.
struct Convolution {
    of: Part,
    /// Position among those of the part.
    ordinal: usize,
    /// How many the part has.
    count: usize,
    id: NodeId,
}

impl Convolution {
    /// What it is called, whichever cell it is of.
    fn slot(&self) -> String {
        match self.of {
            Part::Candidate(Candidate { operation, .. }) => format!("{operation}/{}", self.ordinal),
            // A convolution that keeps the size is another one than the parts of a reduction.
            Part::Input { .. } => format!("{INPUT}{}/{}", self.count, self.ordinal),
        }
    }
}

/// The weights of convolutions that belong to cells, in the order of the graph.
fn convolutions(graph: &Graph) -> Vec<Convolution> {
    let mut counts: HashMap<Part, usize> = HashMap::new();
    let mut found = Vec::new();
    for id in graph.parameters().filter(|id| graph[*id].shape.len() == 4) {
        let of = match graph[id].owner {
            Owner::Candidate(candidate) => Part::Candidate(candidate),
            Owner::Input { cell, input } => Part::Input { cell, input },
            _ => continue,
        };
        let count = counts.entry(of).or_default();
        found.push(Convolution { of, ordinal: *count, count: 0, id });
        *count += 1;
    }
    found.iter_mut().for_each(|convolution| convolution.count = counts[&convolution.of]);
    found
}

fn dimensions(graph: &Graph, id: NodeId) -> [usize; 4] {
    let shape: &Shape = &graph[id].shape;
    [shape[0], shape[1], shape[2], shape[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::{Choices, NasBench201, Skeleton, Space, Stem};

    #[test]
    fn a_cell_is_its_operations_between_its_states() {
        let skeleton =
            Skeleton { stem: Stem::Cifar, cells: 3, channels: 2, classes: 2, image: [1, 8, 8] };
        let space = NasBench201::new(skeleton).unwrap();
        let build = |choices: &Choices| space.build(choices, 1, None).unwrap();
        let vocabulary = Vocabulary::of(&build(&space.widest())).unwrap();
        // Input, sum, and four operations that give something.
        assert_eq!(vocabulary.kinds(), 6);
        let slots: Vec<_> =
            vocabulary.slots.iter().map(|(name, shape)| (&name[..], *shape)).collect();
        assert_eq!(
            slots,
            [
                ("nor_conv_1x1/0", [8, 8, 1, 1]),
                ("nor_conv_3x3/0", [8, 8, 3, 3]),
                // The residual block before a stage.
                ("input3/0", [8, 4, 3, 3]),
                ("input3/1", [8, 8, 3, 3]),
                ("input3/2", [8, 4, 1, 1]),
            ]
        );
        let text =
            "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
        let topology = vocabulary.topology(&build(&space.parse(text).unwrap()));
        let cell = &topology.cells[1];
        // 0 input, 1 conv 3×3, 2 sum, 3 conv 1×1, 4 sum, 5 skip, 6 pool, 7 sum.
        assert_eq!(
            cell.before,
            [vec![], vec![0], vec![1], vec![2], vec![3], vec![0], vec![4], vec![5, 6]]
        );
        assert_eq!(cell.after[0], [1, 5]);
        assert_eq!(cell.levels, [vec![0], vec![1, 5], vec![2], vec![3], vec![4], vec![6], vec![7]]);
        let of: Vec<_> =
            topology.weights.iter().map(|w| (w.cell, w.node, w.slot, w.shape)).collect();
        assert_eq!(
            of[..6],
            [
                (0, 1, 1, [2, 2, 3, 3]),
                (0, 3, 0, [2, 2, 1, 1]),
                (1, 0, 2, [4, 2, 3, 3]),
                (1, 0, 3, [4, 4, 3, 3]),
                (1, 0, 4, [4, 2, 1, 1]),
                (1, 1, 1, [4, 4, 3, 3]),
            ]
        );
        assert_eq!(of.len(), 3 * 2 + 2 * 3);
    }
}
