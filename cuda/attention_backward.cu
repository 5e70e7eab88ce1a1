// The rule of attention in f32. With P = softmax(S), S = scale q k^T (computed again from the forward's logarithms of sums),
// D = dO v^T and delta = the sum of dO O over a row: dv = P^T dO, dS = P (D - delta), dq = scale dS k, dk = scale dS^T q.
// One launch for delta, one for dq (a block has 32 queries and goes through the keys), one each for dk and dv (a block has
// 32 keys and goes through the queries): every sum has one owner, and nothing depends on who comes first.
//
// Bytes: as forward. Flops: 6 width a query and key for dq, 6 for dk, 4 for dv. Bound: f32 arithmetic.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// attention_backward_delta_bf16         128 threads  56      0  36   |  48      0  40
// attention_backward_delta_f32          128 threads  56      0  36   |  48      0  40
// attention_backward_dk128_f32          128 threads 127   9216  16   | 128   9216  16
// attention_backward_dk512_f32          128 threads 243   9216   8   | 231   9216   8
// attention_backward_dk64_f32           128 threads  72   9216  28   |  80   9216  24
// attention_backward_dq128_f32          128 threads 124   9216  16   | 128   9216  16
// attention_backward_dq512_f32          128 threads 238   9216   8   | 234   9216   8
// attention_backward_dq64_f32           128 threads  80   9216  24   |  80   9216  24
// attention_backward_dv128_f32          128 threads  80   9216  24   |  95   9216  20
// attention_backward_dv512_f32          128 threads 237   9216   8   | 222   9216   8
// attention_backward_dv64_f32           128 threads  80   9216  24   |  72   9216  28

#include "attention.cuh"

namespace {

struct Inputs {
    Head q, k, v, d_out;
    const float *lse, *delta;
    float scale;
    int tokens, causal;

    // Rows of q, k and v are `stride` apart, those of d_out heads * width.
    __device__ __forceinline__ Inputs(const float *q, const float *k, const float *v, const float *d_out,
                                      const float *lse, const float *delta, int tokens, int width, Size stride,
                                      int causal)
        : scale(1.0f / sqrtf(float(width))), tokens(tokens), causal(causal) {
        const Size head = blockIdx.y, sequence = blockIdx.z, d = Size(gridDim.y) * width;
        const Size at = sequence * tokens * stride + head * width;
        this->q = {q + at, stride, tokens, width};
        this->k = {k + at, stride, tokens, width};
        this->v = {v + at, stride, tokens, width};
        this->d_out = {d_out + sequence * tokens * d + head * width, d, tokens, width};
        this->lse = lse + (sequence * gridDim.y + head) * tokens;
        this->delta = delta + (sequence * gridDim.y + head) * tokens;
    }

    __device__ __forceinline__ float probability(float product, int query, int key) const {
        const bool seen = query < tokens && key < tokens && !(causal && key > query);
        return seen ? expf(fmaf(product, scale, -lse[query])) : 0.0f;
    }

    // The gradient of a product, that of the probability being d.
    __device__ __forceinline__ float slope(float p, float d, int query) const {
        return query < tokens ? p * (d - delta[query]) * scale : 0.0f;
    }
};

template <int CHUNKS>
__device__ __forceinline__ void of_queries(const Inputs &in, float *dq, Size stride) {
    SHARED(Factor, factor, [2]);
    const int first = int(blockIdx.x) * TILE, width = in.q.width;
    Part sum[CHUNKS] = {};
    const int end = in.causal && first + TILE < in.tokens ? first + TILE : in.tokens;
    for (int key = 0; key < end; key += TILE) {
        Part p = products<CHUNKS>(factor[0], factor[1], in.q, first, in.k, key);
        const Part d = products<CHUNKS>(factor[0], factor[1], in.d_out, first, in.v, key);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int query = first + row_of_thread() + i;
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const float probability = in.probability(p.at[i][j], query, key + column_of_thread() + j);
                p.at[i][j] = in.slope(probability, d.at[i][j], query);
            }
        }
        add_products(sum, factor[0], factor[1], p, in.k, key);
    }
    const Size at = Size(blockIdx.z) * in.tokens * stride + Size(blockIdx.y) * width;
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        sum[chunk].write(dq + at, stride, in.tokens, width, first, chunk * TILE);
    }
}

// The gradient of 32 keys, or of their values: rows of the parts are keys, columns queries.
template <int CHUNKS, bool KEYS>
__device__ __forceinline__ void of_keys(const Inputs &in, float *to, Size stride) {
    SHARED(Factor, factor, [2]);
    const int first = int(blockIdx.x) * TILE, width = in.q.width;
    Part sum[CHUNKS] = {};
    for (int query = in.causal ? first : 0; query < in.tokens; query += TILE) {
        Part p = products<CHUNKS>(factor[0], factor[1], in.k, first, in.q, query);
        Part d = {};
        if (KEYS) {
            d = products<CHUNKS>(factor[0], factor[1], in.v, first, in.d_out, query);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int key = first + row_of_thread() + i;
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const int other = query + column_of_thread() + j;
                p.at[i][j] = in.probability(p.at[i][j], other, key);
                if (KEYS) {
                    p.at[i][j] = in.slope(p.at[i][j], d.at[i][j], other);
                }
            }
        }
        add_products(sum, factor[0], factor[1], p, KEYS ? in.q : in.d_out, query);
    }
    const Size at = Size(blockIdx.z) * in.tokens * stride + Size(blockIdx.y) * width;
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        sum[chunk].write(to + at, stride, in.tokens, width, first, chunk * TILE);
    }
}

} // namespace

#define BACKWARD(W)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)                                                  \
        fqgan_attention_backward_dq##W##_f32(const float *q, const float *k, const float *v, const float *d_out,              \
                                    const float *lse, const float *delta, float *dq, int tokens, int width,          \
                                    Size stride, int causal) {                                                       \
        of_queries<W / TILE>(Inputs(q, k, v, d_out, lse, delta, tokens, width, stride, causal), dq, stride);         \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_backward_dq##W##_f32, ATTENTION_THREADS)                                                     \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)                                                  \
        fqgan_attention_backward_dk##W##_f32(const float *q, const float *k, const float *v, const float *d_out,              \
                                    const float *lse, const float *delta, float *dk, int tokens, int width,          \
                                    Size stride, int causal) {                                                       \
        of_keys<W / TILE, true>(Inputs(q, k, v, d_out, lse, delta, tokens, width, stride, causal), dk, stride);      \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_backward_dk##W##_f32, ATTENTION_THREADS)                                                     \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)                                                  \
        fqgan_attention_backward_dv##W##_f32(const float *q, const float *k, const float *v, const float *d_out,              \
                                    const float *lse, const float *delta, float *dv, int tokens, int width,          \
                                    Size stride, int causal) {                                                       \
        of_keys<W / TILE, false>(Inputs(q, k, v, d_out, lse, delta, tokens, width, stride, causal), dv, stride);     \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_backward_dv##W##_f32, ATTENTION_THREADS)

BACKWARD(64)
BACKWARD(128)
BACKWARD(512)

// delta (sequences, heads, tokens): a warp a token of a head. Grid: (tokens / warps a block, heads, sequences).
#define DELTA(T, type)                                                                                               \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS)                                                  \
        fqgan_attention_backward_delta_##type(const T *out, const T *d_out, float *delta, int tokens, int width) {            \
        const int token = int(blockIdx.x) * (ATTENTION_THREADS / WARP) + warp_of_block();                            \
        if (token < tokens) {                                                                                        \
            const Size head = blockIdx.y, d = Size(gridDim.y) * width;                                               \
            const Size at = (Size(blockIdx.z) * tokens + token) * d + head * width;                                  \
            float sum = 0.0f;                                                                                        \
            for (int i = lane_of_warp(); i < width; i += WARP) {                                                     \
                sum = fmaf(widen(out[at + i]), widen(d_out[at + i]), sum);                                           \
            }                                                                                                        \
            sum = warp_sum(sum);                                                                                     \
            if (lane_of_warp() == 0) {                                                                               \
                delta[(Size(blockIdx.z) * gridDim.y + head) * tokens + token] = sum;                                 \
            }                                                                                                        \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_backward_delta_##type, ATTENTION_THREADS)

DELTA(float, f32)
DELTA(bf16, bf16)
