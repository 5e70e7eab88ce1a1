// Checks the emulator itself, for tests/cuda_emulator.rs: that barriers and warps work in every order of threads, and
// that what a GPU would not forgive is refused. Prints what went wrong; built apart from the kernels.

#include "../common.cuh"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

// Each block adds up its numbers and turns them around through shared memory.
extern "C" __global__ void check_block(const float *x, float *turned, double *sums) {
    SHARED(float, row, [256]);
    const int i = int(threadIdx.x), at = int(blockIdx.x) * 256 + i;
    row[i] = x[at];
    __syncthreads();
    turned[at] = row[255 - i];
    double sum = block_sum(double(x[at]));
    if (i == 77) {
        sums[blockIdx.x] = sum;
    }
}
FQGAN_KERNEL(check_block, 256)

extern "C" __global__ void check_warp(unsigned *out) {
    const int lane = lane_of_warp();
    unsigned odd = __ballot_sync(ALL, lane % 2 == 1);
    int above = __shfl_sync(ALL, lane, lane + 1);
    int below = __shfl_up_sync(ALL, lane, 1);
    out[threadIdx.x] = odd == 0xaaaaaaaau && above == (lane + 1) % 32 && below == (lane == 0 ? 0 : lane - 1);
}
FQGAN_KERNEL(check_warp, 64)

// A thread that is done never comes to the barrier.
extern "C" __global__ void check_missing(int absent) {
    if (int(threadIdx.x) != absent) {
        __syncthreads();
    }
}
FQGAN_KERNEL(check_missing, 64)

extern "C" __global__ void check_part_of_warp(float *out) {
    if (threadIdx.x < 16) {
        out[threadIdx.x] = warp_sum(1.0f);
    }
}
FQGAN_KERNEL(check_part_of_warp, 32)

// Reads what no thread wrote, with the dynamic part and a static one.
extern "C" __global__ void check_poison(float *out) {
    DYNAMIC_SHARED(float, dynamic);
    SHARED(float, fixed, [32]);
    out[2 * threadIdx.x] = dynamic[threadIdx.x];
    out[2 * threadIdx.x + 1] = fixed[threadIdx.x];
    __syncwarp();
    dynamic[threadIdx.x] = fixed[threadIdx.x] = 1.0f;
}
FQGAN_KERNEL(check_poison, 32)

namespace {

int failures = 0;

void expect(bool good, const std::string &what) {
    if (!good) {
        printf("%s\n", what.c_str());
        failures++;
    }
}

// What is said of a launch, or nothing.
template <class... A> std::string launch(const char *name, unsigned blocks, unsigned threads, size_t shared, A... args) {
    void *arguments[] = {&args...};
    try {
        fqgan_emulator::find(name)->bind(arguments)({{blocks, 1, 1}, {threads, 1, 1}, shared});
    } catch (const std::exception &error) {
        return error.what();
    }
    return "";
}

void fails(const std::string &error, const std::string &says) {
    expect(error.find(says) != std::string::npos, "said \"" + error + "\", expected \"" + says + "\"");
}

} // namespace

int main() {
    for (const char *order : {"forward", "backward", "shuffled"}) {
        setenv("FQGAN_EMULATOR_ORDER", order, 1);
        std::vector<float> x(1024), turned(1024);
        std::vector<double> sums(4);
        for (int i = 0; i < 1024; i++) {
            x[i] = float(i);
        }
        expect(launch("check_block", 4, 256, 0, x.data(), turned.data(), sums.data()) == "", "check_block");
        for (int i = 0; i < 1024; i++) {
            expect(turned[i] == x[i / 256 * 256 + 255 - i % 256], "turned " + std::to_string(i) + " " + order);
        }
        for (int b = 0; b < 4; b++) {
            expect(sums[b] == 256.0 * (256 * b + 127.5), "sum " + std::to_string(b) + " " + order);
        }
        std::vector<unsigned> fine(64);
        expect(launch("check_warp", 1, 64, 0, fine.data()) == "", "check_warp");
        expect(std::vector<unsigned>(64, 1) == fine, std::string("warp ") + order);
        fails(launch("check_missing", 1, 64, 0, 13), "63 at a barrier, 0 for their warp, 1 are done");
        // What failed leaves nothing behind.
        expect(launch("check_block", 4, 256, 0, x.data(), turned.data(), sums.data()) == "", "check_block again");
        std::vector<float> out(64);
        fails(launch("check_part_of_warp", 1, 32, 0, out.data()), "0 at a barrier, 16 for their warp, 16 are done");
        for (int i = 0; i < 2; i++) {
            expect(launch("check_poison", 2, 32, 128, out.data()) == "", "check_poison");
            for (float value : out) {
                expect(value != value, "shared memory held a value");
            }
        }
    }
    fails(launch("check_warp", 1, 48, 0, nullptr), "48 threads");
    fails(launch("check_warp", 1, 128, 0, nullptr), "128 threads, expected whole warps, at most 64");
    fails(launch("check_warp", 0, 32, 0, nullptr), "a grid of 0 x 1 x 1");
    expect(fqgan_emulator::find("check_none") == nullptr, "a kernel that is not there was found");
    return failures > 0;
}
