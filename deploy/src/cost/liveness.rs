//! How much memory the results of nodes take at once.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::{attributes::has_graphs, values::Values};
use crate::onnx::is_standard_domain;

/// Memory that one or more tensors lie in.
struct Buffer {
    bytes: u64,
    /// The node that writes it; inputs of the graph are there from the first on.
    first: usize,
    /// The last node that reads it.
    last: usize,
}

/// The buffers of a graph whose nodes run in the order of the file.
pub(super) struct Liveness<'a> {
    buffers: Vec<Buffer>,
    /// The buffer of each activation.
    of: HashMap<&'a str, usize>,
    /// Results that are read when the graph is done.
    outputs: HashSet<&'a str>,
    nodes: usize,
    /// Whether the size of every result is known.
    complete: bool,
}

impl<'a> Liveness<'a> {
    /// Begins with the inputs of `graph`, whose shapes `values` knows.
    pub(super) fn of(graph: &'a GraphProto, values: &Values<'a>) -> Self {
        let outputs = graph.output.iter().map(|output| output.name.as_str()).collect();
        let mut liveness = Self {
            buffers: Vec::new(),
            of: HashMap::new(),
            outputs,
            nodes: graph.node.len(),
            complete: true,
        };
        for input in graph.input.iter().filter(|input| !values.is_constant(&input.name)) {
            liveness.allocate(&input.name, 0, values);
        }
        liveness
    }

    /// Takes in node `index`, whose results `values` knows.
    pub(super) fn run(&mut self, index: usize, node: &'a NodeProto, values: &Values<'a>) {
        for name in &node.input {
            if let Some(&buffer) = self.of.get(name.as_str()) {
                self.buffers[buffer].last = index;
            }
        }
        // An operator with a graph of its own reads what that graph reads, which is not followed.
        self.complete &= !has_graphs(node);
        for (position, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty())
        {
            if values.is_constant(name) {
                continue;
            }
            let shared =
                (position == 0 && shows_its_input(node)).then(|| node.input.first()).flatten();
            match shared.and_then(|input| self.of.get(input.as_str()).copied()) {
                Some(buffer) => {
                    self.of.insert(name, buffer);
                    if self.outputs.contains(name.as_str()) {
                        self.buffers[buffer].last = self.nodes;
                    }
                }
                None => self.allocate(name, index, values),
            }
        }
    }

    fn allocate(&mut self, name: &'a str, first: usize, values: &Values<'a>) {
        let Some(bytes) = values.bytes(name) else {
            self.complete = false;
            return;
        };
        let last = if self.outputs.contains(name) { self.nodes } else { first };
        self.of.insert(name, self.buffers.len());
        self.buffers.push(Buffer { bytes, first, last });
    }

    /// The most bytes that are alive at once, and the first node that runs then; `None` where a
    /// size is not known or there is no node.
    pub(super) fn peak(&self) -> Option<(u64, usize)> {
        if !self.complete || self.nodes == 0 {
            return None;
        }
        let mut begins = vec![0_u64; self.nodes];
        let mut ends = vec![0_u64; self.nodes];
        for buffer in &self.buffers {
            begins[buffer.first] = begins[buffer.first].checked_add(buffer.bytes)?;
            let last = buffer.last.min(self.nodes - 1);
            ends[last] = ends[last].checked_add(buffer.bytes)?;
        }
        let (mut alive, mut peak, mut at) = (0_u64, 0, 0);
        for node in 0..self.nodes {
            alive = alive.checked_add(begins[node])?;
            if alive > peak {
                (peak, at) = (alive, node);
            }
            alive -= ends[node];
        }
        Some((peak, at))
    }
}

/// Whether the first result of a node is its first input in another shape.
pub(super) fn shows_its_input(node: &NodeProto) -> bool {
    is_standard_domain(&node.domain)
        && matches!(
            node.op_type.as_str(),
            "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Dropout"
        )
}
