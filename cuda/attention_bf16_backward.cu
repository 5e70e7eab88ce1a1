// The rule of attention in bf16 by tensor cores; formulas and launches are those of attention_backward.cu, P and dS are
// rounded to bf16 as factors. A block has 64 queries and goes through the keys (dq), or 64 keys and goes through the
// queries (dk, dv).
//
// Bytes: as forward. Flops: 6 width a query and key for dq, 6 for dk, 4 for dv. Bound: tensor cores.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// attention_bf16_backward_dk128         128 threads 236  34816   8   | 234  34816   8
// attention_bf16_backward_dk64          128 threads 128  18432  16   | 132  18432  12
// attention_bf16_backward_dq128         128 threads 230  34816   8   | 230  34816   8
// attention_bf16_backward_dq64          128 threads 128  18432  16   | 128  18432  16
// attention_bf16_backward_dv128         128 threads 165  34816  12   | 166  34816  12
// attention_bf16_backward_dv64          128 threads 118  18432  16   | 119  18432  16

#include "attention_bf16.cuh"

namespace {

struct Inputs {
    Rows q, k, v, d_out;
    const float *lse, *delta;
    // Of scores, and of scores in powers of 2.
    float scale, scale2;
    int tokens, causal;

    // Rows of q, k and v are `stride` apart, those of d_out heads * W.
    __device__ __forceinline__ Inputs(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *d_out, const float *lse,
                                      const float *delta, int tokens, int width, Size stride, int causal)
        : scale(1.0f / sqrtf(float(width))), scale2(LOG2_E / sqrtf(float(width))), tokens(tokens), causal(causal) {
        const Size head = blockIdx.y, sequence = blockIdx.z, d = Size(gridDim.y) * width;
        const Size at = sequence * tokens * stride + head * width;
        this->q = {q + at, stride, tokens};
        this->k = {k + at, stride, tokens};
        this->v = {v + at, stride, tokens};
        this->d_out = {d_out + sequence * tokens * d + head * width, d, tokens};
        this->lse = lse + (sequence * gridDim.y + head) * tokens;
        this->delta = delta + (sequence * gridDim.y + head) * tokens;
    }

    __device__ __forceinline__ float probability(float product, int query, int key) const {
        const bool seen = query < tokens && key < tokens && !(causal && key > query);
        return seen ? exp2f(fmaf(product, scale2, -lse[query])) : 0.0f;
    }

    // The gradient of a product, that of the probability being d.
    __device__ __forceinline__ float slope(float p, float d, int query) const {
        return query < tokens ? p * (d - delta[query]) * scale : 0.0f;
    }
};

template <int W> __device__ __forceinline__ void of_queries(const Inputs &in, bf16 *dq, Size stride) {
    const int block = int(blockIdx.x) * BLOCK_ROWS, first = block + warp_of_block() * ROWS;
    Fragment<W> queries, grads;
    queries.load(in.q, first);
    grads.load(in.d_out, first);
    float sum[W / 8][4] = {};
    const int end = in.causal && block + BLOCK_ROWS < in.tokens ? block + BLOCK_ROWS : in.tokens;
    over_stages<W>(in.k, in.v, 0, end, [&](const Stage<W> &keys, const Stage<W> &values, int key) {
        Scores p, d;
        products<W>(p, queries, keys);
        products<W>(d, grads, values);
#pragma unroll
        for (int i = 0; i < COLUMNS / 8; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int query = first + row_of(j);
                p[i][j] = in.slope(in.probability(p[i][j], query, key + column_of(i, j)), d[i][j], query);
            }
        }
        add_products<W>(sum, p, keys);
    });
    write<W>(dq + Size(blockIdx.z) * in.tokens * stride + Size(blockIdx.y) * W, stride, in.tokens, first, sum);
}

// The gradient of keys, or of their values: rows are keys, columns queries.
template <int W, bool KEYS> __device__ __forceinline__ void of_keys(const Inputs &in, bf16 *to, Size stride) {
    const int block = int(blockIdx.x) * BLOCK_ROWS, first = block + warp_of_block() * ROWS;
    Fragment<W> keys, values;
    keys.load(in.k, first);
    if (KEYS) {
        values.load(in.v, first);
    }
    float sum[W / 8][4] = {};
    over_stages<W>(in.q, in.d_out, in.causal ? block : 0, in.tokens,
                   [&](const Stage<W> &queries, const Stage<W> &grads, int query) {
                       Scores p, d;
                       products<W>(p, keys, queries);
                       if (KEYS) {
                           products<W>(d, values, grads);
                       }
#pragma unroll
                       for (int i = 0; i < COLUMNS / 8; i++) {
#pragma unroll
                           for (int j = 0; j < 4; j++) {
                               const int other = query + column_of(i, j);
                               p[i][j] = in.probability(p[i][j], other, first + row_of(j));
                               if (KEYS) {
                                   p[i][j] = in.slope(p[i][j], d[i][j], other);
                               }
                           }
                       }
                       add_products<W>(sum, p, KEYS ? queries : grads);
                   });
    write<W>(to + Size(blockIdx.z) * in.tokens * stride + Size(blockIdx.y) * W, stride, in.tokens, first, sum);
}

} // namespace

#define BACKWARD(W)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(BF16_THREADS)                                                       \
        fqgan_attention_bf16_backward_dq##W(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *d_out,                 \
                                     const float *lse, const float *delta, bf16 *dq, int tokens, Size stride,        \
                                     int causal) {                                                                   \
        of_queries<W>(Inputs(q, k, v, d_out, lse, delta, tokens, W, stride, causal), dq, stride);                    \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_bf16_backward_dq##W, BF16_THREADS)                                                         \
    extern "C" __global__ void __launch_bounds__(BF16_THREADS)                                                       \
        fqgan_attention_bf16_backward_dk##W(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *d_out,                 \
                                     const float *lse, const float *delta, bf16 *dk, int tokens, Size stride,        \
                                     int causal) {                                                                   \
        of_keys<W, true>(Inputs(q, k, v, d_out, lse, delta, tokens, W, stride, causal), dk, stride);                 \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_bf16_backward_dk##W, BF16_THREADS)                                                         \
    extern "C" __global__ void __launch_bounds__(BF16_THREADS)                                                       \
        fqgan_attention_bf16_backward_dv##W(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *d_out,                 \
                                     const float *lse, const float *delta, bf16 *dv, int tokens, Size stride,        \
                                     int causal) {                                                                   \
        of_keys<W, false>(Inputs(q, k, v, d_out, lse, delta, tokens, W, stride, causal), dv, stride);                \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_bf16_backward_dv##W, BF16_THREADS)

BACKWARD(64)
BACKWARD(128)
