// What the parts of the emulated device share: work is queued in streams, and runs when somebody waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

namespace fqgan_emulator {

using Task = std::function<void()>;
struct Stream;

// Both give a result of the driver's; 0 is success.
uint32_t enqueue(Stream *stream, Task task);
// Runs what is queued, up to so many tasks of the stream's first ones.
uint32_t drain(Stream *stream, uint64_t place = UINT64_MAX);
// Which of the program's streams it is, from 1.
int number(const Stream *stream);
// Writes a line to the file that FQGAN_EMULATOR_NOTES names: what was asked for, in which order, for tests.
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
// Whether these bytes are the device's.
bool on_device(const void *address, size_t bytes);

} // namespace fqgan_emulator
