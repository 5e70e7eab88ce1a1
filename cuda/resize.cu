// Channels-last pictures and tables to another size, each as PyTorch's `interpolate` does it: by repeating or leaving out
// pixels, bilinear, and bicubic (Keys, 1981, a = -0.75) at cell centres for tables of positions.
//
// nearest     bytes: twice the output                      bound: memory
// bilinear    bytes: the output and what it reads of x     flops: 9 an output element      bound: memory
// grid        a few hundred thousand numbers, once         flops: 32 an output element
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// resize_bilinear_bf16                  256 threads  48      0  40   |  48      0  40
// resize_bilinear_f32                   256 threads  48      0  40   |  48      0  40
// resize_grid_bf16                      256 threads  40      0  48   |  48      0  40
// resize_grid_f32                       256 threads  38      0  48   |  48      0  40
// resize_nearest_bf16                   256 threads  32      0  64   |  32      0  64
// resize_nearest_f32                    256 threads  30      0  64   |  32      0  64

#include "tile.cuh"

namespace {

// Pixel i of `to` is pixel floor(i from / to).
template <int N, class T>
__device__ __forceinline__ void nearest(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,
                                        int columns, int c) {
    over_tile<N>(pixels, pixels_of_block, c, [&](Size index, int channel) {
        const Pixel pixel(index, rows, columns);
        const Size y = Size(pixel.y) * h / rows, column = Size(pixel.x) * w / columns;
        float v[N];
        load<N>(x + ((pixel.image * Size(h) + y) * w + column) * c + channel, v);
        store<N>(out + index * c + channel, v);
    });
}

// The two pixels of an axis that pixel i lies between, and the share of the second. Centres of pixels fall on centres, or
// first pixels on first ones.
struct Between {
    int first, second;
    float share;

    __device__ __forceinline__ Between(int i, int from, int to, int corners) {
        const double scale = double(from) / double(to);
        double place = corners ? double(i) * scale : (double(i) + 0.5) * scale - 0.5;
        place = place < 0.0 ? 0.0 : place > double(from - 1) ? double(from - 1) : place;
        first = int(place);
        second = first + 1 < from ? first + 1 : from - 1;
        share = float(place - double(first));
    }
};

template <int N, class T>
__device__ __forceinline__ void bilinear(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,
                                         int columns, int c, int corners) {
    over_tile<N>(pixels, pixels_of_block, c, [&](Size index, int channel) {
        const Pixel pixel(index, rows, columns);
        const Between down(pixel.y, h, rows, corners), across(pixel.x, w, columns, corners);
        const T *picture = x + Size(pixel.image) * h * w * c + channel;
        float upper[2][N], lower[2][N], v[N];
        load<N>(picture + (Size(down.first) * w + across.first) * c, upper[0]);
        load<N>(picture + (Size(down.first) * w + across.second) * c, upper[1]);
        load<N>(picture + (Size(down.second) * w + across.first) * c, lower[0]);
        load<N>(picture + (Size(down.second) * w + across.second) * c, lower[1]);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float above = upper[0][i] * (1.0f - across.share) + upper[1][i] * across.share;
            const float below = lower[0][i] * (1.0f - across.share) + lower[1][i] * across.share;
            v[i] = above * (1.0f - down.share) + below * down.share;
        }
        store<N>(out + index * c + channel, v);
    });
}

// The four cells that make cell i of `to`, and their weights.
struct Taps {
    int cell[4];
    float weight[4];

    __device__ __forceinline__ Taps(int i, int from, int to) {
        const float at = (float(i) + 0.5f) * (float(from) / float(to)) - 0.5f, t = at - floorf(at);
        const int first = int(floorf(at)) - 1;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const int cell_k = first + k;
            cell[k] = cell_k < 0 ? 0 : cell_k > from - 1 ? from - 1 : cell_k;
        }
        weight[0] = far(t + 1.0f);
        weight[1] = near(t);
        weight[2] = near(1.0f - t);
        weight[3] = far(2.0f - t);
    }

    static constexpr float A = -0.75f;
    static __device__ __forceinline__ float near(float x) { return ((A + 2.0f) * x - (A + 3.0f)) * x * x + 1.0f; }
    static __device__ __forceinline__ float far(float x) {
        return ((A * x - 5.0f * A) * x + 8.0f * A) * x - 4.0f * A;
    }
};

// Table (h w, c) to (rows columns, c).
template <class T>
__device__ __forceinline__ void grid(const T *table, T *out, Size cells, int cells_of_block, int h, int w, int rows,
                                     int columns, int c) {
    over_tile<1>(cells, cells_of_block, c, [&](Size index, int channel) {
        const Pixel cell(index, rows, columns);
        const Taps down(cell.y, h, rows), across(cell.x, w, columns);
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float weight = down.weight[i] * across.weight[j];
                sum = fmaf(weight, widen(table[(Size(down.cell[i]) * w + across.cell[j]) * c + channel]), sum);
            }
        }
        out[index * c + channel] = narrow<T>(sum);
    });
}

} // namespace

#define RESIZE(T, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_resize_nearest_##type(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,    \
                                    int columns, int c) {                                                            \
        OVER_ROWS(T, nearest, x, out, pixels, pixels_of_block, h, w, rows, columns, c);                              \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_resize_nearest_##type, TILE_THREADS)                                                          \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_resize_bilinear_##type(const T *x, T *out, Size pixels, int pixels_of_block, int h, int w, int rows,   \
                                     int columns, int c, int corners) {                                              \
        OVER_ROWS(T, bilinear, x, out, pixels, pixels_of_block, h, w, rows, columns, c, corners);                    \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_resize_bilinear_##type, TILE_THREADS)                                                         \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_resize_grid_##type(const T *table, T *out, Size cells, int cells_of_block, int h, int w, int rows,     \
                                 int columns, int c) {                                                               \
        grid(table, out, cells, cells_of_block, h, w, rows, columns, c);                                             \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_resize_grid_##type, TILE_THREADS)

RESIZE(float, f32)
RESIZE(bf16, bf16)
