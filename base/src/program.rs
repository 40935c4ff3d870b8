use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use crate::{Failure, output};

/// The body of `main`: does the work, prints its failure, and gives the exit code.
///
/// A panic is reported as a failure of the program. The panic hook prints nothing: runtimes panic
/// on some damaged models, the deploy library turns that into an error, and only this error should
/// reach the user.
pub fn program(work: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let hint = "this is a bug in adwp; please report it with the command that led to it";
        Err(Failure::failed(format!("internal error: {}", text.unwrap_or("unknown"))).hint(hint))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            ExitCode::from(failure.kind.code())
        }
    }
}
