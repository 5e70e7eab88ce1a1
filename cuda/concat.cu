// Columns of a matrix copied into columns of another: tensors side by side and parts of them, class tokens, and pictures
// with a border of zeros around them or a border less.
//
// Bytes: twice what is copied. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// concat_columns_bf16                   256 threads  28      0  64   |  28      0  64
// concat_columns_f32                    256 threads  28      0  64   |  28      0  64
// concat_frame_bf16                     256 threads  29      0  64   |  33      0  48
// concat_frame_f32                      256 threads  26      0  64   |  32      0  64

#include "tile.cuh"

namespace {

// Row r of `count` columns, from + r from_width to to + r to_width. A width of 0 repeats one row.
template <int N, class T>
__device__ __forceinline__ void columns(const T *from, Size from_width, T *to, Size to_width, Size rows,
                                        int rows_of_block, int count) {
    over_tile<N>(rows, rows_of_block, count, [&](Size row, int column) {
        *reinterpret_cast<Pack<T, N> *>(to + row * to_width + column) =
            *reinterpret_cast<const Pack<T, N> *>(from + row * from_width + column);
    });
}

// Pixel (y, x) of the output is pixel (y - top, x - left) of x, or zero where there is none; a negative top or left
// crops.
template <int N, class T>
__device__ __forceinline__ void frame(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,
                                      int columns, int c, int top, int left) {
    over_tile<N>(pixels, pixels_of_block, c, [&](Size index, int channel) {
        const Pixel pixel(index, rows, columns);
        const int y = pixel.y - top, column = pixel.x - left;
        float v[N] = {};
        if (y >= 0 && y < h && column >= 0 && column < w) {
            load<N>(x + ((Size(pixel.image) * h + y) * w + column) * c + channel, v);
        }
        store<N>(out + index * c + channel, v);
    });
}

} // namespace

// 16 bytes at once where all five are multiples of that, which the launch has to see too for its grid.
#define CONCAT(T, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_concat_columns_##type(const T *from, Size from_first, Size from_width, T *to, Size to_first,           \
                                    Size to_width, Size rows, int rows_of_block, int count) {                        \
        const bool together = (from_first | from_width | to_first | to_width | count) % TOGETHER<T> == 0;            \
        if (together) {                                                                                              \
            columns<TOGETHER<T>>(from + from_first, from_width, to + to_first, to_width, rows, rows_of_block, count);\
        } else {                                                                                                     \
            columns<1>(from + from_first, from_width, to + to_first, to_width, rows, rows_of_block, count);          \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_concat_columns_##type, TILE_THREADS)                                                          \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_concat_frame_##type(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,      \
                                  int columns, int c, int top, int left) {                                           \
        OVER_ROWS(T, frame, x, out, pixels, pixels_of_block, h, w, rows, columns, c, top, left);                     \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_concat_frame_##type, TILE_THREADS)

CONCAT(float, f32)
CONCAT(bf16, bf16)
