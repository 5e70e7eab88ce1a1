// Every kernel that has bf16 and f32 forms, run in both on the emulated device: of the same numbers, the one must give what
// the other gives, rounded. (That the f32 forms are right is what the op table tests; attention has a check of its own.)
// Prints what differs.

#include "../common.cuh"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

enum class Kind { Input, Weight, Double, Index, Output, Sums, Parts, Bits, Scalar };

// An argument: a tensor of the form's type (Input, Output), of f32 in both forms (Weight, Sums), of f64 (Double, Parts), of
// u32 below `limit`, of u32 that must be the same bit for bit (Bits), or a number.
struct Value {
    Kind kind;
    size_t count;
    unsigned long long word;
};

Value input(size_t count) { return {Kind::Input, count, 0}; }
Value weight(size_t count) { return {Kind::Weight, count, 0}; }
Value doubles(size_t count) { return {Kind::Double, count, 0}; }
Value index(size_t count, unsigned limit) { return {Kind::Index, count, limit}; }
Value output(size_t count) { return {Kind::Output, count, 0}; }
Value sums(size_t count) { return {Kind::Sums, count, 0}; }
Value parts(size_t count) { return {Kind::Parts, count, 0}; }
Value bits(size_t count) { return {Kind::Bits, count, 0}; }
Value none() { return {Kind::Scalar, 0, 0}; }
Value size(Size value) { return {Kind::Scalar, 0, (unsigned long long)value}; }
Value real(float value) { return {Kind::Scalar, 0, __float_as_uint(value)}; }

float number(size_t i, unsigned seed) {
    unsigned x = unsigned(i) * 2654435761u + seed * 40503u + 12345u;
    x = (x ^ (x >> 15)) * 2246822519u;
    x ^= x >> 13;
    // What bf16 holds exactly.
    return widen(narrow<bf16>(float(int(x >> 8)) / float(1 << 23) - 1.0f));
}

// The outputs of one form, as f64, one after the other.
template <class T>
std::vector<double> run(const std::string &name, const unsigned (&grid)[3], unsigned threads, size_t shared,
                        const std::vector<Value> &values) {
    std::vector<std::vector<unsigned char>> memory(values.size());
    std::vector<void *> pointers(values.size());
    std::vector<unsigned long long> words(values.size());
    std::vector<void *> arguments;
    for (size_t i = 0; i < values.size(); i++) {
        const Value &value = values[i];
        words[i] = value.word;
        arguments.push_back(value.kind == Kind::Scalar ? (void *)&words[i] : (void *)&pointers[i]);
        const bool own = value.kind == Kind::Input || value.kind == Kind::Output;
        // As the device's memory is aligned, about.
        const bool wide = value.kind == Kind::Double || value.kind == Kind::Parts;
        memory[i].assign(value.count * (own ? sizeof(T) : wide ? 8 : 4) + 128, 0xff);
        pointers[i] = memory[i].data() + (128 - reinterpret_cast<uintptr_t>(memory[i].data()) % 128);
        for (size_t k = 0; k < value.count; k++) {
            if (value.kind == Kind::Input) {
                static_cast<T *>(pointers[i])[k] = narrow<T>(number(k, unsigned(i)));
            } else if (value.kind == Kind::Weight) {
                static_cast<float *>(pointers[i])[k] = number(k, unsigned(i));
            } else if (value.kind == Kind::Double) {
                static_cast<double *>(pointers[i])[k] = number(k, unsigned(i));
            } else if (value.kind == Kind::Index) {
                static_cast<unsigned *>(pointers[i])[k] = unsigned((number(k, 7) + 1.0f) * 1000.0f) % unsigned(value.word);
            }
        }
    }
    fqgan_emulator::find(name.c_str())->bind(arguments.data())({{grid[0], grid[1], grid[2]}, {threads, 1, 1}, shared});
    std::vector<double> out;
    for (size_t i = 0; i < values.size(); i++) {
        for (size_t k = 0; k < values[i].count; k++) {
            switch (values[i].kind) {
            case Kind::Output:
                out.push_back(widen(static_cast<T *>(pointers[i])[k]));
                break;
            case Kind::Sums:
                out.push_back(static_cast<float *>(pointers[i])[k]);
                break;
            case Kind::Parts:
                out.push_back(static_cast<double *>(pointers[i])[k]);
                break;
            case Kind::Bits:
                for (int bit = 0; bit < 32; bit++) {
                    out.push_back(static_cast<unsigned *>(pointers[i])[k] >> bit & 1);
                }
                break;
            default:
                break;
            }
        }
    }
    return out;
}

int failures = 0;

void same(const std::string &name, const unsigned (&grid)[3], unsigned threads, size_t shared,
          const std::vector<Value> &values) {
    const std::vector<double> wide = run<float>("fqgan_" + name + "_f32", grid, threads, shared, values);
    const std::vector<double> narrow = run<bf16>("fqgan_" + name + "_bf16", grid, threads, shared, values);
    double largest = 0.0;
    for (double v : wide) {
        largest = std::max(largest, std::abs(v));
    }
    for (size_t i = 0; i < wide.size(); i++) {
        // Half a unit of 8 bits, and what f32 loses where sums run in another order.
        if (!(std::abs(wide[i] - narrow[i]) <= std::abs(wide[i]) / 255.0 + largest * 1e-5)) {
            printf("%s: number %zu is %g in bf16, %g in f32\n", name.c_str(), i, narrow[i], wide[i]);
            failures++;
            return;
        }
    }
    if (wide.empty()) {
        printf("%s has no output\n", name.c_str());
        failures++;
    }
}

void elementwise(size_t count) {
    const unsigned grid[3] = {unsigned(count / 2048 + 1), 1, 1};
    const Value in = input(count), out = output(count), n = size(Size(count)), part = parts((count + 4095) / 4096);
    const unsigned blocks[3] = {unsigned(part.count), 1, 1};
    same("add_forward", grid, 256, 0, {in, in, out, n, n});
    same("multiply_forward", grid, 256, 0, {in, input(count / 5), out, n, size(Size(count / 5))});
    same("activation_forward", grid, 256, 0, {in, out, n, real(0.2f)});
    same("activation_backward", grid, 256, 0, {in, in, out, n, real(0.2f)});
    same("scale_forward", grid, 256, 0, {in, out, n, real(0.3f)});
    same("straight_through_forward", grid, 256, 0, {in, in, out, n});
    same("gate_forward", grid, 256, 0, {in, in, out, n});
    same("gate_backward", grid, 256, 0, {in, in, in, out, out, n});
    same("dropout_forward", grid, 256, 0,
         {in, in, out, n, size(1), size(0), size(42), size(1), size(2), size(3), size(1u << 30), real(1.25f)});
    same("dropout_forward", grid, 256, 0,
         {in, none(), out, n, size(5), size(3), size(42), size(1), size(2), size(3), size(1u << 30), real(1.25f)});
    same("mean_part", blocks, 256, 0, {in, part, n});
    same("mean_spread", grid, 256, 0, {weight(1), out, n});
    for (int squared : {0, 1}) {
        same("mean_error_part", blocks, 256, 0, {in, in, part, n, size(squared)});
        same("mean_error_backward", grid, 256, 0, {in, in, weight(1), out, n, size(squared)});
    }
    for (int function : {0, 1, 2}) {
        same("adversarial_part", blocks, 256, 0, {in, part, n, size(function), real(-1.0f)});
        same("adversarial_backward", grid, 256, 0, {in, weight(1), out, n, size(function), real(-1.0f)});
    }
    for (int activation : {0, 1, 2, 3, 4}) {
        same("linear_after", grid, 256, 0,
             {in, none(), weight(count / 5), in, out, n, size(Size(count / 5)), size(activation)});
        same("linear_slope", grid, 256, 0, {in, in, out, n, size(activation)});
    }
}

void rows(int count, int c) {
    const unsigned warps[3] = {unsigned(count + 3) / 4, 1, 1}, blocks[3] = {unsigned(count + 63) / 64, 1, 1};
    const unsigned each[3] = {unsigned(count), 1, 1};
    const size_t all = size_t(count) * c;
    const Value in = input(all), out = output(all), n = size(count), width = size(c), eps = real(1e-5f);
    same("layer_norm_forward", warps, 128, 0, {in, weight(c), weight(c), out, n, width, eps});
    same("layer_norm_backward", blocks, 64, 8 * c,
         {in, weight(c), in, out, sums(blocks[0] * c), sums(blocks[0] * c), n, width, eps});
    same("rms_norm_forward", warps, 128, 0, {in, weight(c), out, n, width, eps});
    same("rms_norm_backward", blocks, 64, 4 * c, {in, weight(c), in, out, sums(blocks[0] * c), n, width, eps});
    // A lane a row, or a warp.
    same("normalize_forward", each, 128, 0, {in, out, n, width, eps});
    same("normalize_backward", each, 128, 0, {in, in, out, n, width, eps});
    same("disentangle_part", {unsigned(count + 255) / 256, 1, 1}, 256, 0,
         {in, in, parts((count + 255) / 256), n, width});
    same("disentangle_backward", {unsigned(count + 255) / 256, 1, 1}, 256, 0,
         {in, in, weight(1), out, out, n, width});
    same("cross_entropy_forward", each, 512, 0, {in, index(count, c), sums(count), width, sums(0)});
    same("cross_entropy_backward", each, 512, 0, {in, index(count, c), weight(count), out, width});
    same("sum_rows_part", {unsigned(count + 6) / 7, 1, 1}, 256, 0, {in, sums((count + 6) / 7 * c), n, size(7), width});
    same("perceptual_distance_part", blocks, 128, 0, {in, in, weight(c), parts(blocks[0]), n, width});
    same("perceptual_distance_backward", warps, 128, 0, {in, in, weight(c), weight(1), out, n, n, width});
}

// Sets of three pictures of `places` pixels.
void sets(int count, int places, int c) {
    const int each = places * c;
    const unsigned parts_of = unsigned(each + 4095) / 4096, all = unsigned(count);
    const Value in = input(size_t(3 * count) * each), pixels = size(places), elements = size(each), three = size(3);
    same("batch_deviation_part", {parts_of, all, 1}, 256, 0, {in, parts(count * parts_of), elements, three});
    same("batch_deviation_spread", {3 * all, 1, 1}, 256, 0,
         {doubles(count * parts_of), output(size_t(3 * count) * places), size(parts_of), elements, pixels, size(count)});
    same("batch_deviation_gather", {all, 1, 1}, 256, 0, {input(size_t(3 * count) * places), parts(count), pixels, three});
    same("batch_deviation_rule", {unsigned(each + 255) / 256, all, 1}, 256, 0,
         {in, doubles(count), output(size_t(3 * count) * each), elements, three});
}

// Latents and codes of f32 beside them, both split in two.
void latents(int count, int codes, int d) {
    const unsigned of_rows[3] = {unsigned(count + 127) / 128, 2, 1}, of_codes[3] = {unsigned(codes + 127) / 128, 2, 1};
    const std::string room = d <= 8 ? "8" : "32";
    const Value z = input(size_t(count) * d), codebook = weight(size_t(codes) * d), n = size(count), m = size(codes);
    const Value width = size(d), factor = real(2.0f), states = weight(4 * count), slopes = weight(codes);
    same("code_entropy_rows" + room, of_rows, 128, 0, {z, codebook, sums(6 * count), n, m, width, factor});
    same("code_entropy_columns" + room, of_codes, 128, 0, {z, states, codebook, sums(2 * codes), n, m, width, factor});
    same("code_entropy_rows_backward" + room, of_rows, 128, 0,
         {z, states, codebook, slopes, sums(2 * size_t(2 + 2 * d) * count), n, m, width, factor});
    same("code_entropy_columns_backward" + room, of_codes, 128, 0,
         {z, states, codebook, slopes, sums(2 * size_t(1 + d) * codes), n, m, width, factor});
    same("code_entropy_finish_rows", {of_rows[0], 1, 1}, 128, 0,
         {weight(2 * size_t(2 + 2 * d) * count), states, weight(1), output(size_t(count) * d), n, width, size(2), factor});
    same("nearest_code_unit", {of_rows[0], 1, 1}, 128, 0, {z, sums(size_t(count) * d), n, width, sums(0)});
    if (d == 8) {
        // Panels of 16 codes, nine rows of 16 each; two words a latent and split.
        const int panels = (codes + 15) / 16;
        same("nearest_code_search8", {unsigned(count + 511) / 512, 2, 1}, 128, 0,
             {z, weight(size_t(panels) * 9 * 16), bits(4 * count), n, width, size(panels), size((panels + 1) / 2), sums(0)});
    }
    // Their codes in two sub-codebooks, of an image of as many places.
    same("code_embedding_forward", {unsigned(2 * count * d + 255) / 256, 1, 1}, 256, 0,
         {index(2 * count, codes), weight(2 * size_t(codes) * d), output(2 * size_t(count) * d),
          size(Size(2 * count) * (d % 4 == 0 ? d / 4 : d)), n, size(2), m, width, size(0), sums(0)});
}

// Logits of n codes: images, and in the second run null rows for them.
void logits(int images, int n) {
    for (int guided : {0, 1}) {
        same("sample_draw", {unsigned(images), 1, 1}, 1024, 0,
             {input(size_t(images) * (1 + guided) * n), sums(size_t(images) * n), bits(images), size(n), size(guided),
              real(2.0f), real(0.7f), size(n / 2), real(0.9f), size(5), size(1), size(2), none(), size(0), sums(0)});
    }
}

// A table of nine rows of c, some of which are looked up.
void tables(int count, int c) {
    const unsigned blocks[3] = {unsigned(count), 1, 1}, each[3] = {9, 1, 1};
    const Value which = index(count, 9), n = size(count), width = size(c), one = size(1), first = size(0);
    same("embedding_forward", blocks, 256, 0,
         {which, one, first, input(9 * c), size(9), output(size_t(count) * c), n, one, width, sums(0)});
    same("embedding_backward", each, 256, 0,
         {which, one, first, input(size_t(count) * c), sums(9 * c), n, size(9), one, width});
}

// Sequences that are there whole, whose cache has room for no more.
void cached(int sequences, int heads, int tokens, int width) {
    const size_t all = size_t(sequences) * heads * tokens * width;
    const Value cache = output(all), t = size(tokens);
    same("kv_attention_attend", {unsigned(heads), unsigned(sequences), 1}, 256, 0,
         {input(3 * all), none(), cache, cache, output(all), t, size(heads), size(width), t, size(0), none()});
}

void pictures(int n, int h, int w, int c) {
    const int area = h * w;
    const size_t all = size_t(n) * area * c;
    const unsigned grid[3] = {unsigned(n * area * 4 + 2) / 3, 1, 1}, parts_of[3] = {unsigned(area + 4) / 5, unsigned(n), 1};
    const Value in = input(all), out = output(all), pixels = size(n * area), height = size(h), width = size(w);
    const Value channels = size(c), coefficients = weight(2 * n * c);
    same("group_norm_sums", parts_of, 256, 0, {in, sums(n * parts_of[0] * 4 * c), size(area), size(5), channels});
    for (int silu : {0, 1}) {
        for (const Value &added : {none(), in}) {
            same("group_norm_apply", parts_of, 256, 0,
                 {in, coefficients, added, out, size(area), size(5), channels, size(silu)});
            same("group_norm_apply_backward", parts_of, 256, 0,
                 {in, coefficients, in, added, out, sums(n * parts_of[0] * 2 * c), size(area), size(5), channels,
                  size(silu)});
        }
    }
    same("upsample_forward", grid, 256, 0, {in, output(4 * all), pixels, size(3), width, channels});
    same("upsample_fold", grid, 256, 0, {input(4 * all), out, pixels, size(3), width, channels});
    const Value larger = output(size_t(n) * (h + 2) * (w + 1) * c), larger_pixels = size(n * (h + 2) * (w + 1));
    const Value rows = size(h + 2), columns = size(w + 1);
    same("resize_nearest", grid, 256, 0, {in, larger, larger_pixels, size(3), height, width, rows, columns, channels});
    for (int corners : {0, 1}) {
        same("resize_bilinear", grid, 256, 0,
             {in, larger, larger_pixels, size(3), height, width, rows, columns, channels, size(corners)});
    }
    // The first picture for a table of positions.
    same("resize_grid", grid, 256, 0,
         {input(size_t(area) * c), output(size_t(h + 2) * (w + 1) * c), size((h + 2) * (w + 1)), size(3), height, width, rows,
          columns, channels});
    same("concat_frame", grid, 256, 0,
         {in, larger, larger_pixels, size(3), height, width, rows, columns, channels, size(1), size(0)});
    // Two zeros above and to the left, one below and to the right.
    same("blur_forward", grid, 256, 0, {in, out, pixels, size(3), height, width, height, width, channels, size(2)});
    for (int mean : {0, 1}) {
        // Three by three, a step of one, a pixel of padding.
        same("pool_forward", grid, 256, 0,
             {in, out, pixels, size(3), height, width, height, width, channels, size(3), size(1), size(1), size(mean)});
    }
    same("pool_halve_backward", grid, 256, 0,
         {in, input(size_t(n) * (h / 2) * (w / 2) * c), out, pixels, size(3), height, width, channels});
    // The second half of each row.
    same("concat_columns", grid, 256, 0,
         {input(2 * all), size(c), size(2 * c), out, size(0), channels, pixels, size(3), channels});
    // Three times four heads of four.
    same("rotary_turn", {unsigned(n * area), 1, 1}, 256, 0,
         {input(size_t(n) * area * 48), weight(area * 4), output(size_t(n) * area * 48), pixels, size(1), size(area),
          size(16), size(4), size(0), real(1.0f)});
}

} // namespace

int main() {
    for (const char *order : {"forward", "shuffled"}) {
        setenv("FQGAN_EMULATOR_ORDER", order, 1);
        for (size_t count : {size_t(5), size_t(1000), size_t(10005)}) {
            elementwise(count);
        }
        for (int c : {1, 7, 8, 40, 96}) {
            rows(3, c);
            rows(130, c);
        }
        for (int c : {1, 5, 700}) {
            sets(1, 9, c);
            sets(2, 6, c);
        }
        for (int d : {3, 8, 12}) {
            latents(5, 40, d);
            latents(150, 300, d);
        }
        for (int n : {1, 7, 3000}) {
            logits(2, n);
        }
        for (int c : {1, 4, 24}) {
            tables(3, c);
            tables(300, c);
        }
        for (int width : {5, 64, 128}) {
            cached(2, 3, 7, width);
        }
        for (int c : {1, 3, 8, 24}) {
            pictures(2, 3, 4, c);
            pictures(1, 6, 6, c);
        }
    }
    return failures > 0;
}
