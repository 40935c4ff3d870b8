#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace standin {

#ifdef STANDIN_UCONTEXT

void switch_fiber(Suspended &from, Suspended &to) { swapcontext(&from.context, &to.context); }

namespace {
// makecontext passes integers only, so pointers come in halves.
void *join(unsigned high, unsigned low) { return (void *)((uintptr_t)high << 32 | low); }

void enter(unsigned body_high, unsigned body_low, unsigned high, unsigned low) {
    ((void (*)(void *))join(body_high, body_low))(join(high, low));
}
} // namespace

void make_fiber(Suspended &fiber, char *stack, size_t bytes, void (*body)(void *), void *argument) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = bytes;
    fiber.context.uc_link = nullptr;
    uint64_t code = (uintptr_t)body, data = (uintptr_t)argument;
    makecontext(&fiber.context, (void (*)())enter, 4, (unsigned)(code >> 32), (unsigned)code, (unsigned)(data >> 32), (unsigned)data);
}

#else

// To switch is to call a function that returns on another stack: what a called function must preserve is saved on the one and restored from
// the other. It ends in `ret`, because fibers wait at the same few places, so that the processor predicts rightly where it returns to.
extern "C" void standin_switch(void **from, void *to);
extern "C" void standin_enter();

#if defined(__x86_64__)
asm(R"(
    .text
    .hidden standin_switch
    .globl standin_switch
    .type standin_switch, @function
standin_switch:
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
    .size standin_switch, .-standin_switch

    .hidden standin_enter
    .globl standin_enter
    .type standin_enter, @function
standin_enter:
    .cfi_startproc
    .cfi_undefined rip
    movq %r13, %rdi
    call *%r12
    ud2
    .cfi_endproc
    .size standin_enter, .-standin_enter
)");

// As `standin_switch` leaves a stack: r15, r14, r13, r12, rbx, rbp and where to return to.
enum { ARGUMENT = 2, BODY = 3, ENTRY = 6, SAVED = 7 };
#elif defined(__aarch64__)
asm(R"(
    .text
    .hidden standin_switch
    .globl standin_switch
    .type standin_switch, %function
standin_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size standin_switch, .-standin_switch

    .hidden standin_enter
    .globl standin_enter
    .type standin_enter, %function
standin_enter:
    .cfi_startproc
    .cfi_undefined x30
    mov x0, x20
    blr x19
    brk #0
    .cfi_endproc
    .size standin_enter, .-standin_enter
)");

// As `standin_switch` leaves a stack: x19 to x30, with where to return to as the last, and d8 to d15.
enum { BODY = 0, ARGUMENT = 1, ENTRY = 11, SAVED = 20 };
#endif

void switch_fiber(Suspended &from, Suspended &to) { standin_switch(&from.stack_pointer, to.stack_pointer); }

void make_fiber(Suspended &fiber, char *stack, size_t bytes, void (*body)(void *), void *argument) {
    // Stacks are aligned to sixteen bytes where a function is called, and so are they in `standin_enter`.
    void **top = (void **)((uintptr_t)(stack + bytes) & ~(uintptr_t)15);
    void **saved = top - SAVED;
    for (void **word = saved; word < top; word++) {
        *word = nullptr;
    }
    saved[BODY] = (void *)body;
    saved[ARGUMENT] = argument;
    saved[ENTRY] = (void *)standin_enter;
    fiber.stack_pointer = saved;
}

#endif

Stacks::Stacks(size_t count) : guard((size_t)sysconf(_SC_PAGESIZE)), pitch(STACK + guard), bytes(count * pitch) {
    memory = (char *)mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        mprotect(memory + i * pitch, guard, PROT_NONE);
    }
}

Stacks::~Stacks() { munmap(memory, bytes); }

} // namespace standin
