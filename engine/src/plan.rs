//! Where every tensor of a program lies: buffers are shared by tensors that are never alive at the same time.

use std::collections::HashMap;

use crate::Graph;
use crate::program::Tensor;

/// The planned tensors that one action reads, and those it writes.
pub(crate) type Access = (Vec<Tensor>, Vec<Tensor>);

/// The buffers of a program and which of them each tensor uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Elements of each buffer that keeps its content after a run: one for each persistent tensor.
    pub(crate) own: Vec<usize>,
    /// Elements of each buffer that holds nothing between runs, largest first.
    pub(crate) shared: Vec<usize>,
    /// Buffer of each tensor; those of `shared` are counted on from those of `own`.
    pub(crate) location: HashMap<Tensor, usize>,
}

impl Plan {
    /// Assigns a buffer to every tensor that the actions with these accesses compute; `persistent` ones keep theirs to the end.
    pub(crate) fn new(graph: &Graph, accesses: &[Access], persistent: &[Tensor]) -> Self {
        let mut last_use: HashMap<Tensor, usize> = HashMap::new();
        for (at, (reads, writes)) in accesses.iter().enumerate() {
            for &tensor in reads.iter().chain(writes) {
                last_use.insert(tensor, at);
            }
        }
        for tensor in persistent {
            last_use.insert(*tensor, accesses.len());
        }

        let mut location: HashMap<Tensor, usize> = HashMap::new();
        let mut own = Vec::new();
        for &tensor in persistent {
            location.entry(tensor).or_insert_with(|| {
                own.push(elements(graph, tensor));
                own.len() - 1
            });
        }
        let mut pool = Pool::default();
        for (at, (reads, writes)) in accesses.iter().enumerate() {
            for &tensor in writes {
                location.entry(tensor).or_insert_with(|| own.len() + pool.claim(elements(graph, tensor)));
            }
            let mut dead: Vec<usize> =
                reads.iter().chain(writes).filter(|tensor| last_use[tensor] == at).map(|tensor| location[tensor] - own.len()).collect();
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

    /// Bytes of the buffers that only this program uses, and of those it can share.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let bytes = |lengths: &[usize]| lengths.iter().sum::<usize>() * size_of::<f32>();
        (bytes(&self.own), bytes(&self.shared))
    }
}

/// Buffers while they are assigned.
#[derive(Default)]
struct Pool {
    slots: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// The smallest free buffer that is large enough, else the largest free one grown, else a new one.
    fn claim(&mut self, elements: usize) -> usize {
        let Self { slots, free } = self;
        let fitting = (0..free.len()).filter(|&i| slots[free[i]] >= elements).min_by_key(|&i| slots[free[i]]);
        let chosen = fitting.or_else(|| (0..free.len()).max_by_key(|&i| slots[free[i]]));
        match chosen {
            Some(i) => {
                let slot = free.swap_remove(i);
                slots[slot] = slots[slot].max(elements);
                slot
            }
            None => {
                slots.push(elements);
                slots.len() - 1
            }
        }
    }
}

fn elements(graph: &Graph, tensor: Tensor) -> usize {
    let (Tensor::Value(id) | Tensor::Gradient(id)) = tensor;
    graph[id].shape.elements()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Lowered;
    use crate::{NodeId, Op, Program, Statistics};

    fn chain(length: usize) -> (Graph, NodeId) {
        let mut graph = Graph::new();
        let mut x = graph.input("x", [1, 2, 4, 4]).unwrap();
        for i in 0..length {
            x = graph.add(format!("relu{i}"), Op::Relu, &[x]).unwrap();
        }
        (graph, x)
    }

    fn accesses(program: &Program, fuse: bool) -> Vec<Access> {
        let lowered = Lowered::new(program, fuse);
        lowered.actions.iter().map(|action| lowered.accesses(program, action)).collect()
    }

    #[test]
    fn an_inference_chain_of_any_length_needs_two_buffers_beside_its_output() {
        let (graph, last) = chain(9);
        let program = Program::inference(&graph, &[last], Statistics::Running).unwrap();
        let plan = Plan::new(&graph, &accesses(&program, false), &program.persistent);
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

        for fuse in [false, true] {
            let accesses = accesses(&program, fuse);
            let plan = Plan::new(&graph, &accesses, &program.persistent);
            let mut owner: HashMap<usize, Tensor> = HashMap::new();
            for (reads, writes) in &accesses {
                for read in reads {
                    assert_eq!(owner.get(&plan.location[read]), Some(read), "{read:?} was overwritten before its last use");
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
