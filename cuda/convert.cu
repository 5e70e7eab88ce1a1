// Elements to another type, to nearest, and tensors filled with a value.
//
// Bytes: both types' once. Bound: memory.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// convert_bf16_f32                      256 threads  28      0  64   |  26      0  64
// convert_f16_f32                       256 threads  28      0  64   |  28      0  64
// convert_f32_bf16                      256 threads  26      0  64   |  26      0  64
// convert_fill_u32                      256 threads  24      0  64   |  24      0  64
// convert_i8_f32                        256 threads  32      0  64   |  32      0  64

#include "common.cuh"

constexpr int THREADS = 256;

namespace {

// Eight elements a thread: 16 bytes of the narrower type.
template <class From, class To> __device__ __forceinline__ void convert(const From *from, To *to, Size count) {
    constexpr int N = 8;
    const Size step = Size(gridDim.x) * blockDim.x * N;
    for (Size at = thread_of_grid() * N; at < count; at += step) {
        const int left = count - at < N ? int(count - at) : N;
        float v[N];
        if (left == N) {
            load<N>(from + at, v);
            store<N>(to + at, v);
        } else {
            load_some<N>(from + at, v, left);
            store_some<N>(to + at, v, left);
        }
    }
}

} // namespace

#define CONVERT(From, from_type, To, to_type)                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_convert_##from_type##_##to_type(const From *from, To *to, Size count) {                                \
        convert(from, to, count);                                                                                    \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_convert_##from_type##_##to_type, THREADS)

CONVERT(float, f32, bf16, bf16)
CONVERT(bf16, bf16, float, f32)
CONVERT(f16, f16, float, f32)
CONVERT(signed char, i8, float, f32)

// `count` words of 4 bytes.
extern "C" __global__ void __launch_bounds__(THREADS) fqgan_convert_fill_u32(unsigned *to, unsigned word, Size count) {
    const Size step = Size(gridDim.x) * blockDim.x;
    for (Size at = thread_of_grid(); at < count; at += step) {
        to[at] = word;
    }
}
FQGAN_KERNEL(fqgan_convert_fill_u32, THREADS)
