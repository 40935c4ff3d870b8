// Kernels that treat every element alike, and the sums that belong to them.
#include "common.cuh"

// `MAX_TERMS` of problems/elementwise.rs.
constexpr int MAX_TERMS = 8;

// Elements that a block of `products` sums up; `PRODUCTS_CHUNK` of problems/elementwise.rs.
constexpr int PRODUCTS_CHUNK = 4 * CHUNK;

struct Term {
    Values values;
    const float *scale;
    double constant;
};

struct Combine {
    Tensor y;
    Size batch, channels, plane, y_stride, y_offset, accumulate, count;
    Term terms[MAX_TERMS];
};

template <int N> __device__ void add_term(const Term &term, const Packs<N> &packs, Pack<N> (&sum)[PACKS]) {
    const float weight = (float)term.constant * (term.scale ? term.scale[0] : 1.0f);
    Pack<N> x[PACKS];
    load_packs(term.values.x, packs.at, x);
    apply_values(term.values, packs, x);
    each_element<N>(PACKS, [&](int k, int j) { sum[k].at[j] = fmaf(weight, x[k].at[j], sum[k].at[j]); });
}

template <int N> __device__ void add_packs(const Tensor &tensor, const Size (&at)[PACKS], Pack<N> (&sum)[PACKS]) {
    Pack<N> there[PACKS];
    load_packs(tensor, at, there);
    each_element<N>(PACKS, [&](int k, int j) { sum[k].at[j] += there[k].at[j]; });
}

template <int N> __device__ void combine_chunk(const Combine &problem, int block) {
    const Size sample = problem.channels * problem.plane, gap = problem.y_stride - sample;
    const Stretch stretch = chunk_of(block, CHUNK, problem.batch * sample, (int)problem.channels, (int)problem.plane);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> sum[PACKS] = {};
        for (int term = 0; term < (int)problem.count; term++) {
            add_term(problem.terms[term], packs, sum);
        }
        Size at[PACKS];
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            at[k] = packs.at[k] + packs.n[k] * gap + problem.y_offset;
        }
        if (problem.accumulate) {
            add_packs(problem.y, at, sum);
        }
        store_packs(problem.y, at, packs.count, sum);
    }
}

MEMORY_KERNEL combine(const Combine *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    bool packed = (problem.plane | problem.y_stride | problem.y_offset) % 4 == 0 && packable(problem.y);
    for (int term = 0; term < (int)problem.count; term++) {
        packed = packed && packable(problem.terms[term].values.x);
    }
    if (packed) {
        combine_chunk<4>(problem, block);
    } else {
        combine_chunk<1>(problem, block);
    }
}

struct Send {
    Tensor dx;
    Gradients dy;
    Size dy_stride, dy_offset;
    Values gate;
    Size batch, channels, plane;
};

// Zero where the ReLU of `gate` lets nothing through.
template <int N> __device__ void apply_gate(const Values &gate, const Packs<N> &packs, Pack<N> (&dy)[PACKS]) {
    Pack<N> x[PACKS];
    load_packs(gate.x, packs.at, x);
    each_in_plane(gate, packs, [&](const Plane &plane, int k, int j) { dy[k].at[j] = plane.open(x[k].at[j]) ? dy[k].at[j] : 0.0f; });
}

template <int N> __device__ void send_chunk(const Send &problem, int block) {
    const Tensor dx = problem.dx;
    const Size sample = problem.channels * problem.plane, gap = problem.dy_stride - sample;
    const Stretch stretch = chunk_of(block, CHUNK, problem.batch * sample, (int)problem.channels, (int)problem.plane);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Size at[PACKS];
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            at[k] = packs.at[k] + packs.n[k] * gap + problem.dy_offset;
        }
        Pack<N> dy[PACKS], x[PACKS] = {};
        load_packs(problem.dy.dy, at, dy);
        if (problem.dy.mean) {
            load_packs(problem.dy.x, packs.at, x);
        }
        apply_gradients(problem.dy, packs, x, dy);
        if (problem.gate.x.data) {
            apply_gate(problem.gate, packs, dy);
        }
        store_packs(dx, packs.at, packs.count, dy);
    }
}

KERNEL send(const Send *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    // What is not there has the address 0, which packs may have.
    if ((problem.plane | problem.dy_stride | problem.dy_offset) % 4 == 0 && packable(problem.dx) && packable(problem.dy.dy) &&
        packable(problem.dy.x) && packable(problem.gate.x)) {
        send_chunk<4>(problem, block);
    } else {
        send_chunk<1>(problem, block);
    }
}

// `number` of problems/elementwise.rs.
enum class Activation { RELU6, HARD_SIGMOID, HARD_SWISH, SIGMOID, SILU };

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Comparisons that what is not a number passes through.
__device__ inline float clamped(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

__device__ inline float activate_one(Activation activation, float x) {
    switch (activation) {
    case Activation::RELU6:
        return clamped(x, 0.0f, 6.0f);
    case Activation::HARD_SIGMOID:
        return clamped(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f);
    case Activation::HARD_SWISH:
        return x * (clamped(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f));
    case Activation::SIGMOID:
        return sigmoid(x);
    default:
        return x * sigmoid(x);
    }
}

__device__ inline float slope_of(Activation activation, float x) {
    const float y = activation == Activation::SIGMOID || activation == Activation::SILU ? sigmoid(x) : 0.0f;
    switch (activation) {
    case Activation::RELU6:
        return x > 0.0f && x < 6.0f ? 1.0f : 0.0f;
    case Activation::HARD_SIGMOID:
        return x > -3.0f && x < 3.0f ? 1.0f / 6.0f : 0.0f;
    case Activation::HARD_SWISH:
        return x >= 3.0f ? 1.0f : x > -3.0f ? fmaf(x, 2.0f, 3.0f) * (1.0f / 6.0f) : 0.0f;
    case Activation::SIGMOID:
        return y * (1.0f - y);
    default:
        return y * (1.0f + x * (1.0f - y));
    }
}

struct Activate {
    Tensor y;
    Values x;
    Size activation, batch, channels, plane;
};

template <int N> __device__ void activate_chunk(const Activate &problem, int block) {
    const Size elements = problem.batch * problem.channels * problem.plane;
    const Stretch stretch = chunk_of(block, CHUNK, elements, (int)problem.channels, (int)problem.plane);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> x[PACKS];
        load_packs(problem.x.x, packs.at, x);
        apply_values(problem.x, packs, x);
        each_element<N>(PACKS, [&](int k, int j) { x[k].at[j] = activate_one((Activation)problem.activation, x[k].at[j]); });
        store_packs(problem.y, packs.at, packs.count, x);
    }
}

KERNEL activate(const Activate *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.plane % 4 == 0 && packable(problem.y) && packable(problem.x.x)) {
        activate_chunk<4>(problem, block);
    } else {
        activate_chunk<1>(problem, block);
    }
}

struct ActivateBackward {
    Tensor dx, dy;
    Values x;
    Size activation, batch, channels, plane;
};

template <int N> __device__ void activate_backward_chunk(const ActivateBackward &problem, int block) {
    const Size elements = problem.batch * problem.channels * problem.plane;
    const Stretch stretch = chunk_of(block, CHUNK, elements, (int)problem.channels, (int)problem.plane);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> x[PACKS], dy[PACKS];
        load_packs(problem.x.x, packs.at, x);
        load_packs(problem.dy, packs.at, dy);
        apply_values(problem.x, packs, x);
        each_element<N>(PACKS, [&](int k, int j) { dy[k].at[j] *= slope_of((Activation)problem.activation, x[k].at[j]); });
        store_packs(problem.dx, packs.at, packs.count, dy);
    }
}

KERNEL activate_backward(const ActivateBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.plane % 4 == 0 && packable(problem.dx) && packable(problem.dy) && packable(problem.x.x)) {
        activate_backward_chunk<4>(problem, block);
    } else {
        activate_backward_chunk<1>(problem, block);
    }
}

struct Fill {
    float *to;
    Size elements;
    double value;
};

template <int N> __device__ void fill_chunk(const Fill &problem, int block) {
    const Tensor to = {problem.to, 0};
    const float value = (float)problem.value;
    const Stretch stretch = chunk_of(block, CHUNK, problem.elements, 1, 1);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> values[PACKS];
        each_element<N>(PACKS, [&](int k, int j) { values[k].at[j] = value; });
        store_packs(to, packs.at, packs.count, values);
    }
}

MEMORY_KERNEL fill(const Fill *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.elements % 4 == 0 && packable(problem.to)) {
        fill_chunk<4>(problem, block);
    } else {
        fill_chunk<1>(problem, block);
    }
}

// This thread's share of the sum of dy times `values` over a stretch.
template <int N> __device__ float inner_product(const Tensor &dy, const Values &values, const Stretch &stretch) {
    float sums[N] = {};
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> gradient[PACKS], x[PACKS];
        load_packs(dy, packs.at, gradient);
        load_packs(values.x, packs.at, x);
        apply_values(values, packs, x);
        each_element<N>(packs.count, [&](int k, int j) { sums[j] = fmaf(gradient[k].at[j], x[k].at[j], sums[j]); });
    }
    if constexpr (N == 4) {
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    } else {
        return sums[0];
    }
}

__device__ float block_inner_product(const Tensor &dy, const Values &values, const Stretch &stretch) {
    __shared__ float scratch[THREADS / WARP];
    bool packed = stretch.plane % 4 == 0 && packable(dy) && packable(values.x);
    float sum = packed ? inner_product<4>(dy, values, stretch) : inner_product<1>(dy, values, stretch);
    return block_sum(sum, scratch);
}

struct MaskBackward {
    Size batch, channels, plane;
    Values x;
    Tensor dy;
    float *mask_gradient;
};

MEMORY_KERNEL mask_backward(const MaskBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, n] = find_work(problems, first, count);
    const Size sample = problem.channels * problem.plane;
    const Stretch stretch = stretch_of(n * sample, sample, (int)problem.channels, (int)problem.plane);
    float sum = block_inner_product(problem.dy, problem.x, stretch);
    if (threadIdx.x == 0) {
        problem.mask_gradient[n] = sum;
    }
}

struct Products {
    Tensor dy;
    Values values;
    Size batch, channels, plane;
    float *partial;
};

MEMORY_KERNEL products(const Products *problems, const unsigned *first, unsigned count) {
    auto [problem, chunk] = find_work(problems, first, count);
    const Size elements = problem.batch * problem.channels * problem.plane;
    const Stretch stretch = chunk_of(chunk, PRODUCTS_CHUNK, elements, (int)problem.channels, (int)problem.plane);
    float sum = block_inner_product(problem.dy, problem.values, stretch);
    if (threadIdx.x == 0) {
        problem.partial[chunk] = sum;
    }
}

struct ScatterProducts {
    const float *partial;
    Size chunks, rows;
    Size indices[MAX_TERMS];
    float *to;
    Size elements, accumulate;
};

MEMORY_KERNEL scatter_products(const ScatterProducts *problems, const unsigned *first, unsigned count) {
    static_assert(MAX_TERMS == THREADS / WARP, "each warp sums up one row");
    const ScatterProducts &problem = find_work(problems, first, count).problem;
    __shared__ double lanes[THREADS];
    __shared__ double sums[MAX_TERMS];
    const int row = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, rows = (int)problem.rows, chunks = (int)problem.chunks;
    double sum = 0.0;
    if (row < rows) {
        for (int chunk = lane; chunk < chunks; chunk += WARP) {
            sum += problem.partial[(Size)row * chunks + chunk];
        }
    }
    lanes[threadIdx.x] = sum;
    __syncthreads();
    if (lane == 0) {
        sum = 0.0;
        for (int other = 0; other < WARP; other++) {
            sum += lanes[row * WARP + other];
        }
        sums[row] = sum;
    }
    __syncthreads();
    for (int element = (int)threadIdx.x; element < (int)problem.elements; element += THREADS) {
        double total = 0.0;
        for (int i = 0; i < rows; i++) {
            total += problem.indices[i] == element ? sums[i] : 0.0;
        }
        float &to = problem.to[element];
        to = problem.accumulate ? to + (float)total : (float)total;
    }
}
