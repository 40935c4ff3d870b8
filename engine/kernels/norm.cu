// Normalisation: statistics of the channels, the coefficients that readers apply, and the sums that
// its gradient needs. A block works on one channel.
#include "common.cuh"

// Scale and shift after a normalisation; null where it has none.
struct Affine {
    const float *scale, *shift;
};

// The rows of `Region::Forward`.
struct Coefficients {
    float *mean, *factor, *shift, *inverse_sd;
};

__device__ void write_coefficients(const Coefficients &to, const Affine &affine, int c, float mean, float variance, double epsilon) {
    float inverse_sd = (float)(1.0 / sqrt((double)variance + epsilon));
    to.mean[c] = mean;
    to.factor[c] = affine.scale ? inverse_sd * affine.scale[c] : inverse_sd;
    to.shift[c] = affine.shift ? affine.shift[c] : 0.0f;
    to.inverse_sd[c] = inverse_sd;
}

// All elements of one channel, and what a thread reads of them in one round.
struct Channel {
    int c, channels, plane, length;
};

template <int N> __device__ Packs<N> packs_of(const Channel &channel, int round) {
    Packs<N> packs;
    packs.count = 0;
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        int element = pack_in_round<N>(round, k);
        if (element < channel.length) {
            packs.count = k + 1;
        } else {
            element = 0;
        }
        packs.n[k] = (int)((unsigned)element / (unsigned)channel.plane);
        packs.c[k] = channel.c;
        packs.p[k] = element - packs.n[k] * channel.plane;
        packs.at[k] = ((Size)packs.n[k] * channel.channels + channel.c) * channel.plane + packs.p[k];
    }
    return packs;
}

// Two sums over a channel, each in as many parts as a pack has elements: that makes them more
// precise, and independent additions overlap.
template <int N> struct Sums {
    float first[N], second[N];
};

struct Totals {
    double first, second;
};

template <int N> __device__ Totals block_totals(const Sums<N> &sums, double *scratch) {
    Totals totals = {0.0, 0.0};
#pragma unroll
    for (int j = 0; j < N; j++) {
        totals.first += sums.first[j];
        totals.second += sums.second[j];
    }
    totals.first = block_sum(totals.first, scratch);
    totals.second = block_sum(totals.second, scratch);
    return totals;
}

// The mean of what the threads read in the first round. Where it is far from the mean of the
// channel, in standard deviations, that is so because these are few of many elements: so the
// variance can be computed from distances to it without a loss that matters.
template <int N> __device__ float first_mean(const Tensor &x, const Channel &channel, double *scratch) {
    const Packs<N> packs = packs_of<N>(channel, 0);
    Pack<N> values[PACKS];
    load_packs(x, packs.at, values);
    float sum = 0.0f;
    each_element<N>(packs.count, [&](int k, int j) { sum += values[k].at[j]; });
    int round = THREADS * PACKS * N;
    return (float)(block_sum((double)sum, scratch) / (channel.length < round ? channel.length : round));
}

struct Moments {
    float mean, variance;
};

template <int N> __device__ Moments moments_of(const Tensor &x, const Channel &channel, double *scratch) {
    const float origin = first_mean<N>(x, channel, scratch);
    Sums<N> sums = {};
    for (int round = 0; round < rounds_of<N>(channel.length); round++) {
        const Packs<N> packs = packs_of<N>(channel, round);
        Pack<N> values[PACKS];
        load_packs(x, packs.at, values);
        each_element<N>(packs.count, [&](int k, int j) {
            float distance = values[k].at[j] - origin;
            sums.first[j] += distance;
            sums.second[j] = fmaf(distance, distance, sums.second[j]);
        });
    }
    const Totals totals = block_totals(sums, scratch);
    double from_origin = totals.first / channel.length;
    double variance = totals.second / channel.length - from_origin * from_origin;
    // Rounding may bring a variance of nothing below zero; what is not a number stays so.
    return {(float)(origin + from_origin), variance < 0.0 ? 0.0f : (float)variance};
}

struct NormMoments {
    Tensor x;
    Size batch, channels, plane;
    double epsilon;
    Affine affine;
    Coefficients coefficients;
    float *running_mean, *running_variance;
    const float *momentum;
};

MEMORY_KERNEL norm_moments(const NormMoments *problems, const unsigned *first, unsigned count) {
    auto [problem, c] = find_work(problems, first, count);
    __shared__ double scratch[THREADS / WARP];
    const Tensor x = problem.x;
    const Channel channel = {c, (int)problem.channels, (int)problem.plane, (int)(problem.batch * problem.plane)};
    bool packed = channel.plane % 4 == 0 && packable(x);
    const Moments moments = packed ? moments_of<4>(x, channel, scratch) : moments_of<1>(x, channel, scratch);
    if (threadIdx.x == 0) {
        write_coefficients(problem.coefficients, problem.affine, c, moments.mean, moments.variance, problem.epsilon);
        // The running variance is the unbiased one; a single value has none, its biased 0 stands
        // in.
        float elements = (float)channel.length, unbiased = elements > 1.0f ? elements / (elements - 1.0f) : 1.0f;
        float momentum = problem.momentum[0], kept = 1.0f - momentum;
        problem.running_mean[c] = kept * problem.running_mean[c] + momentum * moments.mean;
        problem.running_variance[c] = kept * problem.running_variance[c] + momentum * unbiased * moments.variance;
    }
}

struct NormRunning {
    Size channels;
    double epsilon;
    Affine affine;
    Coefficients coefficients;
    const float *running_mean, *running_variance;
};

MEMORY_KERNEL norm_running(const NormRunning *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    int c = block * THREADS + (int)threadIdx.x;
    if (c < problem.channels) {
        float mean = problem.running_mean[c], variance = problem.running_variance[c];
        write_coefficients(problem.coefficients, problem.affine, c, mean, variance, problem.epsilon);
    }
}

struct NormBackward {
    Gradients dy;
    Tensor x;
    Size batch, channels, plane;
    const float *mean, *factor, *inverse_sd;
    float *mean_dy, *slope;
    // Null where they are not wanted.
    float *scale_gradient, *shift_gradient;
};

// Sums of dy, and of dy times the distance of x from its mean.
template <int N>
__device__ Totals gradient_sums(const Gradients &dy, const Tensor &x, const Channel &channel, float mean, double *scratch) {
    Sums<N> sums = {};
    for (int round = 0; round < rounds_of<N>(channel.length); round++) {
        const Packs<N> packs = packs_of<N>(channel, round);
        Pack<N> gradient[PACKS], values[PACKS];
        load_packs(dy.dy, packs.at, gradient);
        load_packs(x, packs.at, values);
        float factor;
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            if (!packs.same_plane(k)) {
                factor = plane_of(dy, packs.n[k], channel.c).factor;
            }
            if (k < packs.count) {
#pragma unroll
                for (int j = 0; j < N; j++) {
                    float here = factor * gradient[k].at[j];
                    sums.first[j] += here;
                    sums.second[j] = fmaf(here, values[k].at[j] - mean, sums.second[j]);
                }
            }
        }
    }
    return block_totals(sums, scratch);
}

MEMORY_KERNEL norm_backward(const NormBackward *problems, const unsigned *first, unsigned count) {
    auto [problem, c] = find_work(problems, first, count);
    __shared__ double scratch[THREADS / WARP];
    const Gradients dy = problem.dy;
    const Tensor x = problem.x;
    const Channel channel = {c, (int)problem.channels, (int)problem.plane, (int)(problem.batch * problem.plane)};
    const float mean = problem.mean[c];
    bool packed = channel.plane % 4 == 0 && packable(dy.dy) && packable(x);
    const Totals totals = packed ? gradient_sums<4>(dy, x, channel, mean, scratch) : gradient_sums<1>(dy, x, channel, mean, scratch);
    if (threadIdx.x == 0) {
        double inverse_sd = problem.inverse_sd[c], products = totals.second;
        problem.mean_dy[c] = (float)(totals.first / channel.length);
        problem.slope[c] = (float)(problem.factor[c] * products * inverse_sd * inverse_sd / channel.length);
        if (problem.scale_gradient) {
            problem.scale_gradient[c] = (float)(products * inverse_sd);
        }
        if (problem.shift_gradient) {
            problem.shift_gradient[c] = (float)totals.first;
        }
    }
}
