// Runs kernels on the host: the blocks of a launch on several hardware threads, the threads of a block as fibers.
#pragma once

#include <cstddef>
#include <string>

namespace standin {

// Every kernel is compiled for blocks of no more threads.
constexpr unsigned MAX_THREADS = 256;

using KernelCode = void (*)(const void *problems, const unsigned *first, unsigned count);

struct Kernel {
    std::string name;
    KernelCode code;
    // The shared memory of the kernel's source file for the hardware thread that asks: a variable in it, how far that lies from the
    // beginning, and the bytes of all.
    char *(*shared_memory)();
    size_t shared_offset, shared_bytes;
};

struct Launch {
    const Kernel *kernel;
    unsigned blocks, threads;
    const void *problems;
    const unsigned *first;
    unsigned count;
};

// Returns when the launch is done. One at a time. The process ends, with a message that names kernel and block, where threads wait for
// others that will not come, and where they touch what they must not.
void run(const Launch &launch);

// How many hardware threads run blocks.
unsigned hardware_threads();

// Writes what lies at or near an address, for messages about faults; implemented by whoever gives out memory.
void describe_address(const void *address, char *text, size_t bytes);

} // namespace standin
