#include "fiber.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace fqgan_emulator {

namespace {
// Sanitized frames are large.
constexpr size_t STACK = 128 << 10;
constexpr size_t GUARD = 4096;
// Stacks begin at other places of their pages: otherwise the tops of all would share the few lines of a cache that such
// addresses may be in.
constexpr size_t STEP = 128, STEPS = 4096 / STEP;
} // namespace

#if !defined(FQGAN_EMULATOR_UCONTEXT)
// What a function must leave as it found it goes to the stack, and the stack is exchanged.
extern "C" void fqgan_emulator_switch(void **from, void *to);
asm(R"(
.text
.globl fqgan_emulator_switch
.hidden fqgan_emulator_switch
.type fqgan_emulator_switch, @function
fqgan_emulator_switch:
    endbr64
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size fqgan_emulator_switch, .-fqgan_emulator_switch
)");
#endif

void switch_context(Context &from, Context &to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from.shadow, to.bottom, to.size);
#endif
#if !defined(FQGAN_EMULATOR_UCONTEXT)
    fqgan_emulator_switch(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.saved, &to.saved);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.shadow, nullptr, nullptr);
#endif
}

void begin_fiber() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void know_own_stack(Context &context) {
#if defined(__SANITIZE_ADDRESS__)
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &context.bottom, &context.size);
    pthread_attr_destroy(&attributes);
#else
    (void)context;
#endif
}

Stacks::Stacks(unsigned count) : count(count) {
    void *all = mmap(nullptr, count * (STACK + GUARD), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) {
        perror("emulator: no memory for the stacks of threads");
        abort();
    }
    memory = static_cast<char *>(all);
    for (unsigned i = 0; i < count; i++) {
        mprotect(memory + i * (STACK + GUARD), GUARD, PROT_NONE);
    }
}

Stacks::~Stacks() { munmap(memory, count * (STACK + GUARD)); }

void Stacks::prepare(Context &context, unsigned index, void (*entry)()) {
    char *bottom = memory + index * (STACK + GUARD) + GUARD;
    context.bottom = bottom;
    context.size = STACK;
    context.shadow = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    // An abandoned fiber's frames may have left their marks.
    __asan_unpoison_memory_region(bottom, STACK);
#endif
#if !defined(FQGAN_EMULATOR_UCONTEXT)
    // As if `entry` had been called: six registers, the address to go to, and the address that it would return to.
    void **top = reinterpret_cast<void **>(bottom + STACK - index % STEPS * STEP) - 10;
    for (int i = 0; i < 10; i++) {
        top[i] = nullptr;
    }
    top[6] = reinterpret_cast<void *>(entry);
    context.stack_pointer = top;
#else
    getcontext(&context.saved);
    context.saved.uc_stack.ss_sp = bottom;
    context.saved.uc_stack.ss_size = STACK - index % STEPS * STEP;
    context.saved.uc_link = nullptr;
    makecontext(&context.saved, entry, 0);
#endif
}

} // namespace fqgan_emulator
