// Draws a code of each image from its logits, in the steps of src/ops/sample: guidance and temperature, top-k, top-p, and
// the inverse of the cumulative distribution at a number that depends on the image's place alone. A block an image; what
// it computes of a code goes to scratch, which stays in the cache of the first level. Nothing is sorted: the k-th largest
// is found digit by digit, the nucleus by halving the range that its least value lies in.
//
// Bytes: the logits once, and twice as much of scratch through caches. Flops: 20 a logit; top-p 70 more. Bound: latency
// (16384 codes are 16 a thread).
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// sample_draw_bf16                     1024 threads  64   1936  32   |  60   1936  32
// sample_draw_f32                      1024 threads  64   1936  32   |  60   1936  32
// sample_keep_u32                      1024 threads  32      0  64   |  38      0  32

#include "philox.cuh"

constexpr int THREADS = 1024;

namespace {

// Integers of the same order as the numbers, for there are no NaN.
__device__ __forceinline__ unsigned key(float x) {
    const unsigned bits = __float_as_uint(x + 0.0f);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// Every thread's codes follow each other, so that sums by code need no more than the threads' sums.
struct Part {
    int first, end;

    __device__ __forceinline__ explicit Part(int n) {
        const int each = (n + THREADS - 1) / THREADS;
        first = int(threadIdx.x) * each < n ? int(threadIdx.x) * each : n;
        end = first + each < n ? first + each : n;
    }
};

// The sum of x over all threads before this one, and over all.
template <class T> __device__ __forceinline__ T sum_before(T x, T &all) {
    SHARED(T, part, [WARP]);
    const int lane = lane_of_warp();
    T sum = x;
#pragma unroll
    for (int step = 1; step < WARP; step *= 2) {
        const T other = __shfl_up_sync(ALL, sum, step);
        sum += lane >= step ? other : T(0);
    }
    if (lane == WARP - 1) {
        part[warp_of_block()] = sum;
    }
    __syncthreads();
    T before = 0;
    all = 0;
    for (int warp = 0; warp < THREADS / WARP; warp++) {
        before += warp < warp_of_block() ? part[warp] : T(0);
        all += part[warp];
    }
    __syncthreads();
    return before + (sum - x);
}

// The key of the k-th largest value, a digit of 8 bits at a time.
__device__ __forceinline__ unsigned kth(const float *values, int n, int k) {
    SHARED(int, count, [256]);
    SHARED(unsigned, digit, [1]);
    SHARED(int, left, [1]);
    unsigned prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        if (threadIdx.x < 256) {
            count[threadIdx.x] = 0;
        }
        __syncthreads();
        for (int i = int(threadIdx.x); i < n; i += THREADS) {
            const unsigned other = key(values[i]);
            if (shift == 24 || other >> (shift + 8) == prefix >> (shift + 8)) {
                atomicAdd(&count[other >> shift & 255], 1);
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int above = 0, at = 255;
            for (; at > 0 && above + count[at] < k; at--) {
                above += count[at];
            }
            digit[0] = unsigned(at);
            left[0] = k - above;
        }
        __syncthreads();
        prefix |= digit[0] << shift;
        k = left[0];
        __syncthreads();
    }
    return prefix;
}

// Sets what is outside the nucleus to 0: of values by falling size, the lower code first where equal, one stays if those
// before it sum to `limit` or less. Values are at least 0, so that their bits have their order.
__device__ __forceinline__ void keep_nucleus(float *values, const Part &mine, double limit) {
    auto sum_above = [&](unsigned bits) {
        double sum = 0.0;
        for (int i = mine.first; i < mine.end; i++) {
            sum += __float_as_uint(values[i]) > bits ? double(values[i]) : 0.0;
        }
        return block_sum(sum);
    };
    // The least value above which no more than the limit lies.
    unsigned low = 0, high = 0x7f800000u;
    while (low < high) {
        const unsigned middle = low + (high - low) / 2;
        if (sum_above(middle) <= limit) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    const double before = sum_above(low), least = double(__uint_as_float(low));
    int equals = 0, all;
    for (int i = mine.first; i < mine.end; i++) {
        equals += __float_as_uint(values[i]) == low;
    }
    int number = sum_before(equals, all);
    for (int i = mine.first; i < mine.end; i++) {
        const unsigned bits = __float_as_uint(values[i]);
        if (bits < low || (bits == low && before + double(number++) * least > limit)) {
            values[i] = 0.0f;
        }
    }
}

// Rows of logits: the images', then, if `guided`, their null rows. values: scratch (images, n). `position` is joined by
// what stands at `at`, if that is given: a captured graph is replayed at another place so. wrong: the least image whose
// logits are not finite, and with `at` the first position, 24 bits, and sub-code, 8 bits, above it.
template <class T>
__device__ __forceinline__ void draw(const T *logits, float *values, unsigned *out, int n, int guided, float guidance,
                                     float temperature, int top_k, float top_p, unsigned long long seed,
                                     unsigned image, unsigned position, const unsigned *at, unsigned sub_code,
                                     unsigned long long *wrong) {
    const Part mine(n);
    const T *conditional = logits + Size(blockIdx.x) * n, *null = logits + Size(gridDim.x + blockIdx.x) * n;
    values += Size(blockIdx.x) * n;
    float most = -INFINITY, finite = 0.0f;
    for (int i = int(threadIdx.x); i < n; i += THREADS) {
        float v = widen(conditional[i]);
        if (guided) {
            v = fmaf(guidance, v - widen(null[i]), widen(null[i]));
        }
        v /= temperature;
        values[i] = v;
        most = larger(most, v);
        // 0 of a finite number, NaN of any other.
        finite += v * 0.0f;
    }
    most = block_largest(most);
    if (!(block_sum(finite) == 0.0f)) {
        if (threadIdx.x == 0) {
            const unsigned place = at ? (position + *at) << 8 | sub_code : 0;
            atomicMin(wrong, (unsigned long long)place << 32 | blockIdx.x);
            out[blockIdx.x] = 0;
        }
        return;
    }
    const unsigned floor = top_k == 0 || top_k >= n ? 0 : top_k == 1 ? key(most) : kth(values, n, top_k);
    __syncthreads();
    double sum = 0.0;
    for (int i = mine.first; i < mine.end; i++) {
        values[i] = key(values[i]) < floor ? 0.0f : expf(values[i] - most);
        sum += double(values[i]);
    }
    if (top_p < 1.0f) {
        keep_nucleus(values, mine, double(top_p) * block_sum(sum));
        sum = 0.0;
        for (int i = mine.first; i < mine.end; i++) {
            sum += double(values[i]);
        }
    }
    // The first code at which the cumulative sum passes u of the whole; should none, the last that may be drawn.
    double all;
    double before = sum_before(sum, all);
    const float u = uniform(philox(seed, image + blockIdx.x, position + (at ? *at : 0), sub_code, 0).word[0]);
    const double limit = double(u) * all;
    int chosen = n, last = -1;
    for (int i = mine.first; i < mine.end; i++) {
        before += double(values[i]);
        if (values[i] > 0.0f) {
            last = i;
            chosen = before > limit && chosen == n ? i : chosen;
        }
    }
    SHARED(int, first, [1]);
    SHARED(int, possible, [1]);
    if (threadIdx.x == 0) {
        first[0] = n;
        possible[0] = 0;
    }
    __syncthreads();
    atomicMin(&first[0], chosen);
    atomicMax(&possible[0], last);
    __syncthreads();
    if (threadIdx.x == 0) {
        out[blockIdx.x] = unsigned(first[0] < n ? first[0] : possible[0]);
    }
}

} // namespace

#define SAMPLE(T, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                         \
        fqgan_sample_draw_##type(const T *logits, float *values, unsigned *out, int n, int guided, float guidance,   \
                                 float temperature, int top_k, float top_p, unsigned long long seed, unsigned image, \
                                 unsigned position, const unsigned *at, unsigned sub_code,                           \
                                 unsigned long long *wrong) {                                                        \
        draw(logits, values, out, n, guided, guidance, temperature, top_k, top_p, seed, image, position, at, sub_code,\
             wrong);                                                                                                 \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_sample_draw_##type, THREADS)

SAMPLE(float, f32)
SAMPLE(bf16, bf16)

// Keeps what was drawn for `images`: a code for each of `rows`, which are the images' and perhaps their null rows; in the
// codes of the last position (rows, k), and in those of all positions (positions, images, k). After the last sub-code the
// place goes one on. One block.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_sample_keep_u32(const unsigned *drawn, unsigned *codes, unsigned *last, unsigned *all, unsigned *place,
                          int images, int rows, int k, int sub_code) {
    unsigned *here = all + Size(*place) * images * k;
    for (int row = int(threadIdx.x); row < rows; row += THREADS) {
        const unsigned code = drawn[row % images];
        codes[row] = code;
        last[Size(row) * k + sub_code] = code;
        if (row < images) {
            here[Size(row) * k + sub_code] = code;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0 && sub_code == k - 1) {
        *place += 1;
    }
}
FQGAN_KERNEL(fqgan_sample_keep_u32, THREADS)
