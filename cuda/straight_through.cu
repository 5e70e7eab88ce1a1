// z + (q - z), rounded as written: the value of the code, the gradient of the latent, which is passed on as it is.
//
// Bytes: three times z. Flops: 2 an element. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// straight_through_forward_bf16         256 threads  32      0  64   |  31      0  64
// straight_through_forward_f32          256 threads  28      0  64   |  28      0  64

#include "elementwise.cuh"

#define STRAIGHT_THROUGH(T, type)                                                                                    \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_straight_through_forward_##type(const T *z, const T *q, T *out, Size count) {                          \
        map(count, {out}, [](const float(&x)[2], float(&y)[1]) { y[0] = x[0] + (x[1] - x[0]); }, z, q);              \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_straight_through_forward_##type, MAP_THREADS)

STRAIGHT_THROUGH(float, f32)
STRAIGHT_THROUGH(bf16, bf16)
