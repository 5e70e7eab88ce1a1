// fqgan.hpp without exceptions: every outcome is a value or an error.
#define FQGAN_EXPECTED
#include "check.h"
#include "fqgan.hpp"

int main(int argc, char **argv) {
  CHECK(argc == 4);
  fqgan::RuntimeOptions how;
  how.threads = static_cast<std::uint32_t>(std::atoi(argv[3]));
  auto runtime = fqgan::Runtime::create(how);
  CHECK(runtime);
  auto tokenizer = fqgan::Tokenizer::open(*runtime, argv[1]);
  auto generator = fqgan::Generator::open(*runtime, argv[2]);
  CHECK(tokenizer && generator);
  auto none = fqgan::Tokenizer::open(*runtime, "/nowhere");
  CHECK(!none && none.error().status() == FQGAN_ERROR_IO && none.error().what()[0] != 0);
  const unsigned char junk[] = {1, 2, 3};
  CHECK(fqgan::Generator::open(*runtime, junk).error().status() == FQGAN_ERROR_FORMAT);
  how.device_index = 7;
  CHECK(!fqgan::Runtime::create(how));

  std::vector<unsigned char> pixels(16 * 16 * 3, 90);
  auto codes = tokenizer->encode(fqgan::image(pixels.data(), 16, 16));
  CHECK(codes && codes->data.size() == 32);
  CHECK(!tokenizer->encode(fqgan::image(pixels.data(), 15, 16)));
  CHECK(tokenizer->decode(*codes, fqgan::image(pixels.data(), 16, 16)));
  CHECK(tokenizer->decode(*codes, fqgan::Span<const fqgan_image>()).error().status() == FQGAN_ERROR_INVALID_ARGUMENT);
  auto bytes = codes->pack();
  CHECK(bytes && fqgan::Codes::unpack(*bytes)->data == codes->data);
  CHECK(fqgan::Codes::unpack(junk).error().status() == FQGAN_ERROR_FORMAT);

  auto part = generator->generate({1}, fqgan::Sampling(), [](std::uint32_t done, std::uint32_t) { return done < 3; });
  CHECK(part && !part->whole && part->codes.data.size() == 24);
  CHECK(generator->generate({9}).error().status() == FQGAN_ERROR_INVALID_ARGUMENT);
  CHECK(!generator->logits({1}, *codes));
  std::puts("ok");
}
