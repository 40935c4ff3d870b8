//! Norms and optimiser steps on a GPU. Gradients on the host are copied to it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::cuda::Device;
use crate::cuda::driver::Buffer;
use crate::cuda::problem::{Address, Problem, Region};
use crate::cuda::problems::optim::{ClipFactor, MovingAverage, Step, SumOfSquares};
use crate::cuda::schedule::Task;
use crate::cuda::table::Content;
use crate::optim::{AdamRule, Gradient, GradientData, Moments, Scale, SgdRule};
use crate::storage::Storage;
use crate::{Result, Variables};

/// Where [`ClipFactor`] puts the norm, and where the factor.
const NORM: usize = 0;
const FACTOR: usize = 1;
/// Bytes of both.
const RESULT: usize = 2 * size_of::<f32>();

/// What an operation on parameters works on: addresses by the number of their [`Region::Operand`].
#[derive(Default)]
struct Operands {
    addresses: Vec<u64>,
    /// Memory of the device that is not given back before everything was started.
    copies: Vec<Arc<Buffer>>,
}

impl Operands {
    fn add(&mut self, address: u64) -> Region {
        self.addresses.push(address);
        Region::Operand(u32::try_from(self.addresses.len() - 1).expect("fewer than 2³² operands"))
    }

    fn keep(&mut self, buffer: Arc<Buffer>) -> Region {
        let region = self.add(buffer.address());
        self.copies.push(buffer);
        region
    }

    fn gradient(&mut self, gradient: &Gradient<'_>, device: &Device) -> Result<Region> {
        match gradient.source {
            GradientData::Cuda(executor, id) => Ok(self.add(executor.gradient_address(id))),
            GradientData::Host(values) => {
                let copy = device.scratch(("gradient", gradient.position), size_of_val(values))?;
                copy.upload(values)?;
                Ok(self.keep(copy))
            }
        }
    }

    /// A factor that differs from 1 or is on the device already.
    fn scale(&mut self, gradient: &Gradient<'_>, device: &Device) -> Result<Option<Address>> {
        match &gradient.scale {
            Scale::Host(1.0) => Ok(None),
            Scale::Host(scale) => {
                let copy = device.scratch(("scale", gradient.position), size_of::<f32>())?;
                copy.upload(&[*scale])?;
                Ok(Some(self.keep(copy).into()))
            }
            Scale::Cuda(buffer, at) => {
                Ok(Some(Address { region: self.keep(Arc::clone(buffer)), offset: *at }))
            }
        }
    }

    fn of(&self, region: Region) -> u64 {
        self.addresses[region.operand()]
    }

    fn address(&self, Address { region, offset }: Address) -> u64 {
        self.of(region) + (offset * size_of::<f32>()) as u64
    }

    fn start<P: Problem>(&self, problems: &[P], device: &Device) -> Result<()> {
        let tasks: Vec<Task> = problems.iter().map(Task::new).collect();
        device.launch(Content::new([tasks.iter().collect()], |region| self.of(region)))
    }
}

/// The Euclidean norm of all gradients together; waits for it.
pub(crate) fn norm(gradients: &[Gradient<'_>], device: &Device) -> Result<f32> {
    let result = device.scratch(("norm", positions(gradients)), RESULT)?;
    let mut norms = Norms::new(gradients, device)?;
    norms.factor(f64::INFINITY, None, &result, device)?;
    let mut norm = [0.0];
    result.download_at(NORM * size_of::<f32>(), &mut norm)?;
    Ok(norm[0])
}

/// Scales the gradients down where their norm exceeds `max_norm`, without waiting for it: the scale
/// of each becomes a number in device memory, which includes the scale it had.
pub(crate) fn clip(gradients: &mut [Gradient<'_>], max_norm: f32, device: &Device) -> Result<()> {
    let mut norms = Norms::new(gradients, device)?;
    let key = positions(gradients);
    // Gradients that had the same scale get the same.
    let mut results: HashMap<Option<u64>, Arc<Buffer>> = HashMap::new();
    for gradient in gradients {
        let scale = norms.operands.scale(gradient, device)?;
        let before = scale.map(|scale| norms.operands.address(scale));
        let result = match results.entry(before) {
            Entry::Occupied(result) => Arc::clone(result.get()),
            Entry::Vacant(place) => {
                let result = device.scratch(("clip", &key, before), RESULT)?;
                norms.factor(f64::from(max_norm), scale, &result, device)?;
                Arc::clone(place.insert(result))
            }
        };
        gradient.scale = Scale::Cuda(result, FACTOR);
    }
    Ok(())
}

/// What distinguishes one set of gradients from another.
fn positions(gradients: &[Gradient<'_>]) -> Vec<usize> {
    gradients.iter().map(|gradient| gradient.position).collect()
}

/// The squares of gradients, added up as far as blocks do.
struct Norms {
    operands: Operands,
    partial: Region,
    count: usize,
}

impl Norms {
    fn new(gradients: &[Gradient<'_>], device: &Device) -> Result<Self> {
        let mut operands = Operands::default();
        let count =
            gradients.iter().map(|gradient| SumOfSquares::blocks_of(gradient.source.len())).sum();
        let partial = operands
            .keep(device.scratch(("squares", positions(gradients)), count * size_of::<f64>())?);
        let mut problems = Vec::with_capacity(gradients.len());
        let mut first_block = 0;
        for gradient in gradients {
            let elements = gradient.source.len();
            let scale = operands.scale(gradient, device)?;
            let partial = Address {
                region: partial,
                offset: first_block * size_of::<f64>() / size_of::<f32>(),
            };
            problems.push(SumOfSquares {
                gradient: operands.gradient(gradient, device)?,
                scale,
                elements,
                partial,
            });
            first_block += SumOfSquares::blocks_of(elements);
        }
        operands.start(&problems, device)?;
        Ok(Self { operands, partial, count })
    }

    /// Puts the norm and the factor into `result`.
    fn factor(
        &mut self,
        max_norm: f64,
        scale: Option<Address>,
        result: &Arc<Buffer>,
        device: &Device,
    ) -> Result<()> {
        let to = self.operands.keep(Arc::clone(result));
        self.operands.start(
            &[ClipFactor { partial: self.partial, count: self.count, max_norm, scale, to }],
            device,
        )
    }
}

/// One step of gradient descent; `velocity` has a tensor for each gradient.
pub(crate) fn sgd_step(
    rule: SgdRule,
    variables: &mut Variables,
    velocity: &mut [&mut Storage],
    gradients: &[Gradient<'_>],
    device: &Device,
) -> Result<()> {
    let SgdRule { momentum, weight_decay, rate } = rule;
    let history = velocity.iter_mut().map(|slot| [&mut **slot]);
    step(("sgd", &[momentum, weight_decay, rate]), variables, history, gradients, device)
}

/// One step of Adam; the moments, first and second, have a tensor for each gradient.
pub(crate) fn adam_step(
    rule: AdamRule,
    variables: &mut Variables,
    Moments { first, second }: Moments<'_>,
    gradients: &[Gradient<'_>],
    device: &Device,
) -> Result<()> {
    let AdamRule { betas, weight_decay, epsilon, step_size, root } = rule;
    let numbers = [betas.0, betas.1, weight_decay, epsilon, step_size, root];
    let history = first.iter_mut().zip(second).map(|(first, second)| [first, second]);
    step(("adam", &numbers), variables, history, gradients, device)
}

/// One step of a rule, given by name and numbers, with the history of the parameter of each
/// gradient.
fn step<'a, const HISTORY: usize>(
    (name, numbers): (&str, &[f32]),
    variables: &mut Variables,
    history: impl Iterator<Item = [&'a mut Storage; HISTORY]>,
    gradients: &[Gradient<'_>],
    device: &Device,
) -> Result<()> {
    let mut operands = Operands::default();
    let settings = settings(&mut operands, name, numbers, device)?;
    let mut problems = Vec::with_capacity(gradients.len());
    let mut written = Vec::with_capacity(gradients.len());
    for (gradient, mut slots) in gradients.iter().zip(history) {
        let weight =
            operands.add(variables.storage_mut(gradient.position).on_device(device)?.address());
        let mut history = [weight; HISTORY];
        for (region, slot) in history.iter_mut().zip(&mut slots) {
            *region = operands.add(slot.on_device(device)?.address());
        }
        let (elements, clip) = (gradient.source.len(), operands.scale(gradient, device)?);
        let gradient = operands.gradient(gradient, device)?;
        problems.push(Step { weight, history, gradient, elements, settings, clip });
        written.extend(slots);
    }
    operands.start(&problems, device)?;
    // Only the device knows the parameters now.
    for gradient in gradients {
        variables.storage_mut(gradient.position).written_on_device();
    }
    written.into_iter().for_each(Storage::written_on_device);
    Ok(())
}

/// Moves averages towards the values at these positions, one for each average.
pub(crate) fn average(
    decay: f32,
    averages: &mut Variables,
    values: &mut Variables,
    positions: &[usize],
    device: &Device,
) -> Result<()> {
    let mut operands = Operands::default();
    let settings = settings(&mut operands, "average", &[decay], device)?;
    let mut problems = Vec::with_capacity(positions.len());
    for (i, &position) in positions.iter().enumerate() {
        let elements = averages.storage_mut(i).len();
        let average = operands.add(averages.storage_mut(i).on_device(device)?.address());
        let value = operands.add(values.storage_mut(position).on_device(device)?.address());
        problems.push(MovingAverage { average, value, elements, settings });
    }
    operands.start(&problems, device)?;
    (0..positions.len()).for_each(|i| averages.storage_mut(i).written_on_device());
    Ok(())
}

/// The numbers of a rule, which may differ from step to step, where the kernel finds them.
fn settings(
    operands: &mut Operands,
    rule: &str,
    numbers: &[f32],
    device: &Device,
) -> Result<Region> {
    let buffer = device.scratch((rule, "settings"), size_of_val(numbers))?;
    buffer.upload(numbers)?;
    Ok(operands.keep(buffer))
}
