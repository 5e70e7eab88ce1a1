// The emulated device's cuBLAS: the entry points that `src/backend/cuda/blas.rs` and `lt.rs` call. Column-major, as there.
#include "numbers.h"
#include "runtime.h"

#include <algorithm>
#include <cstring>

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

struct Sizes {
    int m, n, k;
    bool turn_a, turn_b;
};

// What is wrong with a product, before anything is queued.
uint32_t refusal(const Sizes &it, Operand a, Operand b, Operand c) {
    auto read = [](int type) { return type == F32 || type == F16 || type == BF16; };
    if (!read(a.type) || a.type != b.type || (c.type != F32 && c.type != BF16)) {
        return NOT_SUPPORTED;
    }
    auto [m, n, k, turn_a, turn_b] = it;
    bool inside = reaches(a, turn_a ? k : m, turn_a ? m : k) && reaches(b, turn_b ? n : k, turn_b ? k : n) &&
                  reaches(c, m, n);
    return m < 0 || n < 0 || k < 0 || !inside ? INVALID_VALUE : SUCCESS;
}

void multiply(const Sizes &it, float alpha, Operand a, Operand b, float beta, void *c, Type type, size_t stride) {
    Matrix left = {a.at, Type(a.type), size_t(a.stride), it.turn_a};
    Matrix right = {b.at, Type(b.type), size_t(b.stride), it.turn_b};
    multiply(it.m, it.n, it.k, alpha, left, right, beta, c, type, stride);
}

// ---- cuBLASLt ----

struct Product {
    int turn_a = 0, turn_b = 0;
    uint32_t epilogue = 1;
    const void *bias = nullptr;
};

struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t stride;
    Operand operand(const void *at) const { return {at, type, int(stride)}; }
};

struct Preference {
    uint64_t workspace = 0;
    uint32_t reduction = ~0u;
};

struct Choice {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Choice) == 96, "cublasLtMatmulHeuristicResult_t");

const uint64_t ALGORITHM = 0x666767616e6c74;
const uint32_t PLAIN = 1, WITH_BIAS = 4;

template <class T> bool take(T &to, const void *value, size_t bytes) {
    return bytes == sizeof(T) && (memcpy(&to, value, bytes), true);
}

} // namespace

extern "C" {

uint32_t cublasLtMatmulDescCreate(Product **made, int compute, int scale) {
    return compute == 68 && scale == F32 ? (*made = new Product, SUCCESS) : NOT_SUPPORTED;
}
uint32_t cublasLtMatmulDescDestroy(Product *it) { return delete it, SUCCESS; }
uint32_t cublasLtMatmulDescSetAttribute(Product *it, int attribute, const void *value, size_t bytes) {
    bool known = attribute == 3   ? take(it->turn_a, value, bytes)
                 : attribute == 4 ? take(it->turn_b, value, bytes)
                 : attribute == 7 ? take(it->epilogue, value, bytes)
                 : attribute == 8 ? take(it->bias, value, bytes)
                                  : false;
    return known ? SUCCESS : INVALID_VALUE;
}
uint32_t cublasLtMatrixLayoutCreate(Layout **made, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    return *made = new Layout{type, rows, columns, stride}, SUCCESS;
}
uint32_t cublasLtMatrixLayoutDestroy(Layout *it) { return delete it, SUCCESS; }
uint32_t cublasLtMatmulPreferenceCreate(Preference **made) { return *made = new Preference, SUCCESS; }
uint32_t cublasLtMatmulPreferenceDestroy(Preference *it) { return delete it, SUCCESS; }
uint32_t cublasLtMatmulPreferenceSetAttribute(Preference *it, int attribute, const void *value, size_t bytes) {
    bool known = attribute == 1   ? take(it->workspace, value, bytes)
                 : attribute == 3 ? take(it->reduction, value, bytes)
                                  : false;
    return known ? SUCCESS : INVALID_VALUE;
}

// Has something for outputs of f32, and of bf16 where factors are, whose rows are whole multiples of 16 bytes.
uint32_t cublasLtMatmulAlgoGetHeuristic(Handle *handle, const Product *it, const Layout *a, const Layout *b,
                                        const Layout *c, const Layout *d, const Preference *wanted, int asked,
                                        Choice *found, int *given) {
    uint64_t m = it->turn_a ? a->columns : a->rows, k = it->turn_a ? a->rows : a->columns;
    uint64_t depth = it->turn_b ? b->columns : b->rows, n = it->turn_b ? b->rows : b->columns;
    bool types = a->type == b->type && c->type == d->type && (d->type == F32 || (d->type == BF16 && a->type == BF16));
    bool fits = handle && types && depth == k && d->rows == m && d->columns == n && c->rows == m && c->columns == n &&
                wanted->reduction == 2;
    if (!fits || asked < 1) {
        return INVALID_VALUE;
    }
    *given = 0;
    if (m * size(Type(d->type)) % 16) {
        return NOT_SUPPORTED;
    }
    *found = {{ALGORITHM, m, n, k, it->epilogue}, 0, 0, 1.0f, {}};
    *given = 1;
    return SUCCESS;
}

uint32_t cublasLtMatmul(Handle *handle, const Product *it, const void *alpha, const void *a, const Layout *of_a,
                        const void *b, const Layout *of_b, const void *beta, const void *c, const Layout *of_c, void *d,
                        const Layout *of_d, const uint64_t *algorithm, void *workspace, size_t bytes, Stream *stream) {
    const size_t m = of_d->rows, n = of_d->columns, k = it->turn_a ? of_a->rows : of_a->columns;
    bool chosen = algorithm[0] == ALGORITHM && algorithm[1] == m && algorithm[2] == n && algorithm[3] == k &&
                  algorithm[4] == it->epilogue && on_device(workspace, bytes);
    // Of the output's type, as is what was there before.
    const Type type = Type(of_d->type);
    const void *bias = it->epilogue == WITH_BIAS ? it->bias : nullptr;
    const float by = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    bool inside = (it->epilogue == PLAIN || (bias && on_device(bias, m * size(type)))) &&
                  (keep == 0.0f || (of_c->type == type && reaches(of_c->operand(c), m, n)));
    if (!handle || !chosen || !inside) {
        return INVALID_VALUE;
    }
    const Sizes sizes = {int(m), int(n), int(k), it->turn_a != 0, it->turn_b != 0};
    const Operand left = of_a->operand(a), right = of_b->operand(b);
    if (uint32_t why = refusal(sizes, left, right, of_d->operand(d)); why != SUCCESS) {
        return why;
    }
    const size_t stride = of_d->stride, before = of_c->stride;
    uint32_t result = enqueue(stream, [=] {
        // Rounded once, when all is added.
        std::vector<float> sum(m * n);
        multiply(sizes, by, left, right, 0.0f, sum.data(), F32, m);
        for (size_t column = 0; column < n; column++) {
            for (size_t row = 0; row < m; row++) {
                float v = sum[row + column * m];
                v += keep == 0.0f ? 0.0f : keep * element(c, type, row + column * before);
                v += bias ? element(bias, type, row) : 0.0f;
                set(d, type, row + column * stride, v);
            }
        }
    });
    return result == 0 ? SUCCESS : EXECUTION_FAILED;
}

uint32_t cublasCreate_v2(Handle **handle) { return *handle = new Handle, SUCCESS; }
uint32_t cublasDestroy_v2(Handle *handle) { return delete handle, SUCCESS; }
uint32_t cublasSetStream_v2(Handle *handle, Stream *stream) { return handle->stream = stream, SUCCESS; }
uint32_t cublasSetWorkspace_v2(Handle *, void *at, size_t bytes) { return on_device(at, bytes) ? SUCCESS : INVALID_VALUE; }

uint32_t cublasGemmEx(Handle *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha, const void *a,
                      int type_a, int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c,
                      int ldc, int, int) {
    const Sizes sizes = {m, n, k, turn_a != 0, turn_b != 0};
    const Operand left = {a, type_a, lda}, right = {b, type_b, ldb};
    if (!handle) {
        return NOT_INITIALIZED;
    }
    if (uint32_t why = refusal(sizes, left, right, {c, type_c, ldc}); why != SUCCESS) {
        return why;
    }
    const float by = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    uint32_t result = enqueue(handle->stream, [=] { multiply(sizes, by, left, right, keep, c, Type(type_c), ldc); });
    return result == 0 ? SUCCESS : EXECUTION_FAILED;
}

} // extern "C"
