// libfqgan in C++17: the handles of fqgan.h as classes that free what they hold. Header-only; link what fqgan.h needs.
//
// What fails throws fqgan::Error. With FQGAN_EXPECTED defined before this header nothing of it throws (it compiles
// without exceptions): Outcome<T> is then an Expected<T>, which holds the value or the error, and handles are made by
// the static functions open and create, since a constructor has no result. Choose one for the whole program.
#ifndef FQGAN_HPP
#define FQGAN_HPP

#include "fqgan.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#ifndef FQGAN_EXPECTED
#include <exception>
#include <stdexcept>
#endif

namespace fqgan {

// ---- Errors ----

// What a call of fqgan.h said.
class Error
#ifndef FQGAN_EXPECTED
    : public std::runtime_error {
 public:
  Error(fqgan_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
#else
{
 public:
  Error(fqgan_status status, const std::string &message) : message_(message), status_(status) {}
  const char *what() const noexcept { return message_.c_str(); }
#endif
  // One of FQGAN_ERROR_.
  fqgan_status status() const noexcept { return status_; }
  // As "FQGAN_ERROR_IO".
  const char *name() const noexcept { return fqgan_status_name(status_); }

 private:
#ifdef FQGAN_EXPECTED
  std::string message_;
#endif
  fqgan_status status_;
};

// A value, or the error why there is none. value() and error() must be there.
template <class T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : value_(std::move(value)) {}
  Expected(Error error) : error_(std::move(error)) {}

  explicit operator bool() const noexcept { return value_.has_value(); }
  bool has_value() const noexcept { return value_.has_value(); }
  T &value() & noexcept { return *value_; }
  const T &value() const & noexcept { return *value_; }
  T &&value() && noexcept { return std::move(*value_); }
  T &operator*() noexcept { return *value_; }
  T *operator->() noexcept { return &*value_; }
  const Error &error() const noexcept { return *error_; }

 private:
  std::optional<T> value_;
  std::optional<Error> error_;
};

// The value of a call that gives none.
struct Done {};

#ifdef FQGAN_EXPECTED
template <class T>
using Outcome = Expected<T>;
#else
template <class T>
using Outcome = T;
#endif

namespace detail {

template <class T>
Outcome<T> give(Expected<T> &&result) {
#ifdef FQGAN_EXPECTED
  return std::move(result);
#else
  if (!result) throw result.error();
  return std::move(result).value();
#endif
}

// The error of a call, if there was one.
template <class Call>
std::optional<Error> failure(Call &&call) {
  fqgan_error error;
  fqgan_error_init(&error);
  const fqgan_status status = call(&error);
  if (status == FQGAN_OK) return std::nullopt;
  return Error(status, error.message);
}

inline Error invalid(const std::string &message) { return Error(FQGAN_ERROR_INVALID_ARGUMENT, message); }

struct Delete {
  void operator()(fqgan_runtime *handle) const noexcept { fqgan_runtime_destroy(handle); }
  void operator()(fqgan_tokenizer *handle) const noexcept { fqgan_tokenizer_close(handle); }
  void operator()(fqgan_generator *handle) const noexcept { fqgan_generator_close(handle); }
};

}  // namespace detail

// ---- Views ----

// Elements of the caller's: of anything with data() and size(), of an array, of a list in braces.
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr Span(T (&array)[N]) noexcept : data_(array), size_(N) {}
  template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C &>().data()), T *>>>
  constexpr Span(C &&container) noexcept : data_(container.data()), size_(container.size()) {}
  // Of a list, for as long as the call that it is written in.
  template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
  constexpr Span(std::initializer_list<std::remove_const_t<U>> list) noexcept : size_(list.size()) {
    data_ = list.begin();
  }

  constexpr T *data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T *begin() const noexcept { return data_; }
  constexpr T *end() const noexcept { return data_ + size_; }
  constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

// A view of pixels; a stride of 0 says that rows are packed.
inline fqgan_image image(void *pixels, std::uint32_t width, std::uint32_t height,
                         std::int32_t format = FQGAN_PIXEL_RGB8, std::size_t row_stride = 0) {
  return fqgan_image{pixels, width, height, row_stride, format};
}

// ---- Runtime ----

// fqgan_runtime_options with its defaults.
struct RuntimeOptions : fqgan_runtime_options {
  RuntimeOptions() noexcept { fqgan_runtime_options_init(this); }
};

// A device and its threads.
class Runtime {
 public:
  static Outcome<Runtime> create(const fqgan_runtime_options &options = RuntimeOptions()) {
    return detail::give(make(options));
  }
#ifndef FQGAN_EXPECTED
  explicit Runtime(const fqgan_runtime_options &options = RuntimeOptions()) : Runtime(create(options)) {}
#endif

  fqgan_runtime *get() const noexcept { return handle_.get(); }

 private:
  explicit Runtime(fqgan_runtime *handle) noexcept : handle_(handle) {}
  static Expected<Runtime> make(const fqgan_runtime_options &options) {
    fqgan_runtime *handle = nullptr;
    auto failed = detail::failure([&](fqgan_error *error) { return fqgan_runtime_create(&options, &handle, error); });
    if (failed) return *failed;
    return Runtime(handle);
  }

  std::unique_ptr<fqgan_runtime, detail::Delete> handle_;
};

// fqgan_model_options with its defaults.
struct ModelOptions : fqgan_model_options {
  ModelOptions() noexcept { fqgan_model_options_init(this); }
};

// ---- Codes ----

// Codes and their sizes, laid out (count, codebooks, grid_height, grid_width).
struct Codes {
  std::vector<std::uint32_t> data;
  std::uint32_t count = 0, codebooks = 0, codebook_size = 0, grid_width = 0, grid_height = 0;

  // Codes that the sizes say.
  std::size_t size() const noexcept { return std::size_t{count} * codebooks * grid_width * grid_height; }

  // The bytes of a .fqc file.
  Outcome<std::vector<unsigned char>> pack() const {
    using Bytes = Expected<std::vector<unsigned char>>;
    if (data.size() != size()) return detail::give(Bytes(mismatch("fqgan::Codes::pack", data.size(), size())));
    std::vector<unsigned char> bytes;
    std::size_t length = 0;
    const auto call = [&](void *to) {
      return detail::failure([&](fqgan_error *error) {
        return fqgan_codes_pack(data.data(), count, codebooks, codebook_size, grid_width, grid_height, to, bytes.size(),
                                &length, error);
      });
    };
    auto failed = call(nullptr);
    if (!failed) {
      bytes.resize(length);
      failed = call(bytes.data());
    }
    return detail::give(failed ? Bytes(*failed) : Bytes(std::move(bytes)));
  }

  // The codes of a .fqc file's bytes.
  static Outcome<Codes> unpack(Span<const unsigned char> bytes) {
    fqgan_codes_info info{};
    info.struct_size = sizeof info;
    Codes codes;
    auto failed = detail::failure([&](fqgan_error *error) {
      return fqgan_codes_unpack(bytes.data(), bytes.size(), &info, nullptr, 0, error);
    });
    if (!failed) {
      codes = Codes{{}, info.count, info.codebooks, info.codebook_size, info.grid_width, info.grid_height};
      codes.data.resize(codes.size());
      failed = detail::failure([&](fqgan_error *error) {
        return fqgan_codes_unpack(bytes.data(), bytes.size(), nullptr, codes.data.data(), codes.data.size(), error);
      });
    }
    return detail::give(failed ? Expected<Codes>(*failed) : Expected<Codes>(std::move(codes)));
  }

  static Error mismatch(const char *where, std::size_t have, std::size_t need) {
    return detail::invalid(std::string(where) + ": " + std::to_string(have) + " codes, expected " +
                           std::to_string(need));
  }
};

// ---- Tokenizer ----

// Images to codes and back. It keeps what it needs of its runtime alive.
class Tokenizer {
 public:
  static Outcome<Tokenizer> open(const Runtime &runtime, const std::string &path,
                                 const fqgan_model_options &options = ModelOptions()) {
    return detail::give(make([&](fqgan_tokenizer **to, fqgan_error *error) {
      return fqgan_tokenizer_open(runtime.get(), path.c_str(), &options, to, error);
    }));
  }
  // The bytes are borrowed for as long as the tokenizer lives.
  static Outcome<Tokenizer> open(const Runtime &runtime, Span<const unsigned char> bytes,
                                 const fqgan_model_options &options = ModelOptions()) {
    return detail::give(make([&](fqgan_tokenizer **to, fqgan_error *error) {
      return fqgan_tokenizer_open_memory(runtime.get(), bytes.data(), bytes.size(), &options, to, error);
    }));
  }
#ifndef FQGAN_EXPECTED
  Tokenizer(const Runtime &runtime, const std::string &path, const fqgan_model_options &options = ModelOptions())
      : Tokenizer(open(runtime, path, options)) {}
  Tokenizer(const Runtime &runtime, Span<const unsigned char> bytes,
            const fqgan_model_options &options = ModelOptions())
      : Tokenizer(open(runtime, bytes, options)) {}
#endif

  const fqgan_tokenizer_info &info() const noexcept { return info_; }
  fqgan_tokenizer *get() const noexcept { return handle_.get(); }

  // Codes of images of one size.
  Outcome<Codes> encode(Span<const fqgan_image> images) const {
    Codes codes = empty(images);
    auto failed = detail::failure([&](fqgan_error *error) {
      return fqgan_encode(get(), images.data(), images.size(), codes.data.data(), codes.data.size(), error);
    });
    return detail::give(failed ? Expected<Codes>(*failed) : Expected<Codes>(std::move(codes)));
  }
  Outcome<Codes> encode(const fqgan_image &one) const { return encode(Span<const fqgan_image>(&one, 1)); }

  // Writes the images of codes, as many as codes.count says. Bit i of the mask: sub-codebook i is used; 0: all are.
  Outcome<Done> decode(const Codes &codes, Span<const fqgan_image> images, std::uint32_t mask = 0) const {
    return detail::give(write(codes, images, mask));
  }
  Outcome<Done> decode(const Codes &codes, const fqgan_image &one, std::uint32_t mask = 0) const {
    return decode(codes, Span<const fqgan_image>(&one, 1), mask);
  }

  // Latents before they are normalised, (count, codebooks, code_dim, height / f, width / f).
  Outcome<std::vector<float>> latents(Span<const fqgan_image> images) const {
    using Floats = Expected<std::vector<float>>;
    std::vector<float> latents(empty(images).data.size() * info_.code_dim);
    auto failed = detail::failure([&](fqgan_error *error) {
      return fqgan_latents(get(), images.data(), images.size(), latents.data(), latents.size(), error);
    });
    return detail::give(failed ? Floats(*failed) : Floats(std::move(latents)));
  }

 private:
  Tokenizer() noexcept = default;

  template <class Open>
  static Expected<Tokenizer> make(Open &&call) {
    Tokenizer made;
    fqgan_tokenizer *handle = nullptr;
    auto failed = detail::failure([&](fqgan_error *error) { return call(&handle, error); });
    if (failed) return *failed;
    made.handle_.reset(handle);
    made.info_.struct_size = sizeof made.info_;
    failed = detail::failure([&](fqgan_error *error) { return fqgan_tokenizer_get_info(handle, &made.info_, error); });
    if (failed) return *failed;
    return made;
  }

  Expected<Done> write(const Codes &codes, Span<const fqgan_image> images, std::uint32_t mask) const {
    if (codes.codebooks != info_.codebooks || codes.data.size() != codes.size() || images.size() != codes.count) {
      return detail::invalid("fqgan::Tokenizer::decode: " + std::to_string(codes.data.size()) + " codes of " +
                             std::to_string(codes.codebooks) + " sub-codebooks for " + std::to_string(images.size()) +
                             " images, expected " + std::to_string(codes.size()) + " of " +
                             std::to_string(info_.codebooks) + " for " + std::to_string(codes.count));
    }
    auto failed = detail::failure([&](fqgan_error *error) {
      return fqgan_decode(get(), codes.data.data(), codes.count, codes.grid_width, codes.grid_height, mask,
                          images.data(), error);
    });
    if (failed) return *failed;
    return Done();
  }

  // Room for the codes of images.
  Codes empty(Span<const fqgan_image> images) const {
    const std::uint32_t width = images.empty() ? 0 : images[0].width / info_.downsample;
    const std::uint32_t height = images.empty() ? 0 : images[0].height / info_.downsample;
    Codes codes{{}, static_cast<std::uint32_t>(images.size()), info_.codebooks, info_.codebook_size, width, height};
    codes.data.resize(codes.size());
    return codes;
  }

  std::unique_ptr<fqgan_tokenizer, detail::Delete> handle_;
  fqgan_tokenizer_info info_{};
};

// ---- Generator ----

// fqgan_sampling with its defaults. Progress is a function of its own in Generator::generate.
struct Sampling : fqgan_sampling {
  Sampling() noexcept { fqgan_sampling_init(this); }
};

// Classes to codes of new images. It keeps what it needs of its runtime alive.
class Generator {
 public:
  static Outcome<Generator> open(const Runtime &runtime, const std::string &path,
                                 const fqgan_model_options &options = ModelOptions()) {
    return detail::give(make([&](fqgan_generator **to, fqgan_error *error) {
      return fqgan_generator_open(runtime.get(), path.c_str(), &options, to, error);
    }));
  }
  // The bytes are borrowed for as long as the generator lives.
  static Outcome<Generator> open(const Runtime &runtime, Span<const unsigned char> bytes,
                                 const fqgan_model_options &options = ModelOptions()) {
    return detail::give(make([&](fqgan_generator **to, fqgan_error *error) {
      return fqgan_generator_open_memory(runtime.get(), bytes.data(), bytes.size(), &options, to, error);
    }));
  }
#ifndef FQGAN_EXPECTED
  Generator(const Runtime &runtime, const std::string &path, const fqgan_model_options &options = ModelOptions())
      : Generator(open(runtime, path, options)) {}
  Generator(const Runtime &runtime, Span<const unsigned char> bytes,
            const fqgan_model_options &options = ModelOptions())
      : Generator(open(runtime, bytes, options)) {}
#endif

  const fqgan_generator_info &info() const noexcept { return info_; }
  fqgan_generator *get() const noexcept { return handle_.get(); }

  // Codes of new images, one for each class.
  Outcome<Codes> generate(Span<const std::uint32_t> classes, const fqgan_sampling &sampling = Sampling()) const {
    Codes codes = empty(classes.size());
    auto failed = detail::failure([&](fqgan_error *error) {
      return fqgan_generate(get(), classes.data(), classes.size(), &sampling, codes.data.data(), codes.data.size(),
                            error);
    });
    return detail::give(failed ? Expected<Codes>(*failed) : Expected<Codes>(std::move(codes)));
  }

  // Codes, and whether they are all there.
  struct Part {
    Codes codes;
    bool whole;
  };

  // Asks progress(done, total, codes_so_far) or progress(done, total) after each position whether to go on; what it
  // throws comes out here.
  template <class Progress>
  Outcome<Part> generate(Span<const std::uint32_t> classes, const fqgan_sampling &sampling, Progress &&progress) const {
    Part part{empty(classes.size()), true};
    Call<std::remove_reference_t<Progress>> call(progress, part.codes);
    fqgan_sampling with = sampling;
    with.progress_user = &call;
    with.progress = [](void *user, std::uint32_t done, std::uint32_t total) -> std::int32_t {
      return static_cast<decltype(call) *>(user)->go_on(done, total) ? 0 : 1;
    };
    auto failed = detail::failure([&](fqgan_error *error) {
      return fqgan_generate(get(), classes.data(), classes.size(), &with, part.codes.data.data(),
                            part.codes.data.size(), error);
    });
    call.rethrow();
    part.whole = !failed;
    const bool kept = !failed || failed->status() == FQGAN_ERROR_CANCELLED;
    return detail::give(kept ? Expected<Part>(std::move(part)) : Expected<Part>(*failed));
  }

  // What the model expects at each position of known codes, (count, codebooks, positions, codebook_size).
  Outcome<std::vector<float>> logits(Span<const std::uint32_t> classes, const Codes &codes) const {
    using Floats = Expected<std::vector<float>>;
    const std::size_t need = empty(classes.size()).data.size();
    if (codes.data.size() != need) {
      return detail::give(Floats(Codes::mismatch("fqgan::Generator::logits", codes.data.size(), need)));
    }
    std::vector<float> logits(need * info_.codebook_size);
    auto failed = detail::failure([&](fqgan_error *error) {
      return fqgan_generator_logits(get(), classes.data(), codes.data.data(), classes.size(), logits.data(),
                                    logits.size(), error);
    });
    return detail::give(failed ? Floats(*failed) : Floats(std::move(logits)));
  }

 private:
  Generator() noexcept = default;

  // The caller's progress function. An exception must not pass through the library.
  template <class Progress>
  struct Call {
    Progress &progress;
    const Codes &codes;
#ifndef FQGAN_EXPECTED
    std::exception_ptr thrown;
#endif
    Call(Progress &progress, const Codes &codes) : progress(progress), codes(codes) {}

    bool ask(std::uint32_t done, std::uint32_t total) {
      if constexpr (std::is_invocable_v<Progress &, std::uint32_t, std::uint32_t, const Codes &>) {
        return progress(done, total, codes);
      } else {
        return progress(done, total);
      }
    }
#ifdef FQGAN_EXPECTED
    bool go_on(std::uint32_t done, std::uint32_t total) { return ask(done, total); }
    void rethrow() {}
#else
    bool go_on(std::uint32_t done, std::uint32_t total) noexcept {
      try {
        return ask(done, total);
      } catch (...) {
        thrown = std::current_exception();
        return false;
      }
    }
    void rethrow() {
      if (thrown) std::rethrow_exception(thrown);
    }
#endif
  };

  template <class Open>
  static Expected<Generator> make(Open &&call) {
    Generator made;
    fqgan_generator *handle = nullptr;
    auto failed = detail::failure([&](fqgan_error *error) { return call(&handle, error); });
    if (failed) return *failed;
    made.handle_.reset(handle);
    made.info_.struct_size = sizeof made.info_;
    failed = detail::failure([&](fqgan_error *error) { return fqgan_generator_get_info(handle, &made.info_, error); });
    if (failed) return *failed;
    return made;
  }

  Codes empty(std::size_t count) const {
    Codes codes{{}, static_cast<std::uint32_t>(count), info_.codebooks, info_.codebook_size, info_.grid_width,
                info_.grid_height};
    codes.data.resize(codes.size());
    return codes;
  }

  std::unique_ptr<fqgan_generator, detail::Delete> handle_;
  fqgan_generator_info info_{};
};

}  // namespace fqgan

#endif  // FQGAN_HPP
