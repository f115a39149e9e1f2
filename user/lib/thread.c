/*
 * Threads, see thread.h.
 *
 * The delicate moment is the end: the thread that joins unmaps the stack of
 * the one that ends, so that one must not touch its stack after it has said
 * that it is done. Its last steps, thread_leave in start.S, therefore use
 * registers alone.
 *
 * One word, `ended`, carries both halves of the agreement, and changes by
 * atomic operations only:
 *
 *   THREAD_RUNNING --join--> 1 + joiner --leave--> THREAD_ENDED, wake joiner
 *   THREAD_RUNNING ----------leave---------------> THREAD_ENDED
 *
 * The wake-up may come late, when the joiner has already seen THREAD_ENDED and
 * gone on: then it is a stray EVENT_WAKE. Every wait in this library looks at
 * its word again after each park, so a stray one does no harm.
 */
#include "thread.h"
#include "call.h"
#include "compiler.h"
#include "slots.h"
#include <stdbool.h>

/* Of thread 0; start.S points tp at it. All zero is right. */
struct thread thread_main;

/* Bit n: thread n exists. Thread 0 always does. */
static struct slots thread_slots = {.taken = {1}};

/* In start.S: store THREAD_ENDED to `ended`, wake who waits for it, terminate.
 * Uses no stack after the store. */
_Static_assert(THREAD_RUNNING == 0 && THREAD_ENDED == -1u && EVENT_WAKE == 1, "as in start.S");
__attribute__((noreturn)) void thread_leave(uint32_t *ended, int64_t result);

/* The end of the stack of thread `number`, not 0. */
static uint64_t stack_high(uint32_t number) {
    return USER_STACKS + (uint64_t)number * STACK_STRIDE + STACK_STRIDE;
}

struct thread *thread_by_number(uint32_t number) {
    if (number == 0) return &thread_main;
    return (struct thread *)stack_high(number) - 1;
}

void thread_exit(int64_t result) {
    struct thread *self = thread_self();

    /* Ordered before THREAD_ENDED by the release in thread_leave. */
    self->result = result;
    thread_leave(&self->ended, result);
}

/* Where a new thread starts. */
static void thread_run(struct thread *self) {
    __asm__ volatile("mv tp, %0" : : "r"(self) : "memory");
    thread_exit(self->function(self->argument));
}

/* Map the stack of thread `number` and make its executor. */
static int64_t thread_build(uint32_t number) {
    uint64_t low = stack_high(number) - STACK_PAGES * PAGE_SIZE;
    int64_t error = map(SPACE_OWN, low, STACK_PAGES, PROT_READ | PROT_WRITE, 0);

    if (error < 0) return error;
    error = create_executor(SPACE_OWN, thread_handle_of(number));
    if (error < 0) unmap(SPACE_OWN, low, STACK_PAGES);
    return error;
}

/* Undo thread_build, and give the number back. */
static void thread_drop(uint32_t number) {
    unmap(SPACE_OWN, thread_handle_of(number), 1);
    unmap(SPACE_OWN, stack_high(number) - STACK_PAGES * PAGE_SIZE, STACK_PAGES);
    slots_give(&thread_slots, number);
}

int64_t thread_create(int64_t (*function)(void *argument), void *argument, struct thread **thread) {
    int64_t number = slots_take(&thread_slots, THREADS_MAX);
    if (number < 0) return number;

    int64_t error = thread_build(number);
    if (error < 0) {
        slots_give(&thread_slots, number);
        return error;
    }
    struct thread *new = thread_by_number(number);
    *new = (struct thread){.number = number, .function = function, .argument = argument};
    *thread = new;

    /* The stack grows down from the control block; 16-byte aligned. */
    uint64_t sp = (uint64_t) new & ~15ul;
    error = start(thread_handle_of(number), (uint64_t)thread_run, sp, (uint64_t) new);
    if (error < 0) thread_drop(number);
    return error;
}

int64_t thread_join(struct thread *thread, int64_t *result) {
    uint32_t me = thread_self()->number + 1;
    uint32_t seen = THREAD_RUNNING;

    if (thread->number == 0 || thread == thread_self()) return -EINVAL;
    /* `ended` can't tell: once it says THREAD_ENDED, the joiner's number is gone. */
    if (__atomic_exchange_n(&thread->joined, 1, __ATOMIC_RELAXED) != 0) return -EBUSY;
    if (__atomic_compare_exchange_n(&thread->ended, &seen, me, false, CAS_ORDER, CAS_ORDER)) {
        while (__atomic_load_n(&thread->ended, __ATOMIC_ACQUIRE) == me)
            park_if(&thread->ended, me, DEADLINE_NONE);
    }
    if (result != 0) *result = thread->result;
    thread_drop(thread->number);
    return 0;
}
