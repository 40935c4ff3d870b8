/// The result of work that can be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished<T> {
    /// The work is complete.
    Done(T),
    /// It was asked to stop; what it needs to continue is written.
    Interrupted,
}

impl<T> Finished<T> {
    /// What `next` makes of a result.
    ///
    /// # Errors
    /// Those of `next`.
    pub fn try_map<U, E>(self, next: impl FnOnce(T) -> Result<U, E>) -> Result<Finished<U>, E> {
        match self {
            Self::Done(result) => Ok(Finished::Done(next(result)?)),
            Self::Interrupted => Ok(Finished::Interrupted),
        }
    }

    /// The result; `None` when the work was interrupted.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(result) => Some(result),
            Self::Interrupted => None,
        }
    }
}
