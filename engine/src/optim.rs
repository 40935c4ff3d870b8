//! Optimisers: they read gradients and change variables.

use rayon::prelude::*;

use crate::cpu::{Device, Executor};
use crate::{EngineError, NodeId, Result, Variables};

/// The state of an optimiser for one parameter: as many values as the parameter has.
pub type Slots = Vec<Vec<f32>>;

/// A gradient with the position of its parameter in the variables.
#[derive(Clone, Copy, Debug)]
pub struct Gradient<'a> {
    /// From [`Variables::position`].
    pub position: usize,
    /// d loss / d parameter, row-major.
    pub values: &'a [f32],
}

/// The gradients that `executor` left for `parameters`, in that order.
pub fn gradients<'a>(executor: &'a Executor, variables: &Variables, parameters: &[NodeId]) -> Result<Vec<Gradient<'a>>> {
    parameters
        .iter()
        .map(|&id| {
            let position = variables.position(&executor.program().graph()[id].name)?;
            Ok(Gradient { position, values: executor.gradient(id) })
        })
        .collect()
}

/// The Euclidean norm of all gradients of `parameters` together; where it exceeds `max_norm` they are scaled down to it
/// (PyTorch's `clip_grad_norm_`). Returns the norm before.
pub fn clip_gradient_norm(executor: &mut Executor, parameters: &[NodeId], max_norm: f32) -> f32 {
    let square = |g: &[f32]| g.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
    let norm = parameters.iter().map(|&id| square(executor.gradient(id))).sum::<f64>().sqrt() as f32;
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        for &id in parameters {
            executor.gradient_mut(id).iter_mut().for_each(|g| *g *= factor);
        }
    }
    norm
}

const CHUNK: usize = 1 << 14;

/// Stochastic gradient descent with momentum and L2 (PyTorch's `SGD` without dampening or Nesterov).
#[derive(Clone, Debug)]
pub struct Sgd {
    /// Share of the previous update kept.
    pub momentum: f32,
    /// L2 coefficient, added to the gradient.
    pub weight_decay: f32,
    velocity: Slots,
}

impl Sgd {
    /// An optimiser without history.
    pub fn new(momentum: f32, weight_decay: f32) -> Self {
        Self { momentum, weight_decay, velocity: Slots::new() }
    }

    /// v ← momentum · v + g + weight_decay · w; w ← w - rate · v. Every call must name the same parameters in the same order.
    pub fn step(&mut self, variables: &mut Variables, gradients: &[Gradient<'_>], rate: f32, device: &Device) -> Result<()> {
        let Self { momentum, weight_decay, velocity } = self;
        fit("velocity", velocity, gradients)?;
        for (gradient, velocity) in gradients.iter().zip(velocity) {
            let mut data = variables.take(gradient.position);
            device.install(|| {
                let chunks = data.par_chunks_mut(CHUNK).zip(velocity.par_chunks_mut(CHUNK)).zip(gradient.values.par_chunks(CHUNK));
                chunks.for_each(|((w, v), g)| {
                    for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
                        *v = *momentum * *v + (g + *weight_decay * *w);
                        *w -= rate * *v;
                    }
                });
            });
            variables.put(gradient.position, data);
        }
        Ok(())
    }

    /// Its history, one tensor a parameter, in the order of the gradients; for checkpoints.
    pub fn state(&self) -> Vec<(&'static str, &Slots)> {
        vec![("velocity", &self.velocity)]
    }

    /// Puts back what [`Self::state`] gave.
    pub fn restore(&mut self, mut take: impl FnMut(&'static str) -> Slots) {
        self.velocity = take("velocity");
    }
}

/// Adam with coupled L2: the decay enters the moments (PyTorch's `Adam(weight_decay=…)`), as the DARTS line of papers uses it.
#[derive(Clone, Debug)]
pub struct Adam {
    /// Decay of the first and the second moment.
    pub betas: (f32, f32),
    /// L2 coefficient, added to the gradient.
    pub weight_decay: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    steps: u64,
    first: Slots,
    second: Slots,
}

impl Adam {
    /// An optimiser without history; epsilon is 1e-8.
    pub fn new(betas: (f32, f32), weight_decay: f32) -> Self {
        Self { betas, weight_decay, epsilon: 1e-8, steps: 0, first: Slots::new(), second: Slots::new() }
    }

    /// One step at the given learning rate. Every call must name the same parameters in the same order.
    pub fn step(&mut self, variables: &mut Variables, gradients: &[Gradient<'_>], rate: f32) -> Result<()> {
        fit("first moment", &mut self.first, gradients)?;
        fit("second moment", &mut self.second, gradients)?;
        self.steps += 1;
        let (b1, b2) = self.betas;
        let correction = |b: f32| 1.0 - f64::from(b).powf(self.steps as f64);
        let (c1, c2) = (correction(b1), correction(b2));
        let (step_size, root) = ((f64::from(rate) / c1) as f32, c2.sqrt() as f32);
        for (gradient, (first, second)) in gradients.iter().zip(self.first.iter_mut().zip(&mut self.second)) {
            let data = variables.data_mut(gradient.position);
            for ((w, g), (m, v)) in data.iter_mut().zip(gradient.values).zip(first.iter_mut().zip(second)) {
                let g = g + self.weight_decay * *w;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *w -= step_size * *m / (v.sqrt() / root + self.epsilon);
            }
        }
        Ok(())
    }

    /// Its history, one tensor a parameter, in the order of the gradients; for checkpoints, with [`Self::steps`].
    pub fn state(&self) -> Vec<(&'static str, &Slots)> {
        vec![("first", &self.first), ("second", &self.second)]
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Puts back what [`Self::state`] and [`Self::steps`] gave.
    pub fn restore(&mut self, steps: u64, mut take: impl FnMut(&'static str) -> Slots) {
        self.steps = steps;
        self.first = take("first");
        self.second = take("second");
    }
}

/// Starts the history at zero, or checks that it belongs to these gradients.
fn fit(name: &str, slots: &mut Slots, gradients: &[Gradient<'_>]) -> Result<()> {
    if slots.is_empty() {
        *slots = gradients.iter().map(|g| vec![0.0; g.values.len()]).collect();
    }
    let (expected, found) = (gradients.iter().map(|g| g.values.len()).sum(), slots.iter().map(Vec::len).sum());
    if slots.len() != gradients.len() || slots.iter().zip(gradients).any(|(s, g)| s.len() != g.values.len()) {
        return Err(EngineError::OptimizerState { name: name.to_owned(), expected, found });
    }
    Ok(())
}
