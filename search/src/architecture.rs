//! Metrics of the architecture that a search would give now.

use adwp_models::{Discrete, Genotype, ModelError, Operation, Skeleton, cost};
use serde_json::{Map, Value};

/// Share of identities and pools from which an architecture counts as collapsed. Of pairs drawn
/// evenly 3 in 7 are such.
///
/// That differentiable searches end in operations without parameters is reported by Zela et al.
/// (Understanding and Robustifying Differentiable Architecture Search, 2020) and Liang et al.
/// (DARTS+, 2019).
const COLLAPSED: f64 = 0.75;

const POOLS: [Operation; 2] = [Operation::AvgPool3x3, Operation::MaxPool3x3];

/// How the kept pairs of an architecture are divided among the operations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shares([f64; Operation::CONNECTING.len()]);

impl Shares {
    pub(crate) fn of(genotype: &Genotype) -> Self {
        let pairs = || genotype.cells.iter().flat_map(|cell| cell.nodes.iter().flatten());
        let total = pairs().count() as f64;
        Self(
            Operation::CONNECTING
                .map(|op| pairs().filter(|pair| pair.op == op).count() as f64 / total),
        )
    }

    fn get(&self, op: Operation) -> f64 {
        Operation::CONNECTING
            .iter()
            .zip(self.0)
            .filter(|(other, _)| **other == op)
            .map(|(_, share)| share)
            .sum()
    }

    /// What to say of an architecture that consists of little but identities and pools.
    pub(crate) fn collapse(&self) -> Option<String> {
        let (identities, pools) =
            (self.get(Operation::Identity), POOLS.iter().map(|&op| self.get(op)).sum::<f64>());
        let percent = |share: f64| (100.0 * share).round();
        (identities + pools >= COLLAPSED).then(|| {
            format!(
                "{}% of the architecture's operations are identities and {}% are pools",
                percent(identities),
                percent(pools)
            )
        })
    }
}

/// Operations, params and multiply-adds of `genotype` as the network of `target`, for the metrics
/// of an epoch.
pub(crate) fn metrics(
    genotype: &Genotype,
    target: &Skeleton,
) -> Result<Map<String, Value>, ModelError> {
    let shares = Shares::of(genotype);
    let cost = cost::count(&Discrete::build(genotype, target, 1, None)?.graph);
    let mut metrics = Map::new();
    let by_name: Map<String, Value> = Operation::CONNECTING
        .iter()
        .zip(shares.0)
        .map(|(op, share)| (op.name().to_owned(), share.into()))
        .collect();
    metrics.insert("operation_shares".into(), by_name.into());
    metrics.insert("identity_share".into(), shares.get(Operation::Identity).into());
    metrics.insert("params".into(), cost.params.into());
    metrics.insert("madds".into(), cost.madds.into());
    let collapse = shares.collapse();
    metrics.insert("collapsed".into(), collapse.is_some().into());
    if let Some(collapse) = collapse {
        metrics.insert("collapse".into(), collapse.into());
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::{CellGenotype, CellKind, Pair, Stem};

    fn genotype(ops: [Operation; 4]) -> Genotype {
        let cell = |kind| CellGenotype {
            kind,
            nodes: ops.map(|op| vec![Pair { input: 0, op }, Pair { input: 1, op }]).to_vec(),
        };
        Genotype::new(
            [CellKind::Normal, CellKind::Reduction, CellKind::Reduction].map(cell).to_vec(),
        )
        .unwrap()
    }

    #[test]
    fn little_but_identities_and_pools_is_a_collapse() {
        use Operation::{AvgPool3x3, Identity, SepConv3x3, SepConv5x5};
        assert_eq!(
            Shares::of(&genotype([Identity, Identity, SepConv3x3, SepConv5x5])).collapse(),
            None
        );
        let text =
            Shares::of(&genotype([Identity, Identity, AvgPool3x3, SepConv5x5])).collapse().unwrap();
        assert_eq!(text, "50% of the architecture's operations are identities and 25% are pools");
    }

    #[test]
    fn metrics_have_every_operation_and_the_cost() {
        let target =
            Skeleton { stem: Stem::Cifar, cells: 3, channels: 4, classes: 10, image: [3, 8, 8] };
        let genotype = genotype([
            Operation::Identity,
            Operation::SepConv3x3,
            Operation::SepConv3x3,
            Operation::MaxPool3x3,
        ]);
        let metrics = metrics(&genotype, &target).unwrap();
        let shares = metrics["operation_shares"].as_object().unwrap();
        assert_eq!(
            (shares.len(), &shares["sep_conv_3x3"], &metrics["identity_share"]),
            (7, &0.5.into(), &0.25.into())
        );
        assert_eq!(metrics["collapsed"], false);
        assert!(
            metrics["params"].as_u64().unwrap() > 0
                && metrics["madds"].as_u64() > metrics["params"].as_u64()
        );
    }
}
