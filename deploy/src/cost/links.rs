//! Which nodes write and read a tensor.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

/// Nodes by the tensors that they write and read.
pub(crate) struct Links<'a> {
    writers: HashMap<&'a str, &'a NodeProto>,
    readers: HashMap<&'a str, Vec<&'a NodeProto>>,
}

impl<'a> Links<'a> {
    pub(crate) fn of(graph: &'a GraphProto) -> Self {
        let mut links = Self { writers: HashMap::new(), readers: HashMap::new() };
        for node in &graph.node {
            links.writers.extend(node.output.iter().map(|name| (name.as_str(), node)));
            for name in &node.input {
                links.readers.entry(name).or_default().push(node);
            }
        }
        links
    }

    /// The node that `name` is a result of.
    pub(crate) fn writer(&self, name: &str) -> Option<&'a NodeProto> {
        self.writers.get(name).copied()
    }

    /// The nodes that have `name` among their inputs, in the order of the file.
    pub(crate) fn readers(&self, name: &str) -> &[&'a NodeProto] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }
}
