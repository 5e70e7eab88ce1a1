// What cgo cannot say: structs that hold Go pointers are made here, on C's stack, and callbacks get their Go
// handle.
#ifndef FQGAN_GO_SHIM_H
#define FQGAN_GO_SHIM_H

#include <fqgan.h>

// The jobs of a run.
typedef struct fqgan_go_jobs {
  void (*job)(void *context, size_t index);
  void *context;
} fqgan_go_jobs;

fqgan_status fqgan_go_runtime_create(const fqgan_runtime_options *options, uintptr_t parallel, fqgan_runtime **runtime,
                                     fqgan_error *error);
void fqgan_go_run_job(const fqgan_go_jobs *jobs, size_t index);
void fqgan_go_set_log(int on);

fqgan_status fqgan_go_encode(fqgan_tokenizer *tokenizer, void *pixels, uint32_t width, uint32_t height, size_t stride,
                             int32_t format, uint32_t *codes, size_t capacity, fqgan_error *error);
fqgan_status fqgan_go_latents(fqgan_tokenizer *tokenizer, void *pixels, uint32_t width, uint32_t height, size_t stride,
                              int32_t format, float *latents, size_t capacity, fqgan_error *error);
fqgan_status fqgan_go_decode(fqgan_tokenizer *tokenizer, const uint32_t *codes, uint32_t grid_width,
                             uint32_t grid_height, uint32_t mask, void *pixels, uint32_t width, uint32_t height,
                             size_t stride, int32_t format, fqgan_error *error);
fqgan_status fqgan_go_generate(fqgan_generator *generator, const uint32_t *classes, size_t count,
                               const fqgan_sampling *sampling, uintptr_t progress, uint32_t *codes, size_t capacity,
                               fqgan_error *error);

#endif
