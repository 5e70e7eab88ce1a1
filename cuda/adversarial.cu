// What a discriminator's logits are worth: the mean of a function of v = sign * logit. 0: v; 1: hinge, max(0, 1 + v);
// 2: softplus, ln(1 + e^v). The parts of the mean (mean.cu adds them up), and the rule.
//
// part        bytes: logits once     flops: 3 to 20 an element    bound: memory
// backward    bytes: logits twice    flops: 3 to 12 an element    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// adversarial_backward_bf16             256 threads  32      0  64   |  32      0  64
// adversarial_backward_f32              256 threads  29      0  64   |  31      0  64
// adversarial_part_bf16                 256 threads  30    256  64   |  30    256  64
// adversarial_part_f32                  256 threads  27    256  64   |  28    256  64

#include "elementwise.cuh"

namespace {

__device__ __forceinline__ float score(float v, int function) {
    switch (function) {
    case 0:
        return v;
    case 1:
        return larger(1.0f + v, 0.0f);
    default:
        return larger(v, 0.0f) + log1pf(expf(-fabsf(v)));
    }
}

__device__ __forceinline__ float slope(float v, int function) {
    switch (function) {
    case 0:
        return 1.0f;
    case 1:
        return v > -1.0f ? 1.0f : 0.0f;
    default:
        return sigmoid(v);
    }
}

} // namespace

#define ADVERSARIAL(T, type)                                                                                         \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_adversarial_part_##type(const T *logits, double *part, Size count, int function, float sign) {         \
        sum_part(count, part, [=](const float(&x)[1]) { return score(sign * x[0], function); }, logits);             \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_adversarial_part_##type, MAP_THREADS)                                                         \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_adversarial_backward_##type(const T *logits, const float *grad, T *d_logits, Size count, int function, \
                                          float sign) {                                                              \
        const float full = float(double(*grad) / double(count)) * sign;                                              \
        map(                                                                                                         \
            count, {d_logits}, [=](const float(&x)[1], float(&d)[1]) { d[0] = full * slope(sign * x[0], function); },\
            logits);                                                                                                 \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_adversarial_backward_##type, MAP_THREADS)

ADVERSARIAL(float, f32)
ADVERSARIAL(bf16, bf16)
