//! ONNX Runtime, through `ort`.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{SessionInputValue, builder::GraphOptimizationLevel},
    value::TensorRef,
};

use super::{Feed, Runtime, SessionOptions, no_panic};
use crate::{
    DeployError, Result,
    onnx::{ImageInput, OnnxModel},
    ort_library::{self, OrtLibrary},
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
    pub(super) fn load(model: &OnnxModel, options: &SessionOptions<'_>) -> Result<Self> {
        let loaded = loaded(options.ort_library)?;
        let session = no_panic(|| open(&loaded.environment, model.path(), options.threads).map_err(|error| error.to_string()))
            .map_err(|detail| DeployError::Load { path: model.path().to_owned(), runtime: Runtime::Ort, detail })?;
        Ok(Self {
            path: model.path().to_owned(),
            session,
            input: model.input().name.clone(),
            output: model.output().name.clone(),
            version: loaded.version,
        })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn run(&mut self, images: Feed<'_>, shape: [usize; 4]) -> Result<Vec<f32>> {
        let Self { session, input, output, path, .. } = self;
        no_panic(|| {
            let images = tensor(images, shape).map_err(|error| error.to_string())?;
            let outputs = session.run(ort::inputs![input.as_str() => images]).map_err(|error| error.to_string())?;
            let logits = outputs.get(output.as_str()).ok_or("the output is missing")?;
            let (_, logits) = logits.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
            Ok(logits.to_vec())
        })
        .map_err(|detail| DeployError::Run { path: path.clone(), runtime: Runtime::Ort, detail })
    }
}

fn tensor(images: Feed<'_>, shape: [usize; 4]) -> ort::Result<SessionInputValue<'_>> {
    Ok(match images {
        Feed::Values(values) => TensorRef::from_array_view((shape, values))?.into(),
        Feed::Pixels(pixels) => TensorRef::from_array_view((shape, pixels))?.into(),
    })
}

/// A model in ONNX Runtime that tells all its outputs: what a quantiser calibrates with.
pub struct Probe {
    session: OrtSession,
    input: ImageInput,
}

impl Probe {
    /// Loads the file that `model` was read from, on one thread. `library` is as in [`SessionOptions::ort_library`].
    ///
    /// # Errors
    /// ONNX Runtime is missing or refuses the model.
    pub fn load(model: &OnnxModel, library: Option<&OrtLibrary>) -> Result<Self> {
        let options = SessionOptions { ort_library: library, ..SessionOptions::default() };
        Ok(Self { session: OrtSession::load(model, &options)?, input: model.input().clone() })
    }

    /// Runs `batch` images as [`super::Session::run`] does, and hands every output to `look`, by name.
    ///
    /// # Errors
    /// `images` has another length, ONNX Runtime fails, or an output is not float32.
    pub fn run(&mut self, images: &[f32], batch: usize, mut look: impl FnMut(&str, &[f32])) -> Result<()> {
        let each = self.input.image_len();
        if batch.checked_mul(each) != Some(images.len()) {
            return Err(DeployError::Length { what: "images", expected: format!("{batch} images of {each} values"), actual: images.len() });
        }
        let OrtSession { session, path, input, .. } = &mut self.session;
        let shape = self.input.shape(batch);
        no_panic(|| {
            let images = tensor(Feed::Values(images), shape).map_err(|error| error.to_string())?;
            let outputs = session.run(ort::inputs![input.as_str() => images]).map_err(|error| error.to_string())?;
            for (name, output) in &outputs {
                let (_, values) = output.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
                look(name, values);
            }
            Ok(())
        })
        .map_err(|detail| DeployError::Run { path: path.clone(), runtime: Runtime::Ort, detail })
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("path", &self.session.path).finish_non_exhaustive()
    }
}

fn open(environment: &Environment, path: &Path, threads: usize) -> ort::Result<ort::session::Session> {
    ort::session::Session::builder(environment)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .commit_from_file(path)
}

pub(super) fn prepare(wanted: Option<&OrtLibrary>) -> Result<()> {
    loaded(wanted).map(|_| ())
}

fn loaded(wanted: Option<&OrtLibrary>) -> Result<Loaded> {
    let mut slot = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(loaded) = slot.as_ref() {
        return match wanted {
            Some(wanted) if canonical(&wanted.path) != loaded.library => {
                Err(DeployError::OrtConflict { loaded: loaded.library.clone(), requested: wanted.path.clone() })
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
        let environment = builder.with_name("adwp").with_telemetry(false).build().map_err(|error| error.to_string())?;
        // Every error comes back as a value; ONNX Runtime would print it too, unless someone asks for its log.
        if std::env::var_os("ORT_LOG").is_none() {
            environment.set_log_level(LogLevel::Fatal);
        }
        Ok(environment)
    })
    .map_err(|detail| DeployError::OrtLoad { path: library.path.clone(), detail })?;
    let version = library.version.clone().or_else(built_from).unwrap_or_else(|| "unknown".to_owned());
    Ok(slot.insert(Loaded { library: path, environment, version }).clone())
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The release branch that the loaded library was built from: `git-branch=rel-1.31.1, …`.
fn built_from() -> Option<String> {
    let info = no_panic(|| Ok(ort::info())).ok()?;
    let branch = info.split("git-branch=rel-").nth(1)?;
    let version: String = branch.chars().take_while(|&c| c.is_ascii_digit() || c == '.').collect();
    (!version.is_empty()).then_some(version)
}
