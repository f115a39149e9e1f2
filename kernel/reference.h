/*
 * Counts of references to an object.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* One more. The caller knows that one exists: whoever handed over the pointer
 * ordered what is seen of the object. */
static inline void reference_get(uint64_t *references) {
    __atomic_fetch_add(references, 1, __ATOMIC_RELAXED);
}

/* One more, unless there is none left. */
static inline bool reference_get_unless_zero(uint64_t *references) {
    uint64_t seen = __atomic_load_n(references, __ATOMIC_RELAXED);
    do {
        if (seen == 0) return false;
    } while (!__atomic_compare_exchange_n(references, &seen, seen + 1, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

/* One less; true if it was the last. Release: what we did with the object
 * happened before its end. Acquire: who ends it sees what all others did. */
static inline bool reference_put(uint64_t *references) {
    return __atomic_fetch_sub(references, 1, __ATOMIC_ACQ_REL) == 1;
}
