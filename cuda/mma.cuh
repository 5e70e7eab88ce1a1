// Tensor cores: a warp multiplies matrices of bf16 with sums in f32, and brings their parts from shared memory, where
// copies that nobody waits for yet put them. Each of these has a twin that the emulator runs.
#pragma once

#include "common.cuh"

// Two numbers rounded to bf16 in a register, the first in the lower half.
__device__ __forceinline__ unsigned pair(float low, float high) {
#if defined(__CUDACC__)
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#else
    return narrow<bf16>(low).bits | unsigned(narrow<bf16>(high).bits) << 16;
#endif
}

// d (16 x 8) += a (16 x 16) b (16 x 8). With g = lane / 4 and t = 2 (lane % 4), a lane holds of d rows g and g + 8 at
// columns t and t + 1; of a the pairs (g, t), (g + 8, t), (g, t + 8), (g + 8, t + 8); of b, a column a row, the pairs
// (t, g) and (t + 8, g).
__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b_low, unsigned b_high) {
#if defined(__CUDACC__)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
#else
    struct Both {
        unsigned a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b_low, b_high}};
    const unsigned char *all = fqgan_emulator::exchange(&mine, sizeof(mine));
    auto half = [](unsigned both, int which) { return __uint_as_float((both >> 16 * which) << 16); };
    const int g = lane_of_warp() / 4, t = lane_of_warp() % 4 * 2;
    for (int i = 0; i < 4; i++) {
        const int row = g + i / 2 * 8, column = t + i % 2;
        for (int k = 0; k < 16; k++) {
            const Both of_row = fqgan_emulator::read<Both>(all, unsigned(row % 8 * 4 + k % 8 / 2));
            const Both of_column = fqgan_emulator::read<Both>(all, unsigned(column * 4 + k % 8 / 2));
            d[i] += half(of_row.a[row / 8 + k / 8 * 2], k % 2) * half(of_column.b[k / 8], k % 2);
        }
    }
#endif
}

// Four matrices of 8 x 8 from shared memory, a register each. Lane 8 m + r says where row r of matrix m is; a lane gets
// the pair (lane / 4, 2 (lane % 4)) of each, or of each turned around.
template <bool TURNED> __device__ __forceinline__ void load_matrices(unsigned (&to)[4], const bf16 *row) {
#if defined(__CUDACC__)
    const unsigned at = unsigned(__cvta_generic_to_shared(row));
    if (TURNED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at)
                     : "memory");
    }
#else
    const unsigned char *all = fqgan_emulator::exchange(&row, sizeof(row));
    const int g = lane_of_warp() / 4, t = lane_of_warp() % 4 * 2;
    for (int m = 0; m < 4; m++) {
        auto at = [&](int r, int c) { return unsigned(fqgan_emulator::read<const bf16 *>(all, 8 * m + r)[c].bits); };
        to[m] = TURNED ? at(t, g) | at(t + 1, g) << 16 : at(g, t) | at(g, t + 1) << 16;
    }
#endif
}

// 16 bytes to shared memory, zeros if `there` is false; they are there after `wait_for_copies`.
__device__ __forceinline__ void copy_later(void *to, const void *from, bool there) {
#if defined(__CUDACC__)
    const unsigned at = unsigned(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(there ? 16 : 0) : "memory");
#else
    fqgan_emulator::copy_later(to, there ? from : nullptr, 16);
#endif
}

// Ends a group of copies.
__device__ __forceinline__ void end_copies() {
#if defined(__CUDACC__)
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    fqgan_emulator::commit_copies();
#endif
}

// Waits for this thread's copies but the last LEFT groups. A barrier after it makes those of others visible.
template <int LEFT> __device__ __forceinline__ void wait_for_copies() {
#if defined(__CUDACC__)
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#else
    fqgan_emulator::wait_for_copies(LEFT);
#endif
}
