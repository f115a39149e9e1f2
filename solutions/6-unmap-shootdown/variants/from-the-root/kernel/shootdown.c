/*
 * TLB shootdown by generations.
 *
 * Each hart has a word in each space, 2 * generation + in_use, that it alone
 * writes. A shooter, with the space's lock, counts the generation up, interrupts
 * the harts that use the space with an older one, and waits until each has
 * withdrawn, or published the new one.
 *
 *     hart on its way to user mode        shooter
 *                                         change the tables
 *     load generation             <-----  store generation, release
 *     store word: generation, U
 *     full fence                          full fence
 *     load generation again               load word
 *     (the same, or start over)           (even or new, or interrupt and wait)
 *     flush, if it is a new one
 *
 * By the fences, one of the two sees what the other has stored. By the release,
 * and the first of the publishing hart's fences behind its load, its flush makes
 * it walk tables that are as new as the generation it has read.
 *
 * What a hart did as a user comes before its word: by the release in withdraw,
 * and the acquire where the shooter reads it.
 */
#include "shootdown.h"
#include "compiler.h"
#include "handle.h"
#include "ipi.h"
#include "machine.h"
#include "riscv/csr.h"

enum { IN_USE = 1 };

/* What this hart has to say of a space. */
static inline uint64_t *own_word(struct space *space) {
    return (uint64_t *)((char *)space + this_hart()->seen_offset);
}

LEAF void shootdown_withdraw(void) {
    struct space *space = this_hart()->published;
    if (space == NULL) return;
    this_hart()->published = NULL;
    uint64_t *word = own_word(space);
    /* A fence, not a release store: it also stands before the store of the
     * word by a later publish, which a shooter may read instead of this one. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(word, *word & ~(uint64_t)IN_USE, __ATOMIC_RELAXED);
}

LEAF struct executor *shootdown_publish(struct executor *next) {
    struct space *space = next->space;
    if (this_hart()->published == space) return next;
    shootdown_withdraw();
    this_hart()->published = space;
    uint64_t *word = own_word(space);
    uint64_t flushed = *word >> 1;
    uint64_t generation = __atomic_load_n(&space->generation, __ATOMIC_RELAXED);
    uint64_t seen;
    do {
        seen = generation;
        __atomic_store_n(word, seen << 1 | IN_USE, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        generation = __atomic_load_n(&space->generation, __ATOMIC_RELAXED);
    } while (UNLIKELY(generation != seen));
    /* Nothing walks the space's tables from here until its satp is in. */
    if (UNLIKELY(seen != flushed)) {
        sfence_vma_asid(space->asid);
        fence_i();
        handle_forget_all();
    }
    return next;
}

/* Must the hart with this word be waited for? */
static inline bool is_behind(uint64_t word, uint64_t generation) {
    return (word & IN_USE) && word >> 1 != generation;
}

void shootdown(struct space *space) {
    uint64_t generation = space->generation + 1; /* we have the lock */
    __atomic_store_n(&space->generation, generation, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t asked = 0;
    for (uint64_t i = 0; i < hart_count; i++) {
        /* Acquire, also for those that are not asked. */
        if (is_behind(__atomic_load_n(&space->seen[i].word, __ATOMIC_ACQUIRE), generation)) {
            asked |= 1ul << i;
            ipi_send(harts[i]);
        }
    }
    for (uint64_t i = 0; asked >> i != 0; i++) {
        while ((asked >> i & 1) &&
               is_behind(__atomic_load_n(&space->seen[i].word, __ATOMIC_ACQUIRE), generation))
            machine_relax();
    }
}
