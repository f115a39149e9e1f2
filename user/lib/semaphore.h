/*
 * Counting semaphore, for the threads of one address space.
 */
#pragma once
#include <stdint.h>

/* Set `count` before the first use; all else starts as zero. */
struct semaphore {
    uint32_t count; /* units that are free */
    uint32_t guard; /* spin lock for all of this */
    uint32_t first; /* threads that wait; none while count is not 0 */
    uint32_t last;
};

/* Take one unit; sleep until there is one. */
void semaphore_wait(struct semaphore *semaphore);

/* Give one unit; wakes the thread that has waited longest. Never sleeps. */
void semaphore_post(struct semaphore *semaphore);
