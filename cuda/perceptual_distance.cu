// One layer of LPIPS: features of two pictures, each position's channels divided by their length, squared differences
// weighted by channel, summed, and averaged over positions; and the rule for the first picture. A warp a position, whose
// channels it reads again from the first level.
//
// forward    bytes: a and b         flops: 9 an element     bound: memory
// backward   bytes: a, b and da     flops: 16 an element    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// perceptual_distance_backward_bf16     128 threads  56      0  36   |  52      0  36
// perceptual_distance_backward_f32      128 threads  64      0  32   |  62      0  32
// perceptual_distance_finish_f32        128 threads  32      0  64   |  32      0  64
// perceptual_distance_part_bf16         128 threads  52    256  36   |  44    256  40
// perceptual_distance_part_f32          128 threads  64    256  32   |  70    256  28

#include "rows.cuh"

// Added to a length.
constexpr double EPS = 1e-10;
// Positions of a block of the forward pass: its sum is one part of a picture's.
constexpr int POSITIONS = 64;

namespace {

template <int N, class T> __device__ __forceinline__ double length(const T *x, int c) {
    float square = 0.0f;
    over_row<N>(c, [&](int i) {
        float v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) {
            square = fmaf(v[j], v[j], square);
        }
    });
    return sqrt(double(warp_sum(square)));
}

// part (n, parts) in f64. Grid: (parts, n).
template <int N, class T>
__device__ __forceinline__ void forward(const T *a, const T *b, const float *weight, double *part, Size positions,
                                        int c) {
    const Size begin = Size(blockIdx.x) * POSITIONS;
    const Size end = begin + POSITIONS < positions ? begin + POSITIONS : positions;
    double total = 0.0;
    for (Size position = begin + warp_of_block(); position < end; position += ROW_WARPS) {
        const Size at = (Size(blockIdx.y) * positions + position) * c;
        const float u = float(1.0 / (length<N>(a + at, c) + EPS)), v = float(1.0 / (length<N>(b + at, c) + EPS));
        float sum = 0.0f;
        over_row<N>(c, [&](int i) {
            float x[N], y[N], w[N];
            load<N>(a + at + i, x);
            load<N>(b + at + i, y);
            load<N>(weight + i, w);
#pragma unroll
            for (int j = 0; j < N; j++) {
                const float d = x[j] * u - y[j] * v;
                sum = fmaf(d * d, w[j], sum);
            }
        });
        total += double(sum);
    }
    total = block_sum(total);
    if (threadIdx.x == 0) {
        part[Size(blockIdx.y) * gridDim.x + blockIdx.x] = total;
    }
}

// With y = a / (|a| + eps) and g = factor weight (y - b / (|b| + eps)): da = (g - a (g . a) / (|a| (|a| + eps))) /
// (|a| + eps); a column of zeros has no direction, and no gradient.
template <int N, class T>
__device__ __forceinline__ void backward(const T *a, const T *b, const float *weight, const float *grad, T *da,
                                         Size count, Size positions, int c) {
    const Size row = row_of_warp();
    if (row >= count) {
        return;
    }
    const Size at = row * c;
    const float factor = float(2.0 * double(grad[row / positions]) / double(positions));
    const double norm = length<N>(a + at, c);
    const float u = float(1.0 / (norm + EPS)), v = float(1.0 / (length<N>(b + at, c) + EPS));
    // g and y of some channels.
    auto slopes = [&](int i, float(&g)[N], float(&y)[N]) {
        float other[N], w[N];
        load<N>(a + at + i, y);
        load<N>(b + at + i, other);
        load<N>(weight + i, w);
#pragma unroll
        for (int j = 0; j < N; j++) {
            y[j] *= u;
            g[j] = factor * w[j] * (y[j] - other[j] * v);
        }
    };
    float dot = 0.0f;
    over_row<N>(c, [&](int i) {
        float g[N], y[N];
        slopes(i, g, y);
#pragma unroll
        for (int j = 0; j < N; j++) {
            // Through y: a itself may be as small as its square is none.
            dot = fmaf(g[j], y[j], dot);
        }
    });
    dot = warp_sum(dot);
    const float along = norm == 0.0 ? 0.0f : float(double(dot) * (norm + EPS) / norm);
    over_row<N>(c, [&](int i) {
        float g[N], y[N];
        slopes(i, g, y);
#pragma unroll
        for (int j = 0; j < N; j++) {
            g[j] = norm == 0.0 ? 0.0f : (g[j] - y[j] * along) * u;
        }
        store<N>(da + at + i, g);
    });
}

} // namespace

#define PERCEPTUAL_DISTANCE(T, type)                                                                                 \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                        \
        fqgan_perceptual_distance_part_##type(const T *a, const T *b, const float *weight, double *part,             \
                                              Size positions, int c) {                                               \
        OVER_ROWS(T, forward, a, b, weight, part, positions, c);                                                     \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_perceptual_distance_part_##type, ROW_THREADS)                                                 \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                        \
        fqgan_perceptual_distance_backward_##type(const T *a, const T *b, const float *weight, const float *grad,    \
                                                  T *da, Size count, Size positions, int c) {                        \
        OVER_ROWS(T, backward, a, b, weight, grad, da, count, positions, c);                                         \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_perceptual_distance_backward_##type, ROW_THREADS)

PERCEPTUAL_DISTANCE(float, f32)
PERCEPTUAL_DISTANCE(bf16, bf16)

// The distance of each picture from its parts. A warp a picture.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    fqgan_perceptual_distance_finish_f32(const double *part, float *out, Size pictures, int parts, Size positions) {
    const Size picture = row_of_warp();
    if (picture < pictures) {
        double sum = 0.0;
        for (int i = lane_of_warp(); i < parts; i += WARP) {
            sum += part[picture * parts + i];
        }
        sum = warp_sum(sum);
        if (lane_of_warp() == 0) {
            out[picture] = float(sum / double(positions));
        }
    }
}
FQGAN_KERNEL(fqgan_perceptual_distance_finish_f32, ROW_THREADS)
