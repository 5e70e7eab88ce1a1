// What the passes of the entropy term (code_entropy.cu) leave to be added up: some numbers a latent or a code, a thread
// each, in f64 and in the splits' order. Their time is the launch's.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// code_entropy_finish_columns_f32       128 threads  40      0  48   |  32      0  64
// code_entropy_finish_loss_f32          128 threads  32    256  64   |  32    256  64
// code_entropy_finish_rows_bf16         128 threads  32      0  64   |  32      0  64
// code_entropy_finish_rows_f32          128 threads  32      0  64   |  32      0  64
// code_entropy_finish_slopes_f32        128 threads  32    256  64   |  32    256  64
// code_entropy_finish_states_f32        128 threads  32    256  64   |  32    256  64

#include "code_entropy.cuh"

namespace {

// The sum over splits of part[split * stride + at].
__device__ __forceinline__ double over_splits(const float *part, int splits, Size stride, Size at) {
    double sum = 0.0;
    for (int split = 0; split < splits; split++) {
        sum += double(part[split * stride + at]);
    }
    return sum;
}

// dz from its parts. The state takes what the columns want: the offset, and the mean of slope - v + offset.
template <class T>
__device__ __forceinline__ void finish_rows(const float *part, State *states, const float *grad, T *dz, int rows, int d,
                                            int splits, float factor) {
    const int row = int(thread_of_grid());
    if (row < rows) {
        const float scale = *grad / float(rows) * factor;
        const Size stride = Size(2 + 2 * d) * rows;
        const double mean = over_splits(part, splits, stride, row);
        states[row].log_sum = part[rows + row];
        states[row].entropy = float(mean);
        for (int k = 0; k < d; k++) {
            const double weight = over_splits(part, splits, stride, Size(2 + k) * rows + row);
            const double p = over_splits(part, splits, stride, Size(2 + d + k) * rows + row);
            dz[Size(row) * d + k] = narrow<T>(float(double(scale) * (weight - mean * p)));
        }
    }
}

} // namespace

// The states of all latents from their parts; entropy[block] is the sum of a block's entropies, for mean.cu to add up.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_finish_states_f32(const float *part, State *states, double *entropy, int rows, int splits) {
    const int row = int(thread_of_grid());
    double mine = 0.0;
    if (row < rows) {
        const Size all = Size(splits) * rows;
        float most = -INFINITY;
        for (int split = 0; split < splits; split++) {
            most = larger(most, part[Size(split) * rows + row]);
        }
        double sum = 0.0, product = 0.0;
        for (int split = 0; split < splits; split++) {
            const Size at = Size(split) * rows + row;
            if (part[all + at] != 0.0f) {
                const double fall = double(part[at]) - double(most), shrink = exp(fall), of_split = part[all + at];
                sum += of_split * shrink;
                product += (double(part[2 * all + at]) + fall * of_split) * shrink;
            }
        }
        mine = log(sum) - product / sum;
        states[row] = {most, float(1.0 / sum), float(log(sum)), float(mine)};
    }
    mine = block_sum(mine);
    if (threadIdx.x == 0) {
        entropy[blockIdx.x] = mine;
    }
}
FQGAN_KERNEL(fqgan_code_entropy_finish_states_f32, THREADS)

// The mean of p of each code from its parts: the slope ln(p + eps) + p / (p + eps), and used[block], a block's sum of
// p ln(p + eps).
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_finish_slopes_f32(const float *part, float *slopes, double *used, int rows, int codes, int splits,
                                  float eps) {
    const int code = int(thread_of_grid());
    double mine = 0.0;
    if (code < codes) {
        const double p = double(float(over_splits(part, splits, codes, code) / double(rows)));
        const double shifted = p + double(eps), log_p = log(shifted);
        slopes[code] = float(log_p + p / shifted);
        mine = p * log_p;
    }
    mine = block_sum(mine);
    if (threadIdx.x == 0) {
        used[blockIdx.x] = mine;
    }
}
FQGAN_KERNEL(fqgan_code_entropy_finish_slopes_f32, THREADS)

// The loss: the mean of the entropies plus what is used. One block.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_finish_loss_f32(const double *entropy, int entropies, const double *used, int parts, int rows,
                                  float *out) {
    double sum = 0.0;
    for (int i = int(threadIdx.x); i < entropies; i += THREADS) {
        sum += entropy[i] / double(rows);
    }
    for (int i = int(threadIdx.x); i < parts; i += THREADS) {
        sum += used[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        *out = float(sum);
    }
}
FQGAN_KERNEL(fqgan_code_entropy_finish_loss_f32, THREADS)

#define FINISH_ROWS(T, type)                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_code_entropy_finish_rows_##type(const float *part, State *states, const float *grad, T *dz, int rows,  \
                                              int d, int splits, float factor) {                                     \
        finish_rows(part, states, grad, dz, rows, d, splits, factor);                                                \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_code_entropy_finish_rows_##type, THREADS)

FINISH_ROWS(float, f32)
FINISH_ROWS(bf16, bf16)

// The codebook's gradient from its parts.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_finish_columns_f32(const float *part, const float *codebook, const float *grad, float *out,
                                          int rows, int codes, int d, int splits, float factor) {
    const int code = int(thread_of_grid());
    if (code < codes) {
        const double scale = double(*grad / float(rows) * factor);
        const Size stride = Size(1 + d) * codes;
        const double sum = over_splits(part, splits, stride, code);
        for (int k = 0; k < d; k++) {
            const double of_z = over_splits(part, splits, stride, Size(1 + k) * codes + code);
            out[Size(code) * d + k] = float(scale * (of_z - double(codebook[Size(code) * d + k]) * sum));
        }
    }
}
FQGAN_KERNEL(fqgan_code_entropy_finish_columns_f32, THREADS)
