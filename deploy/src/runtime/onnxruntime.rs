//! ONNX Runtime, through `ort`.

use std::{
    ffi::CStr,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use half::{bf16, f16};
use libloading::Library;
use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{SessionInputValue, builder::GraphOptimizationLevel},
    sys::OrtApiBase,
    value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType},
};

use super::feed::{Feed, Network, RunProfile, SessionOptions, no_panic};
use crate::{
    DeployError, Result,
    onnx::{ImageInput, OnnxModel},
    ort_library::{self, OrtLibrary},
    runtime::Runtime,
    statistics::interquartile_mean,
};

/// A process has one ONNX Runtime library and one environment: `ort` keeps both in globals.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

#[derive(Clone)]
struct Loaded {
    library: PathBuf,
    environment: Environment,
    version: String,
}

pub(super) struct OrtSession {
    path: PathBuf,
    session: ort::session::Session,
    input: String,
    output: String,
    version: String,
}

impl OrtSession {
    pub(super) fn load(network: Network<'_>, options: &SessionOptions<'_>) -> Result<Self> {
        Self::open(network, options, None)
    }

    /// With a `profile`, whose name begins so, the session writes what it does.
    fn open(
        network: Network<'_>,
        options: &SessionOptions<'_>,
        profile: Option<&Path>,
    ) -> Result<Self> {
        let loaded = loaded(options.ort_library)?;
        let path = network.path.to_owned();
        let session = no_panic(|| {
            open(&loaded.environment, network, options.threads, profile)
                .map_err(|error| error.to_string())
        })
        .map_err(|detail| DeployError::Load {
            path: path.clone(),
            runtime: Runtime::Ort,
            detail,
        })?;
        Ok(Self {
            path,
            session,
            input: network.input.to_owned(),
            output: network.output.to_owned(),
            version: loaded.version,
        })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn run(&mut self, images: &Feed<'_>, shape: [usize; 4]) -> Result<Vec<f32>> {
        let Self { session, input, output, path, .. } = self;
        no_panic(|| {
            let images = tensor(images, shape)?;
            let outputs = session
                .run(ort::inputs![input.as_str() => images])
                .map_err(|error| error.to_string())?;
            floats(outputs.get(output.as_str()).ok_or("the output is missing")?)
        })
        .map_err(failed(path))
    }

    pub(super) fn run_only(&mut self, images: &Feed<'_>, shape: [usize; 4]) -> Result<()> {
        let Self { session, input, path, .. } = self;
        no_panic(|| {
            let images = tensor(images, shape)?;
            session
                .run(ort::inputs![input.as_str() => images])
                .map(|_| ())
                .map_err(|error| error.to_string())
        })
        .map_err(failed(path))
    }
}

/// The error of a run that fails on the model at `path`.
fn failed(path: &Path) -> impl Fn(String) -> DeployError {
    move |detail| DeployError::Run { path: path.to_owned(), runtime: Runtime::Ort, detail }
}

fn tensor<'a>(images: &'a Feed<'_>, shape: [usize; 4]) -> Result<SessionInputValue<'a>, String> {
    let tensor = match images {
        Feed::F32(values) => TensorRef::from_array_view((shape, &values[..])).map(Into::into),
        Feed::F16(values) => TensorRef::from_array_view((shape, &values[..])).map(Into::into),
        Feed::F64(values) => TensorRef::from_array_view((shape, &values[..])).map(Into::into),
        Feed::U8(values) => TensorRef::from_array_view((shape, &values[..])).map(Into::into),
    };
    tensor.map_err(|error| error.to_string())
}

/// The values of an output of numbers.
fn floats(output: &DynValue) -> Result<Vec<f32>, String> {
    let ValueType::Tensor { ty, .. } = output.dtype() else {
        return Err(format!("the output is {}, and no tensor", output.dtype()));
    };
    fn whole<T>(output: &DynValue, real: impl Fn(T) -> f32) -> ort::Result<Vec<f32>>
    where
        T: PrimitiveTensorElementType + Copy,
    {
        let values = output.try_extract_tensor::<T>();
        values.map(|(_, values)| values.iter().map(|&value| real(value)).collect())
    }
    let values = match ty {
        TensorElementType::Int8 => whole::<i8>(output, f32::from),
        TensorElementType::Uint8 => whole::<u8>(output, f32::from),
        TensorElementType::Int16 => whole::<i16>(output, f32::from),
        TensorElementType::Uint16 => whole::<u16>(output, f32::from),
        TensorElementType::Int32 => whole::<i32>(output, |value| value as f32),
        TensorElementType::Uint32 => whole::<u32>(output, |value| value as f32),
        TensorElementType::Int64 => whole::<i64>(output, |value| value as f32),
        TensorElementType::Float16 => {
            let values = output.try_extract_tensor::<f16>();
            values.map(|(_, values)| values.iter().map(|value| value.to_f32()).collect())
        }
        TensorElementType::Bfloat16 => {
            let values = output.try_extract_tensor::<bf16>();
            values.map(|(_, values)| values.iter().map(|value| value.to_f32()).collect())
        }
        TensorElementType::Float64 => {
            let values = output.try_extract_tensor::<f64>();
            values.map(|(_, values)| values.iter().map(|&value| value as f32).collect())
        }
        _ => output.try_extract_tensor::<f32>().map(|(_, values)| values.to_vec()),
    };
    values.map_err(|error| error.to_string())
}

/// A model in ONNX Runtime that gives all its outputs: a quantiser calibrates with it.
pub struct Probe {
    session: OrtSession,
    input: ImageInput,
}

impl Probe {
    /// Loads the file that `model` was read from, on one thread. `library` is as in
    /// [`SessionOptions::ort_library`].
    ///
    /// # Errors
    /// ONNX Runtime is missing or refuses the model.
    pub fn load(model: &OnnxModel, library: Option<&OrtLibrary>) -> Result<Self> {
        let options = SessionOptions { ort_library: library, ..SessionOptions::default() };
        Ok(Self {
            session: OrtSession::load(Network::of(model), &options)?,
            input: model.input().clone(),
        })
    }

    /// Runs `batch` images as [`super::Session::run`] does, and hands every output to `look`, by
    /// name.
    ///
    /// # Errors
    /// `images` has another length, ONNX Runtime fails, or an output is not float32.
    pub fn run(
        &mut self,
        images: &[f32],
        batch: usize,
        mut look: impl FnMut(&str, &[f32]),
    ) -> Result<()> {
        self.input.check_images(images, batch, 0)?;
        let OrtSession { session, path, input, .. } = &mut self.session;
        let shape = self.input.shape(batch);
        let images = Feed::of(images.into(), &self.input);
        no_panic(|| {
            let images = tensor(&images, shape)?;
            let outputs = session
                .run(ort::inputs![input.as_str() => images])
                .map_err(|error| error.to_string())?;
            for (name, output) in &outputs {
                let (_, values) =
                    output.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
                look(name, values);
            }
            Ok(())
        })
        .map_err(failed(path))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("path", &self.session.path).finish_non_exhaustive()
    }
}

fn open(
    environment: &Environment,
    network: Network<'_>,
    threads: usize,
    profile: Option<&Path>,
) -> ort::Result<ort::session::Session> {
    let mut builder = ort::session::Session::builder(environment)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?;
    if let Some(profile) = profile {
        builder = builder.with_profiling(profile)?;
    }
    match network.bytes {
        Some(bytes) => builder.commit_from_memory(bytes),
        None => builder.commit_from_file(network.path),
    }
}

/// Profiles of this process get different names.
static PROFILES: AtomicUsize = AtomicUsize::new(0);

pub(super) fn profile(
    network: Network<'_>,
    options: &SessionOptions<'_>,
    images: &Feed<'_>,
    shape: [usize; 4],
    min_time: Duration,
) -> Result<RunProfile> {
    let number = PROFILES.fetch_add(1, Ordering::Relaxed);
    let prefix = std::env::temp_dir().join(format!("adwp-profile-{}-{number}", std::process::id()));
    let mut session = OrtSession::open(network, options, Some(&prefix))?;
    session.run_only(images, shape)?;
    let (start, mut runs) = (Instant::now(), Vec::new());
    // Each run adds a line for each node to the file.
    while runs.is_empty() || (start.elapsed() < min_time && runs.len() < MOST_PROFILED) {
        let start = Instant::now();
        session.run_only(images, shape)?;
        runs.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let failed = failed(network.path);
    let written = no_panic(|| session.session.end_profiling().map_err(|error| error.to_string()))
        .map_err(&failed)?;
    let text = fs::read_to_string(&written)
        .map_err(|error| failed(format!("its profile {written} cannot be read: {error}")));
    // Litter in the temporary folder is no reason to fail.
    let _ = fs::remove_file(&written);
    let nodes = node_times(&text?, 1 + runs.len()).map_err(failed)?;
    Ok(RunProfile { runs: runs.len(), run_ms: interquartile_mean(runs), nodes })
}

const MOST_PROFILED: usize = 500;

/// One thing that ONNX Runtime has timed; the form is that of Chrome's trace viewer.
#[derive(serde::Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    /// In microseconds.
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: serde_json::Map<String, serde_json::Value>,
}

/// What every node takes in one of `runs` profiled runs, the first one not counted.
fn node_times(profile: &str, runs: usize) -> Result<Vec<(String, String, f64)>, String> {
    let events: Vec<Event> = serde_json::from_str(profile)
        .map_err(|error| format!("its profile is no JSON: {error}"))?;
    let mut nodes: Vec<(String, String, Vec<f64>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for event in events.iter().filter(|event| event.cat == "Node") {
        let Some(name) = event.name.strip_suffix("_kernel_time") else { continue };
        let op = event.args.get("op_name").and_then(serde_json::Value::as_str).unwrap_or_default();
        let place = *places.entry((name, op)).or_insert_with(|| {
            nodes.push((name.to_owned(), op.to_owned(), Vec::new()));
            nodes.len() - 1
        });
        nodes[place].2.push(event.dur);
    }
    let typical = |times: &[f64]| {
        // A node of a loop is there several times in each run.
        let each = (times.len() / runs).max(1);
        interquartile_mean(
            times.chunks(each).skip(1).map(|times| times.iter().sum::<f64>() / 1000.0),
        )
    };
    Ok(nodes.into_iter().map(|(name, op, times)| (name, op, typical(&times))).collect())
}

/// Loads the library, and gives the version that it states.
pub(super) fn prepare(wanted: Option<&OrtLibrary>) -> Result<String> {
    Ok(loaded(wanted)?.version)
}

fn loaded(wanted: Option<&OrtLibrary>) -> Result<Loaded> {
    let mut slot = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(loaded) = slot.as_ref() {
        return match wanted {
            Some(wanted) if canonical(&wanted.path) != loaded.library => {
                Err(DeployError::OrtConflict {
                    loaded: loaded.library.clone(),
                    requested: wanted.path.clone(),
                })
            }
            _ => Ok(loaded.clone()),
        };
    }
    let library = match wanted {
        Some(library) => library.clone(),
        None => ort_library::find(None)?,
    };
    let path = canonical(&library.path);
    let environment = no_panic(|| {
        let builder = ort::init_from(&path).map_err(|error| error.to_string())?;
        let environment = builder
            .with_name("adwp")
            .with_telemetry(false)
            .build()
            .map_err(|error| error.to_string())?;
        // Every error comes back as a value; ONNX Runtime would print it too, unless someone asks
        // for its log.
        if std::env::var_os("ORT_LOG").is_none() {
            environment.set_log_level(LogLevel::Fatal);
        }
        Ok(environment)
    })
    .map_err(|detail| DeployError::OrtLoad { path: library.path.clone(), detail })?;
    let version = stated(&path).or(library.version).unwrap_or_else(|| "unknown".to_owned());
    Ok(slot.insert(Loaded { library: path, environment, version }).clone())
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The version that a library states. The names of files and packages may be of another one.
#[allow(unsafe_code, reason = "`ort` asks for it as it loads the library, and keeps the answer")]
fn stated(path: &Path) -> Option<String> {
    type GetApiBase = unsafe extern "C" fn() -> *const OrtApiBase;
    // SAFETY: `ort` has loaded this library, so that none of its code runs now, and keeps it.
    let library = unsafe { Library::new(path) }.ok()?;
    // SAFETY: the function has this type in every version of onnxruntime_c_api.h.
    let base = unsafe { library.get::<GetApiBase>(b"OrtGetApiBase") }.ok()?;
    // SAFETY: it gives a pointer to a constant of the library, or null.
    let base = unsafe { base().as_ref() }?;
    // SAFETY: the version is a constant of the library that ends in a zero.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) };
    Some(version.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::node_times;

    #[test]
    fn nodes_take_what_they_take_in_most_runs() {
        // Six runs, the first of which loads what the others have in their caches; one was
        // disturbed. A node of a loop runs twice.
        let mut events = Vec::new();
        for run in [90, 3, 3, 4, 700, 5] {
            let node = |name: &str, dur: i32| {
                let name = format!("{name}_kernel_time");
                let args = serde_json::json!({ "op_name": "Conv" });
                serde_json::json!({ "cat": "Node", "name": name, "dur": dur, "args": args })
                    .to_string()
            };
            events.extend([node("a", run), node("looped", run), node("looped", 1)]);
            events.push(format!(r#"{{"cat": "Session", "name": "model_run", "dur": {run}}}"#));
        }
        let nodes = node_times(&format!("[{}]", events.join(",")), 6).unwrap();
        assert_eq!(
            nodes,
            [
                ("a".to_owned(), "Conv".to_owned(), 0.004),
                ("looped".to_owned(), "Conv".to_owned(), 0.005)
            ]
        );
        assert!(node_times("[", 6).is_err());
    }
}
