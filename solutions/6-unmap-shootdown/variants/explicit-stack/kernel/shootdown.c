/*
 * TLB shootdown by generations, with the fences and atomics spelled out. Every
 * publication flushes; so the word says only whether a hart has
 * answered.
 */
#include "shootdown.h"
#include "compiler.h"
#include "handle.h"
#include "ipi.h"
#include "machine.h"
#include "riscv/csr.h"

static inline uint64_t *this_word(struct space *space) {
    return (uint64_t *)((char *)space + this_hart()->seen_offset);
}

/* What this hart did as a user comes before its word is even. */
LEAF void shootdown_withdraw(void) {
    struct hart *hart = this_hart();
    if (hart->published == NULL) return;
    asm volatile("amoand.d.rl zero, %1, (%0)"
                 :
                 : "r"(this_word(hart->published)), "r"(~1ul)
                 : "memory");
    hart->published = NULL;
}

LEAF struct executor *shootdown_publish(struct executor *next) {
    struct space *space = next->space;
    if (this_hart()->published == space) return next;
    shootdown_withdraw();
    this_hart()->published = space;
    uint64_t *word = this_word(space);
    uint64_t generation;
    do {
        generation = __atomic_load_n(&space->generation, __ATOMIC_RELAXED);
        __atomic_store_n(word, 2 * generation | 1, __ATOMIC_RELAXED);
        asm volatile("fence rw, rw" ::: "memory");
    } while (__atomic_load_n(&space->generation, __ATOMIC_RELAXED) != generation);
    asm volatile("fence rw, rw" ::: "memory");
    sfence_vma_asid(space->asid);
    fence_i();
    handle_forget_all();
    return next;
}

static bool has_answered(struct space *space, uint64_t hart) {
    uint64_t word = __atomic_load_n(&space->seen[hart].word, __ATOMIC_RELAXED);
    asm volatile("fence r, rw" ::: "memory");
    return !(word & 1) || word == (2 * space->generation | 1);
}

void shootdown(struct space *space) {
    bool asked[HARTS_MAX];
    asm volatile("fence rw, w" ::: "memory");
    __atomic_store_n(&space->generation, space->generation + 1, __ATOMIC_RELAXED);
    asm volatile("fence rw, rw" ::: "memory");
    for (uint64_t i = hart_count; i-- != 0;) {
        asked[i] = !has_answered(space, i);
        if (asked[i]) ipi_send(harts[i]);
    }
    for (uint64_t i = hart_count; i-- != 0;) {
        while (asked[i] && !has_answered(space, i)) machine_relax();
    }
}
