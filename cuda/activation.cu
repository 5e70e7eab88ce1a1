// x where x > 0, else slope x (ReLU with slope 0, LeakyReLU with another), and its rule.
//
// Bytes: x twice, the rule x three times. Flops: one an element. Bound: memory.

#include "elementwise.cuh"

// A NaN stays, being above nothing.
#define ACTIVATION(T, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_activation_forward_##type(const T *x, T *out, Size count, float slope) {                               \
        map(count, {out}, [=](const float(&v)[1], float(&y)[1]) { y[0] = v[0] > 0.0f ? v[0] : v[0] * slope; }, x);   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_activation_forward_##type, MAP_THREADS)                                                       \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_activation_backward_##type(const T *x, const T *dy, T *dx, Size count, float slope) {                  \
        map(count, {dx}, [=](const float(&v)[2], float(&d)[1]) { d[0] = v[0] > 0.0f ? v[1] : v[1] * slope; }, x, dy);\
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_activation_backward_##type, MAP_THREADS)

ACTIVATION(float, f32)
ACTIVATION(bf16, bf16)
