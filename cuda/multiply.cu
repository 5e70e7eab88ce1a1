// a * b, where b may lack leading axes of a and is then repeated: LayerScale, a mask, a factor.
//
// Bytes: 2 a + b elements. Flops: one an element. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// multiply_forward_bf16                 256 threads  32      0  64   |  31      0  64
// multiply_forward_f32                  256 threads  30      0  64   |  30      0  64

#include "repeated.cuh"

#define MULTIPLY(T, type)                                                                                            \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_multiply_forward_##type(const T *a, const T *b, T *out, Size count, Size period) {                     \
        map_repeated(a, b, out, count, period, [](float x, float y) { return x * y; });                              \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_multiply_forward_##type, MAP_THREADS)

MULTIPLY(float, f32)
MULTIPLY(bf16, bf16)
