//! Which parts a network has.

use std::collections::{BTreeSet, HashSet};

use adwp_models::{CellKind, Genotype, ModelError, NODES, Operation, Pair, Skeleton, Stem};

use crate::part::{Image, Part};

/// Whose a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The network's, whatever its nodes choose, unless it falls away.
    Network,
    /// A pair's.
    Pair {
        /// Its cell.
        cell: usize,
        /// Its node, from 0.
        node: usize,
        /// Its place among the node's pairs.
        place: usize,
    },
    /// Several pairs' of one cell that read the same input.
    Pairs,
}

/// Sizes within one cell.
struct Cell {
    kind: CellKind,
    /// What brings each of its inputs to its channels.
    preprocessing: [Part; 2],
    /// Its inputs at its channels.
    input: Image,
    /// Each of its nodes.
    node: Image,
}

/// Sizes throughout a network.
struct Layout {
    /// What gives the two inputs of the first cell; the second needs the first.
    stem: Vec<Part>,
    /// Every image that a cell can read, those of the stem first: cell l reads the l-th and the
    /// next.
    outputs: Vec<Image>,
    cells: Vec<Cell>,
    classifier: Part,
}

impl Layout {
    fn new(skeleton: &Skeleton) -> Result<Self, ModelError> {
        skeleton.validate()?;
        let (image, channels) = (skeleton.image, skeleton.channels);
        let [_, height, width] = image;
        let (stem, mut outputs) = match skeleton.stem {
            Stem::Cifar => {
                let output = [3 * channels, height, width];
                (vec![Part::CifarStem { image, outputs: 3 * channels }], vec![output, output])
            }
            Stem::Imagenet => {
                let first = [channels, height / 4, width / 4];
                let stem = vec![
                    Part::ImagenetStem { image, outputs: channels },
                    Part::ImagenetStemEnd { image: first },
                ];
                (stem, vec![first, [channels, height / 8, width / 8]])
            }
        };
        let mut cells = Vec::with_capacity(skeleton.cells);
        for site in skeleton.cells() {
            let [before, [_, height, width]] = [outputs[site.index], outputs[site.index + 1]];
            let project = |image| Part::Project { image, outputs: site.channels };
            let first = if before[1] == height {
                project(before)
            } else {
                Part::Reduce { image: before, outputs: site.channels }
            };
            let input = [site.channels, height, width];
            let node = match site.kind {
                CellKind::Normal => input,
                CellKind::Reduction => [site.channels, height / 2, width / 2],
            };
            cells.push(Cell {
                kind: site.kind,
                preprocessing: [first, project(outputs[site.index + 1])],
                input,
                node,
            });
            outputs.push([NODES * node[0], node[1], node[2]]);
        }
        let last = *outputs.last().expect("a network has cells");
        Ok(Self {
            stem,
            outputs,
            cells,
            classifier: Part::Classifier { image: last, classes: skeleton.classes },
        })
    }
}

impl Cell {
    fn stride(&self, input: usize) -> usize {
        if self.kind == CellKind::Reduction && input < 2 { 2 } else { 1 }
    }

    /// State `index` of the cell: its inputs, then its nodes.
    fn state(&self, index: usize) -> Image {
        if index < 2 { self.input } else { self.node }
    }

    /// What a pair adds to the cell; `None` for the identity at stride 1.
    fn pair(&self, pair: Pair) -> Option<Part> {
        let (image, stride) = (self.state(pair.input), self.stride(pair.input));
        match pair.op {
            Operation::Zero => None,
            Operation::Identity if stride == 1 => None,
            Operation::Identity => Some(Part::Reduce { image, outputs: image[0] }),
            op => Some(Part::Operation { op, image, stride }),
        }
    }

    /// The parts of the cell whose nodes sum `nodes`, without its preprocessing.
    fn parts(&self, index: usize, nodes: &[Vec<Pair>]) -> Vec<(Owner, Part)> {
        let mut parts = Vec::new();
        let mut shared = BTreeSet::new();
        // A node of nothing but an identity is the state that it reads.
        let mut states = vec![0, 1];
        for (node, pairs) in nodes.iter().enumerate() {
            for (place, pair) in pairs.iter().enumerate() {
                let Some(part) = self.pair(*pair) else { continue };
                let state = states[pair.input];
                if leads_with_relu(part) {
                    shared.insert((state, Part::Relu { image: self.state(state) }));
                }
                if let Part::Reduce { image, .. } = part {
                    shared.insert((state, Part::Crop { image }));
                }
                parts.push((Owner::Pair { cell: index, node, place }, part));
            }
            states.push(match pairs[..] {
                [only] if self.pair(only).is_none() => states[only.input],
                _ => node + 2,
            });
            if pairs.len() > 1 {
                parts.push((Owner::Network, Part::Sum { terms: pairs.len(), image: self.node }));
            }
        }
        let owner = |part: &Part| {
            if matches!(part, Part::Crop { .. }) { Owner::Pairs } else { Owner::Network }
        };
        parts.extend(shared.into_iter().map(|(_, part)| (owner(&part), part)));
        parts.push((Owner::Network, Part::Concat { image: self.node }));
        parts
    }
}

/// Whether a part of a cell reads its input rectified.
fn leads_with_relu(part: Part) -> bool {
    match part {
        Part::Operation { op, .. } => {
            matches!(
                op,
                Operation::SepConv3x3
                    | Operation::SepConv5x5
                    | Operation::DilConv3x3
                    | Operation::DilConv5x5
            )
        }
        Part::Reduce { .. } => true,
        _ => false,
    }
}

/// The parts of a network, without those that no output depends on.
///
/// # Errors
/// When the skeleton makes no network, or the genotype is not one of it.
pub(crate) fn parts(
    genotype: &Genotype,
    skeleton: &Skeleton,
) -> Result<Vec<(Owner, Part)>, ModelError> {
    let layout = Layout::new(skeleton)?;
    let kinds = |kinds: &mut dyn Iterator<Item = CellKind>| kinds.collect::<Vec<_>>();
    let (found, expected) = (
        kinds(&mut genotype.cells.iter().map(|c| c.kind)),
        kinds(&mut layout.cells.iter().map(|c| c.kind)),
    );
    if found != expected {
        return Err(ModelError::Invalid(format!(
            "the genotype has the cells {found:?}, the network {expected:?}"
        )));
    }
    let reads = |cell: usize, input: usize| {
        genotype.cells[cell].nodes.iter().flatten().any(|pair| pair.input == input)
    };
    let mut needed = vec![false; layout.outputs.len()];
    *needed.last_mut().expect("a network has cells") = true;
    for cell in (0..layout.cells.len()).rev() {
        for input in 0..2 {
            needed[cell + input] |= needed[cell + 2] && reads(cell, input);
        }
    }
    let mut parts = vec![(Owner::Network, layout.stem[0])];
    if needed[1] {
        parts.extend(layout.stem.get(1).map(|&part| (Owner::Network, part)));
    }
    let mut rectified = HashSet::new();
    for (index, (cell, genotype)) in
        layout.cells.iter().zip(&genotype.cells).enumerate().filter(|(index, _)| needed[index + 2])
    {
        for input in (0..2).filter(|&input| reads(index, input)) {
            // The stem's outputs are rectified by the stem.
            let (source, part) = (index + input, cell.preprocessing[input]);
            if source >= 2 && rectified.insert(source) {
                parts.push((Owner::Network, Part::Relu { image: layout.outputs[source] }));
            }
            if let Part::Reduce { image, .. } = part {
                parts.push((Owner::Network, Part::Crop { image }));
            }
            parts.push((Owner::Network, part));
        }
        parts.extend(cell.parts(index, &genotype.nodes));
    }
    parts.push((Owner::Network, layout.classifier));
    Ok(parts)
}

/// Every part that a network of the skeleton can have whose nodes sum `keep` pairs, each once.
///
/// # Errors
/// When the skeleton makes no network.
pub(crate) fn all_parts(skeleton: &Skeleton, keep: usize) -> Result<BTreeSet<Part>, ModelError> {
    let layout = Layout::new(skeleton)?;
    let mut parts: BTreeSet<Part> = layout.stem.iter().copied().collect();
    parts.insert(layout.classifier);
    parts.extend(
        layout.outputs[2..].iter().take(layout.cells.len() - 1).map(|&image| Part::Relu { image }),
    );
    for cell in &layout.cells {
        for preprocessing in cell.preprocessing {
            parts.insert(preprocessing);
            if let Part::Reduce { image, .. } = preprocessing {
                parts.insert(Part::Crop { image });
            }
        }
        let every = |input| Operation::CONNECTING.map(|op| Pair { input, op });
        let nodes: Vec<Vec<Pair>> =
            (0..NODES).map(|node| (0..node + 2).flat_map(every).collect()).collect();
        let of_cell = cell.parts(0, &nodes).into_iter().map(|(_, part)| part);
        parts.extend(of_cell.filter(|part| !matches!(part, Part::Sum { .. })));
        if keep > 1 {
            parts.insert(Part::Sum { terms: keep, image: cell.node });
        }
    }
    Ok(parts)
}
