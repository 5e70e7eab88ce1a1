// Codes to latents: each sub-codebook's entry is looked up, and the k entries of a position stand side by side.
// Sub-codebooks that the mask leaves out give zeros, and their codes are not read. Entries are f32, and come out as that
// or as bf16.
//
// Bytes: the codes, and the output twice. Bound: memory. A thread an entry's group of N.
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// code_embedding_forward_bf16           256 threads  28      0  64   |  28      0  64
// code_embedding_forward_f32            256 threads  28      0  64   |  28      0  64

#include "tile.cuh"

namespace {

// codes (n, k, area), table (k, count, d), out (n, area, k d). Grid: ceil(n area k d / N / TILE_THREADS).
template <int N, class T>
__device__ __forceinline__ void look_up(const unsigned *codes, const float *table, T *out, Size groups, Size area, int k,
                                        unsigned count, int d, unsigned mask, unsigned long long *wrong) {
    const Size group = thread_of_grid();
    if (group >= groups) {
        return;
    }
    const int of_entry = d / N, part = int(group % of_entry);
    const Size entry = group / of_entry, position = entry / k;
    const int book = int(entry % k);
    float v[N] = {};
    if (mask == 0 || (mask >> book & 1) == 1) {
        const Size at = (position / area * k + book) * area + position % area;
        const unsigned code = codes[at];
        if (code < count) {
            load<N>(table + (Size(book) * count + code) * d + part * N, v);
        } else if (part == 0) {
            atomicMin(wrong, (unsigned long long)at);
        }
    }
    store<N>(out + entry * d + part * N, v);
}

} // namespace

#define CODE_EMBEDDING(T, type)                                                                                      \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_code_embedding_forward_##type(const unsigned *codes, const float *table, T *out, Size groups,          \
                                            Size area, int k, unsigned count, int d, unsigned mask,                  \
                                            unsigned long long *wrong) {                                             \
        if (d % 4 == 0) {                                                                                            \
            look_up<4>(codes, table, out, groups, area, k, count, d, mask, wrong);                                   \
        } else {                                                                                                     \
            look_up<1>(codes, table, out, groups, area, k, count, d, mask, wrong);                                   \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_code_embedding_forward_##type, TILE_THREADS)

CODE_EMBEDDING(float, f32)
CODE_EMBEDDING(bf16, bf16)
