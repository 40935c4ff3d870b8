use std::borrow::Cow;

use crate::optim::GradientData;
use crate::{Device, Feed, NodeId, Program, Result, StepTime, Variables, cpu, cuda};

/// A program ready to run on a device.
#[derive(Debug)]
pub struct Executor(Backend);

#[derive(Debug)]
enum Backend {
    Cpu(Box<cpu::Executor>),
    Cuda(Box<cuda::Executor>),
}

impl Executor {
    /// Plans the buffers of `program`. Memory is taken by the first run: [`Self::own_bytes`] for
    /// itself, and [`Device::working_bytes`] for all executors of the device together.
    ///
    /// # Errors
    /// [`EngineError::Cuda`](crate::EngineError::Cuda) when the device cannot be made ready for the
    /// program; the CPU always can.
    pub fn new(program: Program, device: &Device) -> Result<Self> {
        Ok(Self(match device {
            Device::Cpu(device) => Backend::Cpu(Box::new(cpu::Executor::new(program, device))),
            Device::Cuda(device) => Backend::Cuda(Box::new(cuda::Executor::new(program, device)?)),
        }))
    }

    /// The program it runs.
    pub fn program(&self) -> &Program {
        match &self.0 {
            Backend::Cpu(executor) => executor.program(),
            Backend::Cuda(executor) => executor.program(),
        }
    }

    /// Bytes of what stays readable after a run: outputs and gradients.
    pub fn own_bytes(&self) -> usize {
        match &self.0 {
            Backend::Cpu(executor) => executor.own_bytes(),
            Backend::Cuda(executor) => executor.own_bytes(),
        }
    }

    /// Bytes of the working memory of a run, which all executors of a device share.
    pub fn working_bytes(&self) -> usize {
        match &self.0 {
            Backend::Cpu(executor) => executor.working_bytes(),
            Backend::Cuda(executor) => executor.working_bytes(),
        }
    }

    /// Bytes that a run moves through memory, as far as its plan says:
    /// [`cpu::Executor::traffic_bytes`] and [`cuda::Executor::traffic_bytes`].
    pub fn traffic_bytes(&self) -> usize {
        match &self.0 {
            Backend::Cpu(executor) => executor.traffic_bytes(),
            Backend::Cuda(executor) => executor.traffic_bytes(),
        }
    }

    /// How many launches a run is; `None` on the CPU, which has none.
    pub fn launches(&self) -> Option<usize> {
        match &self.0 {
            Backend::Cpu(_) => None,
            Backend::Cuda(executor) => Some(executor.launches().len()),
        }
    }

    /// How far a run moves the running statistics towards those of the batch; 0.1 unless set.
    pub fn set_statistics_momentum(&mut self, momentum: f32) {
        match &mut self.0 {
            Backend::Cpu(executor) => executor.set_statistics_momentum(momentum),
            Backend::Cuda(executor) => executor.set_statistics_momentum(momentum),
        }
    }

    /// Runs all steps once. `feeds` gives the value of every input node the program reads: a
    /// [`Feed`], or its values, row-major.
    ///
    /// # Errors
    /// A feed that is missing, has the wrong shape or is not on the device, a variable that is
    /// missing or has another shape, a device that fails.
    pub fn run<'a>(
        &mut self,
        variables: &mut Variables,
        feeds: &[(NodeId, impl Into<Feed<'a>> + Copy)],
    ) -> Result<()> {
        let feeds = fed(feeds);
        match &mut self.0 {
            Backend::Cpu(executor) => executor.run(variables, &feeds),
            Backend::Cuda(executor) => executor.run(variables, &feeds),
        }
    }

    /// [`Self::run`], and how long each step took.
    ///
    /// # Errors
    /// Those of [`Self::run`].
    pub fn profile<'a>(
        &mut self,
        variables: &mut Variables,
        feeds: &[(NodeId, impl Into<Feed<'a>> + Copy)],
    ) -> Result<Vec<StepTime>> {
        let feeds = fed(feeds);
        match &mut self.0 {
            Backend::Cpu(executor) => executor.profile(variables, &feeds),
            Backend::Cuda(executor) => executor.profile(variables, &feeds),
        }
    }

    /// The value of an output or of the loss after a run, row-major.
    ///
    /// # Errors
    /// [`EngineError::Cuda`](crate::EngineError::Cuda) when it cannot be read from the device.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as an output, or has not run.
    pub fn value(&self, id: NodeId) -> Result<Cow<'_, [f32]>> {
        match &self.0 {
            Backend::Cpu(executor) => Ok(executor.value(id).into()),
            Backend::Cuda(executor) => Ok(executor.value(id)?.into()),
        }
    }

    /// The gradient of the loss with respect to a trainable node after a run, row-major.
    ///
    /// # Errors
    /// [`EngineError::Cuda`](crate::EngineError::Cuda) when it cannot be read from the device.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as trainable, or has not run.
    pub fn gradient(&self, id: NodeId) -> Result<Cow<'_, [f32]>> {
        self.gradient_source(id).values()
    }

    /// The same gradient, left where it is.
    ///
    /// # Panics
    /// As [`Self::gradient`]; on a CUDA device not before the gradient is read.
    pub(crate) fn gradient_source(&self, id: NodeId) -> GradientData<'_> {
        match &self.0 {
            Backend::Cpu(executor) => GradientData::Host(executor.gradient(id)),
            Backend::Cuda(executor) => GradientData::Cuda(executor, id),
        }
    }
}

fn fed<'a>(feeds: &[(NodeId, impl Into<Feed<'a>> + Copy)]) -> Vec<(NodeId, Feed<'a>)> {
    feeds.iter().map(|&(id, feed)| (id, feed.into())).collect()
}
