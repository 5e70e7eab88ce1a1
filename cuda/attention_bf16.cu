// softmax(q k^T / sqrt(width)) v in bf16 by tensor cores, for heads of 64 and 128 channels: sums, scores and their
// exponentials are f32, and no row of scores is ever whole. A block has 64 queries, 16 a warp.
//
// Bytes: q once, k and v once for each 64 queries, mostly from the second level. Flops: 4 width a query and key it sees.
// Bound: tensor cores, and beside them exponentials, one for each 4 width flops.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// attention_bf16_forward128             128 threads 164  34816  12   | 167  34816  12
// attention_bf16_forward64              128 threads 123  18432  16   | 122  18432  16

#include "attention_bf16.cuh"

namespace {

// Sums or largest of the 4 lanes that share rows.
template <class F> __device__ __forceinline__ float over_columns(float x, F f) {
    x = f(x, __shfl_xor_sync(ALL, x, 1));
    return f(x, __shfl_xor_sync(ALL, x, 2));
}

// Grid: (blocks of queries, heads, sequences). lse: null, or per sequence, head and query the logarithm to base 2 of the
// sum of exponentials, for the rule.
template <int W>
__device__ __forceinline__ void forward(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, float *lse, int tokens,
                                        Size stride, int causal) {
    const Size head = blockIdx.y, sequence = blockIdx.z, d = Size(gridDim.y) * W;
    const Size at = sequence * tokens * stride + head * W;
    const int block = int(blockIdx.x) * BLOCK_ROWS, first = block + warp_of_block() * ROWS;
    // Powers of 2 are what the hardware has.
    const float scale = LOG2_E / sqrtf(float(W));
    Fragment<W> queries;
    queries.load({q + at, stride, tokens}, first);
    float sum[W / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {};
    const int end = causal && block + BLOCK_ROWS < tokens ? block + BLOCK_ROWS : tokens;
    over_stages<W>({k + at, stride, tokens}, {v + at, stride, tokens}, 0, end,
                   [&](const Stage<W> &keys, const Stage<W> &values, int key) {
                       Scores p;
                       products<W>(p, queries, keys);
                       float now[2] = {most[0], most[1]};
#pragma unroll
                       for (int i = 0; i < COLUMNS / 8; i++) {
#pragma unroll
                           for (int j = 0; j < 4; j++) {
                               const int other = key + column_of(i, j);
                               const bool seen = other < tokens && !(causal && other > first + row_of(j));
                               p[i][j] = seen ? p[i][j] * scale : -INFINITY;
                               now[j / 2] = larger(now[j / 2], p[i][j]);
                           }
                       }
                       float shrink[2];
#pragma unroll
                       for (int row = 0; row < 2; row++) {
                           now[row] = over_columns(now[row], larger);
                           // A warp may meet keys that it sees none of, after some that it saw.
                           shrink[row] = exp2f(most[row] - now[row]);
                           total[row] *= shrink[row];
                           most[row] = now[row];
                       }
#pragma unroll
                       for (int i = 0; i < COLUMNS / 8; i++) {
#pragma unroll
                           for (int j = 0; j < 4; j++) {
                               p[i][j] = exp2f(p[i][j] - most[j / 2]);
                               total[j / 2] += p[i][j];
                           }
                       }
#pragma unroll
                       for (int i = 0; i < W / 8; i++) {
#pragma unroll
                           for (int j = 0; j < 4; j++) {
                               sum[i][j] *= shrink[j / 2];
                           }
                       }
                       add_products<W>(sum, p, values);
                   });
    float inverse[2];
#pragma unroll
    for (int row = 0; row < 2; row++) {
        total[row] = over_columns(total[row], [](float a, float b) { return a + b; });
        inverse[row] = 1.0f / total[row];
        const int query = first + row_of(2 * row);
        if (lse && lane_of_warp() % 4 == 0 && query < tokens) {
            lse[(sequence * gridDim.y + head) * tokens + query] = most[row] + log2f(total[row]);
        }
    }
#pragma unroll
    for (int i = 0; i < W / 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            sum[i][j] *= inverse[j / 2];
        }
    }
    write<W>(out + sequence * tokens * d + head * W, d, tokens, first, sum);
}

} // namespace

// q, k and v point to the first head's first channel; tokens are `stride` apart, a multiple of 8.
#define ATTENTION(W)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BF16_THREADS)                                                       \
        fqgan_attention_bf16_forward##W(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, float *lse,        \
                                          int tokens, Size stride, int causal) {                                     \
        forward<W>(q, k, v, out, lse, tokens, stride, causal);                                                       \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_bf16_forward##W, BF16_THREADS)

ATTENTION(64)
ATTENTION(128)
