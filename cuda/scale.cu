// x times a number.
//
// Bytes: x twice. Flops: one an element. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// scale_forward_bf16                    256 threads  26      0  64   |  32      0  64
// scale_forward_f32                     256 threads  16      0  64   |  22      0  64

#include "elementwise.cuh"

#define SCALE(T, type)                                                                                               \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_scale_forward_##type(const T *x, T *out, Size count, float factor) {                                   \
        map(count, {out}, [=](const float(&v)[1], float(&y)[1]) { y[0] = v[0] * factor; }, x);                       \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_scale_forward_##type, MAP_THREADS)

SCALE(float, f32)
SCALE(bf16, bf16)
