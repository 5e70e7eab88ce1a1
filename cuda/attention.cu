// softmax(q k^T / sqrt(width)) v of the tokens of each sequence, a head by itself, in f32: a block has 32 queries and goes
// through the keys 32 at a time, with a running largest score and sum (Milakov, Gimelshein, 2018), so that no row of scores
// is ever whole.
//
// Bytes: q once, k and v once for each 32 queries, mostly from the second level. Flops: 4 width a query and key it sees.
// Bound: f32 arithmetic, at about half its peak: a thread's 8 products want 2 reads of shared memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// attention_forward128_f32              128 threads 127   9216  16   | 127   9216  16
// attention_forward512_f32              128 threads 233   9216   8   | 223   9216   8
// attention_forward64_f32               128 threads 115   9216  16   | 111   9216  16

#include "attention.cuh"

namespace {

// Sums or largest of the 16 threads that share rows.
template <class F> __device__ __forceinline__ float over_columns(float x, F f) {
#pragma unroll
    for (int step = 8; step > 0; step /= 2) {
        x = f(x, __shfl_xor_sync(ALL, x, step));
    }
    return x;
}

// Heads are `width` wide, at most CHUNKS * TILE. Grid: (tiles of queries, heads, sequences). `lse`: null, or per sequence,
// head and query the logarithm of the sum of exponentials, for the rule.
template <int CHUNKS>
__device__ __forceinline__ void forward(const float *q, const float *k, const float *v, float *out, float *lse,
                                        int tokens, int width, Size stride, int causal) {
    SHARED(Factor, factor, [2]);
    const int first = int(blockIdx.x) * TILE;
    const Size head = blockIdx.y, sequence = blockIdx.z, d = Size(gridDim.y) * width;
    const Size at = sequence * tokens * stride + head * width;
    const Head queries{q + at, stride, tokens, width}, keys{k + at, stride, tokens, width};
    const Head values{v + at, stride, tokens, width};
    const float scale = 1.0f / sqrtf(float(width));
    Part sum[CHUNKS] = {};
    float most[4], total[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        most[i] = -INFINITY;
        total[i] = 0.0f;
    }
    const int end = causal && first + TILE < tokens ? first + TILE : tokens;
    for (int key = 0; key < end; key += TILE) {
        Part p = products<CHUNKS>(factor[0], factor[1], queries, first, keys, key);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int query = first + row_of_thread() + i;
            float now = most[i];
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const int other = key + column_of_thread() + j;
                const bool seen = other < tokens && !(causal && other > query);
                p.at[i][j] = seen ? p.at[i][j] * scale : -INFINITY;
                now = larger(now, p.at[i][j]);
            }
            now = over_columns(now, larger);
            const float shrink = expf(most[i] - now);
            p.at[i][0] = expf(p.at[i][0] - now);
            p.at[i][1] = expf(p.at[i][1] - now);
            total[i] = fmaf(total[i], shrink, p.at[i][0] + p.at[i][1]);
            most[i] = now;
#pragma unroll
            for (int chunk = 0; chunk < CHUNKS; chunk++) {
                sum[chunk].at[i][0] *= shrink;
                sum[chunk].at[i][1] *= shrink;
            }
        }
        add_products(sum, factor[0], factor[1], p, values, key);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        total[i] = over_columns(total[i], [](float a, float b) { return a + b; });
        const int query = first + row_of_thread() + i;
        if (lse && column_of_thread() == 0 && query < tokens) {
            lse[(sequence * gridDim.y + head) * tokens + query] = most[i] + logf(total[i]);
        }
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; chunk++) {
            sum[chunk].at[i][0] /= total[i];
            sum[chunk].at[i][1] /= total[i];
        }
    }
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        sum[chunk].write(out + sequence * tokens * d + head * width, d, tokens, width, first, chunk * TILE);
    }
}

} // namespace

// One for heads of up to W channels. q, k and v point to the first head's first channel, tokens are `stride` apart.
#define ATTENTION(W)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, W <= 128 ? 4 : 2)                               \
        fqgan_attention_forward##W##_f32(const float *q, const float *k, const float *v, float *out, float *lse,     \
                                         int tokens, int width, Size stride, int causal) {                           \
        forward<W / TILE>(q, k, v, out, lse, tokens, width, stride, causal);                                         \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_attention_forward##W##_f32, ATTENTION_THREADS)

ATTENTION(64)
ATTENTION(128)
ATTENTION(512)
