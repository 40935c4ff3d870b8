use adwp_engine::Device;
use adwp_export::onnx::Numbers;
use adwp_export::{Bare, Trained};
use adwp_measure::ort_library::OrtLibrary;
use adwp_train::{BatchSource, Evaluation, Reporter};

use crate::agree::{Logits, TOLERANCE};
use crate::{Result, VerifyError, reference};

/// Logits of 16-bit floats may differ by this share of the largest one: some ten roundings of 2⁻¹¹.
const HALF_TOLERANCE: f64 = 0.01;

/// What a file is compared with before it gets its name.
#[derive(Debug)]
pub struct Checks<'a> {
    /// What the engine made of the images: the reference.
    pub(crate) engine: Logits,
    /// What candle made of them, where it is compared too.
    pub(crate) candle: Option<Logits>,
    pub(crate) classes: usize,
    /// How far an execution may be from the engine's; none where accuracy alone counts.
    pub(crate) tolerance: Option<f64>,
    pub(crate) images: Images<'a>,
    /// ONNX Runtime, where there is one.
    pub(crate) library: Option<&'a OrtLibrary>,
    /// Whether a runtime may refuse the file, as long as another takes it.
    pub(crate) may_be_refused: bool,
}

/// What a file is executed on.
#[derive(Debug)]
pub(crate) enum Images<'a> {
    /// Pixels `[images, channels, height, width]`, normalised.
    Pixels(&'a [f32]),
    /// Test images: the logits of the first of them, and the classes of all.
    Test(&'a Reference<'a>),
}

/// A trained network and what the engine made of the test images.
#[derive(Debug)]
pub struct Reference<'a> {
    pub(crate) trained: &'a Trained,
    pub(crate) test: &'a BatchSource,
    /// Images whose logits are compared.
    pub(crate) compared: usize,
    /// What the engine gave for all of them.
    pub engine: Evaluation,
}

impl<'a> Reference<'a> {
    /// Classifies the test images with the engine, as they were when the network had been trained.
    /// The logits of `compared` of them are what executions of its files are held against.
    ///
    /// # Errors
    /// [`VerifyError::Changed`] when the network does something else now.
    pub fn new(
        trained: &'a Trained,
        test: &'a BatchSource,
        compared: usize,
        device: &Device,
        reporter: &mut dyn Reporter,
    ) -> Result<Self> {
        let classes = trained.network.classes.len();
        let engine = trained.evaluate(test, device, reporter)?;
        // Where the network was trained with operations fused and is compared without, or the other
        // way round, ties may fall differently.
        let ties = engine.logits.chunks_exact(classes).filter(|logits| is_tie(logits)).count();
        let (found, stored) = (engine.correct, trained.test.correct);
        if found.abs_diff(stored) > ties || engine.predictions.len() != trained.test.images {
            return Err(VerifyError::Changed { found, stored });
        }
        Ok(Self { trained, test, compared: compared.min(test.indices.len()), engine })
    }

    /// Logits of the compared images by candle, and how far other executions may be from the
    /// engine's.
    fn in_candle(&self) -> Result<(Logits, f64)> {
        let mut images = Vec::new();
        for batch in self.test.arrays(self.compared)? {
            images.extend(batch?.images);
        }
        let (net, variables) = (self.trained.inference(1)?, &self.trained.variables);
        reference::candle(&net, variables, &images, TOLERANCE)
    }
}

/// Whether the two largest logits of an image are equal within the tolerance.
fn is_tie(logits: &[f32]) -> bool {
    let mut sorted = logits.to_vec();
    sorted.sort_by(f32::total_cmp);
    matches!(sorted[..], [.., second, first] if f64::from(first - second) <= 2.0 * TOLERANCE)
}

impl<'a> Checks<'a> {
    /// For the network as it was trained, in 32-bit floats: candle is compared too, and every
    /// runtime has to take the file.
    ///
    /// # Errors
    /// When candle or an image fails.
    pub fn of_trained(
        reference: &'a Reference<'a>,
        library: Option<&'a OrtLibrary>,
    ) -> Result<Self> {
        let (candle, tolerance) = reference.in_candle()?;
        let checks = Self::of_test(reference, Some(tolerance), library);
        Ok(Self { candle: Some(candle), may_be_refused: false, ..checks })
    }

    /// For another form of it, which a runtime may refuse. 16-bit floats get a tolerance of their
    /// own, 8-bit integers none.
    ///
    /// # Errors
    /// When candle or an image fails.
    pub fn of_form(
        reference: &'a Reference<'a>,
        numbers: &Numbers,
        library: Option<&'a OrtLibrary>,
    ) -> Result<Self> {
        let logits = reference.engine.logits.iter();
        let tolerance = match numbers {
            Numbers::F32 => Some(reference.in_candle()?.1),
            Numbers::F16 => Some(
                HALF_TOLERANCE * f64::from(logits.fold(0.0, |most, logit| logit.abs().max(most))),
            ),
            Numbers::Int8 { .. } => None,
        };
        Ok(Self::of_test(reference, tolerance, library))
    }

    fn of_test(
        reference: &'a Reference<'a>,
        tolerance: Option<f64>,
        library: Option<&'a OrtLibrary>,
    ) -> Self {
        let Reference { trained, compared, engine, .. } = reference;
        let classes = trained.network.classes.len();
        Self {
            engine: by_engine(engine.logits[..compared * classes].to_vec()),
            candle: None,
            classes,
            tolerance,
            images: Images::Test(reference),
            library,
            may_be_refused: true,
        }
    }

    /// For a network that no run has trained here, on `images` `[count, channels, height, width]`.
    ///
    /// # Errors
    /// When the engine or candle fails.
    pub fn of_bare(
        bare: &Bare,
        images: &'a [f32],
        library: Option<&'a OrtLibrary>,
        device: &Device,
    ) -> Result<Self> {
        let net = &bare.network;
        let engine = by_engine(bare.logits(images, device)?);
        // Random weights keep no scale: of images unlike the noise they were set up with, logits
        // can be of any size.
        let scale =
            engine.values.iter().fold(1.0, |scale: f64, logit| scale.max(f64::from(logit.abs())));
        let (candle, tolerance) =
            reference::candle(net, &bare.variables, images, TOLERANCE * scale)?;
        Ok(Self {
            engine,
            candle: Some(candle),
            classes: net.graph[net.logits].shape[1],
            tolerance: Some(tolerance),
            images: Images::Pixels(images),
            library,
            may_be_refused: false,
        })
    }

    /// How far an execution may be from the engine's; none where accuracy alone counts.
    pub fn tolerance(&self) -> Option<f64> {
        self.tolerance
    }
}

impl Images<'_> {
    /// Images that a runtime is given at a time.
    pub(crate) fn batch(&self, each: usize) -> usize {
        match self {
            Self::Pixels(pixels) => pixels.len() / each.max(1),
            Self::Test(reference) => reference.test.batch,
        }
    }
}

fn by_engine(values: Vec<f32>) -> Logits {
    Logits { by: "engine".into(), values }
}
