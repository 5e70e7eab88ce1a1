// The entropy term of a codebook and its rule. Scores u_ij = (2 z_i . e_j - |e_j|^2) / temperature are what softmax sees of
// -distance / temperature; the table of latents and codes is never written, its entries are computed as they are needed.
//
// Over rows: a thread a latent, codes from shared memory, split among blocks. Over columns: a thread a code, latents from
// shared memory, split likewise. Both make partial results that a small launch adds up in the splits' order.
//
// rows, columns      flops: 2 d + 16 a latent and code           bound: exponentials (16 a clock and multiprocessor)
// their rules        flops: 6 d + 20, or 4 d + 20, a latent and code
// Latents are f32 or bf16, codes f32. Both are at most 32 wide; narrower ones are filled up with zeros, to 8 where they fit.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// code_entropy_columns32_bf16           128 threads  72  18944  28   |  56  18944  36
// code_entropy_columns32_f32            128 threads  80  18944  24   |  80  18944  24
// code_entropy_columns8_bf16            128 threads  32   6656  64   |  32   6656  64
// code_entropy_columns8_f32             128 threads  32   6656  64   |  34   6656  48
// code_entropy_columns_backward32_bf16  128 threads 125  18944  16   | 123  18944  16
// code_entropy_columns_backward32_f32   128 threads 118  18944  16   | 118  18944  16
// code_entropy_columns_backward8_bf16   128 threads  48   6656  40   |  48   6656  40
// code_entropy_columns_backward8_f32    128 threads  48   6656  40   |  48   6656  40
// code_entropy_rows32_bf16              128 threads  80  16896  24   |  80  16896  24
// code_entropy_rows32_f32               128 threads  80  16896  24   |  80  16896  24
// code_entropy_rows8_bf16               128 threads  40   4608  48   |  40   4608  48
// code_entropy_rows8_f32                128 threads  40   4608  48   |  40   4608  48
// code_entropy_rows_backward32_bf16     128 threads 150  16896  12   | 148  16896  12
// code_entropy_rows_backward32_f32      128 threads 150  16896  12   | 148  16896  12
// code_entropy_rows_backward8_bf16      128 threads  48   4608  40   |  56   4608  36
// code_entropy_rows_backward8_f32       128 threads  48   4608  40   |  56   4608  36

#include "code_entropy.cuh"

// Codes or latents in shared memory at a time.
constexpr int STAGE = 128;

namespace {

template <int D, class T> __device__ __forceinline__ void load_row(const T *from, int d, float (&to)[D]) {
#pragma unroll
    for (int k = 0; k < D; k++) {
        to[k] = k < d ? widen(from[k]) : 0.0f;
    }
}

// A stage of vectors, and a number beside each.
template <int D> struct Stage {
    float vector[STAGE][D];
    float number[STAGE];
};

template <int D> __device__ __forceinline__ float square(const float (&e)[D]) {
    double sum = 0.0;
#pragma unroll
    for (int k = 0; k < D; k++) {
        sum += double(e[k]) * double(e[k]);
    }
    return float(-0.5 * sum);
}

template <int D> __device__ __forceinline__ float score(const float (&z)[D], const float *e, float half, float factor) {
    float u = half;
#pragma unroll
    for (int k = 0; k < D; k++) {
        u = fmaf(z[k], e[k], u);
    }
    return u * factor;
}

// f(index, vector, number) for each code of this block's split, by all threads at once.
template <int D, class F>
__device__ __forceinline__ void over_codes(const float *codebook, int codes, int d, F f) {
    SHARED(Stage<D>, stage, [1]);
    const int each = (codes + int(gridDim.y) - 1) / int(gridDim.y), begin = int(blockIdx.y) * each;
    const int end = begin + each < codes ? begin + each : codes;
    for (int first = begin; first < end; first += STAGE) {
        const int count = end - first < STAGE ? end - first : STAGE;
        if (int(threadIdx.x) < count) {
            float e[D];
            load_row<D>(codebook + Size(first + int(threadIdx.x)) * d, d, e);
#pragma unroll
            for (int k = 0; k < D; k++) {
                stage[0].vector[threadIdx.x][k] = e[k];
            }
            stage[0].number[threadIdx.x] = square<D>(e);
        }
        __syncthreads();
        for (int i = 0; i < count; i++) {
            f(first + i, stage[0].vector[i], stage[0].number[i]);
        }
        __syncthreads();
    }
}

// f(index, vector, state) for each latent of this block's split.
template <int D, class T, class F>
__device__ __forceinline__ void over_latents(const T *z, const State *states, int rows, int d, F f) {
    SHARED(Stage<D>, stage, [1]);
    SHARED(State, state, [STAGE]);
    const int each = (rows + int(gridDim.y) - 1) / int(gridDim.y), begin = int(blockIdx.y) * each;
    const int end = begin + each < rows ? begin + each : rows;
    for (int first = begin; first < end; first += STAGE) {
        const int count = end - first < STAGE ? end - first : STAGE;
        if (int(threadIdx.x) < count) {
            float row[D];
            load_row<D>(z + Size(first + int(threadIdx.x)) * d, d, row);
#pragma unroll
            for (int k = 0; k < D; k++) {
                stage[0].vector[threadIdx.x][k] = row[k];
            }
            state[threadIdx.x] = states[first + int(threadIdx.x)];
        }
        __syncthreads();
        for (int i = 0; i < count; i++) {
            f(stage[0].vector[i], state[i]);
        }
        __syncthreads();
    }
}

// Per split and latent: the largest score, the sum of x = e^(score - largest), and that of x (score - largest).
// part (3, splits, rows).
template <int D, class T>
__device__ __forceinline__ void rows_forward(const T *z, const float *codebook, float *part, int rows, int codes,
                                             int d, float factor) {
    const int row = int(thread_of_grid()), there = row < rows ? row : rows - 1;
    float mine[D], most = -INFINITY, sum = 0.0f, product = 0.0f;
    load_row<D>(z + Size(there) * d, d, mine);
    over_codes<D>(codebook, codes, d, [&](int, const float *e, float half) {
        const float u = score<D>(mine, e, half, factor);
        if (u > most) {
            // What was summed shrinks by e^(most - u); nothing was at first.
            const float fall = sum == 0.0f ? 0.0f : most - u, shrink = expf(fall);
            product = shrink * fmaf(fall, sum, product);
            sum *= shrink;
            most = u;
        }
        // A NaN must come out.
        const float v = u - most, x = expf(v);
        sum += x;
        product = fmaf(x, v, product);
    });
    if (row < rows) {
        const Size at = Size(blockIdx.y) * rows + row, all = Size(gridDim.y) * rows;
        part[at] = most;
        part[all + at] = sum;
        part[2 * all + at] = product;
    }
}

// Per split of latents and code: the sum of p. part (splits, codes).
template <int D, class T>
__device__ __forceinline__ void columns_forward(const T *z, const State *states, const float *codebook, float *part,
                                                int rows, int codes, int d, float factor) {
    const int code = int(thread_of_grid()), there = code < codes ? code : codes - 1;
    float e[D], sum = 0.0f;
    load_row<D>(codebook + Size(there) * d, d, e);
    const float half = square<D>(e);
    over_latents<D>(z, states, rows, d, [&](const float *latent, const State &state) {
        sum = fmaf(expf(score<D>(e, latent, half, factor) - state.most), state.inverse, sum);
    });
    if (code < codes) {
        part[Size(blockIdx.y) * codes + code] = sum;
    }
}

// Per split and latent, with w = p (slope - ln p - shift): the sums of w, of w e and of p e; and what the shift makes of
// -ln p, which is offset - v. The rule is the same for any shift of a latent's: that of code 0 leaves small numbers where
// slope and ln p nearly cancel, and so their digits. part (splits, 2 + 2 d, rows).
template <int D, class T>
__device__ __forceinline__ void rows_backward(const T *z, const State *states, const float *codebook,
                                              const float *slopes, float *part, int rows, int codes, int d,
                                              float factor) {
    const int row = int(thread_of_grid()), there = row < rows ? row : rows - 1;
    const State state = states[there];
    float mine[D], zeroth[D], sum = 0.0f, of_weight[D] = {}, of_p[D] = {};
    load_row<D>(z + Size(there) * d, d, mine);
    load_row<D>(codebook, d, zeroth);
    const float offset = score<D>(mine, zeroth, square<D>(zeroth), factor) - state.most - slopes[0];
    over_codes<D>(codebook, codes, d, [&](int code, const float *e, float half) {
        const float v = score<D>(mine, e, half, factor) - state.most, p = expf(v) * state.inverse;
        const float weight = p * (slopes[code] - v + offset);
        sum += weight;
#pragma unroll
        for (int k = 0; k < D; k++) {
            of_weight[k] = fmaf(weight, e[k], of_weight[k]);
            of_p[k] = fmaf(p, e[k], of_p[k]);
        }
    });
    if (row < rows) {
        float *to = part + Size(blockIdx.y) * (2 + 2 * d) * rows + row;
        to[0] = sum;
        to[rows] = offset;
#pragma unroll
        for (int k = 0; k < D; k++) {
            if (k < d) {
                to[Size(2 + k) * rows] = of_weight[k];
                to[Size(2 + d + k) * rows] = of_p[k];
            }
        }
    }
}

// Per split of latents and code: the sums of the entries' gradients g, and of g z. part (splits, 1 + d, codes).
template <int D, class T>
__device__ __forceinline__ void columns_backward(const T *z, const State *states, const float *codebook,
                                                 const float *slopes, float *part, int rows, int codes, int d,
                                                 float factor) {
    const int code = int(thread_of_grid()), there = code < codes ? code : codes - 1;
    const float slope = slopes[there];
    float e[D], sum = 0.0f, of_z[D] = {};
    load_row<D>(codebook + Size(there) * d, d, e);
    const float half = square<D>(e);
    over_latents<D>(z, states, rows, d, [&](const float *latent, const State &state) {
        const float v = score<D>(e, latent, half, factor) - state.most, p = expf(v) * state.inverse;
        const float g = p * (slope - v + state.log_sum - state.entropy);
        sum += g;
#pragma unroll
        for (int k = 0; k < D; k++) {
            of_z[k] = fmaf(g, latent[k], of_z[k]);
        }
    });
    if (code < codes) {
        float *to = part + Size(blockIdx.y) * (1 + d) * codes + code;
        to[0] = sum;
#pragma unroll
        for (int k = 0; k < D; k++) {
            if (k < d) {
                to[Size(1 + k) * codes] = of_z[k];
            }
        }
    }
}

} // namespace

#define CODE_ENTROPY(D, T, type)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_code_entropy_rows##D##_##type(const T *z, const float *codebook, float *part, int rows, int codes, int d,\
                                            float factor) {                                                          \
        rows_forward<D>(z, codebook, part, rows, codes, d, factor);                                                  \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_code_entropy_rows##D##_##type, THREADS)                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_code_entropy_columns##D##_##type(const T *z, const State *states, const float *codebook, float *part,  \
                                               int rows, int codes, int d, float factor) {                           \
        columns_forward<D>(z, states, codebook, part, rows, codes, d, factor);                                       \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_code_entropy_columns##D##_##type, THREADS)                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_code_entropy_rows_backward##D##_##type(const T *z, const State *states, const float *codebook,         \
                                                     const float *slopes, float *part, int rows, int codes, int d,   \
                                                     float factor) {                                                 \
        rows_backward<D>(z, states, codebook, slopes, part, rows, codes, d, factor);                                 \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_code_entropy_rows_backward##D##_##type, THREADS)                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_code_entropy_columns_backward##D##_##type(const T *z, const State *states, const float *codebook,      \
                                                        const float *slopes, float *part, int rows, int codes, int d,\
                                                        float factor) {                                              \
        columns_backward<D>(z, states, codebook, slopes, part, rows, codes, d, factor);                              \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_code_entropy_columns_backward##D##_##type, THREADS)

CODE_ENTROPY(8, float, f32)
CODE_ENTROPY(32, float, f32)
CODE_ENTROPY(8, bf16, bf16)
CODE_ENTROPY(32, bf16, bf16)
