// Kernels that move elements without weighing them.
#include "common.cuh"

// Planes [height, width] without their first rows and columns.
struct Crop {
    Size planes, height, width, top, left;
};

struct CropForward {
    Crop crop;
    Tensor x, y;
};

MEMORY_KERNEL crop_forward(const CropForward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const Tensor x = problem.x, y = problem.y;
    const int width = (int)problem.crop.width, top = (int)problem.crop.top, left = (int)problem.crop.left;
    const int out_width = width - left, out_plane = ((int)problem.crop.height - top) * out_width;
    const Size plane = problem.crop.height * width;
    const Stretch stretch = chunk_of(block, CHUNK, problem.crop.planes * out_plane, (int)problem.crop.planes, out_plane);
    for (int round = 0; round < rounds_of<1>(stretch.length); round++) {
        const Packs<1> packs = packs_of<1>(stretch, round);
        Size from[PACKS];
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            int row = packs.p[k] / out_width, column = packs.p[k] - row * out_width;
            from[k] = packs.c[k] * plane + (row + top) * width + column + left;
        }
        Pack<1> values[PACKS];
        load_packs(x, from, values);
        store_packs(y, packs.at, packs.count, values);
    }
}

struct CropBackward {
    Crop crop;
    Tensor dy, dx;
};

MEMORY_KERNEL crop_backward(const CropBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const Tensor dy = problem.dy, dx = problem.dx;
    const int height = (int)problem.crop.height, width = (int)problem.crop.width;
    const int top = (int)problem.crop.top, left = (int)problem.crop.left, out_width = width - left;
    const Size out_plane = (Size)(height - top) * out_width;
    const Stretch stretch = chunk_of(block, CHUNK, problem.crop.planes * height * width, (int)problem.crop.planes, height * width);
    for (int round = 0; round < rounds_of<1>(stretch.length); round++) {
        const Packs<1> packs = packs_of<1>(stretch, round);
        Pack<1> values[PACKS];
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            int row = packs.p[k] / width, column = packs.p[k] - row * width;
            bool kept = row >= top && column >= left;
            values[k].at[0] = kept ? load(dy, packs.c[k] * out_plane + (row - top) * out_width + column - left) : 0.0f;
        }
        store_packs(dx, packs.at, packs.count, values);
    }
}

// Channels `from` to `from + count` of x [batch, channels, plane] after they were shuffled by groups:
// channel s of these is the (s / groups)th of group s % groups.
struct Taken {
    Size batch, channels, plane, groups, from, count;
};

struct ChannelsForward {
    Taken taken;
    Tensor x, y;
};

MEMORY_KERNEL channels_forward(const ChannelsForward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const Tensor x = problem.x, y = problem.y;
    const Taken taken = problem.taken;
    const int groups = (int)taken.groups, each = (int)(taken.channels / taken.groups);
    const Size elements = taken.batch * taken.count * taken.plane;
    const Stretch stretch = chunk_of(block, CHUNK, elements, (int)taken.count, (int)taken.plane);
    for (int round = 0; round < rounds_of<1>(stretch.length); round++) {
        const Packs<1> packs = packs_of<1>(stretch, round);
        Size from[PACKS];
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            int shuffled = packs.c[k] + (int)taken.from, channel = shuffled % groups * each + shuffled / groups;
            from[k] = (packs.n[k] * taken.channels + channel) * taken.plane + packs.p[k];
        }
        Pack<1> values[PACKS];
        load_packs(x, from, values);
        store_packs(y, packs.at, packs.count, values);
    }
}

struct ChannelsBackward {
    Taken taken;
    Tensor dy, dx;
};

MEMORY_KERNEL channels_backward(const ChannelsBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const Tensor dy = problem.dy, dx = problem.dx;
    const Taken taken = problem.taken;
    const int groups = (int)taken.groups, channels = (int)taken.channels, each = channels / groups;
    const Size elements = taken.batch * taken.channels * taken.plane;
    const Stretch stretch = chunk_of(block, CHUNK, elements, channels, (int)taken.plane);
    for (int round = 0; round < rounds_of<1>(stretch.length); round++) {
        const Packs<1> packs = packs_of<1>(stretch, round);
        Pack<1> values[PACKS];
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            int channel = packs.c[k], to = channel % each * groups + channel / each - (int)taken.from;
            bool kept = to >= 0 && to < (int)taken.count;
            values[k].at[0] = kept ? load(dy, (packs.n[k] * taken.count + to) * taken.plane + packs.p[k]) : 0.0f;
        }
        store_packs(dx, packs.at, packs.count, values);
    }
}

struct SelectForward {
    Size index;
    Tensor x;
    float *y;
};

MEMORY_KERNEL select_forward(const SelectForward *problems, const unsigned *first, unsigned count) {
    const SelectForward &problem = find_work(problems, first, count).problem;
    if (threadIdx.x == 0) {
        problem.y[0] = load(problem.x, problem.index);
    }
}

struct SelectBackward {
    Size elements, index;
    const float *dy;
    Tensor dx;
};

MEMORY_KERNEL select_backward(const SelectBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const Tensor dx = problem.dx;
    const Size elements = problem.elements, index = problem.index;
    const float dy = problem.dy[0];
    for (int i = (int)threadIdx.x; i < CHUNK; i += THREADS) {
        Size at = (Size)block * CHUNK + i;
        if (at < elements) {
            store(dx, at, at == index ? dy : 0.0f);
        }
    }
}
