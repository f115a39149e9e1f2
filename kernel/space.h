/*
 * The address space: one page, and a tree of page tables. With its executors
 * it is a process.
 *
 * A space is alive from its creation to its exit: when it is destroyed, when
 * its last started executor ends, or when nothing refers to it any more. Exit
 * terminates its executors; when the last has left the list, the space is
 * torn down: everything unmapped, tables and address space number given back.
 *
 * References: one for each handle, for each executor that was started and has
 * not ended, and one while it waits to be torn down. An executor that was
 * never started holds none: a space usually holds a handle to its own first
 * executor, and the two would keep each other for ever.
 *
 * A space that was never started holds handles only to spaces younger than
 * itself (share says -EPERM): so handles of such spaces form no cycle, and
 * dropping the first drops them all. A started space lives by its executors,
 * also by one that is stopped, and if only it has their handles.
 */
#pragma once
#include "address.h"
#include "lock.h"
#include "reference.h"
#include "riscv/page_table.h"

/* What one hart has to say of this space, written by that hart alone:
 * 2·generation + uses (shootdown.h). A line each. */
struct space_seen {
    uint64_t word;
    uint64_t line[7];
};

/* How far the end of a space has come. */
enum {
    SPACE_WHOLE,
    SPACE_TO_TEAR_DOWN, /* on a reap list, holds the exit's reference */
    SPACE_TORN_DOWN,
};

struct space {
    uint64_t references;
    uint64_t generation; /* starts at 1; under lock, read by who publishes */
    uint64_t satp;
    struct lock lock; /* the tables, the list of executors, `torn` */
    uint32_t alive;   /* 1 … 0, by one atomic swap */
    struct page_table *root;
    struct executor *executors; /* all that have not ended; under lock */
    uint64_t live;              /* started and not ended; atomic */
    uint64_t serial;            /* age: a younger space has a greater one */

    struct space *next; /* in a reap list */
    uint32_t torn;      /* SPACE_…; under lock, or by the hart that has it on its reap list */
    uint32_t line_4c;
    uint64_t teardown_at; /* where the next slice of the teardown goes on */
    uint64_t asid;

    uint8_t line_60[0x200 - 0x60];
    uint8_t lab_private[6][64];
    uint8_t line_380[0x400 - 0x380];
    struct space_seen seen[HARTS_MAX];
};

_Static_assert(offsetof(struct space, seen) == 0x400, "space page");
_Static_assert(sizeof(struct space) <= PAGE_SIZE, "space page");

/*
 * Make an empty space that shows the kernel image and the info page. One
 * reference, the caller's.
 * Returns 0 or -ENOMEM (no page or no address space number left).
 */
__attribute__((warn_unused_result)) int space_create(struct space **result);

/* One reference more. The caller knows that one exists. */
static inline void space_get(struct space *space) {
    reference_get(&space->references);
}

/* One reference more, unless the last is gone. */
static inline bool space_get_unless_zero(struct space *space) {
    return reference_get_unless_zero(&space->references);
}

/* Give a reference back; the last one puts the space on this hart's reap
 * list. Any lock may be held. */
void space_put(struct space *space);

/* Take the locks of two spaces, which may be the same one. */
void space_lock_both(struct space *one, struct space *other);
void space_unlock_both(struct space *one, struct space *other);

/* True until exit. Exact only under the space's lock: exit takes it after
 * clearing `alive`. */
static inline bool space_alive(struct space *space) {
    return __atomic_load_n(&space->alive, __ATOMIC_RELAXED) != 0;
}
