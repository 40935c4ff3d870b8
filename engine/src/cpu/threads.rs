use std::sync::Arc;

use crate::{EngineError, Result};

/// The threads that executors share. Results do not depend on how many there are.
#[derive(Clone, Debug)]
pub struct Threads(Arc<rayon::ThreadPool>);

impl Threads {
    /// Starts `count` threads; 0 means one for each core.
    pub fn new(count: usize) -> Result<Self> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("engine-{i}"))
            .build()
            .map(|pool| Self(Arc::new(pool)))
            .map_err(|e| EngineError::Threads { threads: count, reason: e.to_string() })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on these threads.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.install(work)
    }
}
