/*
 * System calls: one typed function for each call of the kernel.
 *
 * Every function returns zero or more, or a negative error (stag/abi.h). A
 * `space` of 0 is the caller's own. A handle is the address at which a kernel
 * object is mapped: whoever can name it in its own space may use it.
 *
 * Addresses and handles are plain 64-bit numbers, so that a program can name
 * memory of another space, which has no pointer here.
 */
#pragma once
#include "stag/abi.h"
#include <stdint.h>

#define SPACE_OWN 0 /* for any argument called `space` */

/*
 * Any call, by number. The typed functions below are what programs use; this
 * is for tests that pass nonsense on purpose.
 *
 * The memory clobber tells the compiler that the kernel reads and writes our
 * memory. It is no fence: for another hart a call orders nothing by itself, but
 * for `start`: what was written before, the executor that it starts sees.
 */
static inline int64_t call_any(uint64_t number, uint64_t first, uint64_t second, uint64_t third,
                               uint64_t fourth, uint64_t fifth, uint64_t sixth) {
    register uint64_t a0 __asm__("a0") = first;
    register uint64_t a1 __asm__("a1") = second;
    register uint64_t a2 __asm__("a2") = third;
    register uint64_t a3 __asm__("a3") = fourth;
    register uint64_t a4 __asm__("a4") = fifth;
    register uint64_t a5 __asm__("a5") = sixth;
    register uint64_t a7 __asm__("a7") = number;

    /* All arguments are marked as written: unmap advances its own while it
     * works, and park_and_swap answers in a1. */
    __asm__ volatile("ecall"
                     : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3), "+r"(a4), "+r"(a5)
                     : "r"(a7)
                     : "memory");
    return (int64_t)a0;
}

/* The same for the many that take two arguments or fewer, and change none: the
 * others' registers need not be loaded. */
static inline int64_t call_two(uint64_t number, uint64_t first, uint64_t second) {
    register uint64_t a0 __asm__("a0") = first;
    register uint64_t a1 __asm__("a1") = second;
    register uint64_t a7 __asm__("a7") = number;

    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a7) : "memory");
    return (int64_t)a0;
}

/* Give up the hart to whoever is queued. Returns 0. */
static inline int64_t yield(void) {
    return call_two(CALL_YIELD, 0, 0);
}

/*
 * End this executor; its supervisor gets EVENT_CHILD and can read `status`
 * with inspect. With the last started executor of a space the process ends.
 */
__attribute__((noreturn)) static inline void terminate(uint64_t status) {
    call_two(CALL_TERMINATE, status, 0);
    __builtin_unreachable();
}

/*
 * Map `pages` (1 … MAP_PAGES_MAX) pages of zeroed memory at `va` in `space`
 * with rights `prot` (PROT_…; read alone, with write, or with execute). `flags`
 * is 0 or MAP_REPLACE.
 * Errors: -EINVAL, -EBADF, -EEXIST (something is there, without MAP_REPLACE),
 * -ENOMEM (and nothing was mapped), -ESRCH.
 */
[[nodiscard]] static inline int64_t map(uint64_t space, uint64_t va, uint64_t pages, uint64_t prot,
                                        uint64_t flags) {
    return call_any(CALL_MAP, space, va, pages, prot, flags, 0);
}

/*
 * Unmap what there is in `pages` pages from `va`: memory, devices, handles.
 * Holes are fine. When it returns, no hart sees the old pages any more.
 * Errors: -EINVAL, -EBADF, -ESRCH.
 */
static inline int64_t unmap(uint64_t space, uint64_t va, uint64_t pages) {
    return call_any(CALL_UNMAP, space, va, pages, 0, 0, 0);
}

/*
 * Show `pages` pages from `from_va` of `from_space` at `to_va` of `to_space`
 * too, with rights `prot`: W only where the source has W, X wherever it has R,
 * never both. A handle is shared whole, whatever `prot`.
 * Errors: -EINVAL (also for a hole in the source), -EBADF, -EACCES, -EEXIST,
 * -EPERM (a space that was never started may hold younger spaces only),
 * -ENOMEM, -ESRCH. On an error nothing was mapped.
 */
[[nodiscard]] static inline int64_t share(uint64_t from_space, uint64_t from_va, uint64_t to_space,
                                          uint64_t to_va, uint64_t pages, uint64_t prot) {
    return call_any(CALL_SHARE, from_space, from_va, to_space, to_va, pages, prot);
}

/* Make an empty address space; its handle appears at `va`, which must be free.
 * Errors: -EINVAL, -EEXIST, -ENOMEM. */
[[nodiscard]] static inline int64_t create_space(uint64_t va) {
    return call_two(CALL_CREATE_SPACE, va, 0);
}

/* Make a stopped executor in `space`, registers zero; its handle appears at
 * `va` of the caller. Errors: -EINVAL, -EBADF, -EEXIST, -ENOMEM, -ESRCH. */
[[nodiscard]] static inline int64_t create_executor(uint64_t space, uint64_t va) {
    return call_two(CALL_CREATE_EXECUTOR, space, va);
}

/*
 * Let a stopped executor run from `pc` with stack pointer `sp` and `argument`
 * in a0; other registers stay as they are (zero in a new one). Waits while a hart
 * is just leaving it.
 * Errors: -EBADF, -EBUSY (it is not stopped, or is queued yet), -ESRCH (it has ended).
 */
[[nodiscard]] static inline int64_t start(uint64_t executor, uint64_t pc, uint64_t sp,
                                          uint64_t argument) {
    return call_any(CALL_START, executor, pc, sp, argument, 0, 0);
}

/* Let a stopped executor go on where it is, which after a fault is the
 * instruction that faulted. Errors: -EBADF, -EINVAL (it was never started),
 * -EBUSY, -ESRCH. */
[[nodiscard]] static inline int64_t resume(uint64_t executor) {
    return call_two(CALL_RESUME, executor, 0);
}

/* Stop an executor. It may run on for a moment: inspect tells when it has
 * come to rest. Errors: -EBADF, -ESRCH. */
static inline int64_t stop(uint64_t executor) {
    return call_two(CALL_STOP, executor, 0);
}

/* End the process of `space`: all its executors end, all its memory is given
 * back. With SPACE_OWN it does not return.
 * Errors: -EBADF, -ESRCH (it has ended already). */
static inline int64_t destroy(uint64_t space) {
    return call_two(CALL_DESTROY, space, 0);
}

/* Tell `supervisor` (another executor, or 0 for nobody) of the faults and the
 * end of `executor`, by EVENT_CHILD. A fault without a living supervisor ends
 * the process. Errors: -EBADF, -EINVAL, -ESRCH. */
static inline int64_t supervise(uint64_t executor, uint64_t supervisor) {
    return call_two(CALL_SUPERVISE, executor, supervisor);
}

/* Read an executor's state, registers, fault and status; it may have ended. Waits
 * while a hart is just leaving it.
 * Errors: -EBADF, -EFAULT. */
[[nodiscard]] static inline int64_t inspect(uint64_t executor, struct executor_info *info) {
    return call_two(CALL_INSPECT, executor, (uint64_t)info);
}

/*
 * Sleep until an event of `mask` (EVENT_…, bits 0 to 31, not empty) is
 * pending; take those events and return them. Events that came earlier count,
 * so none is lost. Errors: -ETIMEDOUT (the `time` counter has reached
 * `deadline`), -EINVAL.
 */
static inline int64_t park(uint64_t mask, uint64_t deadline) {
    return call_two(CALL_PARK, mask, deadline);
}

/*
 * Sleep until EVENT_WAKE, but only if the word still holds `expected`: the
 * kernel compares after it has announced the park, so an unpark between our
 * own look at the word and the park is not lost.
 * Returns EVENT_WAKE, perhaps from an earlier unpark, so callers look at the
 * word again in a loop. Errors: -EAGAIN (it differs), -ETIMEDOUT, -EFAULT,
 * -EINVAL.
 */
static inline int64_t park_if(const uint32_t *word, uint32_t expected, uint64_t deadline) {
    return call_any(CALL_PARK_IF, (uint64_t)word, expected, deadline, 0, 0, 0);
}

/*
 * Announce a park, store `value` to the word, then sleep until EVENT_WAKE: for
 * giving up a lock and going to sleep in one step. What the word held before
 * comes back through `old`, when the sleep is over.
 * Returns as park_if does, but never -EAGAIN. After -EINVAL and -EFAULT `old`
 * says nothing.
 */
static inline int64_t park_and_swap(uint32_t *word, uint32_t value, uint64_t deadline,
                                    uint32_t *old) {
    register uint64_t a0 __asm__("a0") = (uint64_t)word;
    register uint64_t a1 __asm__("a1") = value;
    register uint64_t a2 __asm__("a2") = deadline;
    register uint64_t a7 __asm__("a7") = CALL_PARK_AND_SWAP;

    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a7) : "memory");
    *old = (uint32_t)a1;
    return (int64_t)a0;
}

/* Set pending events of an executor and wake it if it waits for one of them.
 * Returns 0, even if it has ended. Errors: -EBADF, -EINVAL. */
static inline int64_t unpark(uint64_t executor, uint64_t events) {
    return call_two(CALL_UNPARK, executor, events);
}

/* Write up to CONSOLE_WRITE_MAX bytes. Returns how many were written.
 * Errors: -EINVAL, -EFAULT. */
static inline int64_t console_write(const void *buffer, uint64_t length) {
    return call_two(CALL_CONSOLE_WRITE, (uint64_t)buffer, length);
}

/*
 * Take up to `length` typed bytes; never sleeps. Returns how many there were,
 * or -EAGAIN if none: then park for EVENT_CONSOLE, which the last caller of
 * console_read gets at the next key. Errors: -EAGAIN, -EINVAL, -EFAULT.
 */
[[nodiscard]] static inline int64_t console_read(void *buffer, uint64_t length) {
    return call_two(CALL_CONSOLE_READ, (uint64_t)buffer, length);
}
