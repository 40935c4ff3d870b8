//! The driver of the GPU: devices, memory, modules, launches, captured graphs. All that is unsafe
//! about it is in this file.
//!
//! Everything goes through one stream of one context, so what is asked for is done in that order.

// Calls into the driver are calls into C. What makes each of them sound is that handles are only
// made here, live as long as the `Arc` of their context, and that addresses come from `Buffer`s,
// whose bounds are checked where the host copies.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::{EngineError, Result};

/// Threads of a block, for every kernel; `THREADS` of `common.cuh`.
pub(crate) const THREADS: usize = 256;

/// A device with the stream on which everything is done.
#[derive(Debug)]
pub(crate) struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    name: String,
    capability: (u32, u32),
    staging: Mutex<Staging>,
}

/// Pinned memory of the host that everything for the device passes through: from other memory, a
/// copy that is not waited for may be read after the call returned.
#[derive(Debug)]
struct Staging {
    memory: *mut u8,
    /// What lies before may still be read by the device.
    used: usize,
}

impl Staging {
    const BYTES: usize = 8 << 20;
}

// SAFETY: the handles are not bound to a thread: each use makes the context current on its thread
// first.
unsafe impl Send for Context {}
// SAFETY: the driver's functions may be called from several threads at a time.
unsafe impl Sync for Context {}

impl Context {
    /// Opens the device of that number.
    ///
    /// # Errors
    /// [`EngineError::Cuda`] when there is no driver or no such device.
    pub(crate) fn open(ordinal: usize) -> Result<Arc<Self>> {
        // SAFETY: asking whether the library can be loaded runs its initialisers, as using it
        // would.
        if !unsafe { sys::is_culib_present() } {
            return Err(EngineError::cuda(
                "there is no CUDA driver on this machine (libcuda.so.1)",
            )
            .with_hint("install the driver of the GPU, or compute on the CPU with --device cpu"));
        }
        result::init().map_err(|e| {
            failed("start the driver", e).with_hint("see what nvidia-smi says, or use --device cpu")
        })?;
        let count = result::device::get_count().map_err(|e| failed("count the devices", e))?;
        let number =
            i32::try_from(ordinal).ok().filter(|&number| number < count).ok_or_else(|| {
                let devices =
                    if count == 1 { "1 device".to_owned() } else { format!("{count} devices") };
                EngineError::cuda(format!(
                    "there is no CUDA device {ordinal}: the driver knows {devices}"
                ))
                .with_hint(
                    "see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES, or use --device cpu",
                )
            })?;
        let device = result::device::get(number).map_err(|e| failed("open the device", e))?;
        let name = result::device::get_name(device)
            .map_err(|e| failed("ask the device for its name", e))?;
        let attribute = |attribute| {
            // SAFETY: `device` is a device.
            let value = unsafe { result::device::get_attribute(device, attribute) }
                .map_err(|e| failed("ask for an attribute", e))?;
            Ok::<_, EngineError>(u32::try_from(value).unwrap_or(0))
        };
        use sys::CUdevice_attribute_enum as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        // SAFETY: `device` is a device; the context is released when this is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(|e| failed("open a context", e))?;
        // SAFETY: `context` is alive.
        unsafe { result::ctx::set_current(context) }.map_err(|e| failed("use the context", e))?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|e| failed("make a stream", e))?;
        // SAFETY: what is there is written before it is read; it is given back when this is
        // dropped.
        let memory = unsafe { result::malloc_host(Staging::BYTES, 0) }
            .map_err(|e| failed("take pinned memory", e))?;
        let staging = Mutex::new(Staging { memory: memory.cast(), used: 0 });
        Ok(Arc::new(Self { device, context, stream, name, capability: (major, minor), staging }))
    }

    /// The version of CUDA that the driver knows: (13, 0).
    pub(crate) fn driver_version(&self) -> Result<(i32, i32)> {
        let mut version = 0;
        // SAFETY: writes one integer.
        unsafe { sys::cuDriverGetVersion(&mut version) }
            .result()
            .map_err(|e| failed("tell its version", e))?;
        Ok((version / 1000, version % 1000 / 10))
    }

    /// Copies bytes to an address of the device, after all that was asked for before.
    fn send(&self, address: u64, bytes: &[u8]) -> Result<()> {
        self.bind()?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        for (i, piece) in bytes.chunks(Staging::BYTES).enumerate() {
            if staging.used + piece.len() > Staging::BYTES {
                self.synchronize()?;
                staging.used = 0;
            }
            // SAFETY: the piece fits behind what is used; nobody else writes there while the lock
            // is held, and the device reads it before it is used again. The caller checked the
            // range on the device.
            unsafe {
                let place = staging.memory.add(staging.used);
                place.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
                let staged = std::slice::from_raw_parts(place, piece.len());
                result::memcpy_htod_async(
                    address + (i * Staging::BYTES) as u64,
                    staged,
                    self.stream,
                )
            }
            .map_err(|e| failed("copy to the device", e))?;
            staging.used += piece.len();
        }
        Ok(())
    }

    /// What the device calls itself.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its compute capability: (9, 0) for `sm_90`.
    pub(crate) fn capability(&self) -> (u32, u32) {
        self.capability
    }

    /// Bytes of its memory that are free, and all of them.
    pub(crate) fn memory(&self) -> Result<(usize, usize)> {
        self.bind()?;
        result::mem_get_info().map_err(|e| failed("ask for free memory", e))
    }

    /// Takes memory, whose content is arbitrary.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<Buffer> {
        self.bind()?;
        // SAFETY: what is there is only read after it was written: a program writes before it
        // reads.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|e| {
            failed(&format!("take {bytes} bytes of memory"), e).with_hint(
                "use a smaller batch, or --precision bf16, or end other programs on this GPU",
            )
        })?;
        Ok(Buffer { context: Arc::clone(self), address, bytes })
    }

    /// Loads compiled kernels: a cubin.
    pub(crate) fn load(self: &Arc<Self>, image: &[u8]) -> Result<Module> {
        self.bind()?;
        // SAFETY: the image is read within its length, which its own headers give; the compiler
        // made it.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) }
            .map_err(|e| failed("load the kernels", e))?;
        Ok(Module { context: Arc::clone(self), module })
    }

    /// Starts `blocks` blocks of a kernel on `count` problems at address `problems`, whose first
    /// blocks are listed at address `first`.
    pub(crate) fn launch(
        &self,
        function: Function,
        blocks: u32,
        problems: u64,
        first: u64,
        count: u32,
    ) -> Result<()> {
        self.bind()?;
        let (mut problems, mut first, mut count) = (problems, first, count);
        let mut parameters: [*mut c_void; 3] =
            [(&raw mut problems).cast(), (&raw mut first).cast(), (&raw mut count).cast()];
        // SAFETY: every kernel takes these three parameters; the driver copies them before it
        // returns.
        unsafe {
            result::launch_kernel(
                function.0,
                (blocks, 1, 1),
                (THREADS as u32, 1, 1),
                0,
                self.stream,
                &mut parameters,
            )
        }
        .map_err(|e| failed("start a kernel", e))
    }

    /// Records what `work` asks for instead of doing it.
    pub(crate) fn capture(self: &Arc<Self>, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
        self.bind()?;
        // SAFETY: the stream is alive.
        unsafe {
            result::stream::begin_capture(
                self.stream,
                sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
            )
        }
        .map_err(|e| failed("record a graph", e))?;
        let done = work();
        // Ended whatever happened: a stream that records can do nothing else.
        // SAFETY: the stream is alive and records.
        let graph = unsafe { result::stream::end_capture(self.stream) }
            .map_err(|e| failed("record a graph", e))?;
        // SAFETY: `graph` was just made, and is not used after it is destroyed.
        let executable = unsafe {
            let executable = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let destroyed = result::graph::destroy(graph);
            executable.and_then(|executable| destroyed.map(|()| executable))
        };
        done?;
        Ok(Graph {
            context: Arc::clone(self),
            graph: executable.map_err(|e| failed("make a graph", e))?,
        })
    }

    /// Waits until everything asked for is done.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream is alive.
        unsafe { result::stream::synchronize(self.stream) }
            .map_err(|e| failed("finish what was started", e))
    }

    /// Makes the context that of this thread.
    fn bind(&self) -> Result<()> {
        // SAFETY: the context is alive.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| failed("use the context", e))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; the driver frees all of it with the process.
        // SAFETY: stream and context are alive, and everything made in them held this.
        unsafe {
            let memory = self.staging.get_mut().unwrap_or_else(PoisonError::into_inner).memory;
            let _ = result::ctx::set_current(self.context)
                .and_then(|()| result::free_host(memory.cast()));
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

/// Memory of the device.
#[derive(Debug)]
pub(crate) struct Buffer {
    context: Arc<Context>,
    address: u64,
    bytes: usize,
}

impl Buffer {
    /// Where it begins.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Copies `data` to its beginning; when this returns `data` may change.
    pub(crate) fn upload<T: bytemuck::NoUninit>(&self, data: &[T]) -> Result<()> {
        self.upload_at(0, data)
    }

    /// [`Self::upload`], from byte `offset` on.
    pub(crate) fn upload_at<T: bytemuck::NoUninit>(&self, offset: usize, data: &[T]) -> Result<()> {
        assert!(
            offset + size_of_val(data) <= self.bytes,
            "{} bytes at {offset} in a buffer of {}",
            size_of_val(data),
            self.bytes
        );
        self.context.bind()?;
        self.context.send(self.address + offset as u64, bytemuck::cast_slice(data))
    }

    /// Copies all of another buffer, of the same device and at most as large, to its beginning.
    pub(crate) fn copy_from(&self, other: &Self) -> Result<()> {
        assert!(other.bytes <= self.bytes, "{} bytes into a buffer of {}", other.bytes, self.bytes);
        self.context.bind()?;
        // SAFETY: both ranges are allocated, of different buffers, and the length was checked.
        unsafe {
            result::memcpy_dtod_async(self.address, other.address, other.bytes, self.context.stream)
        }
        .map_err(|e| failed("copy within its memory", e))
    }

    /// Copies what is at its beginning to `data`, once everything asked for before is done.
    pub(crate) fn download<T: bytemuck::AnyBitPattern>(&self, data: &mut [T]) -> Result<()> {
        self.download_at(0, data)
    }

    /// [`Self::download`], from byte `offset` on.
    pub(crate) fn download_at<T: bytemuck::AnyBitPattern>(
        &self,
        offset: usize,
        data: &mut [T],
    ) -> Result<()> {
        assert!(
            offset + size_of_val(data) <= self.bytes,
            "{} bytes at {offset} in a buffer of {}",
            size_of_val(data),
            self.bytes
        );
        self.context.bind()?;
        // SAFETY: the range was checked, every pattern of bits is a `T`, and the copy is waited
        // for.
        unsafe {
            result::memcpy_dtoh_async(data, self.address + offset as u64, self.context.stream)
        }
        .map_err(|e| failed("copy from the device", e))?;
        self.context.synchronize()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Freeing waits for what is under way. Nobody is left to hear of an error.
        // SAFETY: the address was allocated in this context, and is freed once.
        let _ = self.context.bind().map(|()| unsafe { result::free_sync(self.address) });
    }
}

/// Loaded kernels.
#[derive(Debug)]
pub(crate) struct Module {
    context: Arc<Context>,
    module: sys::CUmodule,
}

// SAFETY: as for `Context`.
unsafe impl Send for Module {}
// SAFETY: as for `Context`.
unsafe impl Sync for Module {}

/// One of the kernels of a module; valid as long as the module is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function(sys::CUfunction);

// SAFETY: as for `Context`.
unsafe impl Send for Function {}
// SAFETY: as for `Context`.
unsafe impl Sync for Function {}

impl Module {
    pub(crate) fn function(&self, name: &str) -> Result<Function> {
        self.context.bind()?;
        let c_name = CString::new(name).expect("kernels have names without zeros");
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(self.module, c_name) };
        function.map(Function).map_err(|e| failed(&format!("find the kernel {name}"), e))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        // SAFETY: the module is loaded, and unloaded once.
        let _ = self.context.bind().map(|()| unsafe { result::module::unload(self.module) });
    }
}

/// Recorded launches.
#[derive(Debug)]
pub(crate) struct Graph {
    context: Arc<Context>,
    graph: sys::CUgraphExec,
}

// SAFETY: as for `Context`; a graph is launched through `&mut`, one thread at a time.
unsafe impl Send for Graph {}
// SAFETY: there is nothing that can be done through a shared reference.
unsafe impl Sync for Graph {}

impl Graph {
    /// Starts all of it.
    pub(crate) fn launch(&mut self) -> Result<()> {
        self.context.bind()?;
        // SAFETY: graph and stream are alive.
        unsafe { result::graph::launch(self.graph, self.context.stream) }
            .map_err(|e| failed("start the graph of a step", e))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        // SAFETY: the graph is alive, and destroyed once.
        let _ = self.context.bind().map(|()| unsafe { result::graph::exec_destroy(self.graph) });
    }
}

fn failed(what: &str, error: DriverError) -> EngineError {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    EngineError::cuda(format!(
        "the GPU could not {what}: {} ({:?})",
        text.unwrap_or_else(|_| "unknown error".to_owned()),
        error.0
    ))
}
