// Rows of a table by their indices, as f32 or bf16, and the rule: the gradient of a row is the sum of those of where it
// was looked up, in their order. One launch a table: `which` of the `tables` that an entry has an index for.
//
// forward    bytes: what is looked up, read and written              bound: memory
// backward   bytes: three times the gradient; the indices once for each ROWS rows of the table, from the second level
//            flops: one an element                                   bound: memory
//
// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):
//                                                            sm_80   |         sm_90a
// embedding_backward_bf16               256 threads  32   4160  64   |  30   4160  64
// embedding_backward_f32                256 threads  40   4160  48   |  32   4160  64
// embedding_forward_bf16                256 threads  22      0  64   |  28      0  64
// embedding_forward_bf16_f32            256 threads  22      0  64   |  28      0  64
// embedding_forward_f16_bf16            256 threads  22      0  64   |  27      0  64
// embedding_forward_f16_f32             256 threads  22      0  64   |  28      0  64
// embedding_forward_f32                 256 threads  22      0  64   |  28      0  64
// embedding_forward_f32_bf16            256 threads  22      0  64   |  28      0  64

#include "tile.cuh"

namespace {

// An index past the table leaves its entry unwritten and is noted.
template <int N, class W, class T>
__device__ __forceinline__ void look_up(const unsigned *index, int tables, int which, const W *table, unsigned rows,
                                        T *out, Size entries, int entries_of_block, int c,
                                        unsigned long long *wrong) {
    over_tile<N>(entries, entries_of_block, c, [&](Size entry, int channel) {
        const Size at = entry * tables + which;
        const unsigned row = index[at];
        if (row < rows) {
            float v[N];
            load<N>(table + Size(row) * c + channel, v);
            store<N>(out + at * c + channel, v);
        } else if (channel == 0) {
            atomicMin(wrong, (unsigned long long)at);
        }
    });
}

constexpr int THREADS = 256;

// A block has `rows_of_block` rows of the table, looks through all entries, THREADS at a time, and adds up those of its
// rows one after the other, so that nothing depends on who comes first. A thread's channels are its own.
template <int N, class T>
__device__ __forceinline__ void add_up(const unsigned *index, int tables, int which, const T *grad, float *out,
                                       Size entries, unsigned rows, unsigned rows_of_block, int c) {
    SHARED(unsigned, found, [THREADS]);
    SHARED(unsigned, found_row, [THREADS]);
    SHARED(int, before, [THREADS / WARP]);
    const unsigned first = blockIdx.x * rows_of_block;
    const unsigned end = first + rows_of_block < rows ? first + rows_of_block : rows;
    for (unsigned row = first; row < end; row++) {
        for (int i = int(threadIdx.x) * N; i < c; i += THREADS * N) {
            const float zero[N] = {};
            store<N>(out + Size(row) * c + i, zero);
        }
    }
    for (Size begin = 0; begin < entries; begin += THREADS) {
        const Size entry = begin + threadIdx.x;
        const unsigned row = entry < entries ? index[entry * tables + which] : rows;
        const bool mine = row >= first && row < end;
        const unsigned votes = __ballot_sync(ALL, mine);
        if (lane_of_warp() == 0) {
            before[warp_of_block()] = __popc(votes);
        }
        __syncthreads();
        int place = __popc(votes & ((1u << lane_of_warp()) - 1)), count = 0;
#pragma unroll
        for (int warp = 0; warp < THREADS / WARP; warp++) {
            place += warp < warp_of_block() ? before[warp] : 0;
            count += before[warp];
        }
        if (mine) {
            found[place] = threadIdx.x;
            found_row[place] = row;
        }
        __syncthreads();
        for (int k = 0; k < count; k++) {
            const T *from = grad + ((begin + found[k]) * tables + which) * c;
            float *to = out + Size(found_row[k]) * c;
            for (int i = int(threadIdx.x) * N; i < c; i += THREADS * N) {
                float sum[N], more[N];
                load<N>(to + i, sum);
                load<N>(from + i, more);
#pragma unroll
                for (int j = 0; j < N; j++) {
                    sum[j] += more[j];
                }
                store<N>(to + i, sum);
            }
        }
        __syncthreads();
    }
}

} // namespace

#define EMBEDDING(W, T, type)                                                                                        \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                                       \
        fqgan_embedding_forward_##type(const unsigned *index, int tables, int which, const W *table, unsigned rows,  \
                                       T *out, Size entries, int entries_of_block, int c,                            \
                                       unsigned long long *wrong) {                                                  \
        if (c % 4 == 0) {                                                                                            \
            look_up<4>(index, tables, which, table, rows, out, entries, entries_of_block, c, wrong);                 \
        } else {                                                                                                     \
            look_up<1>(index, tables, which, table, rows, out, entries, entries_of_block, c, wrong);                 \
        }                                                                                                            \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_embedding_forward_##type, TILE_THREADS)

// Of the table's type, and where another comes out, of that.
EMBEDDING(float, float, f32)
EMBEDDING(float, bf16, f32_bf16)
EMBEDDING(bf16, float, bf16_f32)
EMBEDDING(bf16, bf16, bf16)
EMBEDDING(f16, float, f16_f32)
EMBEDDING(f16, bf16, f16_bf16)

#define EMBEDDING_BACKWARD(T, type)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        fqgan_embedding_backward_##type(const unsigned *index, int tables, int which, const T *grad, float *out,     \
                                        Size entries, unsigned rows, unsigned rows_of_block, int c) {                \
        OVER_ROWS(float, add_up, index, tables, which, grad, out, entries, rows, rows_of_block, c);                  \
    }                                                                                                                \
    FQGAN_KERNEL(fqgan_embedding_backward_##type, THREADS)

EMBEDDING_BACKWARD(float, f32)
EMBEDDING_BACKWARD(bf16, bf16)
