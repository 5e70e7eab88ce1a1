// CUDA's language on the processor: the words of it that the kernels use. Whatever is warp-wide here is for whole
// warps only: all 32 threads must come, or the launch fails.
#pragma once

#include "emulator.h"
#include "numbers.h"

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace fqgan_emulator {

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

// What a launch runs: the kernel as one of its threads, again and again.
struct Body {
    const char *name;
    unsigned most_threads;
    std::function<void()> thread;
};
void launch(const Body &body, const Launch &launch);

template <class... A> struct Arguments {
    void (*kernel)(A...);
    template <size_t... I> Bound bind(const char *name, unsigned threads, void **from, std::index_sequence<I...>) const {
        std::tuple<A...> copies(*static_cast<A *>(from[I])...);
        Body body{name, threads, [kernel = kernel, copies] { std::apply(kernel, copies); }};
        return [body](const Launch &to) { launch(body, to); };
    }
};
template <class... A> Bound bind(void (*kernel)(A...), const char *name, unsigned threads, void **from) {
    return Arguments<A...>{kernel}.bind(name, threads, from, std::index_sequence_for<A...>());
}

struct Registration {
    explicit Registration(const Kernel &kernel);
};

template <class T> T read(const unsigned char *rows, unsigned lane) {
    T value;
    memcpy(&value, rows + 64 * lane, sizeof(T));
    return value;
}

} // namespace fqgan_emulator

#define threadIdx (fqgan_emulator::now->index)
#define blockIdx (fqgan_emulator::now->block)
#define blockDim (fqgan_emulator::now->block_extent)
#define gridDim (fqgan_emulator::now->grid_extent)

// `SHARED(float, rows, [32][33]);`
#define SHARED(type, name, extents)                                                                                  \
    static const char name##_key = 0;                                                                                \
    using name##_memory = std::remove_reference_t<decltype(std::declval<type extents>())>;                           \
    name##_memory &name = *static_cast<name##_memory *>(fqgan_emulator::shared(&name##_key, sizeof(name##_memory)))
// The part whose size the launch gives.
#define DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(fqgan_emulator::shared(nullptr, 0))

#define FQGAN_KERNEL(name, threads)                                                                                  \
    static const fqgan_emulator::Registration name##_registration(                                                   \
        {#name, [](void **from) { return fqgan_emulator::bind(name, #name, threads, from); }});

static inline void __syncthreads() { fqgan_emulator::barrier(); }
static inline void __syncwarp() { fqgan_emulator::exchange("", 1); }

template <class T> T __shfl_sync(unsigned, T value, int lane) {
    return fqgan_emulator::read<T>(fqgan_emulator::exchange(&value, sizeof(T)), unsigned(lane) % 32);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    unsigned lane = fqgan_emulator::now->lane ^ unsigned(mask);
    return fqgan_emulator::read<T>(fqgan_emulator::exchange(&value, sizeof(T)), lane);
}
template <class T> T __shfl_up_sync(unsigned, T value, int distance) {
    int lane = int(fqgan_emulator::now->lane) - distance;
    T other = fqgan_emulator::read<T>(fqgan_emulator::exchange(&value, sizeof(T)), lane < 0 ? fqgan_emulator::now->lane : lane);
    return other;
}
static inline unsigned __ballot_sync(unsigned, bool vote) {
    const unsigned char *all = fqgan_emulator::exchange(&vote, 1);
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
