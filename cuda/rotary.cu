// Packed queries, keys and values of which the first two are turned: pairs (2i, 2i + 1) of a head by the angle that the
// position's table row gives pair i. The rule turns back, by the transposed matrix.
//
// Bytes: qkv twice, and the table's rows from a cache. Flops: 2 an element. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// rotary_turn_bf16                      256 threads  38      0  48   |  38      0  48
// rotary_turn_f32                       256 threads  34      0  48   |  32      0  64

#include "tile.cuh"

namespace {

// Rows of 3 d; a group of N channels, N even, lies within a head. `direction` is 1, or -1 for the rule.
template <int N, class T>
__device__ __forceinline__ void turn(const T *qkv, const float *table, T *out, Size rows, int rows_of_block, int tokens,
                                     int d, int head, int first, float direction) {
    over_tile<N>(rows, rows_of_block, 3 * d, [&](Size row, int channel) {
        float v[N];
        load<N>(qkv + row * 3 * d + channel, v);
        if (channel < 2 * d) {
            float angle[N];
            load<N>(table + (first + row % tokens) * head + channel % head, angle);
#pragma unroll
            for (int i = 0; i < N; i += 2) {
                const float a = v[i], b = v[i + 1], sine = direction * angle[i + 1];
                v[i] = a * angle[i] - b * sine;
                v[i + 1] = b * angle[i] + a * sine;
            }
        }
        store<N>(out + row * 3 * d + channel, v);
    });
}

} // namespace

// 16 bytes at once where a head is a multiple of that, else pairs.
#define ROTARY(T, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_rotary_turn_##type(const T *qkv, const float *table, T *out, Size rows, int rows_of_block, int tokens, \
                                 int d, int head, int first, float direction) {                                      \
        if (head % TOGETHER<T> == 0) {                                                                               \
            turn<TOGETHER<T>>(qkv, table, out, rows, rows_of_block, tokens, d, head, first, direction);              \
        } else {                                                                                                     \
            turn<2>(qkv, table, out, rows, rows_of_block, tokens, d, head, first, direction);                        \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_rotary_turn_##type, TILE_THREADS)

ROTARY(float, f32)
ROTARY(bf16, bf16)
