use std::time::Duration;

use crate::{EngineError, Feed, Graph, NodeId, Result};

/// Which statistics a BatchNorm normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch; the running ones are updated on the way.
    Batch,
    /// The running ones.
    Running,
}

/// A tensor of a program: the value of a node, or the gradient of the loss with respect to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tensor {
    /// What the node computes.
    Value(NodeId),
    /// d loss / d value.
    Gradient(NodeId),
}

impl Tensor {
    /// How many elements it has.
    pub(crate) fn elements(self, graph: &Graph) -> usize {
        let (Self::Value(id) | Self::Gradient(id)) = self;
        graph[id].shape.elements()
    }
}

/// One gradient that a backward step writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradTarget {
    /// Position in the node's inputs.
    pub input: usize,
    /// Whether an earlier step wrote to this gradient, so that this one adds to it.
    pub accumulate: bool,
}

/// One step of a program. Backends execute the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Computes the value of a node.
    Forward(NodeId),
    /// Sets the gradient of the loss to 1.
    Seed(NodeId),
    /// Carries the gradient of a node to those of its inputs that need it.
    Backward {
        /// The node whose gradient is there.
        node: NodeId,
        /// Which inputs' gradients to write.
        targets: Vec<GradTarget>,
    },
}

/// How long one step of a program took. A step that does the work of several nodes has the name of
/// the last.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// Name of the node it computes or goes back through.
    pub node: String,
    /// Name of the node's operation.
    pub op: &'static str,
    /// Whether it is part of the backward pass.
    pub backward: bool,
    /// Bytes that it reads and writes, as `traffic_bytes` of the executor counts them.
    pub bytes: usize,
    /// Multiply-adds of its convolutions and linear layers, without what it computes a second time;
    /// `None` on a GPU, where a launch does the work of several nodes.
    pub multiply_adds: Option<u64>,
    /// Wall-clock time.
    pub time: Duration,
}

/// A compiled graph: what to compute in which order, for any backend.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) graph: Graph,
    pub(crate) steps: Vec<Step>,
    /// What stays readable after a run.
    pub(crate) persistent: Vec<Tensor>,
    pub(crate) statistics: Statistics,
}

impl Program {
    /// Compiles a training step: forward, then the gradients of `loss` with respect to `trainable`
    /// (parameters or inputs). BatchNorms use batch statistics. `outputs` stay readable after a
    /// run, as does the loss.
    ///
    /// # Errors
    /// [`EngineError::LossShape`] when the loss has more than one element,
    /// [`EngineError::NotTrainable`] when a trainable node is no parameter or input or does not
    /// reach the loss, [`EngineError::LeafOutput`] when an output is an input or a parameter.
    pub fn training(
        graph: &Graph,
        loss: NodeId,
        outputs: &[NodeId],
        trainable: &[NodeId],
    ) -> Result<Self> {
        let loss_node = &graph[loss];
        if loss_node.shape.elements() != 1 {
            return Err(EngineError::LossShape {
                node: loss_node.name.clone(),
                shape: loss_node.shape.clone(),
            });
        }
        let reaches_loss = graph.ancestors(&[loss]);
        for &id in trainable {
            let reason = match graph[id].op.leaf() {
                Some(_) if reaches_loss[id.0] => continue,
                Some(_) => "the loss does not depend on it",
                None => "it is neither a parameter nor an input",
            };
            return Err(EngineError::NotTrainable { node: graph[id].name.clone(), reason });
        }

        let mut kept = outputs.to_vec();
        kept.push(loss);
        let mut steps = forward(graph, &kept)?;

        let mut needs_gradient = vec![false; graph.len()];
        for &id in trainable {
            needs_gradient[id.0] = true;
        }
        for (id, node) in graph.nodes() {
            needs_gradient[id.0] |=
                reaches_loss[id.0] && node.inputs.iter().any(|i| needs_gradient[i.0]);
        }
        steps.push(Step::Seed(loss));
        let mut written = vec![false; graph.len()];
        for (id, node) in graph.nodes().rev() {
            if !(needs_gradient[id.0] && reaches_loss[id.0]) || node.inputs.is_empty() {
                continue;
            }
            let targets = node.inputs.iter().enumerate().filter(|(_, i)| needs_gradient[i.0]);
            let targets = targets
                .map(|(input, i)| GradTarget {
                    input,
                    accumulate: std::mem::replace(&mut written[i.0], true),
                })
                .collect();
            steps.push(Step::Backward { node: id, targets });
        }

        let mut persistent: Vec<Tensor> = kept.into_iter().map(Tensor::Value).collect();
        persistent.extend(trainable.iter().map(|&id| Tensor::Gradient(id)));
        Ok(Self { graph: graph.clone(), steps, persistent, statistics: Statistics::Batch })
    }

    /// The same with the running statistics, which then stay as they are: for training above layers
    /// that are frozen.
    ///
    /// # Errors
    /// [`EngineError::NotTrainable`] for a trainable node whose gradient passes through a BatchNorm:
    /// what a normalisation by other than its batch sends back is not known here.
    pub fn with_running_statistics(self) -> Result<Self> {
        let through = self.steps.iter().find_map(|step| match step {
            Step::Backward { node, .. } if self.graph[*node].op.keeps_statistics() => Some(*node),
            Step::Forward(_) | Step::Seed(_) | Step::Backward { .. } => None,
        });
        match through {
            Some(id) => Err(EngineError::NotTrainable {
                node: self.graph[id].name.clone(),
                reason: "its statistics are frozen, and gradients pass through it",
            }),
            None => Ok(Self { statistics: Statistics::Running, ..self }),
        }
    }

    /// Compiles the forward pass to `outputs` alone; each must be computed, not fed.
    ///
    /// With [`Statistics::Batch`] a run also moves the running statistics: that is how they are
    /// recomputed for an architecture.
    pub fn inference(graph: &Graph, outputs: &[NodeId], statistics: Statistics) -> Result<Self> {
        let steps = forward(graph, outputs)?;
        let persistent: Vec<Tensor> = outputs.iter().copied().map(Tensor::Value).collect();
        Ok(Self { graph: graph.clone(), steps, persistent, statistics })
    }

    /// The graph this was compiled from.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What is done, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What is fed for an input.
    ///
    /// # Errors
    /// [`EngineError::Feed`] when it is missing or has another size than the input,
    /// [`EngineError::StoredImages`] when it is images of another shape.
    pub(crate) fn feed<'a>(&self, id: NodeId, feeds: &[(NodeId, Feed<'a>)]) -> Result<Feed<'a>> {
        let feed =
            feeds.iter().find(|(fed, _)| *fed == id).map_or(Feed::Values(&[]), |(_, feed)| *feed);
        feed.fitting(&self.graph[id])
    }

    /// Which statistics its BatchNorms use.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }
}

fn forward(graph: &Graph, outputs: &[NodeId]) -> Result<Vec<Step>> {
    if let Some(leaf) = outputs.iter().find(|id| graph[**id].op.leaf().is_some()) {
        return Err(EngineError::LeafOutput(graph[*leaf].name.clone()));
    }
    let needed = graph.ancestors(outputs);
    Ok(graph
        .nodes()
        .filter(|(id, node)| needed[id.0] && node.op.leaf().is_none())
        .map(|(id, _)| Step::Forward(id))
        .collect())
}
