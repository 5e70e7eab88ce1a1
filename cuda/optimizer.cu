// A step of Adam with decoupled weight decay, the average of weights, and the parts of a tensor's length (mean.cu ends
// it). Factors that the host has in f64 come rounded to f32, as on the processor.
//
// adam       bytes: seven times the weights    flops: 14 an element    bound: memory
// average    bytes: three times the weights    flops: 3 an element     bound: memory
// length     bytes: x once                     flops: 2 an element     bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// optimizer_adam_f32                    256 threads  36      0  48   |  40      0  48
// optimizer_average_f32                 256 threads  28      0  64   |  28      0  64
// optimizer_length_part_f32             256 threads  21    256  64   |  21    256  64

#include "elementwise.cuh"

// keep = 1 - rate decay; rate: over 1 - beta1^t; first = 1 - beta1; second = beta2; fresh = 1 - beta2;
// root = sqrt(1 - beta2^t); scale: what clipping leaves of the gradient.
extern "C" __global__ void __launch_bounds__(MAP_THREADS)
    fqgan_optimizer_adam_f32(const float *weight, const float *grad, const float *m, const float *v, float *new_weight,
                             float *new_m, float *new_v, Size count, float keep, float rate, float first, float second,
                             float fresh, float root, float eps, float scale) {
    map(
        count, {new_weight, new_m, new_v},
        [=](const float(&x)[4], float(&y)[3]) {
            const float g = x[1] * scale;
            y[1] = fmaf(g - x[2], first, x[2]);
            y[2] = fmaf(g * g, fresh, x[3] * second);
            y[0] = x[0] * keep - y[1] * rate / (sqrtf(y[2]) / root + eps);
        },
        weight, grad, m, v);
}
FQGAN_KERNEL(fqgan_optimizer_adam_f32, MAP_THREADS)

extern "C" __global__ void __launch_bounds__(MAP_THREADS)
    fqgan_optimizer_average_f32(const float *average, const float *weight, float *out, Size count, float share) {
    map(count, {out}, [=](const float(&x)[2], float(&y)[1]) { y[0] = fmaf(share, x[1] - x[0], x[0]); }, average, weight);
}
FQGAN_KERNEL(fqgan_optimizer_average_f32, MAP_THREADS)

extern "C" __global__ void __launch_bounds__(MAP_THREADS)
    fqgan_optimizer_length_part_f32(const float *x, double *part, Size count) {
    sum_part(count, part, [](const float(&v)[1]) { return v[0] * v[0]; }, x);
}
FQGAN_KERNEL(fqgan_optimizer_length_part_f32, MAP_THREADS)
