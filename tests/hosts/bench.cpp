// tests/hosts/bench.c through fqgan.hpp.
#include "fqgan.hpp"
#include <algorithm>
#include <chrono>
#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  fqgan::RuntimeOptions how;
  how.threads = 1;
  const fqgan::Tokenizer tokenizer(fqgan::Runtime(how), argv[1]);
  unsigned char pixels[64] = {};
  const fqgan_image image = fqgan::image(pixels, 4, 4, FQGAN_PIXEL_RGBA8);
  double best[3] = {1e18, 1e18, 1e18};
  const auto least = [&](int i, auto call) {
    const auto began = std::chrono::steady_clock::now();
    call();
    best[i] = std::min(best[i], std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - began).count());
  };
  for (int i = 0; i < 4000; i++) {
    fqgan::Codes codes;
    least(0, [&] { codes = tokenizer.encode(image); });
    least(1, [&] { tokenizer.decode(codes, image); });
    least(2, [&] { codes.pack(); });
  }
  std::printf("%.0f %.0f %.0f\n", best[0], best[1], best[2]);
}
