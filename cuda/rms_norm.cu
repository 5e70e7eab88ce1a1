// y = x / sqrt(mean(x^2) + eps) * weight over each row of c, and its rule.
//
// forward    bytes: x twice          flops: 4 an element      bound: memory    a warp a row
// backward   bytes: x three times    flops: 12 an element     bound: memory    a block on 64 rows, 4 c bytes of dynamic
//                                                                              shared memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// rms_norm_backward_bf16                256 threads  35    128  48   |  37    128  48
// rms_norm_backward_f32                 256 threads  40    128  48   |  48    128  40
// rms_norm_forward_bf16                 128 threads  40      0  48   |  40      0  48
// rms_norm_forward_f32                  128 threads  40      0  48   |  44      0  40

#include "rows.cuh"

namespace {

template <int N, class T>
__device__ __forceinline__ void forward(const T *x, const float *weight, T *y, Size rows, int c, float eps) {
    const Size row = row_of_warp();
    if (row >= rows) {
        return;
    }
    x += row * c;
    y += row * c;
    float square = 0.0f;
    over_row<N>(c, [&](int i) {
        float v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) {
            square = fmaf(v[j], v[j], square);
        }
    });
    const float r = 1.0f / sqrtf(warp_sum(square) / float(c) + eps);
    over_row<N>(c, [&](int i) {
        float v[N], w[N];
        load<N>(x + i, v);
        load<N>(weight + i, w);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = v[j] * r * w[j];
        }
        store<N>(y + i, v);
    });
}

// With n = x r and g = dy weight: dx = r (g - n mean(g n)); and the sum of dy n over the block's rows, (blocks, c),
// which is its share of the gradient of weight. A thread's columns are its own.
template <int N, class T>
__device__ __forceinline__ void backward(const T *x, const float *weight, const T *dy, T *dx, float *shares, Size rows,
                                         int c, float eps) {
    DYNAMIC_SHARED(float, columns);
    over_row_by_block<N>(c, [&](int i) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            columns[i + j] = 0.0f;
        }
    });
    const Size begin = Size(blockIdx.x) * ROWS_OF_BLOCK;
    const Size end = begin + ROWS_OF_BLOCK < rows ? begin + ROWS_OF_BLOCK : rows;
    for (Size row = begin; row < end; row++) {
        const T *from = x + row * c, *of_y = dy + row * c;
        float square = 0.0f, product = 0.0f;
        over_row_by_block<N>(c, [&](int i) {
            float v[N], d[N], w[N];
            load<N>(from + i, v);
            load<N>(of_y + i, d);
            load<N>(weight + i, w);
#pragma unroll
            for (int j = 0; j < N; j++) {
                square = fmaf(v[j], v[j], square);
                product = fmaf(d[j] * w[j], v[j], product);
            }
        });
        const float r = 1.0f / sqrtf(block_sum(square) / float(c) + eps);
        // n mean(g n) = x r^2 mean(g x).
        const float slope = block_sum(product) / float(c) * r * r;
        over_row_by_block<N>(c, [&](int i) {
            float v[N], d[N], w[N];
            load<N>(from + i, v);
            load<N>(of_y + i, d);
            load<N>(weight + i, w);
#pragma unroll
            for (int j = 0; j < N; j++) {
                columns[i + j] = fmaf(d[j] * v[j], r, columns[i + j]);
                v[j] = (d[j] * w[j] - v[j] * slope) * r;
            }
            store<N>(dx + row * c + i, v);
        });
    }
    shares += Size(blockIdx.x) * c;
    over_row_by_block<N>(c, [&](int i) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            shares[i + j] = columns[i + j];
        }
    });
}

} // namespace

#define RMS_NORM(T, type)                                                                                            \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                        \
        fqgan_rms_norm_forward_##type(const T *x, const float *weight, T *y, Size rows, int c, float eps) {          \
        OVER_ROWS(T, forward, x, weight, y, rows, c, eps);                                                           \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_rms_norm_forward_##type, ROW_THREADS)                                                         \
    extern "C" __global__ void __launch_bounds__(RULE_THREADS)                                                       \
        fqgan_rms_norm_backward_##type(const T *x, const float *weight, const T *dy, T *dx, float *shares,           \
                                       Size rows, int c, float eps) {                                                \
        OVER_ROWS(T, backward, x, weight, dy, dx, shares, rows, c, eps);                                             \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_rms_norm_backward_##type, RULE_THREADS)

RMS_NORM(float, f32)
RMS_NORM(bf16, bf16)
