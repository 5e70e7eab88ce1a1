// x where x > 0, else slope x (ReLU with slope 0, LeakyReLU with another), and its rule.
//
// Bytes: x twice, the rule x three times. Flops: one an element. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// activation_backward_bf16              256 threads  32      0  64   |  31      0  64
// activation_backward_f32               256 threads  28      0  64   |  28      0  64
// activation_forward_bf16               256 threads  26      0  64   |  32      0  64
// activation_forward_f32                256 threads  16      0  64   |  22      0  64

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
