#include "shim.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct opened {
  void *handle;
  char why[512];
};

static struct opened libraries[2];

/* The environment variable names a library that stands for all of NVIDIA's: the emulated device. */
static void *open_one(enum library library, char *why, size_t size) {
  static const char *const names[2][4] = {
      [DRIVER] = {"libcuda.so.1", "libcuda.so"},
      [CUBLAS] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"},
  };
  const char *emulated = getenv("FQGAN_CUDA_DRIVER");
  const char *const only[2] = {emulated};
  const char *const *name = emulated && *emulated ? only : names[library];
  for (; *name; name++) {
    void *handle = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    if (handle) return handle;
    const char *said = dlerror();
    if (!*why) snprintf(why, size, "%s", said ? said : *name);
  }
  return NULL;
}

static void open_all(void) {
  for (int i = 0; i < 2; i++) libraries[i].handle = open_one(i, libraries[i].why, sizeof libraries[i].why);
}

static struct opened *opened(enum library library) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, open_all);
  return &libraries[library];
}

const char *fqgan_shim_missing(enum library library) {
  struct opened *it = opened(library);
  return it->handle ? NULL : it->why;
}

function fqgan_shim_find(enum library library, const char *name, function *slot) {
  function found = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
  if (found) return found;
  void *handle = opened(library)->handle;
  if (!handle) return NULL;
  /* POSIX says that a function's address fits in an object pointer. */
  *(void **)&found = dlsym(handle, name);
  if (found) __atomic_store_n(slot, found, __ATOMIC_RELEASE);
  return found;
}

uint32_t fqgan_shim_absent(enum library library) {
  /* CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, CUBLAS_STATUS_NOT_INITIALIZED. */
  return library == DRIVER ? 303 : 1;
}

uint32_t fqgan_shim_known(enum library library, uint32_t result) {
  /* The values of `cudaError_enum` of cust_raw and of `cublasStatus_t` of cublas-sys, as ranges. */
  static const uint16_t driver[][2] = {
      {0, 8},     {34, 34},   {100, 102}, {200, 202}, {205, 224}, {300, 304}, {400, 401},
      {500, 500}, {600, 600}, {700, 705}, {708, 720}, {800, 809}, {900, 911}, {999, 999},
  };
  static const uint16_t cublas[][2] = {{0, 1}, {3, 3}, {7, 8}, {11, 11}, {13, 16}};
  const uint16_t(*ranges)[2] = library == DRIVER ? driver : cublas;
  int count = library == DRIVER ? sizeof driver / sizeof *driver : sizeof cublas / sizeof *cublas;
  for (int i = 0; i < count; i++) {
    if (ranges[i][0] <= result && result <= ranges[i][1]) return result;
  }
  return library == DRIVER ? 999 : 14;
}
