// Kernels that show whether the stand-in runs kernels as a GPU does. Each writes what the self-test
// then compares; those named faulty_* must be caught.
#include "common.cuh"

struct Sum {
    const float *x;
    float *out;
    Size n;
};

// Sums of parts of x, one for each block of a problem.
KERNEL block_sums(const Sum *problems, const unsigned *first, unsigned count) {
    __shared__ float scratch[THREADS / WARP];
    auto [problem, block] = find_work(problems, first, count);
    Size i = (Size)block * THREADS + threadIdx.x;
    float sum = block_sum(i < problem.n ? problem.x[i] : 0.0f, scratch);
    if (threadIdx.x == 0) {
        problem.out[block] = sum;
    }
}

struct Words {
    unsigned *out;
};

// Each thread hands a number on to the next, many times.
KERNEL rotate_in_block(const Words *problems, const unsigned *first, unsigned count) {
    __shared__ unsigned places[THREADS];
    unsigned *out = find_work(problems, first, count).problem.out;
    unsigned value = threadIdx.x;
    for (int round = 0; round < 1000; round++) {
        places[threadIdx.x] = value;
        __syncthreads();
        value = places[(threadIdx.x + 1) % THREADS];
        __syncthreads();
    }
    out[blockIdx.x * THREADS + threadIdx.x] = value;
}

// All shuffles, in warps that shuffle unequally often, with all types.
KERNEL shuffles(const Words *problems, const unsigned *first, unsigned count) {
    unsigned *out = find_work(problems, first, count).problem.out + threadIdx.x * 5;
    unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    unsigned value = threadIdx.x;
    for (unsigned round = 0; round <= warp; round++) {
        value = __shfl_sync(ALL_LANES, value, (lane + 1) % WARP);
    }
    out[0] = value;
    out[1] = (unsigned)__shfl_xor_sync(ALL_LANES, (int)threadIdx.x, 5);
    out[2] = (unsigned)__shfl_down_sync(ALL_LANES, (float)threadIdx.x, 3);
    out[3] = (unsigned)__shfl_sync(ALL_LANES, 1.0e9 + threadIdx.x, 7);
    __syncwarp();
    // Lanes that wait together need not have come the same way.
    if (lane % 2) {
        value += 1000;
    }
    out[4] = __shfl_xor_sync(ALL_LANES, value, 1);
}

// What shared memory holds before anything is written to it; it leaves something else there.
KERNEL shared_as_found(const Words *problems, const unsigned *first, unsigned count) {
    __shared__ unsigned places[3][THREADS];
    unsigned *out = find_work(problems, first, count).problem.out;
    out[blockIdx.x * THREADS + threadIdx.x] = places[blockIdx.x % 3][threadIdx.x];
    for (int row = 0; row < 3; row++) {
        places[row][threadIdx.x] = threadIdx.x;
    }
}

KERNEL increment(const Words *problems, const unsigned *first, unsigned count) {
    find_work(problems, first, count).problem.out[blockIdx.x * blockDim.x + threadIdx.x]++;
}

// The same name as a function of the C library.
KERNEL send(const Words *problems, const unsigned *first, unsigned count) {
    find_work(problems, first, count).problem.out[threadIdx.x] = gridDim.x;
}

// For timing: nothing but waiting.
KERNEL many_barriers(const Words *, const unsigned *, unsigned) {
    for (int round = 0; round < 1000; round++) {
        __syncthreads();
    }
}

KERNEL many_shuffles(const Words *problems, const unsigned *, unsigned) {
    unsigned value = threadIdx.x;
    for (int round = 0; round < 1000; round++) {
        value += __shfl_xor_sync(ALL_LANES, value, 1);
    }
    problems->out[threadIdx.x] = value;
}

KERNEL faulty_return_before_barrier(const Words *, const unsigned *, unsigned) {
    if (threadIdx.x == 7) {
        return;
    }
    __syncthreads();
}

KERNEL faulty_two_barriers(const Words *, const unsigned *, unsigned) {
    if (threadIdx.x < WARP) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

KERNEL faulty_part_of_warp(const Words *problems, const unsigned *, unsigned) {
    if (threadIdx.x % WARP < 16) {
        problems->out[threadIdx.x] = __shfl_xor_sync(ALL_LANES, threadIdx.x, 1);
    }
    __syncthreads();
}

KERNEL faulty_two_shuffles(const Words *problems, const unsigned *, unsigned) {
    unsigned value = threadIdx.x;
    if (threadIdx.x % WARP < 16) {
        value = __shfl_xor_sync(ALL_LANES, value, 1);
    } else {
        value = __shfl_xor_sync(ALL_LANES, value, 1);
    }
    problems->out[threadIdx.x] = value;
}

KERNEL faulty_mask(const Words *problems, const unsigned *, unsigned) {
    problems->out[threadIdx.x] = __shfl_xor_sync(0xffffu, threadIdx.x, 1);
}

// Without a barrier between writing and reading, in either direction; the blocks of a launch run
// their threads in both orders.
KERNEL missing_barrier(const Words *problems, const unsigned *first, unsigned count) {
    __shared__ unsigned place[2];
    unsigned *out = find_work(problems, first, count).problem.out;
    if (threadIdx.x == 0) {
        place[0] = 1;
    }
    if (threadIdx.x == THREADS - 1) {
        place[1] = 1;
    }
    unsigned found = place[0] == 1 && place[1] == 1;
    out[blockIdx.x * THREADS + threadIdx.x] = found;
}

KERNEL faulty_far_write(const Words *problems, const unsigned *, unsigned) { problems->out[1 << 10] = threadIdx.x; }

KERNEL faulty_near_write(const Words *problems, const unsigned *, unsigned) { problems->out[10] = threadIdx.x; }

KERNEL faulty_deep_stack(const Words *problems, const unsigned *, unsigned) {
    volatile unsigned large[40000];
    for (unsigned i = 0; i < 40000; i++) {
        large[39999 - i] = i;
    }
    problems->out[0] = large[threadIdx.x];
}
