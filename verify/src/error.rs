use adwp_base::{Failure, FileError, Kind};
use adwp_candle::CandleError;
use adwp_data::DataError;
use adwp_engine::EngineError;
use adwp_export::ExportError;
use adwp_measure::DeployError;
use adwp_train::TrainError;

/// Result of this crate's fallible functions.
pub type Result<T, E = VerifyError> = std::result::Result<T, E>;

/// Why a file does not get its name.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Two executions of the same network give different logits.
    #[error(
        "{a} and {b} disagree: logits of image {image} differ by {difference:e}, more than \
         {tolerance:e}"
    )]
    Disagreement {
        /// The reference.
        a: String,
        /// What differs from it.
        b: String,
        /// Number of the image where they differ most.
        image: usize,
        /// Largest absolute difference of two logits; NaN where one of them is.
        difference: f64,
        /// What was allowed.
        tolerance: f64,
    },
    /// The network does not do what it did when it was trained.
    #[error("the weights classify {found} test images right, {stored} when they were trained")]
    Changed {
        /// Images classified right now.
        found: usize,
        /// Images classified right then.
        stored: usize,
    },
    /// No runtime could execute the file; what each said.
    #[error("no runtime can run the file: {}", .0.join("; "))]
    NotRun(Vec<String>),
    /// A file with test images that lacks what they are normalised with.
    #[error("the exported file does not say how images are normalised")]
    Unprepared,
    /// candle could not take the images or give the logits.
    #[error("candle: {0}")]
    Tensor(#[from] candle_core::Error),
    /// candle refused the network.
    #[error(transparent)]
    Candle(#[from] CandleError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network could not be built or written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A runtime failed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// Images could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file of the run could not be read.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The ONNX file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<VerifyError> for Failure {
    fn from(e: VerifyError) -> Self {
        let hint = match e {
            VerifyError::Candle(e) => return e.into(),
            VerifyError::Engine(e) => return e.into(),
            VerifyError::Export(e) => return e.into(),
            VerifyError::Deploy(e) => return e.into(),
            VerifyError::Data(e) => return e.into(),
            VerifyError::Train(e) => return e.into(),
            VerifyError::File(e) => return e.into(),
            VerifyError::Disagreement { .. } => Some(
                "no file was left behind; a runtime that computes this network differently \
                 is a bug worth reporting",
            ),
            VerifyError::Changed { .. } => Some("the data set or the weights have changed since"),
            VerifyError::NotRun { .. } | VerifyError::Unprepared | VerifyError::Tensor(_) => None,
        };
        Self::of(Kind::Failed, &e, hint.map(str::to_owned))
    }
}
