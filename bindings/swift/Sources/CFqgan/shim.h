#include <fqgan.h>
