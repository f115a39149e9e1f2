/*
 * Threads: executors that share one address space.
 *
 * Threads are numbered. Thread 0 runs main(); its executor was made by the
 * parent and its handle is HANDLE_SELF. The handle of thread n lies n pages
 * further, so that a 32-bit word is enough to name a thread and to wake it.
 *
 * The tp register of a thread points to its control block, `struct thread`,
 * from its first instruction on (start.S, thread.c). A control block lies at
 * the top of its thread's stack, and that of thread 0 is a variable.
 *
 * A thread ends by returning from its function or by thread_exit(), and
 * another thread must join it: that gives back its stack and its number. When
 * main() returns, thread 0 ends, and whoever spawned the program ends the
 * rest.
 */
#pragma once
#include "layout.h"
#include <stdint.h>

struct thread {
    uint32_t number;

    /* THREAD_RUNNING, 1 + the number of the thread that waits for the end, or
     * THREAD_ENDED. */
    uint32_t ended;
    uint32_t joined; /* 1 once a thread joins it */

    /* For sync.c and semaphore.c, for as long as the thread waits there. */
    uint32_t waiting;   /* 1 while it is in line: who takes it out clears this */
    uint32_t wait_next; /* 1 + the number of the next thread in line, or 0 */

    /* Given to thread_create. */
    int64_t (*function)(void *argument);
    void *argument;

    int64_t result; /* what the function returned */

    uint64_t lab_private[4]; /* for sync.c, if it wants more */
};

#define THREAD_RUNNING 0u
#define THREAD_ENDED   0xffffffffu

/* The control block of the calling thread. */
static inline struct thread *thread_self(void) {
    struct thread *self;
    __asm__("mv %0, tp" : "=r"(self));
    return self;
}

/* The handle of the executor of thread `number`. */
static inline uint64_t thread_handle_of(uint32_t number) {
    return HANDLE_AT(number);
}

/* The handle of a thread's executor, for unpark and the like. */
static inline uint64_t thread_handle(const struct thread *thread) {
    return thread_handle_of(thread->number);
}

/* The control block of thread `number`, which must not have been joined. */
struct thread *thread_by_number(uint32_t number);

/*
 * Start a thread that runs function(argument).
 * Returns 0 and the thread, or -ENOMEM (or an error that would be a bug here)
 * and nothing.
 */
[[nodiscard]] int64_t thread_create(int64_t (*function)(void *argument), void *argument,
                                    struct thread **thread);

/* End the calling thread with `result`. Thread 0 ends the program with it. */
__attribute__((noreturn)) void thread_exit(int64_t result);

/*
 * Wait for a thread to end and give back all it had; after that it must not be
 * named any more. Its result is stored to `*result` unless that is 0.
 * Returns 0; -EBUSY if another thread is joining it; -EINVAL for the caller
 * itself, and for thread 0, whose end is the program's.
 */
int64_t thread_join(struct thread *thread, int64_t *result);
