use std::sync::Arc;

use adwp_engine::{Graph, NodeId, Statistics, Variables};
use candle_core::{DType, Module, Tensor};

use crate::evaluator::{self, Evaluator};
use crate::ops::Purpose;
use crate::{CandleError, Result};

/// A trained network with one input and one output, as a candle [`Module`]. BatchNorms use their
/// running statistics.
///
/// Whatever does not depend on the input (weights that the graph computes from parameters, for
/// instance) is computed once, when the network is made.
///
/// ```
/// use adwp_candle::Network;
/// use adwp_engine::{Graph, Init, Op, Variables};
/// use candle_core::{DType, Device, Module, Tensor};
///
/// let mut graph = Graph::new();
/// let image = graph.input("image", [1, 2])?;
/// let weight = graph.parameter("weight", [3, 2], Init::Constant(0.5))?;
/// let logits = graph.add("logits", Op::Linear, &[image, weight])?;
/// let mut variables = Variables::new();
/// # use rand::SeedableRng;
/// variables.initialize(&graph, &mut rand_chacha::ChaCha8Rng::seed_from_u64(0))?;
///
/// let network = Network::new(graph, variables, image, logits, DType::F32)?;
/// let y = network.forward(&Tensor::new(&[[1f32, 3.0]], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[2.0; 3]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Network {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    graph: Graph,
    variables: Variables,
    input: NodeId,
    output: NodeId,
    dtype: DType,
    needed: Vec<bool>,
    constants: Vec<Option<Tensor>>,
}

impl Network {
    /// A network that computes `output` from `input` in `dtype`, `F32` or `F64`. Both belong to
    /// `graph`.
    ///
    /// # Errors
    /// [`CandleError::Unrelated`] when the output does not depend on the input;
    /// [`CandleError::Engine`] when it also depends on another input, or when the variables do not
    /// fit the graph.
    pub fn new(
        graph: Graph,
        variables: Variables,
        input: NodeId,
        output: NodeId,
        dtype: DType,
    ) -> Result<Self> {
        let needed = graph.ancestors(&[output]);
        if !needed[input.index()] {
            return Err(CandleError::Unrelated {
                input: graph[input].name.clone(),
                output: graph[output].name.clone(),
            });
        }
        let mut varies = vec![false; graph.len()];
        varies[input.index()] = true;
        for (id, node) in graph.nodes() {
            varies[id.index()] |= node.inputs.iter().any(|i| varies[i.index()]);
        }
        let constant: Vec<NodeId> = graph
            .nodes()
            .map(|(id, _)| id)
            .filter(|id| needed[id.index()] && !varies[id.index()])
            .collect();
        let values = Evaluator::new(&graph, &variables, Statistics::Running, dtype)?
            .values(&constant, &[])?;
        let mut constants = vec![None; graph.len()];
        for (id, value) in constant.iter().zip(values) {
            constants[id.index()] = Some(value);
        }
        Ok(Self {
            shared: Arc::new(Shared { graph, variables, input, output, dtype, needed, constants }),
        })
    }

    /// The output for one batch. `x` has the shape of the input node, its batch included.
    ///
    /// # Errors
    /// [`CandleError::Input`] when `x` has another shape or type.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Shared { graph, variables, input, output, dtype, needed, constants } = &*self.shared;
        let node = &graph[*input];
        if x.dims() != &node.shape[..] || x.dtype() != *dtype {
            return Err(CandleError::Input {
                node: node.name.clone(),
                expected: node.shape.to_vec(),
                found: x.dims().to_vec(),
                expected_dtype: *dtype,
                found_dtype: x.dtype(),
            });
        }
        let mut values = constants.clone();
        values[input.index()] = Some(x.contiguous().map_err(|e| evaluator::failed(node, e))?);
        Evaluator::new(graph, variables, Statistics::Running, *dtype)?.compute(
            Purpose::Value,
            needed,
            &mut values,
        )?;
        Ok(evaluator::value(&values, *output).clone())
    }

    /// Shape of the tensor that [`Self::forward`] takes.
    pub fn input_shape(&self) -> &[usize] {
        &self.shared.graph[self.shared.input].shape
    }

    /// Shape of the tensor that [`Self::forward`] returns.
    pub fn output_shape(&self) -> &[usize] {
        &self.shared.graph[self.shared.output].shape
    }
}

impl Module for Network {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Network::forward(self, x).map_err(candle_core::Error::wrap)
    }
}
