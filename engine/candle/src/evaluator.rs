use adwp_engine::{EngineError, Graph, Leaf, Node, NodeId, Op, Statistics, Variables};
use candle_core::{DType, Device, Tensor, Var};

use crate::ops::{self, Moments, Purpose};
use crate::{CandleError, Result};

/// Computes nodes of a graph in candle, on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Evaluator<'a> {
    graph: &'a Graph,
    variables: &'a Variables,
    statistics: Statistics,
    dtype: DType,
}

/// The value of a one-element node and its gradients.
#[derive(Clone, Debug)]
pub struct Differentiated {
    /// Value of the node that was differentiated, in its shape.
    pub loss: Tensor,
    /// One gradient for each node asked for, in that order and of its shape.
    pub gradients: Vec<Tensor>,
}

impl<'a> Evaluator<'a> {
    /// An evaluator of `graph` with the parameters and statistics in `variables`, computing in
    /// `dtype`.
    ///
    /// # Errors
    /// [`CandleError::DType`] unless `dtype` is `F32` or `F64`.
    pub fn new(
        graph: &'a Graph,
        variables: &'a Variables,
        statistics: Statistics,
        dtype: DType,
    ) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(CandleError::DType(dtype));
        }
        Ok(Self { graph, variables, statistics, dtype })
    }

    /// The values of `outputs`, in that order. `feeds` must hold every input that they depend on.
    ///
    /// # Errors
    /// [`EngineError::Feed`] for a missing or misshapen feed, [`EngineError::UnknownVariable`] and
    /// [`EngineError::VariableShape`] for variables that do not fit the graph.
    pub fn values(&self, outputs: &[NodeId], feeds: &[(NodeId, &[f32])]) -> Result<Vec<Tensor>> {
        let needed = self.graph.ancestors(outputs);
        let mut values = self.leaves(&needed, feeds)?;
        self.compute(Purpose::Value, &needed, &mut values)?;
        Ok(outputs.iter().map(|&id| value(&values, id).clone()).collect())
    }

    /// The value of `loss` and its gradient with respect to each node of `trainable`: parameters or
    /// inputs.
    ///
    /// # Errors
    /// Those of [`Self::values`]; [`EngineError::LossShape`] when the loss has more than one
    /// element; [`EngineError::NotTrainable`] when a node is neither parameter nor input, or the
    /// loss does not depend on it.
    pub fn gradients(
        &self,
        loss: NodeId,
        trainable: &[NodeId],
        feeds: &[(NodeId, &[f32])],
    ) -> Result<Differentiated> {
        let loss_node = &self.graph[loss];
        if loss_node.shape.elements() != 1 {
            return Err(EngineError::LossShape {
                node: loss_node.name.clone(),
                shape: loss_node.shape.clone(),
            }
            .into());
        }
        let needed = self.graph.ancestors(&[loss]);
        let mut values = self.leaves(&needed, feeds)?;
        let mut variables = Vec::with_capacity(trainable.len());
        for &id in trainable {
            let node = &self.graph[id];
            let reason = match node.op.leaf() {
                Some(_) if needed[id.index()] => None,
                Some(_) => Some("the loss does not depend on it"),
                None => Some("it is neither a parameter nor an input"),
            };
            if let Some(reason) = reason {
                return Err(EngineError::NotTrainable { node: node.name.clone(), reason }.into());
            }
            let variable = Var::from_tensor(value(&values, id)).map_err(|e| failed(node, e))?;
            values[id.index()] = Some(variable.as_tensor().clone());
            variables.push(variable);
        }
        self.compute(Purpose::Gradient, &needed, &mut values)?;

        let failed = |source| CandleError::Backward {
            loss: loss_node.name.clone(),
            source: Box::new(source),
        };
        let loss = value(&values, loss).clone();
        let store = loss.backward().map_err(failed)?;
        let gradients = variables
            .iter()
            .map(|variable| match store.get(variable) {
                Some(gradient) => Ok(gradient.clone()),
                None => variable.zeros_like().map_err(failed),
            })
            .collect::<Result<_>>()?;
        Ok(Differentiated { loss: loss.detach(), gradients })
    }

    /// The inputs and parameters among the needed nodes; the other nodes are left empty.
    fn leaves(&self, needed: &[bool], feeds: &[(NodeId, &[f32])]) -> Result<Vec<Option<Tensor>>> {
        let mut values = vec![None; self.graph.len()];
        for (id, node) in self.graph.nodes().filter(|(id, _)| needed[id.index()]) {
            let data = match node.op.leaf() {
                Some(Leaf::Input) => {
                    let data =
                        feeds.iter().find(|(fed, _)| *fed == id).map_or(&[][..], |(_, data)| data);
                    let expected = node.shape.elements();
                    if data.len() != expected {
                        return Err(EngineError::Feed {
                            node: node.name.clone(),
                            expected,
                            found: data.len(),
                        }
                        .into());
                    }
                    data
                }
                Some(Leaf::Parameter(_)) => {
                    self.variables.at(self.variables.expect(&node.name, &node.shape)?).data()?
                }
                None => continue,
            };
            values[id.index()] =
                Some(tensor(data, &node.shape, self.dtype).map_err(|e| failed(node, e))?);
        }
        Ok(values)
    }

    /// Fills in the needed nodes that are still empty.
    pub(crate) fn compute(
        &self,
        purpose: Purpose,
        needed: &[bool],
        values: &mut [Option<Tensor>],
    ) -> Result<()> {
        for (id, node) in self.graph.nodes() {
            if needed[id.index()] && values[id.index()].is_none() {
                let inputs: Vec<&Tensor> =
                    node.inputs.iter().map(|&input| value(values, input)).collect();
                let moments = self.moments(node)?;
                let computed =
                    apply(purpose, node, &inputs, moments.as_ref()).map_err(|e| failed(node, e))?;
                values[id.index()] = Some(computed);
            }
        }
        Ok(())
    }

    /// What a BatchNorm normalises by, where that is not the batch.
    fn moments(&self, node: &Node) -> Result<Option<Moments>> {
        match self.statistics {
            Statistics::Running if node.op.keeps_statistics() => {
                let channels = [node.shape[1]].into();
                let load = |name: &str| {
                    let variable = self.variables.at(self.variables.expect(name, &channels)?);
                    tensor(variable.data()?, &variable.shape, self.dtype)
                        .map_err(|e| failed(node, e))
                };
                Ok(Some(Moments {
                    mean: load(&node.running_mean())?,
                    variance: load(&node.running_var())?,
                }))
            }
            Statistics::Running | Statistics::Batch => Ok(None),
        }
    }
}

fn apply(
    purpose: Purpose,
    node: &Node,
    inputs: &[&Tensor],
    running: Option<&Moments>,
) -> candle_core::Result<Tensor> {
    let third = inputs.get(2).copied();
    match &node.op {
        Op::Input | Op::Parameter { .. } => candle_core::bail!("has no value"),
        Op::Conv2d(conv) => ops::conv2d(purpose, conv, inputs[0], inputs[1], third),
        Op::BatchNorm(norm) => {
            ops::batch_norm(norm, inputs[0], third.map(|shift| [inputs[1], shift]), running)
        }
        Op::Relu => ops::relu(inputs[0]),
        Op::Activation(activation) => ops::activation(*activation, inputs[0]),
        Op::Gate => ops::gate(inputs[0], inputs[1]),
        Op::MaxPool(pool) => ops::max_pool(pool, inputs[0]),
        Op::AvgPool(pool) => ops::avg_pool(pool, inputs[0]),
        Op::GlobalAvgPool => ops::global_avg_pool(inputs[0]),
        Op::Add => ops::add(inputs),
        Op::Scale { factor } => inputs[0].affine(f64::from(*factor), 0.0),
        Op::WeightedSum { terms } => ops::weighted_sum(terms, inputs[0], &inputs[1..]),
        Op::Concat => Tensor::cat(inputs, 1),
        Op::Crop { top, left } => ops::crop(*top, *left, inputs[0]),
        &Op::Channels { groups, from, count } => ops::channels(groups, from, count, inputs[0]),
        Op::Select { index } => ops::select(*index, inputs[0]),
        Op::Linear => ops::linear(inputs[0], inputs[1], third),
        Op::Reshape => inputs[0].reshape(&node.shape[..]),
        Op::Softmax => ops::softmax(inputs[0]),
        Op::DropPath => ops::drop_path(inputs[0], inputs[1]),
        Op::CrossEntropy { smoothing } => ops::cross_entropy(*smoothing, inputs[0], inputs[1]),
    }
}

fn tensor(data: &[f32], shape: &[usize], dtype: DType) -> candle_core::Result<Tensor> {
    Tensor::from_slice(data, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// The graph lists nodes after what they read, and every ancestor of a needed node is needed.
pub(crate) fn value(values: &[Option<Tensor>], id: NodeId) -> &Tensor {
    values[id.index()].as_ref().expect("inputs are computed before the nodes that read them")
}

pub(crate) fn failed(node: &Node, source: candle_core::Error) -> CandleError {
    CandleError::Op { node: node.name.clone(), op: node.op.name(), source: Box::new(source) }
}
