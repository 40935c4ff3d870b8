use std::time::{Duration, Instant};

use crate::cpu::Device;
use crate::cpu::buffer::Buffer;
use crate::cpu::device::Reservation;
use crate::cpu::run::{Normalizations, Run, resolve};
use crate::lower::{Action, Fusion, Lowered};
use crate::plan::Plan;
use crate::program::{Program, Tensor};
use crate::{Feed, NodeId, Result, StepTime, Variables};

/// A program ready to run on the CPU.
#[derive(Debug)]
pub struct Executor {
    program: Program,
    device: Device,
    lowered: Lowered,
    plan: Plan<Tensor>,
    /// Content of the buffers that outlive a run; none before the first.
    own: Vec<Buffer>,
    shared: Reservation,
    normalizations: Normalizations,
    statistics_momentum: f32,
}

impl Executor {
    /// Plans the buffers of `program`. Memory is taken by the first run: [`Self::own_bytes`] for
    /// itself, and [`Device::working_bytes`] for all executors of the device together.
    pub fn new(program: Program, device: &Device) -> Self {
        let lowered =
            Lowered::new(&program, if device.fuses() { Fusion::Cache } else { Fusion::None });
        let accesses: Vec<_> =
            lowered.actions.iter().map(|action| lowered.accesses(&program, action)).collect();
        let plan =
            Plan::new(&accesses, &program.persistent, |tensor| tensor.elements(&program.graph));
        let normalizations = Normalizations::new(&program.graph);
        let shared = device.memory().reserve(plan.shared.clone());
        Self {
            program,
            device: device.clone(),
            lowered,
            plan,
            own: Vec::new(),
            shared,
            normalizations,
            statistics_momentum: 0.1,
        }
    }

    /// The program it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Bytes of what stays readable after a run: outputs and gradients.
    pub fn own_bytes(&self) -> usize {
        self.plan.own.iter().sum::<usize>() * size_of::<f32>()
    }

    /// Bytes of the working memory of a run, which all executors of a device share.
    pub fn working_bytes(&self) -> usize {
        self.plan.shared.iter().sum::<usize>() * size_of::<f32>()
    }

    /// Bytes that the steps of a run read and write between them, each tensor once a step: what no
    /// cache larger than a sample saves. Parameters and inputs are not counted.
    pub fn traffic_bytes(&self) -> usize {
        self.lowered.actions.iter().map(|action| self.action_bytes(action)).sum()
    }

    fn action_bytes(&self, action: &Action) -> usize {
        if self.lowered.is_left(&self.program, action) {
            return 0;
        }
        let (mut reads, writes) = self.lowered.accesses(&self.program, action);
        reads.sort_unstable();
        reads.dedup();
        let elements = |tensor: &Tensor| tensor.elements(&self.program.graph);
        let added: usize = match action {
            Action::Backward { targets, .. } => {
                targets.iter().filter(|t| t.accumulate).map(|t| elements(&t.tensor)).sum()
            }
            Action::Forward(_) | Action::Moments(_) | Action::Seed(_) => 0,
        };
        let moved: usize = reads.iter().chain(&writes).map(elements).sum();
        (moved + added) * size_of::<f32>()
    }

    /// How far a run moves the running statistics towards those of the batch; 0.1 unless set.
    pub fn set_statistics_momentum(&mut self, momentum: f32) {
        self.statistics_momentum = momentum;
    }

    /// Runs all steps once. `feeds` gives the value of every input node the program reads,
    /// row-major.
    ///
    /// # Errors
    /// A feed that is missing, has the wrong length or is on a GPU, a variable that is missing or
    /// has another shape.
    pub fn run(&mut self, variables: &mut Variables, feeds: &[(NodeId, Feed<'_>)]) -> Result<()> {
        self.run_actions(variables, feeds, |_, _| ())
    }

    /// [`Self::run`], and how long each step took.
    pub fn profile(
        &mut self,
        variables: &mut Variables,
        feeds: &[(NodeId, Feed<'_>)],
    ) -> Result<Vec<StepTime>> {
        let mut times = Vec::new();
        self.run_actions(variables, feeds, |_, time| times.push(time))?;
        let graph = &self.program.graph;
        let describe = |(action, time): (&Action, Duration)| StepTime {
            node: graph[action.node()].name.clone(),
            op: graph[action.node()].op.name(),
            backward: matches!(action, Action::Seed(_) | Action::Backward { .. }),
            bytes: self.action_bytes(action),
            multiply_adds: Some(self.lowered.multiply_adds(graph, action)),
            time,
        };
        Ok(self.lowered.actions.iter().zip(times).map(describe).collect())
    }

    fn run_actions(
        &mut self,
        variables: &mut Variables,
        feeds: &[(NodeId, Feed<'_>)],
        mut done: impl FnMut(&Action, Duration) + Send,
    ) -> Result<()> {
        let Self {
            program,
            device,
            lowered,
            plan,
            own,
            shared,
            normalizations,
            statistics_momentum,
        } = self;
        let sources = resolve(program, variables, feeds)?;
        if own.is_empty() {
            own.extend(plan.own.iter().map(|&length| Buffer::new(length)));
        }
        shared.with(|shared| {
            let slots = own.iter_mut().chain(shared.iter_mut()).map(std::mem::take).collect();
            let mut run = Run {
                program,
                lowered,
                plan,
                sources,
                slots,
                normalizations,
                variables,
                momentum: *statistics_momentum,
            };
            let result = device.install(|| {
                lowered.actions.iter().try_for_each(|action| {
                    let start = Instant::now();
                    run.act(action)?;
                    done(action, start.elapsed());
                    Ok(())
                })
            });
            own.iter_mut()
                .chain(shared.iter_mut())
                .zip(run.slots)
                .for_each(|(home, buffer)| *home = buffer);
            result
        })
    }

    /// The value of an output or of the loss after a run, row-major.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as an output, or has not run.
    pub fn value(&self, id: NodeId) -> &[f32] {
        &self.own[self.kept(Tensor::Value(id))]
    }

    /// The gradient of the loss with respect to a trainable node after a run, row-major.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as trainable, or has not run.
    pub fn gradient(&self, id: NodeId) -> &[f32] {
        &self.own[self.kept(Tensor::Gradient(id))]
    }

    fn kept(&self, tensor: Tensor) -> usize {
        let slot = self.plan.location.get(&tensor).filter(|slot| **slot < self.plan.own.len());
        *slot
            .unwrap_or_else(|| panic!("{tensor:?} was not asked for when the program was compiled"))
    }
}
