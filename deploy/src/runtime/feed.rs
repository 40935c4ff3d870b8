//! What a session is made of, what it is fed, and what a profile of its runs holds.

use std::{borrow::Cow, path::Path};

use half::f16;

use crate::{
    onnx::{Element, ImageInput, OnnxModel},
    ort_library::OrtLibrary,
};

/// How a session is made.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions<'a> {
    /// Threads that one operator may use; 1 for tract.
    pub threads: usize,
    /// The ONNX Runtime library; `None` searches for one as [`crate::ort_library::find`] does.
    /// tract does not need it.
    pub ort_library: Option<&'a OrtLibrary>,
    /// The batch that is prepared while loading. Other batches work too; tract then prepares them
    /// when they are first run.
    pub batch: usize,
}

impl Default for SessionOptions<'_> {
    fn default() -> Self {
        Self { threads: 1, ort_library: None, batch: 1 }
    }
}

/// What a runtime loads.
#[derive(Clone, Copy)]
pub(super) struct Network<'a> {
    /// Named in errors.
    pub(super) path: &'a Path,
    /// The file, where it is not the one at `path`.
    pub(super) bytes: Option<&'a [u8]>,
    pub(super) input: &'a str,
    pub(super) element: Element,
    pub(super) output: &'a str,
}

impl<'a> Network<'a> {
    pub(super) fn of(model: &'a OnnxModel) -> Self {
        Self {
            path: model.path(),
            bytes: None,
            input: &model.input().name,
            element: model.input().element,
            output: &model.output().name,
        }
    }
}

/// Where the time of some runs went.
#[derive(Debug, Clone, PartialEq)]
pub struct RunProfile {
    /// Runs, after one that is not counted.
    pub runs: usize,
    /// Wall-clock milliseconds of one run, as measured from outside. This and the nodes' times are
    /// means of the middle half of the runs.
    pub run_ms: f64,
    /// Name, operator, and milliseconds in one run of each node that the runtime has, in the order
    /// of running.
    pub nodes: Vec<(String, String, f64)>,
}

/// The values of images in the order and type that the model takes.
pub(super) enum Feed<'a> {
    F32(Cow<'a, [f32]>),
    F16(Vec<f16>),
    F64(Vec<f64>),
    U8(Vec<u8>),
}

impl<'a> Feed<'a> {
    /// Images `[batch, channels, height, width]` for an input.
    pub(super) fn of(images: Cow<'a, [f32]>, input: &ImageInput) -> Self {
        let ordered =
            if input.channels_last { channels_last(&images, input).into() } else { images };
        let values = || ordered.iter().copied();
        match input.element {
            Element::F32 => Self::F32(ordered),
            Element::F16 => Self::F16(values().map(f16::from_f32).collect()),
            Element::F64 => Self::F64(values().map(f64::from).collect()),
            // A float that is out of range becomes the nearest pixel.
            Element::U8 => Self::U8(values().map(|value| value.round() as u8).collect()),
        }
    }
}

/// The values `[batch, height, width, channels]` of `[batch, channels, height, width]`.
fn channels_last(images: &[f32], input: &ImageInput) -> Vec<f32> {
    let plane = input.height * input.width;
    let mut ordered = Vec::with_capacity(images.len());
    for image in images.chunks_exact(input.image_len().max(1)) {
        let at = |i: usize| image[i % input.channels * plane + i / input.channels];
        ordered.extend((0..image.len()).map(at));
    }
    ordered
}

/// Runs `work`, and gives what it panicked with as the error: the runtimes panic on some models
/// that they do not understand.
pub(super) fn no_panic<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", text.unwrap_or("without a message")))
    })
}
