/*
 * Two mistakes, small enough for a page: what the handouts show a failing
 * schedule of. Nothing here is of the kernel.
 */
#include <stdbool.h>
#include <stdint.h>

struct mailbox {
    uint64_t letters; /* how many were ever put in */
    uint8_t line_0[56];
    uint64_t letter;
    uint8_t line_1[56];
    uint64_t full;
};

/* Count one more letter. Two harts may do so at the same time. */
void mailbox_count(struct mailbox *box) {
    uint64_t seen = __atomic_load_n(&box->letters, __ATOMIC_RELAXED);
    __atomic_store_n(&box->letters, seen + 1, __ATOMIC_RELAXED);
}

/* Put a letter in, then say that there is one. */
void mailbox_put(struct mailbox *box, uint64_t letter) {
    __atomic_store_n(&box->letter, letter, __ATOMIC_RELAXED);
    __atomic_store_n(&box->full, 1, __ATOMIC_RELAXED);
}

/* The letter, or 0 if there is none yet. */
uint64_t mailbox_take(struct mailbox *box) {
    if (__atomic_load_n(&box->full, __ATOMIC_ACQUIRE) == 0) return 0;
    return __atomic_load_n(&box->letter, __ATOMIC_RELAXED);
}
