// libfqgan in C++17: the handles of fqgan.h as classes that free what they hold, errors as exceptions.
// Header-only; link what fqgan.h needs.
#ifndef FQGAN_HPP
#define FQGAN_HPP

#include "fqgan.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace fqgan {

// What a call of fqgan.h said.
class Error : public std::runtime_error {
 public:
  explicit Error(const fqgan_error &error) : std::runtime_error(error.message), status_(error.status) {}

  // One of FQGAN_ERROR_.
  fqgan_status status() const noexcept { return status_; }
  // As "FQGAN_ERROR_IO".
  const char *name() const noexcept { return fqgan_status_name(status_); }

 private:
  fqgan_status status_;
};

namespace detail {

template <class Call>
void check(Call &&call) {
  fqgan_error error;
  fqgan_error_init(&error);
  if (call(&error) != FQGAN_OK) throw Error(error);
}

struct Delete {
  void operator()(fqgan_runtime *handle) const noexcept { fqgan_runtime_destroy(handle); }
  void operator()(fqgan_tokenizer *handle) const noexcept { fqgan_tokenizer_close(handle); }
  void operator()(fqgan_generator *handle) const noexcept { fqgan_generator_close(handle); }
};

}  // namespace detail

// fqgan_runtime_options with its defaults.
struct RuntimeOptions : fqgan_runtime_options {
  RuntimeOptions() noexcept { fqgan_runtime_options_init(this); }
};

// A device and its threads.
class Runtime {
 public:
  Runtime() : Runtime(RuntimeOptions()) {}
  explicit Runtime(const fqgan_runtime_options &options) {
    fqgan_runtime *handle = nullptr;
    detail::check([&](fqgan_error *error) { return fqgan_runtime_create(&options, &handle, error); });
    handle_.reset(handle);
  }

  fqgan_runtime *get() const noexcept { return handle_.get(); }

 private:
  std::unique_ptr<fqgan_runtime, detail::Delete> handle_;
};

// fqgan_model_options with its defaults.
struct ModelOptions : fqgan_model_options {
  ModelOptions() noexcept { fqgan_model_options_init(this); }
};

// Codes and their sizes, laid out (count, codebooks, grid_height, grid_width).
struct Codes {
  std::vector<std::uint32_t> data;
  std::uint32_t count = 0, codebooks = 0, codebook_size = 0, grid_width = 0, grid_height = 0;

  // The bytes of a .fqc file.
  std::vector<unsigned char> pack() const {
    std::size_t length = 0;
    const auto call = [&](unsigned char *to, std::size_t capacity) {
      detail::check([&](fqgan_error *error) {
        return fqgan_codes_pack(data.data(), count, codebooks, codebook_size, grid_width, grid_height, to, capacity,
                                &length, error);
      });
    };
    const std::size_t need = std::size_t{count} * codebooks * grid_width * grid_height;
    if (data.size() != need) {
      throw std::invalid_argument("fqgan::Codes: data has " + std::to_string(data.size()) +
                                  " codes, its sizes say " + std::to_string(need));
    }
    call(nullptr, 0);
    std::vector<unsigned char> bytes(length);
    call(bytes.data(), bytes.size());
    return bytes;
  }

  // The codes of a .fqc file's bytes.
  static Codes unpack(const void *bytes, std::size_t length) {
    fqgan_codes_info info{};
    info.struct_size = sizeof info;
    detail::check([&](fqgan_error *error) { return fqgan_codes_unpack(bytes, length, &info, nullptr, 0, error); });
    Codes codes{{}, info.count, info.codebooks, info.codebook_size, info.grid_width, info.grid_height};
    codes.data.resize(std::size_t{info.count} * info.codebooks * info.grid_width * info.grid_height);
    detail::check([&](fqgan_error *error) {
      return fqgan_codes_unpack(bytes, length, nullptr, codes.data.data(), codes.data.size(), error);
    });
    return codes;
  }
};

// A view of packed pixels.
inline fqgan_image image(void *pixels, std::uint32_t width, std::uint32_t height, std::int32_t format = FQGAN_PIXEL_RGB8,
                         std::size_t row_stride = 0) {
  return fqgan_image{pixels, width, height, row_stride, format};
}

// Images to codes and back. It keeps what it needs of its runtime alive.
class Tokenizer {
 public:
  Tokenizer(const Runtime &runtime, const std::string &path, const fqgan_model_options &options = ModelOptions()) {
    open([&](fqgan_tokenizer **to, fqgan_error *error) {
      return fqgan_tokenizer_open(runtime.get(), path.c_str(), &options, to, error);
    });
  }
  // The bytes are borrowed for as long as the tokenizer lives.
  Tokenizer(const Runtime &runtime, const void *bytes, std::size_t length,
            const fqgan_model_options &options = ModelOptions()) {
    open([&](fqgan_tokenizer **to, fqgan_error *error) {
      return fqgan_tokenizer_open_memory(runtime.get(), bytes, length, &options, to, error);
    });
  }

  const fqgan_tokenizer_info &info() const noexcept { return info_; }
  fqgan_tokenizer *get() const noexcept { return handle_.get(); }

  // Codes of images of one size.
  Codes encode(const fqgan_image *images, std::size_t count) const {
    Codes codes = empty(images, count);
    detail::check([&](fqgan_error *error) {
      return fqgan_encode(get(), images, count, codes.data.data(), codes.data.size(), error);
    });
    return codes;
  }
  Codes encode(const fqgan_image &one) const { return encode(&one, 1); }

  // Writes the images of codes. Bit i of the mask: sub-codebook i is used; 0: all are.
  void decode(const Codes &codes, const fqgan_image *images, std::uint32_t mask = 0) const {
    const std::size_t need = std::size_t{codes.count} * info_.codebooks * codes.grid_width * codes.grid_height;
    if (codes.codebooks != info_.codebooks || codes.data.size() != need) {
      throw std::invalid_argument("fqgan::Tokenizer::decode: the codes are not this tokenizer's: " +
                                  std::to_string(codes.data.size()) + " codes of " + std::to_string(codes.codebooks) +
                                  " sub-codebooks, expected " + std::to_string(need) + " of " +
                                  std::to_string(info_.codebooks));
    }
    detail::check([&](fqgan_error *error) {
      return fqgan_decode(get(), codes.data.data(), codes.count, codes.grid_width, codes.grid_height, mask, images,
                          error);
    });
  }
  void decode(const Codes &codes, const fqgan_image &one, std::uint32_t mask = 0) const {
    if (codes.count != 1) throw std::invalid_argument("fqgan::Tokenizer::decode: one image for several codes");
    decode(codes, &one, mask);
  }

  // Latents before they are normalised, (count, codebooks, code_dim, height / f, width / f).
  std::vector<float> latents(const fqgan_image *images, std::size_t count) const {
    std::vector<float> latents(empty(images, count).data.size() * info_.code_dim);
    detail::check([&](fqgan_error *error) {
      return fqgan_latents(get(), images, count, latents.data(), latents.size(), error);
    });
    return latents;
  }

 private:
  template <class Open>
  void open(Open &&call) {
    fqgan_tokenizer *handle = nullptr;
    detail::check([&](fqgan_error *error) { return call(&handle, error); });
    handle_.reset(handle);
    info_.struct_size = sizeof info_;
    detail::check([&](fqgan_error *error) { return fqgan_tokenizer_get_info(handle, &info_, error); });
  }

  // Room for the codes of images.
  Codes empty(const fqgan_image *images, std::size_t count) const {
    const std::uint32_t width = count > 0 ? images->width / info_.downsample : 0;
    const std::uint32_t height = count > 0 ? images->height / info_.downsample : 0;
    Codes codes{{}, static_cast<std::uint32_t>(count), info_.codebooks, info_.codebook_size, width, height};
    codes.data.resize(count * info_.codebooks * width * height);
    return codes;
  }

  std::unique_ptr<fqgan_tokenizer, detail::Delete> handle_;
  fqgan_tokenizer_info info_{};
};

// fqgan_sampling with its defaults. Progress is a function of its own in Generator::generate.
struct Sampling : fqgan_sampling {
  Sampling() noexcept { fqgan_sampling_init(this); }
};

// Classes to codes of new images. It keeps what it needs of its runtime alive.
class Generator {
 public:
  Generator(const Runtime &runtime, const std::string &path, const fqgan_model_options &options = ModelOptions()) {
    open([&](fqgan_generator **to, fqgan_error *error) {
      return fqgan_generator_open(runtime.get(), path.c_str(), &options, to, error);
    });
  }
  // The bytes are borrowed for as long as the generator lives.
  Generator(const Runtime &runtime, const void *bytes, std::size_t length,
            const fqgan_model_options &options = ModelOptions()) {
    open([&](fqgan_generator **to, fqgan_error *error) {
      return fqgan_generator_open_memory(runtime.get(), bytes, length, &options, to, error);
    });
  }

  const fqgan_generator_info &info() const noexcept { return info_; }
  fqgan_generator *get() const noexcept { return handle_.get(); }

  // Codes of new images, one for each class.
  Codes generate(const std::vector<std::uint32_t> &classes, const fqgan_sampling &sampling = Sampling()) const {
    Codes codes = empty(classes.size());
    detail::check([&](fqgan_error *error) {
      return fqgan_generate(get(), classes.data(), classes.size(), &sampling, codes.data.data(), codes.data.size(),
                            error);
    });
    return codes;
  }

  // Codes, and whether they are all there.
  struct Part {
    Codes codes;
    bool whole;
  };

  // Asks progress(done, total) after each position whether to go on; what it throws comes out here.
  Part generate(const std::vector<std::uint32_t> &classes, const fqgan_sampling &sampling,
                const std::function<bool(std::uint32_t, std::uint32_t)> &progress) const {
    struct Call {
      const std::function<bool(std::uint32_t, std::uint32_t)> &progress;
      std::exception_ptr thrown;
    } call{progress, nullptr};
    fqgan_sampling with = sampling;
    with.progress_user = &call;
    // An exception must not pass through the library.
    with.progress = [](void *user, std::uint32_t done, std::uint32_t total) -> std::int32_t {
      Call &call = *static_cast<Call *>(user);
      try {
        return call.progress(done, total) ? 0 : 1;
      } catch (...) {
        call.thrown = std::current_exception();
        return 1;
      }
    };
    Part part{empty(classes.size()), true};
    fqgan_error error;
    fqgan_error_init(&error);
    const fqgan_status status = fqgan_generate(get(), classes.data(), classes.size(), &with, part.codes.data.data(),
                                               part.codes.data.size(), &error);
    if (call.thrown) std::rethrow_exception(call.thrown);
    part.whole = status == FQGAN_OK;
    if (!part.whole && status != FQGAN_ERROR_CANCELLED) throw Error(error);
    return part;
  }

  // What the model expects at each position of known codes, (count, codebooks, positions, codebook_size).
  std::vector<float> logits(const std::vector<std::uint32_t> &classes, const Codes &codes) const {
    const std::size_t need = empty(classes.size()).data.size();
    if (codes.data.size() != need) {
      throw std::invalid_argument("fqgan::Generator::logits: " + std::to_string(codes.data.size()) +
                                  " codes, expected " + std::to_string(need));
    }
    std::vector<float> logits(need * info_.codebook_size);
    detail::check([&](fqgan_error *error) {
      return fqgan_generator_logits(get(), classes.data(), codes.data.data(), classes.size(), logits.data(),
                                    logits.size(), error);
    });
    return logits;
  }

 private:
  template <class Open>
  void open(Open &&call) {
    fqgan_generator *handle = nullptr;
    detail::check([&](fqgan_error *error) { return call(&handle, error); });
    handle_.reset(handle);
    info_.struct_size = sizeof info_;
    detail::check([&](fqgan_error *error) { return fqgan_generator_get_info(handle, &info_, error); });
  }

  Codes empty(std::size_t count) const {
    Codes codes{{},
                static_cast<std::uint32_t>(count),
                info_.codebooks,
                info_.codebook_size,
                info_.grid_width,
                info_.grid_height};
    codes.data.resize(count * info_.codebooks * info_.grid_width * info_.grid_height);
    return codes;
  }

  std::unique_ptr<fqgan_generator, detail::Delete> handle_;
  fqgan_generator_info info_{};
};

}  // namespace fqgan

#endif  // FQGAN_HPP
