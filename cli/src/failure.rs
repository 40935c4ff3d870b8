use std::process::ExitCode;

use adwp_candle::CandleError;
use adwp_data::DataError;
use adwp_deploy::DeployError;
use adwp_engine::EngineError;
use adwp_export::ExportError;
use adwp_fidelity::FidelityError;
use adwp_lut::LutError;
use adwp_models::ModelError;
use adwp_report::ReportError;
use adwp_search::SearchError;
use adwp_train::TrainError;

/// Whose fault it is, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The program could not do what was asked: 1.
    Failed,
    /// What was asked makes no sense, or a file or folder is not what it should be: 2.
    Input,
    /// It was asked to stop: 130.
    Interrupted,
}

/// What the user is told when a command does not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    kind: Kind,
}

impl Failure {
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, kind: Kind::Input }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, kind: Kind::Failed }
    }

    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, kind: Kind::Interrupted }
    }

    pub(crate) fn internal(panic: &str) -> Self {
        Self::failed(format!("internal error: {panic}"))
            .hint("this is a bug in adwp; please report it with the command that led to it")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Failed => 1,
            Kind::Input => 2,
            Kind::Interrupted => 130,
        })
    }

    fn of(kind: Kind, error: &impl std::error::Error, hint: Option<String>) -> Self {
        Self { message: error.to_string(), hint, kind }
    }
}

impl From<DataError> for Failure {
    fn from(e: DataError) -> Self {
        Self::of(Kind::Input, &e, e.hint())
    }
}

impl From<ModelError> for Failure {
    fn from(e: ModelError) -> Self {
        Self::of(
            if matches!(e, ModelError::Engine(_)) { Kind::Failed } else { Kind::Input },
            &e,
            None,
        )
    }
}

impl From<EngineError> for Failure {
    fn from(e: EngineError) -> Self {
        match e {
            EngineError::Cuda { what, hint } => Self { message: what, hint, kind: Kind::Failed },
            e => Self::of(Kind::Failed, &e, None),
        }
    }
}

impl From<TrainError> for Failure {
    fn from(e: TrainError) -> Self {
        let kind = match e {
            TrainError::Engine(e) => return e.into(),
            TrainError::File { .. }
            | TrainError::Damaged { .. }
            | TrainError::Memory { .. }
            | TrainError::Settings(_)
            | TrainError::Data(_) => Kind::Input,
            TrainError::NotFinite { .. } | TrainError::Spoiled { .. } => Kind::Failed,
        };
        Self::of(kind, &e, e.hint())
    }
}

impl From<SearchError> for Failure {
    fn from(e: SearchError) -> Self {
        match e {
            SearchError::Model(e) => e.into(),
            SearchError::Train(e) => e.into(),
            SearchError::Engine(e) => e.into(),
            SearchError::Input(_) => Self::of(Kind::Input, &e, None),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(e: ExportError) -> Self {
        match e {
            ExportError::Model(e) => e.into(),
            ExportError::Train(e) => e.into(),
            ExportError::Engine(e) => e.into(),
            ExportError::Data(e) => e.into(),
            ExportError::NotExportable { .. }
            | ExportError::TooLarge { .. }
            | ExportError::Calibration { .. }
            | ExportError::Disagreement { .. } => Self::of(Kind::Failed, &e, e.hint()),
        }
    }
}

impl From<FidelityError> for Failure {
    fn from(e: FidelityError) -> Self {
        match e {
            FidelityError::Model(e) => e.into(),
            FidelityError::Search(e) => e.into(),
            FidelityError::Export(e) => e.into(),
            FidelityError::Train(e) => e.into(),
        }
    }
}

impl From<DeployError> for Failure {
    fn from(e: DeployError) -> Self {
        adwp_edge::Failure::from(e).into()
    }
}

impl From<adwp_edge::Failure> for Failure {
    fn from(e: adwp_edge::Failure) -> Self {
        let kind = match e.kind {
            adwp_edge::Kind::Failed => Kind::Failed,
            adwp_edge::Kind::Input => Kind::Input,
        };
        Self { message: e.message, hint: e.hint, kind }
    }
}

impl From<LutError> for Failure {
    fn from(e: LutError) -> Self {
        match e {
            LutError::Model(e) => e.into(),
            LutError::Engine(e) => e.into(),
            LutError::Export(e) => e.into(),
            LutError::Deploy(e) => e.into(),
            LutError::Train(e) => e.into(),
            LutError::Missing { .. } | LutError::Table { .. } | LutError::Elsewhere { .. } => {
                Self::of(Kind::Input, &e, e.hint())
            }
            LutError::Temporary { .. } => Self::of(Kind::Failed, &e, e.hint()),
        }
    }
}

impl From<CandleError> for Failure {
    fn from(e: CandleError) -> Self {
        Self::of(Kind::Failed, &e, None)
    }
}

impl From<ReportError> for Failure {
    fn from(e: ReportError) -> Self {
        Self::of(Kind::Input, &e, None)
    }
}
