// x with some runs of elements zero and the others scaled, a residual added or not. Draw i, of element i or of run i, is
// word first + i of the place's stream: it drops where it is below `least`. The rule draws the same again.
//
// Bytes: x twice, with a residual three times. Flops: one an element, and 30 integer ones for its word. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// dropout_forward_bf16                  256 threads  38      0  48   |  38      0  48
// dropout_forward_f32                   256 threads  46      0  40   |  46      0  40

#include "elementwise.cuh"
#include "philox.cuh"

namespace {

struct Draw {
    unsigned long long seed;
    unsigned a, b, c, least;
    float scale;

    // What the elements of draws 4 block .. 4 block + 3 are multiplied with.
    __device__ __forceinline__ void factors(Size block, float (&to)[4]) const {
        const Words words = philox(seed, a, b, c, unsigned(block));
#pragma unroll
        for (int i = 0; i < 4; i++) {
            to[i] = words.word[i] < least ? 0.0f : scale;
        }
    }
};

// Dropped is zero, whatever it was.
__device__ __forceinline__ float keep(float x, float factor) { return factor > 0.0f ? x * factor : 0.0f; }

// Four elements a thread: those of one block of words, or some of a run.
template <class T>
__device__ __forceinline__ void dropout(const T *x, const T *residual, T *out, Size count, Size run, Size first,
                                        const Draw &draw) {
    const Size step = Size(gridDim.x) * blockDim.x * 4;
    for (Size at = thread_of_grid() * 4; at < count; at += step) {
        const int left = count - at < 4 ? int(count - at) : 4;
        float v[4], skip[4] = {}, factor[4];
        if (left == 4) {
            load<4>(x + at, v);
        } else {
            load_some<4>(x + at, v, left);
        }
        if (residual) {
            load_some<4>(residual + at, skip, left);
        }
        if (run == 1 && first % 4 == 0) {
            draw.factors((first + at) / 4, factor);
        } else {
            Size block = -1;
            float four[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const Size index = first + (at + i) / run;
                if (index / 4 != block) {
                    block = index / 4;
                    draw.factors(block, four);
                }
                const int word = int(index % 4);
                factor[i] = word == 0 ? four[0] : word == 1 ? four[1] : word == 2 ? four[2] : four[3];
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[i] = keep(v[i], factor[i]) + skip[i];
        }
        if (left == 4) {
            store<4>(out + at, v);
        } else {
            store_some<4>(out + at, v, left);
        }
    }
}

} // namespace

#define DROPOUT(T, type)                                                                                             \
    extern "C" __global__ void __launch_bounds__(MAP_THREADS)                                                        \
        fqgan_dropout_forward_##type(const T *x, const T *residual, T *out, Size count, Size run, Size first,        \
                                     unsigned long long seed, unsigned a, unsigned b, unsigned c, unsigned least,    \
                                     float scale) {                                                                  \
        dropout(x, residual, out, count, run, first, Draw{seed, a, b, c, least, scale});                             \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_dropout_forward_##type, MAP_THREADS)

DROPOUT(float, f32)
DROPOUT(bf16, bf16)
