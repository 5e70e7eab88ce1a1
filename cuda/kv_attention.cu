// Causal attention over a cache: the keys and values of new positions, keys turned first if there is a table of angles,
// join those of earlier ones, and each new position attends to all up to its own. A block a sequence and head.
//
// A key is read by G lanes, 16 bytes each, so that a warp has 32 / G keys at once; each such group carries the largest
// score, the sum and the weighted values of its keys, and the groups' are joined at the end. Which group a key falls to
// depends on its position alone: a sequence fed position by position gives the bits that it gives at once.
//
// Bytes: the cache of a head once, while it fits the first level, for all its new positions. Flops: 4 head_dim a key and
// query. Bound: memory, and for few sequences latency: their blocks do not fill the device.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// kv_attention_attend_bf16              256 threads  80  14528  24   |  80  14528  24
// kv_attention_attend_f32               256 threads  48  14528  40   |  60  14528  32
// kv_attention_attend_f32_bf16          256 threads  80  14528  24   |  80  14528  24

#include "common.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;

namespace {

// Element e of a head, its pair turned by the angles of a position if there are any.
template <class V> __device__ __forceinline__ float turned(const V *from, const float *angles, int e) {
    if (!angles) {
        return widen(from[e]);
    }
    const int even = e & ~1;
    const float a = widen(from[even]), b = widen(from[even + 1]), cosine = angles[even], sine = angles[even + 1];
    return e == even ? a * cosine - b * sine : b * cosine + a * sine;
}

// What some keys amount to, of E elements of the values: the largest score, the sum of e^(score - largest), and that of
// the values times it.
template <int E> struct Weighed {
    float most = -INFINITY, sum = 0.0f, value[E] = {};

    __device__ __forceinline__ void join(float other_most, float other_sum, const float (&other)[E]) {
        const float now = larger(most, other_most);
        // Minus infinity, where there was no key yet, must not be taken from itself.
        const float mine = sum == 0.0f ? 0.0f : expf(most - now);
        const float its = other_sum == 0.0f ? 0.0f : expf(other_most - now);
        sum = sum * mine + other_sum * its;
#pragma unroll
        for (int i = 0; i < E; i++) {
            value[i] = value[i] * mine + other[i] * its;
        }
        most = now;
    }
};

// Lane l of a group has elements (l + G k) N .. + N of a head, for k < K.
template <int G, int N, int K, class V, class T>
__device__ __forceinline__ void attend(const V *qkv, const float *table, T *keys, T *values, V *out, int tokens,
                                       int heads, int width, int capacity, int position) {
    constexpr int E = N * K, AT_ONCE = WARP / G;
    const int head = int(blockIdx.x), d = heads * width;
    const Size row = blockIdx.y, start = (row * heads + head) * Size(capacity) * width;
    keys += start;
    values += start;
    qkv += row * tokens * 3 * d + head * width;
    out += row * tokens * d + head * width;
    for (int i = int(threadIdx.x); i < tokens * width; i += THREADS) {
        const int token = i / width, e = i % width;
        const V *from = qkv + Size(token) * 3 * d;
        const float *angles = table ? table + Size(position + token) * width : nullptr;
        keys[Size(position + token) * width + e] = narrow<T>(turned(from + d, angles, e));
        values[Size(position + token) * width + e] = narrow<T>(widen(from[2 * d + e]));
    }
    __syncthreads();

    SHARED(float, state, [WARPS][2]);
    SHARED(float, value, [WARPS][G * E]);
    const int lane = lane_of_warp() % G, group = warp_of_block() * AT_ONCE + lane_of_warp() / G;
    const float scale = 1.0f / sqrtf(float(width));
    for (int token = 0; token < tokens; token++) {
        const V *from = qkv + Size(token) * 3 * d;
        const float *angles = table ? table + Size(position + token) * width : nullptr;
        float q[K][N];
#pragma unroll
        for (int k = 0; k < K; k++) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                const int e = (lane + G * k) * N + i;
                q[k][i] = e < width ? turned(from, angles, e) * scale : 0.0f;
            }
        }
        const int seen = position + token + 1;
        Weighed<E> mine;
        // All groups of a warp go round equally often.
        for (int first = warp_of_block() * AT_ONCE; first < seen; first += WARPS * AT_ONCE) {
            const int key = first + group % AT_ONCE;
            const bool there = key < seen;
            const Size at = Size(there ? key : 0) * width;
            float score = 0.0f, v[E];
#pragma unroll
            for (int k = 0; k < K; k++) {
                const int e = (lane + G * k) * N;
                float element[N] = {}, of_value[N] = {};
                if (e < width) {
                    load<N>(keys + at + e, element);
                    load<N>(values + at + e, of_value);
                }
#pragma unroll
                for (int i = 0; i < N; i++) {
                    score = fmaf(q[k][i], element[i], score);
                    v[k * N + i] = of_value[i];
                }
            }
#pragma unroll
            for (int step = G / 2; step > 0; step /= 2) {
                score += __shfl_xor_sync(ALL, score, step);
            }
            if (there) {
                mine.join(score, 1.0f, v);
            }
        }
#pragma unroll
        for (int step = G; step < WARP; step *= 2) {
            float other[E];
            const float other_most = __shfl_xor_sync(ALL, mine.most, step);
            const float other_sum = __shfl_xor_sync(ALL, mine.sum, step);
#pragma unroll
            for (int i = 0; i < E; i++) {
                other[i] = __shfl_xor_sync(ALL, mine.value[i], step);
            }
            mine.join(other_most, other_sum, other);
        }
        if (lane_of_warp() < G) {
            state[warp_of_block()][0] = mine.most;
            state[warp_of_block()][1] = mine.sum;
#pragma unroll
            for (int i = 0; i < E; i++) {
                value[warp_of_block()][(lane + G * (i / N)) * N + i % N] = mine.value[i];
            }
        }
        __syncthreads();
        for (int e = int(threadIdx.x); e < width; e += THREADS) {
            Weighed<1> all;
            for (int warp = 0; warp < WARPS; warp++) {
                const float other[1] = {value[warp][e]};
                all.join(state[warp][0], state[warp][1], other);
            }
            out[Size(token) * d + e] = narrow<V>(all.value[0] / all.sum);
        }
        __syncthreads();
    }
}

} // namespace

// What comes and goes is V, the cache T. keys and values: those of the layer, (rows, heads, capacity, width). table: null, or (positions, width / 2, 2), cosine and
// sine. `position` is joined by what stands at `at`, if that is given: a captured graph is replayed further on so. Grid:
// (heads, rows). Heads of 64 and of 128 in 16 bytes a lane; others element by element, up to 256.
#define KV_ATTENTION(V, T, type)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_kv_attention_attend_##type(const V *qkv, const float *table, T *keys, T *values, V *out, int tokens,   \
                                         int heads, int width, int capacity, int position, const unsigned *at) {     \
        constexpr int N = TOGETHER<T>;                                                                               \
        position += at ? int(*at) : 0;                                                                               \
        if (width == 64) {                                                                                           \
            attend<64 / N, N, 1>(qkv, table, keys, values, out, tokens, heads, width, capacity, position);           \
        } else if (width == 128) {                                                                                   \
            attend<128 / N, N, 1>(qkv, table, keys, values, out, tokens, heads, width, capacity, position);          \
        } else {                                                                                                     \
            attend<WARP, 1, 8>(qkv, table, keys, values, out, tokens, heads, width, capacity, position);             \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_kv_attention_attend_##type, THREADS)

KV_ATTENTION(float, float, f32)
KV_ATTENTION(bf16, bf16, bf16)
KV_ATTENTION(float, bf16, f32_bf16)
