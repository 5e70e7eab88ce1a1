// a + b, where b may lack leading axes of a and is then repeated: a residual, or a table of positions.
//
// Bytes: 2 a + b elements. Flops: one an element. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// add_forward_bf16                      256 threads  32      0  64   |  31      0  64
// add_forward_f32                       256 threads  30      0  64   |  30      0  64

#include "repeated.cuh"

#define ADD(T, type)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_add_forward_##type(const T *a, const T *b, T *out, Size count, Size period) {                          \
        map_repeated(a, b, out, count, period, [](float x, float y) { return x + y; });                              \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_add_forward_##type, MAP_THREADS)

ADD(float, f32)
ADD(bf16, bf16)
