// Sums over the rows of a matrix: the gradient of whatever was added, or multiplied, to each row. Rows are cut into
// parts, whose sums are added up by a second launch: where the cuts are depends on the shape alone.
//
// Bytes: all of x once. Flops: one an element. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// sum_rows_part_bf16                    256 threads  68  18432  24   |  63  18432  32
// sum_rows_part_f32                     256 threads  55  10240  32   |  59  10240  32

#include "tile.cuh"

namespace {

// Sums of `rows` rows a block into out[part]. Grid: (parts, 1, channel tiles).
template <int N, class T, class Out>
__device__ __forceinline__ void sum(const T *x, Out *out, Size rows, Size rows_of_part, int c) {
    const Tile<N> tile(c);
    const Size begin = Size(blockIdx.x) * rows_of_part, end = begin + rows_of_part < rows ? begin + rows_of_part : rows;
    double sums[N] = {};
    if (tile.busy) {
        for (Size run = begin + tile.row; run < end; run += Size(RUN) * tile.step) {
            float of_run[N] = {};
#pragma unroll 4
            for (int i = 0; i < RUN; i++) {
                const Size row = run + Size(i) * tile.step;
                if (row < end) {
                    float v[N];
                    load<N>(x + row * c + tile.channel, v);
#pragma unroll
                    for (int j = 0; j < N; j++) {
                        of_run[j] += v[j];
                    }
                }
            }
#pragma unroll
            for (int j = 0; j < N; j++) {
                sums[j] += double(of_run[j]);
            }
        }
    }
    tile.add_rows(sums);
    if (tile.row == 0) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            out[Size(blockIdx.x) * c + tile.channel + j] = Out(sums[j]);
        }
    }
}

} // namespace

#define SUM_ROWS(T, type)                                                                                            \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_sum_rows_part_##type(const T *x, float *out, Size rows, Size rows_of_part, int c) {                    \
        OVER_ROWS(T, sum, x, out, rows, rows_of_part, c);                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_sum_rows_part_##type, TILE_THREADS)

SUM_ROWS(float, f32)
SUM_ROWS(bf16, bf16)
