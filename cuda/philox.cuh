// The random numbers of src/rng.rs: Philox4x32-10 (Salmon et al., 2011), word for word the same.
#pragma once

#include "common.cuh"

struct Words {
    unsigned word[4];
};

// Block `n` of the stream of the place (a, b, c) under a seed.
__device__ __forceinline__ Words philox(unsigned long long seed, unsigned a, unsigned b, unsigned c, unsigned n) {
    unsigned low = unsigned(seed), high = unsigned(seed >> 32);
    Words x = {{a, b, c, n}};
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned long long p = 0xD2511F53ull * x.word[0], q = 0xCD9E8D57ull * x.word[2];
        x = {{unsigned(q >> 32) ^ x.word[1] ^ low, unsigned(q), unsigned(p >> 32) ^ x.word[3] ^ high, unsigned(p)}};
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    return x;
}

// A multiple of 2^-24 in [0, 1).
__device__ __forceinline__ float uniform(unsigned word) { return float(word >> 8) * 5.9604644775390625e-8f; }
