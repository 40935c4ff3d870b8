use adwp_base::Failure;

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Says what was tried when it failed.
pub(crate) trait Context<T> {
    /// `what` comes before what the system said.
    fn context(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|reason| Failure::failed(format!("{what}: {reason}")))
    }
}
