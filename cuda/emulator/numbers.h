// The types that CUDA's headers bring, as far as the kernels use them: vectors of registers, half and bfloat16.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct uint3 { unsigned x, y, z; };

static inline unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static inline float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

struct __nv_bfloat16 { uint16_t bits; };

static inline float __bfloat162float(__nv_bfloat16 x) { return __uint_as_float(unsigned(x.bits) << 16); }

// To nearest, ties to even; NaN becomes the one that the device writes.
static inline __nv_bfloat16 __float2bfloat16(float x) {
    if (x != x) {
        return {0x7fff};
    }
    unsigned u = __float_as_uint(x);
    return {uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
}

struct __half { uint16_t bits; };

static inline float __half2float(__half x) {
    unsigned sign = unsigned(x.bits & 0x8000) << 16, rest = x.bits & 0x7fff;
    if (rest >= 0x7c00) {
        return __uint_as_float(sign | 0x7f800000 | ((rest & 0x3ff) << 13));
    }
    // Exact: the rest as an f32 of a far smaller exponent, times 2^112.
    float value = __uint_as_float(rest << 13) * 5.192296858534828e33f;
    return __uint_as_float(sign | __float_as_uint(value));
}
