// The emulated device's NCCL: sums and gathers over processes of one machine, through memory that they share. Every call is
// noted down, and what the library would answer by hanging is an error: ranks that ask for different things, or for nothing.
#include "runtime.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

using namespace fqgan_emulator;

extern "C" uint32_t cuCtxGetCurrent(void **context);

namespace fqgan_emulator {

void note(const char *format, ...) {
    static std::mutex lock;
    static FILE *file = [] {
        const char *path = getenv("FQGAN_EMULATOR_NOTES");
        return path && *path ? fopen(path, "w") : nullptr;
    }();
    if (!file) {
        return;
    }
    std::lock_guard<std::mutex> guard(lock);
    va_list words;
    va_start(words, format);
    vfprintf(file, format, words);
    va_end(words);
    fputc('\n', file);
    fflush(file);
}

} // namespace fqgan_emulator

namespace {

// Results of the library, by its numbers.
enum Result : int { SUCCESS = 0, UNHANDLED_CUDA = 1, SYSTEM = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE = 6 };
enum { UINT8 = 1, FLOAT32 = 7, SUM = 0 };

const int MOST_RANKS = 8;
// Bytes of a rank that travel at once.
const size_t CHUNK = 1 << 20;
const std::chrono::microseconds NAP(50);
// For how long others may be late before they are given up.
const std::chrono::seconds PATIENCE(60);

struct Asked {
    int kind, type;
    size_t count;
};

// What all ranks of a world see: zero where it is new.
struct Shared {
    std::atomic<int> joined, arrived, failed;
    std::atomic<unsigned> turn;
    std::atomic<int> processes[MOST_RANKS];
    Asked asked[MOST_RANKS];
    alignas(64) unsigned char slots[MOST_RANKS][CHUNK];
};

struct Id {
    char name[128];
};

struct Comm {
    Shared *shared = nullptr;
    int rank = 0, size = 0;

    bool lost() const {
        for (int i = 0; i < size; i++) {
            int process = shared->processes[i];
            if (process && kill(process, 0) != 0 && errno == ESRCH) {
                return true;
            }
        }
        return false;
    }

    template <class F> void wait(F done) {
        auto until = std::chrono::steady_clock::now() + PATIENCE;
        while (!done()) {
            if (shared->failed || lost() || std::chrono::steady_clock::now() > until) {
                shared->failed = 1;
                throw std::runtime_error("NCCL: another rank did not come");
            }
            std::this_thread::sleep_for(NAP);
        }
    }

    // All ranks come here, or none goes on.
    void barrier() {
        unsigned turn = shared->turn;
        if (++shared->arrived == size) {
            shared->arrived = 0;
            shared->turn++;
            return;
        }
        wait([&] { return shared->turn != turn; });
    }

    void agree(Asked asked) {
        shared->asked[rank] = asked;
        barrier();
        for (int i = 0; i < size; i++) {
            const Asked &other = shared->asked[i];
            if (other.kind != asked.kind || other.type != asked.type || other.count != asked.count) {
                shared->failed = 1;
                throw std::runtime_error("NCCL: ranks ask for different things");
            }
        }
    }

    void sum(const float *from, float *to, size_t count) {
        const size_t most = CHUNK / sizeof(float);
        for (size_t begin = 0; begin < count; begin += most) {
            size_t n = std::min(most, count - begin);
            memcpy(shared->slots[rank], from + begin, n * sizeof(float));
            barrier();
            for (size_t i = 0; i < n; i++) {
                float sum = 0;
                for (int r = 0; r < size; r++) {
                    sum += reinterpret_cast<float *>(shared->slots[r])[i];
                }
                to[begin + i] = sum;
            }
            barrier();
        }
    }

    void gather(const unsigned char *from, unsigned char *to, size_t bytes) {
        for (size_t begin = 0; begin < bytes; begin += CHUNK) {
            size_t n = std::min(CHUNK, bytes - begin);
            memcpy(shared->slots[rank], from + begin, n);
            barrier();
            for (int r = 0; r < size; r++) {
                memcpy(to + r * bytes + begin, shared->slots[r], n);
            }
            barrier();
        }
    }
};

struct Call {
    Stream *stream;
    Task task;
};

thread_local int depth = 0;
thread_local std::vector<Call> group;
thread_local std::string last_error;

int fail(Result result, const char *why) { return last_error = why, result; }

// Of a group only the end starts anything.
int start(Stream *stream, Task task) {
    if (depth > 0) {
        group.push_back({stream, std::move(task)});
        return SUCCESS;
    }
    return enqueue(stream, std::move(task)) ? fail(UNHANDLED_CUDA, "the stream takes no work") : SUCCESS;
}

size_t size_of(int type) { return type == FLOAT32 ? 4 : type == UINT8 ? 1 : 0; }

void *map(const char *name) {
    int file = shm_open(name, O_CREAT | O_RDWR, 0600);
    void *at = MAP_FAILED;
    if (file >= 0 && ftruncate(file, sizeof(Shared)) == 0) {
        at = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    if (file >= 0) {
        close(file);
    }
    return at == MAP_FAILED ? nullptr : at;
}

} // namespace

extern "C" {

int ncclGetVersion(int *version) { return *version = 22300, SUCCESS; }

const char *ncclGetErrorString(int result) {
    switch (result) {
    case SUCCESS: return "no error";
    case UNHANDLED_CUDA: return "unhandled cuda error";
    case SYSTEM: return "unhandled system error";
    case INVALID_ARGUMENT: return "invalid argument";
    case INVALID_USAGE: return "invalid usage";
    case REMOTE: return "remote process exited or there was a network error";
    default: return "unknown result code";
    }
}
const char *ncclGetLastError(Comm *) { return last_error.c_str(); }

int ncclGetUniqueId(Id *id) {
    static std::atomic<int> made{0};
    auto now = std::chrono::system_clock::now().time_since_epoch().count();
    memset(id, 0, sizeof *id);
    snprintf(id->name, sizeof id->name, "/fqgan-nccl-%d-%d-%llx", getpid(), ++made, (unsigned long long)now);
    note("nccl: an id");
    return SUCCESS;
}

int ncclCommInitRank(Comm **to, int size, Id id, int rank) {
    void *context = nullptr;
    if (cuCtxGetCurrent(&context) != 0 || !context) {
        return fail(UNHANDLED_CUDA, "no context is current");
    }
    if (size < 1 || size > MOST_RANKS || rank < 0 || rank >= size || strncmp(id.name, "/fqgan-nccl-", 12) != 0) {
        return fail(INVALID_ARGUMENT, "no such rank, or no id of this library's");
    }
    Comm comm;
    comm.shared = static_cast<Shared *>(map(id.name));
    if (!comm.shared) {
        return fail(SYSTEM, "no shared memory");
    }
    comm.rank = rank, comm.size = size;
    comm.shared->processes[rank] = getpid();
    comm.shared->joined++;
    try {
        comm.wait([&] { return comm.shared->joined == size; });
    } catch (const std::exception &error) {
        shm_unlink(id.name);
        return fail(REMOTE, error.what());
    }
    // All have it: its name is no longer needed.
    shm_unlink(id.name);
    note("nccl: rank %d of %d joins", rank, size);
    *to = new Comm(comm);
    return SUCCESS;
}

int ncclCommDestroy(Comm *comm) {
    note("nccl: rank %d leaves", comm->rank);
    munmap(comm->shared, sizeof(Shared));
    delete comm;
    return SUCCESS;
}
int ncclCommAbort(Comm *comm) {
    comm->shared->failed = 1;
    return ncclCommDestroy(comm);
}
int ncclCommGetAsyncError(Comm *comm, int *error) { return *error = comm->shared->failed ? REMOTE : SUCCESS, SUCCESS; }

int ncclGroupStart() {
    note("nccl: a group begins");
    return depth++, SUCCESS;
}
int ncclGroupEnd() {
    if (depth == 0) {
        return fail(INVALID_USAGE, "a group ends that did not begin");
    }
    if (--depth > 0) {
        return SUCCESS;
    }
    note("nccl: the group ends");
    std::vector<Call> calls;
    calls.swap(group);
    int result = SUCCESS;
    for (Call &call : calls) {
        result = result ? result : start(call.stream, std::move(call.task));
    }
    return result;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, Comm *comm, Stream *stream) {
    if (!comm || type != FLOAT32 || op != SUM || !on_device(from, count * 4) || !on_device(to, count * 4)) {
        return fail(INVALID_ARGUMENT, "a sum of other than the device's f32");
    }
    note("nccl: sum of %zu in stream %d", count, number(stream));
    return start(stream, [=] {
        comm->agree({1, type, count});
        comm->sum(static_cast<const float *>(from), static_cast<float *>(to), count);
    });
}

int ncclAllGather(const void *from, void *to, size_t count, int type, Comm *comm, Stream *stream) {
    size_t bytes = count * size_of(type);
    if (!comm || size_of(type) == 0 || !on_device(from, bytes) || !on_device(to, bytes * comm->size)) {
        return fail(INVALID_ARGUMENT, "a gathering of other than the device's bytes or f32");
    }
    note("nccl: gathering of %zu in stream %d", bytes, number(stream));
    return start(stream, [=] {
        comm->agree({2, type, count});
        comm->gather(static_cast<const unsigned char *>(from), static_cast<unsigned char *>(to), bytes);
    });
}

} // extern "C"
