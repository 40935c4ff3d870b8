use adwp_engine::optim::{Gradient, Optimizer, clip_gradient_norm, gradients};
use adwp_engine::{Device, Executor, Feed, Graph, NodeId, Program, Variables};

use crate::{
    At, Batch, Result, StepReport, correct_predictions, first_not_finite, labels_as_floats,
    require_finite,
};

/// The nodes of a graph that a training step feeds and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Input `[batch, channels, height, width]`.
    pub images: NodeId,
    /// Input `[batch]`: class indices.
    pub labels: NodeId,
    /// Output `[batch, classes]`.
    pub logits: NodeId,
    /// The loss that is reported, and must be finite.
    pub loss: NodeId,
    /// What the step lowers: the loss, or its sum with other terms.
    pub objective: NodeId,
}

/// What a step is computed from besides the variables.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// For messages.
    pub at: At,
    /// Images and labels.
    pub batch: &'a Batch,
    /// All other inputs of the graph.
    pub feeds: &'a [(NodeId, Feed<'a>)],
}

/// Parameters that a step changes together.
pub struct Update<'a> {
    /// Trainable nodes of the step's graph.
    pub parameters: &'a [NodeId],
    /// Changes them.
    pub optimizer: &'a mut dyn Optimizer,
    /// Learning rate.
    pub rate: f32,
    /// The largest norm of their gradients together; larger ones are scaled down to it.
    pub clip: Option<f32>,
}

/// The training step of every phase: forward and backward pass, a check of the loss, gradients,
/// clipping, update.
#[derive(Debug)]
pub struct Trainer {
    phase: &'static str,
    ports: Ports,
    executor: Executor,
    device: Device,
}

/// Has an optimiser change the parameters of gradients, clipped where their norm together exceeds
/// `clip`. Every update of every phase passes through here: those of a [`Trainer::step`], and those
/// of parameters outside of its graph, which gradients of the step are carried on to.
///
/// # Errors
/// Those of the optimiser and of the device.
pub fn update(
    mut gradients: Vec<Gradient<'_>>,
    variables: &mut Variables,
    optimizer: &mut dyn Optimizer,
    rate: f32,
    clip: Option<f32>,
    device: &Device,
) -> Result<()> {
    if let Some(largest) = clip {
        clip_gradient_norm(&mut gradients, largest, device)?;
    }
    Ok(optimizer.step(variables, &gradients, rate, device)?)
}

fn program(graph: &Graph, ports: Ports, trainable: &[NodeId]) -> Result<Program> {
    let Ports { logits, loss, objective, .. } = ports;
    // The objective stays readable in any case.
    let outputs = if objective == loss { vec![logits] } else { vec![logits, loss] };
    Ok(Program::training(graph, objective, &outputs, trainable)?)
}

impl Trainer {
    /// Compiles the step of a phase that derives the objective with respect to `trainable`. Takes
    /// no memory before its first run.
    ///
    /// # Errors
    /// [`TrainError::Engine`](crate::TrainError::Engine) when the graph makes no training step, or
    /// the device fails.
    pub fn new(
        phase: &'static str,
        graph: &Graph,
        ports: Ports,
        trainable: &[NodeId],
        device: &Device,
    ) -> Result<Self> {
        let program = program(graph, ports, trainable)?;
        let executor = Executor::new(program, device)?;
        Ok(Self { phase, ports, executor, device: device.clone() })
    }

    /// The same above layers that are frozen: BatchNorms normalise by their running statistics, which
    /// stay as they are.
    ///
    /// # Errors
    /// As [`Self::new`], and where a gradient passes through a BatchNorm.
    pub fn above_frozen(
        phase: &'static str,
        graph: &Graph,
        ports: Ports,
        trainable: &[NodeId],
        device: &Device,
    ) -> Result<Self> {
        let program = program(graph, ports, trainable)?.with_running_statistics()?;
        let executor = Executor::new(program, device)?;
        Ok(Self { phase, ports, executor, device: device.clone() })
    }

    /// The compiled step.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Carries out a step. All `updates` use the gradients of its one pass, in their order.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`](crate::TrainError::NotFinite) when the loss is not finite: no
    /// parameter has changed then. Otherwise those of the executor and of the optimisers.
    pub fn step(
        &mut self,
        pass: Pass<'_>,
        variables: &mut Variables,
        updates: &mut [Update<'_>],
    ) -> Result<StepReport> {
        let loss = self.run(pass, variables)?;
        for update in updates {
            self.update(variables, update)?;
        }
        let labels = &pass.batch.labels;
        let correct = correct_predictions(&self.executor.value(self.ports.logits)?, labels);
        Ok(StepReport { loss, images: labels.len(), correct })
    }

    /// Changes more parameters by the gradients of the last step.
    ///
    /// # Errors
    /// Those of the optimiser and of the device.
    pub fn update(&self, variables: &mut Variables, update: &mut Update<'_>) -> Result<()> {
        let Update { parameters, optimizer, rate, clip } = update;
        let gradients = self.gradients(variables, parameters)?;
        self::update(gradients, variables, *optimizer, *rate, *clip, &self.device)
    }

    /// Carries out a step whose gradients of some parameters are looked at, and not only used: gives
    /// those of `looked_at`, before any clipping.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn step_with_gradients(
        &mut self,
        pass: Pass<'_>,
        variables: &mut Variables,
        updates: &mut [Update<'_>],
        looked_at: &[NodeId],
    ) -> Result<(StepReport, Vec<Vec<f32>>)> {
        let report = self.step(pass, variables, updates)?;
        let gradients = self.gradients(variables, looked_at)?;
        let values = gradients.iter().map(|gradient| Ok(gradient.values()?));
        Ok((report, values.collect::<Result<_>>()?))
    }

    /// Forward and backward pass; gives the loss.
    fn run(&mut self, pass: Pass<'_>, variables: &mut Variables) -> Result<f32> {
        let Self { ports, executor, device, .. } = self;
        let labels = labels_as_floats(&pass.batch.labels);
        let mut feeds = vec![(ports.images, pass.batch.feed()), (ports.labels, (&labels).into())];
        feeds.extend_from_slice(pass.feeds);
        executor.run(variables, &feeds)?;
        let loss = executor.value(ports.loss)?[0];
        require_finite(self.phase, pass.at, loss, || {
            first_not_finite(executor.program().graph(), variables, &feeds, device)
        })?;
        Ok(loss)
    }

    /// The gradients that the pass left. Every gradient of every phase passes through here.
    fn gradients(&self, variables: &Variables, parameters: &[NodeId]) -> Result<Vec<Gradient<'_>>> {
        Ok(gradients(&self.executor, variables, parameters)?)
    }
}
