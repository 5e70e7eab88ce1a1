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
// Runs all that is queued.
uint32_t drain(Stream *stream);
// Whether these bytes are the device's.
bool on_device(const void *address, size_t bytes);

} // namespace fqgan_emulator
