/* What small calls cost, in nanoseconds, the least of many: bench TOKENIZER. The other languages measure the same
   calls and are compared with it. */
#define _POSIX_C_SOURCE 200809L
#include "../capi/c/check.h"
#include <time.h>

enum { ROUNDS = 4000 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  fqgan_runtime_options how;
  fqgan_runtime_options_init(&how);
  how.threads = 1;
  fqgan_runtime *runtime;
  fqgan_tokenizer *tokenizer;
  EXPECT(FQGAN_OK, fqgan_runtime_create(&how, &runtime, error));
  EXPECT(FQGAN_OK, fqgan_tokenizer_open(runtime, argv[1], NULL, &tokenizer, error));
  unsigned char pixels[4 * 4 * 4] = {0}, bytes[64];
  uint32_t codes[2];
  size_t length;
  const fqgan_image image = {pixels, 4, 4, 0, FQGAN_PIXEL_RGBA8};
  double encode = 1e18, decode = 1e18, pack = 1e18;
  fqgan_error error;
  fqgan_error_init(&error);
  for (int i = 0; i < ROUNDS; i++) {
    const double a = now();
    CHECK(fqgan_encode(tokenizer, &image, 1, codes, 2, &error) == FQGAN_OK);
    const double b = now();
    CHECK(fqgan_decode(tokenizer, codes, 1, 1, 1, 0, &image, &error) == FQGAN_OK);
    const double c = now();
    CHECK(fqgan_codes_pack(codes, 1, 2, 64, 1, 1, NULL, 0, &length, &error) == FQGAN_OK);
    CHECK(fqgan_codes_pack(codes, 1, 2, 64, 1, 1, bytes, sizeof bytes, &length, &error) == FQGAN_OK);
    const double d = now();
    if (b - a < encode) encode = b - a;
    if (c - b < decode) decode = c - b;
    if (d - c < pack) pack = d - c;
  }
  printf("%.0f %.0f %.0f\n", encode, decode, pack);
  fqgan_tokenizer_close(tokenizer);
  fqgan_runtime_destroy(runtime);
  return 0;
}
