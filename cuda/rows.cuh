// A warp on a row of c elements, N at once; and a block on rows that it takes one after the other, with sums down the
// columns on the way.
#pragma once

#include "common.cuh"

constexpr int ROW_WARPS = 4;
constexpr int ROW_THREADS = ROW_WARPS * WARP;

// The row of this warp: the grid is ceil(rows / ROW_WARPS).
__device__ __forceinline__ Size row_of_warp() { return Size(blockIdx.x) * ROW_WARPS + warp_of_block(); }

// f(i) for every N-th element of the row that is this lane's. The row is read again from the cache of the first level
// by whoever goes over it twice.
template <int N, class F> __device__ __forceinline__ void over_row(int c, F f) {
    for (int i = lane_of_warp() * N; i < c; i += WARP * N) {
        f(i);
    }
}

// The same by a block.
template <int N, class F> __device__ __forceinline__ void over_row_by_block(int c, F f) {
    for (int i = int(threadIdx.x) * N; i < c; i += int(blockDim.x) * N) {
        f(i);
    }
}

// Rows that a block of a rule takes one after the other.
constexpr int ROWS_OF_BLOCK = 64;
// The most threads of such a block; the launch has as many whole warps as the row has groups of N for.
constexpr int RULE_THREADS = 256;
