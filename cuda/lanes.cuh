// Rows that are shared by G lanes of a warp, a power of two: one lane where rows are short, all 32 where they are long.
#pragma once

#include "common.cuh"

constexpr int LANES_THREADS = 128;
// The longest row that a lane has for itself. The grid is ceil(rows G / LANES_THREADS).
constexpr int SHORT_ROW = 32;

template <int G> struct Lanes {
    // The row may lie past the last: its threads still have to come to `sum`.
    Size row;
    int lane;

    __device__ __forceinline__ Lanes() : row(thread_of_grid() / G), lane(int(threadIdx.x) % G) {}

    template <class F> __device__ __forceinline__ void over(int d, F f) const {
        for (int i = lane; i < d; i += G) {
            f(i);
        }
    }

    template <class T> __device__ __forceinline__ T sum(T x) const {
#pragma unroll
        for (int step = G / 2; step > 0; step /= 2) {
            x += __shfl_xor_sync(ALL, x, step);
        }
        return x;
    }
};

// Calls f<1> or f<32>.
#define OVER_LANES(f, ...) (d <= SHORT_ROW ? f<1>(__VA_ARGS__) : f<WARP>(__VA_ARGS__))
