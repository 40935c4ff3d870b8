//! The architectures of a study.

use adwp_models::{Blueprint, Choices, Genotype, Intensive, ModelError, NODES, Space};
use adwp_train::Streams;
use rand_distr::{Distribution, StandardNormal};

/// An architecture drawn evenly from the space, with the α it was drawn as.
pub(crate) struct Candidate {
    pub(crate) genotype: Genotype,
    pub(crate) choices: Choices,
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
        space: &Intensive,
        sd: f32,
        streams: Streams,
    ) -> Result<Self, ModelError> {
        let mut rng = streams.at("fidelity/architecture", number, 0);
        let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
        let drawn: Vec<Vec<f32>> = space
            .decisions()
            .chunks(NODES)
            .map(|cell| {
                (0..cell.iter().map(|node| node.options).sum()).map(|_| sd * normal()).collect()
            })
            .collect();
        let choices = space.decode(&drawn.concat());
        let cost = Blueprint::of(space, &choices)?.cost()?;
        let genotype = space.cells_of(&choices)?;
        Ok(Self { genotype, choices, drawn, params: cost.params, madds: cost.madds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::{IntensiveSpace, Skeleton, Stem};

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 4, channels: 2, classes: 2, image: [1, 8, 8] };

    fn draw(number: usize, seed: u64) -> Candidate {
        let space = IntensiveSpace::random(6, &mut Streams::new(1).once("space")).unwrap();
        let space = Intensive::new(space, SKELETON, 2).unwrap();
        Candidate::draw(number, &space, 0.5, Streams::new(seed)).unwrap()
    }

    #[test]
    fn the_largest_alphas_are_the_architecture() {
        let space = IntensiveSpace::random(6, &mut Streams::new(1).once("space")).unwrap();
        for i in 0..10 {
            let Candidate { genotype, drawn, .. } = draw(i, 2);
            assert_eq!(space.discretize(&SKELETON, &drawn, 2).unwrap(), genotype);
            assert_eq!((drawn.len(), drawn[0].len()), (4, NODES * 6));
        }
    }

    #[test]
    fn numbers_and_seeds_decide_what_is_drawn() {
        let genotype = |number, seed| draw(number, seed).genotype;
        assert_eq!(genotype(3, 1), genotype(3, 1));
        assert!(genotype(3, 1) != genotype(4, 1) && genotype(3, 1) != genotype(3, 2));
    }
}
