/*
 * The machine as the portable part of the kernel sees it: who am I, wait a
 * little. (Tests compile the concurrent parts for the host against another
 * header of this name, with threads as harts.)
 */
#pragma once
#include "global.h"
#include "hart.h"
#include <stdint.h>

/* RISC-V calling convention: neither register is ever allocated. */
register struct global *machine_gp __asm__("gp");
register struct hart *machine_tp __asm__("tp");

static inline struct global *global(void) {
    return machine_gp;
}

static inline struct hart *this_hart(void) {
    return machine_tp;
}

/* In a loop that waits for another hart. (The pause hint is a fence with no
 * effect where it is not known.) */
static inline void machine_relax(void) {
    __asm__ volatile(".word 0x0100000f" ::: "memory");
}

/* Sleep until an interrupt is pending on this hart, which it may be already. */
static inline void machine_wait(void) {
    __asm__ volatile("wfi" ::: "memory");
}

/* The `time` counter: ticks at the info page's timebase. */
static inline uint64_t machine_time(void) {
    uint64_t now;
    __asm__ volatile("csrr %0, time" : "=r"(now)::"memory");
    return now;
}

/* Clear and copy whole pages, or clear blocks of 512 bytes: `size` is a multiple
 * of that, not 0 (string.S). */
void page_zero(void *page);
void blocks_zero(void *start, uint64_t size);
void page_copy(void *to, const void *from);
