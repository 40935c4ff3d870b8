//! A model is first loaded and run in a process of its own.
//!
//! The runtimes cannot be trusted with files of strangers: a constant that they fold may divide by
//! zero and end the process, a shape may ask for terabytes, a graph of a few hundred bytes may be
//! optimised without end. So a second process of the program tries it, within limits on time and
//! memory, before this one loads it. If it dies, this is an error like any other, which says where
//! it was. What it held at most is the memory that the model takes.

use std::{
    fmt,
    io::{self, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    DeployError, Result,
    machine::{available_bytes, status_bytes},
    noise::noise,
    onnx::{Interface, OnnxModel},
    ort_library,
    runtime::{self, Runtime, Session, SessionOptions},
};

/// Memory of a process that does nothing but run one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeakMemory {
    /// The most bytes that the process held, the program and the runtime's library included.
    pub peak_bytes: u64,
    /// What it held before it read the model.
    pub before_bytes: u64,
}

/// The hidden command of a program that calls [`child`].
pub const COMMAND: &str = "trial";

/// Where and within which limits models are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// A program that has the command [`COMMAND`].
    pub program: PathBuf,
    /// The longest that loading and the first runs may take together.
    pub timeout: Duration,
    /// The most bytes of memory; `None` allows what the machine has available. Linux alone keeps
    /// to it.
    pub max_memory: Option<u64>,
}

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The model, and what was said of its interface.
    pub model: &'a OnnxModel,
    /// The runtime.
    pub runtime: Runtime,
    /// How the session is to be made.
    pub options: SessionOptions<'a>,
}

/// How far a trial is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    Reading,
    Loading,
    Running,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reading => "reading the file",
            Self::Loading => "loading and optimising the graph",
            Self::Running => "running it for the first time",
        })
    }
}

/// A line of what a trial prints.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Stage(Stage),
    Done(Option<PeakMemory>),
    Failed(String),
}

impl Trial {
    /// Loads and runs a model in a process of its own: the memory that it takes there, where the
    /// system tells it. `progress` is called while it takes long.
    ///
    /// # Errors
    /// [`DeployError::Load`] and [`DeployError::Run`] with what the runtime said;
    /// [`DeployError::Trial`] where the process died or met a limit, or cannot be started.
    pub fn run(
        &self,
        attempt: &Attempt<'_>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Option<PeakMemory>> {
        self.finish(self.command(attempt, self.limit()), attempt, progress)
    }

    /// The same of the part of a model that ends in the result of a node, by its place in the file:
    /// another graph than the whole, of which a runtime may leave out what this one runs.
    ///
    /// # Errors
    /// As [`Trial::run`].
    pub fn run_part(&self, attempt: &Attempt<'_>, node: usize) -> Result<()> {
        let mut command = self.command(attempt, self.limit());
        command.args(["--part", &node.to_string()]);
        self.finish(command, attempt, &mut |_| {}).map(|_| ())
    }

    /// The most bytes of memory.
    fn limit(&self) -> Option<u64> {
        self.max_memory.or_else(available_bytes)
    }

    /// Starts the process and waits for its end.
    fn finish(
        &self,
        mut command: Command,
        attempt: &Attempt<'_>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Option<PeakMemory>> {
        let Attempt { model, runtime, .. } = *attempt;
        let failed = |detail: String, hint: Option<&'static str>| DeployError::Trial {
            path: model.path().to_owned(),
            runtime,
            detail,
            hint,
        };
        let limit = self.limit();
        let mut child = command.spawn().map_err(|error| {
            failed(format!("{} cannot be started: {error}", self.program.display()), None)
        })?;
        let (output, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let status = self.wait(&mut child, |seconds| {
            progress(&format!(
                "{} has been loading {} for {seconds} s",
                runtime,
                model.path().display()
            ));
        });
        let (output, errors) = (text(output), text(errors));
        let lines = output.lines().filter_map(|line| serde_json::from_str(line).ok());
        let (mut stage, mut end) = (Stage::Reading, None);
        for line in lines {
            match line {
                Line::Stage(at) => stage = at,
                line => end = Some(line),
            }
        }
        let Some(status) =
            status.map_err(|error| failed(format!("its trial was lost: {error}"), None))?
        else {
            let seconds = self.timeout.as_secs_f64();
            return Err(failed(
                format!("was stopped after {seconds} s of {stage}"),
                Some("--load-timeout gives it more time"),
            ));
        };
        let path = || model.path().to_owned();
        match end {
            Some(Line::Done(memory)) if status.success() => Ok(memory),
            Some(Line::Failed(detail)) if out_of_memory(&detail) => {
                Err(failed(format!("{} while {stage}: {detail}", starved(limit)), MORE_MEMORY))
            }
            Some(Line::Failed(detail)) if stage == Stage::Running => {
                Err(DeployError::Run { path: path(), runtime, detail })
            }
            Some(Line::Failed(detail)) => Err(DeployError::Load { path: path(), runtime, detail }),
            _ => {
                let last = errors.lines().map(str::trim).rfind(|line| !line.is_empty());
                let said = last.map(|line| format!(" ({line})")).unwrap_or_default();
                match out_of_memory(&errors) {
                    true => {
                        Err(failed(format!("{} while {stage}{said}", starved(limit)), MORE_MEMORY))
                    }
                    false => Err(failed(format!("{} while {stage}{said}", death(status)), None)),
                }
            }
        }
    }

    fn command(&self, attempt: &Attempt<'_>, limit: Option<u64>) -> Command {
        let Attempt { model, runtime, options } = attempt;
        let mut command = Command::new(&self.program);
        command.arg(COMMAND).arg(model.path()).args(["--runtime", runtime.name()]);
        let batch = model.input().batch_of(options.batch).to_string();
        let threads = options.threads.to_string();
        command.args(["--threads", &threads, "--batch", &batch]);
        let seconds =
            self.timeout.as_secs().saturating_add(2).saturating_mul(1 + options.threads as u64);
        command.args(["--processor-seconds", &seconds.to_string()]);
        if let Some(library) = options.ort_library {
            command.arg("--ort-lib").arg(&library.path);
        }
        if let Some(limit) = limit {
            command.args(["--max-memory", &limit.to_string()]);
        }
        let said = model.said();
        for (name, shape) in &said.shapes {
            let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
            command.args(["--input", &format!("{name}={}", sizes.join("x"))]);
        }
        if let Some(output) = said.output {
            command.arg(format!("--output={output}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Waits for the end; `None` where the time was over and it was killed.
    fn wait(
        &self,
        child: &mut Child,
        mut still: impl FnMut(u64),
    ) -> io::Result<Option<ExitStatus>> {
        let (start, mut said) = (Instant::now(), 0);
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            let elapsed = start.elapsed();
            if elapsed >= self.timeout {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            let seconds = elapsed.as_secs();
            if seconds >= said + INTERVAL {
                said = seconds;
                still(seconds);
            }
            thread::sleep(pause.min(self.timeout - elapsed));
            pause = (2 * pause).min(Duration::from_millis(20));
        }
    }
}

/// Seconds between two words about a trial that takes long.
const INTERVAL: u64 = 5;
const MORE_MEMORY: Option<&str> = Some("--max-memory gives it more");

fn starved(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("needs more than {:.2} GB of memory", limit as f64 / 1e9),
        None => "needs more memory than there is".to_owned(),
    }
}

/// Whether a message tells of an allocation that failed: C++ and Rust word it so.
fn out_of_memory(text: &str) -> bool {
    ["bad_alloc", "memory allocation of", "bad allocation", "llocate memory", "out of memory"]
        .iter()
        .any(|words| text.contains(words))
}

/// The most that is kept of what a trial prints.
const MOST_KEPT: u64 = 1 << 16;

/// Reads a pipe to its end, so that nobody waits for it, and keeps the first of it.
fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks has said all that it will.
            pipe.by_ref().take(MOST_KEPT).read_to_end(&mut kept).ok();
            io::copy(&mut pipe, &mut io::sink()).ok();
        }
        kept
    })
}

fn text(drained: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&drained.join().unwrap_or_default()).into_owned()
}

/// How a process ended that did not end well.
fn death(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal {
            4 => "died of SIGILL".to_owned(),
            6 => "died of SIGABRT".to_owned(),
            7 => "died of SIGBUS".to_owned(),
            8 => "died of SIGFPE".to_owned(),
            9 => "was killed, as the system does where memory runs out,".to_owned(),
            11 => "died of SIGSEGV".to_owned(),
            24 => "ran out of processor time".to_owned(),
            other => format!("died of signal {other}"),
        };
    }
    format!("ended with {status}")
}

/// Runs before the peak is read: what a runtime sets up lazily is there after the first.
const RUNS: usize = 3;

/// What the process of a trial is asked to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// The file of the model.
    pub path: PathBuf,
    /// What was said of its interface.
    pub said: Interface,
    /// The runtime.
    pub runtime: Runtime,
    /// Threads.
    pub threads: usize,
    /// Images in one run.
    pub batch: usize,
    /// The place in the file of the node whose result the part to be tried ends in; none for the
    /// whole model.
    pub part: Option<usize>,
    /// Where ONNX Runtime is.
    pub library: Option<PathBuf>,
    /// The most bytes of memory.
    pub max_memory: Option<u64>,
    /// The most seconds of all processors together: an end where nobody waits any more.
    pub processor_seconds: Option<u64>,
}

/// The work of the process that [`Trial::run`] starts, which should have done nothing before. Every
/// line goes to `print` at once.
pub fn child(request: &Request, print: &mut dyn FnMut(&str)) {
    // Lines are plain texts and numbers, which all print.
    let mut say = |line: &Line| print(&(serde_json::to_string(line).unwrap_or_default() + "\n"));
    confine(request);
    let end = match attempt(request, &mut |stage| say(&Line::Stage(stage))) {
        Ok(memory) => Line::Done(memory),
        Err(DeployError::Load { detail, .. } | DeployError::Run { detail, .. }) => {
            Line::Failed(detail)
        }
        Err(error) => Line::Failed(error.to_string()),
    };
    say(&end);
}

fn attempt(request: &Request, reach: &mut dyn FnMut(Stage)) -> Result<Option<PeakMemory>> {
    let Request { runtime, threads, batch, .. } = *request;
    reach(Stage::Reading);
    let library = match runtime {
        Runtime::Ort => Some(ort_library::find(request.library.as_deref())?),
        Runtime::Tract => None,
    };
    runtime::prepare(runtime, library.as_ref())?;
    let before = status_bytes("VmRSS");
    let model = OnnxModel::load_as(&request.path, &request.said)?;
    reach(Stage::Loading);
    let options = SessionOptions { threads, ort_library: library.as_ref(), batch };
    if let Some(node) = request.part {
        let images = noise(model.input(), batch);
        runtime::run_part(runtime, &model, node, &options, &images)?;
        return Ok(None);
    }
    let mut session = Session::from_model(runtime, &model, &options)?;
    let images = noise(model.input(), batch);
    // What was read to check the file is not part of what the runtime needs.
    drop(model);
    reach(Stage::Running);
    let images = session.bind(images, batch)?;
    for _ in 0..RUNS {
        session.run_bound(&images)?;
    }
    let peak = status_bytes("VmHWM").zip(before);
    Ok(peak.map(|(peak_bytes, before_bytes)| PeakMemory { peak_bytes, before_bytes }))
}

/// Sets the limits of this process. Where the system refuses one, the others and the clock of the
/// process that waits remain.
#[cfg(target_os = "linux")]
fn confine(request: &Request) {
    use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

    let limit = |resource, most| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).ok();
    };
    // Nobody reads the image of a process that a hostile file has ended.
    limit(Resource::Core, 0);
    // What is written to, unlike address space, which threads reserve far more of than they use.
    for (resource, most) in
        [(Resource::Data, request.max_memory), (Resource::Cpu, request.processor_seconds)]
    {
        if let Some(most) = most {
            limit(resource, most);
        }
    }
    set_parent_process_death_signal(Some(Signal::KILL)).ok();
}

#[cfg(not(target_os = "linux"))]
fn confine(_request: &Request) {}
