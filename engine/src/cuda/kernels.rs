use std::collections::HashMap;
use std::sync::Arc;

use crate::cuda::compile;
use crate::cuda::driver::{Context, Function, Module};
use crate::cuda::kernel::Kernel;
use crate::{EngineError, Result};

#[derive(Debug)]
pub(crate) struct Kernels {
    functions: HashMap<Kernel, Function>,
    /// Functions are valid as long as their modules are.
    _modules: Vec<Module>,
}

impl Kernels {
    pub(crate) fn load(context: &Arc<Context>) -> Result<Self> {
        let ((compiler, minor), (driver, _)) = (compile::compiler()?, context.driver_version()?);
        if compiler > driver {
            let what = format!(
                "NVRTC {compiler}.{minor} is too new for the driver of this GPU, which knows CUDA \
                 {driver}"
            );
            return Err(EngineError::cuda(what).with_hint(format!(
                "install one of CUDA {driver} (pip install nvidia-cuda-nvrtc-cu{driver} or \
                 nvidia-cuda-nvrtc=={driver}.*) or a newer driver; \
                 ADWP_CUDA_LIBRARIES names the folder that is looked at first"
            )));
        }
        let mut modules = Vec::new();
        let mut functions = HashMap::new();
        for (source, cubin) in &*compile::cubins(context.capability())? {
            let module = context.load(cubin)?;
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.source() == *source) {
                functions.insert(kernel, module.function(kernel.name())?);
            }
            modules.push(module);
        }
        Ok(Self { functions, _modules: modules })
    }

    pub(crate) fn function(&self, kernel: Kernel) -> Function {
        self.functions[&kernel]
    }
}
