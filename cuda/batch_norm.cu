// What batch normalisation keeps from batch to batch: the scale and shift that kept statistics amount to, and the
// statistics after one more batch. A thread a channel, in f64; a few hundred numbers.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// batch_norm_keep_f32                   128 threads  34      0  48   |  34      0  48
// batch_norm_kept_f32                   128 threads  22      0  64   |  22      0  64

#include "common.cuh"

constexpr int THREADS = 128;

// Output (2, c): scale, then shift.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_batch_norm_kept_f32(const float *weight, const float *bias, const float *mean, const float *variance,
                              float *out, int c, float eps) {
    const int i = int(thread_of_grid());
    if (i < c) {
        const double scale = double(weight[i]) * (1.0 / sqrt(double(variance[i]) + double(eps)));
        out[i] = float(scale);
        out[c + i] = float(double(bias[i]) - double(mean[i]) * scale);
    }
}
FQGAN_KERNEL(fqgan_batch_norm_kept_f32, THREADS)

// `unit` (2, c) is the batch's scale and shift for weight 1 and bias 0.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_batch_norm_keep_f32(const float *unit, const float *mean, const float *variance, float *new_mean,
                              float *new_variance, int c, float momentum, float eps, double positions) {
    const int i = int(thread_of_grid());
    if (i < c) {
        const double r = unit[i], old_mean = mean[i], old_variance = variance[i];
        double biased = 1.0 / (r * r) - double(eps);
        biased = biased < 0.0 ? 0.0 : biased;
        const double fresh = biased * positions / (positions - 1.0);
        new_mean[i] = float(old_mean + double(momentum) * (-double(unit[c + i]) / r - old_mean));
        new_variance[i] = float(old_variance + double(momentum) * (fresh - old_variance));
    }
}
FQGAN_KERNEL(fqgan_batch_norm_keep_f32, THREADS)
