// The mean over rows of (a . b)^2: its parts, 256 rows each (mean.cu adds them up), and its rule, 2 (a . b) b / rows for
// a and the like for b. A lane a row; sums in f64.
//
// forward    bytes: a and b          flops: 2 an element    bound: memory
// backward   bytes: four times a     flops: 4 an element    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// disentangle_backward_bf16             256 threads  32      0  64   |  32      0  64
// disentangle_backward_f32              256 threads  32      0  64   |  32      0  64
// disentangle_part_bf16                 256 threads  32    256  64   |  32    256  64
// disentangle_part_f32                  256 threads  34    256  48   |  32    256  64

#include "common.cuh"

constexpr int THREADS = 256;

namespace {

template <class T> __device__ __forceinline__ double dot(const T *a, const T *b, int d) {
    double sum = 0.0;
    for (int i = 0; i < d; i++) {
        sum += double(widen(a[i])) * double(widen(b[i]));
    }
    return sum;
}

} // namespace

#define DISENTANGLE(T, type)                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_disentangle_part_##type(const T *a, const T *b, double *part, Size rows, int d) {                      \
        const Size row = thread_of_grid();                                                                           \
        const double product = row < rows ? dot(a + row * d, b + row * d, d) : 0.0;                                  \
        const double sum = block_sum(product * product);                                                             \
        if (threadIdx.x == 0) {                                                                                      \
            part[blockIdx.x] = sum;                                                                                  \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_disentangle_part_##type, THREADS)                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_disentangle_backward_##type(const T *a, const T *b, const float *grad, T *da, T *db, Size rows,        \
                                          int d) {                                                                   \
        const Size row = thread_of_grid();                                                                           \
        if (row < rows) {                                                                                            \
            const double factor = 2.0 * double(*grad) / double(rows) * dot(a + row * d, b + row * d, d);             \
            for (Size i = row * d; i < (row + 1) * d; i++) {                                                         \
                da[i] = narrow<T>(float(factor * double(widen(b[i]))));                                              \
                db[i] = narrow<T>(float(factor * double(widen(a[i]))));                                              \
            }                                                                                                        \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_disentangle_backward_##type, THREADS)

DISENTANGLE(float, f32)
DISENTANGLE(bf16, bf16)
