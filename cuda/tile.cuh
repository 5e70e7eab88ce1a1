// Rows of c channels, as channels-last pictures and tokens are: how a block stands over them, and sums down the rows.
#pragma once

#include "common.cuh"

constexpr int TILE_THREADS = 256;

// N channels a thread, as many rows at once as there are threads for. Blocks along x share a wide row among them:
// the grid's x is ceil(c / N / TILE_THREADS).
template <int N> struct Tile {
    int channel;
    // Groups of N channels that this block has of a row.
    int groups;
    // The thread's first row, and how many rows further its next one is.
    int row, step;
    // A thread that is left over has no row.
    bool busy;

    __device__ __forceinline__ explicit Tile(int c) {
        const int first = int(blockIdx.x) * TILE_THREADS, all = c / N;
        groups = all - first < TILE_THREADS ? all - first : TILE_THREADS;
        step = TILE_THREADS / groups;
        row = int(threadIdx.x) / groups;
        channel = (first + int(threadIdx.x) % groups) * N;
        busy = row < step;
    }

    // The sum of x over the block's rows, for the threads of row 0, in the rows' order.
    template <class T> __device__ __forceinline__ void add_rows(T (&x)[N]) const {
        SHARED(T, part, [TILE_THREADS * N]);
        const int group = int(threadIdx.x) % groups;
        if (busy) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                part[(row * N + i) * groups + group] = x[i];
            }
        }
        __syncthreads();
        if (row == 0) {
            for (int other = 1; other < step; other++) {
#pragma unroll
                for (int i = 0; i < N; i++) {
                    x[i] += part[(other * N + i) * groups + group];
                }
            }
        }
        __syncthreads();
    }
};

// Rows that are added in f32 before they join a sum in f64.
constexpr int RUN = 32;
