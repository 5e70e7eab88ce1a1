/* Versions, options, errors and codes from C99. */
#include "check.h"

static void jobs_in_reverse(void *user, size_t jobs, void (*job)(void *, size_t), void *context) {
  ++*(int *)user;
  while (jobs > 0) job(context, --jobs);
}

int main(void) {
  CHECK(fqgan_abi_version() == FQGAN_ABI_VERSION);
  CHECK(strlen(fqgan_version()) >= 5);
  CHECK(strcmp(fqgan_status_name(FQGAN_ERROR_FORMAT), "FQGAN_ERROR_FORMAT") == 0);
  CHECK(sizeof(fqgan_error) == 512 && sizeof(((fqgan_error *)0)->message) == FQGAN_MESSAGE_SIZE);

  fqgan_runtime *runtime = NULL;
  EXPECT(FQGAN_OK, fqgan_runtime_create(NULL, &runtime, error));
  CHECK(runtime != NULL);
  fqgan_runtime_destroy(runtime);
  CHECK(fqgan_runtime_create(NULL, &runtime, NULL) == FQGAN_OK);
  fqgan_runtime_destroy(runtime);
  fqgan_runtime_destroy(NULL);

  int calls = 0;
  fqgan_runtime_options options;
  memset(&options, 0xff, sizeof options);
  fqgan_runtime_options_init(&options);
  // The struct of version 1: a host that was built with it gave no more memory.
  CHECK(options.struct_size == offsetof(fqgan_runtime_options, parallel_user) + sizeof options.parallel_user);
  CHECK(options.threads == 0 && options.parallel == NULL);
  options.parallel = jobs_in_reverse;
  options.parallel_user = &calls;
  EXPECT(FQGAN_OK, fqgan_runtime_create(&options, &runtime, error));
  fqgan_runtime_destroy(runtime);
  options.device = 17;
  EXPECT(FQGAN_ERROR_INVALID_ARGUMENT, fqgan_runtime_create(&options, &runtime, error));
  CHECK(runtime == NULL);

  const uint32_t codes[4] = {1, 2, 3, 16383};
  unsigned char bytes[128];
  size_t length = 0;
  EXPECT(FQGAN_OK, fqgan_codes_pack(codes, 1, 1, 16384, 2, 2, bytes, sizeof bytes, &length, error));
  uint32_t back[4];
  fqgan_codes_info info = {sizeof info, 0, 0, 0, 0, 0};
  EXPECT(FQGAN_OK, fqgan_codes_unpack(bytes, length, &info, back, 4, error));
  CHECK(memcmp(codes, back, sizeof codes) == 0);
  CHECK(info.count == 1 && info.codebook_size == 16384 && info.grid_width == 2);
  EXPECT(FQGAN_ERROR_FORMAT, fqgan_codes_unpack(bytes, length - 1, &info, back, 4, error));
  puts("ok");
  return 0;
}
