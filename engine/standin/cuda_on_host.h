// Lets a C++ compiler for this machine compile the kernels: what CUDA adds to C++, as far as they use it.
//
// What kernels may not use is left out on purpose (atomics, dynamic shared memory, further dimensions, shuffles of part of a warp), so that
// it does not compile.
#pragma once

#include "threads.h"

#include <math.h>

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
// A hardware thread runs one block at a time, so what belongs to a hardware thread belongs to a block.
#define __shared__ static thread_local

namespace standin {

inline unsigned lane() { return place.thread.x % LANES; }

template <class Value> Value exchange(unsigned mask, Value value, unsigned source, Site site) {
    static_assert(sizeof(Value) == 4 || sizeof(Value) == 8, "shuffles take values of four or eight bytes");
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    bits = wait_for_warp(mask, bits, source, site);
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace standin

#define threadIdx (standin::place.thread)
#define blockIdx (standin::place.block)
#define blockDim (standin::place.block_size)
#define gridDim (standin::place.grid_size)

inline void __syncthreads(const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()) { standin::wait_for_block({file, line}); }

inline void __syncwarp(unsigned mask = ~0u, const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    standin::wait_for_warp(mask, 0, standin::lane(), {file, line});
}

template <class Value>
Value __shfl_xor_sync(unsigned mask, Value value, int flip, const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return standin::exchange(mask, value, (standin::lane() ^ (unsigned)flip) % standin::LANES, {file, line});
}

// Lanes that have none so far behind them keep their own value.
template <class Value>
Value __shfl_down_sync(unsigned mask, Value value, unsigned by, const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    unsigned source = standin::lane() + by;
    return standin::exchange(mask, value, source < standin::LANES ? source : standin::lane(), {file, line});
}

template <class Value>
Value __shfl_sync(unsigned mask, Value value, int source, const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return standin::exchange(mask, value, (unsigned)source % standin::LANES, {file, line});
}

inline float __uint_as_float(unsigned bits) { return __builtin_bit_cast(float, bits); }
inline unsigned __float_as_uint(float value) { return __builtin_bit_cast(unsigned, value); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
template <class Value> Value __ldg(const Value *address) { return *address; }

// As many bytes as they align to, as on a GPU: a misaligned access may fail here too.
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(4) ushort2 { unsigned short x, y; };
struct alignas(8) ushort4 { unsigned short x, y, z, w; };

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline ushort2 make_ushort2(unsigned short x, unsigned short y) { return {x, y}; }
inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) { return {x, y, z, w}; }

#define STANDIN_MIN_MAX(Value)                                \
    inline Value min(Value a, Value b) { return b < a ? b : a; } \
    inline Value max(Value a, Value b) { return a < b ? b : a; }
STANDIN_MIN_MAX(int)
STANDIN_MIN_MAX(unsigned)
STANDIN_MIN_MAX(long)
STANDIN_MIN_MAX(unsigned long)
STANDIN_MIN_MAX(long long)
STANDIN_MIN_MAX(unsigned long long)
#undef STANDIN_MIN_MAX

// All else that is thread-local in the library of a source file is `__shared__`, so this one variable tells the runner where that lies.
extern "C" __attribute__((visibility("default"))) char *standin_shared_memory() {
    static thread_local char here;
    return &here;
}
