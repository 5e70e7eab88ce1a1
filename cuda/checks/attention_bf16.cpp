// Checks attention in bf16 and its rule, which tensor cores compute, against loops in f64 on the emulated device: for
// tests/cuda. Prints what is wrong.

#include "../common.cuh"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using Wide = std::vector<double>;

template <class... A> void launch(const std::string &name, unsigned x, unsigned y, unsigned z, A... args) {
    void *arguments[] = {&args...};
    fqgan_emulator::find(name.c_str())->bind(arguments)({{x, y, z}, {128, 1, 1}, 0});
}

std::vector<bf16> rounded(const Wide &x) {
    std::vector<bf16> to;
    for (double v : x) {
        to.push_back(narrow<bf16>(float(v)));
    }
    return to;
}

Wide random(size_t count, unsigned seed) {
    Wide x(count);
    for (double &v : x) {
        seed = seed * 1664525 + 1013904223;
        v = widen(narrow<bf16>(float(int(seed >> 8)) / float(1 << 23) - 1.0f));
    }
    return x;
}

double error(const std::vector<bf16> &got, const Wide &want) {
    double off = 0.0, norm = 0.0;
    for (size_t i = 0; i < want.size(); i++) {
        const double d = double(widen(got[i])) - want[i];
        off += d * d;
        norm += want[i] * want[i];
        if (d != d) {
            return INFINITY;
        }
    }
    return sqrt(off / norm);
}

int failures = 0;

void expect(const std::string &what, const std::vector<bf16> &got, const Wide &want) {
    const double off = error(got, want);
    // Results, and weights as factors, are rounded to 8 bits.
    if (!(off <= 6e-3)) {
        printf("%s: relative error %g\n", what.c_str(), off);
        failures++;
    }
}

void check(int width, int sequences, int heads, int tokens, int causal) {
    const std::string what = std::to_string(width) + " wide, " + std::to_string(tokens) + " tokens" +
                             (causal ? ", causal" : "");
    const int d = heads * width, stride = 3 * d;
    const size_t count = size_t(sequences) * tokens * d;
    const Wide qkv = random(3 * count, 1), d_out = random(count, 2);
    Wide out(count), d_qkv(3 * count);
    const double scale = 1.0 / sqrt(double(width));
    for (int s = 0; s < sequences; s++) {
        for (int h = 0; h < heads; h++) {
            auto at = [&](int which, int token) { return (size_t(s) * tokens + token) * stride + which * d + h * width; };
            auto of_out = [&](int token) { return (size_t(s) * tokens + token) * d + h * width; };
            for (int i = 0; i < tokens; i++) {
                const int seen = causal ? i + 1 : tokens;
                Wide p(seen), dp(seen);
                double total = 0.0, delta = 0.0;
                for (int j = 0; j < seen; j++) {
                    double dot = 0.0;
                    for (int c = 0; c < width; c++) {
                        dot += qkv[at(0, i) + c] * qkv[at(1, j) + c];
                        dp[j] += d_out[of_out(i) + c] * qkv[at(2, j) + c];
                    }
                    total += p[j] = exp(dot * scale);
                }
                for (int j = 0; j < seen; j++) {
                    p[j] /= total;
                    delta += p[j] * dp[j];
                }
                for (int j = 0; j < seen; j++) {
                    const double ds = p[j] * (dp[j] - delta) * scale;
                    for (int c = 0; c < width; c++) {
                        out[of_out(i) + c] += p[j] * qkv[at(2, j) + c];
                        d_qkv[at(0, i) + c] += ds * qkv[at(1, j) + c];
                        d_qkv[at(1, j) + c] += ds * qkv[at(0, i) + c];
                        d_qkv[at(2, j) + c] += p[j] * d_out[of_out(i) + c];
                    }
                }
            }
        }
    }
    const std::vector<bf16> from = rounded(qkv), grad = rounded(d_out);
    std::vector<bf16> got(count), d_got(3 * count);
    std::vector<float> lse(size_t(sequences) * heads * tokens), delta(lse.size());
    const unsigned blocks = unsigned(tokens + 63) / 64;
    const std::string suffix = std::to_string(width);
    const bf16 *q = from.data(), *k = q + d, *v = k + d, *g = grad.data();
    launch("fqgan_attention_bf16_forward" + suffix, blocks, heads, sequences, q, k, v, got.data(), lse.data(), tokens,
           Size(stride), causal);
    expect("forward, " + what, got, out);
    launch("fqgan_attention_backward_delta_bf16", unsigned(tokens + 3) / 4, heads, sequences, (const bf16 *)got.data(), g,
           delta.data(), tokens, width);
    int which = 0;
    for (const char *name : {"q", "k", "v"}) {
        launch("fqgan_attention_bf16_backward_d" + std::string(name) + suffix, blocks, heads, sequences, q, k, v, g,
               (const float *)lse.data(), (const float *)delta.data(), d_got.data() + which++ * d, tokens, Size(stride),
               causal);
    }
    expect("backward, " + what, d_got, d_qkv);
}

} // namespace

int main() {
    for (const char *order : {"forward", "backward", "shuffled"}) {
        setenv("FQGAN_EMULATOR_ORDER", order, 1);
        for (int width : {64, 128}) {
            for (int causal : {0, 1}) {
                for (int tokens : {1, 17, 64, 100}) {
                    check(width, 1, 1, tokens, causal);
                }
                check(width, 2, 3, 33, causal);
            }
        }
    }
    return failures > 0;
}
