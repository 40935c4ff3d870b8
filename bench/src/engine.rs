//! Cases in the engine.

use std::collections::BTreeMap;
use std::time::Instant;

use adwp_engine::optim::{Adam, Optimizer, Sgd, clip_gradient_norm, gradients};
use adwp_engine::{Device, Executor, NodeId, Program, StepTime, Variables, cuda};
use serde::{Deserialize, Serialize};

use crate::cases::{HEAD, Network, Update};
use crate::failure::Result;

/// Seconds of one run; of its parts none on a GPU, where only the end of many runs is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Sample {
    pub(crate) forward: Option<f64>,
    pub(crate) backward: Option<f64>,
    /// Clipping and optimiser; `None` for an operator, too.
    pub(crate) update: Option<f64>,
    /// All of it. An operator is its own steps alone on the CPU; on a GPU, those that give it a
    /// loss are in it.
    pub(crate) total: f64,
}

/// What a first run from the given values computed, for comparison.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) loss: f64,
    /// Euclidean norm of the gradient of every trainable node, by name, before clipping.
    pub(crate) norms: BTreeMap<String, f64>,
    /// Bytes resident at most during the run above those before it, where they could be measured.
    pub(crate) peak_bytes: Option<u64>,
}

/// Bytes that the engine plans for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Planned {
    /// Outputs and gradients.
    pub(crate) own: usize,
    /// Buffers for the time of a run, which all executors of a device share.
    pub(crate) working: usize,
    /// What a run moves through memory; on a GPU with inputs, parameters and the update.
    pub(crate) moved: usize,
}

/// What changes the parameters after a run.
struct Learner {
    optimizer: Box<dyn Optimizer>,
    clip: Option<f32>,
    rate: f32,
}

/// A network compiled, with its values and its optimiser.
pub(crate) struct Subject<'a> {
    network: &'a Network,
    feeds: Vec<(NodeId, &'a [f32])>,
    variables: Variables,
    executor: Executor,
    learner: Option<Learner>,
    device: &'a Device,
    /// Of a sample on a GPU.
    runs: usize,
}

/// Seconds that the runs of a sample on a GPU take together: long against what waiting for it
/// costs.
const BURST: f64 = 0.1;
const MOST_RUNS: f64 = 1000.0;

impl<'a> Subject<'a> {
    /// Compiles; memory for values and gradients is taken by the first run.
    pub(crate) fn new(network: &'a Network, device: &'a Device) -> Result<Self> {
        let program =
            Program::training(&network.graph, network.loss, &[network.output], &network.trainable)?;
        let learner = match network.update {
            Update::None => None,
            Update::Sgd { clip, rate, momentum, weight_decay } => {
                let optimizer = Box::new(Sgd::new(momentum, weight_decay));
                Some(Learner { optimizer, clip: Some(clip), rate })
            }
            Update::Adam { rate, betas, weight_decay } => {
                let optimizer = Box::new(Adam::new(betas, weight_decay));
                Some(Learner { optimizer, clip: None, rate })
            }
        };
        Ok(Self {
            network,
            feeds: network.feeds.iter().map(|(id, values)| (*id, &values[..])).collect(),
            variables: network.variables()?,
            executor: Executor::new(program, device)?,
            learner,
            device,
            runs: 1,
        })
    }

    pub(crate) fn planned(&self) -> Planned {
        let update = match self.device {
            Device::Cpu(_) => 0,
            Device::Cuda(_) => self.network.update_bytes(),
        };
        let moved = self.executor.traffic_bytes() + update;
        Planned { own: self.executor.own_bytes(), working: self.device.working_bytes(), moved }
    }

    /// Launches of a run without its update; `None` on the CPU.
    pub(crate) fn launches(&self) -> Option<usize> {
        self.executor.launches()
    }

    /// The first run, parameters updated at the end.
    pub(crate) fn first(&mut self) -> Result<Outcome> {
        self.executor.run(&mut self.variables, &self.feeds)?;
        let norm = |id: &NodeId| {
            let gradient = self.executor.gradient(*id)?;
            let squares = gradient.iter().map(|&g| f64::from(g) * f64::from(g));
            Ok((self.network.graph[*id].name.clone(), squares.sum::<f64>().sqrt()))
        };
        let norms = self.network.trainable.iter().map(norm).collect::<Result<_>>()?;
        let loss = f64::from(self.executor.value(self.network.loss)?[0]);
        self.update()?;
        Ok(Outcome { loss, norms, peak_bytes: None })
    }

    /// Takes samples for `seconds`, and no fewer than `at_least`.
    pub(crate) fn time(&mut self, seconds: f64, at_least: usize) -> Result<Vec<Sample>> {
        let start = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < at_least || start.elapsed().as_secs_f64() < seconds {
            samples.push(match self.device {
                Device::Cpu(_) => self.once()?.0,
                Device::Cuda(device) => self.burst(device)?,
            });
        }
        Ok(samples)
    }

    /// Runs that do not count: on a GPU the one that records the graph, and those that tell how
    /// many runs a sample needs.
    pub(crate) fn warm_up(&mut self) -> Result<()> {
        let samples = match self.device {
            // The first runs of an operator are shorter than what the machine takes to settle; a
            // step's first run was warm-up enough.
            Device::Cpu(_) if self.learner.is_none() => 2,
            Device::Cpu(_) => 0,
            Device::Cuda(_) => 3,
        };
        self.time(0.0, samples).map(drop)
    }

    /// The mean of several runs that are started without waiting for any but the last.
    fn burst(&mut self, device: &cuda::Device) -> Result<Sample> {
        device.synchronize()?;
        let start = Instant::now();
        for _ in 0..self.runs {
            self.executor.run(&mut self.variables, &self.feeds)?;
            self.update()?;
        }
        device.synchronize()?;
        let total = start.elapsed().as_secs_f64() / self.runs as f64;
        self.runs = (BURST / total).clamp(1.0, MOST_RUNS) as usize;
        Ok(Sample { total, ..Sample::default() })
    }

    /// Runs once; the time of each step of the program together with the sample.
    pub(crate) fn once(&mut self) -> Result<(Sample, Vec<StepTime>)> {
        let start = Instant::now();
        let steps = self.executor.profile(&mut self.variables, &self.feeds)?;
        let ran = start.elapsed().as_secs_f64();
        self.update()?;
        if let Device::Cuda(device) = self.device {
            device.synchronize()?;
        }
        let whole = start.elapsed().as_secs_f64();

        let of = |backward| {
            let steps = steps
                .iter()
                .filter(|step| step.backward == backward && !step.node.starts_with(HEAD));
            steps.map(|step| step.time.as_secs_f64()).sum::<f64>()
        };
        let (forward, backward) = (of(false), of(true));
        let (update, total) = match self.learner {
            // An operator is its own steps alone, without those that give it a loss.
            None => (None, forward + backward),
            Some(_) => (Some(whole - ran), whole),
        };
        Ok((Sample { forward: Some(forward), backward: Some(backward), update, total }, steps))
    }

    fn update(&mut self) -> Result<()> {
        let Self { network, variables, executor, learner, device, .. } = self;
        let Some(Learner { optimizer, clip, rate }) = learner else { return Ok(()) };
        let mut gradients = gradients(executor, variables, &network.trainable)?;
        if let Some(clip) = *clip {
            clip_gradient_norm(&mut gradients, clip, device)?;
        }
        Ok(optimizer.step(variables, &gradients, *rate, device)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::{Agreement, Judged};
    use crate::cases::{self, Size};

    #[test]
    fn every_case_runs_and_is_timed() {
        for fused in [true, false] {
            let device = Device::cpu(2).unwrap();
            let device = if fused { device } else { device.unfused() };
            for case in cases::all() {
                let network = case.network(Size::Tiny).unwrap();
                let mut subject = Subject::new(&network, &device).unwrap();
                let outcome = subject.first().unwrap();
                assert!(
                    outcome.loss.is_finite() && outcome.loss > 0.0,
                    "{}: loss {}",
                    case.name,
                    outcome.loss
                );
                assert!(
                    outcome.norms.values().any(|norm| *norm > 0.0),
                    "{}: no gradient",
                    case.name
                );
                let samples = subject.time(0.0, 2).unwrap();
                assert_eq!(samples.len(), 2);
                let Sample { forward: Some(forward), backward: Some(backward), update, total } =
                    samples[0]
                else {
                    panic!("{}: {samples:?}", case.name)
                };
                let parts = forward + backward + update.unwrap_or(0.0);
                assert!(
                    forward > 0.0 && backward > 0.0 && total >= parts - 1e-9,
                    "{}: {samples:?}",
                    case.name
                );
                assert_eq!(
                    update.is_some_and(|update| update > 0.0),
                    case.is_step(),
                    "{}",
                    case.name
                );
                assert!(subject.planned().own > 0 && subject.launches().is_none());
            }
        }
    }

    /// Needs a GPU, so it does nothing unless `ADWP_TEST_DEVICE` is `cuda`.
    #[test]
    fn a_gpu_computes_what_the_cpu_does_and_is_timed() {
        if std::env::var_os("ADWP_TEST_DEVICE").is_none_or(|device| device != "cuda") {
            return;
        }
        let gpu = cuda::Device::open(0).unwrap();
        let bf16 = gpu.clone().with_precision(cuda::Precision::Bf16);
        let devices = [
            (gpu.clone(), Judged::Network),
            (gpu.without_graphs(), Judged::Network),
            (bf16, Judged::OtherPrecision),
        ];
        for name in ["step/retrain", "step/relaxed-alpha", "op/pointwise/16x32x32"] {
            let network = cases::named(name).unwrap().network(Size::Tiny).unwrap();
            let reference =
                Subject::new(&network, &Device::cpu(1).unwrap()).unwrap().first().unwrap();
            for (device, judged) in &devices {
                let device = Device::from(device.clone());
                let mut subject = Subject::new(&network, &device).unwrap();
                let agreement = Agreement::between(&reference, &subject.first().unwrap(), *judged);
                assert!(agreement.holds(), "{name}: {agreement}");
                subject.warm_up().unwrap();
                let samples = subject.time(0.0, 2).unwrap();
                assert!(
                    samples.iter().all(|sample| sample.total > 0.0 && sample.forward.is_none()),
                    "{name}: {samples:?}"
                );
                assert!(subject.launches().is_some_and(|launches| launches > 5));
                let planned = subject.planned();
                assert!(planned.moved > planned.working, "{name}: {planned:?}");
            }
        }
    }

    #[test]
    fn an_update_changes_the_loss() {
        let network = cases::named("step/retrain").unwrap().network(Size::Tiny).unwrap();
        let device = Device::cpu(1).unwrap();
        let mut subject = Subject::new(&network, &device).unwrap();
        let (first, second) = (subject.first().unwrap(), subject.first().unwrap());
        assert!(second.loss < first.loss, "{} then {}", first.loss, second.loss);
    }
}
