// What a fully connected layer has beside its products: the scale of a quantised weight, bias, activation and residual
// after them, and the slope of the activation in the rule. Activations: 0 none, 1 ReLU, 2 SiLU, 3 GELU with the error
// function, 4 x sigmoid(1.702 x).
//
// after    bytes: y twice, a residual once    flops: 3 to 20 an element    bound: memory
// slope    bytes: three times z               flops: 20 an element         bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// linear_after_bf16                     256 threads  32      0  64   |  32      0  64
// linear_after_f32                      256 threads  30      0  64   |  32      0  64
// linear_slope_bf16                     256 threads  32      0  64   |  32      0  64
// linear_slope_f32                      256 threads  31      0  64   |  32      0  64

#include "elementwise.cuh"

namespace {

__device__ __forceinline__ float activate(float x, int activation) {
    switch (activation) {
    case 1:
        return larger(x, 0.0f);
    case 2:
        return silu(x);
    case 3:
        // x Phi(x); erfc keeps the tail of negative x.
        return 0.5f * x * erfcf(-0.70710678f * x);
    case 4:
        return x * sigmoid(1.702f * x);
    default:
        return x;
    }
}

__device__ __forceinline__ float slope(float x, int activation) {
    switch (activation) {
    case 1:
        return x > 0.0f ? 1.0f : 0.0f;
    case 2:
        return silu_slope(x);
    case 3:
        // Phi(x) + x phi(x).
        return fmaf(x, 0.39894228f * expf(-0.5f * x * x), 0.5f * erfcf(-0.70710678f * x));
    case 4: {
        const float z = 1.702f * x, s = sigmoid(z);
        return s * fmaf(z, 1.0f - s, 1.0f);
    }
    default:
        return 1.0f;
    }
}

// out = activation(y * scale + bias) + residual, of rows of n; scale, bias and residual may be null. out may be y.
template <int N, class T>
__device__ __forceinline__ void after(const T *y, const float *scale, const float *bias, const T *residual, T *out,
                                      Size count, int n, int activation) {
    const Size step = Size(gridDim.x) * blockDim.x * N;
    for (Size at = thread_of_grid() * N; at < count; at += step) {
        const int column = int(at % n);
        float v[N], w[N];
        load<N>(y + at, v);
        if (scale) {
            load<N>(scale + column, w);
#pragma unroll
            for (int i = 0; i < N; i++) {
                v[i] *= w[i];
            }
        }
        if (bias) {
            load<N>(bias + column, w);
#pragma unroll
            for (int i = 0; i < N; i++) {
                v[i] += w[i];
            }
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = activate(v[i], activation);
        }
        if (residual) {
            load<N>(residual + at, w);
#pragma unroll
            for (int i = 0; i < N; i++) {
                v[i] += w[i];
            }
        }
        store<N>(out + at, v);
    }
}

} // namespace

#define LINEAR(T, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_linear_after_##type(const T *y, const float *scale, const float *bias, const T *residual, T *out,      \
                                  Size count, int n, int activation) {                                               \
        const int c = n;                                                                                             \
        OVER_ROWS(T, after, y, scale, bias, residual, out, count, n, activation);                                    \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_linear_after_##type, MAP_THREADS)                                                             \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_linear_slope_##type(const T *z, const T *dy, T *dz, Size count, int activation) {                      \
        map(                                                                                                         \
            count, {dz}, [=](const float(&x)[2], float(&d)[1]) { d[0] = x[1] * slope(x[0], activation); }, z, dy);   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_linear_slope_##type, MAP_THREADS)

LINEAR(float, f32)
LINEAR(bf16, bf16)
