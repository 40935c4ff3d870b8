use adwp_data::DataError;
use adwp_deploy::DeployError;

/// Whose fault it is, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program could not do what was asked: 1.
    Failed,
    /// What was asked makes no sense, or a file is not what it should be: 2.
    Input,
}

/// What the user is told when a command does not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whose fault it is.
    pub kind: Kind,
}

impl Failure {
    /// What was asked makes no sense.
    pub fn input(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, kind: Kind::Input }
    }

    /// What was asked could not be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, kind: Kind::Failed }
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<DataError> for Failure {
    fn from(e: DataError) -> Self {
        Self { message: e.to_string(), hint: e.hint(), kind: Kind::Input }
    }
}

impl From<DeployError> for Failure {
    fn from(e: DeployError) -> Self {
        let kind = match e {
            DeployError::Run { .. }
            | DeployError::NotFinite { .. }
            | DeployError::OrtConflict { .. } => Kind::Failed,
            _ => Kind::Input,
        };
        Self { message: e.to_string(), hint: e.hint(), kind }
    }
}
