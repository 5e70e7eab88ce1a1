// The emulated device's cuDNN: convolutions of channels-last pictures, by their definition.
#include "numbers.h"
#include "runtime.h"

#include <algorithm>
#include <cstring>

using namespace fqgan_emulator;

namespace {

enum Status : int { SUCCESS = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000, EXECUTION_FAILED = 5000 };
enum { FLOAT = 0, BFLOAT16 = 9, NHWC = 1, IDENTITY = 5 };
// The workspace that every algorithm here asks for, to see that it is given.
const size_t WORKSPACE = 4096;
// The one that may be fused with what follows, and the one that is preferred where it is said to be fast.
enum { PRECOMP_GEMM = 1, WINOGRAD = 6 };

struct Handle {
    Stream *stream = nullptr;
};

// Of a tensor (n, c, h, w) or a filter (k, c, h, w), both with channels last.
struct Description {
    int type = -1, n = 0, c = 0, h = 0, w = 0;
    size_t count() const { return size_t(n) * c * h * w; }
    size_t bytes() const { return count() * (type == FLOAT ? 4 : 2); }
};

struct Convolution {
    int top = 0, left = 0, down = 1, right = 1;
};

struct Perf {
    int algo, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};

std::vector<float> read(const void *at, const Description &it) {
    std::vector<float> to(it.count());
    for (size_t i = 0; i < to.size(); i++) {
        to[i] = it.type == FLOAT ? static_cast<const float *>(at)[i] : __bfloat162float(static_cast<const __nv_bfloat16 *>(at)[i]);
    }
    return to;
}

void write(void *at, const Description &it, const std::vector<float> &from) {
    for (size_t i = 0; i < from.size(); i++) {
        if (it.type == FLOAT) {
            static_cast<float *>(at)[i] = from[i];
        } else {
            static_cast<__nv_bfloat16 *>(at)[i] = __float2bfloat16(from[i]);
        }
    }
}

// Calls f(row of x, row of w, output pixel) for each tap that lies inside of each output: rows of c elements.
template <class F> void taps(const Description &x, const Description &w, const Convolution &it, const Description &y, F f) {
    for (int n = 0; n < y.n; n++) {
        for (int i = 0; i < y.h; i++) {
            for (int j = 0; j < y.w; j++) {
                size_t out = (size_t(n) * y.h + i) * y.w + j;
                for (int a = 0; a < w.h; a++) {
                    int row = i * it.down + a - it.top;
                    if (row < 0 || row >= x.h) {
                        continue;
                    }
                    for (int b = 0; b < w.w; b++) {
                        int column = j * it.right + b - it.left;
                        if (column < 0 || column >= x.w) {
                            continue;
                        }
                        f((size_t(n) * x.h + row) * x.w + column, size_t(a) * w.w + b, out);
                    }
                }
            }
        }
    }
}

bool fits(const Description &x, const Description &w, const Convolution &it, const Description &y) {
    return x.c == w.c && y.c == w.n && x.n == y.n && y.h == (x.h + 2 * it.top - w.h) / it.down + 1 &&
           y.w == (x.w + 2 * it.left - w.w) / it.right + 1 && x.type == w.type && x.type == y.type;
}

int algorithms(bool good, const Description &w, int asked, int *given, Perf *to) {
    if (!good || asked < 2) {
        return BAD_PARAM;
    }
    const int fast = w.type == FLOAT && w.h == 3 && w.w == 3 ? WINOGRAD : PRECOMP_GEMM;
    // The first is one that must not be taken.
    to[0] = {7, SUCCESS, -1.0f, WORKSPACE, 0, 0, {}};
    to[1] = {fast, SUCCESS, -1.0f, WORKSPACE, 1, 0, {}};
    *given = 2;
    return SUCCESS;
}

// All that is passed is looked at when the call is made, and computed when the stream runs.
template <class F>
int compute(Handle *handle, const void *alpha, const void *beta, int algorithm, void *workspace, size_t bytes, bool good, F f) {
    bool given = bytes >= WORKSPACE && on_device(workspace, bytes);
    if (!good || !given || (algorithm != PRECOMP_GEMM && algorithm != WINOGRAD)) {
        return BAD_PARAM;
    }
    if (*static_cast<const float *>(alpha) != 1.0f || *static_cast<const float *>(beta) != 0.0f) {
        return NOT_SUPPORTED;
    }
    return enqueue(handle->stream, [=] {
        memset(workspace, 0xff, bytes);
        f();
    }) == 0 ? SUCCESS : EXECUTION_FAILED;
}

// What is added to a convolution as it is written: `factor` times z, and a bias for each channel; nothing where bias is null.
struct After {
    float factor = 0.0f;
    const void *z = nullptr, *bias = nullptr;
};

void convolve(const Description &x, const void *x_at, const Description &w, const void *w_at, const Convolution &it,
              const Description &y, void *y_at, const After &after) {
    const size_t c = x.c, k = y.c, all = size_t(w.h) * w.w;
    // (tap, c, k), so that the innermost loop runs over outputs.
    std::vector<float> from = read(x_at, x), raw = read(w_at, w), turned(raw.size()), to(y.count(), 0.0f), part(k);
    for (size_t o = 0; o < k; o++) {
        for (size_t tap = 0; tap < all; tap++) {
            for (size_t i = 0; i < c; i++) {
                turned[(tap * c + i) * k + o] = raw[(o * all + tap) * c + i];
            }
        }
    }
    taps(x, w, it, y, [&](size_t pixel, size_t tap, size_t out) {
        std::fill(part.begin(), part.end(), 0.0f);
        for (size_t i = 0; i < c; i++) {
            const float value = from[pixel * c + i], *row = turned.data() + (tap * c + i) * k;
            for (size_t o = 0; o < k; o++) {
                part[o] += value * row[o];
            }
        }
        for (size_t o = 0; o < k; o++) {
            to[out * k + o] += part[o];
        }
    });
    if (after.bias) {
        std::vector<float> bias = read(after.bias, {y.type, 1, y.c, 1, 1});
        // Z may be y itself, not written yet, where it does not count.
        std::vector<float> z = after.factor == 0.0f ? std::vector<float>() : read(after.z, y);
        for (size_t i = 0; i < to.size(); i++) {
            to[i] += bias[i % k] + (z.empty() ? 0.0f : after.factor * z[i]);
        }
    }
    write(y_at, y, to);
}

} // namespace

extern "C" {

int cudnnCreate(Handle **handle) { return *handle = new Handle, SUCCESS; }
int cudnnDestroy(Handle *handle) { return delete handle, SUCCESS; }
int cudnnSetStream(Handle *handle, Stream *stream) { return handle->stream = stream, SUCCESS; }
const char *cudnnGetErrorString(int status) {
    switch (status) {
    case SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    default: return "CUDNN_STATUS_EXECUTION_FAILED";
    }
}

int cudnnCreateTensorDescriptor(Description **it) { return *it = new Description, SUCCESS; }
int cudnnDestroyTensorDescriptor(Description *it) { return delete it, SUCCESS; }
int cudnnSetTensor4dDescriptor(Description *it, int format, int type, int n, int c, int h, int w) {
    *it = {type, n, c, h, w};
    return format == NHWC && (type == FLOAT || type == BFLOAT16) ? SUCCESS : NOT_SUPPORTED;
}
int cudnnCreateFilterDescriptor(Description **it) { return *it = new Description, SUCCESS; }
int cudnnDestroyFilterDescriptor(Description *it) { return delete it, SUCCESS; }
int cudnnSetFilter4dDescriptor(Description *it, int type, int format, int k, int c, int h, int w) {
    return cudnnSetTensor4dDescriptor(it, format, type, k, c, h, w);
}
int cudnnCreateConvolutionDescriptor(Convolution **it) { return *it = new Convolution, SUCCESS; }
int cudnnDestroyConvolutionDescriptor(Convolution *it) { return delete it, SUCCESS; }
int cudnnSetConvolution2dDescriptor(Convolution *it, int top, int left, int down, int right, int dilation_h, int dilation_w,
                                    int mode, int compute) {
    *it = {top, left, down, right};
    return dilation_h == 1 && dilation_w == 1 && mode == 1 && compute == FLOAT ? SUCCESS : NOT_SUPPORTED;
}
int cudnnSetConvolutionMathType(Convolution *, int) { return SUCCESS; }
int cudnnCreateActivationDescriptor(int **it) { return *it = new int(-1), SUCCESS; }
int cudnnDestroyActivationDescriptor(int *it) { return delete it, SUCCESS; }
int cudnnSetActivationDescriptor(int *it, int mode, int, double) {
    *it = mode;
    return mode == IDENTITY ? SUCCESS : NOT_SUPPORTED;
}

int cudnnGetConvolutionForwardAlgorithm_v7(Handle *, Description *x, Description *w, Convolution *it, Description *y, int asked,
                                           int *given, Perf *to) {
    return algorithms(fits(*x, *w, *it, *y), *w, asked, given, to);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *, Description *w, Description *y, Convolution *it, Description *x,
                                                int asked, int *given, Perf *to) {
    return algorithms(fits(*x, *w, *it, *y), *w, asked, given, to);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *, Description *x, Description *y, Convolution *it, Description *w,
                                                  int asked, int *given, Perf *to) {
    return algorithms(fits(*x, *w, *it, *y), *w, asked, given, to);
}

int cudnnConvolutionForward(Handle *handle, const void *alpha, Description *x, const void *x_at, Description *w, const void *w_at,
                            Convolution *it, int algorithm, void *workspace, size_t bytes, const void *beta, Description *y,
                            void *y_at) {
    bool good = fits(*x, *w, *it, *y) && on_device(x_at, x->bytes()) && on_device(w_at, w->bytes()) && on_device(y_at, y->bytes());
    return compute(handle, alpha, beta, algorithm, workspace, bytes, good, [x = *x, w = *w, it = *it, y = *y, x_at, w_at, y_at] {
        convolve(x, x_at, w, w_at, it, y, y_at, {});
    });
}

// An odd number of channels it cannot do, as the library cannot some shapes.
int cudnnConvolutionBiasActivationForward(Handle *handle, const void *alpha, Description *x, const void *x_at, Description *w,
                                          const void *w_at, Convolution *it, int algorithm, void *workspace, size_t bytes,
                                          const void *factor, Description *z, const void *z_at, Description *bias,
                                          const void *bias_at, int *activation, Description *y, void *y_at) {
    const bool same = z->type == y->type && z->n == y->n && z->h == y->h && z->w == y->w && z->c == y->c;
    const bool row = bias->type == y->type && bias->count() == size_t(y->c) && bias->c == y->c;
    if (algorithm != PRECOMP_GEMM || *activation != IDENTITY || y->c % 2 != 0) {
        return NOT_SUPPORTED;
    }
    bool good = fits(*x, *w, *it, *y) && same && row && on_device(x_at, x->bytes()) && on_device(w_at, w->bytes()) &&
                on_device(y_at, y->bytes()) && on_device(z_at, z->bytes()) && on_device(bias_at, bias->bytes());
    const float none = 0.0f;
    const After after = {*static_cast<const float *>(factor), z_at, bias_at};
    return compute(handle, alpha, &none, algorithm, workspace, bytes, good, [x = *x, w = *w, it = *it, y = *y, x_at, w_at, y_at, after] {
        convolve(x, x_at, w, w_at, it, y, y_at, after);
    });
}

int cudnnConvolutionBackwardData(Handle *handle, const void *alpha, Description *w, const void *w_at, Description *y,
                                 const void *y_at, Convolution *it, int algorithm, void *workspace, size_t bytes,
                                 const void *beta, Description *x, void *x_at) {
    bool good = fits(*x, *w, *it, *y) && on_device(x_at, x->bytes()) && on_device(w_at, w->bytes()) && on_device(y_at, y->bytes());
    return compute(handle, alpha, beta, algorithm, workspace, bytes, good, [x = *x, w = *w, it = *it, y = *y, x_at, w_at, y_at] {
        const size_t c = x.c, k = y.c, all = size_t(w.h) * w.w;
        std::vector<float> from = read(y_at, y), weight = read(w_at, w), to(x.count(), 0.0f);
        taps(x, w, it, y, [&](size_t pixel, size_t tap, size_t out) {
            for (size_t o = 0; o < k; o++) {
                const float value = from[out * k + o], *row = weight.data() + (o * all + tap) * c;
                for (size_t i = 0; i < c; i++) {
                    to[pixel * c + i] += value * row[i];
                }
            }
        });
        write(x_at, x, to);
    });
}

int cudnnConvolutionBackwardFilter(Handle *handle, const void *alpha, Description *x, const void *x_at, Description *y,
                                   const void *y_at, Convolution *it, int algorithm, void *workspace, size_t bytes,
                                   const void *beta, Description *w, void *w_at) {
    bool good = fits(*x, *w, *it, *y) && on_device(x_at, x->bytes()) && on_device(w_at, w->bytes()) && on_device(y_at, y->bytes());
    return compute(handle, alpha, beta, algorithm, workspace, bytes, good, [x = *x, w = *w, it = *it, y = *y, x_at, w_at, y_at] {
        const size_t c = x.c, k = y.c, all = size_t(w.h) * w.w;
        std::vector<float> from = read(x_at, x), grad = read(y_at, y);
        // Thousands of products a sum: f64.
        std::vector<double> sums(w.count(), 0.0);
        taps(x, w, it, y, [&](size_t pixel, size_t tap, size_t out) {
            for (size_t o = 0; o < k; o++) {
                const double value = grad[out * k + o];
                double *row = sums.data() + (o * all + tap) * c;
                for (size_t i = 0; i < c; i++) {
                    row[i] += value * from[pixel * c + i];
                }
            }
        });
        write(w_at, w, std::vector<float>(sums.begin(), sums.end()));
    });
}

} // extern "C"
