//! Optimisers: they read gradients and change variables.

use rayon::prelude::*;

use crate::cpu::{Device, Executor};
use crate::simd::kernel;
use crate::{EngineError, NodeId, Result, Variables};

/// The state of an optimiser for one parameter: as many values as the parameter has.
pub type Slots = Vec<Vec<f32>>;

/// A gradient with the position of its parameter in the variables.
#[derive(Clone, Copy, Debug)]
pub struct Gradient<'a> {
    position: usize,
    values: &'a [f32],
    /// The optimiser reads the values times this.
    scale: f32,
}

impl<'a> Gradient<'a> {
    /// d loss / d parameter, row-major, of the parameter at a position that [`Variables::position`] gave.
    pub fn new(position: usize, values: &'a [f32]) -> Self {
        Self { position, values, scale: 1.0 }
    }

    /// From [`Variables::position`].
    pub fn position(&self) -> usize {
        self.position
    }

    /// d loss / d parameter as an optimiser sees it: clipped, where it was.
    pub fn values(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        self.values.iter().map(|value| self.scale * value)
    }
}

/// The gradients that `executor` left for `parameters`, in that order.
pub fn gradients<'a>(executor: &'a Executor, variables: &Variables, parameters: &[NodeId]) -> Result<Vec<Gradient<'a>>> {
    parameters
        .iter()
        .map(|&id| Ok(Gradient::new(variables.position(&executor.program().graph()[id].name)?, executor.gradient(id))))
        .collect()
}

/// The Euclidean norm of all gradients together; where it exceeds `max_norm`, optimisers see them scaled down to it (PyTorch's
/// `clip_grad_norm_`, without a pass of its own). Returns the norm before.
pub fn clip_gradient_norm(gradients: &mut [Gradient<'_>], max_norm: f32, device: &Device) -> f32 {
    let square = |gradient: &Gradient<'_>| {
        let parts: Vec<f64> = gradient.values.par_chunks(CHUNK).map(sum_of_squares).collect();
        f64::from(gradient.scale).powi(2) * parts.into_iter().sum::<f64>()
    };
    let squares: Vec<f64> = device.install(|| gradients.par_iter().map(square).collect());
    let norm = squares.into_iter().sum::<f64>().sqrt() as f32;
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        gradients.iter_mut().for_each(|gradient| gradient.scale *= factor);
    }
    norm
}

kernel! {
    fn sum_of_squares(simd, values: &[f32]) -> f64 {
        let (chunks, rest) = values.as_chunks::<8>();
        let mut lanes = [0f64; 8];
        for values in chunks {
            for (lane, value) in lanes.iter_mut().zip(values) {
                *lane += f64::from(*value) * f64::from(*value);
            }
        }
        lanes.iter().sum::<f64>() + rest.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>()
    }

    fn momentum_step(simd, w: &mut [f32], v: &mut [f32], g: &[f32], scale: f32, momentum: f32, weight_decay: f32, rate: f32) {
        for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
            *v = momentum * *v + (scale * g + weight_decay * *w);
            *w -= rate * *v;
        }
    }
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
        // All parameters are cut into one list of pieces: most are too small for a task of their own.
        let mut taken: Vec<Vec<f32>> = gradients.iter().map(|gradient| variables.take(gradient.position)).collect();
        let pieces: Vec<_> = taken
            .iter_mut()
            .zip(velocity)
            .zip(gradients)
            .flat_map(|((w, v), gradient)| {
                let pieces = w.chunks_mut(CHUNK).zip(v.chunks_mut(CHUNK)).zip(gradient.values.chunks(CHUNK));
                pieces.map(|((w, v), g)| (w, v, g, gradient.scale))
            })
            .collect();
        device.install(|| {
            pieces.into_par_iter().for_each(|(w, v, g, scale)| momentum_step(w, v, g, scale, *momentum, *weight_decay, rate));
        });
        gradients.iter().zip(taken).for_each(|(gradient, data)| variables.put(gradient.position, data));
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
            for ((w, g), (m, v)) in data.iter_mut().zip(gradient.values()).zip(first.iter_mut().zip(second)) {
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
