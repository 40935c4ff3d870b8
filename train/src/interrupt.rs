use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A request to stop after the current step, shared with whoever hears Ctrl-C.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// Why work is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it.
    Requested,
    /// The time for it is over.
    Deadline,
}

impl Interrupt {
    /// The same requests, and one more at a moment of time.
    #[must_use]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { requested: Arc::clone(&self.requested), deadline: Some(deadline) }
    }

    /// Asks for a stop.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.reason().is_some()
    }

    /// Why to stop; `None` as long as the work may go on.
    pub fn reason(&self) -> Option<StopReason> {
        if self.requested.load(Ordering::SeqCst) {
            return Some(StopReason::Requested);
        }
        self.deadline.filter(|&deadline| Instant::now() >= deadline).map(|_| StopReason::Deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_request_is_shared_and_a_deadline_is_not() {
        let now = Instant::now();
        let interrupt = Interrupt::default();
        let (over, later) = (
            interrupt.with_deadline(now),
            interrupt.with_deadline(now + Duration::from_secs(3600)),
        );
        assert_eq!(
            [&interrupt, &over, &later].map(Interrupt::reason),
            [None, Some(StopReason::Deadline), None]
        );
        later.request();
        assert_eq!(
            [&interrupt, &over, &later].map(Interrupt::reason),
            [Some(StopReason::Requested); 3]
        );
    }
}
