// CUDA's language on the processor: the words of it that the kernels use. Whatever is warp-wide here is for whole
// warps only: all 32 threads must come, or the launch fails.
#pragma once

#include "emulator.h"
#include "numbers.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace emulator {

// A thread of a kernel, while it runs.
struct Thread {
    uint3 index, block, block_extent, grid_extent;
    unsigned lane, warp;
};

extern thread_local Thread *now __attribute__((tls_model("initial-exec")));

// Memory of the block that all its threads get for the same key: that of a SHARED, or null for the dynamic part.
void *shared(const void *key, size_t bytes);
void barrier();
// All threads of a warp give `bytes` of their own, at most 64, and see those of all: the result is 32 rows of 64 bytes,
// good until the warp's next call.
const unsigned char *exchange(const void *value, size_t bytes);
// Copies that are seen when waited for, not before.
void copy_later(void *to, const void *from, size_t bytes);
void commit_copies();
void wait_for_copies(unsigned groups_left);

template <class... A, size_t... I>
void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A> *>(arguments[I])...);
}
template <class... A> void call(void (*kernel)(A...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}
template <class... A> constexpr int count(void (*)(A...)) { return sizeof...(A); }

struct Registration {
    explicit Registration(const Kernel &kernel);
};

template <class T> T read(const unsigned char *rows, unsigned lane) {
    T value;
    memcpy(&value, rows + 64 * lane, sizeof(T));
    return value;
}

} // namespace emulator

#define threadIdx (emulator::now->index)
#define blockIdx (emulator::now->block)
#define blockDim (emulator::now->block_extent)
#define gridDim (emulator::now->grid_extent)

// `SHARED(float, rows, [32][33]);`
#define SHARED(type, name, extents)                                                                                  \
    static const char name##_key = 0;                                                                                \
    using name##_memory = std::remove_reference_t<decltype(std::declval<type extents>())>;                           \
    name##_memory &name = *static_cast<name##_memory *>(emulator::shared(&name##_key, sizeof(name##_memory)))
// The part whose size the launch gives.
#define DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(emulator::shared(nullptr, 0))

#define FQGAN_KERNEL(name, threads)                                                                                  \
    static const emulator::Registration name##_registration(                                                         \
        {#name, [](void **arguments) { emulator::call(name, arguments); }, emulator::count(name), threads});

static inline void __syncthreads() { emulator::barrier(); }
static inline void __syncwarp() { emulator::exchange("", 1); }

template <class T> T __shfl_sync(unsigned, T value, int lane) {
    return emulator::read<T>(emulator::exchange(&value, sizeof(T)), unsigned(lane) % 32);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    unsigned lane = emulator::now->lane ^ unsigned(mask);
    return emulator::read<T>(emulator::exchange(&value, sizeof(T)), lane);
}
template <class T> T __shfl_up_sync(unsigned, T value, int distance) {
    int lane = int(emulator::now->lane) - distance;
    T other = emulator::read<T>(emulator::exchange(&value, sizeof(T)), lane < 0 ? emulator::now->lane : lane);
    return other;
}
static inline unsigned __ballot_sync(unsigned, bool vote) {
    const unsigned char *all = emulator::exchange(&vote, 1);
    unsigned mask = 0;
    for (unsigned lane = 0; lane < 32; lane++) {
        mask |= unsigned(all[64 * lane]) << lane;
    }
    return mask;
}
static inline bool __any_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) != 0; }

// One thread of the host runs a whole launch, so that plain code is atomic.
template <class T> T atomicAdd(T *to, T value) { T old = *to; *to = old + value; return old; }
template <class T> T atomicMin(T *to, T value) { T old = *to; *to = std::min(old, value); return old; }
template <class T> T atomicMax(T *to, T value) { T old = *to; *to = std::max(old, value); return old; }
