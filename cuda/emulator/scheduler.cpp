// Runs the blocks of a launch one after the other, and the threads of a block in turns: each until it waits for others
// or is done, and then gives way to the next without a detour. Shuffled, all threads of a block take turns; otherwise a
// warp goes as far as it can by itself, with 32 stacks in the caches of the processor instead of a thousand.

#include "device.h"
#include "fiber.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace fqgan_emulator {

namespace {

constexpr unsigned MOST_THREADS = 1024, WARP = 32, ROW = 64;
// What a block of sm_90 may have.
constexpr size_t SHARED_BYTES = 227 << 10;
// Kept between two pieces of shared memory, so that the sanitizer sees who leaves one.
constexpr size_t GAP = 64;
// Shared memory holds this before a block writes it: as f32 and as bf16 a NaN.
constexpr unsigned char POISON = 0xff;

// In an order such that what may run comes first.
enum class State : unsigned char { Fresh, Ready, AtBarrier, AtWarp, Done };

struct Copy {
    void *to;
    size_t bytes;
    unsigned char data[16];
};

struct Fiber {
    Context context;
    Thread thread;
    bool prepared = false;
    std::vector<Copy> copies;
    // Copies that end each group not yet waited for.
    std::vector<size_t> groups;
};

struct Warp {
    unsigned arrived = 0, turn = 0;
    // Of two turns: no thread writes one anew before all have read it.
    alignas(16) unsigned char rows[2][WARP * ROW];
};

struct Piece {
    const void *key;
    size_t offset, bytes;
};

enum class Order { Forward, Backward, Shuffled };

Order chosen_order() {
    const char *name = getenv("FQGAN_EMULATOR_ORDER");
    std::string order = name ? name : "";
    return order == "backward" ? Order::Backward : order == "shuffled" ? Order::Shuffled : Order::Forward;
}

class Engine;
thread_local Engine *engine __attribute__((tls_model("initial-exec"))) = nullptr;

class Engine {
  public:
    Engine()
        : stacks(MOST_THREADS), fibers(MOST_THREADS), states(MOST_THREADS, State::Done), warps(MOST_THREADS / WARP),
          memory(SHARED_BYTES * 2) {}

    void run(const Body &body, const Launch &launch);
    void thread();
    void wait(State state);
    void *shared(const void *key, size_t bytes);
    void barrier();
    const unsigned char *exchange(const void *value, size_t bytes);
    Fiber &current() { return fibers[now_index]; }

    Context scheduler;

  private:
    bool block(size_t number);
    bool round(unsigned first, unsigned count);
    Context &next(Context &otherwise);
    void order(size_t seed);
    [[noreturn]] void fail(const std::string &why);

    Stacks stacks;
    std::vector<Fiber> fibers;
    std::vector<State> states;
    std::vector<Warp> warps;
    std::vector<unsigned char> memory;
    std::vector<Piece> pieces;
    std::vector<unsigned> turns;
    const Body *body = nullptr;
    Order chosen = Order::Forward;
    unsigned threads = 0, now_index = 0, at_barrier = 0, done = 0;
    // Of a round: whose turn comes next, and where it ends.
    unsigned turn = 0, end = 0;
    size_t dynamic_bytes = 0, used_bytes = 0;
    std::string problem;
};

size_t mix(size_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
}

// What a fiber runs: thread after thread.
void enter() {
    begin_fiber();
    for (;;) {
        engine->thread();
    }
}

void Engine::fail(const std::string &why) { throw std::runtime_error(std::string(body->name) + ": " + why); }

// One thread of the kernel, from its beginning to its end.
void Engine::thread() {
    body->thread();
    wait_for_copies(0);
    done++;
    wait(State::Done);
}

// Leaves this thread in that state for the next one of the round that may run, or for the scheduler at its end.
void Engine::wait(State state) {
    Fiber &fiber = current();
    states[now_index] = state;
    switch_context(fiber.context, next(scheduler));
}

// The next thread of the round that may run, made the current one.
Context &Engine::next(Context &otherwise) {
    while (turn < end) {
        const unsigned index = turns[turn++];
        if (states[index] > State::Ready) {
            continue;
        }
        Fiber &fiber = fibers[index];
        if (!fiber.prepared) {
            stacks.prepare(fiber.context, index, enter);
            fiber.prepared = true;
        }
        states[index] = State::Ready;
        now_index = index;
        now = &fiber.thread;
        return fiber.context;
    }
    return otherwise;
}

// So many threads in their turns, from `first` on, each once; false where none of them may run.
bool Engine::round(unsigned first, unsigned count) {
    turn = first;
    end = first + count;
    Context &context = next(scheduler);
    if (&context == &scheduler) {
        return false;
    }
    switch_context(scheduler, context);
    return true;
}

void Engine::order(size_t seed) {
    turns.resize(threads);
    for (unsigned i = 0; i < threads; i++) {
        turns[i] = i;
    }
    switch (chosen) {
    case Order::Forward:
        break;
    case Order::Backward:
        std::reverse(turns.begin(), turns.end());
        break;
    case Order::Shuffled:
        for (unsigned i = threads; i > 1; i--) {
            std::swap(turns[i - 1], turns[mix(seed * MOST_THREADS + i) % i]);
        }
    }
}

bool Engine::block(size_t number) {
    // Dynamic shared memory comes first; the rest is laid out as threads ask for it.
    pieces.clear();
    ASAN_UNPOISON_MEMORY_REGION(memory.data(), memory.size());
    std::fill(memory.begin(), memory.begin() + std::max(used_bytes, dynamic_bytes), POISON);
    ASAN_POISON_MEMORY_REGION(memory.data(), memory.size());
    used_bytes = 0;
    if (dynamic_bytes > 0) {
        shared(nullptr, dynamic_bytes);
    }
    at_barrier = done = 0;
    for (unsigned i = 0; i < threads; i++) {
        states[i] = State::Fresh;
        fibers[i].copies.clear();
        fibers[i].groups.clear();
    }
    for (unsigned i = 0; i < threads / WARP; i++) {
        warps[i].arrived = 0;
    }
    order(number);
    for (size_t number_of_round = 1; done < threads; number_of_round++) {
        bool moved = false;
        if (chosen == Order::Shuffled) {
            moved = round(0, threads);
            order(number + number_of_round * 0x9E3779B9);
        } else {
            for (unsigned warp = 0; warp < threads; warp += WARP) {
                while (round(warp, WARP)) {
                    moved = true;
                }
            }
        }
        if (!moved) {
            unsigned at_warp = threads - done - at_barrier;
            problem = "threads wait in vain: " + std::to_string(at_barrier) + " at a barrier, " +
                      std::to_string(at_warp) + " for their warp, " + std::to_string(done) + " are done";
            return false;
        }
    }
    return true;
}

void Engine::run(const Body &what, const Launch &launch) {
    body = &what;
    dynamic_bytes = launch.shared;
    chosen = chosen_order();
    problem.clear();
    const auto &grid = launch.grid, &extent = launch.block;
    size_t count = size_t(extent[0]) * extent[1] * extent[2];
    size_t blocks = size_t(grid[0]) * grid[1] * grid[2];
    if (count == 0 || count % WARP != 0 || count > body->most_threads) {
        fail("a block of " + std::to_string(count) + " threads, expected whole warps, at most " +
             std::to_string(body->most_threads));
    }
    if (blocks == 0 || grid[0] > 0x7fffffff || grid[1] > 65535 || grid[2] > 65535) {
        fail("a grid of " + std::to_string(grid[0]) + " x " + std::to_string(grid[1]) + " x " +
             std::to_string(grid[2]) + " blocks");
    }
    if (dynamic_bytes > SHARED_BYTES) {
        fail(std::to_string(dynamic_bytes) + " bytes of shared memory");
    }
    threads = unsigned(count);
    for (unsigned i = 0; i < threads; i++) {
        Thread &thread = fibers[i].thread;
        thread.index = {i % extent[0], i / extent[0] % extent[1], i / extent[0] / extent[1]};
        thread.block_extent = {extent[0], extent[1], extent[2]};
        thread.grid_extent = {grid[0], grid[1], grid[2]};
        thread.lane = i % WARP;
        thread.warp = i / WARP;
    }
    bool backward = chosen != Order::Forward;
    engine = this;
    know_own_stack(scheduler);
    bool good = true;
    for (size_t i = 0; i < blocks && good; i++) {
        size_t number = backward ? blocks - 1 - i : i;
        uint3 place = {unsigned(number % grid[0]), unsigned(number / grid[0] % grid[1]),
                       unsigned(number / grid[0] / grid[1])};
        for (unsigned t = 0; t < threads; t++) {
            fibers[t].thread.block = place;
        }
        good = block(number);
    }
    engine = nullptr;
    now = nullptr;
    if (!good) {
        // Its threads never end: they begin anew.
        for (Fiber &fiber : fibers) {
            fiber.prepared = false;
        }
        fail(problem);
    }
}

void *Engine::shared(const void *key, size_t bytes) {
    for (const Piece &piece : pieces) {
        if (piece.key == key) {
            return memory.data() + piece.offset;
        }
    }
    size_t offset = (used_bytes + GAP + 127) / 128 * 128;
    if (offset + bytes > memory.size()) {
        fprintf(stderr, "emulator: %s: too much shared memory\n", body->name);
        abort();
    }
    used_bytes = offset + bytes;
    pieces.push_back({key, offset, bytes});
    ASAN_UNPOISON_MEMORY_REGION(memory.data() + offset, bytes);
    return memory.data() + offset;
}

void Engine::barrier() {
    if (++at_barrier < threads) {
        wait(State::AtBarrier);
        return;
    }
    at_barrier = 0;
    std::replace(states.begin(), states.begin() + threads, State::AtBarrier, State::Ready);
    // It may not be the first to go on.
    wait(State::Ready);
}

const unsigned char *Engine::exchange(const void *value, size_t bytes) {
    Thread &thread = current().thread;
    Warp &warp = warps[thread.warp];
    unsigned char *rows = warp.rows[warp.turn % 2];
    if (bytes == 4) {
        memcpy(rows + thread.lane * ROW, value, 4); // Nearly always, and without a call.
    } else {
        memcpy(rows + thread.lane * ROW, value, bytes);
    }
    if (++warp.arrived < WARP) {
        wait(State::AtWarp);
        return rows;
    }
    warp.arrived = 0;
    warp.turn++;
    const auto first = states.begin() + thread.warp * WARP;
    std::replace(first, first + WARP, State::AtWarp, State::Ready);
    wait(State::Ready);
    return rows;
}

std::mutex &lock() {
    static std::mutex lock;
    return lock;
}

std::vector<std::unique_ptr<Engine>> &idle() {
    static std::vector<std::unique_ptr<Engine>> engines;
    return engines;
}

std::vector<Kernel> &kernels() {
    static std::vector<Kernel> all;
    return all;
}

} // namespace

thread_local Thread *now __attribute__((tls_model("initial-exec"))) = nullptr;

Registration::Registration(const Kernel &kernel) { kernels().push_back(kernel); }

const Kernel *find(const char *name) {
    for (const Kernel &kernel : kernels()) {
        if (strcmp(kernel.name, name) == 0) {
            return &kernel;
        }
    }
    return nullptr;
}

void launch(const Body &body, const Launch &launch) {
    std::unique_ptr<Engine> engine;
    {
        std::lock_guard<std::mutex> guard(lock());
        if (!idle().empty()) {
            engine = std::move(idle().back());
            idle().pop_back();
        }
    }
    if (!engine) {
        engine = std::make_unique<Engine>();
    }
    auto give_back = [&] {
        std::lock_guard<std::mutex> guard(lock());
        idle().push_back(std::move(engine));
    };
    try {
        engine->run(body, launch);
    } catch (...) {
        give_back();
        throw;
    }
    give_back();
}

void *shared(const void *key, size_t bytes) { return engine->shared(key, bytes); }
void barrier() { engine->barrier(); }
const unsigned char *exchange(const void *value, size_t bytes) { return engine->exchange(value, bytes); }

void copy_later(void *to, const void *from, size_t bytes) {
    Copy copy{to, bytes, {}};
    if (from) {
        memcpy(copy.data, from, bytes);
    }
    memset(to, POISON, bytes);
    engine->current().copies.push_back(copy);
}

void commit_copies() {
    Fiber &fiber = engine->current();
    fiber.groups.push_back(fiber.copies.size());
}

void wait_for_copies(unsigned groups_left) {
    Fiber &fiber = engine->current();
    size_t ended = fiber.groups.size() > groups_left ? fiber.groups.size() - groups_left : 0;
    if (ended == 0) {
        return;
    }
    size_t count = fiber.groups[ended - 1];
    for (size_t i = 0; i < count; i++) {
        memcpy(fiber.copies[i].to, fiber.copies[i].data, fiber.copies[i].bytes);
    }
    fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + count);
    fiber.groups.erase(fiber.groups.begin(), fiber.groups.begin() + ended);
    for (size_t &group : fiber.groups) {
        group -= count;
    }
}

} // namespace fqgan_emulator
