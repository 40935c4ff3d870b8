//! Numbers that PyTorch 2.15 printed, each under the lines that made them. All of them share
//!
//! ```python
//! import torch, torch.nn.functional as F
//!
//! def ramp(*shape, period, scale):
//!     n = torch.Size(shape).numel()
//!     steps = torch.arange(n) * 7 % period - period // 2
//!     return (steps * scale).reshape(shape).requires_grad_()
//! ```

use adwp_engine::{
    BatchNorm, Conv2d, Executor, Graph, NodeId, Op, Pool, Program, Role, Shape, Statistics,
    Variable, Variables,
};

use crate::compare::assert_close;
use crate::device::device;

/// The numbers have seven digits; what is left is rounding in `f32` on both sides.
const TOLERANCE: f64 = 3e-6;

fn ramp(shape: &[usize], period: usize, scale: f32) -> Vec<f32> {
    let n: usize = shape.iter().product();
    (0..n).map(|i| ((i * 7 % period) as f32 - (period / 2) as f32) * scale).collect()
}

#[track_caller]
fn expect(what: &str, found: &[f32], printed: &[f64]) {
    assert_close(found, printed, TOLERANCE, &what);
}

/// A graph with fed leaves, and what a training step leaves in it.
#[derive(Default)]
struct Step {
    graph: Graph,
    feeds: Vec<(NodeId, Vec<f32>)>,
    variables: Variables,
}

impl Step {
    fn leaf(&mut self, shape: &[usize], data: Vec<f32>) -> NodeId {
        let id = self.graph.input(format!("leaf{}", self.feeds.len()), shape).unwrap();
        self.feeds.push((id, data));
        id
    }

    fn ramp(&mut self, shape: &[usize], period: usize, scale: f32) -> NodeId {
        self.leaf(shape, ramp(shape, period, scale))
    }

    /// Statistics that BatchNorm nodes start from.
    fn statistics(&mut self, node: &str, channels: usize) {
        for (statistic, value) in [("running_mean", 0.0), ("running_var", 1.0)] {
            let (name, shape) = (format!("{node}/{statistic}"), Shape::from([channels]));
            self.variables.insert(Variable::new(
                name,
                shape,
                vec![value; channels],
                Role::Statistic,
            ));
        }
    }

    fn add(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> NodeId {
        self.graph.add(name, op, inputs).unwrap()
    }

    /// The value of `y`, and the gradients of (y·y).sum() with respect to `leaves`.
    fn squared(self, y: NodeId, leaves: &[NodeId]) -> (Vec<f32>, Vec<Vec<f32>>) {
        let Self { mut graph, feeds, mut variables } = self;
        let elements = graph[y].shape.elements();
        let row = graph.reshape("row", y, [1, elements]).unwrap();
        let loss = graph.add("square", Op::Linear, &[row, row]).unwrap();
        run(&graph, loss, y, leaves, &feeds, &mut variables)
    }

    /// The value of `y`, and the gradients of y.sum().
    fn summed(self, y: NodeId, leaves: &[NodeId]) -> (Vec<f32>, Vec<Vec<f32>>) {
        let Self { mut graph, mut feeds, mut variables } = self;
        let elements = graph[y].shape.elements();
        let row = graph.reshape("row", y, [1, elements]).unwrap();
        let ones = graph.input("ones", [1, elements]).unwrap();
        feeds.push((ones, vec![1.0; elements]));
        let loss = graph.add("sum", Op::Linear, &[row, ones]).unwrap();
        run(&graph, loss, y, leaves, &feeds, &mut variables)
    }
}

fn run(
    graph: &Graph,
    loss: NodeId,
    y: NodeId,
    leaves: &[NodeId],
    feeds: &[(NodeId, Vec<f32>)],
    variables: &mut Variables,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let program = Program::training(graph, loss, &[y], leaves).unwrap();
    let mut executor = Executor::new(program, &device()).unwrap();
    let feeds: Vec<(NodeId, &[f32])> = feeds.iter().map(|(id, data)| (*id, &data[..])).collect();
    executor.run(variables, &feeds).unwrap();
    (
        executor.value(y).unwrap().into_owned(),
        leaves.iter().map(|&id| executor.gradient(id).unwrap().into_owned()).collect(),
    )
}

#[test]
fn depthwise_strided_dilated_convolution() {
    // x = ramp(1, 2, 4, 5, period=11, scale=0.25)
    // w = ramp(2, 1, 3, 3, period=5, scale=0.5)
    // y = F.conv2d(x, w, stride=2, padding=2, dilation=2, groups=2)
    // (y * y).sum().backward()
    // print(y, x.grad, w.grad)
    let mut step = Step::default();
    let x = step.ramp(&[1, 2, 4, 5], 11, 0.25);
    let w = step.ramp(&[2, 1, 3, 3], 5, 0.5);
    let y = step.add(
        "y",
        Op::Conv2d(Conv2d {
            stride: [2; 2],
            padding: [2; 2],
            dilation: 2,
            groups: 2,
            ..Conv2d::default()
        }),
        &[x, w],
    );
    let (y, gradients) = step.squared(y, &[x, w]);
    expect(
        "y",
        &y,
        &[-0.625, 0.0, 1.625, -1.125, 0.625, 0.875, -1.25, 2.625, -0.75, -0.375, 1.0, -0.625],
    );
    expect(
        "x.grad",
        &gradients[0],
        &[
            -1.875, 0.0, -4.375, 0.0, 2.875, 0.0, 0.0, 0.0, 0.0, 0.0, -3.0, 0.0, 2.625, 0.0, 2.875,
            0.0, 0.0, 0.0, 0.0, 0.0, 8.25, 0.0, -8.0, 0.0, 4.625, 0.0, 0.0, 0.0, 0.0, 0.0, -2.875,
            0.0, -3.625, 0.0, 6.875, 0.0, 0.0, 0.0, 0.0, 0.0,
        ],
    );
    expect(
        "w.grad",
        &gradients[1],
        &[
            -2.4375, 2.625, 1.4375, -1.0625, 5.75, 1.0625, 1.625, 4.375, -0.625, 3.0625, -2.4375,
            -0.0625, 4.125, -8.0625, 1.6875, -4.875, 0.4375, 3.25,
        ],
    );
}

#[test]
fn grouped_convolution_with_bias() {
    // x = ramp(2, 4, 3, 3, period=13, scale=0.125)
    // w = ramp(4, 2, 2, 2, period=7, scale=0.25)
    // b = torch.tensor([0.5, -1.0, 0.0, 2.0], requires_grad=True)
    // y = F.conv2d(x, w, b, groups=2)
    // (y * y).sum().backward()
    // print(y, x.grad, w.grad, b.grad)
    let mut step = Step::default();
    let x = step.ramp(&[2, 4, 3, 3], 13, 0.125);
    let w = step.ramp(&[4, 2, 2, 2], 7, 0.25);
    let b = step.leaf(&[4], vec![0.5, -1.0, 0.0, 2.0]);
    let y = step.add("y", Op::Conv2d(Conv2d { groups: 2, ..Conv2d::default() }), &[x, w, b]);
    let (y, gradients) = step.squared(y, &[x, w, b]);
    expect(
        "y",
        &y,
        &[
            1.34375, 0.96875, 1.4375, 1.0625, -0.15625, -0.53125, -0.0625, -0.4375, 0.1875,
            -0.1875, -0.9375, -0.09375, 2.1875, 1.8125, 1.0625, 1.90625, 0.03125, -0.34375,
            1.34375, 0.96875, -1.46875, -1.84375, -0.15625, -0.53125, 0.09375, 0.9375, 0.1875,
            -0.1875, 2.09375, 2.9375, 2.1875, 1.8125,
        ],
    );
    expect(
        "x.grad",
        &gradients[0],
        &[
            -1.78125, -2.4375, -0.65625, -3.84375, -5.4375, -1.59375, -2.0625, -3.0, -0.9375,
            -1.78125, -2.4375, -0.65625, -3.84375, -5.4375, -1.59375, -2.0625, -3.0, -0.9375,
            -3.5625, -6.0, -2.4375, -3.75, -8.90625, -5.15625, -0.1875, -2.90625, -2.71875,
            -3.5625, -6.0, -2.4375, -3.75, -8.90625, -5.15625, -0.1875, -2.90625, -2.71875,
            2.15625, 5.4375, 3.28125, 0.375, 3.0, 2.625, -1.78125, -2.4375, -0.65625, 2.15625,
            5.4375, 3.28125, 0.375, 3.0, 2.625, -1.78125, -2.4375, -0.65625, -3.28125, -9.09375,
            -5.8125, -6.84375, -15.09375, -8.25, -3.5625, -6.0, -2.4375, -3.28125, -9.09375,
            -5.8125, -6.84375, -15.09375, -8.25, -3.5625, -6.0, -2.4375,
        ],
    );
    expect(
        "w.grad",
        &gradients[1],
        &[
            -4.414062, -2.34375, -0.7421875, 0.109375, 0.9140625, 0.546875, -4.046875, -4.414062,
            -1.789062, -1.21875, 2.257812, 1.609375, -0.2109375, -2.078125, 0.078125, -1.789062,
            1.265625, -2.695312, -2.695312, 1.570312, 1.570312, -2.695312, -2.695312, 1.265625,
            1.265625, -0.6953125, 3.304688, 3.070312, 0.0703125, -8.695312, -4.695312, 1.265625,
        ],
    );
    expect("b.grad", &gradients[2], &[13.625, -10.375, 0.0, 32.0]);
}

#[test]
fn dense_strided_convolution() {
    // x = ramp(1, 2, 5, 4, period=17, scale=0.125)
    // w = ramp(3, 2, 3, 3, period=11, scale=0.25)
    // y = F.conv2d(x, w, stride=2, padding=1)
    // (y * y).sum().backward()
    // print(y, x.grad, w.grad)
    let mut step = Step::default();
    let x = step.ramp(&[1, 2, 5, 4], 17, 0.125);
    let w = step.ramp(&[3, 2, 3, 3], 11, 0.25);
    let y = step.add(
        "y",
        Op::Conv2d(Conv2d { stride: [2; 2], padding: [1; 2], ..Conv2d::default() }),
        &[x, w],
    );
    let (y, gradients) = step.squared(y, &[x, w]);
    expect(
        "y",
        &y,
        &[
            0.40625, -1.9375, 2.5625, 4.0, 0.28125, -1.84375, 1.59375, -0.4375, 1.15625, 0.96875,
            -1.9375, -0.5, 0.71875, -1.6875, 1.125, -0.34375, 1.0, -2.25,
        ],
    );
    expect(
        "x.grad",
        &gradients[0],
        &[
            -3.78125, -8.453125, 0.125, 5.84375, 4.4375, -21.15625, 1.640625, 5.84375, -1.609375,
            3.890625, -0.421875, -4.34375, 6.984375, -6.546875, 0.625, -2.1875, 4.984375,
            -13.21875, 0.328125, 6.765625, 0.90625, -0.25, 3.8125, -8.0, -0.546875, 1.03125, 6.125,
            -16.82812, -2.515625, 9.96875, -2.03125, 8.828125, -9.953125, 2.765625, -2.171875, 5.5,
            -4.6875, 1.703125, 4.46875, -8.859375,
        ],
    );
    expect(
        "w.grad",
        &gradients[1],
        &[
            -6.078125, 0.1796875, 4.679688, 8.171875, -11.03906, 2.070312, 1.390625, 10.42969,
            -10.38281, -3.921875, 11.82031, -7.320312, 8.390625, 0.6640625, 13.375, 3.453125,
            -12.42969, 2.882812, -1.445312, -3.632812, 1.265625, 2.078125, -7.007812, 4.5625,
            0.28125, 4.71875, -5.34375, -0.9765625, 6.414062, -3.164062, 2.109375, -4.304688,
            7.53125, 0.8125, -1.03125, -0.203125, 1.726562, 0.03125, -0.2578125, 4.578125,
            -3.234375, -2.828125, 3.125, 2.359375, -4.34375, -0.8671875, 4.875, 0.734375, 0.296875,
            2.5, 5.296875, 1.09375, -1.148438, 2.640625,
        ],
    );
}

#[test]
fn batch_norm_in_training_and_inference() {
    // bn = torch.nn.BatchNorm2d(2, eps=1e-3, momentum=0.1)
    // bn.weight.data = torch.tensor([1.5, -0.5])
    // bn.bias.data = torch.tensor([0.25, 2.0])
    // x = ramp(2, 2, 2, 3, period=11, scale=0.5)
    // y = bn(x)
    // (y * ramp(2, 2, 2, 3, period=9, scale=0.5)).sum().backward()
    // print(y, x.grad, bn.weight.grad, bn.bias.grad, bn.running_mean, bn.running_var)
    // bn.eval()
    // z = bn(x)
    // print(z)
    let mut step = Step::default();
    let x = step.ramp(&[2, 2, 2, 3], 11, 0.5);
    let (scale, shift) = (step.leaf(&[2], vec![1.5, -0.5]), step.leaf(&[2], vec![0.25, 2.0]));
    let y = step.add("bn", Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &[x, scale, shift]);
    step.statistics("bn", 2);
    let row = step.graph.reshape("row", y, [1, 24]).unwrap();
    let projection = step.ramp(&[1, 24], 9, 0.5);
    let loss = step.add("loss", Op::Linear, &[row, projection]);
    let Step { graph, feeds, mut variables } = step;
    let (value, gradients) = run(&graph, loss, y, &[x, scale, shift], &feeds, &mut variables);
    expect(
        "y",
        &value,
        &[
            -2.267795, 0.9859709, -0.8733239, 2.380442, 0.5211471, -1.338148, 1.251822, 1.893117,
            2.534412, 1.412146, 2.053441, 2.694736, 0.9859709, -0.8733239, 2.380442, 0.5211471,
            -1.338148, 1.915618, 1.893117, 2.534412, 1.412146, 2.053441, 2.694736, 1.57247,
        ],
    );
    expect(
        "x.grad",
        &gradients[0],
        &[
            -1.416038, 1.264904, 0.6625846, -0.8398875, -1.442206, 2.138888, -0.2501341,
            0.01007335, 0.2702808, 0.6966985, -0.486008, -0.2258005, -0.5943912, -1.19671,
            1.484231, 0.881912, 0.279593, -1.222879, 0.6513684, -0.531338, -0.1049203, 0.1552871,
            0.4154945, -0.6010017,
        ],
    );
    expect("bn.weight.grad", &gradients[1], &[3.408707, 1.763561]);
    expect("bn.bias.grad", &gradients[2], &[0.0, 0.0]);
    expect(
        "bn.running_mean",
        variables.get("bn/running_mean").unwrap().data().unwrap(),
        &[0.02083333, -0.03333334],
    );
    expect(
        "bn.running_var",
        variables.get("bn/running_var").unwrap().data().unwrap(),
        &[1.183902, 1.165151],
    );

    let program = Program::inference(&graph, &[y], Statistics::Running).unwrap();
    let mut executor = Executor::new(program, &device()).unwrap();
    let feeds: Vec<(NodeId, &[f32])> = feeds.iter().map(|(id, data)| (*id, &data[..])).collect();
    executor.run(&mut variables, &feeds).unwrap();
    expect(
        "z",
        &executor.value(y).unwrap(),
        &[
            -3.223716, 1.599294, -1.156711, 3.666299, 0.910293, -1.845713, 1.058542, 1.984566,
            2.910591, 1.290048, 2.216072, 3.142097, 1.599294, -1.156711, 3.666299, 0.910293,
            -1.845713, 2.977297, 1.984566, 2.910591, 1.290048, 2.216072, 3.142097, 1.521554,
        ],
    );
}

#[test]
fn max_pool_with_padding() {
    // x = ramp(1, 1, 4, 5, period=23, scale=0.25)
    // y = F.max_pool2d(x, 3, stride=2, padding=1)
    // (y * y).sum().backward()
    // print(y, x.grad)
    let mut step = Step::default();
    let x = step.ramp(&[1, 1, 4, 5], 23, 0.25);
    let y = step.add("y", Op::MaxPool(Pool { kernel: 3, stride: 2, padding: 1 }), &[x]);
    let (y, gradients) = step.squared(y, &[x]);
    expect("y", &y, &[2.0, 2.5, 2.5, 2.25, 2.75, 2.75]);
    expect(
        "x.grad",
        &gradients[0],
        &[
            0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 11.0, 0.0, 0.0, 4.5,
            0.0, 0.0, 0.0,
        ],
    );
}

#[test]
fn max_pool_of_equal_values_takes_the_first() {
    // x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    // F.max_pool2d(x, 3, stride=1, padding=1).sum().backward()
    // print(x.grad)
    let mut step = Step::default();
    let x = step.leaf(&[1, 1, 4, 4], vec![0.0; 16]);
    let y = step.add("y", Op::MaxPool(Pool { kernel: 3, stride: 1, padding: 1 }), &[x]);
    let (_, gradients) = step.summed(y, &[x]);
    expect(
        "x.grad",
        &gradients[0],
        &[4.0, 2.0, 2.0, 0.0, 2.0, 1.0, 1.0, 0.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    );
}

#[test]
fn relu_at_zero() {
    // x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    // F.relu(x).sum().backward()
    // print(x.grad)
    let mut step = Step::default();
    let x = step.leaf(&[3], vec![-1.0, 0.0, 2.0]);
    let y = step.add("y", Op::Relu, &[x]);
    let (_, gradients) = step.summed(y, &[x]);
    expect("x.grad", &gradients[0], &[0.0, 0.0, 1.0]);
}

#[test]
fn avg_pool_with_padding_stride_1() {
    // x = ramp(1, 1, 4, 5, period=23, scale=0.25)
    // y = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    // (y * y).sum().backward()
    // print(y, x.grad)
    let mut step = Step::default();
    let x = step.ramp(&[1, 1, 4, 5], 23, 0.25);
    let y = step.add("y", Op::AvgPool(Pool { kernel: 3, stride: 1, padding: 1 }), &[x]);
    let (y, gradients) = step.squared(y, &[x]);
    expect(
        "y",
        &y,
        &[
            -0.375, -0.4583333, 0.3333333, 0.1666667, 0.5625, -0.7916667, -0.5555556, 0.5555556,
            0.3888889, 0.625, 0.2916667, -0.1111111, 0.3611111, 0.1944444, 0.75, -0.125,
            -0.2083333, 0.5833333, 0.4166667, 0.8125,
        ],
    );
    expect(
        "x.grad",
        &gradients[0],
        &[
            -0.7276235,
            -0.4930556,
            0.1003086,
            0.8661265,
            0.6315587,
            -0.6550926,
            -0.3402778,
            0.1990741,
            1.239583,
            0.9247685,
            -0.4467593,
            -0.04861115,
            0.4490741,
            1.53125,
            1.133102,
            -0.05941358,
            0.2152778,
            0.3626543,
            1.11304,
            0.8383487,
        ],
    );
}

#[test]
fn avg_pool_with_padding_stride_2() {
    // x = ramp(1, 1, 4, 5, period=23, scale=0.25)
    // y = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    // (y * y).sum().backward()
    // print(y, x.grad)
    let mut step = Step::default();
    let x = step.ramp(&[1, 1, 4, 5], 23, 0.25);
    let y = step.add("y", Op::AvgPool(Pool { kernel: 3, stride: 2, padding: 1 }), &[x]);
    let (y, gradients) = step.squared(y, &[x]);
    expect("y", &y, &[-0.375, 0.3333333, 0.5625, 0.2916667, 0.3611111, 0.75]);
    expect(
        "x.grad",
        &gradients[0],
        &[
            -0.1875,
            -0.07638889,
            0.1111111,
            0.3923611,
            0.28125,
            -0.09027778,
            0.1010802,
            0.191358,
            0.722608,
            0.53125,
            0.09722222,
            0.1774691,
            0.08024691,
            0.3302469,
            0.25,
            0.09722222,
            0.1774691,
            0.08024691,
            0.3302469,
            0.25,
        ],
    );
}

#[test]
fn cross_entropy() {
    // x = ramp(3, 4, period=11, scale=0.5)
    // loss = F.cross_entropy(x, torch.tensor([2, 0, 3]), label_smoothing=0.0)
    // loss.backward()
    // print(loss, x.grad)
    let mut step = Step::default();
    let x = step.ramp(&[3, 4], 11, 0.5);
    let labels = step.leaf(&[3], vec![2.0, 0.0, 3.0]);
    let loss = step.add("loss", Op::CrossEntropy { smoothing: 0.0 }, &[x, labels]);
    let (loss, gradients) = step.summed(loss, &[x]);
    expect("loss", &loss, &[3.242759]);
    expect(
        "x.grad",
        &gradients[0],
        &[
            0.001782433,
            0.05902607,
            -0.325345,
            0.2645365,
            -0.2797734,
            0.007248551,
            0.2400391,
            0.03248575,
            0.008502604,
            0.2815676,
            0.03810603,
            -0.3281763,
        ],
    );
}

#[test]
fn cross_entropy_with_label_smoothing() {
    // x = ramp(3, 4, period=11, scale=0.5)
    // loss = F.cross_entropy(x, torch.tensor([2, 0, 3]), label_smoothing=0.1)
    // loss.backward()
    // print(loss, x.grad)
    let mut step = Step::default();
    let x = step.ramp(&[3, 4], 11, 0.5);
    let labels = step.leaf(&[3], vec![2.0, 0.0, 3.0]);
    let loss = step.add("loss", Op::CrossEntropy { smoothing: 0.1 }, &[x, labels]);
    let (loss, gradients) = step.summed(loss, &[x]);
    expect("loss", &loss, &[3.163592]);
    expect(
        "x.grad",
        &gradients[0],
        &[
            -0.006550902,
            0.05069273,
            -0.300345,
            0.2562031,
            -0.2547733,
            -0.001084784,
            0.2317057,
            0.02415241,
            0.0001692696,
            0.2732342,
            0.02977269,
            -0.3031762,
        ],
    );
}
