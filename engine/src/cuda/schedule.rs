//! Which pieces of work are launched together: those of one kernel that do not depend on each
//! other.

use std::collections::HashMap;

use crate::cuda::Kernel;
use crate::cuda::problem::{Problem, Region, Words};

/// A piece of work, with what it reads and writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    pub(crate) kernel: Kernel,
    pub(crate) blocks: usize,
    pub(crate) words: Words,
}

impl Task {
    pub(crate) fn new<P: Problem>(problem: &P) -> Self {
        let mut words = Words::default();
        problem.write(&mut words);
        Self { kernel: P::KERNEL, blocks: problem.blocks(), words }
    }
}

/// How many launches a task may wait for others of its kernel, once it could start. What it reads
/// stays in memory so long, and leaves the device's cache.
const PATIENCE: usize = 24;

/// Puts tasks, which are right in the order given, into launches that are right in the order
/// returned; a launch lists tasks by their position.
///
/// The kernel of the task is next that the longest chain of work waits for, with all its tasks that
/// can start. So those that little depends on, such as gradients of weights, wait for more of their
/// kind, but not for more than [`PATIENCE`] launches.
pub(crate) fn schedule(tasks: &[Task]) -> Vec<Vec<usize>> {
    let before = dependencies(tasks);
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    before
        .iter()
        .enumerate()
        .for_each(|(task, before)| before.iter().for_each(|&b| after[b].push(task)));
    // What depends on a task comes after it in the list.
    let mut height = vec![0_usize; tasks.len()];
    for task in (0..tasks.len()).rev() {
        height[task] = after[task].iter().map(|&a| height[a] + 1).max().unwrap_or(0);
    }

    let mut missing: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut ready: Vec<(usize, usize)> =
        (0..tasks.len()).filter(|&task| missing[task] == 0).map(|task| (task, 0)).collect();
    let mut launches: Vec<Vec<usize>> = Vec::new();
    while !ready.is_empty() {
        let now = launches.len();
        let urgency = |&(task, since): &(usize, usize)| {
            (now - since > PATIENCE, height[task], std::cmp::Reverse(task))
        };
        let kernel =
            ready.iter().max_by_key(|entry| urgency(entry)).map(|&(task, _)| tasks[task].kernel);
        let (mut launch, rest): (Vec<_>, Vec<_>) =
            ready.into_iter().partition(|&(task, _)| Some(tasks[task].kernel) == kernel);
        launch.sort_unstable();
        ready = rest;
        for &(task, _) in &launch {
            for &next in &after[task] {
                missing[next] -= 1;
                if missing[next] == 0 {
                    ready.push((next, now + 1));
                }
            }
        }
        launches.push(launch.into_iter().map(|(task, _)| task).collect());
    }
    launches
}

/// For every task the earlier ones that must be done before it.
fn dependencies(tasks: &[Task]) -> Vec<Vec<usize>> {
    let mut writer: HashMap<Region, usize> = HashMap::new();
    let mut readers: HashMap<Region, Vec<usize>> = HashMap::new();
    let mut all = Vec::with_capacity(tasks.len());
    for (task, Task { words, .. }) in tasks.iter().enumerate() {
        let mut before: Vec<usize> =
            words.reads.iter().filter_map(|region| writer.get(region).copied()).collect();
        for region in &words.writes {
            before.extend(writer.get(region));
            before.extend(readers.remove(region).unwrap_or_default());
        }
        for &region in &words.reads {
            readers.entry(region).or_default().push(task);
        }
        for &region in &words.writes {
            writer.insert(region, task);
        }
        before.sort_unstable();
        before.dedup();
        before.retain(|&b| b != task);
        all.push(before);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kernel: Kernel, reads: &[u32], writes: &[u32]) -> Task {
        let regions =
            |numbers: &[u32]| numbers.iter().map(|&number| Region::Operand(number)).collect();
        Task {
            kernel,
            blocks: 1,
            words: Words { words: Vec::new(), reads: regions(reads), writes: regions(writes) },
        }
    }

    #[test]
    fn what_does_not_depend_on_each_other_goes_together() {
        use Kernel::{Combine, Reduce};
        let tasks = [
            task(Combine, &[0], &[1]),
            task(Reduce, &[1], &[2]),
            task(Combine, &[0], &[3]),
            task(Reduce, &[3], &[4]),
            task(Combine, &[2, 4], &[5]),
        ];
        assert_eq!(schedule(&tasks), [vec![0, 2], vec![1, 3], vec![4]]);
    }

    #[test]
    fn what_is_read_is_not_written_over_before() {
        use Kernel::{Combine, Reduce};
        let tasks = [
            task(Combine, &[], &[1]),
            task(Reduce, &[1], &[2]),
            task(Combine, &[], &[1]),
            task(Reduce, &[1], &[3]),
        ];
        assert_eq!(schedule(&tasks), [vec![0], vec![1], vec![2], vec![3]]);
    }

    #[test]
    fn nothing_waits_for_ever() {
        use Kernel::{Combine, Reduce};
        let mut tasks = vec![task(Reduce, &[], &[1000])];
        tasks.extend((0..3 * PATIENCE as u32).map(|i| task(Combine, &[i], &[i + 1])));
        let launches = schedule(&tasks);
        let at = launches.iter().position(|launch| launch.contains(&0)).unwrap();
        assert_eq!(at, PATIENCE + 1);
        assert_eq!(launches.iter().map(Vec::len).sum::<usize>(), tasks.len());
    }
}
