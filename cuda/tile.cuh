// Rows of c channels, as channels-last pictures and tokens are: how a block stands over them, and sums down the rows.
#pragma once

#include "common.cuh"

constexpr int TILE_THREADS = 256;

// N channels a thread, as many rows at once as there are threads for. Blocks along z share a wide row among them:
// the grid's z is ceil(c / N / TILE_THREADS), its x the parts that rows are cut into.
template <int N> struct Tile {
    int channel;
    // Groups of N channels that this block has of a row.
    int groups;
    // The thread's first row, and how many rows further its next one is.
    int row, step;
    // A thread that is left over has no row.
    bool busy;

    __device__ __forceinline__ explicit Tile(int c) {
        const int first = int(blockIdx.z) * TILE_THREADS, all = c / N;
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

// f(row, channel) for each row and group of N channels; `rows_of_block` rows a block.
template <int N, class F> __device__ __forceinline__ void over_tile(Size rows, int rows_of_block, int c, F f) {
    const Tile<N> tile(c);
    const Size first = Size(blockIdx.x) * rows_of_block;
    const Size end = first + rows_of_block < rows ? first + rows_of_block : rows;
    if (tile.busy) {
#pragma unroll 2
        for (Size row = first + tile.row; row < end; row += tile.step) {
            f(row, tile.channel);
        }
    }
}

// A pixel of pictures that lie one after the other.
struct Pixel {
    int image, y, x;

    __device__ __forceinline__ Pixel(Size index, int h, int w)
        : image(int(unsigned(index) / unsigned(h * w))), y(int(unsigned(index) % unsigned(h * w) / unsigned(w))),
          x(int(unsigned(index) % unsigned(w))) {}
};

// Rows that are added in f32 before they join a sum in f64.
constexpr int RUN = 32;
