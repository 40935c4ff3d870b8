// Checks the stand-in: `scripts/build-standin --selftest`. Prints what is wrong and fails, or prints how long switches take.
#include "driver.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr unsigned THREADS = 256;
constexpr unsigned WARP = 32;

int failures = 0;

void expect(bool holds, const char *what, unsigned line) {
    if (!holds) {
        fprintf(stderr, "selftest.cpp:%u: %s\n", line, what);
        failures++;
    }
}

#define EXPECT(condition) expect(condition, #condition, __LINE__)
#define EXPECT_RESULT(result, call) expect((call) == result, #call " is not " #result, __LINE__)
#define OK(call) EXPECT_RESULT(CUDA_SUCCESS, call)

// Device memory that is freed at the end of a scope.
template <class Item> class Device {
  public:
    explicit Device(size_t count) : count(count) { OK(cuMemAlloc_v2(&address, count * sizeof(Item))); }
    explicit Device(const std::vector<Item> &items) : Device(items.size()) {
        OK(cuMemcpyHtoD_v2(address, items.data(), count * sizeof(Item)));
    }
    ~Device() { OK(cuMemFree_v2(address)); }
    Device(const Device &) = delete;

    Item *data() const { return (Item *)address; }
    std::vector<Item> read() const {
        std::vector<Item> items(count);
        OK(cuMemcpyDtoH_v2(items.data(), address, count * sizeof(Item)));
        return items;
    }

    CUdeviceptr address = 0;
    size_t count;
};

CUmodule module = nullptr;
CUstream stream = nullptr;

CUfunction kernel(const char *name) {
    CUfunction function = nullptr;
    OK(cuModuleGetFunction(&function, module, name));
    return function;
}

template <class Problem>
CUresult launch(const char *name, const Device<Problem> &problems, const Device<unsigned> &first, unsigned blocks) {
    CUdeviceptr problems_address = problems.address, first_address = first.address;
    unsigned count = (unsigned)problems.count;
    void *parameters[] = {&problems_address, &first_address, &count};
    return cuLaunchKernel(kernel(name), blocks, 1, 1, THREADS, 1, 1, 0, stream, parameters, nullptr);
}

// Launches a kernel that has one problem, an array of words, and reads that back.
std::vector<unsigned> run(const char *name, unsigned blocks, size_t words) {
    Device<unsigned> out(std::vector<unsigned>(words, 0u)), first(std::vector<unsigned>{0});
    Device<unsigned *> problems(std::vector<unsigned *>{out.data()});
    OK(launch(name, problems, first, blocks));
    return out.read();
}

void check_barriers() {
    constexpr unsigned BLOCKS = 9;
    std::vector<unsigned> out = run("rotate_in_block", BLOCKS, BLOCKS * THREADS);
    bool right = true;
    for (unsigned i = 0; i < out.size(); i++) {
        right &= out[i] == (i + 1000) % THREADS;
    }
    EXPECT(right);
}

void check_shuffles() {
    std::vector<unsigned> out = run("shuffles", 1, THREADS * 5);
    auto rotated = [](unsigned warp, unsigned lane) { return warp * WARP + (lane + warp + 1) % WARP; };
    bool right = true;
    for (unsigned i = 0; i < THREADS; i++) {
        unsigned warp = i / WARP, lane = i % WARP, other = lane ^ 1;
        right &= out[i * 5] == rotated(warp, lane);
        right &= out[i * 5 + 1] == (i ^ 5);
        right &= out[i * 5 + 2] == (lane + 3 < WARP ? i + 3 : i);
        right &= out[i * 5 + 3] == 1000000000 + warp * WARP + 7;
        right &= out[i * 5 + 4] == rotated(warp, other) + (other % 2 ? 1000 : 0);
    }
    EXPECT(right);
}

void check_poison() {
    for (unsigned found : run("shared_as_found", 64, 64 * THREADS)) {
        if (found != ~0u) {
            EXPECT(found == ~0u);
            return;
        }
    }
    Device<float> fresh(100);
    bool poisoned = true;
    for (float value : fresh.read()) {
        poisoned &= std::isnan(value);
    }
    EXPECT(poisoned);
}

struct Sum {
    const float *x;
    float *out;
    long long n;
};

// Two problems in one launch, of different size.
void check_reduction() {
    const size_t sizes[] = {1000, 77};
    std::vector<float> x(1000);
    for (size_t i = 0; i < x.size(); i++) {
        x[i] = (float)(i % 17);
    }
    Device<float> input(x), large(4), small(1);
    Device<Sum> problems(std::vector<Sum>{{input.data(), large.data(), 1000}, {input.data(), small.data(), 77}});
    Device<unsigned> first(std::vector<unsigned>{0, 4});
    OK(launch("block_sums", problems, first, 5));
    const std::vector<float> sums[] = {large.read(), small.read()};
    for (int problem = 0; problem < 2; problem++) {
        for (size_t block = 0; block < sums[problem].size(); block++) {
            float expected = 0.0f;
            for (size_t i = block * THREADS; i < (block + 1) * THREADS && i < sizes[problem]; i++) {
                expected += x[i];
            }
            EXPECT(sums[problem][block] == expected);
        }
    }
}

void check_missing_barrier_shows() {
    bool first_thread_late = false, last_thread_late = false;
    std::vector<unsigned> out = run("missing_barrier", 2, 2 * THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        first_thread_late |= out[i] == 0;
        last_thread_late |= out[THREADS + i] == 0;
    }
    EXPECT(first_thread_late && last_thread_late);
}

void check_names() {
    EXPECT(run("send", 3, THREADS)[0] == 3);
    CUfunction function = nullptr;
    EXPECT_RESULT(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, module, "recv"));
    EXPECT_RESULT(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, module, "cuInit"));
}

void check_launch_limits() {
    Device<unsigned> out(THREADS), first(std::vector<unsigned>{0});
    Device<unsigned *> problems(std::vector<unsigned *>{out.data()});
    auto attempt = [&](unsigned blocks, unsigned threads, unsigned shared, unsigned rows) {
        unsigned count = 1;
        void *parameters[] = {&problems.address, &first.address, &count};
        return cuLaunchKernel(kernel("increment"), blocks, rows, 1, threads, 1, 1, shared, stream, parameters, nullptr);
    };
    OK(attempt(1, 64, 0, 1));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, attempt(0, THREADS, 0, 1));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, attempt(1, 0, 0, 1));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, attempt(1, 40, 0, 1));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, attempt(1, 288, 0, 1));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, attempt(1, THREADS, 16, 1));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, attempt(1, THREADS, 0, 2));
}

void check_memory() {
    unsigned long long before = standin_count("allocated_bytes");
    char host[100] = {};
    CUdeviceptr address = 0;
    OK(cuMemAlloc_v2(&address, sizeof host));
    EXPECT(address % 256 == 0);
    EXPECT(standin_count("allocated_bytes") == before + sizeof host);
    OK(cuMemcpyHtoD_v2(address, host, sizeof host));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(address + 1, host, sizeof host));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(host, address - 1, 2));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoDAsync_v2(address, address + 60, 50, stream));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemsetD8Async(address, 0, sizeof host + 1, stream));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(address + 1));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost((void *)address));
    OK(cuMemFree_v2(address));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(address));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(address, host, 1));
    EXPECT_RESULT(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&address, 1ull << 50));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&address, 0));
    EXPECT(standin_count("allocated_bytes") == before);

    void *pinned = nullptr;
    OK(cuMemHostAlloc(&pinned, 1000, 0));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2((CUdeviceptr)pinned));
    OK(cuMemFreeHost(pinned));
}

void check_capture() {
    Device<unsigned> out(std::vector<unsigned>(THREADS, 0u)), first(std::vector<unsigned>{0});
    Device<unsigned *> problems(std::vector<unsigned *>{out.data()});
    std::vector<unsigned> fives(THREADS, 5u), seen(THREADS, 0u);
    size_t bytes = THREADS * sizeof(unsigned);
    CUstreamCaptureStatus status;
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;

    standin_reset();
    OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    OK(cuStreamIsCapturing(stream, &status));
    EXPECT(status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    OK(cuMemcpyHtoDAsync_v2(out.address, fives.data(), bytes, stream));
    OK(launch("increment", problems, first, 1));
    OK(launch("increment", problems, first, 1));
    OK(cuMemcpyDtoHAsync_v2(seen.data(), out.address, bytes, stream));
    OK(cuStreamEndCapture(stream, &graph));
    EXPECT(seen[0] == 0 && standin_count("kernels") == 0 && standin_count("launches") == 0);

    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuGraphDestroy(graph));
    EXPECT(standin_count("graph_nodes") == 4);
    OK(cuGraphLaunch(exec, stream));
    EXPECT(seen[0] == 7 && seen[THREADS - 1] == 7);
    // The copy of a graph reads what is there when the graph is launched.
    fives.assign(THREADS, 50u);
    OK(cuGraphLaunch(exec, stream));
    EXPECT(seen[0] == 52);
    EXPECT(standin_count("kernels") == 4 && standin_count("launches") == 0 && standin_count("graph_launches") == 2);
    EXPECT(standin_count("copies_to_device") == 2 && standin_count("bytes_to_host") == 2 * bytes);
    OK(cuGraphExecDestroy(exec));
    EXPECT_RESULT(CUDA_ERROR_INVALID_VALUE, cuGraphLaunch(exec, stream));
}

void check_forbidden_while_capturing() {
    Device<unsigned> memory(10);
    CUdeviceptr address = 0;
    CUgraph graph = nullptr;
    CUstreamCaptureStatus status;
    unsigned word = 0;
    const std::function<CUresult()> forbidden[] = {
        [&] { return cuMemAlloc_v2(&address, 4); },
        [&] { return cuMemFree_v2(memory.address); },
        [&] { return cuMemcpyHtoD_v2(memory.address, &word, 4); },
        [&] { return cuMemcpyDtoH_v2(&word, memory.address, 4); },
        [&] { return cuStreamSynchronize(stream); },
        [&] { return cuCtxSynchronize(); },
    };
    for (const auto &attempt : forbidden) {
        OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        EXPECT_RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, attempt());
        OK(cuStreamIsCapturing(stream, &status));
        EXPECT(status == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
        EXPECT_RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuMemsetD8Async(memory.address, 0, 4, stream));
        EXPECT_RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
        EXPECT(graph == nullptr);
    }
    EXPECT_RESULT(CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(stream, &graph));
    EXPECT_RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamBeginCapture_v2(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL));

    // A capture that is a thread's own leaves other threads alone.
    OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CUcontext context = nullptr;
    OK(cuCtxGetCurrent(&context));
    std::thread([&] {
        EXPECT_RESULT(CUDA_ERROR_INVALID_CONTEXT, cuMemcpyDtoH_v2(&word, memory.address, 4));
        OK(cuCtxSetCurrent(context));
        OK(cuMemcpyDtoH_v2(&word, memory.address, 4));
        EXPECT_RESULT(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, cuStreamEndCapture(stream, &graph));
    }).join();
    OK(cuStreamEndCapture(stream, &graph));
    OK(cuGraphDestroy(graph));
}

// A graph that is launched after memory that it copies from was freed.
void check_stale_graph() {
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;
    unsigned word = 0;
    {
        Device<unsigned> memory(1);
        OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuMemcpyDtoHAsync_v2(&word, memory.address, 4, stream));
        OK(cuStreamEndCapture(stream, &graph));
        OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
        OK(cuGraphLaunch(exec, stream));
    }
    EXPECT_RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, cuGraphLaunch(exec, stream));
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
}

void check_events() {
    CUevent start = nullptr, end = nullptr;
    float milliseconds = -1.0f;
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&end, 0));
    EXPECT_RESULT(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&milliseconds, start, end));
    OK(cuEventRecord(start, stream));
    OK(cuEventRecord(end, stream));
    OK(cuEventSynchronize(end));
    OK(cuEventElapsedTime_v2(&milliseconds, start, end));
    EXPECT(milliseconds >= 0.0f);
    OK(cuEventDestroy_v2(start));
    EXPECT_RESULT(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(start, stream));
    OK(cuEventDestroy_v2(end));
}

void begin() {
    CUdevice device;
    CUcontext context;
    OK(cuInit(0));
    OK(cuDeviceGet(&device, 0));
    OK(cuDevicePrimaryCtxRetain(&context, device));
    OK(cuCtxSetCurrent(context));
    OK(cuStreamCreate(&stream, 1));
    OK(cuModuleLoadData(&module, ""));
}

// What a process of its own, which does `body`, writes to its standard error before it ends with a signal; empty if it ends otherwise.
std::string last_words(const std::function<void()> &body) {
    int ends[2];
    if (pipe(ends)) {
        abort();
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    close(ends[1]);
    std::string words;
    char piece[4096];
    for (ssize_t n; (n = read(ends[0], piece, sizeof piece)) > 0;) {
        words.append(piece, (size_t)n);
    }
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? words : "";
}

// Before this process itself uses the stand-in, because threads do not survive a fork.
void check_that_faults_are_caught() {
    struct Fault {
        const char *kernel, *words;
    };
    const Fault faults[] = {
        {"faulty_return_before_barrier", "255 wait for the block at "},
        {"faulty_return_before_barrier", "1 have returned (thread 7)"},
        {"faulty_two_barriers", "threads of the block wait at different places"},
        {"faulty_part_of_warp", "128 wait for their warp at "},
        {"faulty_two_shuffles", "threads of a warp wait at different places"},
        {"faulty_mask", "names only the lanes 0000ffff"},
        {"faulty_far_write", "bytes behind the end of an allocation of 40 bytes"},
        {"faulty_near_write", "written 0 bytes behind the end of an allocation of 40 bytes"},
        {"faulty_deep_stack", "do not fit on the stack"},
    };
    for (const Fault &fault : faults) {
        std::string words = last_words([&] {
            begin();
            run(fault.kernel, 2, 10);
        });
        bool caught = words.find(fault.words) != std::string::npos && words.find(fault.kernel) != std::string::npos;
        if (!caught) {
            fprintf(stderr, "%s is not caught with \"%s\"; written: %s\n", fault.kernel, fault.words, words.c_str());
            failures++;
        }
    }
}

// A kernel must not be told about its problems in memory of the host.
void check_problems_on_host() {
    std::string words = last_words([] {
        begin();
        unsigned *on_host[1] = {};
        unsigned first[1] = {0}, count = 1;
        void *problems = on_host, *blocks = first;
        void *parameters[] = {&problems, &blocks, &count};
        if (cuLaunchKernel(kernel("increment"), 1, 1, 1, THREADS, 1, 1, 0, stream, parameters, nullptr) == CUDA_ERROR_ILLEGAL_ADDRESS) {
            abort();
        }
    });
    EXPECT(words.find("kernel increment: its problems or their first blocks do not lie in device memory") != std::string::npos);
}

void check_without_device() {
    std::string words = last_words([] {
        setenv("ADWP_STANDIN_DEVICES", "0", 1);
        char program[] = "/proc/self/exe", argument[] = "--without-device";
        char *arguments[] = {program, argument, nullptr};
        execv(program, arguments);
    });
    EXPECT(words == "no device");
}

// In a process of its own, in which the stand-in starts without a device. Ends with a signal if all is well.
int without_device() {
    int count = 0;
    if (cuInit(0) == CUDA_ERROR_NO_DEVICE && cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED) {
        fprintf(stderr, "no device");
        abort();
    }
    return 0;
}

template <class Body> double seconds(Body body) {
    auto start = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The kernels wait a thousand times in each thread; every wait is one switch.
void print_timings() {
    for (const char *name : {"many_barriers", "many_shuffles"}) {
        run(name, 1, THREADS);
        printf("%s: %.1f ns for each wait of a thread\n", name, seconds([&] { run(name, 1, THREADS); }) * 1e9 / (1000.0 * THREADS));
    }
    constexpr unsigned BLOCKS = 10000;
    run("increment", 1, THREADS);
    double one = seconds([] {
        for (int i = 0; i < 100; i++) {
            run("increment", 1, THREADS);
        }
    });
    double many = seconds([] { run("increment", BLOCKS, (size_t)BLOCKS * THREADS); });
    printf("increment: %.1f us for a launch of one block with its copies and allocations, %.2f us for each block of many\n", one * 1e4,
           many * 1e6 / BLOCKS);
}

} // namespace

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "--without-device") == 0) {
        return without_device();
    }
    check_that_faults_are_caught();
    check_problems_on_host();
    check_without_device();
    begin();
    check_barriers();
    check_shuffles();
    check_poison();
    check_reduction();
    check_missing_barrier_shows();
    check_names();
    check_launch_limits();
    check_memory();
    check_capture();
    check_forbidden_while_capturing();
    check_stale_graph();
    check_events();
    if (failures > 0) {
        fprintf(stderr, "%d failed\n", failures);
        return 1;
    }
    print_timings();
    printf("the stand-in passed its self-test\n");
    return 0;
}
