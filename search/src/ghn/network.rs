use adwp_engine::{EngineError, Init, Role, Shape, Variable, VariableKind, Variables};
use adwp_models::Discrete;
use candle_core::{Device, Tensor, Var, backprop::GradStore};
use candle_nn::ops::sigmoid;
use rand::Rng;

use super::graph::{Cell, Topology, Vocabulary};
use crate::Result;

/// Width of embeddings and messages.
const WIDTH: usize = 32;
/// Width inside of the decoder.
const DECODER: usize = 64;

/// A graph network over the architecture (Zhang et al., Graph HyperNetworks for Neural Architecture
/// Search, 2019, section 4): nodes begin with an embedding of what they are, are updated one level
/// after the other along the topology and back, and a decoder reads the weights of convolutions
/// from their embeddings. All cells share it; the mean embedding of a cell is a message to the
/// inputs of the next.
pub(crate) struct GraphNetwork {
    vocabulary: Vocabulary,
    /// Number of passes along the topology and back.
    passes: usize,
    /// For each parameter its name and shape.
    layout: Vec<(String, Vec<usize>)>,
}

/// A forward pass: what was predicted, to be followed back.
pub(crate) struct Predicted {
    parameters: Vec<Var>,
    /// For each weight of the topology its values.
    weights: Vec<Tensor>,
}

/// The parameters of a pass, by position in the layout.
struct Parameters<'a>(&'a [Var]);

/// Positions of parameters in the layout.
const KINDS: usize = 0;
const FROM_CELL: usize = 1;
/// For each of the two directions: two layers of the message, then input, state and bias of the
/// GRU.
const DIRECTIONS: usize = 3;
const PER_DIRECTION: usize = 8;
const SLOTS: usize = DIRECTIONS + 2 * PER_DIRECTION;
const PER_SLOT: usize = 4;

impl GraphNetwork {
    pub(crate) fn new(vocabulary: Vocabulary, passes: usize) -> Self {
        let mut layout = vec![
            ("ghn/kinds".to_owned(), vec![vocabulary.kinds(), WIDTH]),
            ("ghn/from_cell/weight".to_owned(), vec![WIDTH, WIDTH]),
            ("ghn/from_cell/bias".to_owned(), vec![WIDTH]),
        ];
        for direction in ["along", "back"] {
            let mut add = |name: &str, shape: &[usize]| {
                layout.push((format!("ghn/{direction}/{name}"), shape.to_vec()));
            };
            add("message1/weight", &[WIDTH, WIDTH]);
            add("message1/bias", &[WIDTH]);
            add("message2/weight", &[WIDTH, WIDTH]);
            add("message2/bias", &[WIDTH]);
            add("gru/input", &[3 * WIDTH, WIDTH]);
            add("gru/input_bias", &[3 * WIDTH]);
            add("gru/state", &[3 * WIDTH, WIDTH]);
            add("gru/state_bias", &[3 * WIDTH]);
        }
        for (slot, shape) in &vocabulary.slots {
            let elements = shape.iter().product();
            let mut add = |name: &str, shape: &[usize]| {
                layout.push((format!("ghn/decoder/{slot}/{name}"), shape.to_vec()));
            };
            add("1/weight", &[DECODER, WIDTH]);
            add("1/bias", &[DECODER]);
            add("2/weight", &[elements, DECODER]);
            add("2/bias", &[elements]);
        }
        Self { vocabulary, passes, layout }
    }

    /// What a network is to this one.
    pub(crate) fn topology(&self, network: &Discrete) -> Topology {
        self.vocabulary.topology(network)
    }

    /// Bytes of its parameters.
    pub(crate) fn bytes(&self) -> usize {
        self.layout.iter().map(|(_, shape)| 4 * shape.iter().product::<usize>()).sum()
    }

    /// Adds its parameters with first values: those of PyTorch's layers, in the decoder Kaiming's.
    pub(crate) fn initialize(&self, variables: &mut Variables, rng: &mut impl Rng) -> Result<()> {
        for (position, (name, shape)) in self.layout.iter().enumerate() {
            let inputs = match shape[..] {
                [_, inputs] => inputs,
                _ => WIDTH,
            };
            let init = match (position, shape.len()) {
                (KINDS, _) => Init::Normal(1.0),
                // Kaiming's, so that what is decoded is as large as what it is decoded from.
                (SLOTS.., 2) => Init::Uniform((6.0 / inputs as f32).sqrt()),
                (SLOTS.., _) => Init::Constant(0.0),
                _ => Init::Uniform(1.0 / (inputs as f32).sqrt()),
            };
            let kind = VariableKind::Parameter { init };
            let shape = Shape::from(shape.clone());
            let data = kind.first_values(&shape, rng);
            variables.insert(Variable::new(name.clone(), shape, data, Role::Parameter));
        }
        Ok(())
    }

    /// Positions of its parameters.
    pub(crate) fn positions(&self, variables: &Variables) -> Result<Vec<usize>, EngineError> {
        self.layout.iter().map(|(name, _)| variables.position(name)).collect()
    }

    /// Predicts the weights of a topology.
    pub(crate) fn predict(&self, variables: &Variables, topology: &Topology) -> Result<Predicted> {
        let parameters = self
            .layout
            .iter()
            .map(|(name, shape)| {
                let data = variables.get(name)?.data()?;
                let tensor = Tensor::from_slice(data, shape.as_slice(), &Device::Cpu)?;
                Ok(Var::from_tensor(&tensor)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let weights = {
            let parameters = Parameters(&parameters);
            let embeddings = self.embed(&parameters, topology)?;
            self.decode(&parameters, topology, &embeddings)?
        };
        Ok(Predicted { parameters, weights })
    }

    /// For each cell the embeddings of its nodes, `[nodes, WIDTH]`.
    fn embed(&self, parameters: &Parameters<'_>, topology: &Topology) -> Result<Vec<Tensor>> {
        let mut embeddings = Vec::with_capacity(topology.cells.len());
        let mut from_before: Option<Tensor> = None;
        for cell in &topology.cells {
            let kinds: Vec<u32> = cell.kinds.iter().map(|&kind| kind as u32).collect();
            let kinds = Tensor::new(kinds, &Device::Cpu)?;
            let states = parameters.at(KINDS).index_select(&kinds, 0)?;
            let mut rows = split(&states)?;
            for _ in 0..self.passes {
                parameters.pass(0, cell, &mut rows, from_before.as_ref())?;
                parameters.pass(1, cell, &mut rows, None)?;
            }
            let states = Tensor::cat(&rows, 0)?;
            let mean = states.mean_keepdim(0)?;
            from_before = Some(parameters.linear(FROM_CELL, &mean)?);
            embeddings.push(states);
        }
        Ok(embeddings)
    }

    /// For each weight its values. Weights of one branch and shape are decoded together; those
    /// that are smaller than the largest of the branch are a slice of it.
    fn decode(
        &self,
        parameters: &Parameters<'_>,
        topology: &Topology,
        embeddings: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let mut decoded: Vec<Option<Tensor>> = vec![None; topology.weights.len()];
        for first in 0..topology.weights.len() {
            if decoded[first].is_some() {
                continue;
            }
            let (slot, shape) = (topology.weights[first].slot, topology.weights[first].shape);
            let alike: Vec<usize> = (first..topology.weights.len())
                .filter(|&i| (topology.weights[i].slot, topology.weights[i].shape) == (slot, shape))
                .collect();
            let rows = alike
                .iter()
                .map(|&i| {
                    embeddings[topology.weights[i].cell].narrow(0, topology.weights[i].node, 1)
                })
                .collect::<candle_core::Result<Vec<_>>>()?;
            let base = SLOTS + slot * PER_SLOT;
            let hidden = parameters.linear(base, &Tensor::cat(&rows, 0)?)?.relu()?;
            let largest = self.vocabulary.slots[slot].1;
            let (mut weight, mut bias) = (
                parameters.at(base + 2).as_tensor().clone(),
                parameters.at(base + 3).as_tensor().clone(),
            );
            if shape != largest {
                let taken = Tensor::new(slice(largest, shape), &Device::Cpu)?;
                weight = weight.index_select(&taken, 0)?;
                bias = bias.index_select(&taken, 0)?;
            }
            let values = hidden.matmul(&weight.t()?)?.broadcast_add(&bias)?;
            let inputs: usize = shape[1..].iter().product();
            let values = (values * f64::from((2.0 / inputs as f32).sqrt()))?;
            for (row, &i) in alike.iter().enumerate() {
                decoded[i] = Some(values.narrow(0, row, 1)?.flatten_all()?);
            }
        }
        Ok(decoded.into_iter().flatten().collect())
    }
}

impl Predicted {
    /// The values of a weight.
    pub(crate) fn values(&self, weight: usize) -> Result<Vec<f32>> {
        Ok(self.weights[weight].to_vec1()?)
    }

    /// The gradients of the parameters, in the order of the layout, of what has these gradients of
    /// the weights.
    pub(crate) fn gradients(&self, of_weights: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
        let mut sum: Option<Tensor> = None;
        for (weight, gradient) in self.weights.iter().zip(of_weights) {
            let term = (weight * Tensor::new(gradient, &Device::Cpu)?)?.sum_all()?;
            sum = Some(match sum {
                None => term,
                Some(sum) => (sum + term)?,
            });
        }
        let store = sum.map(|sum| sum.backward()).transpose()?;
        let gradient = |parameter: &Var| -> Result<Vec<f32>> {
            let found = store.as_ref().and_then(|store: &GradStore| store.get(parameter));
            Ok(match found {
                Some(gradient) => gradient.flatten_all()?.to_vec1()?,
                None => vec![0.0; parameter.elem_count()],
            })
        };
        self.parameters.iter().map(gradient).collect()
    }
}

impl Parameters<'_> {
    fn at(&self, position: usize) -> &Var {
        &self.0[position]
    }

    /// x Wᵀ + b.
    fn linear(&self, position: usize, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.at(position).t()?)?.broadcast_add(self.at(position + 1))
    }

    /// Updates the nodes of a cell level by level: along the topology in direction 0, back in
    /// direction 1. Nodes that read nothing get `outer`.
    fn pass(
        &self,
        direction: usize,
        cell: &Cell,
        rows: &mut [Tensor],
        outer: Option<&Tensor>,
    ) -> Result<()> {
        let base = DIRECTIONS + direction * PER_DIRECTION;
        let zero = Tensor::zeros((1, WIDTH), candle_core::DType::F32, &Device::Cpu)?;
        let mut messages: Vec<Tensor> = vec![zero.clone(); rows.len()];
        let levels = cell.levels.len();
        for step in 0..levels {
            let nodes = &cell.levels[if direction == 0 { step } else { levels - 1 - step }];
            let read = |node: usize| {
                if direction == 0 { &cell.before[node] } else { &cell.after[node] }
            };
            let mut received = Vec::with_capacity(nodes.len());
            for &node in nodes {
                let mut sum = match read(node)[..] {
                    [] => outer.unwrap_or(&zero).clone(),
                    [first, ..] => messages[first].clone(),
                };
                for &other in read(node).iter().skip(1) {
                    sum = (sum + &messages[other])?;
                }
                received.push(sum);
            }
            let states: Vec<&Tensor> = nodes.iter().map(|&node| &rows[node]).collect();
            let states =
                self.update(base, &Tensor::cat(&received, 0)?, &Tensor::cat(&states, 0)?)?;
            let sent = self.linear(base, &states)?.relu()?;
            let sent = self.linear(base + 2, &sent)?;
            for (place, &node) in nodes.iter().enumerate() {
                rows[node] = states.narrow(0, place, 1)?;
                messages[node] = sent.narrow(0, place, 1)?;
            }
        }
        Ok(())
    }

    /// A gated recurrent unit (Cho et al., 2014), as PyTorch computes it.
    fn update(&self, base: usize, message: &Tensor, state: &Tensor) -> candle_core::Result<Tensor> {
        let (input, hidden) = (self.linear(base + 4, message)?, self.linear(base + 6, state)?);
        let part = |of: &Tensor, i: usize| of.narrow(1, i * WIDTH, WIDTH);
        let reset = sigmoid(&(part(&input, 0)? + part(&hidden, 0)?)?)?;
        let keep = sigmoid(&(part(&input, 1)? + part(&hidden, 1)?)?)?;
        let new = (part(&input, 2)? + (reset * part(&hidden, 2)?)?)?.tanh()?;
        // (1 - keep) new + keep state
        &new + (keep * (state - &new)?)?
    }
}

fn split(rows: &Tensor) -> candle_core::Result<Vec<Tensor>> {
    (0..rows.dim(0)?).map(|row| rows.narrow(0, row, 1)).collect()
}

/// The flat positions of the first elements of each dimension.
fn slice(whole: [usize; 4], part: [usize; 4]) -> Vec<u32> {
    let mut positions = Vec::with_capacity(part.iter().product());
    for o in 0..part[0] {
        for i in 0..part[1] {
            for h in 0..part[2] {
                for w in 0..part[3] {
                    let position = ((o * whole[1] + i) * whole[2] + h) * whole[3] + w;
                    positions.push(position as u32);
                }
            }
        }
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::{NasBench201, Skeleton, Space, Stem};
    use adwp_train::Streams;

    fn space() -> NasBench201 {
        let skeleton =
            Skeleton { stem: Stem::Cifar, cells: 3, channels: 2, classes: 2, image: [1, 8, 8] };
        NasBench201::new(skeleton).unwrap()
    }

    fn network() -> (GraphNetwork, Variables) {
        let widest = space().build(&space().widest(), 1, None).unwrap();
        let network = GraphNetwork::new(Vocabulary::of(&widest).unwrap(), 1);
        let mut variables = Variables::new();
        network.initialize(&mut variables, &mut Streams::new(1).once("test")).unwrap();
        (network, variables)
    }

    const TEXT: &str =
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";

    fn topology(network: &GraphNetwork, text: &str) -> Topology {
        network.topology(&space().build(&space().parse(text).unwrap(), 1, None).unwrap())
    }

    #[test]
    fn weights_depend_on_the_whole_architecture_and_have_kaimings_variance() {
        let (network, variables) = network();
        let of = |text: &str| {
            let predicted = network.predict(&variables, &topology(&network, text)).unwrap();
            predicted.values(0).unwrap()
        };
        let first = of(TEXT);
        assert_eq!(first.len(), 2 * 2 * 9);
        assert_eq!(of(TEXT), first);
        // The first convolution is the same in both, what follows is not.
        assert_ne!(of(&TEXT.replace("avg_pool_3x3", "nor_conv_3x3")), first);
        let topology = topology(&network, TEXT);
        let predicted = network.predict(&variables, &topology).unwrap();
        let (mut squares, mut count) = (0.0, 0);
        for (i, weight) in topology.weights.iter().enumerate() {
            let inputs: usize = weight.shape[1..].iter().product();
            let values = predicted.values(i).unwrap();
            squares += values.iter().map(|v| v * v * inputs as f32 / 2.0).sum::<f32>();
            count += values.len();
        }
        let variance = squares / count as f32;
        assert!((0.05..3.0).contains(&variance), "{variance}");
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let (network, mut variables) = network();
        let topology = topology(&network, TEXT);
        let gradient: Vec<Vec<f32>> = topology
            .weights
            .iter()
            .enumerate()
            .map(|(i, weight)| {
                let count: usize = weight.shape.iter().product();
                (0..count).map(|j| ((i * 7 + j) % 5) as f32 - 2.0).collect()
            })
            .collect();
        let value = |variables: &Variables| -> f64 {
            let predicted = network.predict(variables, &topology).unwrap();
            let terms = gradient.iter().enumerate().map(|(i, gradient)| {
                let values = predicted.values(i).unwrap();
                values.iter().zip(gradient).map(|(v, g)| f64::from(v * g)).sum::<f64>()
            });
            terms.sum()
        };
        let predicted = network.predict(&variables, &topology).unwrap();
        let gradients = predicted.gradients(gradient.clone()).unwrap();
        let mut checked = 0;
        for (position, (name, shape)) in network.layout.iter().enumerate() {
            let count: usize = shape.iter().product();
            for element in [0, count / 2, count - 1] {
                let at = |step: f32, variables: &mut Variables| {
                    variables.get_mut(name).unwrap()[element] += step;
                    let result = value(variables);
                    variables.get_mut(name).unwrap()[element] -= step;
                    result
                };
                // Small, so that few layers pass a kink of a ReLU.
                let difference = (at(2e-3, &mut variables) - at(-2e-3, &mut variables)) / 4e-3;
                let found = f64::from(gradients[position][element]);
                assert!(
                    (found - difference).abs() < 0.02 * (1.0 + difference.abs()),
                    "{name}[{element}]: {found}, differences {difference}"
                );
                checked += usize::from(found != 0.0);
            }
        }
        assert!(checked > network.layout.len(), "most parameters have a part in it: {checked}");
    }

    #[test]
    fn slices_take_the_first_of_every_dimension() {
        assert_eq!(slice([2, 3, 1, 2], [2, 2, 1, 1]), [0, 2, 6, 8]);
    }
}
