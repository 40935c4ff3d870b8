//! What candle computes of a network, as a second execution next to the engine's and as a measure
//! of what rounding does to it.

use adwp_candle::Network;
use adwp_engine::Variables;
use adwp_models::Discrete;
use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::agree::{Logits, allowance};

/// Logits of `images`, one after the other, by candle in f32, and how far other executions in f32
/// may be from the engine's: `tolerance`, or more where rounding alone takes candle further from
/// what it computes in f64.
pub(crate) fn candle(
    net: &Discrete,
    variables: &Variables,
    images: &[f32],
    tolerance: f64,
) -> Result<(Logits, f64)> {
    let rounded = logits(net, variables, images, DType::F32)?;
    let exact = logits(net, variables, images, DType::F64)?;
    let values = rounded.iter().map(|&logit| logit as f32).collect();
    Ok((Logits { by: "candle".into(), values }, allowance(tolerance, &rounded, &exact)))
}

fn logits(net: &Discrete, variables: &Variables, images: &[f32], dtype: DType) -> Result<Vec<f64>> {
    let shape = &net.graph[net.images].shape;
    let network =
        Network::new(net.graph.clone(), variables.clone(), net.images, net.logits, dtype)?;
    let mut values = Vec::new();
    for images in images.chunks_exact(shape.elements()) {
        let x = Tensor::from_slice(images, &shape[..], &Device::Cpu)?.to_dtype(dtype)?;
        let y = network.forward(&x)?.flatten_all()?;
        values.extend(y.to_dtype(DType::F64)?.to_vec1::<f64>()?);
    }
    Ok(values)
}
