// The largest and the mean of the pixels under a window that moves over channels-last pictures; pixels outside do not
// count. The rule of the largest is for windows of 2 x 2 that step by 2: the gradient goes to the first of equals.
//
// forward    bytes: x and the output    flops: the window's area an output element    bound: memory
// backward   bytes: x, dx and dy        flops: 3 an output element                    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// pool_forward_bf16                     256 threads  53      0  32   |  53      0  32
// pool_forward_f32                      256 threads  58      0  32   |  54      0  32
// pool_halve_backward_bf16              256 threads  63      0  32   |  63      0  32
// pool_halve_backward_f32               256 threads  40      0  48   |  44      0  40

#include "tile.cuh"

namespace {

// Pixels of an axis that window i holds: from `first` to before `end`.
struct Span {
    int first, end;

    __device__ __forceinline__ Span(int i, int side, int stride, int padding, int size) {
        first = i * stride - padding;
        end = first + side < size ? first + side : size;
        first = first < 0 ? 0 : first;
    }
};

template <int N, bool MEAN, class T>
__device__ __forceinline__ void pool(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,
                                     int columns, int c, int side, int stride, int padding) {
    over_tile<N>(pixels, pixels_of_block, c, [&](Size index, int channel) {
        const Pixel pixel(index, rows, columns);
        const Span down(pixel.y, side, stride, padding, h), across(pixel.x, side, stride, padding, w);
        float all[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            all[i] = MEAN ? 0.0f : -INFINITY;
        }
        for (int y = down.first; y < down.end; y++) {
            for (int column = across.first; column < across.end; column++) {
                float v[N];
                load<N>(x + ((Size(pixel.image) * h + y) * w + column) * c + channel, v);
#pragma unroll
                for (int i = 0; i < N; i++) {
                    // A NaN stays.
                    all[i] = MEAN ? all[i] + v[i] : v[i] > all[i] || v[i] != v[i] ? v[i] : all[i];
                }
            }
        }
        if (MEAN) {
            const int count = (down.end - down.first) * (across.end - across.first);
            const float share = 1.0f / float(count > 1 ? count : 1);
#pragma unroll
            for (int i = 0; i < N; i++) {
                all[i] *= share;
            }
        }
        store<N>(out + index * c + channel, all);
    });
}

// Pixels are those of x: each finds its window, and whether it is the first of the window's largest. A last odd row or
// column lies under no window.
template <int N, class T>
__device__ __forceinline__ void halve_backward(const T *x, const T *dy, T *dx, Size pixels, int pixels_of_block, int h,
                                               int w, int c) {
    over_tile<N>(pixels, pixels_of_block, c, [&](Size index, int channel) {
        const Pixel pixel(index, h, w);
        const int y = pixel.y / 2, column = pixel.x / 2, mine = pixel.y % 2 * 2 + pixel.x % 2;
        float d[N] = {};
        if (y < h / 2 && column < w / 2) {
            float v[4][N], grad[N];
#pragma unroll
            for (int k = 0; k < 4; k++) {
                load<N>(x + ((Size(pixel.image) * h + 2 * y + k / 2) * w + 2 * column + k % 2) * c + channel, v[k]);
            }
            load<N>(dy + ((Size(pixel.image) * (h / 2) + y) * (w / 2) + column) * c + channel, grad);
#pragma unroll
            for (int i = 0; i < N; i++) {
                int best = 0;
                float most = v[0][i];
#pragma unroll
                for (int k = 1; k < 4; k++) {
                    // A NaN is larger than all.
                    if (v[k][i] > most || (v[k][i] != v[k][i] && most == most)) {
                        best = k;
                        most = v[k][i];
                    }
                }
                d[i] = best == mine ? grad[i] : 0.0f;
            }
        }
        store<N>(dx + index * c + channel, d);
    });
}

template <int N, class T>
__device__ __forceinline__ void either(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,
                                       int columns, int c, int side, int stride, int padding, int mean) {
    if (mean) {
        pool<N, true>(x, out, pixels, pixels_of_block, h, w, rows, columns, c, side, stride, padding);
    } else {
        pool<N, false>(x, out, pixels, pixels_of_block, h, w, rows, columns, c, side, stride, padding);
    }
}

} // namespace

#define POOL(T, type)                                                                                                \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_pool_forward_##type(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,      \
                                  int columns, int c, int side, int stride, int padding, int mean) {                 \
        OVER_ROWS(T, either, x, out, pixels, pixels_of_block, h, w, rows, columns, c, side, stride, padding, mean);  \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_pool_forward_##type, TILE_THREADS)                                                            \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_pool_halve_backward_##type(const T *x, const T *dy, T *dx, Size pixels, int pixels_of_block, int h,    \
                                         int w, int c) {                                                             \
        OVER_ROWS(T, halve_backward, x, dy, dx, pixels, pixels_of_block, h, w, c);                                   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_pool_halve_backward_##type, TILE_THREADS)

POOL(float, f32)
POOL(bf16, bf16)
