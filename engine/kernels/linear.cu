// Fully connected layers: x [batch, inputs], weight [outputs, inputs]. With a batch of one they are
// bound by the weight, which is read or written once, in runs of whole cache lines.
#include "common.cuh"

// Rows of the weight that a thread reads at once; of problems/linear.rs too.
constexpr int ROWS = 8;

struct LinearForward {
    // Lanes that share the product of one row, a power of two; ROWS · THREADS / lanes outputs are
    // those of a block. `lanes()` of problems/linear.rs.
    Size lanes;
    Size batch, inputs, outputs;
    Tensor x;
    const float *weight, *bias;
    Tensor y;
};

template <int N> __device__ void linear_rows(const LinearForward &problem, int block) {
    const Tensor x = problem.x;
    const float *weight = problem.weight;
    const int lanes = (int)problem.lanes, inputs = (int)problem.inputs, outputs = (int)problem.outputs;
    const int teams = THREADS / lanes, team = (int)threadIdx.x / lanes, lane = (int)threadIdx.x % lanes;
    const int blocks = (outputs + ROWS * teams - 1) / (ROWS * teams);
    const int n = block / blocks, start = block % blocks * ROWS * teams + team;
    float sum[ROWS] = {};
    for (int i = lane * N; i < inputs; i += lanes * N) {
        const Size at = (Size)n * inputs + i;
        const Pack<N> values = x.half ? load_pack<N>((const unsigned short *)x.data + at) : load_pack<N>((const float *)x.data + at);
        Pack<N> weights[ROWS];
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            // Behind the last row that one is read again; its sum is not used.
            int row = start + k * teams;
            weights[k] = load_pack<N>(weight + (Size)(row < outputs ? row : outputs - 1) * inputs + i);
        }
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
#pragma unroll
            for (int j = 0; j < N; j++) {
                sum[k] = fmaf(values.at[j], weights[k].at[j], sum[k]);
            }
        }
    }
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            sum[k] += __shfl_xor_sync(ALL_LANES, sum[k], offset);
        }
    }
    if (lane == 0) {
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            int row = start + k * teams;
            if (row < outputs) {
                store(problem.y, (Size)n * outputs + row, problem.bias ? sum[k] + problem.bias[row] : sum[k]);
            }
        }
    }
}

MEMORY_KERNEL linear_forward(const LinearForward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.inputs % 4 == 0 && packable(problem.x) && packable(problem.weight)) {
        linear_rows<4>(problem, block);
    } else {
        linear_rows<1>(problem, block);
    }
}

// Inputs whose gradient a block computes, for one sample; `COLUMNS` of problems/linear.rs. Few,
// since the sum runs over all outputs.
constexpr int COLUMNS = 16;

struct LinearBackwardInput {
    Size batch, inputs, outputs;
    Tensor dy;
    const float *weight;
    Tensor dx;
};

// This thread's share of the sums for N inputs from `column` on: those over every `step`-th output.
template <int N> __device__ Pack<N> column_sums(const LinearBackwardInput &problem, int n, int column, int from, int step) {
    const Tensor dy = problem.dy;
    const float *weight = problem.weight + column;
    const int inputs = (int)problem.inputs, outputs = (int)problem.outputs;
    Pack<N> sum = {};
    for (int start = from; start < outputs; start += step * ROWS) {
        Pack<N> weights[ROWS];
        Pack<1> gradient[ROWS];
        Size at[ROWS];
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            // Behind the last output the first of these is read again, and not used.
            int o = start + k * step < outputs ? start + k * step : start;
            weights[k] = load_pack<N>(weight + (Size)o * inputs);
            at[k] = (Size)n * outputs + o;
        }
        load_packs(dy, at, gradient);
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            if (start + k * step < outputs) {
#pragma unroll
                for (int j = 0; j < N; j++) {
                    sum.at[j] = fmaf(gradient[k].at[0], weights[k].at[j], sum.at[j]);
                }
            }
        }
    }
    return sum;
}

template <int N> __device__ void linear_columns(const LinearBackwardInput &problem, int block) {
    constexpr int LANES = COLUMNS / N, GROUPS = THREADS / LANES;
    __shared__ float sums[GROUPS][COLUMNS];
    const int inputs = (int)problem.inputs, blocks = (inputs + COLUMNS - 1) / COLUMNS;
    const int n = block / blocks, start = block % blocks * COLUMNS;
    const int group = (int)threadIdx.x / LANES, column = (int)threadIdx.x % LANES * N;
    const bool inside = start + column < inputs;
    const Pack<N> sum = inside ? column_sums<N>(problem, n, start + column, group, GROUPS) : Pack<N>{};
#pragma unroll
    for (int j = 0; j < N; j++) {
        sums[group][column + j] = sum.at[j];
    }
    __syncthreads();
    const int i = start + (int)threadIdx.x;
    if (threadIdx.x < COLUMNS && i < inputs) {
        float total = 0.0f;
        for (int other = 0; other < GROUPS; other++) {
            total += sums[other][threadIdx.x];
        }
        store(problem.dx, (Size)n * inputs + i, total);
    }
}

MEMORY_KERNEL linear_backward_input(const LinearBackwardInput *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.inputs % 4 == 0 && packable(problem.weight)) {
        linear_columns<4>(problem, block);
    } else {
        linear_columns<1>(problem, block);
    }
}

struct LinearBackwardWeight {
    Size batch, inputs, outputs;
    Tensor x, dy;
    float *weight_gradient;
};

template <int N> __device__ void weight_gradient_chunk(const LinearBackwardWeight &problem, int block) {
    const Tensor x = problem.x, dy = problem.dy, weight_gradient = {problem.weight_gradient, 0};
    const int batch = (int)problem.batch, inputs = (int)problem.inputs, outputs = (int)problem.outputs;
    const Stretch stretch = chunk_of(block, CHUNK, (Size)outputs * inputs, outputs, inputs);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> sum[PACKS] = {};
        // Packs of several samples at once would not fit into registers.
#pragma unroll 1
        for (int n = 0; n < batch; n++) {
            Size at[PACKS];
#pragma unroll
            for (int k = 0; k < PACKS; k++) {
                at[k] = (Size)n * inputs + packs.p[k];
            }
            Pack<N> values[PACKS];
            load_packs(x, at, values);
#pragma unroll
            for (int k = 0; k < PACKS; k++) {
                float gradient = load(dy, (Size)n * outputs + packs.c[k]);
#pragma unroll
                for (int j = 0; j < N; j++) {
                    sum[k].at[j] = fmaf(gradient, values[k].at[j], sum[k].at[j]);
                }
            }
        }
        store_packs(weight_gradient, packs.at, packs.count, sum);
    }
}

MEMORY_KERNEL linear_backward_weight(const LinearBackwardWeight *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.inputs % 4 == 0 && packable(problem.x) && packable(problem.weight_gradient)) {
        weight_gradient_chunk<4>(problem, block);
    } else {
        weight_gradient_chunk<1>(problem, block);
    }
}

struct LinearBackwardBias {
    Size batch, outputs;
    Tensor dy;
    float *bias_gradient;
};

MEMORY_KERNEL linear_backward_bias(const LinearBackwardBias *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    const int o = block * THREADS + (int)threadIdx.x, outputs = (int)problem.outputs;
    if (o < outputs) {
        float sum = 0.0f;
        for (int n = 0; n < (int)problem.batch; n++) {
            sum += load(problem.dy, (Size)n * outputs + o);
        }
        problem.bias_gradient[o] = sum;
    }
}
