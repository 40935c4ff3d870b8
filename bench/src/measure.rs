//! One case measured: in the engine, and in turn with it in PyTorch.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use adwp_base::Failure;
use adwp_engine::Device;
use serde::Serialize;

use crate::agreement::{Agreement, Judged};
use crate::args::Args;
use crate::args::{DeviceChoice, Stored};
use crate::cases::{Case, Network, Size};
use crate::count::MultiplyAdds;
use crate::engine::{Planned, Sample, Subject};
use crate::failure::{Context, Result};
use crate::load::Load;
use crate::machine::Machine;
use crate::memory::Baseline;
use crate::pytorch::{How, PyTorch};
use crate::stats::Spread;

/// Seconds that an operator is repeated for, on each side.
const OPERATOR_SECONDS: f64 = 1.0;

/// Fewest repeats of an operator.
const OPERATOR_REPEATS: u32 = 3;

/// Between the two sides: the waiting threads of one spin for a while before they leave the cores
/// to the other.
const PAUSE: Duration = Duration::from_millis(20);

/// Milliseconds of the runs of a case. The parts are those of [`Sample`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Timing {
    pub(crate) forward: Option<Spread>,
    pub(crate) backward: Option<Spread>,
    pub(crate) update: Option<Spread>,
    pub(crate) total: Spread,
}

impl Timing {
    fn of(samples: &[Sample]) -> Option<Self> {
        let spread = |part: fn(&Sample) -> Option<f64>| {
            Spread::of(samples.iter().filter_map(part).map(|seconds| 1e3 * seconds))
        };
        Some(Self {
            forward: spread(|s| s.forward),
            backward: spread(|s| s.backward),
            update: spread(|s| s.update),
            total: spread(|s| Some(s.total))?,
        })
    }
}

/// What PyTorch made of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum Comparison {
    /// The same computation, so the times can be compared.
    Agrees {
        agreement: Agreement,
        timing: Box<Timing>,
        /// Bytes of a step, as [`Row::peak_bytes`].
        peak_bytes: Option<u64>,
        /// PyTorch's median time as a multiple of the engine's.
        ratio: f64,
        /// The same of the least times: what is left of it when nothing else ran on the machine.
        ratio_of_least: f64,
    },
    /// Another computation: no times.
    Differs { agreement: Agreement },
    /// It gave no answer.
    Failed { message: String },
}

/// A case with its measurements.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    /// Whether it is a whole training step.
    pub(crate) is_step: bool,
    pub(crate) multiply_adds: MultiplyAdds,
    pub(crate) planned: Planned,
    /// Launches of a run without its update, on a GPU.
    pub(crate) launches: Option<usize>,
    /// Bytes resident at most during a first step in a process of its own, above what network and
    /// values take; steps on the CPU alone.
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) engine: Timing,
    /// 10⁹ multiply-adds a second over the whole time; `None` without any.
    pub(crate) gmacs: Option<f64>,
    /// Share of the best matrix product of this machine; `None` on a GPU.
    pub(crate) share_of_gemm: Option<f64>,
    /// 10⁹ bytes a second that a run moves through the memory of a GPU; `None` on the CPU, whose
    /// caches keep much of it.
    pub(crate) gbytes: Option<f64>,
    /// Share of the rate of a copy.
    pub(crate) share_of_copy: Option<f64>,
    /// Share of the machine's processor time that other programs took meanwhile; `None` where the
    /// system does not tell.
    pub(crate) others: Option<f64>,
    pub(crate) pytorch: Option<Comparison>,
}

/// What outcomes of a case are judged by.
fn judged(case: &Case, args: &Args) -> Judged {
    match args.precision {
        Stored::Bf16 => Judged::OtherPrecision,
        Stored::F32 if case.is_step() => Judged::Network,
        Stored::F32 => Judged::Operator,
    }
}

/// Measures one case.
pub(crate) fn row(
    case: &Case,
    args: &Args,
    device: &Device,
    machine: &Machine,
    torch: &mut Torch<'_>,
) -> Result<Row> {
    let resident = case.is_step() && matches!(device, Device::Cpu(_));
    let peak_bytes = if resident { peak_in_own_process(case, args)? } else { None };
    let network = case.network(Size::Full)?;
    let mut subject = Subject::new(&network, device)?;
    let planned = subject.planned();
    let ours = subject.first()?;
    let mut theirs = torch.begin(case, &network);
    if let Some(Ok((_, outcome))) = &theirs {
        let agreement = Agreement::between(&ours, outcome, judged(case, args));
        if !agreement.holds() {
            theirs = Some(Err(Comparison::Differs { agreement }));
        }
    }

    subject.warm_up()?;
    let (seconds, rounds) = if case.is_step() {
        (0.0, args.repeats)
    } else {
        (OPERATOR_SECONDS, args.repeats.max(OPERATOR_REPEATS))
    };
    let their_rounds = match &theirs {
        Some(Ok(_)) if case.is_step() => args.pytorch_repeats,
        Some(Ok(_)) => rounds,
        _ => 0,
    };
    let seconds = seconds / f64::from(rounds);
    let load = Load::start(theirs.iter().flatten().map(|(process, _)| process.id()));
    let (mut our_samples, mut their_samples) = (Vec::new(), Vec::new());
    for round in 0..rounds.max(their_rounds) {
        if round < rounds {
            sleep(PAUSE);
            our_samples.extend(subject.time(seconds, 1)?);
        }
        if let (Some(Ok((process, _))), true) = (&mut theirs, round < their_rounds) {
            sleep(PAUSE);
            match process.time(seconds, 1) {
                Ok(samples) => their_samples.extend(samples),
                Err(e) => theirs = Some(Err(Comparison::Failed { message: e.to_string() })),
            }
        }
    }

    let others = load.and_then(|load| load.of_others());
    let engine = Timing::of(&our_samples)
        .ok_or_else(|| Failure::failed(format!("{} was not run", case.name)))?;
    let pytorch = theirs.map(|theirs| match (theirs, Timing::of(&their_samples)) {
        (Ok((_, outcome)), Some(timing)) => Comparison::Agrees {
            agreement: Agreement::between(&ours, &outcome, judged(case, args)),
            ratio: timing.total.median / engine.total.median,
            ratio_of_least: timing.total.min / engine.total.min,
            timing: Box::new(timing),
            peak_bytes: if case.is_step() { outcome.peak_bytes } else { None },
        },
        (Ok(_), None) => Comparison::Failed { message: "it was not run".into() },
        (Err(comparison), _) => comparison,
    });
    let multiply_adds = network.multiply_adds();
    let gmacs = (multiply_adds.total() > 0)
        .then(|| multiply_adds.total() as f64 / engine.total.median / 1e6);
    let gbytes =
        matches!(device, Device::Cuda(_)).then(|| planned.moved as f64 / engine.total.median / 1e6);
    Ok(Row {
        case: case.name.clone(),
        is_step: case.is_step(),
        multiply_adds,
        planned,
        launches: subject.launches(),
        peak_bytes,
        engine,
        gmacs,
        share_of_gemm: gmacs.zip(machine.best_gemm_gmacs()).map(|(gmacs, best)| gmacs / best),
        gbytes,
        share_of_copy: gbytes.map(|gbytes| gbytes / machine.copy_gbytes()),
        others,
        pytorch,
    })
}

/// The PyTorch processes of a run of the program.
pub(crate) struct Torch<'a> {
    python: Option<&'a Path>,
    how: How,
    process: Option<PyTorch>,
}

impl<'a> Torch<'a> {
    /// Nothing where `process` is none.
    pub(crate) fn new(python: Option<&'a Path>, how: How, process: Option<PyTorch>) -> Self {
        Self { python, how, process }
    }

    /// Loads and first runs a network; `None` where PyTorch is not asked for.
    fn begin(
        &mut self,
        case: &Case,
        network: &Network,
    ) -> Option<Result<(&mut PyTorch, crate::engine::Outcome), Comparison>> {
        let python = self.python?;
        // A step gets a process of its own, so that its peak of memory is not hidden in what cases
        // before it gave back. On a GPU, PyTorch itself knows what is in use.
        if case.is_step() && self.how.device == DeviceChoice::Cpu {
            self.process = None;
        }
        let mut begin = || {
            let process = match &mut self.process {
                Some(process) => process,
                none => none.insert(PyTorch::start(python, &self.how)?),
            };
            process.load(network)?;
            process.first()
        };
        match begin() {
            Ok(outcome) => self.process.as_mut().map(|process| Ok((process, outcome))),
            Err(e) => {
                // Whatever state it is in, the next case starts afresh.
                self.process = None;
                Some(Err(Comparison::Failed { message: e.to_string() }))
            }
        }
    }
}

/// A first step in a process where nothing was before it, whose allocator therefore holds nothing
/// back.
fn peak_in_own_process(case: &Case, args: &Args) -> Result<Option<u64>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let cannot = format!("cannot measure the memory of {}", case.name);
    let mut command = Command::new(std::env::current_exe().context(&cannot)?);
    command.args(["--memory-of", &case.name, "--threads", &args.threads.to_string()]);
    if args.no_fuse {
        command.arg("--no-fuse");
    }
    let output = command.stderr(std::process::Stdio::inherit()).output().context(&cannot)?;
    if !output.status.success() {
        return Err(Failure::failed(format!("{cannot}: {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).context(&cannot)
}

/// Bytes resident at most during a first step, above those before it; `None` where the system does
/// not tell.
pub(crate) fn peak(case: &Case, device: &Device) -> Result<Option<u64>> {
    let network = case.network(Size::Full)?;
    let mut subject = Subject::new(&network, device)?;
    let Some(baseline) = Baseline::take() else { return Ok(None) };
    subject.first()?;
    Ok(baseline.peak_above())
}
