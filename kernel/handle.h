/*
 * Handles: contract. A handle is a user address at which an object's page is
 * mapped for the kernel only (PTE_EXECUTOR or PTE_SPACE, R and W, neither U nor
 * X); whoever can name it in its own space may use the object.
 */
#pragma once
#include "executor.h"
#include "machine.h"
#include "space.h"

/* The object that the handle at `va`, the start of a page, names; 0 if there is
 * none of that type. The lock of `space` is held, and keeps the object while it
 * is. */
struct executor *handle_executor(struct space *space, user_t va);
struct space *handle_space(struct space *space, user_t va);

/*
 * What a hart remembers of handles, as its TLB does of pages, and by the same
 * rule: whoever takes a handle away waits, by a shootdown, for each hart that
 * uses the space (shootdown.c). So what a hart has remembered since it last
 * flushed names an object that stays, without the lock, for as long as the hart
 * is published.
 */

static inline struct remembered_handle *handle_slot(user_t va) {
    return &this_hart()->handles[va.raw / PAGE_SIZE % HART_HANDLES];
}

/* What the handle leads to in the space in which this hart is published; 0 if
 * the hart does not remember, or is published nowhere. Good until it withdraws;
 * a reference taken until then (call_executor) keeps it for longer. */
static inline struct executor *handle_remembered(user_t va) {
    const struct remembered_handle *slot = handle_slot(va);
    bool same = slot->va == va.raw && slot->space == this_hart()->published;
    return same ? slot->executor : NULL;
}

/* Note what a handle in `space` leads to, or that it leads to nothing (0), as seen
 * under its lock since this hart withdrew. If that has changed by now, the hart
 * flushes, and so forgets it, when it next publishes there. */
static inline void handle_remember(struct space *space, user_t va, struct executor *executor) {
    *handle_slot(va) = (struct remembered_handle){va.raw, space, executor, 0};
}

/* As part of a flush. */
static inline void handle_forget_all(void) {
    for (uint64_t i = 0; i < HART_HANDLES; i++) this_hart()->handles[i].executor = NULL;
}
