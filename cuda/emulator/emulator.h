// The device that runs kernels on the processor, as its host sees it. Kernels are found by name and launched as the
// driver launches them: a pointer to each argument. A launch returns when all of it has run.
#pragma once

#include <cstddef>

namespace emulator {

struct Kernel {
    const char *name;
    // Calls the kernel once, as one thread of it.
    void (*call)(void **arguments);
    int arguments;
    // Threads a block that it was compiled for.
    unsigned most_threads;
};

// The kernel of this name, or null.
const Kernel *find(const char *name);

// Null, or why it did not work, in words that stay valid: a block too large for the kernel, threads that wait for
// each other in vain, a warp's function called by a part of the warp. The environment variable FQGAN_EMULATOR_ORDER says
// in which order blocks and threads run: forward (the default), backward, or shuffled (a fixed shuffle, another one at
// each barrier). Launches from several threads of the host run side by side.
const char *launch(const Kernel &kernel, const unsigned (&grid)[3], const unsigned (&block)[3], size_t shared_bytes,
                   void **arguments);

} // namespace emulator
