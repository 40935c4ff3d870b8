use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use adwp_data::DataError;
use adwp_engine::Device;
use serde_json::{Map, Value};

use crate::memory::{self, Need, in_units};
use crate::metrics::Metrics;
use crate::{
    At, Checkpoint, Finished, Interrupt, Progress, Reporter, Result, RunDir, StepReport,
    TensorData, TrainError, require_finite,
};

/// The batches of an epoch, in order.
pub type PhaseBatches<B> = Box<dyn Iterator<Item = Result<B, DataError>>>;

/// A training phase: what [`run_phase`] repeats.
pub trait Phase {
    /// What one step consumes.
    type Batch;

    /// What can go wrong in it.
    type Error: From<TrainError>;

    /// Its name in metrics, checkpoints and messages.
    const NAME: &'static str;

    /// Epochs in all.
    fn epochs(&self) -> usize;

    /// Steps of an epoch.
    fn steps(&self) -> usize;

    /// What the engine computes on.
    fn device(&self) -> &Device;

    /// Bytes of memory it will hold at its peak, over all its epochs. Asked before
    /// [`Self::initialize`], and cheap: nothing of it is taken yet.
    fn planned_bytes(&self) -> Result<Need, Self::Error>;

    /// Draws the initial values of everything it learns.
    fn initialize(&mut self) -> Result<(), Self::Error>;

    /// The batches of an epoch from step `first` on; the same ones as an uninterrupted epoch has
    /// there.
    fn batches(&self, epoch: usize, first: usize)
    -> Result<PhaseBatches<Self::Batch>, Self::Error>;

    /// One update. A loss that is not finite is to be met with [`require_finite`] before anything
    /// is updated; where a phase does not, [`run_phase`] ends all the same, but nobody can tell any
    /// more what the loss came from.
    fn step(&mut self, at: At, batch: Self::Batch) -> Result<StepReport, Self::Error>;

    /// What follows an epoch, such as validation; gives its metrics other than the losses.
    fn finish_epoch(
        &mut self,
        epoch: usize,
        reporter: &mut dyn Reporter,
    ) -> Result<Map<String, Value>, Self::Error>;

    /// Why no further epoch is worth its time, where that is so: asked before each epoch. Must
    /// follow from what [`Self::restore`] brings back, so that a phase which is continued ends
    /// where it would have ended.
    fn settled(&self) -> Option<String> {
        None
    }

    /// The checkpoint of another run that a phase without one of its own continues from. It stays
    /// as it is.
    fn origin(&self) -> Option<&Path> {
        None
    }

    /// Stores everything that [`Self::restore`] needs.
    fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), Self::Error>;

    /// Goes back to what [`Self::save`] stored; `path` is for messages.
    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<(), Self::Error>;
}

/// What a phase needs of its surroundings.
pub struct Context<'a> {
    /// The folder of the run.
    pub run: &'a RunDir,
    /// Continue from a checkpoint that is there; else start afresh.
    pub resume: bool,
    /// Bytes that the caller holds meanwhile, such as images in memory.
    pub held_bytes: usize,
    /// Whether a phase is refused that needs more memory than there is.
    pub check_memory: bool,
    /// Asked after every step.
    pub interrupt: &'a Interrupt,
    /// Hears of the progress.
    pub reporter: &'a mut dyn Reporter,
}

impl<'a> Context<'a> {
    /// The surroundings of a phase that starts afresh, and is refused where memory is short.
    pub fn new(run: &'a RunDir, interrupt: &'a Interrupt, reporter: &'a mut dyn Reporter) -> Self {
        Self { run, resume: false, held_bytes: 0, check_memory: true, interrupt, reporter }
    }

    /// The surroundings of a phase that works in a folder of its own, and continues what is there.
    pub fn within<'b>(&'b mut self, run: &'b RunDir) -> Context<'b> {
        let Self { held_bytes, check_memory, interrupt, reporter, .. } = self;
        Context {
            run,
            resume: true,
            held_bytes: *held_bytes,
            check_memory: *check_memory,
            interrupt,
            reporter: &mut **reporter,
        }
    }
}

/// Sums over the steps of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    loss: f64,
    images: u64,
    correct: u64,
    seconds: f64,
}

/// Runs a phase to its end or to the next interrupt, which is met after the step it falls into or
/// the one that follows.
///
/// A checkpoint is written after every epoch and on an interrupt. A loss that is not finite, or a
/// variable, ends the phase with the last checkpoint kept. The memory it needs is reported before
/// any is taken, and what it took when it ends.
pub fn run_phase<P: Phase>(
    phase: &mut P,
    context: &mut Context<'_>,
) -> Result<Finished<()>, P::Error> {
    let outcome = drive(phase, context);
    context.reporter.phase_end();
    outcome
}

fn drive<P: Phase>(phase: &mut P, context: &mut Context<'_>) -> Result<Finished<()>, P::Error> {
    let planned = announce_memory(phase, context)?;
    memory::reset_peak();
    phase.initialize()?;
    let path = context.run.checkpoint(P::NAME);
    let (mut at, mut totals) = (At { epoch: 0, step: 0 }, Totals::default());
    let own = Some(&*path).filter(|path| context.resume && path.exists());
    if let Some(from) = own.or(phase.origin()).map(Path::to_owned) {
        (at, totals) = restore(phase, &from)?;
        context.reporter.message(&format!(
            "{}: continuing at epoch {}, step {}",
            P::NAME,
            at.epoch + 1,
            at.step
        ));
    }
    let metrics = Metrics::open(context.run, P::NAME, at.epoch)?;
    let mut pace = Pace::default();

    while at.epoch < phase.epochs() {
        // An epoch that was begun is finished: in the middle of it the phase could answer
        // otherwise.
        if at.step == 0
            && let Some(reason) = phase.settled()
        {
            context.reporter.message(&format!(
                "{}: settled after {} of {} epochs: {reason}",
                P::NAME,
                at.epoch,
                phase.epochs()
            ));
            break;
        }
        for batch in phase.batches(at.epoch, at.step)? {
            let batch = batch.map_err(TrainError::from)?;
            let start = Instant::now();
            let report = phase.step(at, batch)?;
            let seconds = start.elapsed().as_secs_f64();
            require_finite(P::NAME, at, report.loss, || Ok(None))?;
            at.step += 1;
            totals.add(report, seconds);
            pace.add(report.images, seconds);
            context.reporter.step(&pace.progress(phase, at, &totals));
            if context.interrupt.is_requested() {
                save(phase, at, totals, context.run)?;
                report_peak::<P>(planned, context.reporter);
                return Ok(Finished::Interrupted);
            }
        }
        let mut entry = totals.metrics(P::NAME, at);
        entry.append(&mut phase.finish_epoch(at.epoch, context.reporter)?);
        entry.insert("device".into(), label(phase.device()).into());
        entry.insert("planned_bytes".into(), planned.host.into());
        if planned.gpu > 0 {
            entry.insert("planned_gpu_bytes".into(), planned.gpu.into());
        }
        if let Some(peak) = memory::peak() {
            entry.insert("peak_bytes".into(), peak.into());
        }
        entry.insert("seconds_left".into(), pace.seconds_left(phase, at, &totals).into());
        entry.insert("time".into(), unix_seconds().into());
        metrics.append(&entry)?;
        context.reporter.epoch(&entry);
        (at, totals) = (At { epoch: at.epoch + 1, step: 0 }, Totals::default());
        save(phase, at, totals, context.run)?;
    }
    if pace.steps > 0.0 {
        report_peak::<P>(planned, context.reporter);
    }
    Ok(Finished::Done(()))
}

/// The time of day, in seconds since 1970.
fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// What metrics and reports call a device. Results on the CPU are the same on any, with any number
/// of threads.
fn label(device: &Device) -> String {
    match device {
        Device::Cpu(_) => "cpu".to_owned(),
        Device::Cuda(device) => device.name().to_owned(),
    }
}

/// Says what the phase needs, and gives it.
fn announce_memory<P: Phase>(phase: &P, context: &mut Context<'_>) -> Result<Need, P::Error> {
    let planned = phase.planned_bytes()?.with_held(context.held_bytes);
    let available = memory::available(phase.device())?;
    let there = |available: Option<u64>| {
        available.map(|bytes| format!(" ({} available)", in_units(bytes))).unwrap_or_default()
    };
    let mut text = format!(
        "{}: needs about {} of memory{}",
        P::NAME,
        in_units(planned.host as u64),
        there(available.host)
    );
    if planned.gpu > 0 {
        text +=
            &format!(" and {} of GPU memory{}", in_units(planned.gpu as u64), there(available.gpu));
    }
    context.reporter.message(&text);
    if context.check_memory {
        memory::check(P::NAME, planned, available)?;
    }
    Ok(planned)
}

/// Reports how much of the machine's memory the phase took, where the system says.
fn report_peak<P: Phase>(planned: Need, reporter: &mut dyn Reporter) {
    if let Some(peak) = memory::peak() {
        reporter.message(&format!(
            "{}: memory: {} planned, {} measured",
            P::NAME,
            in_units(planned.host as u64),
            in_units(peak)
        ));
    }
}

fn save<P: Phase>(phase: &P, at: At, totals: Totals, run: &RunDir) -> Result<(), P::Error> {
    let mut checkpoint = Checkpoint::default();
    phase.save(&mut checkpoint)?;
    if let Some(settings) = run.settings(P::NAME) {
        checkpoint.put_settings(settings);
    }
    let is_spoiled = |tensor: &TensorData| tensor.data.iter().any(|value| !value.is_finite());
    if let Some((tensor, _)) = checkpoint.tensors.iter().find(|(_, tensor)| is_spoiled(tensor)) {
        let At { epoch, step } = at;
        let tensor = tensor.clone();
        return Err(TrainError::Spoiled { phase: P::NAME, epoch, step, tensor }.into());
    }
    let values = &mut checkpoint.values;
    values.insert("phase".into(), P::NAME.into());
    values.insert("epoch".into(), at.epoch.into());
    values.insert("step".into(), at.step.into());
    values.insert("epoch_loss".into(), totals.loss.into());
    values.insert("epoch_images".into(), totals.images.into());
    values.insert("epoch_correct".into(), totals.correct.into());
    values.insert("epoch_seconds".into(), totals.seconds.into());
    Ok(checkpoint.write(&run.checkpoint(P::NAME))?)
}

fn restore<P: Phase>(phase: &mut P, path: &Path) -> Result<(At, Totals), P::Error> {
    let mut checkpoint = Checkpoint::read(path)?;
    let name: String = checkpoint.value("phase", path)?;
    if name != P::NAME {
        let reason = format!("it belongs to the phase {name:?}");
        return Err(TrainError::Damaged { path: path.to_owned(), reason }.into());
    }
    phase.restore(&mut checkpoint, path)?;
    let at = At { epoch: checkpoint.value("epoch", path)?, step: checkpoint.value("step", path)? };
    let totals = Totals {
        loss: checkpoint.value("epoch_loss", path)?,
        images: checkpoint.value("epoch_images", path)?,
        correct: checkpoint.value("epoch_correct", path)?,
        seconds: checkpoint.value("epoch_seconds", path)?,
    };
    Ok((at, totals))
}

impl Totals {
    fn add(&mut self, report: StepReport, seconds: f64) {
        self.loss += f64::from(report.loss) * report.images as f64;
        self.images += report.images as u64;
        self.correct += report.correct as u64;
        self.seconds += seconds;
    }

    fn mean_loss(&self) -> f64 {
        self.loss / self.images.max(1) as f64
    }

    fn metrics(&self, phase: &str, at: At) -> Map<String, Value> {
        let per_step = 1e3 * self.seconds / at.step.max(1) as f64;
        [
            ("phase", phase.into()),
            ("epoch", at.epoch.into()),
            ("step_ms", per_step.into()),
            ("images_per_s", (self.images as f64 / self.seconds.max(1e-9)).into()),
            ("train_loss", self.mean_loss().into()),
            ("train_accuracy", (self.correct as f64 / self.images.max(1) as f64).into()),
        ]
        .map(|(key, value): (&str, Value)| (key.to_owned(), value))
        .into_iter()
        .collect()
    }
}

/// Speed since the phase was started or continued.
#[derive(Default)]
struct Pace {
    images: f64,
    seconds: f64,
    steps: f64,
}

impl Pace {
    fn add(&mut self, images: usize, seconds: f64) {
        self.images += images as f64;
        self.seconds += seconds;
        self.steps += 1.0;
    }

    fn progress<P: Phase>(&self, phase: &P, at: At, totals: &Totals) -> Progress {
        Progress {
            phase: P::NAME,
            epoch: at.epoch,
            epochs: phase.epochs(),
            step: at.step,
            steps: phase.steps(),
            loss: totals.mean_loss() as f32,
            images_per_s: self.images / self.seconds.max(1e-9),
            seconds_left: self.seconds_left(phase, at, totals),
        }
    }

    /// Seconds that the steps from `at` on take. A phase that continued behind the last step of an
    /// epoch has no speed yet: it is that of the epoch, whose `totals` are.
    fn seconds_left<P: Phase>(&self, phase: &P, at: At, totals: &Totals) -> f64 {
        let left = (phase.epochs() - at.epoch) * phase.steps() - at.step;
        let (seconds, steps) = if self.steps > 0.0 {
            (self.seconds, self.steps)
        } else {
            (totals.seconds, at.step as f64)
        };
        left as f64 * seconds / steps.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_text;
    use std::time::Duration;

    /// A phase of three epochs of two steps, which plans, is settled and gets a loss that is not
    /// finite as its fields say.
    struct Toy {
        device: Device,
        planned: usize,
        is_initialized: bool,
        /// What it has learned.
        steps_done: u64,
        settled_from: u64,
        spoiled: Option<At>,
        /// What it keeps in its checkpoint becomes infinite with this step.
        overflows_at: u64,
    }

    impl Toy {
        fn new() -> Self {
            let device = Device::cpu(1).unwrap();
            Self {
                device,
                planned: 0,
                is_initialized: false,
                steps_done: 0,
                settled_from: u64::MAX,
                spoiled: None,
                overflows_at: u64::MAX,
            }
        }
    }

    impl Phase for Toy {
        type Batch = ();
        type Error = TrainError;

        const NAME: &'static str = "toy";

        fn epochs(&self) -> usize {
            3
        }

        fn steps(&self) -> usize {
            2
        }

        fn device(&self) -> &Device {
            &self.device
        }

        fn planned_bytes(&self) -> Result<Need> {
            Ok(Need { host: self.planned, gpu: 0 })
        }

        fn initialize(&mut self) -> Result<()> {
            self.is_initialized = true;
            Ok(())
        }

        fn batches(&self, _: usize, first: usize) -> Result<PhaseBatches<()>> {
            Ok(Box::new((first..self.steps()).map(|_| Ok(()))))
        }

        fn step(&mut self, at: At, (): ()) -> Result<StepReport> {
            assert!(self.is_initialized);
            std::thread::sleep(Duration::from_millis(2));
            self.steps_done += 1;
            Ok(StepReport {
                loss: if self.spoiled == Some(at) { f32::INFINITY } else { 1.0 },
                images: 1,
                correct: 1,
            })
        }

        fn finish_epoch(&mut self, _: usize, _: &mut dyn Reporter) -> Result<Map<String, Value>> {
            Ok([("steps_done".to_owned(), self.steps_done.into())].into_iter().collect())
        }

        fn settled(&self) -> Option<String> {
            (self.steps_done >= self.settled_from).then(|| "nothing moves".to_owned())
        }

        fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
            checkpoint.values.insert("steps_done".into(), self.steps_done.into());
            let value = if self.steps_done >= self.overflows_at { f32::INFINITY } else { 1.0 };
            checkpoint
                .tensors
                .insert("weight".into(), TensorData { shape: vec![1], data: vec![value] });
            Ok(())
        }

        fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<()> {
            self.steps_done = checkpoint.value("steps_done", path)?;
            Ok(())
        }
    }

    /// Keeps what is said, and asks for a stop after as many steps.
    #[derive(Default)]
    struct Listener {
        said: Vec<String>,
        last: Option<Progress>,
        steps_left: usize,
        interrupt: Interrupt,
    }

    impl Reporter for Listener {
        fn step(&mut self, progress: &Progress) {
            self.last = Some(*progress);
            self.steps_left = self.steps_left.wrapping_sub(1);
            if self.steps_left == 0 {
                self.interrupt.request();
            }
        }
        fn aside(&mut self, _: &str, _: usize, _: usize) {}
        fn epoch(&mut self, metrics: &Map<String, Value>) {
            let progress = self.last.filter(|last| last.step == last.steps);
            if let Some(progress) = progress {
                assert_eq!(metrics["seconds_left"], progress.seconds_left);
            }
        }
        fn message(&mut self, text: &str) {
            self.said.push(text.to_owned());
        }
        fn phase_end(&mut self) {}
    }

    /// A folder of a run: what holds it, and itself.
    fn fresh() -> (tempfile::TempDir, RunDir) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        (folder, run)
    }

    /// Runs a phase in a folder, to its end or for some steps; gives also what is said.
    fn run_in(
        run: &RunDir,
        phase: &mut Toy,
        resume: bool,
        check_memory: bool,
        steps: usize,
    ) -> (Result<Finished<()>>, Vec<String>) {
        let mut listener = Listener { steps_left: steps, ..Listener::default() };
        let interrupt = listener.interrupt.clone();
        let mut context = Context {
            run,
            resume,
            held_bytes: 1 << 20,
            check_memory,
            interrupt: &interrupt,
            reporter: &mut listener,
        };
        let outcome = run_phase(phase, &mut context);
        (outcome, listener.said)
    }

    /// How a phase ends that plans so much, whether it was begun, and what is said.
    fn run(planned: usize, check_memory: bool) -> (Result<Finished<()>>, bool, Vec<String>) {
        let (_folder, run) = fresh();
        let mut phase = Toy { planned, ..Toy::new() };
        let (outcome, said) = run_in(&run, &mut phase, false, check_memory, 0);
        (outcome, phase.is_initialized, said)
    }

    /// The metrics of the phase; none before its first epoch is over.
    fn lines(run: &RunDir) -> Vec<Map<String, Value>> {
        if !run.metrics().exists() {
            return Vec::new();
        }
        read_text(&run.metrics())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_phase_that_the_machine_cannot_hold_is_refused_before_it_takes_memory() {
        if memory::available(&Device::cpu(1).unwrap()).unwrap().host.is_none() {
            return;
        }
        let (outcome, begun, said) = run(1 << 60, true);
        assert!(
            matches!(outcome, Err(TrainError::Memory { phase: "toy", .. })) && !begun,
            "{outcome:?}"
        );
        assert!(said[0].starts_with("toy: needs about 1152921.5 TB of memory ("), "{said:?}");
        let (outcome, begun, _) = run(1 << 60, false);
        assert!(matches!(outcome, Ok(Finished::Done(()))) && begun, "{outcome:?}");
    }

    #[test]
    fn what_the_caller_holds_counts() {
        let (outcome, _, said) = run(1 << 20, true);
        assert!(
            outcome.is_ok() && said[0].starts_with("toy: needs about 2.1 MB of memory"),
            "{said:?}"
        );
        if cfg!(target_os = "linux") {
            assert!(
                said[1].starts_with("toy: memory: 2.1 MB planned, ")
                    && said[1].ends_with("MB measured"),
                "{said:?}"
            );
        }
    }

    #[test]
    fn every_line_has_the_time_and_what_is_left() {
        let (_folder, run) = fresh();
        let start = unix_seconds();
        run_in(&run, &mut Toy::new(), false, true, 0).0.unwrap();
        let lines = lines(&run);
        let numbers =
            |key: &str| lines.iter().map(|line| line[key].as_f64().unwrap()).collect::<Vec<f64>>();
        let (times, left) = (numbers("time"), numbers("seconds_left"));
        assert!(
            start <= times[0] && times.is_sorted() && times[2] <= unix_seconds(),
            "{times:?} from {start} on"
        );
        // Each step takes 2 ms or more; two epochs of two are left, then one, then none.
        assert!(left[0] >= 4.0 * 2e-3 && left[1] >= 2.0 * 2e-3 && left[2] == 0.0, "{left:?}");
    }

    #[test]
    fn a_phase_that_continues_behind_the_last_step_of_an_epoch_knows_what_is_left() {
        let (_folder, run) = fresh();
        let (outcome, _) = run_in(&run, &mut Toy::new(), false, true, 2);
        assert!(matches!(outcome, Ok(Finished::Interrupted)), "{outcome:?}");
        assert_eq!(lines(&run), []);
        run_in(&run, &mut Toy::new(), true, true, 0).0.unwrap();
        let lines = lines(&run);
        let left = lines[0]["seconds_left"].as_f64().unwrap();
        assert!(left >= 4.0 * 2e-3, "{left}");
        let events = crate::tensorboard::tests::read(&run.events("toy"));
        assert_eq!(events.iter().map(|(_, step, _)| *step).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(events[2].2.contains(&("steps_done".to_owned(), 6.0)), "{events:?}");
    }

    #[test]
    fn a_phase_that_is_settled_is_done_and_says_why() {
        let settled = |said: &[String]| {
            said.iter().filter(|text| text.contains("settled")).cloned().collect::<Vec<_>>()
        };
        let (_folder, run) = fresh();
        let toy = || Toy { settled_from: 3, ..Toy::new() };
        let mut phase = toy();
        let (outcome, said) = run_in(&run, &mut phase, false, true, 0);
        assert!(matches!(outcome, Ok(Finished::Done(()))), "{outcome:?}");
        assert_eq!(settled(&said), ["toy: settled after 2 of 3 epochs: nothing moves"]);
        assert_eq!((phase.steps_done, lines(&run).len()), (4, 2));

        // Continued when it is done, and when it was stopped in the middle of the epoch in which it
        // settles.
        let (outcome, said) = run_in(&run, &mut phase, true, true, 0);
        assert!(
            matches!(outcome, Ok(Finished::Done(()))) && settled(&said).len() == 1,
            "{outcome:?}, {said:?}"
        );
        assert_eq!(phase.steps_done, 4);
        let (outcome, said) = run_in(&run, &mut toy(), false, true, 3);
        assert!(
            matches!(outcome, Ok(Finished::Interrupted)) && settled(&said).is_empty(),
            "{outcome:?}, {said:?}"
        );
        let mut phase = toy();
        let (outcome, said) = run_in(&run, &mut phase, true, true, 0);
        assert!(
            matches!(outcome, Ok(Finished::Done(()))) && settled(&said).len() == 1,
            "{outcome:?}, {said:?}"
        );
        assert_eq!((phase.steps_done, lines(&run).len()), (4, 2));
    }

    #[test]
    fn a_loss_that_is_not_finite_leaves_the_last_checkpoint() {
        let (_folder, run) = fresh();
        let mut phase = Toy { spoiled: Some(At { epoch: 1, step: 1 }), ..Toy::new() };
        let (outcome, _) = run_in(&run, &mut phase, false, true, 0);
        assert!(
            matches!(outcome, Err(TrainError::NotFinite { phase: "toy", epoch: 1, step: 1, .. })),
            "{outcome:?}"
        );
        assert_eq!(lines(&run).len(), 1);
        let path = run.checkpoint("toy");
        assert_eq!(Checkpoint::read(&path).unwrap().value::<u64>("steps_done", &path).unwrap(), 2);
    }

    #[test]
    fn a_checkpoint_says_what_it_was_made_with() {
        let (_folder, run) = fresh();
        run_in(&run, &mut Toy::new(), false, true, 1).0.unwrap();
        let path = run.checkpoint("toy");
        assert_eq!(Checkpoint::settings(&path), None);
        let run = run.with_settings("other", "seed = 1\n".into());
        let run = run.with_settings("toy", "seed = 2\n".into());
        run_in(&run, &mut Toy::new(), true, true, 0).0.unwrap();
        assert_eq!(Checkpoint::settings(&path).as_deref(), Some("seed = 2\n"));
    }

    #[test]
    fn values_that_are_not_finite_get_into_no_checkpoint() {
        let (_folder, run) = fresh();
        // With the last step of the second epoch, whose loss is from before the update.
        let (outcome, _) = run_in(&run, &mut Toy { overflows_at: 4, ..Toy::new() }, false, true, 0);
        let Err(error @ TrainError::Spoiled { .. }) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(
            error.to_string(),
            "toy: weight has values that are not finite after epoch 2, step 0"
        );
        let path = run.checkpoint("toy");
        assert_eq!(Checkpoint::read(&path).unwrap().value::<u64>("steps_done", &path).unwrap(), 2);
    }
}
