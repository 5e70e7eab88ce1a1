// Functions of two tensors of which the second may lack leading axes of the first, and is then repeated.
#pragma once

#include "elementwise.cuh"

// b has `period` elements, a multiple of N: a group of N never reaches over its end.
template <int N, class T, class F>
__device__ __forceinline__ void map_groups(const T *a, const T *b, T *out, Size count, Size period, F f) {
    const Size step = Size(gridDim.x) * blockDim.x * N;
    for (Size at = thread_of_grid() * N; at < count; at += step) {
        float x[N], y[N];
        load<N>(a + at, x);
        load<N>(b + at % period, y);
#pragma unroll
        for (int i = 0; i < N; i++) {
            x[i] = f(x[i], y[i]);
        }
        store<N>(out + at, x);
    }
}

template <class T, class F>
__device__ __forceinline__ void map_repeated(const T *a, const T *b, T *out, Size count, Size period, F f) {
    if (period == count) {
        map(count, {out}, [=](const float(&x)[2], float(&y)[1]) { y[0] = f(x[0], x[1]); }, a, b);
    } else if (period % TOGETHER<T> == 0) {
        map_groups<TOGETHER<T>>(a, b, out, count, period, f);
    } else {
        map_groups<1>(a, b, out, count, period, f);
    }
}
