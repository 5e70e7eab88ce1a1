/* A photograph becomes codes, a .fqc file, and a photograph again:
     photo MODEL.safetensors IN.ppm OUT.fqc OUT.ppm
   Where a side is no multiple of the model's patch, the rest on the right and below is left out. */
#include <fqgan.h>

#include <stdio.h>
#include <stdlib.h>

static fqgan_error error = {sizeof(fqgan_error), 0, {0}};

static void need(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "photo: %s\n", what);
    exit(1);
  }
}

/* For calls of the library: its message says what was wrong, where, and what was expected. */
static void check(fqgan_status status) {
  if (status != FQGAN_OK) {
    fprintf(stderr, "photo: %s: %s\n", fqgan_status_name(status), error.message);
    exit(1);
  }
}

static void *room(size_t bytes) {
  void *memory = malloc(bytes);
  need(memory != NULL, "out of memory");
  return memory;
}

/* The next number of a PPM header; comments are skipped. */
static unsigned number(FILE *file) {
  unsigned value = 0;
  int c = getc(file);
  while (c == '#' || c == ' ' || c == '\t' || c == '\r' || c == '\n') {
    if (c == '#') {
      while (c != '\n' && c != EOF) c = getc(file);
    }
    c = getc(file);
  }
  for (; c >= '0' && c <= '9' && value < 1000000; c = getc(file)) value = value * 10 + (unsigned)(c - '0');
  return value;
}

static fqgan_image read_ppm(const char *path) {
  FILE *file = fopen(path, "rb");
  need(file != NULL, "cannot open the picture");
  need(getc(file) == 'P' && getc(file) == '6', "the picture is no binary PPM (P6)");
  fqgan_image image = {NULL, 0, 0, 0, FQGAN_PIXEL_RGB8};
  image.width = number(file);
  image.height = number(file);
  need(number(file) == 255, "the picture has not 8 bits a channel");
  need(image.width > 0 && image.width <= 65536 && image.height > 0 && image.height <= 65536, "a strange size");
  const size_t bytes = (size_t)image.width * image.height * 3;
  image.pixels = room(bytes);
  need(fread(image.pixels, 1, bytes, file) == bytes, "the picture is cut short");
  fclose(file);
  return image;
}

static void write_file(const char *path, const char *head, const void *bytes, size_t length) {
  FILE *file = fopen(path, "wb");
  need(file != NULL, "cannot create an output file");
  need(fputs(head, file) >= 0 && fwrite(bytes, 1, length, file) == length, "cannot write an output file");
  need(fclose(file) == 0, "cannot write an output file");
}

int main(int argc, char **argv) {
  need(argc == 5, "usage: photo MODEL.safetensors IN.ppm OUT.fqc OUT.ppm");

  fqgan_runtime *runtime;
  fqgan_tokenizer *tokenizer;
  check(fqgan_runtime_create(NULL, &runtime, &error));
  check(fqgan_tokenizer_open(runtime, argv[1], NULL, &tokenizer, &error));
  fqgan_runtime_destroy(runtime); /* The tokenizer keeps what it needs. */

  fqgan_tokenizer_info info = {sizeof info, 0, 0, 0, 0, 0, 0};
  check(fqgan_tokenizer_get_info(tokenizer, &info, &error));
  printf("libfqgan %s, %u sub-codebooks of %u codes, patches of %u pixels\n", fqgan_version(),
         (unsigned)info.codebooks, (unsigned)info.codebook_size, (unsigned)info.downsample);

  /* A view of whole patches: the rows stay as far apart as they are. */
  fqgan_image photo = read_ppm(argv[2]);
  const uint32_t columns = photo.width / info.downsample, rows = photo.height / info.downsample;
  photo.row_stride = (size_t)photo.width * 3;
  photo.width = columns * info.downsample;
  photo.height = rows * info.downsample;

  const size_t capacity = (size_t)info.codebooks * columns * rows;
  uint32_t *codes = room(capacity * sizeof *codes);
  check(fqgan_encode(tokenizer, &photo, 1, codes, capacity, &error));

  size_t length;
  check(fqgan_codes_pack(codes, 1, info.codebooks, info.codebook_size, columns, rows, NULL, 0, &length, &error));
  void *bytes = room(length);
  check(fqgan_codes_pack(codes, 1, info.codebooks, info.codebook_size, columns, rows, bytes, length, &length, &error));
  write_file(argv[3], "", bytes, length);
  printf("%s: %u x %u codes for each sub-codebook, %zu bytes\n", argv[3], (unsigned)columns, (unsigned)rows, length);

  fqgan_image back = {NULL, photo.width, photo.height, 0, FQGAN_PIXEL_RGB8};
  const size_t size = (size_t)back.width * back.height * 3;
  back.pixels = room(size);
  check(fqgan_decode(tokenizer, codes, 1, columns, rows, 0, &back, &error));
  char head[64];
  snprintf(head, sizeof head, "P6\n%u %u\n255\n", (unsigned)back.width, (unsigned)back.height);
  write_file(argv[4], head, back.pixels, size);
  printf("%s: %u x %u pixels\n", argv[4], (unsigned)back.width, (unsigned)back.height);

  fqgan_tokenizer_close(tokenizer);
  free(photo.pixels), free(codes), free(bytes), free(back.pixels);
  return 0;
}
