/* Functions of libraries that are found at run time.
 *
 * `cust` and `cublas-sys` are linked against libcuda and libcublas. A program that is, does not start where no driver
 * is. So the build gives the linker these functions instead: each finds the real one at its first call, and gives an
 * error code where there is none. They are hidden: nothing of them can be seen from outside of a shared library.
 *
 * build.rs writes the functions themselves, of `driver.txt` and `cublas.txt`. Each argument is passed on as one word:
 * on x86-64 and AArch64 Linux every integer or pointer is a register or a slot of the stack of its own, whatever its
 * width, and no function of the lists takes anything else.
 */
#ifndef FQGAN_SHIM_H
#define FQGAN_SHIM_H

#include <stdint.h>

typedef uintptr_t word;
typedef void (*function)(void);

enum library { DRIVER, CUBLAS };

/* The function of that name, kept in `slot`; NULL where the library or the function is missing. */
__attribute__((visibility("hidden"))) function fqgan_shim_find(enum library library, const char *name, function *slot);

/* A result that the Rust enumeration has a name for: the others become "unknown", 999 and 14. */
__attribute__((visibility("hidden"))) uint32_t fqgan_shim_known(enum library library, uint32_t result);

/* What a call of a missing function gives. */
__attribute__((visibility("hidden"))) uint32_t fqgan_shim_absent(enum library library);

/* Opens the library if need be. NULL: it is there. Else what the loader said of it. */
__attribute__((visibility("hidden"))) const char *fqgan_shim_missing(enum library library);

#endif
