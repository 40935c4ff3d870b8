//! Optimisers: they read gradients and change variables, on the device that they are given. And the
//! moving average of what they changed.

mod gradient;
mod rule;

use std::collections::{BTreeMap, HashMap};

pub use gradient::Gradient;
pub(crate) use gradient::{GradientData, Scale};
pub(crate) use rule::{AdamRule, Moments, SgdRule};

use crate::storage::Storage;
use crate::{Device, EngineError, Executor, NodeId, Result, Variables, cpu, cuda};

/// The gradients that `executor` left for `parameters`, in that order; they stay on its device.
pub fn gradients<'a>(
    executor: &'a Executor,
    variables: &Variables,
    parameters: &[NodeId],
) -> Result<Vec<Gradient<'a>>> {
    let gradient = |&id: &NodeId| {
        let position = variables.position(&executor.program().graph()[id].name)?;
        Ok(Gradient { position, source: executor.gradient_source(id), scale: Scale::Host(1.0) })
    };
    parameters.iter().map(gradient).collect()
}

/// The Euclidean norm of all gradients together, as optimisers see them.
///
/// # Errors
/// [`EngineError::Cuda`] when the device fails.
pub fn gradient_norm(gradients: &[Gradient<'_>], device: &Device) -> Result<f32> {
    match device {
        Device::Cpu(device) => cpu::optim::norm(gradients, device),
        Device::Cuda(device) => cuda::optim::norm(gradients, device),
    }
}

/// Where [`gradient_norm`] exceeds `max_norm`, optimisers see the gradients scaled down to it
/// (PyTorch's `clip_grad_norm_`, without a pass of its own).
///
/// # Errors
/// [`EngineError::Cuda`] when the device fails.
pub fn clip_gradient_norm(
    gradients: &mut [Gradient<'_>],
    max_norm: f32,
    device: &Device,
) -> Result<()> {
    match device {
        Device::Cpu(device) => cpu::optim::clip(gradients, max_norm, device),
        Device::Cuda(device) => cuda::optim::clip(gradients, max_norm, device),
    }
}

/// The history of an optimiser by name, in each of its parts one tensor a parameter.
pub type State<'a> = Vec<(&'static str, Vec<&'a [f32]>)>;

/// One part of a history: for each parameter as many values as it has.
type Slots = Vec<Storage>;

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// One step at the given learning rate.
    ///
    /// # Errors
    /// [`EngineError::OptimizerState`] when the history is that of other parameters,
    /// [`EngineError::Cuda`] when the device fails.
    fn step(
        &mut self,
        variables: &mut Variables,
        gradients: &[Gradient<'_>],
        rate: f32,
        device: &Device,
    ) -> Result<()>;
}

/// Stochastic gradient descent with momentum and L2 (PyTorch's `SGD` without dampening or
/// Nesterov).
#[derive(Clone, Debug)]
pub struct Sgd {
    /// Share of the previous update kept.
    pub momentum: f32,
    /// L2 coefficient, added to the gradient.
    pub weight_decay: f32,
    /// By the position of the parameter in the variables.
    velocity: BTreeMap<usize, Storage>,
}

impl Sgd {
    /// An optimiser without history.
    pub fn new(momentum: f32, weight_decay: f32) -> Self {
        Self { momentum, weight_decay, velocity: BTreeMap::new() }
    }

    /// The velocity of every parameter that was updated, by ascending position in the variables;
    /// for checkpoints.
    ///
    /// # Errors
    /// [`EngineError::Cuda`] when it cannot be read from the device.
    pub fn velocity(&self) -> Result<BTreeMap<usize, &[f32]>> {
        self.velocity.iter().map(|(position, slot)| Ok((*position, slot.host()?))).collect()
    }

    /// Puts back what [`Self::velocity`] gave.
    pub fn restore(&mut self, velocity: impl IntoIterator<Item = (usize, Vec<f32>)>) {
        let slot = |(position, values)| (position, Storage::new(values));
        self.velocity = velocity.into_iter().map(slot).collect();
    }
}

impl Optimizer for Sgd {
    /// v ← momentum · v + g + weight_decay · w; w ← w - rate · v, for the parameters of
    /// `gradients`, each named once. All others keep their values and their velocity, as those
    /// whose gradient is `None` do in PyTorch.
    fn step(
        &mut self,
        variables: &mut Variables,
        gradients: &[Gradient<'_>],
        rate: f32,
        device: &Device,
    ) -> Result<()> {
        let Self { momentum, weight_decay, velocity } = self;
        for gradient in gradients {
            let length = gradient.source.len();
            let zero = || Storage::new(vec![0.0; length]);
            let found = velocity.entry(gradient.position).or_insert_with(zero).len();
            if found != length {
                let name = "velocity".to_owned();
                return Err(EngineError::OptimizerState { name, expected: length, found });
            }
        }
        let mut by_position: HashMap<usize, &mut Storage> =
            velocity.iter_mut().map(|(position, slot)| (*position, slot)).collect();
        let mut slot = |gradient: &Gradient<'_>| {
            by_position.remove(&gradient.position).expect("a parameter has one gradient")
        };
        let velocity: &mut [&mut Storage] =
            &mut gradients.iter().map(&mut slot).collect::<Vec<_>>();
        let rule = SgdRule { momentum: *momentum, weight_decay: *weight_decay, rate };
        match device {
            Device::Cpu(device) => {
                cpu::optim::sgd_step(rule, variables, velocity, gradients, device)
            }
            Device::Cuda(device) => {
                cuda::optim::sgd_step(rule, variables, velocity, gradients, device)
            }
        }
    }
}

/// Adam with coupled L2: the decay enters the moments (PyTorch's `Adam(weight_decay=…)`), as the
/// DARTS line of papers uses it.
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
        Self {
            betas,
            weight_decay,
            epsilon: 1e-8,
            steps: 0,
            first: Slots::new(),
            second: Slots::new(),
        }
    }

    /// What the current step does.
    fn rule(&self, rate: f32) -> AdamRule {
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(self.steps as f64);
        let (first, second) = (correction(self.betas.0), correction(self.betas.1));
        AdamRule {
            betas: self.betas,
            weight_decay: self.weight_decay,
            epsilon: self.epsilon,
            step_size: (f64::from(rate) / first) as f32,
            root: second.sqrt() as f32,
        }
    }

    /// Its history, in the order of the gradients; for checkpoints, with [`Self::steps`].
    ///
    /// # Errors
    /// [`EngineError::Cuda`] when it cannot be read from the device.
    pub fn state(&self) -> Result<State<'_>> {
        Ok(vec![("first", on_host(&self.first)?), ("second", on_host(&self.second)?)])
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Puts back what [`Self::state`] and [`Self::steps`] gave.
    pub fn restore(&mut self, steps: u64, mut take: impl FnMut(&'static str) -> Vec<Vec<f32>>) {
        self.steps = steps;
        self.first = slots(take("first"));
        self.second = slots(take("second"));
    }
}

impl Optimizer for Adam {
    /// One step at the given learning rate. Every call must name the same parameters, each once, in
    /// the same order.
    fn step(
        &mut self,
        variables: &mut Variables,
        gradients: &[Gradient<'_>],
        rate: f32,
        device: &Device,
    ) -> Result<()> {
        fit("first moment", &mut self.first, gradients)?;
        fit("second moment", &mut self.second, gradients)?;
        self.steps += 1;
        let rule = self.rule(rate);
        let moments = Moments { first: &mut self.first, second: &mut self.second };
        match device {
            Device::Cpu(_) => cpu::optim::adam_step(rule, variables, moments, gradients),
            Device::Cuda(device) => {
                cuda::optim::adam_step(rule, variables, moments, gradients, device)
            }
        }
    }
}

/// Moves every one of `averages` towards the variable of the same name in `values`: average ← decay
/// · average + (1 - decay) · value. Where both are on a GPU, nothing leaves it.
///
/// # Errors
/// [`EngineError::UnknownVariable`] and [`EngineError::VariableShape`] when `values` lacks one, or
/// has it in another shape; [`EngineError::Cuda`] when the device fails. Nothing has changed where
/// a name or a shape is wrong.
pub fn moving_average(
    averages: &mut Variables,
    values: &mut Variables,
    decay: f32,
    device: &Device,
) -> Result<()> {
    let positions: Vec<usize> = averages
        .iter()
        .map(|average| values.expect(&average.name, &average.shape))
        .collect::<Result<_>>()?;
    match device {
        Device::Cpu(device) => cpu::optim::average(decay, averages, values, &positions, device),
        Device::Cuda(device) => cuda::optim::average(decay, averages, values, &positions, device),
    }
}

fn slots(values: Vec<Vec<f32>>) -> Slots {
    values.into_iter().map(Storage::new).collect()
}

fn on_host(slots: &Slots) -> Result<Vec<&[f32]>> {
    slots.iter().map(Storage::host).collect()
}

/// Starts the history at zero, or checks that it belongs to these gradients.
fn fit(name: &str, slots: &mut Slots, gradients: &[Gradient<'_>]) -> Result<()> {
    let lengths = || gradients.iter().map(|gradient| gradient.source.len());
    if slots.is_empty() {
        *slots = lengths().map(|length| Storage::new(vec![0.0; length])).collect();
    }
    if !slots.iter().map(Storage::len).eq(lengths()) {
        let (expected, found) = (lengths().sum(), slots.iter().map(Storage::len).sum());
        return Err(EngineError::OptimizerState { name: name.to_owned(), expected, found });
    }
    Ok(())
}
