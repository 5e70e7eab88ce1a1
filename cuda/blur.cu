// Channels-last pictures by the filter (1, 3, 3, 1) / 8 along each axis, `before` zeros above and to the left.
//
// Bytes: x and the output, x sixteen times through the first level. Flops: 32 an element. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// blur_forward_bf16                     256 threads  45      0  40   |  40      0  48
// blur_forward_f32                      256 threads  40      0  48   |  40      0  48

#include "tile.cuh"

namespace {

template <int N, class T>
__device__ __forceinline__ void blur(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,
                                     int columns, int c, int before) {
    over_tile<N>(pixels, pixels_of_block, c, [&](Size index, int channel) {
        const Pixel pixel(index, rows, columns);
        float sum[N] = {};
#pragma unroll 1
        for (int i = 0; i < 4; i++) {
            const int y = pixel.y + i - before;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int column = pixel.x + j - before;
                // (1, 3, 3, 1) / 8 of both axes.
                const float weight = (i % 3 == 0 ? 0.125f : 0.375f) * (j % 3 == 0 ? 0.125f : 0.375f);
                if (y >= 0 && y < h && column >= 0 && column < w) {
                    float v[N];
                    load<N>(x + ((Size(pixel.image) * h + y) * w + column) * c + channel, v);
#pragma unroll
                    for (int k = 0; k < N; k++) {
                        sum[k] = fmaf(weight, v[k], sum[k]);
                    }
                }
            }
        }
        store<N>(out + index * c + channel, sum);
    });
}

} // namespace

#define BLUR(T, type)                                                                                                \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_blur_forward_##type(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,      \
                                  int columns, int c, int before) {                                                  \
        OVER_ROWS(T, blur, x, out, pixels, pixels_of_block, h, w, rows, columns, c, before);                         \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_blur_forward_##type, TILE_THREADS)

BLUR(float, f32)
BLUR(bf16, bf16)
