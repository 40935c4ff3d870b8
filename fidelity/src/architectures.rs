//! The architectures of a study and how the HyperNetwork is told of them.

use adwp_models::{Discrete, Genotype, IntensiveSpace, ModelError, NODES, Skeleton, cost};
use adwp_train::Streams;
use rand_distr::{Distribution, StandardNormal};

/// α of a pair that is not kept: its softmax is 0 in single precision, beside pairs of α 0.
const DROPPED: f32 = -1e3;

/// An architecture drawn evenly from the space, with the α it was drawn as.
pub(crate) struct Candidate {
    pub(crate) genotype: Genotype,
    /// For each cell the α, `[NODES, K]`, whose largest it keeps: of every node `keep`.
    pub(crate) drawn: Vec<Vec<f32>>,
    pub(crate) params: u64,
    pub(crate) madds: u64,
}

impl Candidate {
    /// The architecture of a number, whatever the number of architectures: α is normal with
    /// standard deviation `sd`, as in HyperNetwork training.
    pub(crate) fn draw(
        number: usize,
        space: &IntensiveSpace,
        skeleton: &Skeleton,
        keep: usize,
        sd: f32,
        streams: Streams,
    ) -> Result<Self, ModelError> {
        let mut rng = streams.at("fidelity/architecture", number, 0);
        let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
        let drawn: Vec<Vec<f32>> = (0..skeleton.cells)
            .map(|_| (0..NODES * space.width()).map(|_| sd * normal()).collect())
            .collect();
        let genotype = space.discretize(skeleton, &drawn, keep)?;
        let [params, madds] = size(&genotype, skeleton)?;
        Ok(Self { genotype, drawn, params, madds })
    }

    /// For each cell the α, `[NODES, K]`, whose softmax over a node's candidates is evenly divided
    /// among those kept.
    pub(crate) fn discrete(&self, space: &IntensiveSpace) -> Vec<Vec<f32>> {
        let cells = self.genotype.cells.iter().map(|cell| {
            let nodes = space.cell(cell.kind).iter().zip(&cell.nodes);
            nodes
                .flat_map(|(candidates, kept)| {
                    candidates.iter().map(|pair| if kept.contains(pair) { 0.0 } else { DROPPED })
                })
                .collect()
        });
        cells.collect()
    }
}

/// Params and multiply-adds of an architecture.
pub(crate) fn size(genotype: &Genotype, skeleton: &Skeleton) -> Result<[u64; 2], ModelError> {
    let cost = cost::count(&Discrete::build(genotype, skeleton, 1, None)?.graph);
    Ok([cost.params, cost.madds])
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::Stem;

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 4, channels: 2, classes: 2, image: [1, 8, 8] };

    #[test]
    fn both_encodings_stand_for_the_architecture() {
        let space = IntensiveSpace::random(6, &mut Streams::new(1).once("space")).unwrap();
        for i in 0..10 {
            let candidate = Candidate::draw(i, &space, &SKELETON, 2, 0.5, Streams::new(2)).unwrap();
            let discrete = candidate.discrete(&space);
            for alphas in [&candidate.drawn, &discrete] {
                assert_eq!(space.discretize(&SKELETON, alphas, 2).unwrap(), candidate.genotype);
                assert_eq!((alphas.len(), alphas[0].len()), (4, NODES * 6));
            }
            for node in discrete.concat().chunks_exact(6) {
                let exp: Vec<f32> = node.iter().map(|alpha| alpha.exp()).collect();
                let mut softmax: Vec<f32> =
                    exp.iter().map(|e| e / exp.iter().sum::<f32>()).collect();
                softmax.sort_by(f32::total_cmp);
                assert_eq!(softmax, [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
            }
        }
    }

    #[test]
    fn numbers_and_seeds_decide_what_is_drawn() {
        let space = IntensiveSpace::random(6, &mut Streams::new(1).once("space")).unwrap();
        let draw = |number, seed| {
            Candidate::draw(number, &space, &SKELETON, 2, 1.0, Streams::new(seed)).unwrap().genotype
        };
        assert_eq!(draw(3, 1), draw(3, 1));
        assert!(draw(3, 1) != draw(4, 1) && draw(3, 1) != draw(3, 2));
    }
}
