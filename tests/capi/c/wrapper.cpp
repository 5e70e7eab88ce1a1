// fqgan.hpp: the same results as fqgan.h, exceptions for errors, nothing leaked.
#include "check.h"
#include "fqgan.hpp"
#include <algorithm>
#include <type_traits>
#include <utility>

static_assert(!std::is_copy_constructible<fqgan::Tokenizer>::value, "a handle has one owner");
static_assert(std::is_nothrow_move_constructible<fqgan::Tokenizer>::value, "and can be given on");

template <class Call>
static fqgan_status status_of(Call call) {
  try {
    call();
  } catch (const fqgan::Error &error) {
    CHECK(error.what()[0] != 0);
    return error.status();
  }
  return FQGAN_OK;
}

int main(int argc, char **argv) {
  CHECK(argc == 4);
  auto make = [&] {
    fqgan::RuntimeOptions options;
    options.threads = static_cast<std::uint32_t>(std::atoi(argv[3]));
    fqgan::Runtime runtime(options);
    return fqgan::Tokenizer(runtime, argv[1]);
  };
  fqgan::Tokenizer tokenizer = make();
  const fqgan_tokenizer_info &info = tokenizer.info();
  CHECK(info.codebooks == 2 && info.codebook_size == 64 && info.image_size == 32 && info.parameters > 0);

  std::vector<unsigned char> pixels(16 * 16 * 3), out(2 * 16 * 16 * 3);
  for (std::size_t i = 0; i < pixels.size(); i++) pixels[i] = static_cast<unsigned char>(i * 13 / 7);
  const fqgan_image two[2] = {fqgan::image(pixels.data(), 16, 16), fqgan::image(pixels.data(), 16, 16)};
  const fqgan_image outs[2] = {fqgan::image(out.data(), 16, 16), fqgan::image(out.data() + out.size() / 2, 16, 16)};
  const fqgan::Codes codes = tokenizer.encode(two);
  CHECK(codes.count == 2 && codes.grid_width == 4 && codes.data.size() == 64);
  tokenizer.decode(codes, outs);
  CHECK(std::equal(out.begin(), out.begin() + static_cast<long>(out.size() / 2),
                   out.begin() + static_cast<long>(out.size() / 2)));
  CHECK(tokenizer.latents({two, 1}).size() == 128);

  const std::vector<unsigned char> bytes = codes.pack();
  const fqgan::Codes back = fqgan::Codes::unpack(bytes);
  CHECK(back.data == codes.data && back.count == 2 && back.codebook_size == 64);
  CHECK(status_of([&] { fqgan::Codes::unpack({bytes.data(), 10}); }) == FQGAN_ERROR_FORMAT);

  fqgan::Codes wrong = codes;
  wrong.data[7] = 64;
  CHECK(status_of([&] { tokenizer.decode(wrong, outs); }) == FQGAN_ERROR_INVALID_ARGUMENT);
  wrong.data.pop_back();
  CHECK(status_of([&] { tokenizer.decode(wrong, outs); }) == FQGAN_ERROR_INVALID_ARGUMENT);
  CHECK(status_of([&] { tokenizer.decode(codes, outs[0]); }) == FQGAN_ERROR_INVALID_ARGUMENT);
  CHECK(status_of([&] { fqgan::Tokenizer(fqgan::Runtime(), "/nowhere"); }) == FQGAN_ERROR_IO);
  CHECK(status_of([&] { tokenizer.encode(fqgan::Span<const fqgan_image>()); }) == FQGAN_ERROR_INVALID_ARGUMENT);
  fqgan::RuntimeOptions options;
  options.device = FQGAN_DEVICE_CUDA;
  options.device_index = 1000;
  CHECK(status_of([&] { fqgan::Runtime runtime(options); }) == FQGAN_ERROR_DEVICE);

  const fqgan::Generator generator(fqgan::Runtime(), argv[2]);
  CHECK(generator.info().classes == 5 && generator.info().grid_width == 4 && generator.info().grid_height == 3);
  fqgan::Sampling sampling;
  sampling.seed = 3;
  const fqgan::Codes made = generator.generate({0, 4}, sampling);
  CHECK(made.count == 2 && made.data.size() == 48 && made.data == generator.generate({0, 4}, sampling).data);
  CHECK(generator.logits({0, 5}, made).size() == 48 * 64);
  std::vector<unsigned char> picture(2 * 16 * 12 * 3);
  const fqgan_image pictures[2] = {fqgan::image(picture.data(), 16, 12), fqgan::image(picture.data() + 16 * 12 * 3, 16, 12)};
  tokenizer.decode(made, pictures);
  std::uint32_t told = 0;
  auto some = generator.generate({1}, sampling, [&](std::uint32_t done, std::uint32_t total) {
    CHECK(total == 12);
    told = done;
    return done < 5;
  });
  CHECK(told == 5 && !some.whole && some.codes.data[4] < 64 && some.codes.data[5] == 0 && some.codes.data[11] == 0);
  const auto whole = generator.generate({1}, sampling);
  generator.generate({1}, sampling, [&](std::uint32_t done, std::uint32_t, const fqgan::Codes &so_far) {
    for (std::uint32_t i = 0; i < 12; i++) CHECK(so_far.data[i] == (i < done ? whole.data[i] : 0));
    return true;
  });
  bool thrown = false;
  try {
    generator.generate({1}, sampling, [](std::uint32_t, std::uint32_t) -> bool { throw std::string("of the host"); });
  } catch (const std::string &what) {
    thrown = what == "of the host";
  }
  CHECK(thrown);
  CHECK(status_of([&] { generator.generate({5}, sampling); }) == FQGAN_ERROR_INVALID_ARGUMENT);
  CHECK(status_of([&] { fqgan::Generator(fqgan::Runtime(), argv[1]); }) == FQGAN_ERROR_FORMAT);

  fqgan::Tokenizer moved = std::move(tokenizer);
  CHECK(moved.encode(two[0]).data.size() == 32);
  std::puts("ok");
}
