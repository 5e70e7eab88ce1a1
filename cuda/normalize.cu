// Rows divided by their length, x / max(|x|, eps), and the rule: (g - y (y . g)) / |x|, or g / eps of a shorter row.
// Lengths are taken in f64. A lane a row of up to 32, a warp a longer one.
//
// forward    bytes: x twice          flops: 3 an element    bound: memory
// backward   bytes: x three times    flops: 8 an element    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// normalize_backward_bf16               128 threads  56      0  36   |  56      0  36
// normalize_backward_f32                128 threads  56      0  36   |  56      0  36
// normalize_forward_bf16                128 threads  32      0  64   |  32      0  64
// normalize_forward_f32                 128 threads  32      0  64   |  32      0  64

#include "lanes.cuh"

namespace {

// The larger; NaN stays.
__device__ __forceinline__ double held(double norm, float eps) { return norm <= double(eps) ? double(eps) : norm; }

template <int G, class T>
__device__ __forceinline__ void forward(const T *x, T *out, Size rows, int d, float eps) {
    const Lanes<G> lanes;
    const bool there = lanes.row < rows;
    const int width = there ? d : 0;
    x += there ? lanes.row * d : 0;
    double square = 0.0;
    lanes.over(width, [&](int i) { square += double(widen(x[i])) * double(widen(x[i])); });
    const double inverse = 1.0 / held(sqrt(lanes.sum(square)), eps);
    lanes.over(width, [&](int i) { out[lanes.row * d + i] = narrow<T>(float(double(widen(x[i])) * inverse)); });
}

template <int G, class T>
__device__ __forceinline__ void backward(const T *x, const T *grad, T *dx, Size rows, int d, float eps) {
    const Lanes<G> lanes;
    const bool there = lanes.row < rows;
    const int width = there ? d : 0;
    const Size first = there ? lanes.row * d : 0;
    double square = 0.0, dot = 0.0;
    lanes.over(width, [&](int i) {
        const double v = widen(x[first + i]);
        square += v * v;
        dot += v * double(widen(grad[first + i]));
    });
    const double norm = sqrt(lanes.sum(square)), inverse = 1.0 / held(norm, eps);
    dot = lanes.sum(dot);
    // A row that is held at eps has a constant divisor.
    const double along = norm > double(eps) ? dot * inverse * inverse : 0.0;
    lanes.over(width, [&](int i) {
        const double v = widen(x[first + i]), g = widen(grad[first + i]);
        dx[first + i] = narrow<T>(float((g - v * along) * inverse));
    });
}

} // namespace

#define NORMALIZE(T, type)                                                                                           \
    extern "C" __global__ void __launch_bounds__(LANES_THREADS)                                                      \
        fqgan_normalize_forward_##type(const T *x, T *out, Size rows, int d, float eps) {                            \
        OVER_LANES(forward, x, out, rows, d, eps);                                                                   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_normalize_forward_##type, LANES_THREADS)                                                      \
    extern "C" __global__ void __launch_bounds__(LANES_THREADS)                                                      \
        fqgan_normalize_backward_##type(const T *x, const T *grad, T *dx, Size rows, int d, float eps) {             \
        OVER_LANES(backward, x, grad, dx, rows, d, eps);                                                             \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_normalize_backward_##type, LANES_THREADS)

NORMALIZE(float, f32)
NORMALIZE(bf16, bf16)
