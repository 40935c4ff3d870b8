//! The operations of the graph in terms of candle's. Shapes have been checked by the graph.

use adwp_engine::{Activation, BatchNorm, Conv2d, Pool};
use candle_core::{D, DType, Device, Result, Tensor};

/// Whether a value will be differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Value,
    Gradient,
}

/// `x [n, c, h, w]`, `weight [o, c / groups, kh, kw]`, `bias [o]` → `[n, o, h', w']`.
pub(crate) fn conv2d(
    purpose: Purpose,
    conv: &Conv2d,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let x = &trail(&trail(x, 2, conv.trailing[0])?, 3, conv.trailing[1])?;
    let y = match purpose {
        Purpose::Value if is_square(conv) => {
            x.conv2d(weight, conv.padding[0], conv.stride[0], conv.dilation, conv.groups)?
        }
        Purpose::Value | Purpose::Gradient => conv2d_by_matmul(conv, x, weight)?,
    };
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// Whether both directions have one stride and one padding, as candle's convolution does.
fn is_square(conv: &Conv2d) -> bool {
    conv.stride[0] == conv.stride[1] && conv.padding[0] == conv.padding[1]
}

/// candle's backward pass takes the output padding of both directions from the height alone and
/// runs once for every group.
fn conv2d_by_matmul(conv: &Conv2d, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (out, per_group, kernel_h, kernel_w) = weight.dims4()?;
    let columns = per_group * kernel_h * kernel_w;
    let taps = taps(x, [kernel_h, kernel_w], conv.stride, conv.padding, conv.dilation, 0.0)?;
    let (n, _, h, w) = taps[0].dims4()?;
    let unfolded = Tensor::stack(&taps, 2)?.permute((1, 2, 0, 3, 4))?.reshape((
        conv.groups,
        columns,
        n * h * w,
    ))?;
    let weight = weight.reshape((conv.groups, out / conv.groups, columns))?;
    weight.matmul(&unfolded)?.reshape((out, n, h, w))?.transpose(0, 1)?.contiguous()
}

/// For each tap of a window, row by row, the image of what that tap sees: `[n, c, h', w']`.
fn taps(
    x: &Tensor,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: usize,
    fill: f64,
) -> Result<Vec<Tensor>> {
    let padded = pad(&pad(x, 2, padding[0], fill)?, 3, padding[1], fill)?;
    let (_, _, h, w) = padded.dims4()?;
    let positions = |axis: usize, size: usize, tap: usize| {
        let count = (size - dilation * (kernel[axis] - 1) - 1) / stride[axis] + 1;
        let first = (tap * dilation) as u32;
        Tensor::from_iter((0..count as u32).map(|i| first + i * stride[axis] as u32), x.device())
    };
    let mut taps = Vec::with_capacity(kernel[0] * kernel[1]);
    for row in 0..kernel[0] {
        let rows = padded.index_select(&positions(0, h, row)?, 2)?;
        for column in 0..kernel[1] {
            taps.push(rows.index_select(&positions(1, w, column)?, 3)?);
        }
    }
    Ok(taps)
}

/// x with as many zeros after it.
fn trail(x: &Tensor, dim: usize, zeros: usize) -> Result<Tensor> {
    if zeros == 0 {
        return Ok(x.clone());
    }
    x.pad_with_zeros(dim, 0, zeros)?.contiguous()
}

fn pad(x: &Tensor, dim: usize, padding: usize, fill: f64) -> Result<Tensor> {
    if padding == 0 {
        return x.contiguous();
    }
    let mut dims = x.dims().to_vec();
    dims[dim] = padding;
    let border = Tensor::full(fill, dims, x.device())?.to_dtype(x.dtype())?;
    Tensor::cat(&[&border, x, &border], dim)
}

/// The running mean and variance of a BatchNorm, `[c]` each.
pub(crate) struct Moments {
    pub(crate) mean: Tensor,
    pub(crate) variance: Tensor,
}

/// Normalises by the given moments, or by those of the batch.
pub(crate) fn batch_norm(
    norm: &BatchNorm,
    x: &Tensor,
    affine: Option<[&Tensor; 2]>,
    running: Option<&Moments>,
) -> Result<Tensor> {
    let per_channel = |v: &Tensor| v.reshape((1, (), 1, 1));
    let (centred, variance) = match running {
        Some(moments) => {
            (x.broadcast_sub(&per_channel(&moments.mean)?)?, per_channel(&moments.variance)?)
        }
        None => {
            let centred = x.broadcast_sub(&x.mean_keepdim((0, 2, 3))?)?;
            let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
            (centred, variance)
        }
    };
    let normal = centred.broadcast_div(&(variance + f64::from(norm.epsilon))?.sqrt()?)?;
    match affine {
        Some([scale, shift]) => {
            normal.broadcast_mul(&per_channel(scale)?)?.broadcast_add(&per_channel(shift)?)
        }
        None => Ok(normal),
    }
}

/// max(x, 0) with derivative 0 at 0; candle's own has derivative 1 there.
pub(crate) fn relu(x: &Tensor) -> Result<Tensor> {
    x.gt(0.0)?.where_cond(x, &x.zeros_like()?)
}

/// An activation other than ReLU; where its derivative jumps, it is that of the constant side.
pub(crate) fn activation(activation: Activation, x: &Tensor) -> Result<Tensor> {
    // Values below `low` and above `high` become those, with derivative 0 there.
    let clamped = |x: &Tensor, low: f64, high: f64| {
        let above = x.gt(low)?.where_cond(x, &x.zeros_like()?.affine(0.0, low)?)?;
        x.lt(high)?.where_cond(&above, &x.zeros_like()?.affine(0.0, high)?)
    };
    let hard_sigmoid = |x: &Tensor| clamped(&x.affine(1.0, 3.0)?, 0.0, 6.0)?.affine(1.0 / 6.0, 0.0);
    let sigmoid = |x: &Tensor| x.neg()?.exp()?.affine(1.0, 1.0)?.recip();
    match activation {
        Activation::Relu6 => clamped(x, 0.0, 6.0),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::HardSwish => x * hard_sigmoid(x)?,
        Activation::Sigmoid => sigmoid(x),
        Activation::Silu => x * sigmoid(x)?,
    }
}

/// `x [n, c, h, w]` times `gate [n, c]`.
pub(crate) fn gate(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let (n, c) = gate.dims2()?;
    x.broadcast_mul(&gate.reshape((n, c, 1, 1))?)
}

/// The maximum of each window; its gradient goes to the first of several maxima, row by row.
pub(crate) fn max_pool(pool: &Pool, x: &Tensor) -> Result<Tensor> {
    let taps =
        taps(x, [pool.kernel; 2], [pool.stride; 2], [pool.padding; 2], 1, f64::NEG_INFINITY)?;
    let mut best = taps[0].clone();
    for tap in &taps[1..] {
        best = tap.gt(&best)?.where_cond(tap, &best)?;
    }
    Ok(best)
}

/// The mean of each window over the positions inside of the image.
pub(crate) fn avg_pool(pool: &Pool, x: &Tensor) -> Result<Tensor> {
    let ones = Tensor::ones((1, 1, x.dim(2)?, x.dim(3)?), x.dtype(), x.device())?;
    let window_sum = |x: &Tensor| {
        let taps = taps(x, [pool.kernel; 2], [pool.stride; 2], [pool.padding; 2], 1, 0.0)?;
        taps[1..].iter().try_fold(taps[0].clone(), |sum, tap| sum + tap)
    };
    window_sum(x)?.broadcast_div(&window_sum(&ones)?)
}

/// `[n, c, h, w]` → `[n, c]`.
pub(crate) fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    x.mean((2, 3))
}

/// The sum of inputs of one shape.
pub(crate) fn add(inputs: &[&Tensor]) -> Result<Tensor> {
    inputs[1..].iter().try_fold(inputs[0].clone(), |sum, x| sum + *x)
}

/// Σ weights\[terms\[i\]\] · x_i.
pub(crate) fn weighted_sum(
    terms: &[usize],
    weights: &Tensor,
    inputs: &[&Tensor],
) -> Result<Tensor> {
    let weights = weights.flatten_all()?;
    let products = terms
        .iter()
        .zip(inputs)
        .map(|(&term, x)| x.broadcast_mul(&weights.narrow(0, term, 1)?.reshape(())?))
        .collect::<Result<Vec<_>>>()?;
    add(&products.iter().collect::<Vec<_>>())
}

/// `x [n, c, h, w]` without its first rows and columns.
pub(crate) fn crop(top: usize, left: usize, x: &Tensor) -> Result<Tensor> {
    x.narrow(2, top, x.dim(2)? - top)?.narrow(3, left, x.dim(3)? - left)?.contiguous()
}

/// `x [n, c, h, w]` → `count` of its channels from `from` on, after they were shuffled by `groups`.
pub(crate) fn channels(groups: usize, from: usize, count: usize, x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let shuffled = x.reshape((n, groups, c / groups, h, w))?.transpose(1, 2)?;
    shuffled.reshape((n, c, h, w))?.narrow(1, from, count)?.contiguous()
}

/// One element → `[1, 1]`.
pub(crate) fn select(index: usize, x: &Tensor) -> Result<Tensor> {
    x.flatten_all()?.narrow(0, index, 1)?.reshape((1, 1))
}

/// `x [n, i]`, `weight [o, i]`, `bias [o]` → `[n, o]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// Softmax over the last dimension.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax(x, D::Minus1)
}

/// `x [n, …]` times `mask [n]`.
pub(crate) fn drop_path(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let mut dims = vec![1; x.rank()];
    dims[0] = x.dim(0)?;
    x.broadcast_mul(&mask.reshape(dims)?)
}

/// `logits [n, classes]`, `labels [n]` → mean cross-entropy `[1]`.
pub(crate) fn cross_entropy(smoothing: f32, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let (n, classes) = logits.dims2()?;
    let smoothing = f64::from(smoothing);
    let class = Tensor::arange(0, classes as u32, &Device::Cpu)?.to_dtype(DType::F64)?;
    let labels = labels.detach().to_dtype(DType::F64)?.reshape((n, 1))?;
    let one_hot = labels.broadcast_eq(&class.reshape((1, classes))?)?.to_dtype(logits.dtype())?;
    let target = one_hot.affine(1.0 - smoothing, smoothing / classes as f64)?;
    let log_probability = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    (target * log_probability)?.sum_all()?.affine(-1.0 / n as f64, 0.0)?.reshape(1)
}
