// Optimisers: the norm of all gradients, and the steps. Blocks take CHUNK elements each: one launch
// serves parameters of very different sizes.
#include "common.cuh"

// The chunk of a parameter that a block works on.
__device__ inline Stretch parameter_chunk(int block, Size elements) { return chunk_of(block, CHUNK, elements, 1, 1); }

// A buffer of f32 as a tensor.
__device__ inline Tensor tensor_of(const float *data) { return {(void *)data, 0}; }

// What the values of a gradient are multiplied with first.
__device__ inline float factor_of(const float *factor) { return factor ? factor[0] : 1.0f; }

struct SumOfSquares {
    const float *gradient;
    const float *scale;
    Size elements;
    double *partial;
};

// In doubles throughout: squares of f32 leave the range of f32 long before the values do.
template <int N> __device__ double squares(const Tensor &gradient, const Stretch &stretch) {
    double sum = 0.0;
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> values[PACKS];
        load_packs(gradient, packs.at, values);
        each_element<N>(packs.count, [&](int k, int j) {
            double value = values[k].at[j];
            sum += value * value;
        });
    }
    return sum;
}

MEMORY_KERNEL sum_of_squares(const SumOfSquares *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    __shared__ double scratch[THREADS / WARP];
    const Tensor gradient = tensor_of(problem.gradient);
    const Stretch stretch = parameter_chunk(block, problem.elements);
    bool packed = problem.elements % 4 == 0 && packable(gradient);
    double sum = block_sum(packed ? squares<4>(gradient, stretch) : squares<1>(gradient, stretch), scratch);
    if (threadIdx.x == 0) {
        double scale = factor_of(problem.scale);
        problem.partial[block] = scale * scale * sum;
    }
}

struct ClipFactor {
    const double *partial;
    Size count;
    double max_norm;
    const float *scale;
    float *to;
};

KERNEL clip_factor(const ClipFactor *problems, const unsigned *first, unsigned count) {
    const ClipFactor &problem = find_work(problems, first, count).problem;
    __shared__ double scratch[THREADS / WARP];
    double sum = 0.0;
    for (Size i = threadIdx.x; i < problem.count; i += THREADS) {
        sum += problem.partial[i];
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) {
        float norm = (float)sqrt(sum), factor = (float)problem.max_norm / (norm + 1e-6f);
        problem.to[0] = norm;
        // A norm that is not a number leaves the gradients as they are.
        problem.to[1] = factor_of(problem.scale) * (factor < 1.0f ? factor : 1.0f);
    }
}

struct Sgd {
    float *weight, *velocity;
    const float *gradient;
    Size elements;
    const float *settings;
    const float *clip;
};

template <int N> __device__ void sgd_chunk(const Sgd &problem, int block) {
    const Tensor weight = tensor_of(problem.weight), velocity = tensor_of(problem.velocity), gradient = tensor_of(problem.gradient);
    const float momentum = problem.settings[0], weight_decay = problem.settings[1], rate = problem.settings[2];
    const float clip = factor_of(problem.clip);
    const Stretch stretch = parameter_chunk(block, problem.elements);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> w[PACKS], v[PACKS], g[PACKS];
        load_packs(weight, packs.at, w);
        load_packs(velocity, packs.at, v);
        load_packs(gradient, packs.at, g);
        each_element<N>(PACKS, [&](int k, int j) {
            v[k].at[j] = momentum * v[k].at[j] + (clip * g[k].at[j] + weight_decay * w[k].at[j]);
            w[k].at[j] -= rate * v[k].at[j];
        });
        store_packs(velocity, packs.at, packs.count, v);
        store_packs(weight, packs.at, packs.count, w);
    }
}

MEMORY_KERNEL sgd(const Sgd *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.elements % 4 == 0 && packable(problem.weight) && packable(problem.velocity) && packable(problem.gradient)) {
        sgd_chunk<4>(problem, block);
    } else {
        sgd_chunk<1>(problem, block);
    }
}

struct Adam {
    float *weight, *first, *second;
    const float *gradient;
    Size elements;
    const float *settings;
    const float *clip;
};

template <int N> __device__ void adam_chunk(const Adam &problem, int block) {
    const Tensor weight = tensor_of(problem.weight), gradient = tensor_of(problem.gradient);
    const Tensor first = tensor_of(problem.first), second = tensor_of(problem.second);
    const float *settings = problem.settings;
    const float beta1 = settings[0], beta2 = settings[1], weight_decay = settings[2], epsilon = settings[3];
    const float step_size = settings[4], root = settings[5], clip = factor_of(problem.clip);
    const Stretch stretch = parameter_chunk(block, problem.elements);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> w[PACKS], m[PACKS], v[PACKS], g[PACKS];
        load_packs(weight, packs.at, w);
        load_packs(first, packs.at, m);
        load_packs(second, packs.at, v);
        load_packs(gradient, packs.at, g);
        each_element<N>(PACKS, [&](int k, int j) {
            float slope = clip * g[k].at[j] + weight_decay * w[k].at[j];
            m[k].at[j] = beta1 * m[k].at[j] + (1.0f - beta1) * slope;
            v[k].at[j] = beta2 * v[k].at[j] + (1.0f - beta2) * slope * slope;
            w[k].at[j] -= step_size * m[k].at[j] / (sqrtf(v[k].at[j]) / root + epsilon);
        });
        store_packs(first, packs.at, packs.count, m);
        store_packs(second, packs.at, packs.count, v);
        store_packs(weight, packs.at, packs.count, w);
    }
}

KERNEL adam(const Adam *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.elements % 4 == 0 && packable(problem.weight) && packable(problem.first) && packable(problem.second) &&
        packable(problem.gradient)) {
        adam_chunk<4>(problem, block);
    } else {
        adam_chunk<1>(problem, block);
    }
}

struct MovingAverage {
    float *average;
    const float *value;
    Size elements;
    const float *settings;
};

template <int N> __device__ void moving_average_chunk(const MovingAverage &problem, int block) {
    const Tensor average = tensor_of(problem.average), value = tensor_of(problem.value);
    const float decay = problem.settings[0], share = 1.0f - decay;
    const Stretch stretch = parameter_chunk(block, problem.elements);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> a[PACKS], v[PACKS];
        load_packs(average, packs.at, a);
        load_packs(value, packs.at, v);
        each_element<N>(PACKS, [&](int k, int j) { a[k].at[j] = decay * a[k].at[j] + share * v[k].at[j]; });
        store_packs(average, packs.at, packs.count, a);
    }
}

MEMORY_KERNEL moving_average(const MovingAverage *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    if (problem.elements % 4 == 0 && packable(problem.average) && packable(problem.value)) {
        moving_average_chunk<4>(problem, block);
    } else {
        moving_average_chunk<1>(problem, block);
    }
}
