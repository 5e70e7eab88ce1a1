// a + b, where b may lack leading axes of a and is then repeated: a residual, or a table of positions.
//
// Bytes: 2 a + b elements. Flops: one an element. Bound: memory.

#include "elementwise.cuh"

// b has `period` elements, a multiple of N: a group of N never reaches over its end.
template <int N, class T>
__device__ __forceinline__ void repeat(const T *a, const T *b, T *out, Size count, Size period) {
    const Size step = Size(gridDim.x) * blockDim.x * N;
    for (Size at = thread_of_grid() * N; at < count; at += step) {
        float x[N], y[N];
        load<N>(a + at, x);
        load<N>(b + at % period, y);
#pragma unroll
        for (int i = 0; i < N; i++) {
            x[i] += y[i];
        }
        store<N>(out + at, x);
    }
}

template <class T> __device__ __forceinline__ void add(const T *a, const T *b, T *out, Size count, Size period) {
    if (period == count) {
        map(count, {out}, [](const float(&x)[2], float(&y)[1]) { y[0] = x[0] + x[1]; }, a, b);
    } else if (period % TOGETHER<T> == 0) {
        repeat<TOGETHER<T>>(a, b, out, count, period);
    } else {
        repeat<1>(a, b, out, count, period);
    }
}

#define ADD(T, type)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_add_forward_##type(const T *a, const T *b, T *out, Size count, Size period) {                          \
        add(a, b, out, count, period);                                                                               \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_add_forward_##type, MAP_THREADS)

ADD(float, f32)
ADD(bf16, bf16)
