use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::cuda::device::Reservation;
use crate::cuda::driver::{Buffer, Graph};
use crate::cuda::problem::{Region, Word};
use crate::cuda::schedule::{Task, schedule};
use crate::cuda::table::{Content, Table};
use crate::cuda::tasks::Work;
use crate::cuda::{Device, Precision};
use crate::lower::{Fusion, Lowered};
use crate::plan::Plan;
use crate::program::{Program, Statistics, Tensor};
use crate::{EngineError, Feed, Leaf, NodeId, Result, Shape, StepTime, Variables};

/// Where every piece of memory begins: what the instructions for copying are best with.
const ALIGNMENT: usize = 256;

/// One launch of a program on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Pieces of work that it does at once.
    pub tasks: usize,
    /// Blocks of threads.
    pub blocks: usize,
}

/// The launches of a run of `program`, in order. Needs no GPU.
pub fn launches(program: &Program, precision: Precision) -> Vec<Launch> {
    let work = Work::new(program, &Lowered::new(program, Fusion::Formulas), precision);
    schedule(&work.tasks).iter().map(|tasks| describe(&work, tasks)).collect()
}

fn describe(work: &Work, tasks: &[usize]) -> Launch {
    let blocks = tasks.iter().map(|&task| work.tasks[task].blocks).sum();
    Launch { kernel: work.tasks[tasks[0]].kernel.name(), tasks: tasks.len(), blocks }
}

/// A program ready to run on a GPU.
#[derive(Debug)]
pub struct Executor {
    /// What is on the device for the addresses of the last run. First, so that it goes before what
    /// it uses.
    prepared: Option<Prepared>,
    /// Memory of its own, from the first run on.
    memory: Option<Memory>,
    program: Program,
    device: Device,
    work: Work,
    /// Positions of the tasks of each launch.
    launches: Vec<Vec<usize>>,
    plan: Plan<Region>,
    /// Where each buffer of the plan begins: those of the executor in its own memory, the others in
    /// the working memory of the device.
    offsets: Vec<usize>,
    /// Held for its sake alone: the working memory is as large as the executors alive need.
    _reservation: Reservation,
    /// What the program is given and computes nothing of.
    given: Given,
    momentum: f32,
}

/// The regions that are not computed.
#[derive(Debug)]
struct Given {
    /// Inputs, and where each begins behind the first number, which is the momentum.
    inputs: Vec<(NodeId, usize)>,
    variables: Vec<GivenVariable>,
    bytes: usize,
}

#[derive(Debug)]
struct GivenVariable {
    region: Region,
    name: String,
    shape: Shape,
    /// Whether a run changes it.
    changes: bool,
}

/// What an executor has on the device apart from its tables.
#[derive(Debug)]
struct Memory {
    own: Buffer,
    inputs: Buffer,
}

/// Launches with the addresses they were made for.
#[derive(Debug)]
struct Prepared {
    /// Not held: when another executor makes it grow, the old one is to be given back first.
    arena: Weak<Buffer>,
    variables: Vec<u64>,
    graph: Option<Graph>,
    table: Table,
}

impl Executor {
    /// Plans the launches and the memory of `program`. Memory is taken by the first run:
    /// [`Self::own_bytes`] for itself, and [`Device::working_bytes`] for all executors of the
    /// device together.
    ///
    /// # Errors
    /// [`EngineError::Cuda`] when the kernels cannot be compiled for the device, or when a tensor
    /// has 2³¹ elements or more.
    pub fn new(program: Program, device: &Device) -> Result<Self> {
        device.kernels()?;
        if let Some((_, node)) =
            program.graph.nodes().find(|(_, node)| i32::try_from(node.shape.elements()).is_err())
        {
            let what = format!(
                "{} {} has more elements than a tensor can have on a GPU, {}",
                node.name,
                node.shape,
                i32::MAX
            );
            return Err(EngineError::cuda(what).with_hint("use a smaller batch"));
        }
        let lowered =
            Lowered::new(&program, if device.fuses() { Fusion::Formulas } else { Fusion::None });
        let work = Work::new(&program, &lowered, device.precision());
        let launches = schedule(&work.tasks);
        let plan = plan(&program, &work, &launches);
        let offsets = offsets(&plan.own).0.into_iter().chain(offsets(&plan.shared).0).collect();
        let reservation = device.reserve(offsets_end(&plan.shared));
        let given = Given::new(&program, &work);
        let device = device.clone();
        let (memory, prepared) = (None, None);
        Ok(Self {
            program,
            device,
            work,
            launches,
            plan,
            offsets,
            _reservation: reservation,
            given,
            memory,
            prepared,
            momentum: 0.1,
        })
    }

    /// The program it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The launches of a run, in order.
    pub fn launches(&self) -> impl ExactSizeIterator<Item = Launch> + '_ {
        self.launches.iter().map(|tasks| describe(&self.work, tasks))
    }

    /// Bytes of what stays readable after a run, of the inputs, and of the launches' arguments.
    pub fn own_bytes(&self) -> usize {
        let words: usize = self.work.tasks.iter().map(|task| task.words.words.len() + 1).sum();
        offsets_end(&self.plan.own) + self.given.bytes + words * size_of::<u64>()
    }

    /// Bytes of the working memory of a run, which all executors of a device share.
    pub fn working_bytes(&self) -> usize {
        offsets_end(&self.plan.shared)
    }

    /// Bytes of all that the launches of a run read and write, inputs and parameters included:
    /// every piece of memory once for each launch that reads it, and once for each that writes it,
    /// whole, whatever the launch needs of it.
    pub fn traffic_bytes(&self) -> usize {
        self.launches.iter().map(|tasks| self.launch_bytes(tasks)).sum()
    }

    fn launch_bytes(&self, tasks: &[usize]) -> usize {
        let distinct = |of: fn(&Task) -> &Vec<Region>| -> HashSet<Region> {
            tasks.iter().flat_map(|&task| of(&self.work.tasks[task])).copied().collect()
        };
        let (reads, writes) =
            (distinct(|task| &task.words.reads), distinct(|task| &task.words.writes));
        reads.into_iter().chain(writes).map(|region| self.region_bytes(region)).sum()
    }

    /// Bytes of a region, computed or given.
    fn region_bytes(&self, region: Region) -> usize {
        let given = || {
            let one = region == Region::Momentum;
            size_of::<f32>() * if one { 1 } else { shape_of(&self.program, region).elements() }
        };
        self.work.bytes(&self.program, region).unwrap_or_else(given)
    }

    /// How far a run moves the running statistics towards those of the batch; 0.1 unless set.
    pub fn set_statistics_momentum(&mut self, momentum: f32) {
        self.momentum = momentum;
    }

    /// Starts all launches of a run. `feeds` gives the value of every input node the program reads,
    /// row-major. Nothing is waited for: a failure of the device may only show when something is
    /// read from it.
    ///
    /// # Errors
    /// A feed that is missing, has the wrong shape or is on another device, a variable that is
    /// missing or has another shape, a device that fails.
    pub fn run(&mut self, variables: &mut Variables, feeds: &[(NodeId, Feed<'_>)]) -> Result<()> {
        let positions = self.positions(variables)?;
        let is_new = self.prepare(variables, &positions, feeds)?;
        let Self { device, prepared, .. } = self;
        let Some(Prepared { table, graph, .. }) = prepared else { unreachable!("prepared above") };
        match graph {
            Some(graph) => graph.launch()?,
            // The driver loads a kernel when it is first started, which it cannot do while it
            // records.
            None if is_new || !device.records_graphs() => table.launch_all()?,
            None => graph.insert(device.context().capture(|| table.launch_all())?).launch()?,
        }
        self.finish(variables, &positions);
        Ok(())
    }

    /// [`Self::run`] with a pause after every launch, and how long each took. A launch is named
    /// after its kernel and how many pieces of work it did.
    ///
    /// # Errors
    /// Those of [`Self::run`].
    pub fn profile(
        &mut self,
        variables: &mut Variables,
        feeds: &[(NodeId, Feed<'_>)],
    ) -> Result<Vec<StepTime>> {
        let positions = self.positions(variables)?;
        self.prepare(variables, &positions, feeds)?;
        let Some(Prepared { table, .. }) = &self.prepared else { unreachable!("prepared above") };
        self.device.synchronize()?;
        let mut times = Vec::with_capacity(self.launches.len());
        for (i, tasks) in self.launches.iter().enumerate() {
            let start = Instant::now();
            table.launch(i)?;
            self.device.synchronize()?;
            times.push(self.step_time(tasks, start.elapsed()));
        }
        self.finish(variables, &positions);
        Ok(times)
    }

    fn step_time(&self, tasks: &[usize], time: Duration) -> StepTime {
        let kernel = self.work.tasks[tasks[0]].kernel;
        StepTime {
            node: format!("{} × {}", kernel.name(), tasks.len()),
            op: kernel.name(),
            backward: kernel.is_backward(),
            bytes: self.launch_bytes(tasks),
            multiply_adds: None,
            time,
        }
    }

    /// Where the variables of the program are.
    fn positions(&self, variables: &Variables) -> Result<Vec<usize>> {
        self.given
            .variables
            .iter()
            .map(|given| variables.expect(&given.name, &given.shape))
            .collect()
    }

    /// Brings everything to the device that a run reads; gives whether the launches were written
    /// down anew.
    fn prepare(
        &mut self,
        variables: &mut Variables,
        positions: &[usize],
        feeds: &[(NodeId, Feed<'_>)],
    ) -> Result<bool> {
        let inputs: Vec<Feed<'_>> = self
            .given
            .inputs
            .iter()
            .map(|&(id, _)| self.input(id, feeds))
            .collect::<Result<_>>()?;
        let mut addresses = Vec::with_capacity(self.given.variables.len());
        for &position in positions {
            addresses.push(variables.storage_mut(position).on_device(&self.device)?.address());
        }
        let memory = match &mut self.memory {
            Some(memory) => memory,
            none => {
                let own = self.device.allocate(offsets_end(&self.plan.own))?;
                none.insert(Memory { own, inputs: self.device.allocate(self.given.bytes)? })
            }
        };
        memory.inputs.upload(&[self.momentum])?;
        for (&(_, offset), feed) in self.given.inputs.iter().zip(inputs) {
            match feed {
                Feed::Values(values) => memory.inputs.upload_at(offset, values)?,
                // Done before the launches of the run, which follow in the same stream.
                Feed::Stored { images, places } => {
                    images.cut(places, memory.inputs.address() + offset as u64)?
                }
            }
        }

        let arena = self.device.arena()?;
        let unchanged = |prepared: &Prepared| {
            prepared.arena.ptr_eq(&Arc::downgrade(&arena)) && prepared.variables == addresses
        };
        if self.prepared.as_ref().is_some_and(unchanged) {
            return Ok(false);
        }
        // The memory of the old addresses may be gone.
        self.prepared = None;
        let content = self.content(&arena, &addresses);
        let table = content.upload(self.device.context(), &*self.device.kernels()?)?;
        self.prepared = Some(Prepared {
            arena: Arc::downgrade(&arena),
            variables: addresses,
            table,
            graph: None,
        });
        Ok(true)
    }

    /// What is fed for an input, checked.
    fn input<'a>(&self, id: NodeId, feeds: &[(NodeId, Feed<'a>)]) -> Result<Feed<'a>> {
        let feed = self.program.feed(id, feeds)?;
        if let Feed::Stored { images, places } = feed {
            images.check(places, &self.device)?;
        }
        Ok(feed)
    }

    /// The launches with their addresses.
    fn content(&self, arena: &Buffer, variables: &[u64]) -> Content {
        let Some(Memory { own, inputs }) = &self.memory else { unreachable!("taken before") };
        let mut given: HashMap<Region, u64> = HashMap::from([(Region::Momentum, inputs.address())]);
        given.extend(
            self.given
                .inputs
                .iter()
                .map(|&(id, offset)| (Region::Value(id), inputs.address() + offset as u64)),
        );
        given.extend(
            self.given
                .variables
                .iter()
                .zip(variables)
                .map(|(given, &address)| (given.region, address)),
        );
        let address = |region: Region| match self.plan.location.get(&region) {
            Some(&slot) if slot < self.plan.own.len() => own.address() + self.offsets[slot] as u64,
            Some(&slot) => arena.address() + self.offsets[slot] as u64,
            None => given[&region],
        };
        let tasks =
            |launch: &Vec<usize>| launch.iter().map(|&task| &self.work.tasks[task]).collect();
        Content::new(self.launches.iter().map(tasks), address)
    }

    /// Says which variables only the device knows now.
    fn finish(&self, variables: &mut Variables, positions: &[usize]) {
        for (_, &position) in
            self.given.variables.iter().zip(positions).filter(|(given, _)| given.changes)
        {
            variables.storage_mut(position).written_on_device();
        }
    }

    /// The value of an output or of the loss after a run, row-major; waits for it.
    ///
    /// # Errors
    /// [`EngineError::Cuda`] when the device failed.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as an output, or has not run.
    pub fn value(&self, id: NodeId) -> Result<Vec<f32>> {
        self.download(Tensor::Value(id))
    }

    /// The gradient of the loss with respect to a trainable node after a run, row-major; waits for
    /// it.
    ///
    /// # Errors
    /// [`EngineError::Cuda`] when the device failed.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as trainable, or has not run.
    pub fn gradient(&self, id: NodeId) -> Result<Vec<f32>> {
        self.download(Tensor::Gradient(id))
    }

    /// Where the gradient of a trainable node is.
    ///
    /// # Panics
    /// Those of [`Self::gradient`].
    pub(crate) fn gradient_address(&self, id: NodeId) -> u64 {
        let (own, offset) = self.kept(Tensor::Gradient(id));
        own.address() + offset as u64
    }

    fn download(&self, tensor: Tensor) -> Result<Vec<f32>> {
        let (own, offset) = self.kept(tensor);
        let mut data = vec![0.0; tensor.elements(&self.program.graph)];
        own.download_at(offset, &mut data)?;
        Ok(data)
    }

    fn kept(&self, tensor: Tensor) -> (&Buffer, usize) {
        let slot =
            self.plan.location.get(&region(tensor)).filter(|slot| **slot < self.plan.own.len());
        let slot = *slot.unwrap_or_else(|| {
            panic!("{tensor:?} was not asked for when the program was compiled")
        });
        let memory = self
            .memory
            .as_ref()
            .unwrap_or_else(|| panic!("{tensor:?} was asked for before the first run"));
        (&memory.own, self.offsets[slot])
    }
}

impl Given {
    fn new(program: &Program, work: &Work) -> Self {
        let mut inputs = Vec::new();
        let mut variables = Vec::new();
        let mut bytes = ALIGNMENT;
        let mut seen = HashSet::new();
        let addresses =
            work.tasks.iter().flat_map(|task| &task.words.words).filter_map(|word| match word {
                Word::Address(address) => Some(address.region),
                Word::Null | Word::Size(_) | Word::Real(_) => None,
            });
        let moves = program.statistics == Statistics::Batch;
        let mut variable = |region, name, changes| {
            variables.push(GivenVariable {
                region,
                name,
                shape: shape_of(program, region),
                changes,
            })
        };
        for region in
            addresses.filter(|&region| work.bytes(program, region).is_none() && seen.insert(region))
        {
            match region {
                Region::Value(id) => match program.graph[id].op.leaf() {
                    Some(Leaf::Input) => {
                        inputs.push((id, bytes));
                        bytes += aligned(program.graph[id].shape.elements() * size_of::<f32>());
                    }
                    Some(Leaf::Parameter(_)) => {
                        variable(region, program.graph[id].name.clone(), false)
                    }
                    None => unreachable!("what is computed has a buffer"),
                },
                Region::RunningMean(id) => {
                    variable(region, program.graph[id].running_mean(), moves)
                }
                Region::RunningVariance(id) => {
                    variable(region, program.graph[id].running_var(), moves)
                }
                Region::Momentum | Region::Operand(_) => {}
                Region::Gradient(_)
                | Region::Part(..)
                | Region::Forward(_)
                | Region::Backward(_)
                | Region::Partial(_) => unreachable!("what is computed has a buffer"),
            }
        }
        Self { inputs, variables, bytes }
    }
}

fn shape_of(program: &Program, region: Region) -> Shape {
    match region {
        Region::RunningMean(id) | Region::RunningVariance(id) => {
            [program.graph[id].shape[1]].into()
        }
        Region::Value(id) => program.graph[id].shape.clone(),
        Region::Gradient(_)
        | Region::Part(..)
        | Region::Forward(_)
        | Region::Backward(_)
        | Region::Momentum
        | Region::Partial(_)
        | Region::Operand(_) => unreachable!("{region:?} has no variable"),
    }
}

fn region(tensor: Tensor) -> Region {
    match tensor {
        Tensor::Value(id) => Region::Value(id),
        Tensor::Gradient(id) => Region::Gradient(id),
    }
}

/// Plans memory in bytes; the regions of a launch exist at the same time.
fn plan(program: &Program, work: &Work, launches: &[Vec<usize>]) -> Plan<Region> {
    let planned = |region: &Region| work.bytes(program, *region).is_some();
    let accesses: Vec<_> = launches
        .iter()
        .map(|launch| {
            let regions = |of: fn(&Task) -> &Vec<Region>| -> Vec<Region> {
                launch
                    .iter()
                    .flat_map(|&task| of(&work.tasks[task]))
                    .copied()
                    .filter(planned)
                    .collect()
            };
            (regions(|task| &task.words.reads), regions(|task| &task.words.writes))
        })
        .collect();
    let persistent: Vec<Region> = program.persistent.iter().map(|&tensor| region(tensor)).collect();
    Plan::new(&accesses, &persistent, |region| {
        work.bytes(program, region).expect("only such are planned")
    })
}

fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Where pieces of these sizes begin, one behind the other, and where the last ends.
fn offsets(sizes: &[usize]) -> (Vec<usize>, usize) {
    let mut end = 0;
    let mut begins = Vec::with_capacity(sizes.len());
    for &size in sizes {
        begins.push(end);
        end += aligned(size);
    }
    (begins, end)
}

fn offsets_end(sizes: &[usize]) -> usize {
    offsets(sizes).1
}
