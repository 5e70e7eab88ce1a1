// The device that runs kernels on the processor, as its host sees it: kernels are found by name, bound to their
// arguments, and launched. A launch returns when all of it has run.
#pragma once

#include <cstddef>
#include <functional>

namespace fqgan_emulator {

struct Launch {
    unsigned grid[3], block[3];
    // The dynamic part alone.
    size_t shared;
};

// A kernel with its arguments. Throws std::runtime_error where a GPU would fail or hang: a block too large for the
// kernel, threads that wait for each other in vain, a warp's function that a part of the warp calls. The environment
// variable FQGAN_EMULATOR_ORDER says in which order blocks and threads run: forward (the default), backward, or
// shuffled (a fixed shuffle, another one at each barrier). Launches by several threads of the host run side by side.
using Bound = std::function<void(const Launch &)>;

struct Kernel {
    const char *name;
    // Copies the arguments, to each of which `arguments` has a pointer, as the driver's launch does.
    Bound (*bind)(void **arguments);
};

// The kernel of this name, or null.
const Kernel *find(const char *name);

} // namespace fqgan_emulator
