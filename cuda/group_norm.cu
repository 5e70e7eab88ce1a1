// Group normalisation of channels-last pictures, in the steps of src/ops/group_norm: sums of x, the scale and shift per
// picture and channel that they amount to, and x times scale plus shift, with SiLU after it or not; and their rules.
//
// sums       bytes: x once             flops: 3 an element      bound: memory
// apply      bytes: x twice            flops: 2, SiLU 16        bound: memory
// backward   bytes: x three times      flops: 5, SiLU 24        bound: memory
// (once more each where something is added)
// The others read and write a few thousand numbers.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// group_norm_apply_backward_bf16        256 threads  80   9216  24   |  80   9216  24
// group_norm_apply_backward_f32         256 threads  58   5120  32   |  60   5120  32
// group_norm_apply_bf16                 256 threads  48      0  40   |  52      0  32
// group_norm_apply_f32                  256 threads  36      0  48   |  46      0  40
// group_norm_coefficients_backward_f32  128 threads  48    256  40   |  48    256  40
// group_norm_coefficients_f32           128 threads  40    256  48   |  40    256  48
// group_norm_parts_f32                  128 threads  34      0  48   |  32      0  64
// group_norm_sums_bf16                  256 threads  48   9216  40   |  48   9216  40
// group_norm_sums_f32                   256 threads  40   5120  48   |  40   5120  48

#include "tile.cuh"

namespace {

// Of a part's positions and each channel: how many there are, a pivot, the sums of x - pivot and of its square. The
// pivot, a value of the channel itself, keeps the variance of a channel far from zero exact.
// Output (n, parts, 4, c); grid: (parts, n, channel tiles).
template <int N, class T>
__device__ __forceinline__ void sums_of(const T *x, float *out, int positions, int positions_of_part, int c) {
    const Tile<N> tile(c);
    const int first = int(blockIdx.x) * positions_of_part;
    const int count = positions - first < positions_of_part ? positions - first : positions_of_part;
    const T *from = x + (Size(blockIdx.y) * positions + first) * c + tile.channel;
    float pivot[N], sum[N] = {}, square[N] = {};
    load<N>(from, pivot);
    if (tile.busy) {
#pragma unroll 4
        for (int row = tile.row; row < count; row += tile.step) {
            float v[N];
            load<N>(from + Size(row) * c, v);
#pragma unroll
            for (int i = 0; i < N; i++) {
                const float d = v[i] - pivot[i];
                sum[i] += d;
                square[i] = fmaf(d, d, square[i]);
            }
        }
    }
    tile.add_rows(sum);
    tile.add_rows(square);
    if (tile.row == 0) {
        float *to = out + (Size(blockIdx.y) * gridDim.x + blockIdx.x) * 4 * c + tile.channel;
#pragma unroll
        for (int i = 0; i < N; i++) {
            to[i] = float(count);
            to[c + i] = pivot[i];
            to[2 * c + i] = sum[i];
            to[3 * c + i] = square[i];
        }
    }
}

// Adds what may be given to a vector of a row.
template <int N, class T> __device__ __forceinline__ void add_to(float *v, const T *added, Size at) {
    if (added) {
        float more[N];
        load<N>(added + at, more);
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] += more[i];
        }
    }
}

// scale * x + shift of each picture and channel, plus `added` where it is given. Grid: (parts, n, channel tiles).
template <int N, bool SILU, class T>
__device__ __forceinline__ void affine(const T *x, const float *coefficients, const T *added, T *out, int positions,
                                       int positions_of_part, int c) {
    const Tile<N> tile(c);
    if (!tile.busy) {
        return;
    }
    const int first = int(blockIdx.x) * positions_of_part;
    const int end = positions - first < positions_of_part ? positions : first + positions_of_part;
    const Size image = Size(blockIdx.y);
    float scale[N], shift[N];
    load<N>(coefficients + image * 2 * c + tile.channel, scale);
    load<N>(coefficients + (image * 2 + 1) * c + tile.channel, shift);
#pragma unroll 4
    for (int row = first + tile.row; row < end; row += tile.step) {
        const Size at = (image * positions + row) * c + tile.channel;
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = fmaf(v[i], scale[i], shift[i]);
            v[i] = SILU ? silu(v[i]) : v[i];
        }
        add_to<N>(v, added, at);
        store<N>(out + at, v);
    }
}

// With y = scale x + shift and g = dy, or dy times SiLU's slope at y: dx = g scale, and the parts of the sums of g x and
// g, which are the gradients of scale and shift; `added`, where it is given, is added to dx. Partial sums:
// (n, parts, 2, c); grid: (parts, n, channel tiles).
template <int N, bool SILU, class T>
__device__ __forceinline__ void affine_backward(const T *x, const float *coefficients, const T *dy, const T *added,
                                                T *dx, float *sums, int positions, int positions_of_part, int c) {
    const Tile<N> tile(c);
    const int first = int(blockIdx.x) * positions_of_part;
    const int end = positions - first < positions_of_part ? positions : first + positions_of_part;
    const Size image = Size(blockIdx.y);
    float scale[N], shift[N], d_scale[N] = {}, d_shift[N] = {};
    load<N>(coefficients + image * 2 * c + tile.channel, scale);
    load<N>(coefficients + (image * 2 + 1) * c + tile.channel, shift);
    if (tile.busy) {
#pragma unroll 2
        for (int row = first + tile.row; row < end; row += tile.step) {
            const Size at = (image * positions + row) * c + tile.channel;
            float v[N], g[N];
            load<N>(x + at, v);
            load<N>(dy + at, g);
#pragma unroll
            for (int i = 0; i < N; i++) {
                if (SILU) {
                    g[i] *= silu_slope(fmaf(v[i], scale[i], shift[i]));
                }
                d_scale[i] = fmaf(g[i], v[i], d_scale[i]);
                d_shift[i] += g[i];
                g[i] *= scale[i];
            }
            add_to<N>(g, added, at);
            store<N>(dx + at, g);
        }
    }
    tile.add_rows(d_scale);
    tile.add_rows(d_shift);
    if (tile.row == 0) {
        float *to = sums + (image * gridDim.x + blockIdx.x) * 2 * c + tile.channel;
        store<N>(to, d_scale);
        store<N>(to + c, d_shift);
    }
}

} // namespace

#define OVER_SILU(T, f, ...)                                                                                         \
    (c % TOGETHER<T> == 0 ? (silu ? f<TOGETHER<T>, true>(__VA_ARGS__) : f<TOGETHER<T>, false>(__VA_ARGS__))          \
                          : (silu ? f<1, true>(__VA_ARGS__) : f<1, false>(__VA_ARGS__)))

#define GROUP_NORM(T, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_group_norm_sums_##type(const T *x, float *out, int positions, int positions_of_part, int c) {          \
        OVER_ROWS(T, sums_of, x, out, positions, positions_of_part, c);                                                   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_group_norm_sums_##type, TILE_THREADS)                                                         \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_group_norm_apply_##type(const T *x, const float *coefficients, const T *added, T *out, int positions,  \
                                      int positions_of_part, int c, int silu) {                                      \
        OVER_SILU(T, affine, x, coefficients, added, out, positions, positions_of_part, c);                          \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_group_norm_apply_##type, TILE_THREADS)                                                        \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_group_norm_apply_backward_##type(const T *x, const float *coefficients, const T *dy, const T *added,   \
                                               T *dx, float *sums, int positions, int positions_of_part, int c,      \
                                               int silu) {                                                           \
        OVER_SILU(T, affine_backward, x, coefficients, dy, added, dx, sums, positions, positions_of_part, c);        \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_group_norm_apply_backward_##type, TILE_THREADS)

GROUP_NORM(float, f32)
GROUP_NORM(bf16, bf16)

constexpr int GROUP_THREADS = 128;

// Scale and shift (n, 2, c) from sums (n, parts, 4, c). A block a group; grid: (groups, n).
extern "C" __global__ void __launch_bounds__(GROUP_THREADS)
    fqgan_group_norm_coefficients_f32(const float *sums, const float *weight, const float *bias, float *out, int parts,
                                      int c, float eps) {
    const int width = c / int(gridDim.x), channel = int(blockIdx.x) * width;
    const float *of_image = sums + Size(blockIdx.y) * parts * 4 * c;
    double count = 0.0, mean = 0.0, square = 0.0;
    for (int i = int(threadIdx.x); i < parts * width; i += GROUP_THREADS) {
        const float *part = of_image + Size(i / width) * 4 * c + channel + i % width;
        const double n = part[0], pivot = part[c], sum = part[2 * c];
        count += n;
        mean += n * pivot + sum;
        square += double(part[3 * c]) + pivot * (2.0 * sum + n * pivot);
    }
    count = block_sum(count);
    mean = block_sum(mean) / count;
    const double variance = block_sum(square) / count - mean * mean;
    const double inverse = 1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + double(eps));
    float *to = out + Size(blockIdx.y) * 2 * c;
    for (int i = channel + int(threadIdx.x); i < channel + width; i += GROUP_THREADS) {
        const double scale = double(weight[i]) * inverse;
        to[i] = float(scale);
        to[c + i] = float(double(bias[i]) - mean * scale);
    }
}
FQGAN_KERNEL(fqgan_group_norm_coefficients_f32, GROUP_THREADS)

// The gradients of scale and shift, from their parts (n, parts, 2, c). A thread a sum; grid: (2 c / threads, n).
extern "C" __global__ void __launch_bounds__(GROUP_THREADS)
    fqgan_group_norm_parts_f32(const float *sums, float *out, int parts, int row) {
    const int i = int(thread_of_grid());
    if (i < row) {
        double sum = 0.0;
        for (int part = 0; part < parts; part++) {
            sum += double(sums[(Size(blockIdx.y) * parts + part) * row + i]);
        }
        out[Size(blockIdx.y) * row + i] = float(sum);
    }
}
FQGAN_KERNEL(fqgan_group_norm_parts_f32, GROUP_THREADS)

// From the coefficients for weight 1 and bias 0 and the gradient of the coefficients: the affine function of x that is
// the rest of its gradient, (n, 2, c), and each picture's share of the gradients of weight and bias, (n, c) each.
// With r = (variance + eps)^-1/2, scale = weight r and shift = bias - mean weight r. A block a group; grid: (groups, n).
extern "C" __global__ void __launch_bounds__(GROUP_THREADS)
    fqgan_group_norm_coefficients_backward_f32(const float *unit, const float *weight, const float *grad, float *affine,
                                               float *of_weight, float *of_bias, int positions, int c) {
    const int width = c / int(gridDim.x), channel = int(blockIdx.x) * width;
    const Size image = Size(blockIdx.y) * 2 * c;
    const double r = unit[image + channel], mean = -double(unit[image + c + channel]) / r;
    double d_mean = 0.0, d_r = 0.0;
    for (int i = channel + int(threadIdx.x); i < channel + width; i += GROUP_THREADS) {
        const double w = weight[i], d_scale = grad[image + i], d_shift = grad[image + c + i];
        of_weight[image / 2 + i] = float((d_scale - d_shift * mean) * r);
        of_bias[image / 2 + i] = float(d_shift);
        d_mean -= d_shift * w * r;
        d_r += (d_scale - d_shift * mean) * w;
    }
    d_mean = block_sum(d_mean);
    d_r = block_sum(d_r);
    // d mean / dx = 1 / count; d variance / dx = 2 (x - mean) / count.
    const double d_variance = -0.5 * d_r * r * r * r, count = double(positions) * width;
    for (int i = channel + int(threadIdx.x); i < channel + width; i += GROUP_THREADS) {
        affine[image + i] = float(2.0 * d_variance / count);
        affine[image + c + i] = float((d_mean - 2.0 * d_variance * mean) / count);
    }
}
FQGAN_KERNEL(fqgan_group_norm_coefficients_backward_f32, GROUP_THREADS)
