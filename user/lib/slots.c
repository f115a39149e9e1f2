/*
 * Slots, see slots.h.
 */
#include "slots.h"
#include "stag/abi.h"

int64_t slots_take(struct slots *slots, uint64_t limit) {
    for (uint64_t number = 0; number < limit; number++) {
        uint64_t *word = &slots->taken[number / 64];
        uint64_t bit = 1ul << (number % 64);

        if (__atomic_load_n(word, __ATOMIC_RELAXED) & bit) continue;
        /* Acquire: what the last owner did with the place is behind us. */
        if ((__atomic_fetch_or(word, bit, __ATOMIC_ACQUIRE) & bit) == 0) return number;
    }
    return -ENOMEM;
}

void slots_give(struct slots *slots, uint64_t number) {
    /* Release: we are done with the place before another can take it. */
    __atomic_fetch_and(&slots->taken[number / 64], ~(1ul << (number % 64)), __ATOMIC_RELEASE);
}
