//! Runs a model under ONNX Runtime or tract, behind one interface.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use crate::{
    DeployError, Result,
    onnx::{BatchSize, ImageInput, OnnxModel},
    ort_library::{self, OrtLibrary},
};

mod feed;
pub(crate) mod kind;
mod onnxruntime;
mod tract;

pub use feed::{RunProfile, SessionOptions};
pub use kind::{OLDEST_MINOR, Runtime};
pub use onnxruntime::Probe;

use feed::{Feed, Network};

impl Runtime {
    /// The runtimes that can be used where this is the library of ONNX Runtime, or there is none.
    pub fn available(library: Option<&OrtLibrary>) -> Vec<Self> {
        let is_there = |runtime: &Self| *runtime != Self::Ort || library.is_some();
        Self::ALL.into_iter().filter(is_there).collect()
    }
}

/// The library of ONNX Runtime; none where it is not found and neither it nor ONNX Runtime was
/// asked for.
///
/// # Errors
/// As [`ort_library::find`].
pub fn find_library(explicit: Option<&Path>, wanted: &[Runtime]) -> Result<Option<OrtLibrary>> {
    match ort_library::find(explicit) {
        Ok(library) => Ok(Some(library)),
        // A place that was named, by a flag or the environment, was meant.
        Err(e @ DeployError::OrtNotThere { .. }) if wanted.is_empty() => Err(e),
        Err(e) if wanted.contains(&Runtime::Ort) || explicit.is_some() => Err(e),
        Err(_) => Ok(None),
    }
}

impl FromStr for Runtime {
    type Err = DeployError;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|runtime| runtime.name() == text).ok_or_else(|| {
            DeployError::setting("runtime", format!("`{text}` is none of ort, tract"))
        })
    }
}

/// Loads what `runtime` needs apart from a model, so that the time that the first session takes to
/// load is that of its model. For ONNX Runtime this is its library, found or named as in
/// [`SessionOptions::ort_library`]; tract needs nothing.
///
/// # Errors
/// The library is missing or does not load, or the process has loaded another one.
pub fn prepare(runtime: Runtime, ort_library: Option<&OrtLibrary>) -> Result<()> {
    match runtime {
        Runtime::Ort => library_version(ort_library).map(|_| ()),
        Runtime::Tract => Ok(()),
    }
}

/// The version that the library of ONNX Runtime states, once it is loaded. `library` is as in
/// [`SessionOptions::ort_library`].
///
/// # Errors
/// As [`prepare`].
pub fn library_version(library: Option<&OrtLibrary>) -> Result<String> {
    onnxruntime::prepare(library)
}

/// Images in the form in which a session takes them, so that they are not copied before every run.
pub struct Bound(Images);

enum Images {
    Ort(Feed<'static>, [usize; 4]),
    Tract(tract::Bound),
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").finish_non_exhaustive()
    }
}

/// Runs `images` `[batch, channels, height, width]` through `model` for at least `min_time` and
/// measures how long each node takes.
///
/// The nodes are those that the runtime has made of the file's. Timing them makes a run longer;
/// ONNX Runtime measures in whole microseconds.
///
/// # Errors
/// As [`Session::from_model`] and [`Session::run`].
pub fn profile(
    runtime: Runtime,
    model: &OnnxModel,
    options: &SessionOptions<'_>,
    images: &[f32],
    min_time: Duration,
) -> Result<RunProfile> {
    let shape = model.input().shape(options.batch);
    if shape.iter().product::<usize>() != images.len() {
        return Err(DeployError::Length {
            what: "images",
            expected: format!("{shape:?}"),
            actual: images.len(),
        });
    }
    let feed = Feed::of(images.into(), model.input());
    match runtime {
        Runtime::Ort => onnxruntime::profile(Network::of(model), options, &feed, shape, min_time),
        Runtime::Tract => tract::profile(Network::of(model), &feed, shape, min_time),
    }
}

/// Runs `images` `[batch, channels, height, width]` through the part of `model` that ends in the
/// first result of the node at the place `node` of the file, which may have any shape.
///
/// # Errors
/// As [`Session::from_model`] and [`Session::run`]; or there is no such node, or it has no result.
pub(crate) fn run_part(
    runtime: Runtime,
    model: &OnnxModel,
    node: usize,
    options: &SessionOptions<'_>,
    images: &[f32],
) -> Result<Vec<f32>> {
    let results = model.nodes().get(node).map(|node| &node.output);
    let Some(output) = results.into_iter().flatten().find(|name| !name.is_empty()) else {
        return Err(DeployError::setting("part", format!("node {node} has no result")));
    };
    let bytes = model.file().cut_at(output);
    let network = Network { bytes: Some(&bytes), output, ..Network::of(model) };
    let shape = model.input().shape(options.batch);
    let feed = Feed::of(images.into(), model.input());
    match runtime {
        Runtime::Ort => onnxruntime::OrtSession::load(network, options)?.run(&feed, shape),
        Runtime::Tract => tract::TractSession::load(network, shape)?.run(&feed, shape),
    }
}

enum Engine {
    Ort(onnxruntime::OrtSession),
    Tract(tract::TractSession),
}

/// A model loaded into a runtime.
pub struct Session {
    path: PathBuf,
    engine: Engine,
    input: ImageInput,
    output: String,
    classes: usize,
    threads: usize,
    version: String,
}

impl Session {
    /// Loads the ONNX file `path` into `runtime`.
    ///
    /// # Errors
    /// As [`OnnxModel::load`] and [`Session::from_model`].
    pub fn load(
        runtime: Runtime,
        path: impl AsRef<Path>,
        options: &SessionOptions<'_>,
    ) -> Result<Self> {
        Self::from_model(runtime, &OnnxModel::load(path)?, options)
    }

    /// Loads the file that `model` was read from into `runtime`.
    ///
    /// # Errors
    /// The runtime refuses the model or the number of threads, or ONNX Runtime is missing or too
    /// old.
    pub fn from_model(
        runtime: Runtime,
        model: &OnnxModel,
        options: &SessionOptions<'_>,
    ) -> Result<Self> {
        if !runtime.supports_threads(options.threads) {
            return Err(DeployError::Threads { runtime, threads: options.threads });
        }
        if options.batch == 0 {
            return Err(DeployError::setting("batch", "it must be at least 1"));
        }
        model.check_memory(options.batch)?;
        let (engine, version) = match runtime {
            Runtime::Ort => {
                let session = onnxruntime::OrtSession::load(Network::of(model), options)?;
                let version = session.version().to_owned();
                (Engine::Ort(session), version)
            }
            Runtime::Tract => {
                let batch = model.input().batch_of(options.batch);
                let session =
                    tract::TractSession::load(Network::of(model), model.input().shape(batch))?;
                (Engine::Tract(session), tract::version().to_owned())
            }
        };
        let (input, output) = (model.input().clone(), model.output());
        Ok(Self {
            path: model.path().to_owned(),
            engine,
            input,
            output: output.name.clone(),
            classes: output.classes,
            threads: options.threads,
            version,
        })
    }

    /// The runtime that it was loaded into.
    pub fn runtime(&self) -> Runtime {
        match self.engine {
            Engine::Ort(_) => Runtime::Ort,
            Engine::Tract(_) => Runtime::Tract,
        }
    }

    /// The version of the runtime, or `unknown`.
    pub fn runtime_version(&self) -> &str {
        &self.version
    }

    /// The threads that one operator may use.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The model's input.
    pub fn input(&self) -> &ImageInput {
        &self.input
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Runs `batch` images `[batch, channels, height, width]`, prepared as the model wants them,
    /// and returns the logits `[batch, classes]`.
    ///
    /// A model that takes [pixels](ImageInput::pixels) is given them in the same order, as numbers
    /// from 0 to 255; they are rounded.
    ///
    /// A model whose batch is fixed is run as often as it takes; the last run is filled up with
    /// zeros.
    ///
    /// # Errors
    /// `images` has another length, the runtime fails, or a logit is infinite or no number.
    pub fn run(&mut self, images: &[f32], batch: usize) -> Result<Vec<f32>> {
        self.input.check_images(images, batch, 0)?;
        match self.input.batch {
            _ if batch == 0 => Ok(Vec::new()),
            BatchSize::Fixed(fixed) if fixed != batch => self.run_in_parts(images, batch, fixed),
            BatchSize::Dynamic | BatchSize::Fixed(_) => self.run_once(images, batch),
        }
    }

    /// Prepares `batch` images `[batch, channels, height, width]` for [`Session::run_bound`].
    ///
    /// # Errors
    /// `images` has another length, the model fixes another batch, or the runtime cannot take that
    /// batch.
    pub fn bind(&mut self, images: Vec<f32>, batch: usize) -> Result<Bound> {
        self.input.check_images(&images, batch, 1)?;
        if let BatchSize::Fixed(fixed) = self.input.batch
            && fixed != batch
        {
            let detail =
                format!("{} fixes it to {fixed}, and {batch} was asked for", self.path.display());
            return Err(DeployError::setting("batch", detail));
        }
        let shape = self.input.shape(batch);
        let feed = Feed::of(images.into(), &self.input);
        Ok(Bound(match &mut self.engine {
            Engine::Ort(_) => Images::Ort(feed, shape),
            Engine::Tract(session) => Images::Tract(session.bind(&feed, shape)?),
        }))
    }

    /// Runs images that [`Session::bind`] of this session has prepared, and drops the logits: what
    /// is timed is the runtime alone.
    ///
    /// # Errors
    /// The runtime fails, or the images were prepared by a session of another runtime.
    pub fn run_bound(&mut self, bound: &Bound) -> Result<()> {
        match (&mut self.engine, &bound.0) {
            (Engine::Ort(session), Images::Ort(images, shape)) => session.run_only(images, *shape),
            (Engine::Tract(session), Images::Tract(bound)) => session.run_only(bound),
            _ => Err(DeployError::setting("images", "they were prepared for another runtime")),
        }
    }

    fn run_in_parts(&mut self, images: &[f32], batch: usize, fixed: usize) -> Result<Vec<f32>> {
        let part = fixed * self.input.image_len();
        let mut logits = Vec::with_capacity(batch * self.classes);
        for images in images.chunks(part) {
            if images.len() == part {
                logits.extend(self.run_once(images, fixed)?);
            } else {
                let mut filled = images.to_vec();
                filled.resize(part, 0.0);
                logits.extend(self.run_once(&filled, fixed)?);
            }
        }
        logits.truncate(batch * self.classes);
        Ok(logits)
    }

    fn run_once(&mut self, images: &[f32], batch: usize) -> Result<Vec<f32>> {
        let shape = self.input.shape(batch);
        let feed = Feed::of(images.into(), &self.input);
        let logits = match &mut self.engine {
            Engine::Ort(session) => session.run(&feed, shape)?,
            Engine::Tract(session) => session.run(&feed, shape)?,
        };
        if logits.len() != batch * self.classes {
            let detail = format!(
                "it gave {} logits for {batch} images of {} classes",
                logits.len(),
                self.classes
            );
            return Err(DeployError::Run {
                path: self.path.clone(),
                runtime: self.runtime(),
                detail,
            });
        }
        match logits.iter().find(|value| !value.is_finite()) {
            None => Ok(logits),
            Some(&value) => {
                let (path, output) = (self.path.clone(), self.output.clone());
                Err(DeployError::Output { path, runtime: self.runtime(), output, value })
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runtime = self.runtime();
        f.debug_struct("Session")
            .field("runtime", &runtime)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
