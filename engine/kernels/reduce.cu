// Adds up what blocks have summed each for itself.
#include "common.cuh"

struct Reduce {
    const float *partial;
    Size chunks, elements;
    float *to;
};

namespace {

// Chunks that are loaded before the first is added, as each waits for memory.
constexpr int AT_ONCE = 16;

} // namespace

// A thread has one element. Chunks are added in ascending order, whatever their number.
KERNEL reduce(const Reduce *problems, const unsigned *first, unsigned count) {
    auto work = find_work(problems, first, count);
    const Reduce &problem = work.problem;
    Size elements = problem.elements, element = (Size)work.block * THREADS + threadIdx.x;
    int chunks = (int)problem.chunks;
    if (element >= elements) {
        return;
    }
    const float *from = problem.partial + element;
    float sum = 0.0f;
    int chunk = 0;
    for (; chunk + AT_ONCE <= chunks; chunk += AT_ONCE) {
        float values[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            values[i] = from[(chunk + i) * elements];
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            sum += values[i];
        }
    }
    for (; chunk < chunks; chunk++) {
        sum += from[chunk * elements];
    }
    problem.to[element] = sum;
}
