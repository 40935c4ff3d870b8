//! The space that DARTS searched (Liu et al., DARTS: Differentiable Architecture Search, 2019,
//! section 2.1): one normal and one reduction cell, which a network stacks.

use super::{Intensive, NamedSpace, Space, TableRules, alike};
use crate::{Skeleton, Stem};

/// Pairs that a node sums.
const KEEP: usize = 2;

pub(super) static SPACE: NamedSpace = NamedSpace {
    name: alike::NAME,
    // Section 3.3 of the publication.
    published: Skeleton {
        stem: Stem::Cifar,
        cells: 20,
        channels: 36,
        classes: 10,
        image: [3, 32, 32],
    },
    has_sizes: false,
    open: |skeleton| Ok(Box::new(Intensive::alike(skeleton, KEEP)?)),
    parse: |text| Intensive::alike(SPACE.published, KEEP)?.parse(text),
    has_drop_path: true,
    table: TableRules::STRICT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::features::tests::check;
    use crate::space::tests::{candidates_of_the_widest, check_parameters_of_the_widest};
    use crate::{Blueprint, HypernetworkOptions, Zoo};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 6, channels: 2, classes: 2, image: [1, 8, 8] };

    fn space() -> Intensive {
        Intensive::alike(SKELETON, KEEP).unwrap()
    }

    #[test]
    fn cells_of_a_kind_are_alike_and_architectures_are_texts_of_any_size() {
        let (space, mut rng) = (space(), ChaCha8Rng::seed_from_u64(1));
        assert_eq!(space.decisions().len(), 8);
        let options: Vec<usize> = space.decisions().iter().map(|of| of.options).collect();
        assert_eq!(options, [14, 21, 28, 35, 14, 21, 28, 35]);
        for _ in 0..20 {
            let choices = space.sample(&mut rng);
            let genotype = space.genotype(&choices).unwrap().unwrap();
            for cell in &genotype.cells {
                let first = genotype.cells.iter().find(|first| first.kind == cell.kind).unwrap();
                assert_eq!(cell.nodes, first.nodes);
            }
            assert_eq!(space.choices_of(&genotype).unwrap(), choices);
            let text = space.text(&choices);
            assert_eq!(space.parse(&text).unwrap(), choices);
            assert_eq!((SPACE.parse)(&text).unwrap(), choices, "at the published size");
            assert_eq!(space.decode(&space.encode(&choices)), choices);
        }
    }

    #[test]
    fn published_cells_are_of_the_space() {
        let entry = Zoo::embedded().find("darts-v2").unwrap();
        let published = entry.published(Stem::Cifar).unwrap().unwrap();
        let space = (SPACE.open)(published.skeleton().unwrap()).unwrap();
        let cells = published.genotype().unwrap();
        let text = "normal sep_conv_3x3(0)+sep_conv_3x3(1),sep_conv_3x3(0)+sep_conv_3x3(1),\
                    sep_conv_3x3(1)+identity(0),identity(0)+dil_conv_3x3(2) \
                    reduction max_pool_3x3(0)+max_pool_3x3(1),identity(2)+max_pool_3x3(1),\
                    max_pool_3x3(0)+identity(2),identity(2)+max_pool_3x3(1)";
        let choices = space.parse(text).unwrap();
        let built = Blueprint::of(&*space, &choices).unwrap();
        assert_eq!(built.cost().unwrap(), published.cost().unwrap());
        assert_eq!(built.genotype().unwrap().cells.len(), cells.cells.len());
        let space = Intensive::alike(published.skeleton().unwrap(), KEEP).unwrap();
        assert_eq!(space.key(&space.choices_of(cells).unwrap()), space.key(&choices));
    }

    #[test]
    fn what_is_no_architecture_of_the_space_is_refused() {
        let (space, mut rng) = (space(), ChaCha8Rng::seed_from_u64(2));
        let text = space.text(&space.sample(&mut rng));
        for (from, to, why) in [
            ("normal", "normall", "is no architecture of the space darts"),
            ("reduction ", "", "is no architecture of the space darts"),
            ("(0)", "(7)", "not before it"),
            ("(1)", "(x)", "is no architecture of the space darts"),
            ("+", ",", "nodes"),
        ] {
            assert!(text.contains(from), "{from} is not in {text}");
            let error = space.parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(why), "{from:?} to {to:?}: {error}");
        }
        assert!(space.parse("").unwrap_err().to_string().contains("such as"));
        let other = Intensive::original(SKELETON, KEEP).unwrap();
        let differing = other.cells_of(&other.sample(&mut rng)).unwrap();
        let error = space.choices_of(&differing).unwrap_err().to_string();
        assert!(error.contains("cells of a kind differ"), "{error}");
    }

    #[test]
    fn weights_are_not_predicted_for_nodes_of_other_widths() {
        let space = space();
        let options = HypernetworkOptions::default();
        let error = space.hypernetwork(&space.widest(), 2, options).unwrap_err().to_string();
        assert!(error.contains("as many candidates each"), "{error}");
    }

    #[test]
    fn candidates_of_all_cells_stand_for_the_decisions_of_two() {
        let space = space();
        check_parameters_of_the_widest(&space);
        let candidates = candidates_of_the_widest(&space);
        // Of identities only those of stride 2 have anything in the graph: eight in the reduction cell.
        assert_eq!(candidates.len(), 2 * 6 * (2 + 3 + 4 + 5) + 8);
        let groups: Vec<usize> = space.features().groups().collect();
        assert_eq!(groups, [196, 196, 2 * 9]);
        check(&space, 2 * 196 + 2 * 9);
        assert_eq!(space.with_cells(3).unwrap().decisions(), space.decisions());
    }
}
