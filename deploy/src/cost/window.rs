//! How many positions a sliding window takes: convolutions and pools.

use tract_onnx::pb::NodeProto;

use super::{attributes, values::Shape};

/// The window of a convolution or a pool over `n` spatial dimensions.
pub(super) struct Window {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    padding: Padding,
}

enum Padding {
    /// Before and after, for each spatial dimension; negative values crop.
    Explicit(Vec<(i64, i64)>),
    /// As many positions as the input has strides.
    Same,
}

impl Window {
    /// Reads stride, dilation and padding of `node` for a window of `kernel`.
    pub(super) fn read(node: &NodeProto, kernel: Vec<usize>) -> Result<Self, String> {
        let rank = kernel.len();
        let stride = attributes::sizes(node, "strides", rank)?;
        let dilation = attributes::sizes(node, "dilations", rank)?;
        let padding = match attributes::string(node, "auto_pad").as_deref() {
            None | Some("" | "NOTSET") => Padding::Explicit(explicit(node, rank)?),
            Some("VALID") => Padding::Explicit(vec![(0, 0); rank]),
            Some("SAME_UPPER" | "SAME_LOWER") => Padding::Same,
            Some(other) => return Err(format!("`auto_pad` is {other}")),
        };
        Ok(Self { kernel, stride, dilation, padding })
    }

    /// The extent of a dilated kernel.
    fn extent(&self, dim: usize) -> i128 {
        (self.kernel[dim] as i128 - 1) * self.dilation[dim] as i128 + 1
    }

    /// The spatial output of sliding over `input` `[spatial…]`. With `ceil`, a last window that
    /// starts inside the input and hangs over its end counts too.
    pub(super) fn slide(&self, input: &[usize], ceil: bool) -> Result<Shape, String> {
        let one = |(dim, &size): (usize, &usize)| {
            let (size, stride) = (size as i128, self.stride[dim] as i128);
            let positions = match &self.padding {
                Padding::Same => (size + stride - 1) / stride,
                Padding::Explicit(pads) => {
                    let (before, after) = (i128::from(pads[dim].0), i128::from(pads[dim].1));
                    let room = size + before + after - self.extent(dim);
                    if room < 0 {
                        return Err(self.does_not_fit(input));
                    }
                    let floor = room / stride + 1;
                    let hangs_over = ceil && room % stride != 0 && floor * stride < size + before;
                    floor + i128::from(hangs_over)
                }
            };
            self.checked(positions, input)
        };
        input.iter().enumerate().map(one).collect()
    }

    /// The spatial output of a transposed convolution over `input` `[spatial…]`.
    pub(super) fn spread(&self, input: &[usize], extra: &[i64]) -> Result<Shape, String> {
        let one = |(dim, &size): (usize, &usize)| {
            let (size, stride) = (size as i128, self.stride[dim] as i128);
            let full = stride * (size - 1) + i128::from(extra[dim]) + self.extent(dim);
            let positions = match &self.padding {
                // A kernel shorter than the stride leaves positions that only more than no padding
                // could add.
                Padding::Same => (size * stride).min(full),
                Padding::Explicit(pads) => full - i128::from(pads[dim].0) - i128::from(pads[dim].1),
            };
            self.checked(positions, input)
        };
        input.iter().enumerate().map(one).collect()
    }

    fn checked(&self, positions: i128, input: &[usize]) -> Result<usize, String> {
        match u32::try_from(positions) {
            Ok(positions) if positions > 0 => Ok(positions as usize),
            _ => Err(self.does_not_fit(input)),
        }
    }

    fn does_not_fit(&self, input: &[usize]) -> String {
        format!(
            "a kernel {:?} with dilation {:?} does not fit the input {input:?}",
            self.kernel, self.dilation
        )
    }
}

fn explicit(node: &NodeProto, rank: usize) -> Result<Vec<(i64, i64)>, String> {
    let Some(pads) = attributes::ints(node, "pads") else { return Ok(vec![(0, 0); rank]) };
    if pads.len() != 2 * rank {
        return Err(format!("`pads` has {} values for {rank} spatial dimensions", pads.len()));
    }
    let (before, after) = pads.split_at(rank);
    Ok(before.iter().copied().zip(after.iter().copied()).collect())
}
