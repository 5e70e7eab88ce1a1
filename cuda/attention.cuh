// What attention in f32 and its rule share: matrices of 32 x 32 in shared memory, and products of them, by 128 threads
// with 4 rows and 2 columns of the result each.
#pragma once

#include "common.cuh"

constexpr int TILE = 32;
constexpr int ATTENTION_THREADS = 128;

// Depth first, so that a thread reads its 4 rows, or 2 columns, of a step at once.
struct Factor {
    alignas(16) float at[TILE][TILE + 4];
};

// Rows of a head in global memory, `stride` apart.
struct Head {
    const float *data;
    Size stride;
    int rows, width;
};

// Where a thread's part of a result lies.
__device__ __forceinline__ int row_of_thread() { return int(threadIdx.x) / 16 * 4; }
__device__ __forceinline__ int column_of_thread() { return int(threadIdx.x) % 16 * 2; }

// f(row, channel, four elements) for TILE rows from `first` and TILE channels; zero where there is nothing.
template <class F> __device__ __forceinline__ void over_part(const Head &head, int first, int channel, F f) {
#pragma unroll
    for (int i = int(threadIdx.x); i < TILE * TILE / 4; i += ATTENTION_THREADS) {
        const int row = i / (TILE / 4), column = i % (TILE / 4) * 4;
        float v[4] = {};
        if (first + row < head.rows) {
            const float *from = head.data + (first + row) * head.stride + channel + column;
            if (head.width % 4 != 0) {
                load_some<4>(from, v, head.width - channel - column);
            } else if (channel + column < head.width) {
                load<4>(from, v);
            }
        }
        f(row, column, v);
    }
}

// Rows become columns: to.at[channel][row].
__device__ __forceinline__ void stage_turned(Factor &to, const Head &head, int first, int channel) {
    over_part(head, first, channel, [&](int row, int column, const float(&v)[4]) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            to.at[column + i][row] = v[i];
        }
    });
}

// As it is: to.at[row][channel].
__device__ __forceinline__ void stage(Factor &to, const Head &head, int first, int channel) {
    over_part(head, first, channel, [&](int row, int column, const float(&v)[4]) { store<4>(&to.at[row][column], v); });
}

// The part of a thread of a 32 x 32 result.
struct Part {
    float at[4][2];

    __device__ __forceinline__ void add_product(const Factor &a, const Factor &b) {
        const int row = row_of_thread(), column = column_of_thread();
#pragma unroll 8
        for (int k = 0; k < TILE; k++) {
            float x[4], y[2];
            load<4>(&a.at[k][row], x);
            load<2>(&b.at[k][column], y);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                at[i][0] = fmaf(x[i], y[0], at[i][0]);
                at[i][1] = fmaf(x[i], y[1], at[i][1]);
            }
        }
    }

    // Makes it the first factor of a product over its columns.
    __device__ __forceinline__ void give(Factor &to) const {
        const int row = row_of_thread(), column = column_of_thread();
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const float v[4] = {at[0][j], at[1][j], at[2][j], at[3][j]};
            store<4>(&to.at[column + j][row], v);
        }
    }

    // Writes rows from `first` and TILE channels of a head, as far as there are.
    __device__ __forceinline__ void write(float *to, Size stride, int rows, int width, int first, int channel) const {
        const int row = first + row_of_thread(), column = channel + column_of_thread();
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 2; j++) {
                if (row + i < rows && column + j < width) {
                    to[(row + i) * stride + column + j] = at[i][j];
                }
            }
        }
    }
};

// The products of TILE rows of one head with TILE rows of another, over all channels. Barriers inside; both factors are
// in use until the next one.
template <int CHUNKS>
__device__ __forceinline__ Part products(Factor &a, Factor &b, const Head &rows, int row, const Head &columns,
                                         int column) {
    Part all = {};
#pragma unroll 1
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        __syncthreads();
        stage_turned(a, rows, row, chunk * TILE);
        stage_turned(b, columns, column, chunk * TILE);
        __syncthreads();
        all.add_product(a, b);
    }
    return all;
}

// result[chunk] += the part times TILE rows of a head, chunk by chunk.
template <int CHUNKS>
__device__ __forceinline__ void add_products(Part (&result)[CHUNKS], Factor &a, Factor &b, const Part &part,
                                             const Head &head, int first) {
    __syncthreads();
    part.give(a);
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        if (chunk > 0) {
            __syncthreads();
        }
        stage(b, head, first, chunk * TILE);
        __syncthreads();
        result[chunk].add_product(a, b);
    }
}
