// What a fully connected layer has beside cuBLAS's products: the scale of a quantised weight, bias, activation and
// residual after them, and the slope of the activation in the rule. And whole layers for few rows of x, where the weight is
// read once, in the type that it has. Activations: 0 none, 1 ReLU, 2 SiLU, 3 GELU with the error function, 4
// x sigmoid(1.702 x).
//
// after    bytes: y twice, a residual once    flops: 3 to 20 an element    bound: memory
// slope    bytes: three times z               flops: 20 an element         bound: memory
// few      bytes: the weight once             flops: 2 rows an element     bound: memory; for 16 rows about as much the
//          first-level cache, which has to give 4 rows bytes of x for each `outputs` elements of the weight
//
// A warp of `few` has 2 outputs (4 where rows are more than 2), its lanes 16 bytes of each row of the weight at a time (8 of
// bytes). Which elements a lane adds up, and in which order, depends on k alone: a row of x gives the same bits beside any
// others.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// linear_after_bf16                     256 threads  32      0  64   |  32      0  64
// linear_after_f32                      256 threads  30      0  64   |  32      0  64
// linear_few16_bf16                     128 threads 254      0   8   | 242      0   8
// linear_few16_bf16_bf16                128 threads 209      0   8   | 187      0   8
// linear_few16_f16                      128 threads 254      0   8   | 244      0   8
// linear_few16_f32                      128 threads 219      0   8   | 221      0   8
// linear_few16_i8                       128 threads 242      0   8   | 242      0   8
// linear_few2_bf16                      128 threads  64      0  32   |  64      0  32
// linear_few2_bf16_bf16                 128 threads  62      0  32   |  63      0  32
// linear_few2_f16                       128 threads  64      0  32   |  64      0  32
// linear_few2_f32                       128 threads  64      0  32   |  62      0  32
// linear_few2_i8                        128 threads  64      0  32   |  64      0  32
// linear_few8_bf16                      128 threads 168      0  12   | 168      0  12
// linear_few8_bf16_bf16                 128 threads 136      0  12   | 141      0  12
// linear_few8_f16                       128 threads 168      0  12   | 168      0  12
// linear_few8_f32                       128 threads 114      0  16   | 127      0  16
// linear_few8_i8                        128 threads 168      0  12   | 168      0  12
// linear_slope_bf16                     256 threads  32      0  64   |  32      0  64
// linear_slope_f32                      256 threads  31      0  64   |  32      0  64

#include "elementwise.cuh"

namespace {

__device__ __forceinline__ float activate(float x, int activation) {
    switch (activation) {
    case 1:
        return larger(x, 0.0f);
    case 2:
        return silu(x);
    case 3:
        // x Phi(x); erfc keeps the tail of negative x.
        return 0.5f * x * erfcf(-0.70710678f * x);
    case 4:
        return x * sigmoid(1.702f * x);
    default:
        return x;
    }
}

__device__ __forceinline__ float slope(float x, int activation) {
    switch (activation) {
    case 1:
        return x > 0.0f ? 1.0f : 0.0f;
    case 2:
        return silu_slope(x);
    case 3:
        // Phi(x) + x phi(x).
        return fmaf(x, 0.39894228f * expf(-0.5f * x * x), 0.5f * erfcf(-0.70710678f * x));
    case 4: {
        const float z = 1.702f * x, s = sigmoid(z);
        return s * fmaf(z, 1.0f - s, 1.0f);
    }
    default:
        return 1.0f;
    }
}

// out = activation(y * scale + bias) + residual, of rows of n; scale, bias and residual may be null. out may be y.
template <int N, class T>
__device__ __forceinline__ void after(const T *y, const float *scale, const float *bias, const T *residual, T *out,
                                      Size count, int n, int activation) {
    const Size step = Size(gridDim.x) * blockDim.x * N;
    for (Size at = thread_of_grid() * N; at < count; at += step) {
        const int column = int(at % n);
        float v[N], w[N];
        load<N>(y + at, v);
        if (scale) {
            load<N>(scale + column, w);
#pragma unroll
            for (int i = 0; i < N; i++) {
                v[i] *= w[i];
            }
        }
        if (bias) {
            load<N>(bias + column, w);
#pragma unroll
            for (int i = 0; i < N; i++) {
                v[i] += w[i];
            }
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = activate(v[i], activation);
        }
        if (residual) {
            load<N>(residual + at, w);
#pragma unroll
            for (int i = 0; i < N; i++) {
                v[i] += w[i];
            }
        }
        store<N>(out + at, v);
    }
}

// Warps of a block of `few`, and outputs that a warp has for so many rows.
constexpr int FEW_WARPS = 4, FEW_THREADS = FEW_WARPS * WARP;
template <int ROWS> constexpr int FEW_OUTPUTS = ROWS > 2 ? 4 : 2;
// Blocks that a multiprocessor has at least, of registers: left alone, ptxas spills some to have one more.
template <int ROWS> constexpr int FEW_BLOCKS = ROWS > 8 ? 2 : ROWS > 2 ? 3 : 8;
// Elements of a row that a lane reads at once: 16 bytes, of bytes 8, for which there are enough registers.
template <class T> constexpr int FEW_TOGETHER = TOGETHER<T> < 8 ? TOGETHER<T> : 8;

// What a row of x has for one output: two products where it is gated.
template <class X> struct After {
    const float *scale, *scale_up, *bias;
    const X *residual;
    int activation;

    __device__ __forceinline__ float operator()(float v, int column, Size at) const {
        v *= scale ? scale[column] : 1.0f;
        v = activate(v + (bias ? bias[column] : 0.0f), activation);
        return v + (residual ? widen(residual[at]) : 0.0f);
    }
    __device__ __forceinline__ float operator()(float gate, float up, int column) const {
        return silu(gate * (scale ? scale[column] : 1.0f)) * (up * (scale_up ? scale_up[column] : 1.0f));
    }
};

// N elements of a row at a time: FEW_TOGETHER, or one where rows are not whole multiples of that. `up` is null, or the weight
// that is multiplied with the gate's: then half of a warp's rows are of either.
template <int N, int ROWS, class X, class T>
__device__ __forceinline__ void few(const X *x, const T *weight, const T *up, const After<X> &after, X *out, int rows,
                                    int n, int k) {
    constexpr int WIDE = FEW_OUTPUTS<ROWS>;
    const int step = up ? WIDE / 2 : WIDE, lane = lane_of_warp();
    const int first = (int(blockIdx.x) * FEW_WARPS + warp_of_block()) * step;
    if (first >= n) {
        return; // A whole warp.
    }
    // A row too many is the first once more, and not written.
    const T *from[WIDE];
#pragma unroll
    for (int o = 0; o < WIDE; o++) {
        const bool second = up && o >= step;
        const int column = first + (second ? o - step : o);
        from[o] = (second ? up : weight) + Size(column < n ? column : first) * k;
    }
    float sum[ROWS][WIDE] = {};
    for (int i = lane * N; i < k; i += WARP * N) {
        float w[WIDE][N];
#pragma unroll
        for (int o = 0; o < WIDE; o++) {
            load<N>(from[o] + i, w[o]);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float v[N];
            load<N>(x + Size(r < rows ? r : 0) * k + i, v);
#pragma unroll
            for (int o = 0; o < WIDE; o++) {
#pragma unroll
                for (int j = 0; j < N; j++) {
                    sum[r][o] = fmaf(v[j], w[o][j], sum[r][o]);
                }
            }
        }
    }
    // Each sum ends in one lane, which finishes it; or in a few, of which one does.
    constexpr int GROUP = ROWS * WIDE < WARP ? ROWS * WIDE : WARP, SAME = WARP / GROUP;
#pragma unroll
    for (int g = 0; g < ROWS * WIDE; g += GROUP) {
        float part[GROUP];
#pragma unroll
        for (int i = 0; i < GROUP; i++) {
            part[i] = sum[(g + i) / WIDE][(g + i) % WIDE];
        }
        const float mine = warp_sums(part);
        const float its = up ? __shfl_xor_sync(ALL, mine, WIDE / 2 * SAME) : 0.0f;
        const int at = g + lane / SAME, r = at / WIDE, o = at % WIDE, column = first + o;
        if (lane % SAME == 0 && r < rows && o < step && column < n) {
            const Size to = Size(r) * n + column;
            out[to] = narrow<X>(up ? after(mine, its, column) : after(mine, column, to));
        }
    }
}

} // namespace

#define LINEAR(T, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_linear_after_##type(const T *y, const float *scale, const float *bias, const T *residual, T *out,      \
                                  Size count, int n, int activation) {                                               \
        const int c = n;                                                                                             \
        OVER_ROWS(T, after, y, scale, bias, residual, out, count, n, activation);                                    \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_linear_after_##type, MAP_THREADS)                                                             \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_linear_slope_##type(const T *z, const T *dy, T *dz, Size count, int activation) {                      \
        map(                                                                                                         \
            count, {dz}, [=](const float(&x)[2], float(&d)[1]) { d[0] = x[1] * slope(x[0], activation); }, z, dy);   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_linear_slope_##type, MAP_THREADS)

LINEAR(float, f32)
LINEAR(bf16, bf16)

// out (rows, n) = activation(x (rows, k) weight (n, k)^T * scale + bias) + residual, or with `up`
// SiLU(x weight^T * scale) * (x up^T * scale_up). What it does without is null. Grid: a warp for each 2 or 4 outputs, half
// as many where there is an `up`.
#define FEW(X, T, type, ROWS)                                                                                        \
    extern "C" __global__ void __launch_bounds__(FEW_THREADS, FEW_BLOCKS<ROWS>)                                      \
        fqgan_linear_few##ROWS##_##type(const X *x, const T *weight, const T *up, const float *scale,                \
                                        const float *scale_up, const float *bias, const X *residual, int activation, \
                                        X *out, int rows, int n, int k) {                                            \
        const After<X> after = {scale, scale_up, bias, residual, activation};                                        \
        if (k % FEW_TOGETHER<T> == 0) {                                                                              \
            few<FEW_TOGETHER<T>, ROWS>(x, weight, up, after, out, rows, n, k);                                       \
        } else {                                                                                                     \
            few<1, ROWS>(x, weight, up, after, out, rows, n, k);                                                     \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_linear_few##ROWS##_##type, FEW_THREADS)

#define FEW_OF(X, T, type) FEW(X, T, type, 2) FEW(X, T, type, 8) FEW(X, T, type, 16)

FEW_OF(float, float, f32)
FEW_OF(float, bf16, bf16)
FEW_OF(float, f16, f16)
FEW_OF(float, signed char, i8)
// x, residual and out of bf16 too.
FEW_OF(bf16, bf16, bf16_bf16)
