use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cpu::buffer::Buffer;
use crate::{EngineError, Result};

/// What executors on the CPU share: threads, working memory, and how they compile. Results do not
/// depend on the number of threads.
#[derive(Clone, Debug)]
pub struct Device {
    threads: Arc<rayon::ThreadPool>,
    memory: Memory,
    fuse: bool,
}

impl Device {
    /// Starts `threads` threads; 0 means one for each core. Executors on it fuse their programs.
    pub fn new(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("engine-{i}"))
            .build();
        let pool = pool.map_err(|e| EngineError::Threads { threads, reason: e.to_string() })?;
        Ok(Self { threads: Arc::new(pool), memory: Memory::default(), fuse: true })
    }

    /// The same device, for executors that compute every operation of the graph on its own.
    pub fn unfused(&self) -> Self {
        Self { fuse: false, ..self.clone() }
    }

    /// Whether executors merge operations that can share a pass over memory.
    pub fn fuses(&self) -> bool {
        self.fuse
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Bytes of the working memory that the executors alive on this device need together; they
    /// share it, one running at a time.
    pub fn working_bytes(&self) -> usize {
        self.memory.lock().needed().iter().sum::<usize>() * size_of::<f32>()
    }

    /// Runs `work` on the threads.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.threads.install(work)
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }
}

/// Buffers that hold nothing between runs, shared by all executors of a device. Memory is taken
/// when a run first needs it, and given back when the last executor that needs it is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    buffers: Vec<Buffer>,
    /// For every executor the lengths of its buffers, largest first.
    users: Vec<(u64, Vec<usize>)>,
    next: u64,
}

impl Shared {
    /// The length of each buffer that serves all users.
    fn needed(&self) -> Vec<usize> {
        let mut needed = Vec::new();
        for (_, lengths) in &self.users {
            needed.resize(needed.len().max(lengths.len()), 0);
            needed
                .iter_mut()
                .zip(lengths)
                .for_each(|(needed, length)| *needed = (*needed).max(*length));
        }
        needed
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // What a panicking run left in the buffers is as good as what any run leaves there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for an executor with buffers of these lengths, largest first.
    pub(crate) fn reserve(&self, lengths: Vec<usize>) -> Reservation {
        debug_assert!(
            lengths.is_sorted_by(|a, b| a >= b),
            "the i-th largest of all users share a buffer"
        );
        let mut shared = self.lock();
        let id = shared.next;
        shared.next += 1;
        shared.users.push((id, lengths));
        Reservation { memory: self.clone(), id }
    }
}

/// The right of one executor to the shared buffers.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Memory,
    id: u64,
}

impl Reservation {
    /// Lets `work` use the buffers, at least as long as reserved. Their content is arbitrary.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut [Buffer]) -> R) -> R {
        let mut shared = self.memory.lock();
        let needed = shared.needed();
        shared.buffers.resize_with(needed.len(), Buffer::default);
        for (buffer, &needed) in shared.buffers.iter_mut().zip(&needed) {
            if buffer.len() < needed {
                // Given back first, then taken anew: growing would copy what nobody reads, and hold
                // both on the way.
                *buffer = Buffer::default();
                *buffer = Buffer::new(needed);
            }
        }
        work(&mut shared.buffers)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut shared = self.memory.lock();
        shared.users.retain(|(id, _)| *id != self.id);
        let needed = shared.needed();
        shared.buffers.truncate(needed.len());
        for (buffer, needed) in shared.buffers.iter_mut().zip(needed) {
            if buffer.len() > needed {
                *buffer = Buffer::default();
            }
        }
    }
}
