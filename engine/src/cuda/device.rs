use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::Result;
use crate::cuda::driver::{Buffer, Context};
use crate::cuda::kernels::Kernels;
use crate::cuda::table::{Content, Table};

/// What values and gradients are stored as between the steps of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision, as on the CPU.
    #[default]
    F32,
    /// Half the memory and less than half the digits; parameters and statistics stay in single
    /// precision.
    Bf16,
}

/// What executors on a GPU share: memory, kernels, and how they compile. A clone is the same
/// device; what is done on it is done from one thread at a time.
#[derive(Clone, Debug)]
pub struct Device {
    context: Arc<Context>,
    shared: Arc<Mutex<Shared>>,
    precision: Precision,
    fuse: bool,
    graphs: bool,
}

#[derive(Debug, Default)]
struct Shared {
    kernels: Option<Arc<Kernels>>,
    arena: Arena,
    tables: Tables,
    /// Small pieces of memory that are asked for again and again.
    scratch: HashMap<u64, Arc<Buffer>>,
}

/// Memory that holds nothing between runs, as large as the largest executor needs.
#[derive(Debug, Default)]
struct Arena {
    users: HashMap<u64, usize>,
    next: u64,
    buffer: Option<(usize, Arc<Buffer>)>,
}

impl Arena {
    fn needed(&self) -> usize {
        self.users.values().copied().max().unwrap_or(0)
    }
}

/// The tables of launches that are repeated with the same addresses, such as those of an optimiser;
/// the ones used last.
#[derive(Debug, Default)]
struct Tables {
    hasher: RandomState,
    entries: Vec<(u64, Content, Arc<Table>)>,
}

/// An executor and an optimiser or two for each phase that is alive.
const TABLES: usize = 16;

impl Device {
    /// Opens the GPU of that number, as the driver counts them.
    ///
    /// # Errors
    /// [`EngineError::Cuda`](crate::EngineError::Cuda) when there is no driver or no such GPU.
    pub fn open(ordinal: usize) -> Result<Self> {
        let context = Context::open(ordinal)?;
        Ok(Self {
            context,
            shared: Arc::default(),
            precision: Precision::default(),
            fuse: true,
            graphs: true,
        })
    }

    /// The same device, for executors that store values in that precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// What executors store values in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same device, for executors that start every launch of a run by itself instead of all as
    /// one graph.
    #[must_use]
    pub fn without_graphs(&self) -> Self {
        Self { graphs: false, ..self.clone() }
    }

    /// Whether executors record the launches of a run as a graph.
    pub(crate) fn records_graphs(&self) -> bool {
        self.graphs
    }

    /// The same device, for executors that compute every operation of the graph on its own.
    #[must_use]
    pub fn unfused(&self) -> Self {
        Self { fuse: false, ..self.clone() }
    }

    /// Whether executors merge operations that can share a pass over memory.
    pub fn fuses(&self) -> bool {
        self.fuse
    }

    /// What the GPU calls itself.
    pub fn name(&self) -> &str {
        self.context.name()
    }

    /// Its compute capability: (9, 0) for `sm_90`.
    pub fn capability(&self) -> (u32, u32) {
        self.context.capability()
    }

    /// Bytes of its memory that nobody has taken.
    pub fn available_bytes(&self) -> Result<u64> {
        Ok(self.context.memory()?.0 as u64)
    }

    /// Bytes of the working memory that the executors alive on this device need together; they
    /// share it, one running at a time.
    pub fn working_bytes(&self) -> usize {
        self.lock().arena.needed()
    }

    /// Bytes a second of copying `bytes` bytes within its memory, those read and those written both
    /// counted: the best of several rounds.
    ///
    /// # Errors
    /// [`EngineError::Cuda`](crate::EngineError::Cuda) when it has no room for source and target.
    pub fn copy_bandwidth(&self, bytes: usize) -> Result<f64> {
        const ROUNDS: usize = 5;
        const COPIES: usize = 4;
        let (from, to) = (self.allocate(bytes)?, self.allocate(bytes)?);
        let round = || {
            let start = Instant::now();
            (0..COPIES).try_for_each(|_| to.copy_from(&from))?;
            self.synchronize()?;
            Ok(start.elapsed().as_secs_f64())
        };
        // The first is warm-up.
        round()?;
        let seconds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect::<Result<_>>()?;
        Ok((2 * bytes * COPIES) as f64 / seconds.into_iter().fold(f64::INFINITY, f64::min))
    }

    /// Compiles the kernels for this GPU, unless they were kept from an earlier start. The first
    /// executor does it otherwise.
    ///
    /// # Errors
    /// [`EngineError::Cuda`](crate::EngineError::Cuda) when there is no compiler, or none that
    /// knows this GPU.
    pub fn prepare(&self) -> Result<()> {
        self.kernels().map(drop)
    }

    /// Waits until everything asked for is done.
    pub fn synchronize(&self) -> Result<()> {
        self.context.synchronize()
    }

    /// Whether memory of the one is memory of the other, used in the same order.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.context, &other.context)
    }

    /// Takes memory, whose content is arbitrary.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<Buffer> {
        self.context.allocate(bytes)
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The kernels, compiled when they are first asked for.
    pub(crate) fn kernels(&self) -> Result<Arc<Kernels>> {
        let mut shared = self.lock();
        if let Some(kernels) = &shared.kernels {
            return Ok(Arc::clone(kernels));
        }
        let kernels = Arc::new(Kernels::load(&self.context)?);
        shared.kernels = Some(Arc::clone(&kernels));
        Ok(kernels)
    }

    /// Makes room for an executor that needs `bytes` of working memory.
    pub(crate) fn reserve(&self, bytes: usize) -> Reservation {
        let mut shared = self.lock();
        let id = shared.arena.next;
        shared.arena.next += 1;
        shared.arena.users.insert(id, bytes);
        Reservation { shared: Arc::clone(&self.shared), id }
    }

    /// The working memory, as large as the executors alive need. It moves when it has to grow.
    pub(crate) fn arena(&self) -> Result<Arc<Buffer>> {
        let mut shared = self.lock();
        let needed = shared.arena.needed();
        if let Some((bytes, buffer)) = &shared.arena.buffer
            && *bytes >= needed
        {
            return Ok(Arc::clone(buffer));
        }
        // Given back first: both may not fit.
        shared.arena.buffer = None;
        let buffer = Arc::new(self.allocate(needed)?);
        shared.arena.buffer = Some((needed, Arc::clone(&buffer)));
        Ok(buffer)
    }

    /// Memory for `key` and that many bytes, the same at every call and never given back while the
    /// device is in use.
    pub(crate) fn scratch(&self, key: impl Hash, bytes: usize) -> Result<Arc<Buffer>> {
        let mut shared = self.lock();
        let key = shared.tables.hasher.hash_one((key, bytes));
        if let Some(buffer) = shared.scratch.get(&key) {
            return Ok(Arc::clone(buffer));
        }
        let buffer = Arc::new(self.allocate(bytes)?);
        shared.scratch.insert(key, Arc::clone(&buffer));
        Ok(buffer)
    }

    /// Starts launches that were started before with the same content, most times, and so are on
    /// the device already.
    pub(crate) fn launch(&self, content: Content) -> Result<()> {
        let kernels = self.kernels()?;
        let table = {
            let tables = &mut self.lock().tables;
            let key = tables.hasher.hash_one(&content);
            match tables
                .entries
                .iter()
                .position(|(hash, known, _)| *hash == key && *known == content)
            {
                // What was used last is at the end.
                Some(at) => tables.entries[at..].rotate_left(1),
                None => {
                    let table = Arc::new(content.upload(&self.context, &kernels)?);
                    if tables.entries.len() == TABLES {
                        tables.entries.remove(0);
                    }
                    tables.entries.push((key, content, table));
                }
            }
            tables.entries.last().map(|(_, _, table)| Arc::clone(table))
        };
        table.map_or(Ok(()), |table| table.launch_all())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing is left half done by a panic: every entry is put in when it is complete.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of one executor to the working memory.
#[derive(Debug)]
pub(crate) struct Reservation {
    shared: Arc<Mutex<Shared>>,
    id: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.arena.users.remove(&self.id);
        let needed = shared.arena.needed();
        if shared.arena.buffer.as_ref().is_some_and(|(bytes, _)| *bytes > needed) {
            shared.arena.buffer = None;
        }
    }
}
