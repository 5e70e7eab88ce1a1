// y = (x - mean) / sqrt(variance + eps) * weight + bias over each row of c, and its rule.
//
// forward    bytes: x twice          flops: 7 an element      bound: memory    a warp a row
// backward   bytes: x three times    flops: 16 an element     bound: memory    a block on 64 rows, 8 c bytes of dynamic
//                                                                              shared memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// layer_norm_backward_bf16              256 threads  32    128  64   |  32    128  64
// layer_norm_backward_f32               256 threads  48    128  40   |  48    128  40
// layer_norm_forward_bf16               128 threads  48      0  40   |  52      0  36
// layer_norm_forward_f32                128 threads  48      0  40   |  52      0  36

#include "rows.cuh"

namespace {

template <int N, class T>
__device__ __forceinline__ void forward(const T *x, const float *weight, const float *bias, T *y, Size rows, int c,
                                        float eps) {
    const Size row = row_of_warp();
    if (row >= rows) {
        return;
    }
    x += row * c;
    y += row * c;
    float sum = 0.0f;
    over_row<N>(c, [&](int i) {
        float v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) {
            sum += v[j];
        }
    });
    // A first mean, rounded; the moments about it are small numbers and lose nothing, however far from zero the row lies.
    const float pivot = warp_sum(sum) / float(c);
    float square = 0.0f;
    sum = 0.0f;
    over_row<N>(c, [&](int i) {
        float v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float d = v[j] - pivot;
            sum += d;
            square = fmaf(d, d, square);
        }
    });
    const double mean = double(warp_sum(sum)) / c, variance = double(warp_sum(square)) / c - mean * mean;
    // A NaN stays one.
    const double r = 1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + double(eps));
    const float inverse = float(r), shift = float(-mean * r);
    over_row<N>(c, [&](int i) {
        float v[N], w[N], b[N];
        load<N>(x + i, v);
        load<N>(weight + i, w);
        load<N>(bias + i, b);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = fmaf(fmaf(v[j] - pivot, inverse, shift), w[j], b[j]);
        }
        store<N>(y + i, v);
    });
}

// With n = (x - mean) r and g = dy weight: dx = r (g - mean(g) - n mean(g n)); and the sums of dy n and of dy over the
// block's rows, (blocks, c) each, which are its share of the gradients of weight and bias. A thread's columns are its own.
template <int N, class T>
__device__ __forceinline__ void backward(const T *x, const float *weight, const T *dy, T *dx, float *of_weight,
                                         float *of_bias, Size rows, int c, float eps) {
    DYNAMIC_SHARED(float, columns);
    over_row_by_block<N>(c, [&](int i) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            columns[i + j] = columns[c + i + j] = 0.0f;
        }
    });
    const Size begin = Size(blockIdx.x) * ROWS_OF_BLOCK;
    const Size end = begin + ROWS_OF_BLOCK < rows ? begin + ROWS_OF_BLOCK : rows;
    for (Size row = begin; row < end; row++) {
        const T *from = x + row * c, *of_y = dy + row * c;
        float sum = 0.0f;
        over_row_by_block<N>(c, [&](int i) {
            float v[N];
            load<N>(from + i, v);
#pragma unroll
            for (int j = 0; j < N; j++) {
                sum += v[j];
            }
        });
        const float mean = block_sum(sum) / float(c);
        float square = 0.0f, sum_g = 0.0f, sum_gd = 0.0f;
        over_row_by_block<N>(c, [&](int i) {
            float v[N], d[N], w[N];
            load<N>(from + i, v);
            load<N>(of_y + i, d);
            load<N>(weight + i, w);
#pragma unroll
            for (int j = 0; j < N; j++) {
                const float g = d[j] * w[j];
                v[j] -= mean;
                square = fmaf(v[j], v[j], square);
                sum_g += g;
                sum_gd = fmaf(g, v[j], sum_gd);
            }
        });
        const float r = rsqrtf(block_sum(square) / float(c) + eps);
        const float mean_g = block_sum(sum_g) / float(c), mean_gn = block_sum(sum_gd) * r / float(c);
        over_row_by_block<N>(c, [&](int i) {
            float v[N], d[N], w[N];
            load<N>(from + i, v);
            load<N>(of_y + i, d);
            load<N>(weight + i, w);
#pragma unroll
            for (int j = 0; j < N; j++) {
                const float n = (v[j] - mean) * r;
                columns[i + j] = fmaf(d[j], n, columns[i + j]);
                columns[c + i + j] += d[j];
                v[j] = (d[j] * w[j] - mean_g - n * mean_gn) * r;
            }
            store<N>(dx + row * c + i, v);
        });
    }
    const Size share = Size(blockIdx.x) * c;
    over_row_by_block<N>(c, [&](int i) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            of_weight[share + i + j] = columns[i + j];
            of_bias[share + i + j] = columns[c + i + j];
        }
    });
}

} // namespace

#define LAYER_NORM(T, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                        \
        fqgan_layer_norm_forward_##type(const T *x, const float *weight, const float *bias, T *y, Size rows, int c,  \
                                        float eps) {                                                                 \
        OVER_ROWS(T, forward, x, weight, bias, y, rows, c, eps);                                                     \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_layer_norm_forward_##type, ROW_THREADS)                                                       \
    extern "C" __global__ void __launch_bounds__(RULE_THREADS)                                                       \
        fqgan_layer_norm_backward_##type(const T *x, const float *weight, const T *dy, T *dx, float *of_weight,      \
                                         float *of_bias, Size rows, int c, float eps) {                              \
        OVER_ROWS(T, backward, x, weight, dy, dx, of_weight, of_bias, rows, c, eps);                                 \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_layer_norm_backward_##type, RULE_THREADS)

LAYER_NORM(float, f32)
LAYER_NORM(bf16, bf16)
