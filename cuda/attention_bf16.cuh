// What attention in bf16 and its rule share. A warp has 16 rows of one side (queries, or keys) in registers and goes
// through the other side 32 rows at a time, which come to shared memory while those before them are worked on.
#pragma once

#include "mma.cuh"

constexpr int BF16_THREADS = 128;
// Rows of a warp and of a block, and rows of the other side at a time.
constexpr int ROWS = 16;
constexpr int BLOCK_ROWS = ROWS * BF16_THREADS / WARP;
constexpr int COLUMNS = 32;

// Rows of a head of W channels, `stride` apart.
struct Rows {
    const bf16 *data;
    Size stride;
    int count;
};

// 32 rows of the other side. The 8 elements beside each row spread rows over the banks.
template <int W> struct Stage {
    alignas(16) bf16 at[COLUMNS][W + 8];

    // To be ended and waited for.
    __device__ __forceinline__ void fill(const Rows &rows, int first) {
        for (int i = int(threadIdx.x); i < COLUMNS * W / 8; i += BF16_THREADS) {
            const int row = i / (W / 8), channel = i % (W / 8) * 8;
            const bool there = first + row < rows.count;
            copy_later(&at[row][channel], rows.data + (there ? first + row : 0) * rows.stride + channel, there);
        }
    }
};

// 16 rows of W channels as the first factor of products.
template <int W> struct Fragment {
    unsigned at[W / 16][4];

    __device__ __forceinline__ void load(const Rows &rows, int first) {
        const int g = lane_of_warp() / 4, t = lane_of_warp() % 4 * 2;
#pragma unroll
        for (int k = 0; k < W / 16; k++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = first + g + i % 2 * 8;
                const bf16 *from = rows.data + row * rows.stride + k * 16 + t + i / 2 * 8;
                at[k][i] = row < rows.count ? *reinterpret_cast<const unsigned *>(from) : 0u;
            }
        }
    }
};

// 16 x 32 numbers of a warp, in the tensor cores' order: number j of tile i stands at row j / 2 * 8 + lane / 4 and column
// 8 i + 2 (lane % 4) + j % 2.
using Scores = float[COLUMNS / 8][4];

__device__ __forceinline__ int row_of(int j) { return j / 2 * 8 + lane_of_warp() / 4; }
__device__ __forceinline__ int column_of(int i, int j) { return 8 * i + lane_of_warp() % 4 * 2 + j % 2; }

// Products of 16 rows with the stage's 32.
template <int W>
__device__ __forceinline__ void products(Scores &scores, const Fragment<W> &rows, const Stage<W> &stage) {
    const int lane = lane_of_warp();
#pragma unroll
    for (int i = 0; i < COLUMNS / 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            scores[i][j] = 0.0f;
        }
    }
#pragma unroll
    for (int k = 0; k < W / 16; k++) {
#pragma unroll
        for (int i = 0; i < COLUMNS / 16; i++) {
            unsigned b[4];
            load_matrices<false>(b, &stage.at[i * 16 + lane / 16 * 8 + lane % 8][k * 16 + lane / 8 % 2 * 8]);
            multiply_add(scores[2 * i], rows.at[k], b[0], b[1]);
            multiply_add(scores[2 * i + 1], rows.at[k], b[2], b[3]);
        }
    }
}

// sum (16 x W) += weights (16 x 32) times the stage.
template <int W>
__device__ __forceinline__ void add_products(float (&sum)[W / 8][4], const Scores &weights, const Stage<W> &stage) {
    const int lane = lane_of_warp();
#pragma unroll
    for (int k = 0; k < COLUMNS / 16; k++) {
        // What was a result becomes a factor: the two share their order.
        const float(&low)[4] = weights[2 * k], (&high)[4] = weights[2 * k + 1];
        const unsigned a[4] = {pair(low[0], low[1]), pair(low[2], low[3]), pair(high[0], high[1]),
                               pair(high[2], high[3])};
#pragma unroll
        for (int i = 0; i < W / 16; i++) {
            unsigned b[4];
            load_matrices<true>(b, &stage.at[k * 16 + lane / 8 % 2 * 8 + lane % 8][i * 16 + lane / 16 * 8]);
            multiply_add(sum[2 * i], a, b[0], b[1]);
            multiply_add(sum[2 * i + 1], a, b[2], b[3]);
        }
    }
}

// Writes 16 rows from `first`, as far as there are.
template <int W>
__device__ __forceinline__ void write(bf16 *to, Size stride, int count, int first, const float (&sum)[W / 8][4]) {
#pragma unroll
    for (int i = 0; i < W / 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            const int row = first + row_of(j);
            if (row < count) {
                *reinterpret_cast<unsigned *>(to + row * stride + column_of(i, j)) = pair(sum[i][j], sum[i][j + 1]);
            }
        }
    }
}

// body(stage of a, stage of b, first row) for each 32 rows from `begin` to `end` of two matrices.
template <int W, class F>
__device__ __forceinline__ void over_stages(const Rows &a, const Rows &b, int begin, int end, F body) {
    SHARED(Stage<W>, stage, [2][2]);
    stage[0][0].fill(a, begin);
    stage[0][1].fill(b, begin);
    end_copies();
    for (int first = begin, turn = 0; first < end; first += COLUMNS, turn ^= 1) {
        if (first + COLUMNS < end) {
            stage[turn ^ 1][0].fill(a, first + COLUMNS);
            stage[turn ^ 1][1].fill(b, first + COLUMNS);
        }
        // An empty group, where there is no more.
        end_copies();
        wait_for_copies<1>();
        __syncthreads();
        body(stage[turn][0], stage[turn][1], first);
        __syncthreads();
    }
}

constexpr float LOG2_E = 1.44269504f;
