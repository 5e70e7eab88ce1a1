// What all kernels share: types, 16-byte accesses, sums over a warp and a block. Under nvcc this is CUDA, under g++ the
// emulator's words for it.
#pragma once

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
#define SHARED(type, name, extents) __shared__ type name extents
#define DYNAMIC_SHARED(type, name)                                                                                   \
    extern __shared__ __align__(16) unsigned char dynamic_shared[];                                                  \
    type *name = reinterpret_cast<type *>(dynamic_shared)
// Makes a kernel known to the emulator, with the threads a block that it is compiled for.
#define FQGAN_KERNEL(name, threads)
#else
#include "emulator/device.h"
#endif

using bf16 = __nv_bfloat16;
using f16 = __half;
// Counts of elements and rows, and places among them.
using Size = long long;

constexpr unsigned ALL = 0xffffffffu;
constexpr int WARP = 32;

// ---- numbers: storage of any type, arithmetic in f32 ----

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(f16 x) { return __half2float(x); }
__device__ __forceinline__ float widen(signed char x) { return float(x); }

template <class T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return __float2bfloat16(x); }

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }
// The derivative of silu: s (1 + x (1 - s)).
__device__ __forceinline__ float silu_slope(float x) {
    float s = sigmoid(x);
    return s + x * s * (1.0f - s);
}
// A NaN stays, on either side.
__device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }

// ---- 16 bytes at once ----

// Elements of T that a thread reads or writes together.
template <class T> constexpr int TOGETHER = 16 / int(sizeof(T));

template <class T, int N> struct alignas(sizeof(T) * N) Pack {
    T value[N];
};

// N consecutive elements as f32. The address must be a multiple of their size.
template <int N, class T> __device__ __forceinline__ void load(const T *from, float (&to)[N]) {
    Pack<T, N> pack = *reinterpret_cast<const Pack<T, N> *>(from);
#pragma unroll
    for (int i = 0; i < N; i++) {
        to[i] = widen(pack.value[i]);
    }
}

template <int N, class T> __device__ __forceinline__ void store(T *to, const float (&from)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) {
        pack.value[i] = narrow<T>(from[i]);
    }
    *reinterpret_cast<Pack<T, N> *>(to) = pack;
}

// The same for the first `count` of N, one by one; `rest` stands for the others.
template <int N, class T>
__device__ __forceinline__ void load_some(const T *from, float (&to)[N], int count, float rest = 0.0f) {
#pragma unroll
    for (int i = 0; i < N; i++) {
        to[i] = i < count ? widen(from[i]) : rest;
    }
}

template <int N, class T> __device__ __forceinline__ void store_some(T *to, const float (&from)[N], int count) {
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (i < count) {
            to[i] = narrow<T>(from[i]);
        }
    }
}

// Calls f<N> with 16 bytes for N where rows of c are whole multiples of that, else with 1.
#define OVER_ROWS(T, f, ...) (c % TOGETHER<T> == 0 ? f<TOGETHER<T>>(__VA_ARGS__) : f<1>(__VA_ARGS__))

// ---- places ----

__device__ __forceinline__ Size thread_of_grid() { return Size(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int lane_of_warp() { return int(threadIdx.x) % WARP; }
__device__ __forceinline__ int warp_of_block() { return int(threadIdx.x) / WARP; }

// ---- sums: always in the same order, so that the same input gives the same bits ----

template <class T> __device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(ALL, x, step);
    }
    return x;
}

// Sums of N values of each lane, a power of two up to WARP, with the bits that warp_sum gives: lane l has that of value
// l N / WARP. In each step a lane hands over half of what it has, and keeps the other: N - 1 exchanges, not 5 N.
template <int N, class T> __device__ __forceinline__ T warp_sums(T (&x)[N]) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        const int half = N * step / WARP;
        const bool upper = lane_of_warp() & step;
#pragma unroll
        for (int i = 0; i < half; i++) {
            const T kept = upper ? x[half + i] : x[i];
            x[i] = kept + __shfl_xor_sync(ALL, upper ? x[i] : x[half + i], step);
        }
        if (half == 0) {
            x[0] += __shfl_xor_sync(ALL, x[0], step);
        }
    }
    return x[0];
}

__device__ __forceinline__ float warp_largest(float x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        x = larger(x, __shfl_xor_sync(ALL, x, step));
    }
    return x;
}

// Over a block of whole warps, for all its threads. Barriers on both sides: it may be called again at once.
template <class T> __device__ __forceinline__ T block_sum(T x) {
    SHARED(T, part, [WARP]);
    const int warps = int(blockDim.x) / WARP;
    x = warp_sum(x);
    if (lane_of_warp() == 0) {
        part[warp_of_block()] = x;
    }
    __syncthreads();
    x = warp_sum(lane_of_warp() < warps ? part[lane_of_warp()] : T(0));
    __syncthreads();
    return x;
}

__device__ __forceinline__ float block_largest(float x) {
    SHARED(float, part, [WARP]);
    const int warps = int(blockDim.x) / WARP;
    x = warp_largest(x);
    if (lane_of_warp() == 0) {
        part[warp_of_block()] = x;
    }
    __syncthreads();
    x = warp_largest(part[lane_of_warp() < warps ? lane_of_warp() : 0]);
    __syncthreads();
    return x;
}
