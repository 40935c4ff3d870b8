// Everything is done when a call returns, and one lock lets calls happen one after another: what is late, or at the same time, on a GPU is
// not so here. Handles are checked against those given out, so that a stale one is an error and no crash.
#include "driver.h"

#include "blocks.h"
#include "kernels.h"
#include "memory.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {
using Operation = std::function<CUresult()>;
using Clock = std::chrono::steady_clock;
} // namespace

struct Context {
    int device;
    unsigned retained;
};

struct Module {};

struct Function {
    const standin::Kernel *kernel;
};

struct Capture {
    CUstreamCaptureMode mode;
    std::thread::id thread;
    bool valid = true;
    std::vector<Operation> operations;
};

struct Stream {
    std::unique_ptr<Capture> capture;
};

struct Event {
    bool timed;
    bool captured = false;
    bool recorded = false;
    Clock::time_point time;
};

struct Graph {
    std::vector<Operation> operations;
};

struct GraphExec {
    std::vector<Operation> operations;
};

namespace {

// The objects of one kind that a program holds handles of.
template <class Object> class Handles {
  public:
    Object *add(Object object) { return owned.insert(std::make_unique<Object>(std::move(object))).first->get(); }
    bool has(const Object *handle) const { return find(handle) != owned.end(); }
    bool remove(const Object *handle) {
        auto found = find(handle);
        if (found == owned.end()) {
            return false;
        }
        owned.erase(found);
        return true;
    }
    auto begin() const { return owned.begin(); }
    auto end() const { return owned.end(); }

  private:
    struct Less {
        using is_transparent = void;
        static const void *address(const void *p) { return p; }
        static const void *address(const std::unique_ptr<Object> &p) { return p.get(); }
        template <class A, class B> bool operator()(const A &a, const B &b) const { return address(a) < address(b); }
    };
    auto find(const Object *handle) const { return owned.find((const void *)handle); }
    std::set<std::unique_ptr<Object>, Less> owned;
};

struct Counts {
    unsigned long long kernels, launches, graph_launches, graph_nodes, allocations, frees;
    unsigned long long copies_to_device, copies_to_host, bytes_to_device, bytes_to_host, synchronizations, modules;
};

unsigned long long environment(const char *name, unsigned long long otherwise) {
    const char *value = getenv(name);
    return value ? strtoull(value, nullptr, 10) : otherwise;
}

// All of the driver but the memory. Never destroyed, because programs call drivers until their very end.
struct Driver {
    std::mutex lock;
    bool initialized = false;
    int device_count = (int)environment("ADWP_STANDIN_DEVICES", 1);
    size_t memory = environment("ADWP_STANDIN_MEMORY", 8ull << 30);
    std::vector<Context> contexts;
    std::map<std::string, Function> functions;
    Handles<Module> modules;
    Handles<Stream> streams;
    Handles<Event> events;
    Handles<Graph> graphs;
    Handles<GraphExec> graph_execs;
    Counts counts = {};

    Driver() {
        for (int device = 0; device < device_count; device++) {
            contexts.push_back({device, 0});
        }
    }
};

Driver &driver = *new Driver;
thread_local CUcontext current = nullptr;

// What a call needs: an initialised driver, or also a context.

template <class Body> CUresult initialized_call(Body body) {
    std::lock_guard<std::mutex> guard(driver.lock);
    return driver.initialized ? body() : CUDA_ERROR_NOT_INITIALIZED;
}

template <class Body> CUresult device_call(CUdevice device, Body body) {
    return initialized_call([&] { return device >= 0 && device < driver.device_count ? body() : CUDA_ERROR_INVALID_DEVICE; });
}

template <class Body> CUresult call(Body body) {
    return initialized_call([&] { return current && current->retained ? body() : CUDA_ERROR_INVALID_CONTEXT; });
}

// Invalidates the captures for which `forbids` holds, and tells whether there are any.
template <class Forbids> bool invalidate_captures(Forbids forbids) {
    bool any = false;
    for (const auto &stream : driver.streams) {
        if (stream->capture && forbids(*stream->capture)) {
            stream->capture->valid = false;
            any = true;
        }
    }
    return any;
}

// A call that may wait for the device, although the program did not ask it to.
template <class Body> CUresult implicitly_waiting_call(Body body) {
    return call([&] {
        bool forbidden = invalidate_captures([](const Capture &capture) {
            return capture.mode == CU_STREAM_CAPTURE_MODE_GLOBAL
                || (capture.mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && capture.thread == std::this_thread::get_id());
        });
        return forbidden ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : body();
    });
}

// The stream that is there without having been made.
bool is_default(CUstream stream) { return (uintptr_t)stream <= 2; }

template <class Body> CUresult stream_call(CUstream stream, Body body) {
    return call([&] { return is_default(stream) || driver.streams.has(stream) ? body() : CUDA_ERROR_INVALID_HANDLE; });
}

Capture *capture_of(CUstream stream) { return is_default(stream) ? nullptr : stream->capture.get(); }

CUresult enqueue(CUstream stream, Operation operation) {
    Capture *capture = capture_of(stream);
    if (!capture) {
        return operation();
    }
    if (!capture->valid) {
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    capture->operations.push_back(std::move(operation));
    return CUDA_SUCCESS;
}

bool in_device(CUdeviceptr address, size_t bytes) { return bytes == 0 || standin::is_device_memory(address, bytes); }

void *pointer(CUdeviceptr address) { return (void *)address; }

// Copies and fills check their addresses when they are called and, because a graph may outlive memory, when they are executed.

CUresult copy(void *to, const void *from, size_t bytes) {
    memmove(to, from, bytes);
    return CUDA_SUCCESS;
}

struct CopyToDevice {
    CUdeviceptr to;
    const void *from;
    size_t bytes;

    bool valid() const { return in_device(to, bytes); }
    CUresult operator()() const {
        driver.counts.copies_to_device++;
        driver.counts.bytes_to_device += bytes;
        return valid() ? copy(pointer(to), from, bytes) : CUDA_ERROR_ILLEGAL_ADDRESS;
    }
};

struct CopyToHost {
    void *to;
    CUdeviceptr from;
    size_t bytes;

    bool valid() const { return in_device(from, bytes); }
    CUresult operator()() const {
        driver.counts.copies_to_host++;
        driver.counts.bytes_to_host += bytes;
        return valid() ? copy(to, pointer(from), bytes) : CUDA_ERROR_ILLEGAL_ADDRESS;
    }
};

struct CopyOnDevice {
    CUdeviceptr to, from;
    size_t bytes;

    bool valid() const { return in_device(to, bytes) && in_device(from, bytes); }
    CUresult operator()() const { return valid() ? copy(pointer(to), pointer(from), bytes) : CUDA_ERROR_ILLEGAL_ADDRESS; }
};

struct FillBytes {
    CUdeviceptr to;
    unsigned char value;
    size_t bytes;

    bool valid() const { return in_device(to, bytes); }
    CUresult operator()() const {
        if (!valid()) {
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        }
        memset(pointer(to), value, bytes);
        return CUDA_SUCCESS;
    }
};

template <class Transfer> CUresult transfer(Transfer transfer) {
    return implicitly_waiting_call([&] { return transfer.valid() ? transfer() : CUDA_ERROR_INVALID_VALUE; });
}

template <class Transfer> CUresult transfer(Transfer transfer, CUstream stream) {
    return stream_call(stream, [&] { return transfer.valid() ? enqueue(stream, transfer) : CUDA_ERROR_INVALID_VALUE; });
}

CUresult launch(const standin::Launch &launch) {
    if (!standin::is_visible_to_device((uint64_t)launch.problems, 1)
        || !standin::is_visible_to_device((uint64_t)launch.first, launch.count * sizeof *launch.first)) {
        const char *name = launch.kernel->name.c_str();
        fprintf(stderr, "stand-in: kernel %s: its problems or their first blocks do not lie in device memory\n", name);
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    driver.counts.kernels++;
    standin::run(launch);
    standin::check_ends(launch.kernel->name.c_str());
    return CUDA_SUCCESS;
}

CUresult allocate_on_host(void **address, size_t bytes) {
    return implicitly_waiting_call([&] {
        if (!address || bytes == 0) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        *address = standin::allocate(bytes, standin::Home::Host);
        return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    });
}

template <class Object> CUresult destroy(Handles<Object> &handles, const Object *handle) {
    return call([&] { return handles.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}

template <class Value> CUresult give(Value *place, Value value) {
    if (!place) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *place = value;
    return CUDA_SUCCESS;
}

} // namespace

// Errors.

namespace {
struct ErrorText {
    const char *name, *text;
};

const std::map<CUresult, ErrorText> &error_texts() {
    static const auto &texts = *new std::map<CUresult, ErrorText>{
        {CUDA_SUCCESS, {"CUDA_SUCCESS", "no error"}},
        {CUDA_ERROR_INVALID_VALUE, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
        {CUDA_ERROR_OUT_OF_MEMORY, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
        {CUDA_ERROR_NOT_INITIALIZED, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
        {CUDA_ERROR_NO_DEVICE, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
        {CUDA_ERROR_INVALID_DEVICE, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
        {CUDA_ERROR_INVALID_CONTEXT, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
        {CUDA_ERROR_INVALID_HANDLE, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
        {CUDA_ERROR_ILLEGAL_STATE, {"CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"}},
        {CUDA_ERROR_NOT_FOUND, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
        {CUDA_ERROR_ILLEGAL_ADDRESS, {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"}},
        {CUDA_ERROR_NOT_SUPPORTED, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
        {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
         {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"}},
        {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
         {"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"}},
        {CUDA_ERROR_CAPTURED_EVENT,
         {"CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"}},
        {CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
         {"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"}},
    };
    return texts;
}

CUresult give_error_text(CUresult error, const char **place, const char *ErrorText::*part) {
    auto found = error_texts().find(error);
    bool known = found != error_texts().end();
    *place = known ? found->second.*part : nullptr;
    return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
} // namespace

CUresult cuGetErrorName(CUresult error, const char **name) { return give_error_text(error, name, &ErrorText::name); }
CUresult cuGetErrorString(CUresult error, const char **text) { return give_error_text(error, text, &ErrorText::text); }

// Devices.

CUresult cuInit(unsigned flags) {
    std::lock_guard<std::mutex> guard(driver.lock);
    if (flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (driver.device_count == 0) {
        return CUDA_ERROR_NO_DEVICE;
    }
    driver.initialized = true;
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version) { return give(version, 13000); }

CUresult cuDeviceGetCount(int *count) {
    return initialized_call([&] { return give(count, driver.device_count); });
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    return device_call(ordinal, [&] { return give(device, ordinal); });
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice device) {
    return device_call(device, [&] {
        if (!name || bytes <= 0) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        snprintf(name, (size_t)bytes, "Stand-in for an NVIDIA GPU");
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    return device_call(device, [&] {
        CUuuid own = {"adwp stand-in"};
        own.bytes[15] = (char)device;
        return give(uuid, own);
    });
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) { return cuDeviceGetUuid(uuid, device); }

namespace {
// Those of an H100. It has no memory pools, because the stand-in has none.
const std::map<CUdevice_attribute, int> &attributes() {
    static const auto &values = *new std::map<CUdevice_attribute, int>{
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
        {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
        {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1980000},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132},
        {CU_DEVICE_ATTRIBUTE_INTEGRATED, 0},
        {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
        {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 2619000},
        {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 5120},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 52428800},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
        {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 233472},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 232448},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 32},
        {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 0},
    };
    return values;
}
} // namespace

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    return device_call(device, [&] {
        auto found = attributes().find(attribute);
        return found == attributes().end() ? CUDA_ERROR_INVALID_VALUE : give(value, found->second);
    });
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    return device_call(device, [&] { return give(bytes, driver.memory); });
}

// Contexts.

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    return device_call(device, [&] {
        CUcontext primary = &driver.contexts[(size_t)device];
        primary->retained++;
        return give(context, primary);
    });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    return device_call(device, [&] {
        Context &primary = driver.contexts[(size_t)device];
        if (primary.retained == 0) {
            return CUDA_ERROR_INVALID_CONTEXT;
        }
        primary.retained--;
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxSetCurrent(CUcontext context) {
    return initialized_call([&] {
        if (context && !context->retained) {
            return CUDA_ERROR_INVALID_CONTEXT;
        }
        current = context;
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxGetCurrent(CUcontext *context) {
    return initialized_call([&] { return give(context, current); });
}

// How the host waits makes no difference where there is nothing to wait for.
CUresult cuCtxSetFlags(unsigned) {
    return call([] { return CUDA_SUCCESS; });
}

CUresult cuCtxSynchronize() {
    return call([] {
        if (invalidate_captures([](const Capture &) { return true; })) {
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        driver.counts.synchronizations++;
        return CUDA_SUCCESS;
    });
}

// Memory.

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    return call([&] {
        CUresult result = give(free, driver.memory - standin::allocated_bytes());
        return result == CUDA_SUCCESS ? give(total, driver.memory) : result;
    });
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
    return implicitly_waiting_call([&] {
        if (!address || bytes == 0) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        bool fits = bytes <= driver.memory - standin::allocated_bytes();
        void *memory = fits ? standin::allocate(bytes, standin::Home::Device) : nullptr;
        if (!memory) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        driver.counts.allocations++;
        return give(address, (CUdeviceptr)memory);
    });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
    return implicitly_waiting_call([&] {
        // As the driver has it, to free nothing is no error.
        if (address == 0) {
            return CUDA_SUCCESS;
        }
        if (!standin::release(pointer(address), standin::Home::Device)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        driver.counts.frees++;
        return CUDA_SUCCESS;
    });
}

CUresult cuMemAllocHost_v2(void **address, size_t bytes) { return allocate_on_host(address, bytes); }
CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned) { return allocate_on_host(address, bytes); }

CUresult cuMemFreeHost(void *address) {
    return implicitly_waiting_call([&] {
        return standin::release(address, standin::Home::Host) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    });
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) { return transfer(CopyToDevice{to, from, bytes}); }
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) { return transfer(CopyToHost{to, from, bytes}); }
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) { return transfer(CopyOnDevice{to, from, bytes}); }
CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) { return transfer(FillBytes{to, value, bytes}); }

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    return transfer(CopyToDevice{to, from, bytes}, stream);
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return transfer(CopyToHost{to, from, bytes}, stream);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return transfer(CopyOnDevice{to, from, bytes}, stream);
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
    return transfer(FillBytes{to, value, bytes}, stream);
}

// Modules and kernels.

// Every module has all kernels: the image, which is for a GPU, is not looked at.
CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    return implicitly_waiting_call([&] {
        if (!module || !image) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        driver.counts.modules++;
        return give(module, driver.modules.add({}));
    });
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, int *, void **) { return cuModuleLoadData(module, image); }

CUresult cuModuleUnload(CUmodule module) {
    return implicitly_waiting_call([&] { return driver.modules.remove(module) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    return call([&] {
        if (!driver.modules.has(module)) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        const standin::Kernel *kernel = name ? standin::find_kernel(name) : nullptr;
        if (!kernel) {
            return CUDA_ERROR_NOT_FOUND;
        }
        const Function &known = driver.functions.emplace(name, Function{kernel}).first->second;
        return give(function, &known);
    });
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
    return call([&] {
        if (!function) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        switch (attribute) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
            return give(value, (int)standin::MAX_THREADS);
        case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
            return give(value, 90);
        default:
            // Registers and the like: there is nothing to be said about them on the host.
            return CUDA_ERROR_NOT_SUPPORTED;
        }
    });
}

CUresult cuLaunchKernel(CUfunction function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z, unsigned threads_x,
                        unsigned threads_y, unsigned threads_z, unsigned shared_bytes, CUstream stream, void **parameters, void **extra) {
    return stream_call(stream, [&] {
        if (!function) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        bool grid = blocks_x > 0 && blocks_x <= 2147483647u && blocks_y == 1 && blocks_z == 1;
        bool block = threads_x > 0 && threads_x <= standin::MAX_THREADS && threads_x % 32 == 0 && threads_y == 1 && threads_z == 1;
        if (!grid || !block || shared_bytes != 0 || !parameters || extra) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        driver.counts.launches += capture_of(stream) ? 0 : 1;
        standin::Launch all = {function->kernel, blocks_x, threads_x, *(const void **)parameters[0], *(const unsigned **)parameters[1],
                               *(const unsigned *)parameters[2]};
        return enqueue(stream, [all] { return launch(all); });
    });
}

// Streams.

CUresult cuStreamCreate(CUstream *stream, unsigned) {
    return call([&] { return stream ? give(stream, driver.streams.add({})) : CUDA_ERROR_INVALID_VALUE; });
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
CUresult cuStreamDestroy_v2(CUstream stream) { return destroy(driver.streams, stream); }

CUresult cuStreamSynchronize(CUstream stream) {
    return stream_call(stream, [&] {
        if (Capture *capture = capture_of(stream)) {
            capture->valid = false;
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        driver.counts.synchronizations++;
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamQuery(CUstream stream) {
    return stream_call(stream, [&] {
        if (Capture *capture = capture_of(stream)) {
            capture->valid = false;
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        return CUDA_SUCCESS;
    });
}

// A stream that waits for an event of a capture would become part of it; the stand-in captures one stream at a time.
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    return stream_call(stream, [&] {
        if (!driver.events.has(event)) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        return event->captured && !capture_of(stream) ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
    });
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
    return stream_call(stream, [&] {
        if (is_default(stream)) {
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        if (stream->capture) {
            return CUDA_ERROR_ILLEGAL_STATE;
        }
        stream->capture = std::make_unique<Capture>(Capture{mode, std::this_thread::get_id(), true, {}});
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    return stream_call(stream, [&] {
        Capture *capture = capture_of(stream);
        if (!graph) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        *graph = nullptr;
        if (!capture) {
            return CUDA_ERROR_ILLEGAL_STATE;
        }
        if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id()) {
            return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
        }
        std::unique_ptr<Capture> done = std::move(stream->capture);
        if (!done->valid) {
            return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        }
        return give(graph, driver.graphs.add({std::move(done->operations)}));
    });
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    return stream_call(stream, [&] {
        const Capture *capture = capture_of(stream);
        return give(status, !capture         ? CU_STREAM_CAPTURE_STATUS_NONE
                            : capture->valid ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                             : CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    });
}

// Graphs.

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long) {
    return call([&] {
        if (!exec || !driver.graphs.has(graph)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        driver.counts.graph_nodes = graph->operations.size();
        return give(exec, driver.graph_execs.add({graph->operations}));
    });
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
    return stream_call(stream, [&] { return driver.graph_execs.has(exec) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; });
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
    return stream_call(stream, [&] {
        if (!driver.graph_execs.has(exec)) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (capture_of(stream)) {
            return CUDA_ERROR_NOT_SUPPORTED;
        }
        driver.counts.graph_launches++;
        for (const Operation &operation : exec->operations) {
            CUresult result = operation();
            if (result != CUDA_SUCCESS) {
                return result;
            }
        }
        return CUDA_SUCCESS;
    });
}

CUresult cuGraphExecDestroy(CUgraphExec exec) { return destroy(driver.graph_execs, exec); }
CUresult cuGraphDestroy(CUgraph graph) { return destroy(driver.graphs, graph); }

// Events.

CUresult cuEventCreate(CUevent *event, unsigned flags) {
    return call([&] {
        bool timed = !(flags & CU_EVENT_DISABLE_TIMING);
        return event ? give(event, driver.events.add({timed, false, false, {}})) : CUDA_ERROR_INVALID_VALUE;
    });
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    return stream_call(stream, [&] {
        if (!driver.events.has(event)) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        event->captured = capture_of(stream) != nullptr;
        event->recorded = true;
        event->time = Clock::now();
        return CUDA_SUCCESS;
    });
}

namespace {
template <class Body> CUresult event_call(CUevent event, Body body) {
    return implicitly_waiting_call([&] {
        if (!driver.events.has(event)) {
            return CUDA_ERROR_INVALID_HANDLE;
        }
        return event->captured ? CUDA_ERROR_CAPTURED_EVENT : body();
    });
}
} // namespace

CUresult cuEventSynchronize(CUevent event) {
    return event_call(event, [] {
        driver.counts.synchronizations++;
        return CUDA_SUCCESS;
    });
}

CUresult cuEventQuery(CUevent event) {
    return event_call(event, [] { return CUDA_SUCCESS; });
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    return call([&] {
        for (CUevent event : {start, end}) {
            if (!driver.events.has(event) || !event->recorded || !event->timed) {
                return CUDA_ERROR_INVALID_HANDLE;
            }
            if (event->captured) {
                return CUDA_ERROR_CAPTURED_EVENT;
            }
        }
        return give(milliseconds, std::chrono::duration<float, std::milli>(end->time - start->time).count());
    });
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) { return cuEventElapsedTime(milliseconds, start, end); }
CUresult cuEventDestroy_v2(CUevent event) { return destroy(driver.events, event); }

// What the driver offers beyond its documented interface. NVRTC asks for such a table before it compiles, and reads how long it is whatever
// the answer: this one has its length and nothing else.
CUresult cuGetExportTable(const void **table, const CUuuid *) {
    static const size_t nothing[] = {sizeof(size_t)};
    *table = nothing;
    return CUDA_ERROR_NOT_FOUND;
}

// Counters.

unsigned long long standin_count(const char *what) {
    static const auto &places = *new std::map<std::string, unsigned long long Counts::*>{
        {"kernels", &Counts::kernels},
        {"launches", &Counts::launches},
        {"graph_launches", &Counts::graph_launches},
        {"graph_nodes", &Counts::graph_nodes},
        {"allocations", &Counts::allocations},
        {"frees", &Counts::frees},
        {"copies_to_device", &Counts::copies_to_device},
        {"copies_to_host", &Counts::copies_to_host},
        {"bytes_to_device", &Counts::bytes_to_device},
        {"bytes_to_host", &Counts::bytes_to_host},
        {"synchronizations", &Counts::synchronizations},
        {"modules", &Counts::modules},
    };
    std::lock_guard<std::mutex> guard(driver.lock);
    if (strcmp(what, "allocated_bytes") == 0) {
        return standin::allocated_bytes();
    }
    auto found = places.find(what);
    if (found == places.end()) {
        fprintf(stderr, "stand-in: nothing is counted under the name %s\n", what);
        abort();
    }
    return driver.counts.*found->second;
}

void standin_reset() {
    std::lock_guard<std::mutex> guard(driver.lock);
    driver.counts = {};
}
