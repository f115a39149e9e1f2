/*
 * The end of the road: bugs of the kernel, and machines it can't run on.
 */
#pragma once
#include "global.h"
#include "machine.h"
#include <stdbool.h>
#include <stdint.h>

struct kernel_frame;

/*
 * A bug of the kernel: stop all harts, print one block (message, hart,
 * executor, registers, backtrace, locks held), then power off with a failure
 * code if the boot arguments gave commands to run, else wait for a debugger.
 * One that happens while the block is printed ends it. Never returns.
 */
__attribute__((noreturn, cold, noinline, format(printf, 1, 2))) void panic(const char *format, ...);

/* The same for a trap taken in the kernel; `frame` holds the registers. */
__attribute__((noreturn)) void panic_trap(struct kernel_frame *frame);

/* The machine is not one we can run on: one line, then stop. Never returns. */
__attribute__((noreturn, cold, noinline, format(printf, 1, 2))) void stop(const char *format, ...);

/* Does a hart panic? Then the others print nothing more, and halt. They read
 * nothing that it wrote, so nothing need be ordered. */
static inline bool panicking(void) {
    return __atomic_load_n(&global()->panicking, __ATOMIC_RELAXED) != 0;
}

/* Called on a hart that was interrupted while another panics. */
__attribute__((noreturn)) void panic_halt(void);

/* The name of the function that a return address leads back to, or "?". */
const char *symbol(const void *return_address);

/* Guards an invariant of the kernel's own: never an argument of a program. */
#define KERNEL_ASSERT(condition)                                                                   \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) panic_assert(#condition, __FILE__, __LINE__);       \
    } while (0)

__attribute__((noreturn, cold, noinline)) void panic_assert(const char *condition, const char *file,
                                                            unsigned line);
