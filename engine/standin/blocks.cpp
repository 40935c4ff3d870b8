#include "blocks.h"

#include "fiber.h"
#include "threads.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace standin {

constinit thread_local Place place = {};

namespace {

constexpr uint32_t ALL_LANES = ~0u;
constexpr unsigned MAX_WARPS = MAX_THREADS / LANES;
// More threads than this would need more mappings, for the guards of their stacks, than Linux grants a process.
constexpr unsigned MAX_HARDWARE_THREADS = 64;

struct Fiber;

enum class State { NotStarted, Running, AtBarrier, InExchange, Returned };

// A thread of the block that runs now.
struct Thread {
    State state;
    Site site;
    Fiber *fiber;
};

struct Warp {
    // Lanes that have not started or whose wait is over.
    uint32_t ready;
    uint32_t in_exchange;
    Site site;
    // Two rounds of values: lanes may begin the next round while others still have to read what they got in this one. None can be two
    // rounds ahead.
    unsigned round;
    unsigned long long values[2][LANES];
};

bool same(Site a, Site b) { return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0); }

// Runs one block after another on one hardware thread.
//
// A thread of the block takes a fiber when it starts and runs until it must wait for others; then another thread goes on. The thread for
// which the others waited does not stop. When a thread returns, its fiber takes the next one that has not started, so a kernel in which
// nobody waits runs all its threads on one stack without a switch.
class Runner {
  public:
    Runner();

    void run_block(const Launch &launch, unsigned block);
    void wait_for_block(Site site);
    unsigned long long wait_for_warp(uint32_t mask, unsigned long long value, unsigned source, Site site);
    // What a signal handler may ask.
    const Launch *current_launch() const { return launch; }
    bool is_stack(const void *address) const { return stacks.contain(address); }

  private:
    static void fiber_body(void *fiber);
    void run_threads(Fiber &fiber);
    void begin(const Launch &launch, unsigned block);
    void run_kernel();

    unsigned number(const Thread &thread) const { return (unsigned)(&thread - threads); }
    unsigned warps() const { return launch->threads / LANES; }
    Thread *next_thread();
    unsigned next_lane(uint32_t ready) const;
    void choose(Thread &thread);
    void go_on_with(Thread &thread, Fiber &from);
    void suspend(State state, Site site);

    [[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 2, 3)));
    [[noreturn]] void fail_diverged(const char *where, Site here, Site there);
    [[noreturn]] void fail_stuck();

    // The place of the hardware thread that made this runner.
    Place &here = place;
    const Launch *launch = nullptr;
    // Whether the last threads run first in this block.
    bool backwards = false;
    Thread *running = nullptr;
    unsigned returned = 0;
    unsigned at_barrier = 0;
    Site barrier = {};
    Warp warp[MAX_WARPS];
    Thread threads[MAX_THREADS];
    Suspended outside;
    std::vector<Fiber *> idle;
    std::unique_ptr<Fiber[]> fibers;
    Stacks stacks;
};

struct Fiber {
    Suspended suspended;
    Runner *runner;
};

// The one that the hardware thread belongs to.
thread_local Runner *runner = nullptr;

Runner::Runner() : fibers(new Fiber[MAX_THREADS]), stacks(MAX_THREADS) {
    for (unsigned i = MAX_THREADS; i-- > 0;) {
        fibers[i].runner = this;
        make_fiber(fibers[i].suspended, stacks[i], stacks.size(i), fiber_body, &fibers[i]);
        idle.push_back(&fibers[i]);
    }
}

void Runner::run_block(const Launch &next, unsigned block) {
    begin(next, block);
    Fiber &fiber = *idle.back();
    idle.pop_back();
    Thread &first = *next_thread();
    first.fiber = &fiber;
    choose(first);
    switch_fiber(outside, fiber.suspended);
    launch = nullptr;
}

void Runner::begin(const Launch &next, unsigned block) {
    launch = &next;
    running = nullptr;
    here = {{0}, {block}, {next.threads}, {next.blocks}};
    // A barrier that is missing shows if the thread that reads runs before the one that writes, so both orders occur; the first block has
    // the one in which thread 0, which writes most often, comes last.
    backwards = block % 2 == 0;
    returned = 0;
    at_barrier = 0;
    for (unsigned w = 0; w < warps(); w++) {
        warp[w].ready = ALL_LANES;
        warp[w].in_exchange = 0;
        warp[w].round = 0;
    }
    for (unsigned i = 0; i < next.threads; i++) {
        threads[i] = {State::NotStarted, {}, nullptr};
    }
    // What a block finds in shared memory is not what it left there: not a number in f32 and bf16.
    const Kernel &kernel = *next.kernel;
    memset(kernel.shared_memory() - kernel.shared_offset, 0xff, kernel.shared_bytes);
}

void Runner::fiber_body(void *fiber) { ((Fiber *)fiber)->runner->run_threads(*(Fiber *)fiber); }

void Runner::run_threads(Fiber &fiber) {
    for (;;) {
        run_kernel();
        running->state = State::Returned;
        returned++;
        if (returned == launch->threads) {
            idle.push_back(&fiber);
            switch_fiber(fiber.suspended, outside);
            continue;
        }
        Thread &next = *next_thread();
        if (next.fiber) {
            idle.push_back(&fiber);
            go_on_with(next, fiber);
        } else {
            next.fiber = &fiber;
            choose(next);
        }
    }
}

void Runner::run_kernel() { launch->kernel->code(launch->problems, launch->first, launch->count); }

// The one that goes on when `running` cannot: of its own warp as long as there is one.
Thread *Runner::next_thread() {
    unsigned count = warps();
    unsigned w = running ? number(*running) / LANES : backwards ? count - 1 : 0;
    for (unsigned i = 0; i < count; i++) {
        if (warp[w].ready) {
            return &threads[w * LANES + next_lane(warp[w].ready)];
        }
        if (backwards) {
            w = w > 0 ? w - 1 : count - 1;
        } else {
            w = w + 1 < count ? w + 1 : 0;
        }
    }
    fail_stuck();
}

unsigned Runner::next_lane(uint32_t ready) const {
    return backwards ? LANES - 1 - (unsigned)__builtin_clz(ready) : (unsigned)__builtin_ctz(ready);
}

void Runner::choose(Thread &thread) {
    unsigned i = number(thread);
    warp[i / LANES].ready &= ~(1u << i % LANES);
    thread.state = State::Running;
    running = &thread;
    here.thread.x = i;
}

void Runner::go_on_with(Thread &thread, Fiber &from) {
    if (!thread.fiber) {
        thread.fiber = idle.back();
        idle.pop_back();
    }
    choose(thread);
    switch_fiber(from.suspended, thread.fiber->suspended);
}

void Runner::suspend(State state, Site site) {
    Thread &thread = *running;
    thread.state = state;
    thread.site = site;
    go_on_with(*next_thread(), *thread.fiber);
}

void Runner::wait_for_block(Site site) {
    if (at_barrier == 0) {
        barrier = site;
    } else if (!same(barrier, site)) {
        fail_diverged("the block", site, barrier);
    }
    at_barrier++;
    if (at_barrier < launch->threads) {
        suspend(State::AtBarrier, site);
        return;
    }
    at_barrier = 0;
    for (unsigned w = 0; w < warps(); w++) {
        warp[w].ready = ALL_LANES;
    }
    choose(*running);
}

unsigned long long Runner::wait_for_warp(uint32_t mask, unsigned long long value, unsigned source, Site site) {
    if (mask != ALL_LANES) {
        fail("thread %u names only the lanes %08x (%s:%u)", number(*running), mask, site.file, site.line);
    }
    Warp &mine = warp[number(*running) / LANES];
    unsigned lane = number(*running) % LANES;
    const unsigned long long *values = mine.values[mine.round % 2];
    mine.values[mine.round % 2][lane] = value;
    if (mine.in_exchange == 0) {
        mine.site = site;
    } else if (!same(mine.site, site)) {
        fail_diverged("a warp", site, mine.site);
    }
    mine.in_exchange |= 1u << lane;
    if (mine.in_exchange != ALL_LANES) {
        suspend(State::InExchange, site);
    } else {
        mine.in_exchange = 0;
        mine.ready = ALL_LANES & ~(1u << lane);
        mine.round++;
    }
    return values[source];
}

void Runner::fail(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "stand-in: kernel %s, block %u of %u: %s\n", launch->kernel->name.c_str(), here.block.x, launch->blocks, text);
    abort();
}

void Runner::fail_diverged(const char *where, Site here, Site there) {
    fail("threads of %s wait at different places: thread %u at %s:%u, others at %s:%u", where, number(*running), here.file, here.line,
         there.file, there.line);
}

// Nobody can go on although not all have returned: those that wait do so for some that are elsewhere.
void Runner::fail_stuck() {
    std::string text;
    for (State state : {State::AtBarrier, State::InExchange, State::Returned}) {
        unsigned count = 0;
        const Thread *example = nullptr;
        for (unsigned i = 0; i < launch->threads; i++) {
            if (threads[i].state == state) {
                example = count++ ? example : &threads[i];
            }
        }
        if (count == 0) {
            continue;
        }
        text += (text.empty() ? "" : ", ") + std::to_string(count);
        if (state == State::Returned) {
            text += " have returned";
        } else {
            text += state == State::AtBarrier ? " wait for the block at " : " wait for their warp at ";
            text += std::string(example->site.file) + ":" + std::to_string(example->site.line);
        }
        text += " (thread " + std::to_string(number(*example)) + ")";
    }
    fail("threads wait for others that do not come: %s", text.c_str());
}

// Invalid accesses and instructions: says where, and leaves the rest to whoever handled the signal before.
struct sigaction handled_before[NSIG];

void describe_fault(int signal, const void *address, char *text, size_t bytes) {
    if (signal == SIGFPE) {
        snprintf(text, bytes, "an integer division that has no result");
    } else if (signal == SIGILL) {
        snprintf(text, bytes, "an invalid instruction");
    } else if (runner->is_stack(address)) {
        snprintf(text, bytes, "its local variables do not fit on the stack of the stand-in");
    } else {
        describe_address(address, text, bytes);
    }
}

void on_fault(int signal, siginfo_t *info, void *) {
    const Launch *launch = runner ? runner->current_launch() : nullptr;
    if (launch) {
        char text[640], fault[256];
        describe_fault(signal, info->si_addr, fault, sizeof fault);
        int length = snprintf(text, sizeof text, "stand-in: kernel %s, block %u of %u, thread %u: %s\n", launch->kernel->name.c_str(),
                              place.block.x, launch->blocks, place.thread.x, fault);
        if (write(STDERR_FILENO, text, (size_t)length) < 0) {
            _exit(1);
        }
    }
    // The instruction runs, and fails, once more.
    sigaction(signal, &handled_before[signal], nullptr);
}

void report_faults() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
        sigaction(signal, &action, &handled_before[signal]);
    }
}

// A fault may be that a stack is full, so its handler needs another.
void give_handler_a_stack() {
    constexpr size_t BYTES = 64 << 10;
    stack_t stack = {};
    stack.ss_sp = malloc(BYTES);
    stack.ss_size = BYTES;
    sigaltstack(&stack, nullptr);
}

// The hardware threads, each with a runner, which share the blocks of a launch.
class Pool {
  public:
    Pool() {
        report_faults();
        for (unsigned i = 0; i < hardware_threads(); i++) {
            std::thread([this] { work(); }).detach();
        }
    }

    void run(const Launch &next) {
        std::unique_lock<std::mutex> lock(mutex);
        launch = &next;
        started_blocks = 0;
        unsigned helpers = next.blocks < hardware_threads() ? next.blocks : hardware_threads();
        wanted = busy = helpers;
        for (unsigned i = 0; i < helpers; i++) {
            begun.notify_one();
        }
        ended.wait(lock, [this] { return busy == 0; });
    }

  private:
    void work() {
        give_handler_a_stack();
        runner = new Runner;
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            begun.wait(lock, [this] { return wanted > 0; });
            wanted--;
            lock.unlock();
            share_blocks(*launch);
            lock.lock();
            if (--busy == 0) {
                ended.notify_one();
            }
        }
    }

    // From the last to the first: a block that needs what an earlier one writes, in the same launch, does not find it.
    void share_blocks(const Launch &launch) {
        for (unsigned i; (i = started_blocks++) < launch.blocks;) {
            runner->run_block(launch, launch.blocks - 1 - i);
        }
    }

    std::mutex mutex;
    std::condition_variable begun, ended;
    const Launch *launch = nullptr;
    unsigned wanted = 0, busy = 0;
    std::atomic<unsigned> started_blocks = 0;
};

unsigned count_hardware_threads() {
    const char *wish = getenv("ADWP_STANDIN_THREADS");
    unsigned count = wish ? (unsigned)strtoul(wish, nullptr, 10) : std::thread::hardware_concurrency();
    return count < 1 ? 1 : count > MAX_HARDWARE_THREADS ? MAX_HARDWARE_THREADS : count;
}

} // namespace

unsigned hardware_threads() {
    static unsigned count = count_hardware_threads();
    return count;
}

void run(const Launch &launch) {
    // Never destroyed: its threads wait for work until the process ends.
    static Pool &pool = *new Pool;
    pool.run(launch);
}

void wait_for_block(Site site) { runner->wait_for_block(site); }

unsigned long long wait_for_warp(unsigned mask, unsigned long long value, unsigned source, Site site) {
    return runner->wait_for_warp(mask, value, source, site);
}

} // namespace standin
