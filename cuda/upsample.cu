// Nearest up-sampling by two of channels-last pictures, and the sum of each four pixels, which is its rule.
//
// Bytes: five times the small picture. Flops: one an element or none. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// upsample_fold_bf16                    256 threads  39      0  48   |  40      0  48
// upsample_fold_f32                     256 threads  36      0  48   |  36      0  48
// upsample_forward_bf16                 256 threads  40      0  48   |  40      0  48
// upsample_forward_f32                  256 threads  34      0  48   |  34      0  48

#include "tile.cuh"

namespace {

// (n, h, w, c) to (n, 2 h, 2 w, c): each pixel is read once.
template <int N, class T>
__device__ __forceinline__ void grow(const T *x, T *out, Size pixels, int pixels_of_block, int w, int c) {
    over_tile<N>(pixels, pixels_of_block, c, [&](Size pixel, int channel) {
        float v[N];
        load<N>(x + pixel * c + channel, v);
        // Row `line` of all pictures becomes rows 2 line and 2 line + 1.
        const Size line = pixel / w, wide = Size(2) * w * c;
        T *to = out + line * 2 * wide + (pixel - line * w) * 2 * c + channel;
        store<N>(to, v);
        store<N>(to + c, v);
        store<N>(to + wide, v);
        store<N>(to + wide + c, v);
    });
}

// (n, 2 h, 2 w, c) to (n, h, w, c); pixels and w are those of the output.
template <int N, class T>
__device__ __forceinline__ void fold(const T *x, T *out, Size pixels, int pixels_of_block, int w, int c) {
    over_tile<N>(pixels, pixels_of_block, c, [&](Size pixel, int channel) {
        const Size line = pixel / w, wide = Size(2) * w * c;
        const T *from = x + line * 2 * wide + (pixel - line * w) * 2 * c + channel;
        float v[4][N], sum[N];
        load<N>(from, v[0]);
        load<N>(from + c, v[1]);
        load<N>(from + wide, v[2]);
        load<N>(from + wide + c, v[3]);
#pragma unroll
        for (int i = 0; i < N; i++) {
            sum[i] = (v[0][i] + v[1][i]) + (v[2][i] + v[3][i]);
        }
        store<N>(out + pixel * c + channel, sum);
    });
}

} // namespace

#define UPSAMPLE(T, type)                                                                                            \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_upsample_forward_##type(const T *x, T *out, Size pixels, int pixels_of_block, int w, int c) {          \
        OVER_ROWS(T, grow, x, out, pixels, pixels_of_block, w, c);                                                   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_upsample_forward_##type, TILE_THREADS)                                                        \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_upsample_fold_##type(const T *x, T *out, Size pixels, int pixels_of_block, int w, int c) {             \
        OVER_ROWS(T, fold, x, out, pixels, pixels_of_block, w, c);                                                   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_upsample_fold_##type, TILE_THREADS)

UPSAMPLE(float, f32)
UPSAMPLE(bf16, bf16)
