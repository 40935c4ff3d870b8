// What the kernels of convolutions share: sizes, and images that are read and written four elements
// at a time.
#pragma once
#include "common.cuh"

// Kernel, stride and padding are those down; those across come last. The depthwise kernels take
// only convolutions in which both are alike.
struct ConvSizes {
    Size batch, channels, height, width, out, out_height, out_width, kernel, stride, padding, dilation, groups;
    Size kernel_across, stride_across, padding_across;
};

// A kernel whose sums take most of its registers: two blocks on a multiprocessor leave 128 to a
// thread.
#define SUM_KERNEL extern "C" __global__ void __launch_bounds__(THREADS, 2)

// Four neighbouring elements as they lie in memory. They are converted later, so that many loads
// are under way before one is waited for.
__device__ inline float4 fetch(const Tensor &tensor, Size i) {
    if (tensor.half) {
        uint2 bits = ((const uint2 *)tensor.data)[i / 4];
        return make_float4(__uint_as_float(bits.x), __uint_as_float(bits.y), 0.0f, 0.0f);
    }
    return ((const float4 *)tensor.data)[i / 4];
}

__device__ inline float4 unpack(const Tensor &tensor, float4 raw) {
    if (!tensor.half) {
        return raw;
    }
    unsigned low = __float_as_uint(raw.x), high = __float_as_uint(raw.y);
    return make_float4(__uint_as_float(low << 16), __uint_as_float(low & 0xffff0000u), __uint_as_float(high << 16),
                       __uint_as_float(high & 0xffff0000u));
}

__device__ inline void store(const Tensor &tensor, Size i, float4 value) {
    if (tensor.half) {
        ((ushort4 *)tensor.data)[i / 4] = make_ushort4(to_half(value.x), to_half(value.y), to_half(value.z), to_half(value.w));
    } else {
        ((float4 *)tensor.data)[i / 4] = value;
    }
}

struct RawGradients {
    float4 dy, x;
};

__device__ inline float4 fetch(const Values &values, Size i) { return fetch(values.x, i); }

__device__ inline RawGradients fetch(const Gradients &gradients, Size i) {
    RawGradients raw = {fetch(gradients.dy, i), make_float4(0.0f, 0.0f, 0.0f, 0.0f)};
    if (gradients.mean) {
        raw.x = fetch(gradients.x, i);
    }
    return raw;
}

__device__ inline float4 settle(const Values &values, const Plane &plane, float4 raw) {
    float4 x = unpack(values.x, raw);
    return make_float4(plane.apply(x.x), plane.apply(x.y), plane.apply(x.z), plane.apply(x.w));
}

__device__ inline float4 settle(const Gradients &gradients, const GradientPlane &plane, const RawGradients &raw) {
    float4 dy = unpack(gradients.dy, raw.dy), x = unpack(gradients.x, raw.x);
    return make_float4(plane.apply(dy.x, x.x), plane.apply(dy.y, x.y), plane.apply(dy.z, x.z), plane.apply(dy.w, x.w));
}

__device__ inline float load(const Values &values, const Plane &plane, Size i) { return plane.apply(load(values.x, i)); }

// What a convolution writes, after the bias and the gate where there are any.
struct Target {
    const Tensor &tensor;
    const float *bias;
    const Values *gate;

    __device__ float bias_of(int channel) const { return bias ? bias[channel] : 0.0f; }

    // Four neighbouring elements of a plane; `place` is a multiple of four.
    __device__ void write(int n, int channel, Size place, float4 value) const {
        float shift = bias_of(channel);
        value = make_float4(value.x + shift, value.y + shift, value.z + shift, value.w + shift);
        if (gate) {
            float4 x = unpack(gate->x, fetch(gate->x, place));
            Plane seen = plane_of(*gate, n, channel);
            value = make_float4(seen.open(x.x) ? value.x : 0.0f, seen.open(x.y) ? value.y : 0.0f, seen.open(x.z) ? value.z : 0.0f,
                                seen.open(x.w) ? value.w : 0.0f);
        }
        store(tensor, place, value);
    }

    __device__ void write(int n, int channel, Size place, float value) const {
        bool open = !gate || plane_of(*gate, n, channel).open(load(gate->x, place));
        store(tensor, place, open ? value + bias_of(channel) : 0.0f);
    }
};
