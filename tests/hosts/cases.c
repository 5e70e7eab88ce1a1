/* tests/hosts/cases.txt in C: cases CASES TOKENIZER GENERATOR EXPECTED THREADS */
#include "../capi/c/check.h"

enum { N = 64, MOST = 64, LINE = 1 << 20 };

static uint32_t state;

static void seed(uint64_t value) {
  state = (uint32_t)value * 2654435761u + 1;
  if (state == 0) state = 1;
}

static uint32_t next(void) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

static void *exactly(size_t bytes) {
  void *memory = calloc(bytes, 1);
  CHECK(memory != NULL);
  return memory;
}

static uint32_t *random_codes(size_t count) {
  uint32_t *codes = exactly(count * 4);
  for (size_t i = 0; i < count; i++) codes[i] = next() % N;
  return codes;
}

/* The numbers of a line, and its words for those that are not whole. */
static uint64_t number[MOST];
static double real[MOST];
static size_t numbers;

static char *out;
static size_t used;

static void put(const char *text) {
  size_t length = strlen(text);
  CHECK(used + length < LINE);
  memcpy(out + used, text, length + 1);
  used += length;
}

static void result(fqgan_status status, const void *bytes, size_t length) {
  char text[16];
  snprintf(text, sizeof text, ": %d", (int)status);
  put(text);
  if (status == FQGAN_OK || status == FQGAN_ERROR_CANCELLED) {
    put(" ");
    for (size_t i = 0; i < length; i++) {
      snprintf(text, sizeof text, "%02x", ((const unsigned char *)bytes)[i]);
      put(text);
    }
  }
  put("\n");
}

/* count images in one piece of memory. */
static fqgan_image *images(int32_t format, uint32_t width, uint32_t height, size_t count, size_t pad, int fill,
                           unsigned char **memory, size_t *length) {
  static const size_t pixel[] = {3, 4, 4, 12, 4};
  const size_t stride = width * pixel[format] + pad, bytes = stride * height * (format == 4 ? 3 : 1);
  fqgan_image *views = exactly(count * sizeof *views);
  *length = bytes * count;
  *memory = exactly(*length);
  if (!fill) {
    memset(*memory, 0xA5, *length);
  } else if (format >= FQGAN_PIXEL_RGB_F32) {
    for (size_t i = 0; i < *length / 4; i++) {
      const float value = ((float)(next() >> 24) - 128.0f) / 128.0f;
      memcpy(*memory + 4 * i, &value, 4);
    }
  } else {
    for (size_t i = 0; i < *length; i++) (*memory)[i] = (unsigned char)(next() >> 24);
  }
  for (size_t i = 0; i < count; i++) {
    fqgan_image view = {*memory + i * bytes, width, height, stride, format};
    views[i] = view;
  }
  return views;
}

static int32_t stop(void *user, uint32_t done, uint32_t total) {
  CHECK(done <= total);
  return done >= *(const uint32_t *)user;
}

static void tokenize(fqgan_tokenizer *tokenizer, const char *verb) {
  unsigned char *memory;
  size_t length, count = (size_t)number[3];
  fqgan_status status;
  if (strcmp(verb, "decode") == 0) {
    const uint32_t columns = (uint32_t)number[1], rows = (uint32_t)number[2];
    seed(number[6]);
    uint32_t *codes = random_codes(count * 2 * columns * rows);
    fqgan_image *views =
        images((int32_t)number[0], 4 * columns, 4 * rows, count, (size_t)number[4], 0, &memory, &length);
    status = fqgan_decode(tokenizer, codes, count, columns, rows, (uint32_t)number[5], views, NULL);
    result(status, memory, length);
    free(codes), free(views), free(memory);
    return;
  }
  const uint32_t width = (uint32_t)number[1], height = (uint32_t)number[2];
  seed(number[5]);
  fqgan_image *views = images((int32_t)number[0], width, height, count, (size_t)number[4], 1, &memory, &length);
  const size_t codes = count * 2 * (width / 4) * (height / 4);
  if (strcmp(verb, "encode") == 0) {
    uint32_t *to = exactly(codes * 4);
    status = fqgan_encode(tokenizer, views, count, to, codes, NULL);
    result(status, to, codes * 4);
    free(to);
  } else {
    float *to = exactly(codes * 16);
    status = fqgan_latents(tokenizer, views, count, to, codes * 4, NULL);
    result(status, to, codes * 16);
    free(to);
  }
  free(views), free(memory);
}

static void generate(fqgan_generator *generator, const char *verb) {
  fqgan_sampling sampling;
  fqgan_sampling_init(&sampling);
  uint32_t after = 0, classes[MOST];
  const size_t first = strcmp(verb, "generate") == 0 ? 6 : strcmp(verb, "cancel") == 0 ? 2 : 1, count = numbers - first;
  for (size_t i = 0; i < count; i++) classes[i] = (uint32_t)number[first + i];
  if (first == 6) {
    sampling.seed = number[0];
    sampling.top_k = (uint32_t)number[1];
    sampling.top_p = (float)real[2];
    sampling.temperature = (float)real[3];
    sampling.guidance = (float)real[4];
    sampling.steps = (uint32_t)number[5];
  } else if (first == 2) {
    after = (uint32_t)number[0];
    sampling.seed = number[1];
    sampling.progress = stop;
    sampling.progress_user = &after;
  } else {
    seed(number[0]);
    uint32_t *codes = random_codes(count * 24);
    float *logits = exactly(count * 24 * N * 4);
    const fqgan_status status = fqgan_generator_logits(generator, classes, codes, count, logits, count * 24 * N, NULL);
    result(status, logits, count * 24 * N * 4);
    free(codes), free(logits);
    return;
  }
  uint32_t *codes = exactly(count * 24 * 4);
  const fqgan_status status = fqgan_generate(generator, classes, count, &sampling, codes, count * 24, NULL);
  result(status, codes, count * 24 * 4);
  free(codes);
}

static void pack(void) {
  const uint32_t books = (uint32_t)number[0], columns = (uint32_t)number[1], rows = (uint32_t)number[2];
  const size_t count = (size_t)number[3], codes = count * books * columns * rows;
  seed(number[4]);
  uint32_t *from = random_codes(codes), *back = exactly(codes * 4);
  size_t length;
  EXPECT(FQGAN_OK, fqgan_codes_pack(NULL, count, books, N, columns, rows, NULL, 0, &length, error));
  unsigned char *bytes = exactly(length);
  EXPECT(FQGAN_OK, fqgan_codes_pack(from, count, books, N, columns, rows, bytes, length, &length, error));
  EXPECT(FQGAN_OK, fqgan_codes_unpack(bytes, length, NULL, back, codes, error));
  CHECK(memcmp(from, back, codes * 4) == 0);
  result(FQGAN_OK, bytes, length);
  free(from), free(back), free(bytes);
}

int main(int argc, char **argv) {
  CHECK(argc == 6);
  fqgan_runtime_options how;
  fqgan_runtime_options_init(&how);
  how.threads = (uint32_t)atoi(argv[5]);
  fqgan_runtime *runtime;
  fqgan_tokenizer *tokenizer;
  fqgan_generator *generator;
  EXPECT(FQGAN_OK, fqgan_runtime_create(&how, &runtime, error));
  EXPECT(FQGAN_OK, fqgan_tokenizer_open(runtime, argv[2], NULL, &tokenizer, error));
  EXPECT(FQGAN_OK, fqgan_generator_open(runtime, argv[3], NULL, &generator, error));
  fqgan_runtime_destroy(runtime);

  FILE *cases = fopen(argv[1], "r"), *expected = fopen(argv[4], "r");
  CHECK(cases != NULL && expected != NULL);
  static char line[1024], word[1024];
  char *want = exactly(LINE);
  out = exactly(LINE);
  unsigned lines = 0;
  while (fgets(line, sizeof line, cases) != NULL) {
    if (line[0] == '#' || line[0] == '\n') continue;
    line[strcspn(line, "\n")] = 0;
    memcpy(word, line, sizeof word);
    const char *verb = strtok(word, " ");
    numbers = 0;
    for (const char *part; (part = strtok(NULL, " ")) != NULL; numbers++) {
      CHECK(numbers < MOST);
      number[numbers] = strtoull(part, NULL, 10);
      real[numbers] = strtod(part, NULL);
    }
    used = 0;
    put(line);
    if (strcmp(verb, "pack") == 0) {
      pack();
    } else if (strcmp(verb, "encode") == 0 || strcmp(verb, "latents") == 0 || strcmp(verb, "decode") == 0) {
      tokenize(tokenizer, verb);
    } else {
      generate(generator, verb);
    }
    CHECK(fgets(want, LINE, expected) != NULL);
    if (strcmp(out, want) != 0) {
      fprintf(stderr, "not what Rust gives:\n%sexpected\n%s", out, want);
      return 1;
    }
    lines++;
  }
  CHECK(fgets(want, LINE, expected) == NULL && lines > 45);
  fclose(cases), fclose(expected);
  fqgan_tokenizer_close(tokenizer);
  fqgan_generator_close(generator);
  free(want), free(out);
  puts("ok");
  return 0;
}
