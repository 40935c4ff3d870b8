// What a kernel on the host is told about its threads, and how they wait for each other.
#pragma once

// The runner exports it to the libraries of kernels.
#pragma GCC visibility push(default)
namespace standin {

struct Extent {
    unsigned x;
};

// Where in its launch the thread is that runs now.
struct Place {
    Extent thread, block, block_size, grid_size;
};

extern constinit thread_local Place place;

// The line of a kernel at which a thread waits for others.
struct Site {
    const char *file;
    unsigned line;
};

// Return once all threads of the block, or all lanes of the warp, are at this site.
void wait_for_block(Site site);
// `source` is a lane of the same warp; the value that it came with is returned.
unsigned long long wait_for_warp(unsigned mask, unsigned long long value, unsigned source, Site site);

constexpr unsigned LANES = 32;

} // namespace standin
#pragma GCC visibility pop
