/*
 * The global page: the words that all harts fight over, each on a cache line
 * of its own. gp points to it.
 */
#pragma once
#include "bank.h"
#include "layout.h"
#include <stddef.h>
#include <stdint.h>

struct global {
    uint64_t *page_alloc_head; /* entry at the head of the free queue, 0: a hart is popping */
    uint8_t line_0[0x40 - 8];
    struct bank main_bank; /* the largest one; read by all who free (bank.h) */
    uint8_t line_40[0x80 - 0x60];
    uint64_t pages_free; /* in the queue and above the marks, not in caches; atomic */
    uint8_t line_80[0x200 - 0x88];

    uint64_t *page_alloc_tail; /* last entry of the free queue */
    uint8_t line_1[0x200 - 8];

    struct hart *sched_mcs_lock; /* last hart in line, 0: free (mcs_lock.h) */
    uint8_t line_2[0x200 - 8];

    /* Under sched_mcs_lock; sched_head may be peeked at without. */
    struct executor *sched_head;
    struct executor *sched_tail;
    uint8_t line_3[0x100 - 16];

    uint64_t idle_harts; /* bit i: hart i may sleep (scheduler.h); an immediate reaches it */
    uint8_t line_4[0x200 - 8];

    uint64_t panicking; /* a hart panics: all others stop */
    uint8_t line_5[0x200 - 8];

    uint8_t lab_private[6][64];
};

_Static_assert(offsetof(struct global, page_alloc_head) == 0x000, "global page");
_Static_assert(offsetof(struct global, page_alloc_tail) == 0x200, "global page");
_Static_assert(offsetof(struct global, sched_mcs_lock) == 0x400, "global page");
_Static_assert(offsetof(struct global, sched_head) == 0x600, "global page");
_Static_assert(offsetof(struct global, sched_tail) == 0x608, "global page");
_Static_assert(sizeof(struct global) <= PAGE_SIZE, "global page");

extern struct global global_page;
