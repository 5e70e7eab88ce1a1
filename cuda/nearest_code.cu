// The code whose unit vector has the largest product with a latent's, the lowest of equals. The distances are never
// written: a thread has some latents in registers and goes through panels of codes in shared memory. Codes are split
// among blocks, so that a picture alone fills the device, and what the blocks found is compared by a second launch.
//
// The products are f32 and added in the processor's order, so that both devices choose the same code. Tensor cores
// would have to round the factors (tf32 keeps 11 bits of 24), and near ties would fall otherwise; for 8 dimensions the
// arithmetic is too little for them to matter.
//
// search     flops: 2 d an element and code      bound: f32 arithmetic
// pack, choose    the codebook, or some numbers a latent, once: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// nearest_code_choose_u32               128 threads  32      0  64   |  32      0  64
// nearest_code_pack_f32                 128 threads  32      0  64   |  32      0  64
// nearest_code_search8_bf16             128 threads 122  32768  16   |  90  32768  20
// nearest_code_search8_f32              128 threads 122  32768  16   |  90  32768  20
// nearest_code_search_f32               128 threads  94  32768  16   |  76  32768  24
// nearest_code_unit_bf16                128 threads  31      0  64   |  32      0  64
// nearest_code_unit_f32                 128 threads  32      0  64   |  32      0  64

#include "common.cuh"

constexpr int THREADS = 128;
// Codes a panel, as src/ops/nearest_code packs them: d + 1 rows of 16, first what a score begins with.
constexpr int PANEL = 16;
// Latents a thread has, and codes whose scores it has at once.
constexpr int LATENTS = 4;
constexpr int CODES = 4;
// f32 of panels in shared memory at a time.
constexpr int STAGE = 8192;

namespace {

// x / max(|x|, 1e-12) as src/ops/unit.rs computes it; false where x is not finite.
template <class T> __device__ __forceinline__ bool unit(const T *x, float *out, int d, Size stride) {
    double square = 0.0;
    for (int i = 0; i < d; i++) {
        square += double(widen(x[i])) * double(widen(x[i]));
    }
    const double norm = sqrt(square), inverse = 1.0 / (norm > 1e-12 ? norm : 1e-12);
    for (int i = 0; i < d; i++) {
        out[i * stride] = float(double(widen(x[i])) * inverse);
    }
    return norm <= 1.7976931348623157e308;
}

// A score and its code in one number: the larger is the better, of equal scores the lower code.
__device__ __forceinline__ unsigned long long rank(float score, unsigned code) {
    const unsigned bits = __float_as_uint(score + 0.0f);
    const unsigned ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
    return (unsigned long long)ordered << 32 | ~code;
}

// The best of some panels for a thread's latents. z(i, k) is dimension k of latent i.
template <int D, class Z>
__device__ __forceinline__ void best_of(const float *panels, int count, int d, unsigned code, Z z, float (&best)[LATENTS],
                                        unsigned (&place)[LATENTS]) {
    for (int part = 0; part < count * (PANEL / CODES); part++) {
        const float *panel = panels + part / (PANEL / CODES) * (d + 1) * PANEL + part % (PANEL / CODES) * CODES;
        float score[LATENTS][CODES], e[CODES];
        load<CODES>(panel, e);
#pragma unroll
        for (int i = 0; i < LATENTS; i++) {
#pragma unroll
            for (int j = 0; j < CODES; j++) {
                score[i][j] = e[j];
            }
        }
#pragma unroll
        for (int k = 0; k < (D > 0 ? D : d); k++) {
            load<CODES>(panel + (k + 1) * PANEL, e);
#pragma unroll
            for (int i = 0; i < LATENTS; i++) {
#pragma unroll
                for (int j = 0; j < CODES; j++) {
                    score[i][j] = fmaf(z(i, k), e[j], score[i][j]);
                }
            }
        }
#pragma unroll
        for (int j = 0; j < CODES; j++) {
#pragma unroll
            for (int i = 0; i < LATENTS; i++) {
                // Codes ascend: a tie leaves the lower one.
                if (score[i][j] > best[i]) {
                    best[i] = score[i][j];
                    place[i] = code + part * CODES + j;
                }
            }
        }
    }
}

// Grid: (rows / (THREADS LATENTS), splits); found (splits, rows). Where d is not known beforehand, D is 0, and z is not the
// latents but what `unit` made of them, (d, rows).
template <int D, class T>
__device__ __forceinline__ void search(const T *z, const float *panels, unsigned long long *found, Size rows, int d,
                                       int panel_count, int panels_of_split, unsigned long long *wrong) {
    SHARED(float, stage, [STAGE]);
    const int width = D > 0 ? D : d;
    float mine[LATENTS][D > 0 ? D : 1], best[LATENTS];
    unsigned place[LATENTS];
    const Size first = Size(blockIdx.x) * THREADS * LATENTS + threadIdx.x;
#pragma unroll
    for (int i = 0; i < LATENTS; i++) {
        // Threads without a latent search for the last one's code again.
        const Size row = first + i * THREADS < rows ? first + i * THREADS : rows - 1;
        best[i] = -INFINITY;
        place[i] = 0;
        if (D > 0 && !unit(z + row * width, mine[i], width, 1)) {
            atomicMin(wrong, (unsigned long long)row);
        }
    }
    const int begin = int(blockIdx.y) * panels_of_split, size = (width + 1) * PANEL;
    const int end = begin + panels_of_split < panel_count ? begin + panels_of_split : panel_count;
    const int together = STAGE / size;
    for (int panel = begin; panel < end; panel += together) {
        const int count = end - panel < together ? end - panel : together;
        for (int i = int(threadIdx.x) * 4; i < count * size; i += THREADS * 4) {
            float v[4];
            load<4>(panels + Size(panel) * size + i, v);
            store<4>(stage + i, v);
        }
        __syncthreads();
        const unsigned code = unsigned(panel) * PANEL;
        best_of<D>(
            stage, count, width, code,
            [&](int i, int k) {
                const Size row = first + i * THREADS < rows ? first + i * THREADS : rows - 1;
                return D > 0 ? mine[i][D > 0 ? k : 0] : widen(z[k * rows + row]);
            },
            best, place);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < LATENTS; i++) {
        const Size row = first + i * THREADS;
        if (row < rows) {
            found[Size(blockIdx.y) * rows + row] = rank(best[i], place[i]);
        }
    }
}

} // namespace

// Of latents (rows, d): the search for 8 dimensions, and unit vectors (d, rows) for any other.
#define NEAREST_CODE(T, type)                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_nearest_code_search8_##type(const T *z, const float *panels, unsigned long long *found, Size rows, int d,\
                                          int panel_count, int panels_of_split, unsigned long long *wrong) {         \
        search<8>(z, panels, found, rows, d, panel_count, panels_of_split, wrong);                                   \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_nearest_code_search8_##type, THREADS)                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_nearest_code_unit_##type(const T *z, float *out, Size rows, int d, unsigned long long *wrong) {        \
        const Size row = thread_of_grid();                                                                           \
        if (row < rows && !unit(z + row * d, out + row, d, rows)) {                                                  \
            atomicMin(wrong, (unsigned long long)row);                                                               \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_nearest_code_unit_##type, THREADS)

NEAREST_CODE(float, f32)
NEAREST_CODE(bf16, bf16)

// For any d of at most 511, of unit vectors.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_nearest_code_search_f32(const float *z, const float *panels, unsigned long long *found, Size rows, int d,
                                  int panel_count, int panels_of_split, unsigned long long *wrong) {
    search<0>(z, panels, found, rows, d, panel_count, panels_of_split, wrong);
}
FQGAN_KERNEL(fqgan_nearest_code_search_f32, THREADS)

// The best of all splits.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_nearest_code_choose_u32(const unsigned long long *found, unsigned *out, Size rows, int splits) {
    const Size row = thread_of_grid();
    if (row < rows) {
        unsigned long long best = 0;
        for (int split = 0; split < splits; split++) {
            const unsigned long long other = found[Size(split) * rows + row];
            best = other > best ? other : best;
        }
        out[row] = ~unsigned(best);
    }
}
FQGAN_KERNEL(fqgan_nearest_code_choose_u32, THREADS)

// A codebook (codes, d) into panels. A row too small to become a unit vector is nearer than its product says, as
// distances count -|e|^2 / 2 too; codes past the last are infinitely far.
extern "C" __global__ void __launch_bounds__(THREADS)
    fqgan_nearest_code_pack_f32(const float *codebook, float *panels, int codes, int d, unsigned long long *wrong) {
    const int code = int(thread_of_grid());
    if (code >= (codes + PANEL - 1) / PANEL * PANEL) {
        return;
    }
    float *to = panels + Size(code / PANEL) * (d + 1) * PANEL + code % PANEL;
    if (code >= codes) {
        for (int k = 0; k <= d; k++) {
            to[k * PANEL] = k == 0 ? -INFINITY : 0.0f;
        }
        return;
    }
    const float *from = codebook + Size(code) * d;
    if (!unit(from, to + PANEL, d, PANEL)) {
        atomicMin(wrong, (unsigned long long)code);
    }
    double square = 0.0;
    for (int k = 0; k < d; k++) {
        square += double(from[k]) * double(from[k]);
    }
    const double norm = sqrt(square);
    to[0] = norm < 1e-12 ? float(0.5 - 0.5 * (norm * 1e12) * (norm * 1e12)) : 0.0f;
}
FQGAN_KERNEL(fqgan_nearest_code_pack_f32, THREADS)
