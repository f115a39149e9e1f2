/*
 * TLB shootdown by generations. The store of the word and the load of the
 * generation, and the store of the generation and the loads of the words, are
 * sequentially consistent: no hart misses what the other has stored.
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

LEAF void shootdown_withdraw(void) {
    if (this_hart()->published == NULL) return;
    __atomic_fetch_and(this_word(this_hart()->published), ~1ul, __ATOMIC_SEQ_CST);
    this_hart()->published = NULL;
}

LEAF struct executor *shootdown_publish(struct executor *next) {
    struct space *space = next->space;
    if (this_hart()->published == space) return next;
    shootdown_withdraw();
    this_hart()->published = space;
    uint64_t *word = this_word(space);
    uint64_t flushed = *word >> 1;
    uint64_t generation = __atomic_load_n(&space->generation, __ATOMIC_SEQ_CST);
    for (;;) {
        __atomic_store_n(word, generation << 1 | 1, __ATOMIC_SEQ_CST);
        uint64_t now = __atomic_load_n(&space->generation, __ATOMIC_SEQ_CST);
        if (LIKELY(now == generation)) break;
        generation = now;
    }
    if (UNLIKELY(flushed != generation)) {
        sfence_vma_asid(space->asid);
        fence_i();
        handle_forget_all();
    }
    return next;
}

/* Does this hart use the space, with what it had before? */
static bool is_behind(struct space *space, uint64_t hart, uint64_t generation) {
    uint64_t word = __atomic_load_n(&space->seen[hart].word, __ATOMIC_SEQ_CST);
    return (word & 1) && word >> 1 != generation;
}

void shootdown(struct space *space) {
    uint64_t generation = __atomic_add_fetch(&space->generation, 1, __ATOMIC_SEQ_CST);
    for (uint64_t i = 0; i < hart_count; i++)
        if (is_behind(space, i, generation)) ipi_send(harts[i]);
    /* Whoever was not interrupted is not behind any more, and never will be. */
    for (uint64_t i = 0; i < hart_count; i++)
        while (is_behind(space, i, generation)) machine_relax();
}
