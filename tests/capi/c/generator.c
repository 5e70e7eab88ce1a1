/* A generator from C11: exact buffers, threads, cancelling, calls that must fail. */
#include "check.h"
#include <math.h>
#include <pthread.h>

enum { EACH = 2 * 12, N = 64 };

static void *exactly(size_t bytes) {
  void *memory = malloc(bytes);
  CHECK(memory != NULL);
  return memory;
}

static int32_t stop_at(void *user, uint32_t done, uint32_t total) {
  CHECK(total == 12 && done >= 1 && done <= total);
  return done >= *(uint32_t *)user;
}

typedef struct work {
  fqgan_generator *generator;
  fqgan_sampling sampling;
  uint32_t codes[2 * EACH];
} work;

static void *run(void *argument) {
  work *w = argument;
  const uint32_t classes[2] = {3, 0};
  EXPECT(FQGAN_OK, fqgan_generate(w->generator, classes, 2, &w->sampling, w->codes, 2 * EACH, error));
  return NULL;
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  fqgan_runtime_options how;
  fqgan_runtime_options_init(&how);
  how.threads = (uint32_t)atoi(argv[2]);
  fqgan_runtime *runtime = NULL;
  EXPECT(FQGAN_OK, fqgan_runtime_create(&how, &runtime, error));
  fqgan_generator *generator = NULL;
  EXPECT(FQGAN_OK, fqgan_generator_open(runtime, argv[1], NULL, &generator, error));
  fqgan_tokenizer *tokenizer = (fqgan_tokenizer *)(void *)generator;
  EXPECT(FQGAN_ERROR_FORMAT, fqgan_tokenizer_open(runtime, argv[1], NULL, &tokenizer, error));
  CHECK(tokenizer == NULL);
  fqgan_runtime_destroy(runtime);

  fqgan_generator_info info;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  EXPECT(FQGAN_OK, fqgan_generator_get_info(generator, &info, error));
  CHECK(info.codebooks == 2 && info.codebook_size == N && info.classes == 5);
  CHECK(info.grid_width == 4 && info.grid_height == 3 && info.layers == 2 && info.dim == 32 && info.heads == 4);
  CHECK(info.head_layers == 1 && info.parameters > 0);

  /* Three threads at once: the same seed gives the same codes. */
  static work works[3];
  pthread_t ids[3];
  for (int i = 0; i < 3; i++) {
    works[i].generator = generator;
    fqgan_sampling_init(&works[i].sampling);
    works[i].sampling.seed = 42;
    CHECK(works[i].sampling.struct_size == sizeof(fqgan_sampling));
    CHECK(pthread_create(&ids[i], NULL, run, &works[i]) == 0);
  }
  for (int i = 0; i < 3; i++) CHECK(pthread_join(ids[i], NULL) == 0);
  for (int i = 1; i < 3; i++) CHECK(memcmp(works[0].codes, works[i].codes, sizeof works[0].codes) == 0);

  /* Cancelled: what is there so far, zeros for the rest. */
  const uint32_t one = 3;
  uint32_t *codes = exactly(EACH * sizeof *codes);
  fqgan_sampling sampling = works[0].sampling;
  for (uint32_t at = 1; at <= 12; at++) {
    memset(codes, 0xff, EACH * sizeof *codes);
    sampling.progress = stop_at;
    sampling.progress_user = &at;
    EXPECT(FQGAN_ERROR_CANCELLED, fqgan_generate(generator, &one, 1, &sampling, codes, EACH, error));
    for (uint32_t i = 0; i < EACH; i++) CHECK(codes[i] == (i % 12 < at ? works[0].codes[i] : 0));
  }
  sampling.progress = NULL;
  sampling.steps = 7;
  EXPECT(FQGAN_OK, fqgan_generate(generator, &one, 1, &sampling, codes, EACH, error));
  for (uint32_t i = 0; i < EACH; i++) CHECK(codes[i] == (i % 12 < 7 ? works[0].codes[i] : 0));

  /* An older host's struct: what lies past its size has its default. */
  fqgan_sampling old = works[0].sampling;
  old.struct_size = 16;
  old.guidance = old.temperature = old.top_p = (float)NAN;
  old.steps = 1;
  EXPECT(FQGAN_OK, fqgan_generate(generator, &one, 1, &old, codes, EACH, error));
  CHECK(memcmp(codes, works[0].codes, EACH * sizeof *codes) == 0);

  float *logits = exactly(EACH * N * sizeof *logits);
  const uint32_t null_class = info.classes, wrong = info.classes + 1;
  EXPECT(FQGAN_OK, fqgan_generator_logits(generator, &null_class, codes, 1, logits, EACH * N, error));
  for (size_t i = 0; i < EACH * N; i++) CHECK(isfinite(logits[i]));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generator_logits(generator, &one, codes, 1, logits, EACH * N - 1, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generator_logits(generator, &wrong, codes, 1, logits, EACH * N, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generator_logits(generator, NULL, codes, 1, logits, EACH * N, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generator_logits(generator, &one, NULL, 1, logits, EACH * N, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generator_logits(generator, &one, codes, SIZE_MAX, logits, EACH * N, error));

  memset(codes, 0x77, EACH * sizeof *codes);
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, &null_class, 1, NULL, codes, EACH, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, &one, 1, NULL, codes, EACH - 1, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, &one, 0, NULL, codes, EACH, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, NULL, 1, NULL, codes, EACH, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, &one, 1, NULL, NULL, EACH, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(NULL, &one, 1, NULL, codes, EACH, error));
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, &one, SIZE_MAX, NULL, codes, EACH, error));
  const float bad[] = {-1, (float)NAN, (float)INFINITY};
  for (int i = 0; i < 3; i++) {
    fqgan_sampling_init(&sampling);
    sampling.temperature = bad[i];
    EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, &one, 1, &sampling, codes, EACH, error));
    fqgan_sampling_init(&sampling);
    sampling.top_p = bad[i];
    EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, &one, 1, &sampling, codes, EACH, error));
  }
  fqgan_sampling_init(&sampling);
  sampling.steps = 13;
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_generate(generator, &one, 1, &sampling, codes, EACH, error));
  for (uint32_t i = 0; i < EACH; i++) CHECK(codes[i] == 0x77777777);

  fqgan_generator_close(generator);
  fqgan_generator_close(NULL);
  free(codes), free(logits);
  puts("ok");
  return 0;
}
