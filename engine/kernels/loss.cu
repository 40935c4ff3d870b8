// Softmax and cross-entropy. A warp works on one row.
#include "common.cuh"

constexpr int WARPS = THREADS / WARP;

__device__ inline float lowest() { return __uint_as_float(0xff800000u); }

__device__ inline float not_a_number() { return __uint_as_float(0x7fc00000u); }

__device__ inline float warp_max(float value) {
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, offset));
    }
    return value;
}

// A row of a matrix. Rows behind the last are read as that one, so that all lanes arrive wherever
// they exchange values.
struct Row {
    Tensor tensor;
    Size start;
    int width;

    __device__ float at(int i) const { return load(tensor, start + i); }
};

__device__ inline Row row_of(const Tensor &tensor, int row, int rows, int width) {
    return {tensor, (Size)(row < rows ? row : rows - 1) * width, width};
}

// The largest element, and the sum of the exponentials of the distances from it.
struct Normalizer {
    float max, sum;

    __device__ float softmax(float x) const { return expf(x - max) / sum; }
};

__device__ inline Normalizer normalizer_of(const Row &x) {
    float max = lowest(), sum = 0.0f;
    for (int i = (int)threadIdx.x % WARP; i < x.width; i += WARP) {
        max = fmaxf(max, x.at(i));
    }
    max = warp_max(max);
    for (int i = (int)threadIdx.x % WARP; i < x.width; i += WARP) {
        sum += expf(x.at(i) - max);
    }
    return {max, warp_sum(sum)};
}

__device__ inline int row_of_warp(int block) { return block * WARPS + (int)threadIdx.x / WARP; }

struct SoftmaxForward {
    Size rows, width;
    Tensor x, y;
};

KERNEL softmax_forward(const SoftmaxForward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const int row = row_of_warp(block), rows = (int)problem.rows;
    const Tensor y = problem.y;
    const Row x = row_of(problem.x, row, rows, (int)problem.width);
    const Normalizer normalizer = normalizer_of(x);
    if (row < rows) {
        for (int i = (int)threadIdx.x % WARP; i < x.width; i += WARP) {
            store(y, x.start + i, normalizer.softmax(x.at(i)));
        }
    }
}

struct SoftmaxBackward {
    Size rows, width;
    Tensor y, dy, dx;
};

KERNEL softmax_backward(const SoftmaxBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const int row = row_of_warp(block), rows = (int)problem.rows;
    const Tensor dx = problem.dx;
    const Row y = row_of(problem.y, row, rows, (int)problem.width), dy = row_of(problem.dy, row, rows, (int)problem.width);
    float mean = 0.0f;
    for (int i = (int)threadIdx.x % WARP; i < y.width; i += WARP) {
        mean = fmaf(y.at(i), dy.at(i), mean);
    }
    mean = warp_sum(mean);
    if (row < rows) {
        for (int i = (int)threadIdx.x % WARP; i < y.width; i += WARP) {
            store(dx, y.start + i, y.at(i) * (dy.at(i) - mean));
        }
    }
}

// The class that a label names, or -1: the loss is then not a number, which the training loop
// reports.
__device__ inline int class_of(float label, int classes) {
    bool names = label >= 0.0f && label < (float)classes && label == (float)(int)label;
    return names ? (int)label : -1;
}

struct CrossEntropyForward {
    Size batch, classes;
    double smoothing;
    Tensor logits;
    const float *labels;
    float *loss;
};

// (1 - smoothing) · (-log p[label]) + smoothing · mean over classes of -log p, from distances to
// the largest logit.
__device__ float sample_loss(const Row &logits, float label, float smoothing) {
    const Normalizer normalizer = normalizer_of(logits);
    float distances = 0.0f;
    for (int i = (int)threadIdx.x % WARP; i < logits.width; i += WARP) {
        distances += normalizer.max - logits.at(i);
    }
    const float mean = warp_sum(distances) / (float)logits.width;
    const int named = class_of(label, logits.width);
    const float target = named < 0 ? not_a_number() : normalizer.max - logits.at(named);
    return logf(normalizer.sum) + (1.0f - smoothing) * target + smoothing * mean;
}

KERNEL cross_entropy_forward(const CrossEntropyForward *problems, const unsigned *first, unsigned count) {
    const CrossEntropyForward &problem = find_work(problems, first, count).problem;
    __shared__ double losses[WARPS];
    const int batch = (int)problem.batch, classes = (int)problem.classes;
    const float smoothing = (float)problem.smoothing;
    double sum = 0.0;
    for (int n = row_of_warp(0); n < batch; n += WARPS) {
        sum += sample_loss(row_of(problem.logits, n, batch, classes), problem.labels[n], smoothing);
    }
    if (threadIdx.x % WARP == 0) {
        losses[threadIdx.x / WARP] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0.0;
        for (int warp = 0; warp < WARPS; warp++) {
            total += losses[warp];
        }
        problem.loss[0] = (float)(total / batch);
    }
}

struct CrossEntropyBackward {
    Size batch, classes;
    double smoothing;
    Tensor logits;
    const float *labels, *loss_gradient;
    Tensor dx;
};

KERNEL cross_entropy_backward(const CrossEntropyBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const int n = row_of_warp(block), batch = (int)problem.batch, classes = (int)problem.classes;
    const Tensor dx = problem.dx;
    const Row logits = row_of(problem.logits, n, batch, classes);
    const Normalizer normalizer = normalizer_of(logits);
    if (n < batch) {
        const float smoothing = (float)problem.smoothing, even = smoothing / (float)classes;
        const float scale = problem.loss_gradient[0] / (float)batch;
        const int named = class_of(problem.labels[n], classes);
        for (int i = (int)threadIdx.x % WARP; i < classes; i += WARP) {
            float target = named < 0 ? not_a_number() : i == named ? even + (1.0f - smoothing) : even;
            store(dx, logits.start + i, scale * (normalizer.softmax(logits.at(i)) - target));
        }
    }
}
