/*
 * Slots: which of a row of numbered places are taken. Thread numbers, handles
 * and windows are given out with it.
 *
 * One bit a slot, set while it is taken. Taking and giving back are each one
 * atomic operation, so any thread may call at any time and no lock is needed.
 */
#pragma once
#include <stdint.h>

#define SLOTS_WORDS 16
#define SLOTS_MAX   (SLOTS_WORDS * 64)

struct slots {
    uint64_t taken[SLOTS_WORDS];
};

/* Take the lowest free slot below `limit` (at most SLOTS_MAX). Returns its
 * number, or -ENOMEM. */
int64_t slots_take(struct slots *slots, uint64_t limit);

/* Give slot `number` back. */
void slots_give(struct slots *slots, uint64_t number);
