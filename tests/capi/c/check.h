/* What the test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include "fqgan.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                              \
    }                                                                       \
  } while (0)

/* The call must give this status, and a message exactly when it fails. */
#define EXPECT(wanted, call)                                                  \
  do {                                                                        \
    fqgan_error error_ = {sizeof(fqgan_error), 0, {0}};                       \
    fqgan_error *error = &error_;                                             \
    fqgan_status status_ = (call);                                            \
    if (status_ != (wanted) || error_.status != status_ ||                    \
        (status_ == FQGAN_OK) != (error_.message[0] == 0)) {                  \
      fprintf(stderr, "%s:%d: %s: %s (%s), expected %s\n", __FILE__, __LINE__, #call, \
              fqgan_status_name(status_), error_.message, fqgan_status_name(wanted)); \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

#endif
