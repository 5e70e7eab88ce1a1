// The entropy term of a codebook and its rule. Scores u_ij = (2 z_i . e_j - |e_j|^2) / temperature are what softmax sees of
// -distance / temperature; the table of latents and codes is never written, its entries are computed as they are needed.
//
// Over rows: a thread a latent, codes from shared memory, split among blocks. Over columns: a thread a code, latents from
// shared memory, split likewise. Both make partial results that a small launch adds up in the splits' order.
//
// rows, columns      flops: 2 d + 16 a latent and code           bound: exponentials (16 a clock and multiprocessor)
// their rules        flops: 6 d + 20, or 4 d + 20, a latent and code
// The others: some numbers a latent or a code.

#include "common.cuh"

constexpr int THREADS = 128;
// Codes or latents in shared memory at a time.
constexpr int STAGE = 128;
// The widest code. Narrower ones are filled up with zeros, to 8 where they fit.
constexpr int WIDEST = 32;

namespace {

// What is kept of a latent: its largest score, 1 / sum, ln sum, its entropy (in the rule, plus the mean slope).
struct State {
    float most, inverse, log_sum, entropy;
};

template <int D> __device__ __forceinline__ void load_row(const float *from, int d, float (&to)[D]) {
#pragma unroll
    for (int k = 0; k < D; k++) {
        to[k] = k < d ? from[k] : 0.0f;
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
template <int D, class F>
__device__ __forceinline__ void over_latents(const float *z, const State *states, int rows, int d, F f) {
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
template <int D>
__device__ __forceinline__ void rows_forward(const float *z, const float *codebook, float *part, int rows, int codes,
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
template <int D>
__device__ __forceinline__ void columns_forward(const float *z, const State *states, const float *codebook, float *part,
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

// Per split and latent, with w = p (slope - ln p): the sums of p slope, of w e and of p e. part (splits, 1 + 2 d, rows).
template <int D>
__device__ __forceinline__ void rows_backward(const float *z, const State *states, const float *codebook,
                                              const float *slopes, float *part, int rows, int codes, int d,
                                              float factor) {
    const int row = int(thread_of_grid()), there = row < rows ? row : rows - 1;
    const State state = states[there];
    float mine[D], along = 0.0f, of_weight[D] = {}, of_p[D] = {};
    load_row<D>(z + Size(there) * d, d, mine);
    over_codes<D>(codebook, codes, d, [&](int code, const float *e, float half) {
        const float v = score<D>(mine, e, half, factor) - state.most, p = expf(v) * state.inverse;
        const float slope = slopes[code], weight = p * (slope - (v - state.log_sum));
        along = fmaf(p, slope, along);
#pragma unroll
        for (int k = 0; k < D; k++) {
            of_weight[k] = fmaf(weight, e[k], of_weight[k]);
            of_p[k] = fmaf(p, e[k], of_p[k]);
        }
    });
    if (row < rows) {
        float *to = part + Size(blockIdx.y) * (1 + 2 * d) * rows + row;
        to[0] = along;
#pragma unroll
        for (int k = 0; k < D; k++) {
            if (k < d) {
                to[Size(1 + k) * rows] = of_weight[k];
                to[Size(1 + d + k) * rows] = of_p[k];
            }
        }
    }
}

// Per split of latents and code: the sums of the entries' gradients g, and of g z. part (splits, 1 + d, codes).
template <int D>
__device__ __forceinline__ void columns_backward(const float *z, const State *states, const float *codebook,
                                                 const float *slopes, float *part, int rows, int codes, int d,
                                                 float factor) {
    const int code = int(thread_of_grid()), there = code < codes ? code : codes - 1;
    const float slope = slopes[there];
    float e[D], sum = 0.0f, of_z[D] = {};
    load_row<D>(codebook + Size(there) * d, d, e);
    const float half = square<D>(e);
    over_latents<D>(z, states, rows, d, [&](const float *latent, const State &state) {
        const float v = score<D>(e, latent, half, factor) - state.most, p = expf(v) * state.inverse;
        const float g = p * (slope - (v - state.log_sum) - state.entropy);
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

// The sum over splits of part[split * stride + at].
__device__ __forceinline__ double over_splits(const float *part, int splits, Size stride, Size at) {
    double sum = 0.0;
    for (int split = 0; split < splits; split++) {
        sum += double(part[split * stride + at]);
    }
    return sum;
}

} // namespace

#define OVER_WIDTH(f, ...) (d <= 8 ? f<8>(__VA_ARGS__) : f<WIDEST>(__VA_ARGS__))

extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_rows_f32(const float *z, const float *codebook, float *part, int rows, int codes, int d,
                                float factor) {
    OVER_WIDTH(rows_forward, z, codebook, part, rows, codes, d, factor);
}
FQGAN_KERNEL(fqgan_code_entropy_rows_f32, THREADS)

extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_columns_f32(const float *z, const float *states, const float *codebook, float *part, int rows,
                                   int codes, int d, float factor) {
    OVER_WIDTH(columns_forward, z, reinterpret_cast<const State *>(states), codebook, part, rows, codes, d, factor);
}
FQGAN_KERNEL(fqgan_code_entropy_columns_f32, THREADS)

extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_rows_backward_f32(const float *z, const float *states, const float *codebook, const float *slopes,
                                         float *part, int rows, int codes, int d, float factor) {
    OVER_WIDTH(rows_backward, z, reinterpret_cast<const State *>(states), codebook, slopes, part, rows, codes, d,
               factor);
}
FQGAN_KERNEL(fqgan_code_entropy_rows_backward_f32, THREADS)

extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_columns_backward_f32(const float *z, const float *states, const float *codebook,
                                            const float *slopes, float *part, int rows, int codes, int d,
                                            float factor) {
    OVER_WIDTH(columns_backward, z, reinterpret_cast<const State *>(states), codebook, slopes, part, rows, codes, d,
               factor);
}
FQGAN_KERNEL(fqgan_code_entropy_columns_backward_f32, THREADS)

// The states of all latents from their parts; entropy[block] is the sum of a block's entropies, for mean.cu to add up.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_states_f32(const float *part, float *states, double *entropy, int rows, int splits) {
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
        reinterpret_cast<State *>(states)[row] = {most, float(1.0 / sum), float(log(sum)), float(mine)};
    }
    mine = block_sum(mine);
    if (threadIdx.x == 0) {
        entropy[blockIdx.x] = mine;
    }
}
FQGAN_KERNEL(fqgan_code_entropy_states_f32, THREADS)

// The mean of p of each code from its parts: the slope ln(p + eps) + p / (p + eps), and used[block], a block's sum of
// p ln(p + eps).
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_slopes_f32(const float *part, float *slopes, double *used, int rows, int codes, int splits,
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
FQGAN_KERNEL(fqgan_code_entropy_slopes_f32, THREADS)

// The loss: the mean of the entropies plus what is used. One block.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_finish_f32(const double *entropy, int entropies, const double *used, int parts, int rows,
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
FQGAN_KERNEL(fqgan_code_entropy_finish_f32, THREADS)

// dz from its parts; the mean slope joins the state's entropy.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_code_entropy_finish_rows_f32(const float *part, float *states, const float *grad, float *dz, int rows, int d,
                                       int splits, float factor) {
    const int row = int(thread_of_grid());
    if (row < rows) {
        const float scale = *grad / float(rows) * factor;
        const Size stride = Size(1 + 2 * d) * rows;
        State *state = reinterpret_cast<State *>(states) + row;
        const float entropy = state->entropy + float(over_splits(part, splits, stride, row));
        state->entropy = entropy;
        for (int k = 0; k < d; k++) {
            const double weight = over_splits(part, splits, stride, Size(1 + k) * rows + row);
            const double p = over_splits(part, splits, stride, Size(1 + d + k) * rows + row);
            dz[Size(row) * d + k] = float(double(scale) * (weight - double(entropy) * p));
        }
    }
}
FQGAN_KERNEL(fqgan_code_entropy_finish_rows_f32, THREADS)

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
