use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use adwp_train::Interrupt;

use crate::failure::Failure;

/// Whether a training phase is running, which stops by itself after the current step.
static IN_PHASE: AtomicBool = AtomicBool::new(false);

/// Hears Ctrl-C and SIGTERM. In a training phase the first one asks it to stop and write its checkpoint; everywhere else, and the
/// second time, the program ends at once. Files are written atomically, so nothing is lost by that.
pub(crate) fn listen() -> Result<Interrupt, Failure> {
    static LISTENING: OnceLock<Interrupt> = OnceLock::new();
    if let Some(interrupt) = LISTENING.get() {
        return Ok(interrupt.clone());
    }
    let interrupt = LISTENING.get_or_init(Interrupt::default).clone();
    let heard = interrupt.clone();
    ctrlc::set_handler(move || {
        if heard.is_requested() || !IN_PHASE.load(Ordering::SeqCst) {
            std::process::exit(130);
        }
        heard.request();
    })
    .map_err(|e| Failure::failed(format!("cannot listen for Ctrl-C: {e}")))?;
    Ok(interrupt)
}

/// Runs a training phase, during which an interrupt is left to it.
pub(crate) fn in_phase<T>(work: impl FnOnce() -> T) -> T {
    IN_PHASE.store(true, Ordering::SeqCst);
    let result = work();
    IN_PHASE.store(false, Ordering::SeqCst);
    result
}
