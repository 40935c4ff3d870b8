use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use adwp_base::{Failure, Result, output};
use adwp_train::{Interrupt, StopReason};

/// Whether a training phase is running, which stops by itself after the current step.
static IN_PHASE: AtomicBool = AtomicBool::new(false);

/// Whether the program is ending because it was interrupted.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Leaves the last word to the interrupt, where there was one: what fails while the program ends,
/// fails because of that.
pub(crate) fn wait_if_ending() {
    while IS_ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// How to go on with the run that is being worked on.
static RESUME: Mutex<Option<String>> = Mutex::new(None);

/// Names the command that continues the current run, for whoever interrupts it.
pub(crate) fn resume_with(command: String) {
    *RESUME.lock().unwrap_or_else(PoisonError::into_inner) = Some(command);
}

/// Hears Ctrl-C and SIGTERM. In a training phase the first one asks it to stop and write its
/// checkpoint; everywhere else, and the second time, the program ends. Files are written
/// atomically, so nothing is lost by that.
pub(crate) fn listen() -> Result<Interrupt> {
    static LISTENING: OnceLock<Interrupt> = OnceLock::new();
    if let Some(interrupt) = LISTENING.get() {
        return Ok(interrupt.clone());
    }
    let interrupt = LISTENING.get_or_init(Interrupt::default).clone();
    let heard = interrupt.clone();
    ctrlc::set_handler(move || {
        if heard.is_requested() || !IN_PHASE.load(Ordering::SeqCst) {
            IS_ENDING.store(true, Ordering::SeqCst);
            let command = RESUME.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let interrupted = Failure::interrupted("interrupted");
            let failure = match command {
                Some(command) => interrupted.hint(format!("continue with `{command}`")),
                None => interrupted,
            };
            output::error(&failure);
            std::process::exit(failure.kind.code().into());
        }
        heard.request();
    })
    .map_err(|e| Failure::failed(format!("cannot listen for Ctrl-C: {e}")))?;
    Ok(interrupt)
}

/// [`listen`], with a moment at which the work stops as if it had been interrupted.
pub(crate) fn listen_until(deadline: Option<Instant>) -> Result<Interrupt> {
    let interrupt = listen()?;
    Ok(match deadline {
        Some(deadline) => interrupt.with_deadline(deadline),
        None => interrupt,
    })
}

/// What to say of work that was interrupted: `kept` is what it leaves, `command` continues it.
pub(crate) fn stopped(interrupt: &Interrupt, kept: &str, command: &str) -> Failure {
    let why = match interrupt.reason() {
        Some(StopReason::Deadline) => "the time of --max-minutes is over",
        Some(StopReason::Requested) | None => "interrupted",
    };
    Failure::interrupted(format!("{why}; {kept}")).hint(format!("continue with `{command}`"))
}

/// The command that was typed, with `--resume`.
pub(crate) fn typed_again() -> String {
    let quoted = |word: String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+%@".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let words: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    let resume = if words.iter().any(|word| word == "--resume") { "" } else { " --resume" };
    format!("adwp {}{resume}", words.join(" "))
}

/// Runs a training phase, during which an interrupt is left to it.
pub(crate) fn in_phase<T>(work: impl FnOnce() -> T) -> T {
    IN_PHASE.store(true, Ordering::SeqCst);
    let result = work();
    IN_PHASE.store(false, Ordering::SeqCst);
    result
}
