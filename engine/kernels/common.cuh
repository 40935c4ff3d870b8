// What all kernels share: how a block finds its work, how tensors are read and written, sums over a
// block.
//
// A launch serves several problems of one kind. Its blocks lie in one row; `first[p]` is the first
// block of problem p. Every field of a problem has eight bytes (a pointer, a Size or a double), so
// that host and device need no common rule of padding.
#pragma once

typedef long long Size;

constexpr int THREADS = 256;
constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// A tensor in f32, or in bf16 where `half` is set.
struct Tensor {
    void *data;
    Size half;
};

// An image tensor as its readers see it: relu(mask[n] * (factor[c] * (x - mean[c]) + shift[c])). A
// null pointer leaves its part out; mean, factor and shift are there together or not at all.
struct Values {
    Tensor x;
    const float *mean, *factor, *shift;
    const float *mask;
    Size relu;
};

// The gradient of an image tensor as its readers see it: dy * constant * scale[0] * mask[n] and,
// where `mean` is there, carried back through a normalisation: factor[c] * (that - mean_dy[c]) -
// slope[c] * (x - mean[c]). A null pointer leaves its part out.
struct Gradients {
    Tensor dy;
    double constant;
    const float *scale;
    const float *mask;
    Tensor x;
    const float *mean, *factor, *mean_dy, *slope;
};

// The problem that this block works on, and the number of the block within it.
template <class Problem> struct Work {
    const Problem &problem;
    int block;
};

template <class Problem> __device__ inline Work<Problem> find_work(const Problem *problems, const unsigned *first, unsigned count) {
    unsigned low = 0, high = count;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (first[middle] <= blockIdx.x) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return {problems[low], (int)(blockIdx.x - first[low])};
}

__device__ inline float from_half(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }

// To the nearest bf16, ties to even; what is not a number stays so.
__device__ inline unsigned short to_half(float value) {
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (unsigned short)(bits >> 16 | 0x40u);
    }
    return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

__device__ inline float load(const Tensor &tensor, Size i) {
    return tensor.half ? from_half(((const unsigned short *)tensor.data)[i]) : ((const float *)tensor.data)[i];
}

__device__ inline void store(const Tensor &tensor, Size i, float value) {
    if (tensor.half) {
        ((unsigned short *)tensor.data)[i] = to_half(value);
    } else {
        ((float *)tensor.data)[i] = value;
    }
}

// One plane of `Values`: the parts of the formula for a sample and a channel.
struct Plane {
    float mean, factor, shift;
    bool relu;

    __device__ float apply(float x) const {
        float value = fmaf(factor, x - mean, shift);
        // Not fmaxf, which would hide what is not a number.
        return relu && value < 0.0f ? 0.0f : value;
    }

    // Whether the ReLU, where there is one, lets a gradient through at x.
    __device__ bool open(float x) const { return !relu || fmaf(factor, x - mean, shift) > 0.0f; }
};

__device__ inline Plane plane_of(const Values &values, int n, int c) {
    Plane plane = {0.0f, 1.0f, 0.0f, values.relu != 0};
    if (values.mean) {
        plane.mean = values.mean[c];
        plane.factor = values.factor[c];
        plane.shift = values.shift[c];
    }
    if (values.mask) {
        plane.factor *= values.mask[n];
        plane.shift *= values.mask[n];
    }
    return plane;
}

// One plane of `Gradients`: factor * dy - slope * (x - mean) - offset.
struct GradientPlane {
    float factor, slope, mean, offset;
    bool reads_x;

    __device__ float apply(float dy, float x) const { return fmaf(factor, dy, -fmaf(slope, x - mean, offset)); }
};

__device__ inline GradientPlane plane_of(const Gradients &gradients, int n, int c) {
    float factor = (float)gradients.constant;
    if (gradients.scale) {
        factor *= gradients.scale[0];
    }
    if (gradients.mask) {
        factor *= gradients.mask[n];
    }
    if (!gradients.mean) {
        return {factor, 0.0f, 0.0f, 0.0f, false};
    }
    float normal = gradients.factor[c];
    return {normal * factor, gradients.slope[c], gradients.mean[c], normal * gradients.mean_dy[c], true};
}

__device__ inline float load(const Gradients &gradients, const GradientPlane &plane, Size i) {
    float x = plane.reads_x ? load(gradients.x, i) : 0.0f;
    return plane.apply(load(gradients.dy, i), x);
}

// The sum over the lanes of a warp; all lanes get it.
template <class Real> __device__ inline Real warp_sum(Real value) {
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, offset);
    }
    return value;
}

// The sum over the threads of a block, in the same order every time; all threads get it. `scratch`
// has THREADS / WARP places and may be used again at once.
template <class Real> __device__ inline Real block_sum(Real value, Real *scratch) {
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) {
        scratch[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    Real sum = 0;
    for (int warp = 0; warp < THREADS / WARP; warp++) {
        sum += scratch[warp];
    }
    __syncthreads();
    return sum;
}

// A kernel that waits for memory most of the time: with three blocks on a multiprocessor, some wait
// while others compute.
#define MEMORY_KERNEL extern "C" __global__ void __launch_bounds__(THREADS, 3)

// Elements that a block of an elementwise kernel works on; `CHUNK` of problems/elementwise.rs.
constexpr int CHUNK = 4096;

// Packs that a thread reads before it uses the first, so that their loads overlap.
constexpr int PACKS = 4;

// Neighbouring elements that are read or written at once: four, or one where sizes or addresses are
// not multiples of four.
template <int N> struct Pack {
    static_assert(N == 1 || N == 4, "vectors have four elements");
    float at[N];
};

template <int N> __device__ inline Pack<N> load_pack(const float *from) {
    if constexpr (N == 4) {
        float4 v = *(const float4 *)from;
        return {{v.x, v.y, v.z, v.w}};
    } else {
        return {{*from}};
    }
}

template <int N> __device__ inline Pack<N> load_pack(const unsigned short *from) {
    if constexpr (N == 4) {
        ushort4 v = *(const ushort4 *)from;
        return {{from_half(v.x), from_half(v.y), from_half(v.z), from_half(v.w)}};
    } else {
        return {{from_half(*from)}};
    }
}

template <int N> __device__ inline void store_pack(float *to, const Pack<N> &pack) {
    if constexpr (N == 4) {
        *(float4 *)to = make_float4(pack.at[0], pack.at[1], pack.at[2], pack.at[3]);
    } else {
        *to = pack.at[0];
    }
}

template <int N> __device__ inline void store_pack(unsigned short *to, const Pack<N> &pack) {
    if constexpr (N == 4) {
        *(ushort4 *)to = make_ushort4(to_half(pack.at[0]), to_half(pack.at[1]), to_half(pack.at[2]), to_half(pack.at[3]));
    } else {
        *to = to_half(pack.at[0]);
    }
}

// Whether packs of four may be read at multiples of four elements.
__device__ inline bool packable(const Tensor &tensor) { return (unsigned long long)tensor.data % (tensor.half ? 8 : 16) == 0; }
__device__ inline bool packable(const float *data) { return (unsigned long long)data % 16 == 0; }

// The packs at several places. There is one branch on the type for all of them: one each would keep
// their loads from overlapping.
template <int N, int K> __device__ inline void load_packs(const Tensor &tensor, const Size (&at)[K], Pack<N> (&to)[K]) {
    if (tensor.half) {
#pragma unroll
        for (int k = 0; k < K; k++) {
            to[k] = load_pack<N>((const unsigned short *)tensor.data + at[k]);
        }
    } else {
#pragma unroll
        for (int k = 0; k < K; k++) {
            to[k] = load_pack<N>((const float *)tensor.data + at[k]);
        }
    }
}

// Writes the first `count` packs.
template <int N>
__device__ inline void store_packs(const Tensor &tensor, const Size (&at)[PACKS], int count, const Pack<N> (&from)[PACKS]) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        if (k < count) {
            if (tensor.half) {
                store_pack((unsigned short *)tensor.data + at[k], from[k]);
            } else {
                store_pack((float *)tensor.data + at[k], from[k]);
            }
        }
    }
}

// A run of elements of a dense tensor [batch, channels, plane], and where it begins.
struct Stretch {
    Size start;
    int length;
    int channels, plane;
    int first_plane, first_element;
};

__device__ inline Stretch stretch_of(Size start, Size length, int channels, int plane) {
    return {start, (int)length, channels, plane, (int)(start / plane), (int)(start % plane)};
}

// The stretch of a block of an elementwise kernel; `size` is a multiple of CHUNK.
__device__ inline Stretch chunk_of(int block, int size, Size elements, int channels, int plane) {
    Size start = (Size)block * size;
    return stretch_of(start, elements - start < size ? elements - start : size, channels, plane);
}

// What a thread reads of a stretch in one round: places of packs, and sample, channel and element
// of the plane that they begin with. Packs from `count` on lie behind the end; they have the place
// of the first element, which may be read.
template <int N> struct Packs {
    Size at[PACKS];
    int n[PACKS], c[PACKS], p[PACKS];
    int count;

    // Whether the pack lies in the same plane as the one before.
    __device__ bool same_plane(int k) const { return k > 0 && n[k] == n[k - 1] && c[k] == c[k - 1]; }
};

template <int N> __device__ inline int rounds_of(int length) { return (length + THREADS * PACKS * N - 1) / (THREADS * PACKS * N); }

// The packs of a warp lie together, so that most of a thread's are in one plane.
template <int N> __device__ inline int pack_in_round(int round, int k) {
    int warp = round * (THREADS / WARP) + (int)threadIdx.x / WARP;
    return ((warp * PACKS + k) * WARP + (int)threadIdx.x % WARP) * N;
}

// Packs of four need planes of a multiple of four elements.
template <int N> __device__ inline Packs<N> packs_of(const Stretch &stretch, int round) {
    Packs<N> packs;
    packs.count = 0;
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        int element = pack_in_round<N>(round, k);
        if (element < stretch.length) {
            packs.count = k + 1;
        } else {
            element = 0;
        }
        unsigned from_plane = (unsigned)(stretch.first_element + element);
        unsigned planes = from_plane / (unsigned)stretch.plane;
        unsigned plane = (unsigned)stretch.first_plane + planes;
        packs.at[k] = stretch.start + element;
        packs.n[k] = (int)(plane / (unsigned)stretch.channels);
        packs.c[k] = (int)(plane % (unsigned)stretch.channels);
        packs.p[k] = (int)(from_plane - planes * (unsigned)stretch.plane);
    }
    return packs;
}

// Calls `f(k, j)` for every element j of the packs k < count.
template <int N, class Function> __device__ inline void each_element(int count, Function f) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        if (k < count) {
#pragma unroll
            for (int j = 0; j < N; j++) {
                f(k, j);
            }
        }
    }
}

// Calls `f(plane, k, j)` for every element j of all packs k, with the plane of `source`, which is
// Values or Gradients, that it lies in.
template <int N, class Source, class Function>
__device__ inline void each_in_plane(const Source &source, const Packs<N> &packs, Function f) {
    decltype(plane_of(source, 0, 0)) plane;
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
        if (!packs.same_plane(k)) {
            plane = plane_of(source, packs.n[k], packs.c[k]);
        }
#pragma unroll
        for (int j = 0; j < N; j++) {
            f(plane, k, j);
        }
    }
}

// The packs as readers of `values` see them; `x` are those of the bare tensor.
template <int N> __device__ inline void apply_values(const Values &values, const Packs<N> &packs, Pack<N> (&x)[PACKS]) {
    each_in_plane(values, packs, [&](const Plane &plane, int k, int j) { x[k].at[j] = plane.apply(x[k].at[j]); });
}

// The gradients as those see them that carry them on; `dy` are those of the bare tensor, `x` what
// the normalisation read.
template <int N>
__device__ inline void apply_gradients(const Gradients &gradients, const Packs<N> &packs, const Pack<N> (&x)[PACKS], Pack<N> (&dy)[PACKS]) {
    each_in_plane(gradients, packs, [&](const GradientPlane &plane, int k, int j) { dy[k].at[j] = plane.apply(dy[k].at[j], x[k].at[j]); });
}
