#include "memory.h"

#include "blocks.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace standin {

namespace {

constexpr size_t ALIGNMENT = 256;
constexpr int FRESH = 0xff;
// Different from what allocations are filled with, and from what is often written.
constexpr unsigned char BEHIND = 0xa7;

struct Allocation {
    Home home;
    size_t bytes;
    // The mapping with both guards.
    char *mapping;
    size_t mapped;
};

auto &allocations = *new std::map<uint64_t, Allocation>;
size_t device_bytes = 0;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// The allocation that holds the address, or the last one before it.
auto before(uint64_t address) {
    auto next = allocations.upper_bound(address);
    return next == allocations.begin() ? allocations.end() : std::prev(next);
}

const Allocation *holder(uint64_t address, size_t bytes) {
    auto found = before(address);
    if (found == allocations.end()) {
        return nullptr;
    }
    const auto &[begin, allocation] = *found;
    size_t offset = address - begin;
    return offset <= allocation.bytes && bytes <= allocation.bytes - offset ? &allocation : nullptr;
}

void check_end(uint64_t begin, const Allocation &allocation, const char *after) {
    const unsigned char *end = (const unsigned char *)begin + allocation.bytes;
    for (size_t i = 0; i < round_up(allocation.bytes, ALIGNMENT) - allocation.bytes; i++) {
        if (end[i] != BEHIND) {
            fprintf(stderr, "stand-in: %s: written %zu bytes behind the end of an allocation of %zu bytes\n", after, i, allocation.bytes);
            abort();
        }
    }
}

} // namespace

void *allocate(size_t bytes, Home home) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t used = round_up(bytes, ALIGNMENT);
    size_t inner = round_up(used, page);
    size_t mapped = inner + 2 * page;
    char *mapping = (char *)mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        return nullptr;
    }
    if (mprotect(mapping + page, inner, PROT_READ | PROT_WRITE)) {
        munmap(mapping, mapped);
        return nullptr;
    }
    char *begin = mapping + page + inner - used;
    memset(begin, FRESH, bytes);
    memset(begin + bytes, BEHIND, used - bytes);
    allocations[(uint64_t)begin] = {home, bytes, mapping, mapped};
    device_bytes += home == Home::Device ? bytes : 0;
    return begin;
}

bool release(void *address, Home home) {
    auto found = allocations.find((uint64_t)address);
    if (found == allocations.end() || found->second.home != home) {
        return false;
    }
    const Allocation &allocation = found->second;
    check_end(found->first, allocation, "before memory was freed");
    device_bytes -= home == Home::Device ? allocation.bytes : 0;
    munmap(allocation.mapping, allocation.mapped);
    allocations.erase(found);
    return true;
}

bool is_device_memory(uint64_t address, size_t bytes) {
    const Allocation *allocation = holder(address, bytes);
    return allocation && allocation->home == Home::Device;
}

bool is_visible_to_device(uint64_t address, size_t bytes) { return holder(address, bytes) != nullptr; }

size_t allocated_bytes() { return device_bytes; }

void check_ends(const char *after) {
    for (const auto &[begin, allocation] : allocations) {
        check_end(begin, allocation, after);
    }
}

void describe_address(const void *address, char *text, size_t bytes) {
    auto found = before((uint64_t)address);
    if (found != allocations.end()) {
        const auto &[begin, allocation] = *found;
        const char *end = (const char *)begin + allocation.bytes;
        if (address >= end && (const char *)address < allocation.mapping + allocation.mapped) {
            snprintf(text, bytes, "access %zu bytes behind the end of an allocation of %zu bytes", (size_t)((const char *)address - end),
                     allocation.bytes);
            return;
        }
    }
    snprintf(text, bytes, "access to %p, which is not allocated", address);
}

} // namespace standin
