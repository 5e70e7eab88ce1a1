// The mean of all elements, and what finishes every other sum over a whole tensor: parts of 4096 elements, a block each,
// then one block for all parts. The order of the additions depends on the count alone.
//
// part      bytes: x once     flops: one an element    bound: memory
// finish    a few thousand numbers
// spread    bytes: dx once    bound: memory            the rule of a mean
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// mean_finish_f32                       256 threads  28    256  64   |  30    256  64
// mean_part_bf16                        256 threads  31    256  64   |  32    256  64
// mean_part_f32                         256 threads  27    256  64   |  27    256  64
// mean_spread_bf16                      256 threads  22      0  64   |  28      0  64
// mean_spread_f32                       256 threads  20      0  64   |  20      0  64

#include "elementwise.cuh"

#define MEAN(T, type)                                                                                                \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_mean_part_##type(const T *x, double *part, Size count) {                                               \
        sum_part(count, part, [](const float(&v)[1]) { return v[0]; }, x);                                           \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_mean_part_##type, MAP_THREADS)                                                                \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_mean_spread_##type(const float *grad, T *dx, Size count) {                                             \
        const float share = *grad / float(count);                                                                    \
        map(count, {dx}, [=](const float(&)[1], float(&d)[1]) { d[0] = share; });                                    \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_mean_spread_##type, MAP_THREADS)

MEAN(float, f32)
MEAN(bf16, bf16)

// out = the sum of the parts times a factor, or its square root. One block.
extern "C" __global__ void __launch_bounds__(MAP_THREADS)
    fqgan_mean_finish_f32(const double *part, Size parts, double factor, int root, float *out) {
    const double sum = sum_of_parts(part, parts) * factor;
    if (threadIdx.x == 0) {
        *out = float(root ? sqrt(sum) : sum);
    }
}
FQGAN_KERNEL(fqgan_mean_finish_f32, MAP_THREADS)
