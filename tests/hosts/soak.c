/* Ten thousand encodes and two hundred generations: resident memory stays where it was after the first.
   soak TOKENIZER GENERATOR ENCODES GENERATIONS
   Pictures have up to 8 x 8 codes, so that the demo's models take a minute and a half. */
#include "../capi/c/check.h"

static long resident_kb(void) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  long kb = 0;
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, "VmRSS:", 6) == 0) kb = atol(line + 6);
  }
  fclose(file);
  CHECK(kb > 0);
  return kb;
}

enum { SIDE = 128, CODES = 3 * 64, MADE = 3 * 3 * 64 };

static fqgan_tokenizer_info sizes;
static fqgan_generator_info extents;

static int32_t stop(void *user, uint32_t done, uint32_t total) {
  (void)total;
  return done >= *(const uint32_t *)user;
}

static void encode(fqgan_tokenizer *tokenizer, unsigned i) {
  static unsigned char pixels[SIDE * SIDE * 3];
  uint32_t codes[CODES];
  for (unsigned j = 0; j < sizeof pixels; j += 97) pixels[j] = (unsigned char)(i * 31 + j);
  /* Sizes come and go. */
  const uint32_t grid = 2 + 2 * (i % 4), side = grid * sizes.downsample;
  const fqgan_image image = {pixels, side, side, 0, FQGAN_PIXEL_RGB8};
  EXPECT(FQGAN_OK, fqgan_encode(tokenizer, &image, 1, codes, CODES, error));
  if (i % 16 == 0) EXPECT(FQGAN_OK, fqgan_decode(tokenizer, codes, 1, grid, grid, 0, &image, error));
  if (i % 16 == 8) EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_encode(tokenizer, &image, 1, codes, 1, error));
}

static void generate(fqgan_generator *generator, unsigned i) {
  uint32_t codes[MADE], after = 5;
  const uint32_t classes[3] = {i % extents.classes, (i + 1) % extents.classes, (i + 2) % extents.classes};
  fqgan_sampling how;
  fqgan_sampling_init(&how);
  how.seed = i;
  const size_t count = 1 + i % 3;
  EXPECT(FQGAN_OK, fqgan_generate(generator, classes, count, &how, codes, MADE, error));
  how.progress = stop;
  how.progress_user = &after;
  EXPECT(FQGAN_ERROR_CANCELLED, fqgan_generate(generator, classes, count, &how, codes, MADE, error));
}

/* Models that come and go are given back too. */
static void come_and_go(fqgan_runtime *runtime, const char *path, int times) {
  for (int i = 0; i < times; i++) {
    fqgan_tokenizer *other;
    EXPECT(FQGAN_OK, fqgan_tokenizer_open(runtime, path, NULL, &other, error));
    encode(other, 3);
    fqgan_tokenizer_close(other);
  }
}

int main(int argc, char **argv) {
  CHECK(argc == 5);
  const unsigned encodes = (unsigned)atoi(argv[3]), generations = (unsigned)atoi(argv[4]);
  fqgan_runtime_options how;
  fqgan_runtime_options_init(&how);
  how.threads = 2;
  fqgan_runtime *runtime;
  fqgan_tokenizer *tokenizer;
  fqgan_generator *generator;
  EXPECT(FQGAN_OK, fqgan_runtime_create(&how, &runtime, error));
  EXPECT(FQGAN_OK, fqgan_tokenizer_open(runtime, argv[1], NULL, &tokenizer, error));
  EXPECT(FQGAN_OK, fqgan_generator_open(runtime, argv[2], NULL, &generator, error));
  sizes.struct_size = sizeof sizes;
  extents.struct_size = sizeof extents;
  EXPECT(FQGAN_OK, fqgan_tokenizer_get_info(tokenizer, &sizes, error));
  EXPECT(FQGAN_OK, fqgan_generator_get_info(generator, &extents, error));
  CHECK(sizes.codebooks <= 3 && sizes.downsample <= SIDE / 8);
  CHECK(extents.codebooks * extents.grid_width * extents.grid_height <= MADE / 3);
  for (unsigned i = 0; i < encodes / 20; i++) encode(tokenizer, i);
  for (unsigned i = 0; i < generations / 10; i++) generate(generator, i);
  come_and_go(runtime, argv[1], 10);
  const long before = resident_kb();
  for (unsigned i = 0; i < encodes; i++) encode(tokenizer, i);
  for (unsigned i = 0; i < generations; i++) generate(generator, i);
  come_and_go(runtime, argv[1], 50);
  const long after = resident_kb();
  printf("%u encodes, %u generations: %ld kB resident, then %ld\n", encodes, generations, before, after);
  CHECK(after - before < 2048);
  fqgan_tokenizer_close(tokenizer);
  fqgan_generator_close(generator);
  fqgan_runtime_destroy(runtime);
  return 0;
}
