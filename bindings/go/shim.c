#include "shim.h"

#include "_cgo_export.h"

static void parallel(void *user, size_t count, void (*job)(void *context, size_t index), void *context) {
  fqgan_go_jobs jobs = {job, context};
  fqganGoParallel((uintptr_t)user, count, &jobs);
}

static int32_t progress(void *user, uint32_t done, uint32_t total) {
  return fqganGoProgress((uintptr_t)user, done, total);
}

static void line(void *user, int32_t level, const char *utf8) {
  (void)user;
  fqganGoLog(level, (char *)utf8);
}

fqgan_status fqgan_go_runtime_create(const fqgan_runtime_options *options, uintptr_t handle, fqgan_runtime **runtime,
                                     fqgan_error *error) {
  fqgan_runtime_options with = *options;
  if (handle != 0) {
    with.parallel = parallel;
    with.parallel_user = (void *)handle;
  }
  return fqgan_runtime_create(&with, runtime, error);
}

void fqgan_go_run_job(const fqgan_go_jobs *jobs, size_t index) { jobs->job(jobs->context, index); }

void fqgan_go_set_log(int on) { fqgan_set_log(on ? line : NULL, NULL); }

fqgan_status fqgan_go_encode(fqgan_tokenizer *tokenizer, void *pixels, uint32_t width, uint32_t height, size_t stride,
                             int32_t format, uint32_t *codes, size_t capacity, fqgan_error *error) {
  const fqgan_image image = {pixels, width, height, stride, format};
  return fqgan_encode(tokenizer, &image, 1, codes, capacity, error);
}

fqgan_status fqgan_go_latents(fqgan_tokenizer *tokenizer, void *pixels, uint32_t width, uint32_t height, size_t stride,
                              int32_t format, float *latents, size_t capacity, fqgan_error *error) {
  const fqgan_image image = {pixels, width, height, stride, format};
  return fqgan_latents(tokenizer, &image, 1, latents, capacity, error);
}

fqgan_status fqgan_go_decode(fqgan_tokenizer *tokenizer, const uint32_t *codes, uint32_t grid_width,
                             uint32_t grid_height, uint32_t mask, void *pixels, uint32_t width, uint32_t height,
                             size_t stride, int32_t format, fqgan_error *error) {
  const fqgan_image image = {pixels, width, height, stride, format};
  return fqgan_decode(tokenizer, codes, 1, grid_width, grid_height, mask, &image, error);
}

fqgan_status fqgan_go_generate(fqgan_generator *generator, const uint32_t *classes, size_t count,
                               const fqgan_sampling *sampling, uintptr_t handle, uint32_t *codes, size_t capacity,
                               fqgan_error *error) {
  fqgan_sampling with = *sampling;
  if (handle != 0) {
    with.progress = progress;
    with.progress_user = (void *)handle;
  }
  return fqgan_generate(generator, classes, count, &with, codes, capacity, error);
}
