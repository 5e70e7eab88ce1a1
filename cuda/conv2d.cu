// The filters of a convolution, from the checkpoint's order (k, c, taps) to the one of channels-last convolutions
// (k, taps, c), and back.
//
// turn    bytes: the filters twice    flops: none    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// conv2d_turn_bf16                      256 threads  30      0  64   |  30      0  64
// conv2d_turn_f32                       256 threads  30      0  64   |  30      0  64

#include "common.cuh"

constexpr int THREADS = 256;

namespace {

// `matrices` of rows x columns, each turned.
template <class T> __device__ __forceinline__ void turn(const T *from, T *to, Size count, int rows, int columns) {
    const Size step = Size(gridDim.x) * blockDim.x;
    const Size each = Size(rows) * columns;
    for (Size at = thread_of_grid(); at < count; at += step) {
        const Size matrix = at / each;
        const int place = int(at % each), row = place % rows, column = place / rows;
        to[at] = from[matrix * each + Size(row) * columns + column];
    }
}

} // namespace

#define TURN(T, type)                                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_conv2d_turn_##type(const T *from, T *to, Size count, int rows, int columns) {                          \
        turn(from, to, count, rows, columns);                                                                        \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_conv2d_turn_##type, THREADS)

TURN(float, f32)
TURN(bf16, bf16)
