/*
 * Time: the machine's `time` counter, which runs at the same rate on all
 * harts. Deadlines of the park calls are values of it.
 */
#pragma once
#include "info.h"
#include <stdint.h>

/* The counter now. */
static inline uint64_t time_now(void) {
    uint64_t now;
    __asm__ volatile("csrr %0, time" : "=r"(now) : : "memory");
    return now;
}

/* Ticks of the counter in so many milliseconds. */
static inline uint64_t time_ticks(uint64_t milliseconds) {
    return info_page()->timebase * milliseconds / 1000;
}

/* Microseconds in so many ticks. */
static inline uint64_t time_microseconds(uint64_t ticks) {
    return ticks * 1000000 / info_page()->timebase;
}

/* The deadline that is so many milliseconds from now. */
static inline uint64_t time_after(uint64_t milliseconds) {
    return time_now() + time_ticks(milliseconds);
}

/* Sleep for so many milliseconds. Events that arrive meanwhile stay
 * pending. The library keeps event 31 for this: nobody may send it. */
void sleep_ms(uint64_t milliseconds);
