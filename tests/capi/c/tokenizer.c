/* A tokenizer from C11: buffers of exactly the size they need, so that a sanitizer sees a byte too many;
   calls from several threads; calls that must fail. */
#include "check.h"
#include <pthread.h>

enum { SIDE = 32, GRID = 8, CODES = 2 * GRID * GRID, BYTES = SIDE * SIDE * 3 };

static void paint(unsigned char *pixels, unsigned seed) {
  for (unsigned i = 0; i < BYTES; i++) pixels[i] = (unsigned char)(i / 7 * (seed + 3) + i % 3 * 40);
}

static fqgan_image view(void *pixels) {
  fqgan_image image = {pixels, SIDE, SIDE, 0, FQGAN_PIXEL_RGB8};
  return image;
}

static void *exactly(size_t bytes) {
  void *memory = malloc(bytes);
  CHECK(memory != NULL);
  return memory;
}

typedef struct work {
  fqgan_tokenizer *tokenizer;
  unsigned seed;
  uint32_t *codes;
  unsigned char *picture;
} work;

static void *run(void *argument) {
  work *w = argument;
  unsigned char *pixels = exactly(BYTES);
  paint(pixels, w->seed);
  fqgan_image in = view(pixels), out = view(w->picture);
  EXPECT(FQGAN_OK, fqgan_encode(w->tokenizer, &in, 1, w->codes, CODES, error));
  EXPECT(FQGAN_OK, fqgan_decode(w->tokenizer, w->codes, 1, GRID, GRID, 0, &out, error));
  free(pixels);
  return NULL;
}

static void threads(fqgan_tokenizer *tokenizer) {
  enum { N = 3 };
  work alone[N], together[N];
  pthread_t ids[N];
  for (unsigned i = 0; i < N; i++) {
    work a = {tokenizer, i, exactly(CODES * 4), exactly(BYTES)};
    work t = {tokenizer, i, exactly(CODES * 4), exactly(BYTES)};
    alone[i] = a;
    together[i] = t;
    run(&alone[i]);
  }
  for (int i = 0; i < N; i++) CHECK(pthread_create(&ids[i], NULL, run, &together[i]) == 0);
  for (int i = 0; i < N; i++) CHECK(pthread_join(ids[i], NULL) == 0);
  for (int i = 0; i < N; i++) {
    CHECK(memcmp(alone[i].codes, together[i].codes, CODES * 4) == 0);
    CHECK(memcmp(alone[i].picture, together[i].picture, BYTES) == 0);
    free(alone[i].codes), free(alone[i].picture), free(together[i].codes), free(together[i].picture);
  }
}

/* Rows that do not follow each other, four channels, in the middle of a larger picture. */
static void strides(fqgan_tokenizer *tokenizer) {
  const size_t stride = SIDE * 4 + 12, whole = stride * (SIDE - 1) + SIDE * 4;
  unsigned char *pixels = exactly(BYTES), *wide = exactly(whole);
  paint(pixels, 9);
  memset(wide, 0xA5, whole);
  for (size_t y = 0; y < SIDE; y++)
    for (size_t x = 0; x < SIDE; x++)
      for (size_t c = 0; c < 3; c++) wide[y * stride + 4 * x + (2 - c)] = pixels[(y * SIDE + x) * 3 + c];
  fqgan_image packed = view(pixels), image = {wide, SIDE, SIDE, stride, FQGAN_PIXEL_BGRA8};
  uint32_t *a = exactly(CODES * 4), *b = exactly(CODES * 4);
  EXPECT(FQGAN_OK, fqgan_encode(tokenizer, &packed, 1, a, CODES, error));
  EXPECT(FQGAN_OK, fqgan_encode(tokenizer, &image, 1, b, CODES, error));
  CHECK(memcmp(a, b, CODES * 4) == 0);
  EXPECT(FQGAN_OK, fqgan_decode(tokenizer, a, 1, GRID, GRID, 0, &packed, error));
  EXPECT(FQGAN_OK, fqgan_decode(tokenizer, a, 1, GRID, GRID, 0, &image, error));
  for (size_t y = 0; y < SIDE; y++) {
    for (size_t x = 0; x < SIDE; x++) {
      for (size_t c = 0; c < 3; c++) CHECK(wide[y * stride + 4 * x + (2 - c)] == pixels[(y * SIDE + x) * 3 + c]);
      CHECK(wide[y * stride + 4 * x + 3] == 255);
    }
    for (size_t x = SIDE * 4; y + 1 < SIDE && x < stride; x++) CHECK(wide[y * stride + x] == 0xA5);
  }
  free(pixels), free(wide), free(a), free(b);
}

static void hostile(fqgan_tokenizer *tokenizer) {
  unsigned char *pixels = exactly(BYTES);
  paint(pixels, 1);
  uint32_t *codes = exactly(CODES * 4);
  float *latents = exactly(CODES * 4 * sizeof(float));
  fqgan_image image = view(pixels);
  EXPECT(FQGAN_OK, fqgan_latents(tokenizer, &image, 1, latents, CODES * 4, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_latents(tokenizer, &image, 1, latents, CODES, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_encode(tokenizer, &image, 1, codes, CODES - 1, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_encode(tokenizer, &image, 0, codes, CODES, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_encode(tokenizer, NULL, 1, codes, CODES, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_encode(tokenizer, &image, 1, NULL, CODES, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_encode(NULL, &image, 1, codes, CODES, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_encode(tokenizer, &image, SIZE_MAX, codes, CODES, error));
  EXPECT(FQGAN_OK, fqgan_encode(tokenizer, &image, 1, codes, CODES, error));
  codes[3] = UINT32_MAX;
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_decode(tokenizer, codes, 1, GRID, GRID, 0, &image, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_decode(tokenizer, NULL, 1, GRID, GRID, 0, &image, error));
  /* An error struct that is shorter than this version's: nothing past its end is written. */
  unsigned char *small = exactly(24);
  memset(small, 0x5A, 24);
  uint32_t size = 16;
  memcpy(small, &size, sizeof size);
  CHECK(fqgan_encode(NULL, &image, 1, codes, CODES, (fqgan_error *)(void *)small) == FQGAN_ERROR_INVALID_ARGUMENT);
  CHECK(strlen((char *)small + 8) == 7 && small[16] == 0x5A && small[23] == 0x5A);
  free(small), free(pixels), free(codes), free(latents);
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  fqgan_runtime_options how;
  fqgan_runtime_options_init(&how);
  how.threads = (uint32_t)atoi(argv[2]);
  fqgan_runtime *runtime = NULL;
  EXPECT(FQGAN_OK, fqgan_runtime_create(&how, &runtime, error));
  fqgan_tokenizer *tokenizer = NULL, *second = NULL;
  EXPECT(FQGAN_OK, fqgan_tokenizer_open(runtime, argv[1], NULL, &tokenizer, error));

  FILE *file = fopen(argv[1], "rb");
  CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
  long length = ftell(file);
  CHECK(length > 0 && fseek(file, 0, SEEK_SET) == 0);
  void *bytes = exactly((size_t)length);
  CHECK(fread(bytes, 1, (size_t)length, file) == (size_t)length);
  fclose(file);
  fqgan_model_options options;
  fqgan_model_options_init(&options);
  options.precision = FQGAN_PRECISION_F32;
  EXPECT(FQGAN_OK, fqgan_tokenizer_open_memory(runtime, bytes, (size_t)length, &options, &second, error));
  fqgan_tokenizer *none = tokenizer;
  EXPECT(FQGAN_ERROR_IO, fqgan_tokenizer_open(runtime, "/nowhere", NULL, &none, error));
  CHECK(none == NULL);
  none = tokenizer;
  EXPECT(FQGAN_ERROR_FORMAT, fqgan_tokenizer_open_memory(runtime, bytes, 1000, NULL, &none, error));
  CHECK(none == NULL);
  fqgan_runtime_destroy(runtime);

  fqgan_tokenizer_info info = {sizeof info, 0, 0, 0, 0, 0, 0};
  EXPECT(FQGAN_OK, fqgan_tokenizer_get_info(tokenizer, &info, error));
  CHECK(info.codebooks == 2 && info.codebook_size == 64 && info.downsample == 4 && info.image_size == SIDE);
  threads(tokenizer);
  strides(second);
  hostile(tokenizer);
  fqgan_tokenizer_close(tokenizer);
  fqgan_tokenizer_close(second);
  fqgan_tokenizer_close(NULL);
  free(bytes);
  puts("ok");
  return 0;
}
