// Stacks to run on, and the switch from one to another within a hardware thread.
#pragma once

#include <cstddef>

#if !defined(STANDIN_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define STANDIN_UCONTEXT
#endif

#ifdef STANDIN_UCONTEXT
#include <ucontext.h>
#endif

namespace standin {

// A computation that is not running now: where to go on with it.
struct Suspended {
#ifdef STANDIN_UCONTEXT
    ucontext_t context;
#else
    void *stack_pointer = nullptr;
#endif
};

// Goes on with `to`; returns when something switches to `from`.
void switch_fiber(Suspended &from, Suspended &to);

// Makes a computation that calls `body(argument)` on a stack of its own. The body must not return.
void make_fiber(Suspended &fiber, char *stack, size_t bytes, void (*body)(void *), void *argument);

// Stacks of equal size, each behind a page that cannot be accessed.
class Stacks {
  public:
    explicit Stacks(size_t count);
    ~Stacks();
    Stacks(const Stacks &) = delete;

    char *operator[](size_t i) const { return memory + i * pitch + guard; }
    // The places at which stacks begin would otherwise compete for the same few lines of the caches.
    size_t size(size_t i) const { return STACK - i % 16 * 256; }

    bool contain(const void *address) const { return address >= memory && address < memory + bytes; }

  private:
    static constexpr size_t STACK = 64 << 10;
    size_t guard, pitch, bytes;
    char *memory;
};

} // namespace standin
