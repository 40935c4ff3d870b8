//! Static quantisation to 8 bits, in the form of `QuantizeLinear` and `DequantizeLinear` nodes
//! around float operators (QDQ), which runtimes replace by integer ones.
//!
//! - Weights are int8, symmetric, one scale for each output channel. They use 7 of the 8 bits:
//!   processors without VNNI add two products of a uint8 and an int8 in 16 bits, and ±64 is as much
//!   as never overflows there.
//! - Activations are uint8, one scale for each tensor, from the smallest and the largest value of
//!   the calibration images. Tensors without negative values have zero point 0, the others 128.
//!   Quantising with zero point 0 cuts negative values off, so that no ReLU is left.
//! - Scales of activations are rounded up to powers of the fourth root of 2, so that few constants
//!   serve all tensors.
//! - Biases stay float: runtimes quantise them to int32 by the scales of input and weight when they
//!   fuse, and those that do not fuse are exact.
//! - Where a convolution is followed by others and nothing else, with or without a ReLU between, a
//!   factor of a channel can be moved from it to them (Nagel et al., Data-Free Quantization, 2019).
//!   It is moved so that all channels of the first have the same largest weight: one scale is then
//!   the scale of each channel, and is stored once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::Message;

use super::proto::{
    AttributeProto, GraphProto, INT8, ModelProto, NodeProto, TensorProto, UINT8, ValueInfoProto,
};
use crate::{ExportError, Result};

/// Largest magnitude of a quantised weight.
const LARGEST_WEIGHT: f32 = 64.0;

/// Scales of activations are powers of 2 to one over this.
const SCALES_AN_OCTAVE: f32 = 4.0;

/// Weights of two channels that differ by more than this keep a scale each: a factor so large would
/// leave some activations too few steps.
const LARGEST_FACTOR: f32 = 16.0;

/// How scales of activations are found, as the metadata says it.
pub const CALIBRATION: &str = "min-max";

/// A float network that is about to be quantised, and what the calibration images did in it so far.
#[derive(Clone, Debug)]
pub struct Quantizer {
    model: ModelProto,
    ranges: BTreeMap<String, Range>,
}

/// Smallest and largest value of a tensor; 0 is always one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Range {
    min: f32,
    max: f32,
}

impl Quantizer {
    /// Takes a float model as [`super::graph_to_onnx`] writes it.
    pub(super) fn new(mut model: ModelProto) -> Self {
        if let Some(graph) = &mut model.graph {
            equalize(graph);
        }
        Self { model, ranges: BTreeMap::new() }
    }

    /// The bytes of a model that gives, after its logits, every tensor that [`Self::observe`] has
    /// to be shown.
    pub fn calibration_model(&self) -> Vec<u8> {
        let mut model = self.model.clone();
        if let Some(graph) = &mut model.graph {
            let kind = graph.output.first().and_then(|output| output.r#type.clone());
            let mut kind = kind.unwrap_or_default();
            // Their shapes follow from the graph.
            if let Some(tensor) = &mut kind.tensor_type {
                tensor.shape = None;
            }
            let known: BTreeSet<&String> = graph.output.iter().map(|output| &output.name).collect();
            let inner = graph
                .node
                .iter()
                .flat_map(|node| &node.output)
                .filter(|name| !known.contains(name));
            let inner: Vec<_> = inner
                .map(|name| ValueInfoProto { name: name.clone(), r#type: Some(kind.clone()) })
                .collect();
            graph.output.extend(inner);
        }
        model.encode_to_vec()
    }

    /// Takes in the values of a tensor for some of the calibration images. The network's input is
    /// one of the tensors.
    ///
    /// # Errors
    /// [`ExportError::Calibration`] for a value that is not finite.
    pub fn observe(&mut self, tensor: &str, values: &[f32]) -> Result<()> {
        let range = match self.ranges.get_mut(tensor) {
            Some(range) => range,
            None => self.ranges.entry(tensor.to_owned()).or_default(),
        };
        for &value in values {
            if !value.is_finite() {
                return Err(ExportError::Calibration {
                    tensor: tensor.to_owned(),
                    reason: format!("has the value {value}"),
                });
            }
            range.min = range.min.min(value);
            range.max = range.max.max(value);
        }
        Ok(())
    }

    /// The quantised model.
    ///
    /// # Errors
    /// [`ExportError::Calibration`] for a tensor that was never observed.
    pub(super) fn finish(self) -> Result<ModelProto> {
        let Self { mut model, ranges } = self;
        if let Some(graph) = model.graph.take() {
            model.graph = Some(Writer::new(&graph, &ranges).write()?);
        }
        Ok(model)
    }
}

/// Who reads each tensor, as positions of nodes.
fn readers(graph: &GraphProto) -> HashMap<String, Vec<usize>> {
    let mut readers: HashMap<String, Vec<usize>> = HashMap::new();
    for (position, node) in graph.node.iter().enumerate() {
        for input in &node.input {
            readers.entry(input.clone()).or_default().push(position);
        }
    }
    readers
}

/// Moves factors of channels from convolutions to the ones behind them, until all channels of the
/// first have the same largest weight.
fn equalize(graph: &mut GraphProto) {
    let readers = readers(graph);
    let read_by = |tensor: &str| readers.get(tensor).map_or(&[][..], Vec::as_slice);
    for first in 0..graph.node.len() {
        let is = |node: usize, op: &str| graph.node[node].op_type == op;
        let mut behind = read_by(&graph.node[first].output[0]);
        if let &[relu] = behind
            && is(relu, "Relu")
        {
            behind = read_by(&graph.node[relu].output[0]);
        }
        if !is(first, "Conv")
            || behind.is_empty()
            || !behind.iter().all(|&reader| is(reader, "Conv"))
        {
            continue;
        }
        let convs: Vec<usize> = [first].iter().chain(behind).copied().collect();
        let weights: Option<Vec<usize>> =
            convs.iter().map(|&conv| constant_of(graph, conv, 1)).collect();
        let Some([weight, next @ ..]) = weights.as_deref() else { continue };
        let dims = |tensor: usize| graph.initializer[tensor].dims.as_slice();
        let channels = dims(*weight)[0];
        // Any other grouping does not occur, and neither do weights of two convolutions.
        let is_simple = next.iter().all(|&next| dims(next)[1] == 1 || dims(next)[1] == channels);
        let is_own = convs.iter().all(|&conv| read_by(&graph.node[conv].input[1]) == [conv]);
        let largest = largest_weights(&graph.initializer[*weight]);
        let Some(factors) =
            largest.filter(|_| is_simple && is_own).and_then(|largest| equalizing(&largest))
        else {
            continue;
        };
        let bias = constant_of(graph, first, 2);
        change(&mut graph.initializer[*weight], |i, dims| factors[i / elements(&dims[1..])]);
        if let Some(bias) = bias {
            change(&mut graph.initializer[bias], |i, _| factors[i]);
        }
        for &next in next {
            change(&mut graph.initializer[next], |i, dims| {
                1.0 / factors[input_channel(i, dims, factors.len())]
            });
        }
    }
}

/// Where the constant is that is an input of a node.
fn constant_of(graph: &GraphProto, node: usize, input: usize) -> Option<usize> {
    let name = graph.node[node].input.get(input)?;
    graph.initializer.iter().position(|stored| stored.name == *name)
}

fn elements(dims: &[i64]) -> usize {
    dims.iter().product::<i64>() as usize
}

/// The input channel that an element of a weight belongs to, of a depthwise convolution or one
/// without groups.
fn input_channel(i: usize, dims: &[i64], channels: usize) -> usize {
    let kernel = elements(&dims[2..]);
    if dims[1] == 1 { i / (kernel * dims[0] as usize / channels) } else { i / kernel % channels }
}

/// Multiplies every element of a tensor of floats by a factor of its own.
fn change(tensor: &mut TensorProto, factor: impl Fn(usize, &[i64]) -> f32) {
    let values = tensor.as_floats().unwrap_or_default();
    tensor.raw_data = values
        .iter()
        .enumerate()
        .flat_map(|(i, v)| (v * factor(i, &tensor.dims)).to_le_bytes())
        .collect();
}

/// The largest magnitude of each output channel's weights.
fn largest_weights(weight: &TensorProto) -> Option<Vec<f32>> {
    let values = weight.as_floats()?;
    let channels = usize::try_from(*weight.dims.first()?).ok().filter(|&channels| channels > 0)?;
    let each = (values.len() / channels).max(1);
    Some(
        values
            .chunks_exact(each)
            .map(|channel| channel.iter().fold(0.0, |largest, v| v.abs().max(largest)))
            .collect(),
    )
}

/// Factors that make all these numbers equal; none where they are too different.
fn equalizing(largest: &[f32]) -> Option<Vec<f32>> {
    let (least, most) = largest
        .iter()
        .fold((f32::INFINITY, 0.0f32), |(least, most), &v| (least.min(v), most.max(v)));
    if least <= 0.0 || most / least > LARGEST_FACTOR {
        return None;
    }
    let middle = (least * most).sqrt();
    Some(largest.iter().map(|v| middle / v).collect())
}

/// How a quantised tensor is read back: scale, and whether the zero point is 128.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    step: f32,
    is_signed: bool,
}

impl Scale {
    /// The finest one that holds all values of a range.
    fn of(range: Range) -> Self {
        let is_signed = range.min < 0.0;
        let step =
            if is_signed { (-range.min / 128.0).max(range.max / 127.0) } else { range.max / 255.0 };
        // A tensor of zeros is held by every scale.
        let step = if step > 0.0 {
            ((step.log2() * SCALES_AN_OCTAVE).ceil() / SCALES_AN_OCTAVE).exp2()
        } else {
            1.0
        };
        Self { step, is_signed }
    }
}

/// Writes the quantised graph. Its operators keep their names, in short; tensors, of which there
/// are many more, are numbered.
struct Writer<'a> {
    graph: &'a GraphProto,
    ranges: &'a BTreeMap<String, Range>,
    constants: HashMap<&'a str, &'a TensorProto>,
    readers: HashMap<String, Vec<usize>>,
    result: GraphProto,
    /// What tensors of the float graph are called now, as operators give them.
    plain: HashMap<String, String>,
    /// And as they are read back after quantisation.
    quantized: HashMap<String, String>,
    /// Constants that are there already, by content.
    shared: HashMap<(i32, Vec<u8>, Vec<i64>), String>,
    names: usize,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a GraphProto, ranges: &'a BTreeMap<String, Range>) -> Self {
        let constants =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let (input, output) = (graph.input.clone(), graph.output.clone());
        Self {
            graph,
            ranges,
            constants,
            readers: readers(graph),
            result: GraphProto { name: graph.name.clone(), input, output, ..GraphProto::default() },
            plain: HashMap::new(),
            quantized: HashMap::new(),
            shared: HashMap::new(),
            names: 0,
        }
    }

    fn write(mut self) -> Result<GraphProto> {
        for input in &self.graph.input {
            self.plain.insert(input.name.clone(), input.name.clone());
        }
        for node in &self.graph.node {
            self.node(node)?;
        }
        Ok(self.result)
    }

    fn node(&mut self, node: &NodeProto) -> Result<()> {
        let output = &node.output[0];
        match node.op_type.as_str() {
            "Relu" => {
                let x = self.value(&node.input[0]);
                let max = self.range(output)?.max;
                let quantized = self.quantize(x, Scale::of(Range { min: 0.0, max }));
                self.quantized.insert(output.clone(), quantized);
            }
            "Conv" | "Gemm" => {
                let x = self.needs_quantized(&node.input[0])?;
                let weight = self.weight(&node.input[1]);
                let mut inputs = vec![x, weight];
                if let Some(bias) = node.input.get(2) {
                    inputs.push(self.constant(bias));
                }
                self.operator(node, inputs);
                self.needs_quantized_unless_only_relus_read(output)?;
            }
            // They only move values: what they give has the scale of what they take, and runtimes
            // find that out.
            "MaxPool" | "Slice" | "Flatten" => {
                let inputs = self.values(node);
                self.operator(node, inputs);
                if self.quantized.contains_key(&node.input[0]) {
                    self.quantized.insert(output.clone(), self.plain[output].clone());
                }
            }
            _ => {
                let inputs = self.values(node);
                self.operator(node, inputs);
                self.needs_quantized_unless_only_relus_read(output)?;
            }
        }
        Ok(())
    }

    fn range(&self, tensor: &str) -> Result<Range> {
        let reason = || "was not observed".to_owned();
        self.ranges
            .get(tensor)
            .copied()
            .ok_or_else(|| ExportError::Calibration { tensor: tensor.to_owned(), reason: reason() })
    }

    /// A ReLU is a quantisation of its own; the output of the network is none.
    fn needs_quantized_unless_only_relus_read(&mut self, tensor: &str) -> Result<()> {
        let readers = self.readers.get(tensor).map_or(&[][..], Vec::as_slice);
        if !readers.iter().all(|&reader| self.graph.node[reader].op_type == "Relu") {
            self.needs_quantized(tensor)?;
        }
        Ok(())
    }

    /// A tensor, read back after quantisation.
    fn needs_quantized(&mut self, tensor: &str) -> Result<String> {
        if let Some(name) = self.quantized.get(tensor) {
            return Ok(name.clone());
        }
        let (x, scale) = (self.plain[tensor].clone(), Scale::of(self.range(tensor)?));
        let quantized = self.quantize(x, scale);
        self.quantized.insert(tensor.to_owned(), quantized.clone());
        Ok(quantized)
    }

    /// What readers of a tensor or constant of the float graph read now.
    fn value(&mut self, tensor: &str) -> String {
        match self.quantized.get(tensor).or_else(|| self.plain.get(tensor)) {
            Some(name) => name.clone(),
            None => self.constant(tensor),
        }
    }

    fn values(&mut self, node: &NodeProto) -> Vec<String> {
        node.input.iter().map(|input| self.value(input)).collect()
    }

    fn quantize(&mut self, x: String, scale: Scale) -> String {
        let step = self.shared(TensorProto::floats("", &[], &[scale.step]));
        let mut parameters = vec![step];
        if scale.is_signed {
            parameters.push(self.shared(TensorProto {
                dims: Vec::new(),
                data_type: UINT8,
                name: String::new(),
                raw_data: vec![128],
            }));
        }
        let (q, y) = (self.name(), self.name());
        self.result.node.push(NodeProto::new(
            "QuantizeLinear",
            "",
            [vec![x], parameters.clone()].concat(),
            &q,
        ));
        self.result.node.push(NodeProto::new(
            "DequantizeLinear",
            "",
            [vec![q], parameters].concat(),
            &y,
        ));
        y
    }

    /// A weight as int8, read back.
    fn weight(&mut self, name: &str) -> String {
        let Some(tensor) = self.constants.get(name).copied() else { return self.value(name) };
        let (Some(values), Some(largest)) = (tensor.as_floats(), largest_weights(tensor)) else {
            return self.constant(name);
        };
        let mut scales: Vec<f32> =
            largest.iter().map(|v| if *v > 0.0 { v / LARGEST_WEIGHT } else { 1.0 }).collect();
        let each = values.len() / scales.len();
        // Equalised channels differ in rounding alone.
        let most = scales.iter().copied().fold(0.0, f32::max);
        let is_one = scales.iter().all(|scale| (most - scale) / most < 1e-5);
        if is_one {
            scales = vec![most];
        }
        let scale_of = |i: usize| if is_one { most } else { scales[i / each] };
        let quantized = |(i, v): (usize, &f32)| {
            (v / scale_of(i)).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT) as i8
        };
        let raw_data = values.iter().enumerate().map(quantized).map(|v| v as u8).collect();
        let (stored, y) = (self.name(), self.name());
        self.result.initializer.push(TensorProto {
            dims: tensor.dims.clone(),
            data_type: INT8,
            name: stored.clone(),
            raw_data,
        });
        let shape = if is_one { vec![] } else { vec![scales.len()] };
        let scale = self.shared(TensorProto::floats("", &shape, &scales));
        let node = NodeProto::new("DequantizeLinear", "", vec![stored, scale], &y);
        self.result.node.push(if is_one {
            node
        } else {
            node.with(AttributeProto::integer("axis", 0))
        });
        y
    }

    /// A constant of the float graph as it is.
    fn constant(&mut self, name: &str) -> String {
        match self.constants.get(name).copied() {
            Some(tensor) => self.shared(tensor.clone()),
            None => name.to_owned(),
        }
    }

    /// A constant, stored once however often it is needed.
    fn shared(&mut self, tensor: TensorProto) -> String {
        let key = (tensor.data_type, tensor.raw_data.clone(), tensor.dims.clone());
        if let Some(name) = self.shared.get(&key) {
            return name.clone();
        }
        let name = self.name();
        self.result.initializer.push(TensorProto { name: name.clone(), ..tensor });
        self.shared.insert(key, name.clone());
        name
    }

    fn operator(&mut self, node: &NodeProto, input: Vec<String>) {
        let output = &node.output[0];
        let name = if self.graph.output.iter().any(|known| known.name == *output) {
            output.clone()
        } else {
            self.name()
        };
        self.plain.insert(output.clone(), name.clone());
        let attribute = node
            .attribute
            .iter()
            .filter(|attribute| !is_default(node, attribute))
            .cloned()
            .collect();
        self.result.node.push(NodeProto {
            name: short(&node.name),
            input,
            output: vec![name],
            attribute,
            ..node.clone()
        });
    }

    /// A name that no tensor has.
    fn name(&mut self) -> String {
        const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut rest = self.names;
        self.names += 1;
        let mut name = String::new();
        loop {
            name.insert(0, char::from(DIGITS[rest % DIGITS.len()]));
            rest /= DIGITS.len();
            if rest == 0 {
                return name;
            }
        }
    }
}

/// The name of a node with less of what all names have: `c1/n2/sep_5x5@0/dw1`. In a small network
/// names weigh as much as weights.
pub(super) fn short(name: &str) -> String {
    name.replace("cell", "c")
        .replace("/node", "/n")
        .replace("/input", "/in")
        .replace("_conv_", "_")
        .replace("_pool_", "_")
}

/// Whether an attribute says what the standard says without it. The kernel of a convolution is that
/// of its weight.
fn is_default(node: &NodeProto, attribute: &AttributeProto) -> bool {
    match (node.op_type.as_str(), attribute.name.as_str()) {
        ("Conv", "kernel_shape") => true,
        (_, "strides" | "dilations") => attribute.ints.iter().all(|&v| v == 1),
        (_, "pads") => attribute.ints.iter().all(|&v| v == 0),
        (_, "group") => attribute.i == Some(1),
        ("AveragePool", "count_include_pad") => attribute.i == Some(0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_its_range_and_little_more() {
        for (min, max) in
            [(0.0, 3.0), (-1.0, 0.5), (-0.5, 1.0), (-7.0, 7.0), (0.0, 1e-6), (-1e-3, 1e4)]
        {
            let Scale { step, is_signed } = Scale::of(Range { min, max });
            let zero: f32 = if is_signed { 128.0 } else { 0.0 };
            let [low, high] = [-zero * step, (255.0 - zero) * step];
            assert!(low <= min && high >= max * (1.0 - 1e-6), "{min} to {max}: {low} to {high}");
            // A fourth of an octave, and the side that has 127 steps.
            let wasted = (low / min).min(high / max);
            assert!(wasted.is_nan() || wasted < 1.21, "{min} to {max}: {low} to {high}");
        }
        assert_eq!(Scale::of(Range::default()), Scale { step: 1.0, is_signed: false });
    }

    fn stored(graph: &GraphProto, name: &str) -> Vec<f32> {
        graph.initializer.iter().find(|tensor| tensor.name == name).unwrap().as_floats().unwrap()
    }

    /// x → pointwise with bias → ReLU → depthwise → pointwise.
    fn chain(first: &[f32]) -> GraphProto {
        let conv = |name: &str, inputs: &[&str]| {
            NodeProto::new("Conv", name, inputs.iter().map(|i| (*i).to_owned()).collect(), name)
        };
        GraphProto {
            node: vec![
                conv("a", &["x", "a/w", "a/b"]),
                NodeProto::new("Relu", "r", vec!["a".into()], "r"),
                conv("b", &["r", "b/w"]),
                conv("c", &["b", "c/w"]),
            ],
            initializer: vec![
                TensorProto::floats("a/w", &[2, 2, 1, 1], first),
                TensorProto::floats("a/b", &[2], &[1.0, -8.0]),
                TensorProto::floats("b/w", &[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]),
                TensorProto::floats("c/w", &[1, 2, 1, 1], &[5.0, 6.0]),
            ],
            input: vec![ValueInfoProto { name: "x".into(), r#type: None }],
            ..GraphProto::default()
        }
    }

    #[test]
    fn factors_move_along_convolutions_and_the_product_stays() {
        let mut graph = chain(&[1.0, 0.5, -4.0, 2.0]);
        equalize(&mut graph);
        // The middle of 1 and 4 is 2: factors of 2 and one half. Behind them 2 and 8 are in the
        // middle of 1·2/2 and 4·2.
        assert_eq!(stored(&graph, "a/w"), [2.0, 1.0, -2.0, 1.0]);
        assert_eq!(stored(&graph, "a/b"), [2.0, -4.0]);
        let largest = largest_weights(&graph.initializer[2]).unwrap();
        assert!((largest[0] - largest[1]).abs() < 1e-6, "{largest:?}");
        let [a, b, c] = ["a/w", "b/w", "c/w"].map(|name| stored(&graph, name));
        let before = chain(&[1.0, 0.5, -4.0, 2.0]);
        let [p, q, r] = ["a/w", "b/w", "c/w"].map(|name| stored(&before, name));
        for channel in 0..2 {
            let now = a[2 * channel] * b[2 * channel + 1] * c[channel];
            let then = p[2 * channel] * q[2 * channel + 1] * r[channel];
            assert!((now - then).abs() < 1e-4, "{now} {then}");
        }
    }

    #[test]
    fn channels_that_are_too_different_stay_as_they_are() {
        for first in [[1.0, 0.5, -17.0, 2.0], [0.0, 0.0, 1.0, 1.0]] {
            let mut graph = chain(&first);
            equalize(&mut graph);
            assert_eq!(stored(&graph, "a/w"), first);
        }
    }

    #[test]
    fn what_was_not_seen_is_not_quantised() {
        let quantizer =
            Quantizer::new(ModelProto { graph: Some(chain(&[1.0; 4])), ..ModelProto::default() });
        let mut other = quantizer.clone();
        let refused = other.observe("x", &[1.0, f32::NAN]);
        assert!(matches!(
            refused,
            Err(ExportError::Calibration { tensor, .. }) if tensor == "x"
        ));
        assert!(matches!(quantizer.finish(), Err(ExportError::Calibration { .. })));
    }
}
