use std::error::Error;
use std::fmt;

/// Result of what a command does.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Who has to act on a failure. It decides the exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program could not do what was asked: exit code 1.
    Failed,
    /// What was asked makes no sense, or a file or folder is not what it should be: exit code 2.
    Input,
    /// It was asked to stop: exit code 130.
    Interrupted,
}

impl Kind {
    /// The exit code of a program that ends so.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Input => 2,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command did not succeed, as the user reads it. Every room turns its own errors into one,
/// because it knows which of them are the user's to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Who has to act.
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

    /// The user or a deadline ended the work.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, kind: Kind::Interrupted }
    }

    /// The message of an error of a room, with its hint.
    pub fn of(kind: Kind, error: &impl Error, hint: Option<String>) -> Self {
        Self { message: error.to_string(), hint, kind }
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    /// Message and hint, each on a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}
