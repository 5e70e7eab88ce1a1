// SiLU(a) b, the gate of a SwiGLU layer, and its rule: with s = sigmoid(a), da = dy b s (1 + a (1 - s)), db = dy a s.
//
// forward    bytes: three times a    flops: 18 an element    bound: memory
// backward   bytes: five times a     flops: 22 an element    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// gate_backward_bf16                    256 threads  42      0  40   |  45      0  40
// gate_backward_f32                     256 threads  32      0  64   |  32      0  64
// gate_forward_bf16                     256 threads  36      0  48   |  36      0  48
// gate_forward_f32                      256 threads  27      0  64   |  28      0  64

#include "elementwise.cuh"

#define GATE(T, type)                                                                                                \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_gate_forward_##type(const T *a, const T *b, T *out, Size count) {                                      \
        map(count, {out}, [](const float(&x)[2], float(&y)[1]) { y[0] = silu(x[0]) * x[1]; }, a, b);                 \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_gate_forward_##type, MAP_THREADS)                                                             \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_gate_backward_##type(const T *a, const T *b, const T *dy, T *da, T *db, Size count) {                  \
        map(                                                                                                         \
            count, {da, db},                                                                                         \
            [](const float(&x)[3], float(&d)[2]) {                                                                   \
                d[0] = x[2] * x[1] * silu_slope(x[0]);                                                               \
                d[1] = x[2] * silu(x[0]);                                                                            \
            },                                                                                                       \
            a, b, dy);                                                                                               \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_gate_backward_##type, MAP_THREADS)

GATE(float, f32)
GATE(bf16, bf16)
