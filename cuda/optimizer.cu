// What an optimiser does, of all tensors of a network at once: a step of Adam with decoupled weight decay, the average of
// weights, and the lengths of gradients. A table has a line a tensor; a block has a part of one. A gradient may be bf16,
// as its line says, beside others of f32; weights and moments are f32. Factors that the host has in f64 come rounded to f32,
// as on the processor.
//
// adam       bytes: seven times the weights    flops: 14 an element    bound: memory
// average    bytes: three times the weights    flops: 3 an element     bound: memory
// length     bytes: x once                     flops: 2 an element     bound: memory
// finish     a number a part
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// optimizer_adam_f32                    256 threads  38      0  48   |  38      0  48
// optimizer_average_f32                 256 threads  30      0  64   |  30      0  64
// optimizer_length_finish_f32           256 threads  29    256  64   |  29    256  64
// optimizer_length_part_f32             256 threads  29    256  64   |  28    256  64

#include "elementwise.cuh"

namespace {

// A tensor. `to` may be `from`.
struct Line {
    const float *from[4];
    float *to[3];
    Size count;
    // The number of its first block: it has one for each PART elements.
    Size first;
    // What weight decay leaves: 1 - rate decay.
    float keep;
    // Whether the gradient is bf16: from[1] of a step, from[0] of a length.
    Size narrow;
};

// Where a block is: the last line that does not begin after it, which is not an empty one.
__device__ __forceinline__ int line_of(const Line *table, int lines, Size block) {
    int low = 0, high = lines - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (table[middle].first <= block) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

// What a pointer of the line points at, where it is a gradient of type G.
template <class G> __device__ __forceinline__ const G *gradient(const float *from) {
    return reinterpret_cast<const G *>(from);
}

// f over this block's part: from K pointers of the line, of which the second is a gradient if there are four, to M.
template <int K, int M, class G, class F> __device__ __forceinline__ void map_part(const Line &line, F f) {
    const Size begin = (Size(blockIdx.x) - line.first) * PART;
    const Size count = line.count - begin < PART ? line.count - begin : PART;
    float *to[M];
#pragma unroll
    for (int i = 0; i < M; i++) {
        to[i] = line.to[i] + begin;
    }
    if constexpr (K == 2) {
        map_among(threadIdx.x, MAP_THREADS, count, to, f, line.from[0] + begin, line.from[1] + begin);
    } else {
        map_among(threadIdx.x, MAP_THREADS, count, to, f, line.from[0] + begin,
                  gradient<G>(line.from[1]) + begin, line.from[2] + begin, line.from[3] + begin);
    }
}

} // namespace

// From weight, gradient, m and v to weight, m and v. rate: over 1 - beta1^t; first = 1 - beta1; second = beta2;
// fresh = 1 - beta2; root = sqrt(1 - beta2^t); scale: what clipping leaves of the gradient. A block a part.
extern "C" __global__ void __launch_bounds__(MAP_THREADS)
    fqgan_optimizer_adam_f32(const Line *table, int lines, float rate, float first, float second, float fresh,
                             float root, float eps, float scale) {
    const Line &line = table[line_of(table, lines, blockIdx.x)];
    const float keep = line.keep;
    const auto moved = [=](const float(&x)[4], float(&y)[3]) {
        const float g = x[1] * scale;
        y[1] = fmaf(g - x[2], first, x[2]);
        y[2] = fmaf(g * g, fresh, x[3] * second);
        y[0] = x[0] * keep - y[1] * rate / (sqrtf(y[2]) / root + eps);
    };
    if (line.narrow) {
        map_part<4, 3, bf16>(line, moved);
    } else {
        map_part<4, 3, float>(line, moved);
    }
}
FQGAN_KERNEL(fqgan_optimizer_adam_f32, MAP_THREADS)

// From average and weight to average. A block a part.
extern "C" __global__ void __launch_bounds__(MAP_THREADS)
    fqgan_optimizer_average_f32(const Line *table, int lines, float share) {
    map_part<2, 1, float>(table[line_of(table, lines, blockIdx.x)],
                          [=](const float(&x)[2], float(&y)[1]) { y[0] = fmaf(share, x[1] - x[0], x[0]); });
}
FQGAN_KERNEL(fqgan_optimizer_average_f32, MAP_THREADS)

// The sum of squares of each part. A block a part.
extern "C" __global__ void __launch_bounds__(MAP_THREADS)
    fqgan_optimizer_length_part_f32(const Line *table, int lines, double *part) {
    const Line &line = table[line_of(table, lines, blockIdx.x)];
    const Size block = Size(blockIdx.x) - line.first;
    const auto square = [](const float(&v)[1]) { return v[0] * v[0]; };
    const double sum = line.narrow ? sum_of_part(block, line.count, square, gradient<bf16>(line.from[0]))
                                   : sum_of_part(block, line.count, square, line.from[0]);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = sum;
    }
}
FQGAN_KERNEL(fqgan_optimizer_length_part_f32, MAP_THREADS)

// The length of each tensor. A block a line.
extern "C" __global__ void __launch_bounds__(MAP_THREADS)
    fqgan_optimizer_length_finish_f32(const Line *table, const double *part, float *length) {
    const Line &line = table[blockIdx.x];
    const double sum = sum_of_parts(part + line.first, (line.count + PART - 1) / PART);
    if (threadIdx.x == 0) {
        length[blockIdx.x] = float(sqrt(sum));
    }
}
FQGAN_KERNEL(fqgan_optimizer_length_finish_f32, MAP_THREADS)
