//! What every operation means: naive loops in `f64`, and gradients by central differences.

use std::collections::HashMap;

use adwp_engine::{Activation, Conv2d, Graph, Node, NodeId, Op, Pool, Shape, Variables};

/// Values of inputs and parameters, row-major.
pub(crate) type Leaves = HashMap<NodeId, Vec<f64>>;

/// Values of all nodes, by position in the graph.
///
/// BatchNorms use the running statistics in `running`, or those of the batch where there are none.
pub(crate) fn evaluate(
    graph: &Graph,
    leaves: &Leaves,
    running: Option<&Variables>,
) -> Vec<Vec<f64>> {
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let inputs: Vec<Operand<'_>> = node
            .inputs
            .iter()
            .map(|&i| Operand { shape: &graph[i].shape, data: &values[i.index()] })
            .collect();
        let value = match &node.op {
            Op::Input | Op::Parameter { .. } => leaves[&id].clone(),
            _ => apply(node, &inputs, running),
        };
        assert_eq!(value.len(), node.shape.elements(), "{} has the wrong size", node.name);
        values.push(value);
    }
    values
}

/// Derivative of the one-element `loss` along `direction`, which moves the values of one leaf.
pub(crate) fn derivative(
    graph: &Graph,
    leaves: &Leaves,
    loss: NodeId,
    leaf: NodeId,
    direction: &[(usize, f64)],
) -> f64 {
    const STEP: f64 = 1e-5;
    let at = |step: f64| {
        let mut moved = leaves.clone();
        let values = moved.get_mut(&leaf).expect("the node is a leaf");
        for &(i, d) in direction {
            values[i] += step * d;
        }
        evaluate(graph, &moved, None)[loss.index()][0]
    };
    (at(STEP) - at(-STEP)) / (2.0 * STEP)
}

/// How far the values are from a point where the derivative jumps: the smallest magnitude that a
/// ReLU reads, or the smallest distance between the two largest values of a pooling window.
pub(crate) fn distance_to_kink(graph: &Graph, values: &[Vec<f64>]) -> f64 {
    let mut distance = f64::INFINITY;
    for (_, node) in graph.nodes() {
        let Some(&x) = node.inputs.first() else { continue };
        let (shape, x) = (&graph[x].shape, &values[x.index()]);
        match &node.op {
            Op::Relu => distance = x.iter().fold(distance, |d, x| d.min(x.abs())),
            Op::Activation(Activation::Relu6) => {
                distance = x.iter().fold(distance, |d, x| d.min(x.abs()).min((x - 6.0).abs()))
            }
            Op::Activation(Activation::HardSigmoid | Activation::HardSwish) => {
                distance = x.iter().fold(distance, |d, x| d.min((x.abs() - 3.0).abs()));
            }
            Op::MaxPool(pool) => each_window(shape, &node.shape, pool, |_, window| {
                let mut seen: Vec<f64> = window.iter().map(|&i| x[i]).collect();
                seen.sort_by(|a, b| b.total_cmp(a));
                if let [first, second, ..] = seen[..] {
                    distance = distance.min(first - second);
                }
            }),
            _ => {}
        }
    }
    distance
}

#[derive(Clone, Copy)]
struct Operand<'a> {
    shape: &'a Shape,
    data: &'a [f64],
}

impl Operand<'_> {
    fn dims4(&self) -> [usize; 4] {
        self.shape.dims4().expect("an image")
    }

    fn dims2(&self) -> [usize; 2] {
        self.shape.dims2().expect("a matrix")
    }
}

fn apply(node: &Node, inputs: &[Operand<'_>], running: Option<&Variables>) -> Vec<f64> {
    let x = inputs[0];
    match &node.op {
        Op::Input | Op::Parameter { .. } => unreachable!("leaves have values already"),
        Op::Conv2d(conv) => conv2d(conv, x, inputs[1], inputs.get(2).copied(), &node.shape),
        Op::BatchNorm(norm) => {
            let moments = match running {
                Some(variables) => {
                    let load = |name: &str| {
                        variables
                            .get(name)
                            .unwrap()
                            .data()
                            .unwrap()
                            .iter()
                            .map(|&v| f64::from(v))
                            .collect::<Vec<_>>()
                    };
                    load(&node.running_mean()).into_iter().zip(load(&node.running_var())).collect()
                }
                None => moments(x),
            };
            batch_norm(
                x,
                &moments,
                f64::from(norm.epsilon),
                inputs.get(1).copied(),
                inputs.get(2).copied(),
            )
        }
        Op::Relu => x.data.iter().map(|&x| x.max(0.0)).collect(),
        Op::Activation(function) => x.data.iter().map(|&x| activation(*function, x)).collect(),
        Op::Gate => {
            let plane = x.data.len() / inputs[1].data.len();
            x.data.iter().enumerate().map(|(i, x)| x * inputs[1].data[i / plane]).collect()
        }
        Op::MaxPool(pool) => {
            let mut y = vec![0.0; node.shape.elements()];
            each_window(x.shape, &node.shape, pool, |o, window| {
                y[o] = window.iter().map(|&i| x.data[i]).fold(f64::NEG_INFINITY, f64::max);
            });
            y
        }
        Op::AvgPool(pool) => {
            let mut y = vec![0.0; node.shape.elements()];
            each_window(x.shape, &node.shape, pool, |o, window| {
                y[o] = window.iter().map(|&i| x.data[i]).sum::<f64>() / window.len() as f64;
            });
            y
        }
        Op::GlobalAvgPool => {
            let [_, _, h, w] = x.dims4();
            x.data
                .chunks_exact(h * w)
                .map(|plane| plane.iter().sum::<f64>() / (h * w) as f64)
                .collect()
        }
        Op::Add => (0..x.data.len()).map(|i| inputs.iter().map(|x| x.data[i]).sum()).collect(),
        Op::Scale { factor } => x.data.iter().map(|x| x * f64::from(*factor)).collect(),
        Op::WeightedSum { terms } => {
            let terms = terms.iter().zip(&inputs[1..]);
            (0..inputs[1].data.len())
                .map(|i| terms.clone().map(|(&t, y)| x.data[t] * y.data[i]).sum())
                .collect()
        }
        Op::Concat => {
            let [n, ..] = x.dims4();
            let mut y = Vec::new();
            for sample in 0..n {
                for x in inputs {
                    let len = x.data.len() / n;
                    y.extend_from_slice(&x.data[sample * len..][..len]);
                }
            }
            y
        }
        Op::Crop { top, left } => {
            let [_, _, h, w] = x.dims4();
            let rows = x.data.chunks_exact(w).enumerate().filter(|(row, _)| row % h >= *top);
            rows.flat_map(|(_, row)| &row[*left..]).copied().collect()
        }
        &Op::Channels { groups, from, count } => {
            let [_, c, h, w] = x.dims4();
            let samples = x.data.chunks_exact(c * h * w);
            let shuffled = samples.flat_map(|sample| {
                let planes: Vec<&[f64]> = sample.chunks_exact(h * w).collect();
                let groups: Vec<&[&[f64]]> = planes.chunks_exact(c / groups).collect();
                let order = (0..c / groups.len()).flat_map(|i| groups.iter().map(move |of| of[i]));
                order.skip(from).take(count).flatten().copied().collect::<Vec<_>>()
            });
            shuffled.collect()
        }
        Op::Select { index } => vec![x.data[*index]],
        Op::Linear => {
            let ([n, width], [out, _]) = (x.dims2(), inputs[1].dims2());
            let mut y = Vec::with_capacity(n * out);
            for row in x.data.chunks_exact(width) {
                for (o, weights) in inputs[1].data.chunks_exact(width).enumerate() {
                    let bias = inputs.get(2).map_or(0.0, |bias| bias.data[o]);
                    y.push(bias + row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>());
                }
            }
            y
        }
        Op::Reshape => x.data.to_vec(),
        Op::Softmax => {
            let width = *node.shape.last().expect("softmax of at least one dimension");
            x.data.chunks_exact(width).flat_map(softmax).collect()
        }
        Op::DropPath => {
            let len = x.data.len() / inputs[1].data.len();
            x.data.iter().enumerate().map(|(i, x)| x * inputs[1].data[i / len]).collect()
        }
        Op::CrossEntropy { smoothing } => {
            let [n, classes] = x.dims2();
            let smoothing = f64::from(*smoothing);
            let loss = |(row, &label): (&[f64], &f64)| {
                let log = softmax(row).into_iter().map(f64::ln).collect::<Vec<_>>();
                let uniform = log.iter().sum::<f64>() / classes as f64;
                -(1.0 - smoothing) * log[label as usize] - smoothing * uniform
            };
            vec![x.data.chunks_exact(classes).zip(inputs[1].data).map(loss).sum::<f64>() / n as f64]
        }
    }
}

fn activation(activation: Activation, x: f64) -> f64 {
    let (sigmoid, hard) = (1.0 / (1.0 + (-x).exp()), (x + 3.0).clamp(0.0, 6.0) / 6.0);
    match activation {
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::HardSigmoid => hard,
        Activation::HardSwish => x * hard,
        Activation::Sigmoid => sigmoid,
        Activation::Silu => x * sigmoid,
    }
}

fn conv2d(
    conv: &Conv2d,
    x: Operand<'_>,
    weight: Operand<'_>,
    bias: Option<Operand<'_>>,
    out: &Shape,
) -> Vec<f64> {
    let [_, channels, h, w] = x.dims4();
    let [outputs, per_group, k_h, k_w] = weight.dims4();
    let [n, _, out_h, out_w] = out.dims4().expect("an image");
    let position = |axis: usize, o: usize, tap: usize, size: usize| {
        (o * conv.stride[axis] + tap * conv.dilation)
            .checked_sub(conv.padding[axis])
            .filter(|&i| i < size)
    };
    let mut y = Vec::with_capacity(out.elements());
    for sample in 0..n {
        for output in 0..outputs {
            let group = output / (outputs / conv.groups);
            for oy in 0..out_h {
                for ox in 0..out_w {
                    let mut sum = bias.map_or(0.0, |bias| bias.data[output]);
                    for i in 0..per_group {
                        let channel = group * per_group + i;
                        for ky in 0..k_h {
                            let Some(iy) = position(0, oy, ky, h) else { continue };
                            for kx in 0..k_w {
                                let Some(ix) = position(1, ox, kx, w) else { continue };
                                sum += weight.data
                                    [((output * per_group + i) * k_h + ky) * k_w + kx]
                                    * x.data[((sample * channels + channel) * h + iy) * w + ix];
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

/// Mean and biased variance of every channel.
fn moments(x: Operand<'_>) -> Vec<(f64, f64)> {
    let [n, channels, h, w] = x.dims4();
    let count = (n * h * w) as f64;
    let planes = || x.data.chunks_exact(h * w).enumerate();
    (0..channels)
        .map(|c| {
            let values = || {
                planes()
                    .filter(move |(plane, _)| plane % channels == c)
                    .flat_map(|(_, plane)| plane)
            };
            let mean = values().sum::<f64>() / count;
            (mean, values().map(|x| (x - mean).powi(2)).sum::<f64>() / count)
        })
        .collect()
}

fn batch_norm(
    x: Operand<'_>,
    moments: &[(f64, f64)],
    epsilon: f64,
    scale: Option<Operand<'_>>,
    shift: Option<Operand<'_>>,
) -> Vec<f64> {
    let [_, channels, h, w] = x.dims4();
    let normalise = |(i, x): (usize, &f64)| {
        let c = i / (h * w) % channels;
        let (mean, variance) = moments[c];
        let y = (x - mean) / (variance + epsilon).sqrt();
        y * scale.map_or(1.0, |s| s.data[c]) + shift.map_or(0.0, |s| s.data[c])
    };
    x.data.iter().enumerate().map(normalise).collect()
}

/// Calls `visit` with every output position and the input positions that its window covers, padding
/// left out.
fn each_window(x: &Shape, y: &Shape, pool: &Pool, mut visit: impl FnMut(usize, &[usize])) {
    let [.., h, w] = x.dims4().expect("an image");
    let [n, channels, out_h, out_w] = y.dims4().expect("an image");
    let covered = |o: usize, size: usize| {
        let start = o * pool.stride;
        start.saturating_sub(pool.padding)
            ..(start + pool.kernel).saturating_sub(pool.padding).min(size)
    };
    let mut output = 0;
    for plane in 0..n * channels {
        for oy in 0..out_h {
            for ox in 0..out_w {
                let rows = covered(oy, h);
                let window: Vec<usize> = rows
                    .flat_map(|iy| covered(ox, w).map(move |ix| (plane * h + iy) * w + ix))
                    .collect();
                visit(output, &window);
                output += 1;
            }
        }
    }
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = row.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}
