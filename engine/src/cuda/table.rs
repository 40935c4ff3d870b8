//! What launches work on, written down in device memory.

use std::sync::Arc;

use crate::cuda::driver::{Buffer, Context, Function};
use crate::cuda::kernels::Kernels;
use crate::cuda::problem::{Address, Region, Word};
use crate::cuda::schedule::Task;
use crate::{EngineError, Result};

/// One launch: a kernel, and where the problems are that it works on.
#[derive(Clone, Copy, Debug)]
struct Call {
    function: Function,
    blocks: u32,
    /// Bytes from the beginning of the table.
    problems: usize,
    first: usize,
    count: u32,
}

/// Launches whose addresses are known.
#[derive(Debug)]
pub(crate) struct Table {
    context: Arc<Context>,
    buffer: Buffer,
    calls: Vec<Call>,
}

/// What is uploaded for some launches.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    words: Vec<u64>,
    launches: Vec<Launch>,
}

/// A launch within [`Content`]; positions count words.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Launch {
    kernel: crate::cuda::Kernel,
    blocks: usize,
    problems: usize,
    first: usize,
    count: usize,
}

impl Content {
    /// Writes down launches, each a list of tasks of one kernel.
    pub(crate) fn new<'a>(
        launches: impl IntoIterator<Item = Vec<&'a Task>>,
        address: impl Fn(Region) -> u64,
    ) -> Self {
        let mut content = Self::default();
        for tasks in launches {
            content.push(&tasks, &address);
        }
        content
    }

    fn push(&mut self, tasks: &[&Task], address: &impl Fn(Region) -> u64) {
        let Some(&Task { kernel, .. }) = tasks.first().copied() else { return };
        let problems = self.words.len();
        for task in tasks {
            debug_assert_eq!(task.kernel, kernel, "a launch has one kernel");
            self.words.extend(task.words.words.iter().map(|&word| match word {
                Word::Null => 0,
                Word::Address(Address { region, offset }) => {
                    address(region) + (offset * size_of::<f32>()) as u64
                }
                Word::Size(size) => size.cast_unsigned(),
                Word::Real(real) => real.to_bits(),
            }));
        }
        let (first, mut blocks) = (self.words.len(), 0);
        let starts: Vec<u32> =
            tasks.iter().map(|task| (start(blocks), blocks += task.blocks).0).collect();
        // Two numbers of four bytes a word, in the order of memory.
        self.words.extend(
            starts.chunks(2).map(|pair| {
                u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 32
            }),
        );
        self.launches.push(Launch { kernel, blocks, problems, first, count: tasks.len() });
    }

    /// Copies it to the device.
    ///
    /// # Errors
    /// [`EngineError::Cuda`] when a launch has more blocks than there can be, or the copy fails.
    pub(crate) fn upload(&self, context: &Arc<Context>, kernels: &Kernels) -> Result<Table> {
        let buffer = context.allocate(size_of_val(&self.words[..]))?;
        buffer.upload(&self.words)?;
        let call = |launch: &Launch| {
            let number = |count: usize| {
                let fits =
                    u32::try_from(count).ok().filter(|&count| count <= i32::MAX.cast_unsigned());
                fits.ok_or_else(|| {
                    EngineError::cuda(format!(
                        "{}: {count} blocks are more than a launch can have",
                        launch.kernel.name()
                    ))
                })
            };
            Ok(Call {
                function: kernels.function(launch.kernel),
                blocks: number(launch.blocks)?,
                problems: launch.problems * size_of::<u64>(),
                first: launch.first * size_of::<u64>(),
                count: number(launch.count)?,
            })
        };
        let calls = self.launches.iter().map(call).collect::<Result<_>>()?;
        Ok(Table { context: Arc::clone(context), buffer, calls })
    }
}

/// Block numbers beyond what a launch can have are refused when the table is uploaded.
fn start(blocks: usize) -> u32 {
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

impl Table {
    /// Starts launch number `i`.
    pub(crate) fn launch(&self, i: usize) -> Result<()> {
        let Call { function, blocks, problems, first, count } = self.calls[i];
        let base = self.buffer.address();
        self.context.launch(function, blocks, base + problems as u64, base + first as u64, count)
    }

    pub(crate) fn launch_all(&self) -> Result<()> {
        (0..self.calls.len()).try_for_each(|i| self.launch(i))
    }
}
