// The emulated device's half of the CUDA driver interface: what `src/backend/cuda/driver.rs` and `cust` call of
// libcuda. A stream is a queue that runs only when somebody waits for it, so that a program that forgets to wait, or
// reuses memory too early, is found out. Memory is the processor's, poisoned when it is handed out and taken back.
#include "emulator.h"
#include "runtime.h"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <new>
#include <set>

using namespace fqgan_emulator;

// Results of the driver, by NVIDIA's numbers.
enum Result : uint32_t {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
    CAPTURE_UNSUPPORTED = 900,
};

using Tasks = std::vector<Task>;

struct Graph {
    Tasks tasks;
};

namespace {

// One lock for all that the driver knows. Tasks run outside of it.
std::recursive_mutex lock;
using Guard = std::lock_guard<std::recursive_mutex>;

std::map<uintptr_t, size_t> device_memory, pinned_memory;
// A failed kernel leaves the context unusable, as on a GPU.
Result failed = SUCCESS;

const size_t ALIGN = 256;
const unsigned char POISON = 0xff; // A NaN in every floating type.

struct Context {};
Context primary;
thread_local std::vector<Context *> contexts;

bool inside(const std::map<uintptr_t, size_t> &memory, uintptr_t address, size_t bytes) {
    auto after = memory.upper_bound(address);
    if (after == memory.begin()) {
        return false;
    }
    auto [start, size] = *std::prev(after);
    return address - start <= size && bytes <= size - (address - start);
}

bool known(const std::map<uintptr_t, size_t> &memory, uintptr_t address, size_t bytes) {
    Guard guard(lock);
    return inside(memory, address, bytes);
}

// A task that copies, once both sides have been looked at.
Result copy(Stream *stream, uintptr_t to, uintptr_t from, size_t bytes) {
    return static_cast<Result>(enqueue(stream, [=] { memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes); }));
}

// Adds the name of a kernel that is launched for the first time to the file that FQGAN_EMULATOR_KERNELS names, for who
// wants to know whether some never are.
void list(const Kernel *kernel) {
    static const char *path = getenv("FQGAN_EMULATOR_KERNELS");
    static std::set<const Kernel *> launched;
    if (!path) {
        return;
    }
    Guard guard(lock);
    if (launched.insert(kernel).second) {
        if (FILE *file = fopen(path, "a")) {
            fprintf(file, "%s\n", kernel->name);
            fclose(file);
        }
    }
}

void *take(std::map<uintptr_t, size_t> &memory, size_t bytes) {
    void *at = std::aligned_alloc(ALIGN, (bytes + ALIGN - 1) / ALIGN * ALIGN);
    if (at) {
        memset(at, POISON, bytes);
        Guard guard(lock);
        memory[reinterpret_cast<uintptr_t>(at)] = bytes;
    }
    return at;
}

bool give_back(std::map<uintptr_t, size_t> &memory, uintptr_t address) {
    {
        Guard guard(lock);
        auto found = memory.find(address);
        if (found == memory.end()) {
            return false;
        }
        memset(reinterpret_cast<void *>(address), POISON, found->second);
        memory.erase(found);
    }
    free(reinterpret_cast<void *>(address));
    return true;
}

} // namespace

namespace fqgan_emulator {

struct Stream {
    std::recursive_mutex running;
    std::deque<Task> queue;
    // How many tasks were queued up to now, and how many have begun.
    uint64_t queued = 0, begun = 0;
    std::unique_ptr<Graph> capture;
    // For what is noted down: streams are told apart by the order in which they were made.
    int number = 0;
};

uint32_t enqueue(Stream *stream, Task task) {
    if (!stream) {
        return INVALID_HANDLE;
    }
    Guard guard(lock);
    if (failed != SUCCESS) {
        return failed;
    }
    if (stream->capture) {
        stream->capture->tasks.push_back(std::move(task));
    } else {
        stream->queue.push_back(std::move(task));
        stream->queued++;
    }
    return SUCCESS;
}

uint32_t drain(Stream *stream, uint64_t place) {
    if (!stream) {
        return INVALID_HANDLE;
    }
    Guard order(stream->running);
    for (;;) {
        Task task;
        {
            Guard guard(lock);
            if (stream->capture) {
                return CAPTURE_UNSUPPORTED;
            }
            if (stream->queue.empty() || stream->begun >= place) {
                return failed;
            }
            task = std::move(stream->queue.front());
            stream->queue.pop_front();
            stream->begun++;
        }
        try {
            task();
        } catch (const std::exception &error) {
            fprintf(stderr, "emulated device: %s\n", error.what());
            Guard guard(lock);
            failed = LAUNCH_FAILED;
            return failed;
        }
    }
}

int number(const Stream *stream) { return stream ? stream->number : 0; }

bool on_device(const void *address, size_t bytes) { return known(device_memory, reinterpret_cast<uintptr_t>(address), bytes); }

} // namespace fqgan_emulator

struct Event {
    Stream *stream = nullptr;
    // It is reached when so many of the stream's tasks are done.
    uint64_t place = 0;
    int number = 0;
};

extern "C" {

// ---- the device and its context ----

uint32_t cuInit(unsigned) { return SUCCESS; }
uint32_t cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
uint32_t cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
uint32_t cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}
uint32_t cuDeviceGetName(char *name, int length, int) {
    snprintf(name, length, "emulated device");
    return SUCCESS;
}
uint32_t cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = size_t(8) << 30, SUCCESS; }
uint32_t cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
    case 16: return *value = 4, SUCCESS;          // multiprocessors
    case 75: return *value = 9, SUCCESS;          // compute capability
    case 76: return *value = 0, SUCCESS;
    case 97: return *value = 227 << 10, SUCCESS;  // shared memory that a block may ask for
    default: return INVALID_VALUE;
    }
}
uint32_t cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = &primary, SUCCESS; }
uint32_t cuMemPoolSetAttribute(void *, int, void *) { return SUCCESS; }

uint32_t cuDevicePrimaryCtxRetain(void **context, int) { return *context = &primary, SUCCESS; }
uint32_t cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
uint32_t cuCtxGetCurrent(void **context) { return *context = contexts.empty() ? nullptr : contexts.back(), SUCCESS; }
uint32_t cuCtxSetCurrent(void *context) {
    if (!contexts.empty()) {
        contexts.pop_back();
    }
    if (context) {
        contexts.push_back(static_cast<Context *>(context));
    }
    return SUCCESS;
}
uint32_t cuCtxPushCurrent_v2(void *context) {
    if (!context) {
        return INVALID_CONTEXT;
    }
    contexts.push_back(static_cast<Context *>(context));
    return SUCCESS;
}
uint32_t cuCtxPopCurrent_v2(void **context) {
    if (contexts.empty()) {
        return INVALID_CONTEXT;
    }
    *context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}
uint32_t cuCtxGetDevice(int *device) { return contexts.empty() ? INVALID_CONTEXT : (*device = 0, SUCCESS); }

uint32_t cuGetErrorString(uint32_t, const char **text) { return *text = "an error of the emulated device", SUCCESS; }
uint32_t cuGetErrorName(uint32_t, const char **text) { return *text = "CUDA_ERROR", SUCCESS; }

// ---- streams and events ----

uint32_t cuStreamCreateWithPriority(Stream **stream, unsigned, int) {
    static std::atomic<int> made{0};
    // Whatever needs a current context fails without one, here as there.
    if (contexts.empty()) {
        return INVALID_CONTEXT;
    }
    *stream = new Stream;
    (*stream)->number = ++made;
    return SUCCESS;
}
uint32_t cuStreamCreate(Stream **stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }
uint32_t cuStreamDestroy_v2(Stream *stream) {
    uint32_t result = drain(stream);
    delete stream;
    return result;
}
uint32_t cuStreamSynchronize(Stream *stream) { return contexts.empty() ? INVALID_CONTEXT : drain(stream); }
uint32_t cuStreamQuery(Stream *stream) {
    Guard guard(lock);
    return stream->queue.empty() ? SUCCESS : NOT_READY;
}

uint32_t cuEventCreate(Event **event, unsigned) {
    static std::atomic<int> made{0};
    *event = new Event;
    (*event)->number = ++made;
    return SUCCESS;
}
uint32_t cuEventDestroy_v2(Event *event) { return delete event, SUCCESS; }
uint32_t cuEventRecord(Event *event, Stream *stream) {
    Guard guard(lock);
    event->stream = stream;
    event->place = stream->queued;
    note("record event %d in stream %d", event->number, stream->number);
    return SUCCESS;
}
uint32_t cuEventSynchronize(Event *event) { return event->stream ? drain(event->stream, event->place) : SUCCESS; }
// Somebody who asks again and again may as well wait.
uint32_t cuEventQuery(Event *event) { return cuEventSynchronize(event); }
uint32_t cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
    note("stream %d waits for event %d", stream->number, event->number);
    Stream *other = event->stream;
    if (!other || other == stream) {
        return SUCCESS;
    }
    return enqueue(stream, [other, place = event->place] { drain(other, place); });
}

// ---- memory ----

uint32_t cuMemAllocAsync(uintptr_t *address, size_t bytes, Stream *stream) {
    if (contexts.empty()) {
        return INVALID_CONTEXT;
    }
    if (stream && stream->capture) {
        return CAPTURE_UNSUPPORTED; // A GPU would make it a part of the graph, which nothing here is written for.
    }
    void *at = bytes ? take(device_memory, bytes) : nullptr;
    *address = reinterpret_cast<uintptr_t>(at);
    return bytes == 0 ? INVALID_VALUE : at ? SUCCESS : OUT_OF_MEMORY;
}
uint32_t cuMemFreeAsync(uintptr_t address, Stream *stream) {
    if (!known(device_memory, address, 1)) {
        return INVALID_VALUE;
    }
    Guard guard(lock);
    if (stream->capture) {
        return CAPTURE_UNSUPPORTED;
    }
    // Also after a failure: memory goes back all the same.
    stream->queue.push_back([=] { give_back(device_memory, address); });
    stream->queued++;
    return SUCCESS;
}
uint32_t cuMemHostAlloc(void **at, size_t bytes, unsigned) {
    *at = take(pinned_memory, bytes);
    return *at ? SUCCESS : OUT_OF_MEMORY;
}
uint32_t cuMemFreeHost(void *at) {
    return give_back(pinned_memory, reinterpret_cast<uintptr_t>(at)) ? SUCCESS : INVALID_VALUE;
}

uint32_t cuMemcpyHtoDAsync_v2(uintptr_t to, const void *from, size_t bytes, Stream *stream) {
    uintptr_t source = reinterpret_cast<uintptr_t>(from);
    if (!known(device_memory, to, bytes)) {
        return ILLEGAL_ADDRESS;
    }
    if (known(pinned_memory, source, bytes)) {
        return copy(stream, to, source, bytes);
    }
    // Pageable memory is read before the call returns.
    auto kept = std::make_shared<std::vector<unsigned char>>(static_cast<const unsigned char *>(from), static_cast<const unsigned char *>(from) + bytes);
    return enqueue(stream, [=] { memcpy(reinterpret_cast<void *>(to), kept->data(), bytes); });
}
uint32_t cuMemcpyDtoHAsync_v2(void *to, uintptr_t from, size_t bytes, Stream *stream) {
    return known(device_memory, from, bytes) ? copy(stream, reinterpret_cast<uintptr_t>(to), from, bytes) : ILLEGAL_ADDRESS;
}
uint32_t cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, Stream *stream) {
    bool both = known(device_memory, from, bytes) && known(device_memory, to, bytes);
    return both ? copy(stream, to, from, bytes) : ILLEGAL_ADDRESS;
}
uint32_t cuMemsetD8Async(uintptr_t to, unsigned char value, size_t count, Stream *stream) {
    if (!known(device_memory, to, count)) {
        return ILLEGAL_ADDRESS;
    }
    return enqueue(stream, [=] { memset(reinterpret_cast<void *>(to), value, count); });
}

// ---- kernels ----

// The image is of a GPU's code: the same kernels are in this library.
uint32_t cuModuleLoadData(void **module, const void *image) {
    *module = const_cast<void *>(image);
    return image ? SUCCESS : INVALID_VALUE;
}
uint32_t cuModuleGetFunction(const Kernel **function, void *, const char *name) {
    *function = find(name);
    return *function ? SUCCESS : NOT_FOUND;
}
uint32_t cuFuncSetAttribute(const Kernel *, int, int value) { return value <= 227 << 10 ? SUCCESS : INVALID_VALUE; }

uint32_t cuLaunchKernel(const Kernel *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, Stream *stream, void **arguments, void **) {
    if (contexts.empty()) {
        return INVALID_CONTEXT;
    }
    bool fits = gx && gy && gz && gx <= 0x7fffffff && gy <= 65535 && gz <= 65535 && bx && by && bz && bx <= 1024 &&
                by <= 1024 && bz <= 64 && uint64_t(bx) * by * bz <= 1024 && shared <= 227 << 10;
    if (!fits) {
        return INVALID_VALUE;
    }
    list(kernel);
    Launch launch = {{gx, gy, gz}, {bx, by, bz}, shared};
    return enqueue(stream, [bound = kernel->bind(arguments), launch] { bound(launch); });
}

// ---- graphs ----

uint32_t cuStreamBeginCapture_v2(Stream *stream, int) {
    Guard guard(lock);
    if (stream->capture) {
        return CAPTURE_UNSUPPORTED;
    }
    stream->capture = std::make_unique<Graph>();
    return SUCCESS;
}
uint32_t cuStreamEndCapture(Stream *stream, Graph **graph) {
    Guard guard(lock);
    *graph = stream->capture.release();
    return *graph ? SUCCESS : INVALID_VALUE;
}
uint32_t cuGraphInstantiateWithFlags(Graph **made, Graph *graph, unsigned long long) {
    return *made = new Graph(*graph), SUCCESS;
}
uint32_t cuGraphDestroy(Graph *graph) { return delete graph, SUCCESS; }
uint32_t cuGraphExecDestroy(Graph *graph) { return delete graph, SUCCESS; }
uint32_t cuGraphLaunch(Graph *graph, Stream *stream) {
    auto tasks = std::make_shared<Tasks>(graph->tasks);
    return enqueue(stream, [tasks] {
        for (Task &task : *tasks) {
            task();
        }
    });
}

} // extern "C"
