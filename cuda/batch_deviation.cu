// The mean standard deviation within a set of pictures, at every place of each of them, and its rule. Of n pictures, g
// make a set: picture i is of set i mod (n / g). Sums are in f64, their parts in an order that depends on the shape alone.
//
// part    bytes: x twice (the second time from caches)    flops: 5 an element    bound: memory
// rule    bytes: x three times, dx once                   flops: 8 an element    bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// batch_deviation_gather_bf16           256 threads  32    256  64   |  32    256  64
// batch_deviation_gather_f32            256 threads  32    256  64   |  32    256  64
// batch_deviation_part_bf16             256 threads  53    256  32   |  48    256  40
// batch_deviation_part_f32              256 threads  54    256  32   |  48    256  40
// batch_deviation_rule_bf16             256 threads  44      0  40   |  44      0  40
// batch_deviation_rule_f32              256 threads  40      0  48   |  40      0  48
// batch_deviation_spread_bf16           256 threads  32    264  64   |  32    264  64
// batch_deviation_spread_f32            256 threads  32    264  64   |  32    264  64

#include "elementwise.cuh"

namespace {

// Keeps the root's slope finite.
constexpr double EPS = 1e-8;

// Mean and deviation of an element over a set; values are `step` apart.
struct Spread {
    double mean, deviation;

    template <class T> __device__ __forceinline__ Spread(const T *x, Size step, int g) {
        double sum = 0.0, square = 0.0;
        for (int i = 0; i < g; i++) {
            sum += double(widen(x[i * step]));
        }
        mean = sum / g;
        for (int i = 0; i < g; i++) {
            const double d = double(widen(x[i * step])) - mean;
            square += d * d;
        }
        deviation = sqrt(square / g + EPS);
    }
};

// part (sets, parts): the deviations of PART elements of a picture. Grid: (parts, sets).
template <class T> __device__ __forceinline__ void deviations(const T *x, double *part, Size each, int g) {
    const int sets = int(gridDim.y), set = int(blockIdx.y);
    const Size begin = Size(blockIdx.x) * PART, end = begin + PART < each ? begin + PART : each;
    double sum = 0.0;
    for (Size at = begin + threadIdx.x; at < end; at += MAP_THREADS) {
        sum += Spread(x + set * each + at, sets * each, g).deviation;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        part[Size(set) * gridDim.x + blockIdx.x] = sum;
    }
}

// A block a picture writes its set's mean to all places.
template <class T>
__device__ __forceinline__ void spread_out(const double *part, T *out, Size parts, Size each, Size places, int sets) {
    SHARED(float, mean, [1]);
    const double sum = sum_of_parts(part + Size(int(blockIdx.x) % sets) * parts, parts);
    if (threadIdx.x == 0) {
        mean[0] = float(sum / double(each));
    }
    __syncthreads();
    for (Size at = threadIdx.x; at < places; at += MAP_THREADS) {
        out[Size(blockIdx.x) * places + at] = narrow<T>(mean[0]);
    }
}

// The sum of a set's gradients. A block a set.
template <class T> __device__ __forceinline__ void gather(const T *dy, double *sums, Size places, int g) {
    const int sets = int(gridDim.x), set = int(blockIdx.x);
    double sum = 0.0;
    for (Size at = threadIdx.x; at < places * g; at += MAP_THREADS) {
        sum += double(widen(dy[(set + at / places * sets) * places + at % places]));
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        sums[set] = sum;
    }
}

// dx = sum (x - mean) / (g deviation each). Grid: (elements / threads, sets).
template <class T>
__device__ __forceinline__ void rule(const T *x, const double *sums, T *dx, Size each, int g) {
    const int sets = int(gridDim.y), set = int(blockIdx.y);
    const Size at = thread_of_grid();
    if (at < each) {
        const Spread spread(x + set * each + at, sets * each, g);
        for (int i = 0; i < g; i++) {
            const Size place = (set + Size(i) * sets) * each + at;
            const double from = double(widen(x[place])) - spread.mean;
            dx[place] = narrow<T>(float(sums[set] * from / (g * spread.deviation * double(each))));
        }
    }
}

} // namespace

#define BATCH_DEVIATION(T, type)                                                                                     \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_batch_deviation_part_##type(const T *x, double *part, Size each, int g) {                              \
        deviations(x, part, each, g);                                                                                \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_batch_deviation_part_##type, MAP_THREADS)                                                     \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_batch_deviation_spread_##type(const double *part, T *out, Size parts, Size each, Size places,          \
                                            int sets) {                                                              \
        spread_out(part, out, parts, each, places, sets);                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_batch_deviation_spread_##type, MAP_THREADS)                                                   \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_batch_deviation_gather_##type(const T *dy, double *sums, Size places, int g) {                         \
        gather(dy, sums, places, g);                                                                                 \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_batch_deviation_gather_##type, MAP_THREADS)                                                   \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_batch_deviation_rule_##type(const T *x, const double *sums, T *dx, Size each, int g) {                 \
        rule(x, sums, dx, each, g);                                                                                  \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_batch_deviation_rule_##type, MAP_THREADS)

BATCH_DEVIATION(float, f32)
BATCH_DEVIATION(bf16, bf16)
