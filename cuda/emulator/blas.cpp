// The emulated device's cuBLAS: the entry points that `src/backend/cuda/blas.rs` calls. Column-major, as there.
#include "numbers.h"
#include "runtime.h"

#include <algorithm>

using namespace fqgan_emulator;

namespace {

enum Status : uint32_t { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };

struct Handle {
    Stream *stream = nullptr;
};

// cudaDataType
enum Type { F32 = 0, F16 = 2, BF16 = 14 };

float element(const void *at, Type type, size_t i) {
    switch (type) {
    case F16: return __half2float(static_cast<const __half *>(at)[i]);
    case BF16: return __bfloat162float(static_cast<const __nv_bfloat16 *>(at)[i]);
    default: return static_cast<const float *>(at)[i];
    }
}

void set(void *at, Type type, size_t i, float value) {
    if (type == BF16) {
        static_cast<__nv_bfloat16 *>(at)[i] = __float2bfloat16(value);
    } else {
        static_cast<float *>(at)[i] = value;
    }
}

size_t size(Type type) { return type == F32 ? 4 : 2; }

struct Matrix {
    const void *at;
    Type type;
    size_t stride;
    bool turned;
    float operator()(size_t row, size_t column) const {
        return element(at, type, turned ? column + row * stride : row + column * stride);
    }
};

// c (m, n) = alpha a (m, k) b (k, n) + beta c. Sums run in pieces of 64 products, so that their rounding stays small.
void multiply(size_t m, size_t n, size_t k, float alpha, Matrix a, Matrix b, float beta, void *c, Type type, size_t stride) {
    const size_t PIECE = 64;
    std::vector<float> rows(PIECE * m), part(m), sum(m);
    std::vector<float> all(m * n, 0.0f);
    for (size_t first = 0; first < k; first += PIECE) {
        size_t count = std::min(PIECE, k - first);
        for (size_t i = 0; i < count; i++) {
            for (size_t row = 0; row < m; row++) {
                rows[i * m + row] = a(row, first + i);
            }
        }
        for (size_t column = 0; column < n; column++) {
            std::fill(part.begin(), part.end(), 0.0f);
            for (size_t i = 0; i < count; i++) {
                const float factor = b(first + i, column), *of_a = rows.data() + i * m;
                for (size_t row = 0; row < m; row++) {
                    part[row] += of_a[row] * factor;
                }
            }
            float *to = all.data() + column * m;
            for (size_t row = 0; row < m; row++) {
                to[row] += part[row];
            }
        }
    }
    for (size_t column = 0; column < n; column++) {
        for (size_t row = 0; row < m; row++) {
            // What c holds is not read where it does not count.
            float before = beta == 0.0f ? 0.0f : beta * element(c, type, row + column * stride);
            set(c, type, row + column * stride, alpha * all[column * m + row] + before);
        }
    }
}

struct Operand {
    const void *at;
    int type, stride;
};

// Whether a matrix of `columns` columns of `rows` rows, as stored, is the device's memory.
bool reaches(const Operand &it, size_t rows, size_t columns) {
    size_t count = rows && columns ? (columns - 1) * it.stride + rows : 0;
    return size_t(it.stride) >= rows && (!count || on_device(it.at, count * size(Type(it.type))));
}

uint32_t gemm(Handle *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha, Operand a, Operand b,
              const void *beta, Operand c) {
    if (!handle) {
        return NOT_INITIALIZED;
    }
    auto read = [](int type) { return type == F32 || type == F16 || type == BF16; };
    if (!read(a.type) || a.type != b.type || (c.type != F32 && c.type != BF16)) {
        return NOT_SUPPORTED;
    }
    bool inside = reaches(a, turn_a ? k : m, turn_a ? m : k) && reaches(b, turn_b ? n : k, turn_b ? k : n) &&
                  reaches(c, m, n);
    if (m < 0 || n < 0 || k < 0 || !inside) {
        return INVALID_VALUE;
    }
    float by = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    uint32_t result = enqueue(handle->stream, [=] {
        Matrix left = {a.at, Type(a.type), size_t(a.stride), turn_a != 0};
        Matrix right = {b.at, Type(b.type), size_t(b.stride), turn_b != 0};
        multiply(m, n, k, by, left, right, keep, const_cast<void *>(c.at), Type(c.type), c.stride);
    });
    return result == 0 ? SUCCESS : EXECUTION_FAILED;
}

} // namespace

extern "C" {

uint32_t cublasCreate_v2(Handle **handle) { return *handle = new Handle, SUCCESS; }
uint32_t cublasDestroy_v2(Handle *handle) { return delete handle, SUCCESS; }
uint32_t cublasSetStream_v2(Handle *handle, Stream *stream) { return handle->stream = stream, SUCCESS; }
uint32_t cublasSetWorkspace_v2(Handle *, void *at, size_t bytes) { return on_device(at, bytes) ? SUCCESS : INVALID_VALUE; }

uint32_t cublasGemmEx(Handle *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha, const void *a,
                      int type_a, int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c,
                      int ldc, int, int) {
    return gemm(handle, turn_a, turn_b, m, n, k, alpha, {a, type_a, lda}, {b, type_b, ldb}, beta,
                {c, type_c, ldc});
}

} // extern "C"
