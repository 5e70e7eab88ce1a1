// A function that can stop in its middle and go on later: what a thread of a kernel is here.
#pragma once

#include <cstddef>
// Where there is no switch of our own, the system's is used; with this name defined, it is used here too.
#if !defined(__x86_64__) && !defined(FQGAN_EMULATOR_UCONTEXT)
#define FQGAN_EMULATOR_UCONTEXT
#endif
#if defined(FQGAN_EMULATOR_UCONTEXT)
#include <ucontext.h>
#endif

namespace fqgan_emulator {

// Where a fiber, or the scheduler, stopped.
struct Context {
#if !defined(FQGAN_EMULATOR_UCONTEXT)
    void *stack_pointer = nullptr;
#else
    ucontext_t saved;
#endif
    // The stack's bounds and the sanitizer's own, which it is told of at each switch.
    void *bottom = nullptr;
    size_t size = 0;
    void *shadow = nullptr;
};

// Leaves `from`, goes on where `to` stopped.
void switch_context(Context &from, Context &to);

// What a fiber does first of all.
void begin_fiber();

// Notes where the stack of the calling thread lies, for who comes back to it.
void know_own_stack(Context &context);

// Memory of fibers' stacks, a page that must not be touched below each.
class Stacks {
  public:
    explicit Stacks(unsigned count);
    ~Stacks();
    Stacks(const Stacks &) = delete;
    Stacks &operator=(const Stacks &) = delete;
    // Makes `context` begin with `entry` on stack `index`. `entry` must not return.
    void prepare(Context &context, unsigned index, void (*entry)());

  private:
    char *memory;
    unsigned count;
};

} // namespace fqgan_emulator
