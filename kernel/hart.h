/*
 * The hart page: what one hart alone works with. It stands at HART_PAGE on
 * every hart, a different page behind it on each, and tp points to it.
 *
 * Only its own hart writes it, but for the two MCS words. A pointer to it
 * that another hart will follow must be its linear-map address, `self`.
 */
#pragma once
#include "layout.h"
#include <stddef.h>
#include <stdint.h>

#define HART_CACHE_SIZE  32 /* free pages that a hart may keep to itself */
#define HART_CACHE_BATCH 16 /* so many at a time are fetched, or given back */
#define HART_HANDLES     4  /* handles that a hart remembers; a power of two */

/* A free page in a hart's cache, and its entry in the allocation table. */
struct cached_page {
    void *page;
    uint64_t *entry;
};

/* A handle, and what it led to. */
struct remembered_handle {
    uint64_t va;
    struct space *space; /* whose table it is in */
    struct executor *executor;
    uint64_t unused;
};

struct hart {
    /* Written by the hart that queues behind this one: a line of its own. */
    struct hart *mcs_lock_next;
    uint8_t line_0[56];

    /* This hart's own. The assembler knows these. */
    struct executor *executor; /* running or last trapped here, 0 when idle */
    uint64_t switched;         /* 1: dispatched since the last return to user mode */
    struct global *gp;         /* the same on all harts */
    uint64_t sp;               /* top of the kernel stack, the same on all harts */
    uint64_t reap_due;         /* 1: there is something to reap (reap.h) */
    uint64_t kernel_satp;
    uint64_t id;             /* the firmware's number */
    struct space *published; /* where its word says that it uses the space, 0: nowhere */

    struct hart *self;               /* linear-map address of this page */
    uint64_t index;                  /* 0 … hart_count - 1 */
    uint64_t seen_offset;            /* of this hart's word in a space's page (space.h) */
    uint64_t ranks_held;             /* bit r: holds a lock of rank r (lock.h) */
    uint64_t timer_at;               /* `time` at which the timer is set to go off */
    struct executor *reap_executors; /* without references, to be freed */
    struct space *reap_spaces;       /* the same, or to be torn down */
    uint64_t panics;                 /* that have begun on this hart */
    uint8_t line_1[0x200 - 0x40 - 128];

    /* Written by the hart that hands the MCS lock over. */
    uint64_t mcs_lock_held;
    uint8_t line_2[0x200 - 8 - 32 * HART_HANDLES];

    struct remembered_handle handles[HART_HANDLES]; /* handle.h */

    /* Stack of free pages, between a floor and a ceiling that stay {0, 0}. */
    struct cached_page *cache_top; /* the topmost page */
    uint64_t line_3;
    struct cached_page cache[1 + HART_CACHE_SIZE + 1];

    uint8_t lab_private[6][64]; /* a line for each lab's own fields */
    /* From here to the end of the page: the emergency stack, for panics. */
};

_Static_assert(offsetof(struct hart, mcs_lock_next) == 0x000, "hart page");
_Static_assert(offsetof(struct hart, mcs_lock_held) == 0x200, "hart page");
_Static_assert(offsetof(struct hart, cache_top) == 0x400, "hart page");
_Static_assert(sizeof(struct hart) <= PAGE_SIZE - 0x400, "room for the emergency stack");

/* All harts by index, linear-map addresses. Written before the second hart
 * starts, read-only from then on. */
extern struct hart *harts[HARTS_MAX];
extern uint64_t hart_count;
