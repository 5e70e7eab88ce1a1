/* One model, eight threads: encode, decode and generate at the same time give what they give one after another.
   threads TOKENIZER GENERATOR ROUNDS, for the thread sanitizer. With ROUNDS 0 two threads decode into the same pixels,
   which it must find. */
#include "../capi/c/check.h"
#include <pthread.h>

enum { THREADS = 8, SIDE = 32, GRID = 8, CODES = 2 * GRID * GRID, BYTES = SIDE * SIDE * 3, MADE = 24 };

static fqgan_tokenizer *tokenizer;
static fqgan_generator *generator;
static int rounds;

typedef struct result {
  uint32_t codes[CODES], made[MADE];
  unsigned char back[BYTES];
} result;

typedef struct work {
  pthread_t id;
  unsigned seed;
  result alone;
} work;

static int32_t count(void *user, uint32_t done, uint32_t total) {
  CHECK(done <= total);
  *(uint32_t *)user += 1;
  return 0;
}

static void all(unsigned seed, result *to) {
  unsigned char pixels[BYTES];
  for (unsigned i = 0; i < BYTES; i++) pixels[i] = (unsigned char)(i / 7 * (seed + 3) + i % 3 * 40);
  const fqgan_image in = {pixels, SIDE, SIDE, 0, FQGAN_PIXEL_RGB8}, out = {to->back, SIDE, SIDE, 0, FQGAN_PIXEL_RGB8};
  EXPECT(FQGAN_OK, fqgan_encode(tokenizer, &in, 1, to->codes, CODES, error));
  EXPECT(FQGAN_OK, fqgan_decode(tokenizer, to->codes, 1, GRID, GRID, 0, &out, error));
  uint32_t calls = 0;
  const uint32_t class = seed % 5;
  fqgan_sampling how;
  fqgan_sampling_init(&how);
  how.seed = seed;
  how.progress = seed % 2 != 0 ? count : NULL;
  how.progress_user = &calls;
  EXPECT(FQGAN_OK, fqgan_generate(generator, &class, 1, &how, to->made, MADE, error));
  CHECK(calls == (seed % 2 != 0 ? MADE / 2 : 0));
  /* Failures at the same time are each their own. */
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_encode(tokenizer, &in, 1, to->codes, CODES - 1, error));
  fqgan_tokenizer_info info = {sizeof info, 0, 0, 0, 0, 0, 0};
  EXPECT(FQGAN_OK, fqgan_tokenizer_get_info(tokenizer, &info, error));
}

static void *run(void *argument) {
  work *w = argument;
  for (int i = 0; i < rounds; i++) {
    result together;
    all(w->seed, &together);
    CHECK(memcmp(together.codes, w->alone.codes, sizeof together.codes) == 0);
    CHECK(memcmp(together.made, w->alone.made, sizeof together.made) == 0);
    CHECK(memcmp(together.back, w->alone.back, sizeof together.back) == 0);
  }
  return NULL;
}

static void line(void *user, int32_t level, const char *utf8) {
  CHECK(user == NULL && level >= FQGAN_LOG_ERROR && utf8[0] != 0);
}

static unsigned char shared[BYTES];

static void *race(void *argument) {
  work *w = argument;
  const fqgan_image out = {shared, SIDE, SIDE, 0, FQGAN_PIXEL_RGB8};
  for (int i = 0; i < 20; i++) EXPECT(FQGAN_OK, fqgan_decode(tokenizer, w->alone.codes, 1, GRID, GRID, 0, &out, error));
  return NULL;
}

int main(int argc, char **argv) {
  CHECK(argc == 4);
  static work works[THREADS];
  rounds = atoi(argv[3]);
  /* The first calls of a model make its rearranged weights: one pass begins on all threads at once with a model that
     is new, whose answers a second model has given one after another. */
  for (int pass = 0; pass < 2; pass++) {
    fqgan_runtime_options how;
    fqgan_runtime_options_init(&how);
    how.threads = 3;
    fqgan_runtime *runtime;
    EXPECT(FQGAN_OK, fqgan_runtime_create(&how, &runtime, error));
    EXPECT(FQGAN_OK, fqgan_tokenizer_open(runtime, argv[1], NULL, &tokenizer, error));
    EXPECT(FQGAN_OK, fqgan_generator_open(runtime, argv[2], NULL, &generator, error));
    fqgan_runtime_destroy(runtime);
    if (pass == 0) {
      for (unsigned i = 0; i < THREADS; i++) {
        works[i].seed = i;
        all(i, &works[i].alone);
      }
    } else {
      fqgan_set_log(line, NULL);
      for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&works[i].id, NULL, rounds > 0 ? run : race, &works[i]) == 0);
      }
      for (int i = 0; i < THREADS; i++) CHECK(pthread_join(works[i].id, NULL) == 0);
      fqgan_set_log(NULL, NULL);
    }
    fqgan_tokenizer_close(tokenizer);
    fqgan_generator_close(generator);
  }
  puts("ok");
  return 0;
}
