//! What a GPU would start for a case.

use std::collections::BTreeMap;

use adwp_engine::Program;
use adwp_engine::cuda::{self, Precision};

use crate::cases::{Case, Network, Size};
use crate::failure::Result;

/// The launches of a run by kernel, those with most launches first. Needs no GPU.
pub(crate) fn list(case: &Case) -> Result<String> {
    let launches = of(&case.network(Size::Full)?)?;
    let mut kernels: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for launch in &launches {
        let (count, tasks, blocks) = kernels.entry(launch.kernel).or_default();
        *count += 1;
        *tasks += launch.tasks;
        *blocks += launch.blocks;
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by_key(|&(kernel, (count, ..))| (std::cmp::Reverse(count), kernel));
    let mut lines =
        vec![format!("{:26} {:>9} {:>9} {:>9}", "kernel", "launches", "tasks", "blocks")];
    lines.extend(kernels.iter().map(|(kernel, (count, tasks, blocks))| {
        format!("{kernel:26} {count:>9} {tasks:>9} {blocks:>9}")
    }));
    let tasks: usize = launches.iter().map(|launch| launch.tasks).sum();
    let blocks: usize = launches.iter().map(|launch| launch.blocks).sum();
    lines.push(format!("{:26} {:>9} {tasks:>9} {blocks:>9}", "all", launches.len()));
    Ok(lines.join("\n"))
}

fn of(network: &Network) -> Result<Vec<cuda::Launch>> {
    let program =
        Program::training(&network.graph, network.loss, &[network.output], &network.trainable)?;
    Ok(cuda::launches(&program, Precision::F32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::named;

    /// A step must stay a matter of few launches: each costs as much as reading a whole tensor.
    #[test]
    fn steps_stay_within_their_budget_of_launches() {
        for (case, budget) in [
            ("step/hypernetwork-weights", 550),
            ("step/hypernetwork-alpha", 560),
            ("step/relaxed-weights", 850),
            ("step/relaxed-alpha", 855),
            ("step/retrain", 335),
        ] {
            let launches = of(&named(case).unwrap().network(Size::Full).unwrap()).unwrap().len();
            assert!(launches <= budget, "{case}: {launches} launches, {budget} at most");
        }
    }
}
