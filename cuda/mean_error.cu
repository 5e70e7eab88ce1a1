// The mean squared or absolute difference of two tensors: its parts (mean.cu adds them up), and its rule.
//
// part        bytes: a and b           flops: 3 an element    bound: memory
// backward    bytes: a, b and da       flops: 2 an element    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// mean_error_backward_bf16              256 threads  31      0  64   |  31      0  64
// mean_error_backward_f32               256 threads  29      0  64   |  30      0  64
// mean_error_part_bf16                  256 threads  32    256  64   |  32    256  64
// mean_error_part_f32                   256 threads  26    256  64   |  26    256  64

#include "elementwise.cuh"

// A NaN stays; equal elements have no slope.
#define MEAN_ERROR(T, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_mean_error_part_##type(const T *a, const T *b, double *part, Size count, int squared) {                \
        sum_part(                                                                                                    \
            count, part,                                                                                             \
            [=](const float(&x)[2]) {                                                                                \
                const float d = x[0] - x[1];                                                                         \
                return squared ? d * d : fabsf(d);                                                                   \
            },                                                                                                       \
            a, b);                                                                                                   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_mean_error_part_##type, MAP_THREADS)                                                          \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_mean_error_backward_##type(const T *a, const T *b, const float *grad, T *da, Size count,               \
                                         int squared) {                                                              \
        const float factor = float(double(*grad) / double(count));                                                   \
        map(                                                                                                         \
            count, {da},                                                                                             \
            [=](const float(&x)[2], float(&y)[1]) {                                                                  \
                const float d = x[0] - x[1];                                                                         \
                y[0] = squared ? d * (2.0f * factor) : d > 0.0f ? factor : d < 0.0f ? -factor : 0.0f * d;            \
            },                                                                                                       \
            a, b);                                                                                                   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_mean_error_backward_##type, MAP_THREADS)

MEAN_ERROR(float, f32)
MEAN_ERROR(bf16, bf16)
