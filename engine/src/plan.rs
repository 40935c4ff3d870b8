//! Where every tensor of a program lies: buffers are shared by tensors that are never alive at the
//! same time.

use std::collections::HashMap;
use std::hash::Hash;

/// What one action reads of what is planned, and what it writes.
pub(crate) type Access<T> = (Vec<T>, Vec<T>);

/// The buffers of a program and which of them each of its tensors uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan<T: Eq + Hash> {
    /// Size of each buffer that keeps its content after a run: one for each persistent tensor.
    pub(crate) own: Vec<usize>,
    /// Size of each buffer that holds nothing between runs, largest first.
    pub(crate) shared: Vec<usize>,
    /// Buffer of each tensor; those of `shared` are counted on from those of `own`.
    pub(crate) location: HashMap<T, usize>,
}

impl<T: Copy + Eq + Hash> Plan<T> {
    /// Assigns a buffer to every tensor that the actions with these accesses compute; `persistent`
    /// ones keep theirs to the end. `size` is that of a tensor, in whatever unit the buffers are
    /// wanted.
    pub(crate) fn new(accesses: &[Access<T>], persistent: &[T], size: impl Fn(T) -> usize) -> Self {
        let mut last_use: HashMap<T, usize> = HashMap::new();
        for (at, (reads, writes)) in accesses.iter().enumerate() {
            for &tensor in reads.iter().chain(writes) {
                last_use.insert(tensor, at);
            }
        }
        for tensor in persistent {
            last_use.insert(*tensor, accesses.len());
        }

        let mut location: HashMap<T, usize> = HashMap::new();
        let mut own = Vec::new();
        for &tensor in persistent {
            location.entry(tensor).or_insert_with(|| {
                own.push(size(tensor));
                own.len() - 1
            });
        }
        let mut pool = Pool::default();
        for (at, (reads, writes)) in accesses.iter().enumerate() {
            for &tensor in writes {
                location.entry(tensor).or_insert_with(|| own.len() + pool.claim(size(tensor)));
            }
            let last = reads.iter().chain(writes).filter(|tensor| last_use[*tensor] == at);
            let mut dead: Vec<usize> = last.map(|tensor| location[tensor] - own.len()).collect();
            dead.sort_unstable();
            dead.dedup();
            pool.free.extend(dead);
        }

        let mut order: Vec<usize> = (0..pool.slots.len()).collect();
        order.sort_by_key(|&slot| std::cmp::Reverse(pool.slots[slot]));
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, &old)| rank[old] = new);
        for slot in location.values_mut().filter(|slot| **slot >= own.len()) {
            *slot = own.len() + rank[*slot - own.len()];
        }
        Self { shared: order.iter().map(|&slot| pool.slots[slot]).collect(), own, location }
    }
}

/// Buffers while they are assigned.
#[derive(Default)]
struct Pool {
    slots: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// The smallest free buffer that is large enough, else the largest free one grown, else a new
    /// one.
    fn claim(&mut self, size: usize) -> usize {
        let Self { slots, free } = self;
        let fitting =
            (0..free.len()).filter(|&i| slots[free[i]] >= size).min_by_key(|&i| slots[free[i]]);
        let chosen = fitting.or_else(|| (0..free.len()).max_by_key(|&i| slots[free[i]]));
        match chosen {
            Some(i) => {
                let slot = free.swap_remove(i);
                slots[slot] = slots[slot].max(size);
                slot
            }
            None => {
                slots.push(size);
                slots.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::{Fusion, Lowered};
    use crate::program::Tensor;
    use crate::{Graph, NodeId, Op, Program, Statistics};

    fn chain(length: usize) -> (Graph, NodeId) {
        let mut graph = Graph::new();
        let mut x = graph.input("x", [1, 2, 4, 4]).unwrap();
        for i in 0..length {
            x = graph.add(format!("relu{i}"), Op::Relu, &[x]).unwrap();
        }
        (graph, x)
    }

    fn plan(program: &Program, fusion: Fusion) -> (Vec<Access<Tensor>>, Plan<Tensor>) {
        let lowered = Lowered::new(program, fusion);
        let accesses: Vec<_> =
            lowered.actions.iter().map(|action| lowered.accesses(program, action)).collect();
        let plan =
            Plan::new(&accesses, &program.persistent, |tensor| tensor.elements(&program.graph));
        (accesses, plan)
    }

    #[test]
    fn an_inference_chain_of_any_length_needs_two_buffers_beside_its_output() {
        let (graph, last) = chain(9);
        let program = Program::inference(&graph, &[last], Statistics::Running).unwrap();
        let (_, plan) = plan(&program, Fusion::None);
        assert_eq!((plan.own, plan.shared), (vec![32], vec![32, 32]));
    }

    #[test]
    fn tensors_that_share_a_buffer_are_never_alive_together() {
        let (mut graph, x) = chain(4);
        let other = graph.add("double", Op::Add, &[x, x]).unwrap();
        let gap = graph.add("gap", Op::GlobalAvgPool, &[other]).unwrap();
        let labels = graph.input("labels", [1]).unwrap();
        let loss = graph.add("loss", Op::CrossEntropy { smoothing: 0.0 }, &[gap, labels]).unwrap();
        let input = graph.find("x").unwrap();
        let program = Program::training(&graph, loss, &[gap], &[input]).unwrap();

        for fusion in [Fusion::None, Fusion::Formulas, Fusion::Cache] {
            let (accesses, plan) = plan(&program, fusion);
            let mut owner: HashMap<usize, Tensor> = HashMap::new();
            for (reads, writes) in &accesses {
                for read in reads {
                    assert_eq!(
                        owner.get(&plan.location[read]),
                        Some(read),
                        "{read:?} was overwritten before its last use"
                    );
                }
                for write in writes {
                    owner.insert(plan.location[write], *write);
                }
            }
            for kept in [Tensor::Value(loss), Tensor::Value(gap), Tensor::Gradient(input)] {
                assert_eq!(owner[&plan.location[&kept]], kept);
            }
        }
    }
}
