/*
 * TLB shootdown by generations.
 *
 * The generation of a space counts the changes of its tables that take
 * something away, or make something executable. For each hart the space has a
 * word, written by that hart alone:
 *
 *     2·generation + in_user
 *
 * the generation at which this hart last flushed what it has cached of the
 * space, and whether it is in user mode in it.
 *
 *     hart returning to user mode        shooter (holds the space's lock)
 *     word = 2·generation + 1            change the tables
 *     fence                              generation = generation + 1
 *     generation as before?              fence
 *       else start over                  for each word that is odd and old:
 *     flush if the word was old            interrupt that hart, and wait until
 *     install the user satp                the word is even or new
 *
 * Each stores, fences, then loads what the other stores (the shape of Dekker's
 * algorithm; both fences sequentially consistent). So either the hart sees the
 * new generation, and starts over; or the shooter sees the word, and waits.
 *
 * If the hart's word is new, it flushes after that, or has flushed before, at
 * this generation; either way before it installs the satp: no walk for this
 * space, not even a speculative one, starts before that from an old pointer.
 * An acquire fence orders the flush after its reading the generation, which
 * was stored after the change of the tables; what it fetches is changed. If the
 * word is even, the hart is not in user mode in the space, and will publish
 * before it is.
 *
 * A hart in the kernel is withdrawn: it walks no user table but by software,
 * under the lock. So the shooter waits for harts in user mode only, where the
 * interrupt always gets through, and can't wait for one that spins for the
 * lock it holds.
 *
 * Withdrawing is a release: the hart's accesses as a user happened before the
 * shooter, which reads the word by acquire, frees what they went to.
 *
 * Generations start at 1 and words at 0: a hart flushes when it first enters a
 * space, and so gets rid of what an earlier space of the same address space
 * number has left behind. 63 bits of generations never wrap.
 *
 * The flush includes fence.i: what was written before it was mapped
 * executable is what runs.
 */
#include "shootdown.h"
#include "compiler.h"
#include "ipi.h"
#include "machine.h"
#include "riscv/csr.h"

enum { IN_USER = 1 };

/* This hart's word of a space. */
static inline uint64_t *this_word(struct space *space) {
    return (uint64_t *)((char *)space + this_hart()->seen_offset);
}

LEAF struct executor *shootdown_withdraw(struct executor *self) {
    uint64_t *word = this_word(self->space);
    __atomic_store_n(word, *word & ~(uint64_t)IN_USER, __ATOMIC_RELEASE);
    return self;
}

LEAF struct executor *shootdown_publish(struct executor *next) {
    struct space *space = next->space;
    uint64_t *word = this_word(space);
    uint64_t before = *word;
    uint64_t now, generation = __atomic_load_n(&space->generation, __ATOMIC_RELAXED);
    do {
        now = generation;
        __atomic_store_n(word, 2 * now + IN_USER, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        generation = __atomic_load_n(&space->generation, __ATOMIC_RELAXED);
    } while (UNLIKELY(generation != now));
    if (UNLIKELY(before != 2 * now)) {
        /* The change of the tables comes before the flush. */
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        sfence_vma_asid(space->asid);
        fence_i();
    }
    return next;
}

/* Is hart `i` in user mode in the space, with what was before `generation`? */
static inline bool is_behind(const struct space *space, uint64_t i, uint64_t generation) {
    uint64_t word = __atomic_load_n(&space->seen[i].word, __ATOMIC_ACQUIRE);
    return (word & IN_USER) && word / 2 < generation;
}

void shootdown(struct space *space) {
    uint64_t generation = space->generation + 1;
    /* Release: whoever reads it sees the tables changed. */
    __atomic_store_n(&space->generation, generation, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t waiting = 0;
    for (uint64_t i = 0; i < hart_count; i++) {
        if (is_behind(space, i, generation)) {
            waiting |= 1ul << i;
            ipi_send(harts[i]);
        }
    }
    for (uint64_t i = 0; waiting >> i != 0; i++) {
        while ((waiting >> i & 1) && is_behind(space, i, generation)) machine_relax();
    }
}
