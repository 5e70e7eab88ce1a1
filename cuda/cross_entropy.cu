// -ln softmax(logits)[target] of each row, and its rule: (softmax(logits) - one at the target) times the row's gradient.
// A block a row. The largest logit and the sum of exponentials are found in one pass, each thread's by itself.
//
// forward    bytes: logits once         flops: 12 an element    bound: memory
// backward   bytes: logits twice (the second time from the second level), their gradient once
//            flops: 24 an element       bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// cross_entropy_backward_bf16           512 threads  32    384  64   |  32    384  64
// cross_entropy_backward_f32            512 threads  30    384  64   |  30    384  64
// cross_entropy_forward_bf16            512 threads  29    384  64   |  32    384  64
// cross_entropy_forward_f32             512 threads  30    384  64   |  32    384  64

#include "common.cuh"

constexpr int THREADS = 512;

namespace {

// The largest of a row, and the sum of e^(logit - largest) in f64, for all threads.
template <int N, class T> __device__ __forceinline__ void softmax_sum(const T *logits, int c, float &largest, double &sum) {
    float most = -INFINITY, total = 0.0f;
    for (int i = int(threadIdx.x) * N; i < c; i += THREADS * N) {
        float v[N];
        load<N>(logits + i, v);
        float now = most;
#pragma unroll
        for (int j = 0; j < N; j++) {
            now = larger(now, v[j]);
        }
        // Minus infinity, once met, must not be taken from itself.
        total = total == 0.0f ? 0.0f : total * expf(most - now);
#pragma unroll
        for (int j = 0; j < N; j++) {
            total += v[j] == -INFINITY && now == -INFINITY ? 0.0f : expf(v[j] - now);
        }
        most = now;
    }
    largest = block_largest(most);
    sum = block_sum(total == 0.0f ? 0.0 : double(total) * exp(double(most) - double(largest)));
}

template <int N, class T>
__device__ __forceinline__ void forward(const T *logits, const unsigned *targets, float *out, int c,
                                        unsigned long long *wrong) {
    const Size row = blockIdx.x;
    logits += row * c;
    float largest;
    double sum;
    softmax_sum<N>(logits, c, largest, sum);
    if (threadIdx.x == 0) {
        const unsigned target = targets[row];
        if (target < unsigned(c)) {
            out[row] = float(log(sum) + (double(largest) - double(widen(logits[target]))));
        } else {
            atomicMin(wrong, (unsigned long long)row);
        }
    }
}

template <int N, class T>
__device__ __forceinline__ void backward(const T *logits, const unsigned *targets, const float *grad, T *d_logits,
                                         int c) {
    const Size row = blockIdx.x;
    logits += row * c;
    d_logits += row * c;
    float largest;
    double sum;
    softmax_sum<N>(logits, c, largest, sum);
    const float g = grad[row], factor = float(double(g) / sum);
    const int target = int(targets[row]);
    for (int i = int(threadIdx.x) * N; i < c; i += THREADS * N) {
        float v[N];
        load<N>(logits + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = factor * expf(v[j] - largest) - (i + j == target ? g : 0.0f);
        }
        store<N>(d_logits + i, v);
    }
}

} // namespace

#define CROSS_ENTROPY(T, type)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_cross_entropy_forward_##type(const T *logits, const unsigned *targets, float *out, int c,              \
                                           unsigned long long *wrong) {                                              \
        OVER_ROWS(T, forward, logits, targets, out, c, wrong);                                                       \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_cross_entropy_forward_##type, THREADS)                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_cross_entropy_backward_##type(const T *logits, const unsigned *targets, const float *grad,             \
                                            T *d_logits, int c) {                                                    \
        OVER_ROWS(T, backward, logits, targets, grad, d_logits, c);                                                  \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_cross_entropy_backward_##type, THREADS)

CROSS_ENTROPY(float, f32)
CROSS_ENTROPY(bf16, bf16)
