// Device memory, which is memory of the host between pages that cannot be accessed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace standin {

enum class Home { Device, Host };

// Null if there is no memory left. Filled with bytes that are not a number in f32 and bf16. The beginning is aligned to 256 bytes; behind
// the end, or less than 256 bytes further, comes a page that cannot be accessed.
void *allocate(size_t bytes, Home home);
// Whether there was an allocation that begins there.
bool release(void *address, Home home);

// Whether the bytes lie in one allocation.
bool is_device_memory(uint64_t address, size_t bytes);
// Whether a kernel can read them: pinned memory of the host has the same address on the device.
bool is_visible_to_device(uint64_t address, size_t bytes);

// How many bytes of device memory are allocated.
size_t allocated_bytes();

// Aborts if something was written between the end of an allocation and the page behind it.
void check_ends(const char *after);

} // namespace standin
