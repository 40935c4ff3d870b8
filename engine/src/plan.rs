//! Where every tensor of a program lies: buffers are shared by tensors that are never alive at the same time.

use std::collections::HashMap;

use crate::program::{Step, Tensor, is_leaf};
use crate::{Graph, NodeId, Op};

/// The buffers of a program and which of them each tensor uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Number of elements of each buffer.
    pub(crate) slots: Vec<usize>,
    /// Buffer of each tensor.
    pub(crate) location: HashMap<Tensor, usize>,
}

impl Plan {
    /// Assigns a buffer to every tensor that `steps` compute; `persistent` ones keep theirs to the end.
    pub(crate) fn new(graph: &Graph, steps: &[Step], persistent: &[Tensor]) -> Self {
        let accesses: Vec<Access> = steps.iter().map(|step| Access::of(graph, step)).collect();
        let mut last_use: HashMap<Tensor, usize> = HashMap::new();
        for (at, access) in accesses.iter().enumerate() {
            for &tensor in access.reads.iter().chain(&access.writes) {
                last_use.insert(tensor, at);
            }
        }
        for tensor in persistent {
            last_use.insert(*tensor, steps.len());
        }

        let mut plan = Self { slots: Vec::new(), location: HashMap::new() };
        let mut free: Vec<usize> = Vec::new();
        for (at, access) in accesses.iter().enumerate() {
            for &tensor in &access.writes {
                if !plan.location.contains_key(&tensor) {
                    let slot = plan.claim(elements(graph, tensor), &mut free);
                    plan.location.insert(tensor, slot);
                }
            }
            let mut dead: Vec<usize> = access
                .reads
                .iter()
                .chain(&access.writes)
                .filter(|tensor| last_use[tensor] == at)
                .map(|tensor| plan.location[tensor])
                .collect();
            dead.sort_unstable();
            dead.dedup();
            free.extend(dead);
        }
        plan
    }

    /// The smallest free buffer that is large enough, else the largest free one grown, else a new one.
    fn claim(&mut self, elements: usize, free: &mut Vec<usize>) -> usize {
        let fitting = (0..free.len()).filter(|&i| self.slots[free[i]] >= elements).min_by_key(|&i| self.slots[free[i]]);
        let chosen = fitting.or_else(|| (0..free.len()).max_by_key(|&i| self.slots[free[i]]));
        match chosen {
            Some(i) => {
                let slot = free.swap_remove(i);
                self.slots[slot] = self.slots[slot].max(elements);
                slot
            }
            None => {
                self.slots.push(elements);
                self.slots.len() - 1
            }
        }
    }
}

fn elements(graph: &Graph, tensor: Tensor) -> usize {
    let (Tensor::Value(id) | Tensor::Gradient(id)) = tensor;
    graph[id].shape.elements()
}

/// The planned tensors that a step touches.
struct Access {
    reads: Vec<Tensor>,
    writes: Vec<Tensor>,
}

impl Access {
    fn of(graph: &Graph, step: &Step) -> Self {
        let planned = |ids: &mut dyn Iterator<Item = NodeId>| -> Vec<Tensor> {
            ids.filter(|id| !is_leaf(&graph[*id].op)).map(Tensor::Value).collect()
        };
        match step {
            Step::Forward(id) => Self { reads: planned(&mut graph[*id].inputs.iter().copied()), writes: vec![Tensor::Value(*id)] },
            Step::Seed(id) => Self { reads: Vec::new(), writes: vec![Tensor::Gradient(*id)] },
            Step::Backward { node: id, targets } => {
                let node = &graph[*id];
                let wanted: Vec<usize> = targets.iter().map(|t| t.input).collect();
                let read = backward_reads(&node.op, node.inputs.len(), &wanted);
                let mut reads = planned(&mut read.inputs.iter().map(|&i| node.inputs[i]));
                if read.output {
                    reads.push(Tensor::Value(*id));
                }
                reads.push(Tensor::Gradient(*id));
                Self { reads, writes: wanted.iter().map(|&i| Tensor::Gradient(node.inputs[i])).collect() }
            }
        }
    }
}

/// Which forward values a backward step needs.
struct BackwardReads {
    inputs: Vec<usize>,
    output: bool,
}

/// What the backward step of `op` reads to write the gradients of the inputs `wanted`. A value not named here may be gone by then.
fn backward_reads(op: &Op, inputs: usize, wanted: &[usize]) -> BackwardReads {
    let reads = |inputs: Vec<usize>| BackwardReads { inputs, output: false };
    match op {
        Op::Conv2d(_) | Op::Linear => {
            let mut read = Vec::new();
            if wanted.contains(&1) {
                read.push(0);
            }
            if wanted.contains(&0) {
                read.push(1);
            }
            reads(read)
        }
        Op::BatchNorm(_) => reads((0..inputs.min(2)).collect()),
        Op::Relu | Op::Softmax => BackwardReads { inputs: Vec::new(), output: true },
        Op::MaxPool(_) => reads(vec![0]),
        Op::WeightedSum { .. } => {
            let mut read = vec![0];
            if wanted.contains(&0) {
                read.extend(1..inputs);
            }
            reads(read)
        }
        Op::DropPath => reads(if wanted.contains(&1) { vec![0, 1] } else { vec![1] }),
        Op::CrossEntropy { .. } => reads(vec![0, 1]),
        Op::Input
        | Op::Parameter { .. }
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Scale { .. }
        | Op::Concat
        | Op::Crop { .. }
        | Op::Select { .. }
        | Op::Reshape => reads(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Program, Statistics};

    fn chain(length: usize) -> (Graph, NodeId) {
        let mut graph = Graph::new();
        let mut x = graph.input("x", [1, 2, 4, 4]).unwrap();
        for i in 0..length {
            x = graph.add(format!("relu{i}"), Op::Relu, &[x]).unwrap();
        }
        (graph, x)
    }

    #[test]
    fn an_inference_chain_of_any_length_needs_two_buffers() {
        let (graph, last) = chain(9);
        let program = Program::inference(&graph, &[last], Statistics::Running).unwrap();
        assert_eq!(program.plan.slots, vec![32, 32]);
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

        let accesses: Vec<Access> = program.steps.iter().map(|s| Access::of(&graph, s)).collect();
        let mut owner: HashMap<usize, Tensor> = HashMap::new();
        for access in &accesses {
            for read in &access.reads {
                assert_eq!(owner.get(&program.plan.location[read]), Some(read), "{read:?} was overwritten before its last use");
            }
            for write in &access.writes {
                owner.insert(program.plan.location[write], *write);
            }
        }
        for kept in [Tensor::Value(loss), Tensor::Value(gap), Tensor::Gradient(input)] {
            assert_eq!(owner[&program.plan.location[&kept]], kept);
        }
    }
}
