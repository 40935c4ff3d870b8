use crate::{Result, cpu, cuda};

/// What executors and optimisers compute on, and the working memory that executors share there. A
/// clone is the same device.
#[derive(Clone, Debug)]
pub enum Device {
    /// Threads of this machine.
    Cpu(cpu::Device),
    /// An NVIDIA GPU.
    Cuda(cuda::Device),
}

impl Device {
    /// The CPU with `threads` threads; 0 means one for each core.
    ///
    /// # Errors
    /// [`EngineError::Threads`](crate::EngineError::Threads) when they cannot be started.
    pub fn cpu(threads: usize) -> Result<Self> {
        Ok(Self::Cpu(cpu::Device::new(threads)?))
    }

    /// What it is, for people: "CPU, 2 threads", or what the GPU calls itself.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(device) => match device.threads() {
                1 => "CPU, 1 thread".to_owned(),
                threads => format!("CPU, {threads} threads"),
            },
            Self::Cuda(device) => device.name().to_owned(),
        }
    }

    /// Bytes of the working memory that the executors alive on this device need together; they
    /// share it, one running at a time.
    pub fn working_bytes(&self) -> usize {
        match self {
            Self::Cpu(device) => device.working_bytes(),
            Self::Cuda(device) => device.working_bytes(),
        }
    }

    /// The same device, for executors that compute every operation of the graph on its own.
    #[must_use]
    pub fn unfused(&self) -> Self {
        match self {
            Self::Cpu(device) => Self::Cpu(device.unfused()),
            Self::Cuda(device) => Self::Cuda(device.unfused()),
        }
    }

    /// The same device, for executors that store values in single precision, as networks are
    /// deployed.
    #[must_use]
    pub fn in_f32(&self) -> Self {
        match self {
            Self::Cpu(_) => self.clone(),
            Self::Cuda(device) => Self::Cuda(device.clone().with_precision(cuda::Precision::F32)),
        }
    }

    /// Whether executors merge operations that can share a pass over memory.
    pub fn fuses(&self) -> bool {
        match self {
            Self::Cpu(device) => device.fuses(),
            Self::Cuda(device) => device.fuses(),
        }
    }
}

impl From<cpu::Device> for Device {
    fn from(device: cpu::Device) -> Self {
        Self::Cpu(device)
    }
}

impl From<cuda::Device> for Device {
    fn from(device: cuda::Device) -> Self {
        Self::Cuda(device)
    }
}
