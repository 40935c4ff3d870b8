//! Small whole networks, in the forms that the engine is made for, and random graphs.

use adwp_engine::{BatchNorm, Conv2d, NodeId, Op, Pool};

use crate::cases::{
    Build, Builder, Fill, cross_entropy, drop_path, generated_conv, normalised, separable,
};

/// Images to a loss.
pub(crate) const NETWORKS: &[(&str, Build)] = &[
    ("found network", found_network),
    ("hyper network", hyper_network),
    ("random graph", random_graph),
];

const WINDOW: Pool = Pool { kernel: 3, stride: 1, padding: 1 };

fn stem(b: &mut Builder, channels: usize) -> NodeId {
    let (h, w) = (b.between(7, 10), b.between(7, 10));
    let images = b.image_of(4, 3, h, w, Fill::Normal);
    let y = b.conv(images, channels, 3, Conv2d { padding: [1; 2], ..Conv2d::default() });
    normalised(b, y)
}

fn classifier(b: &mut Builder, x: NodeId) -> NodeId {
    let features = b.add(Op::GlobalAvgPool, &[x]);
    let logits = b.linear(features, 5);
    cross_entropy(b, logits)
}

/// ReLU, 1×1 convolution, BatchNorm: brings a cell's input to the cell's number of channels.
fn preprocess(b: &mut Builder, x: NodeId, channels: usize) -> NodeId {
    let active = b.add(Op::Relu, &[x]);
    let y = b.conv(active, channels, 1, Conv2d::default());
    normalised(b, y)
}

/// Halves the resolution by two offset 1×1 convolutions.
fn factorised_reduction(b: &mut Builder, x: NodeId, channels: usize) -> NodeId {
    let halving = Conv2d { stride: [2; 2], ..Conv2d::default() };
    let active = b.add(Op::Relu, &[x]);
    let even = b.conv(active, channels / 2, 1, halving);
    let cropped = b.add(Op::Crop { top: 1, left: 1 }, &[active]);
    let odd = b.conv(cropped, channels - channels / 2, 1, halving);
    let both = b.concat_cropped(even, odd);
    normalised(b, both)
}

fn pooled(b: &mut Builder, x: NodeId, op: fn(Pool) -> Op) -> NodeId {
    let y = b.add(op(WINDOW), &[x]);
    b.add(Op::BatchNorm(BatchNorm::default()), &[y])
}

/// Cells of separable and dilated convolutions, pools, skips and drop path, with a reduction
/// between them.
fn found_network(b: &mut Builder) -> NodeId {
    let mut x = stem(b, 4);
    for cell in 0..3 {
        let input = if cell == 1 { factorised_reduction(b, x, 4) } else { preprocess(b, x, 4) };
        let convolved = separable(b, input, 3, 1, 1);
        let wide = separable(b, convolved, 5, 1, 1);
        let dropped = drop_path(b, wide);
        let first = b.add(Op::Add, &[dropped, input]);
        let dilated = separable(b, first, 3, 1, 2);
        let max = pooled(b, input, Op::MaxPool);
        let second = b.add(Op::Add, &[dilated, max]);
        let far = separable(b, input, 5, 1, 2);
        let average = pooled(b, second, Op::AvgPool);
        let third = b.add(Op::Add, &[far, average]);
        x = b.add(Op::Concat, &[first, second, third]);
    }
    classifier(b, x)
}

/// Nodes that are softmax-weighted sums, with convolutions whose weights come from the same
/// probabilities.
fn hyper_network(b: &mut Builder) -> NodeId {
    let mut x = stem(b, 4);
    for _ in 0..2 {
        let input = preprocess(b, x, 3);
        let alpha = b.leaf([2, 5], Fill::Normal);
        let mut nodes = vec![input];
        for node in 0..2 {
            let p = b.add(Op::Softmax, &[alpha]);
            let earlier = nodes[nodes.len() - 1];
            let max = pooled(b, earlier, Op::MaxPool);
            let average = pooled(b, input, Op::AvgPool);
            let mut operands = vec![p, max, average, earlier];
            for from in [input, earlier] {
                let active = b.add(Op::Relu, &[from]);
                let y = generated_conv(b, active, p, 64);
                operands.push(b.add(Op::BatchNorm(BatchNorm::default()), &[y]));
            }
            let terms = (node * 5..node * 5 + 5).collect();
            nodes.push(b.add(Op::WeightedSum { terms }, &operands));
        }
        x = b.add(Op::Concat, &nodes[1..]);
    }
    classifier(b, x)
}

/// Operations that keep an image's shape, on nodes picked at random; some results are never read.
fn random_graph(b: &mut Builder) -> NodeId {
    const CHANNELS: usize = 4;
    let (h, w) = (b.between(4, 8), b.between(4, 8));
    let mut nodes = vec![
        b.image_of(3, CHANNELS, h, w, Fill::Normal),
        b.image_of(3, CHANNELS, h, w, Fill::Normal),
    ];
    for _ in 0..b.between(4, 16) {
        let (x, y, z) = (b.pick(&nodes), b.pick(&nodes), b.pick(&nodes));
        let node = match b.between(0, 12) {
            0 | 1 => b.add(Op::Relu, &[x]),
            2 => normalised(b, x),
            3 => b.add(Op::BatchNorm(BatchNorm::default()), &[x]),
            4 => b.conv(x, CHANNELS, 3, Conv2d { padding: [1; 2], ..Conv2d::default() }),
            5 => b.conv(
                x,
                CHANNELS,
                5,
                Conv2d { padding: [4; 2], dilation: 2, groups: CHANNELS, ..Conv2d::default() },
            ),
            6 => b.add(Op::Add, &[x, y, z]),
            7 => {
                let weights = b.leaf([3], Fill::Normal);
                b.add(Op::WeightedSum { terms: vec![2, 0, 2] }, &[weights, x, y, z])
            }
            8 => {
                let both = b.add(Op::Concat, &[x, y]);
                b.conv(both, CHANNELS, 1, Conv2d::default())
            }
            9 => b.add(Op::MaxPool(WINDOW), &[x]),
            10 => b.add(Op::AvgPool(WINDOW), &[x]),
            11 => drop_path(b, x),
            _ => {
                let rows = b.reshape(x, [3 * CHANNELS, h * w]);
                let soft = b.add(Op::Softmax, &[rows]);
                let back = b.reshape(soft, [3, CHANNELS, h, w]);
                b.add(Op::Scale { factor: -2.0 }, &[back])
            }
        };
        nodes.push(node);
    }
    let last = nodes[nodes.len() - 1];
    let other = b.pick(&nodes);
    let sum = b.add(Op::Add, &[last, other]);
    classifier(b, sum)
}
