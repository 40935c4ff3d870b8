//! Cases in the engine.

use std::collections::BTreeMap;
use std::time::Instant;

use adwp_engine::optim::{Adam, Sgd, clip_gradient_norm, gradients};
use adwp_engine::{Device, Executor, NodeId, Program, StepTime, Variables};
use serde::{Deserialize, Serialize};

use crate::cases::{HEAD, Network, Update};
use crate::failure::Result;

/// Seconds of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Sample {
    pub(crate) forward: f64,
    pub(crate) backward: f64,
    /// Clipping and optimiser.
    pub(crate) update: f64,
    /// All of it.
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
    /// What the steps of a run read and write between them, where that is known.
    pub(crate) moved: Option<usize>,
}

enum Optimizer {
    None,
    Sgd { sgd: Sgd, clip: f32, rate: f32 },
    Adam { adam: Adam, rate: f32 },
}

/// A network compiled, with its values and its optimiser.
pub(crate) struct Subject<'a> {
    network: &'a Network,
    feeds: Vec<(NodeId, &'a [f32])>,
    variables: Variables,
    executor: Executor,
    optimizer: Optimizer,
    device: &'a Device,
}

impl<'a> Subject<'a> {
    /// Compiles; memory for values and gradients is taken by the first run.
    pub(crate) fn new(network: &'a Network, device: &'a Device) -> Result<Self> {
        let program = Program::training(&network.graph, network.loss, &[network.output], &network.trainable)?;
        let optimizer = match network.update {
            Update::None => Optimizer::None,
            Update::Sgd { clip, rate, momentum, weight_decay } => Optimizer::Sgd { sgd: Sgd::new(momentum, weight_decay), clip, rate },
            Update::Adam { rate, betas, weight_decay } => Optimizer::Adam { adam: Adam::new(betas, weight_decay), rate },
        };
        Ok(Self {
            network,
            feeds: network.feeds.iter().map(|(id, values)| (*id, &values[..])).collect(),
            variables: network.variables()?,
            executor: Executor::new(program, device)?,
            optimizer,
            device,
        })
    }

    pub(crate) fn planned(&self) -> Planned {
        Planned { own: self.executor.own_bytes(), working: self.device.working_bytes(), moved: self.executor.traffic_bytes() }
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

    /// Runs `at_least` times and for `seconds`.
    pub(crate) fn time(&mut self, seconds: f64, at_least: usize) -> Result<Vec<Sample>> {
        let start = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < at_least || start.elapsed().as_secs_f64() < seconds {
            samples.push(self.once()?.0);
        }
        Ok(samples)
    }

    /// Runs once; the time of each step of the program beside the sample.
    pub(crate) fn once(&mut self) -> Result<(Sample, Vec<StepTime>)> {
        let start = Instant::now();
        let steps = self.executor.profile(&mut self.variables, &self.feeds)?;
        let ran = start.elapsed().as_secs_f64();
        self.update()?;
        let whole = start.elapsed().as_secs_f64();

        let of = |backward| {
            let steps = steps.iter().filter(|step| step.backward == backward && !step.node.starts_with(HEAD));
            steps.map(|step| step.time.as_secs_f64()).sum::<f64>()
        };
        let (forward, backward) = (of(false), of(true));
        let sample = match self.optimizer {
            // An operator is its own steps alone, without those that give it a loss.
            Optimizer::None => Sample { forward, backward, update: 0.0, total: forward + backward },
            Optimizer::Sgd { .. } | Optimizer::Adam { .. } => Sample { forward, backward, update: whole - ran, total: whole },
        };
        Ok((sample, steps))
    }

    fn update(&mut self) -> Result<()> {
        let Self { network, variables, executor, optimizer, device, .. } = self;
        match optimizer {
            Optimizer::None => {}
            Optimizer::Sgd { sgd, clip, rate } => {
                let mut gradients = gradients(executor, variables, &network.trainable)?;
                clip_gradient_norm(&mut gradients, *clip, device)?;
                sgd.step(variables, &gradients, *rate, device)?;
            }
            Optimizer::Adam { adam, rate } => {
                let gradients = gradients(executor, variables, &network.trainable)?;
                adam.step(variables, &gradients, *rate, device)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
                assert!(outcome.loss.is_finite() && outcome.loss > 0.0, "{}: loss {}", case.name, outcome.loss);
                assert!(outcome.norms.values().any(|norm| *norm > 0.0), "{}: no gradient", case.name);
                let samples = subject.time(0.0, 2).unwrap();
                assert_eq!(samples.len(), 2);
                let Sample { forward, backward, update, total } = samples[0];
                assert!(forward > 0.0 && backward > 0.0 && total >= forward + backward + update - 1e-9, "{}: {samples:?}", case.name);
                assert_eq!(update > 0.0, case.is_step(), "{}", case.name);
                assert!(subject.planned().own > 0);
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
