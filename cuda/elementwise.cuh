// Functions of elements, and sums of them over a whole tensor.
#pragma once

#include "common.cuh"

// f(x, y): from one element of each of K inputs (x[0] is nothing if there is none), one of each of M outputs; 16 bytes at
// once, the last elements singly. This thread is number `thread` of `threads`.
template <int M, class T, class F, class... In>
__device__ __forceinline__ void map_among(Size thread, Size threads, Size count, T *const (&out)[M], F f,
                                          const In *...in) {
    constexpr int K = sizeof...(In) > 0 ? sizeof...(In) : 1, N = TOGETHER<T>;
    for (Size at = thread * N; at < count; at += threads * N) {
        float x[K][N] = {}, y[M][N];
        const int left = count - at < N ? int(count - at) : N;
        [[maybe_unused]] int k = 0;
        if (left == N) {
            (load<N>(in + at, x[k++]), ...);
        } else {
            (load_some<N>(in + at, x[k++], left), ...);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            float from[K], to[M];
#pragma unroll
            for (int j = 0; j < K; j++) {
                from[j] = x[j][i];
            }
            f(from, to);
#pragma unroll
            for (int j = 0; j < M; j++) {
                y[j][i] = to[j];
            }
        }
#pragma unroll
        for (int j = 0; j < M; j++) {
            if (left == N) {
                store<N>(out[j] + at, y[j]);
            } else {
                store_some<N>(out[j] + at, y[j], left);
            }
        }
    }
}

// The same by all threads. Any grid does; a thread a group of TOGETHER<T> is what it is for.
template <int M, class T, class F, class... In>
__device__ __forceinline__ void map(Size count, T *const (&out)[M], F f, const In *...in) {
    map_among(thread_of_grid(), Size(gridDim.x) * blockDim.x, count, out, f, in...);
}

// Elements that a block of `sum_part` adds up: the cut depends on the count alone.
constexpr int PART = 4096;
constexpr int MAP_THREADS = 256;

// The sum of f over the PART elements of each input that are a block's: f32 in a thread, f64 from there on.
template <class T, class F, class... In>
__device__ __forceinline__ double sum_of_part(Size block, Size count, F f, const T *first, const In *...in) {
    constexpr int K = 1 + sizeof...(In), N = TOGETHER<T>;
    const Size begin = block * PART, end = begin + PART < count ? begin + PART : count;
    float sum = 0.0f;
    for (Size at = begin + threadIdx.x * N; at < end; at += MAP_THREADS * N) {
        float x[K][N];
        const int left = end - at < N ? int(end - at) : N;
        int k = 1;
        if (left == N) {
            load<N>(first + at, x[0]);
            (load<N>(in + at, x[k++]), ...);
        } else {
            load_some<N>(first + at, x[0], left);
            (load_some<N>(in + at, x[k++], left), ...);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            float from[K];
#pragma unroll
            for (int j = 0; j < K; j++) {
                from[j] = x[j][i];
            }
            sum += i < left ? f(from) : 0.0f;
        }
    }
    return block_sum(double(sum));
}

// part[block] = that sum.
template <class T, class F, class... In>
__device__ __forceinline__ void sum_part(Size count, double *part, F f, const T *first, const In *...in) {
    const double all = sum_of_part(Size(blockIdx.x), count, f, first, in...);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = all;
    }
}

// The sum of all parts by one block, in an order that depends on their number alone. For thread 0.
__device__ __forceinline__ double sum_of_parts(const double *part, Size parts) {
    double sum = 0.0;
    for (Size i = threadIdx.x; i < parts; i += MAP_THREADS) {
        sum += part[i];
    }
    return block_sum(sum);
}
