/*
 * TLB shootdown by generations.
 *
 * The generation of a space counts the changes of its tables that take
 * something away, or make something executable. For each hart the space has a
 * word, written by that hart alone:
 *
 *     2·generation + uses
 *
 * the generation at which this hart last flushed what it has cached of the
 * space, and whether it uses it: is in user mode there, or has come into the
 * kernel from there, by a call, and not withdrawn.
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
 * word is even, the hart does not use the space, and will publish before it
 * does.
 *
 * A hart withdraws when it comes into the kernel by anything but a call, and
 * before it takes the lock of any space, or serves interrupts, as it does where
 * it reaps and where it sleeps: the shooter's would be used up. Until then it
 * stays published, so that a call that takes no such lock need not publish
 * again, and may use handles that the hart remembers (handle.h), as a user may
 * use translations. The shooter never waits for ever:
 *   - in user mode the interrupt gets through;
 *   - in the kernel a published hart goes on: it may wait for other locks, but
 *     those rank above a space's (lock.h), so that no holder of one waits for a
 *     space's lock, or shoots; or, in the page allocator, for a hart that takes
 *     pages or appends them: the first may wait for the second, and that for
 *     nobody.
 *
 * hart->published never names a space that is gone. A hart that is published and
 * in the kernel came by a call, so its code was mapped: whoever unmaps that waits
 * for this hart. So a teardown waits for it, or finds nothing mapped, and nobody
 * published; and no executor is left that a hart could publish for.
 *
 * Withdrawing is a release: the hart's accesses as a user happened before the
 * shooter, which reads the word by acquire, frees what they went to.
 *
 * Generations start at 1 and words at 0: a hart flushes when it first enters a
 * space, and so gets rid of what an earlier space of the same address space
 * number, or at the same address, has left behind. 63 bits of generations never
 * wrap.
 *
 * The flush includes fence.i: what was written before it was mapped
 * executable is what runs.
 */
#include "shootdown.h"
#include "compiler.h"
#include "handle.h"
#include "ipi.h"
#include "machine.h"
#include "riscv/csr.h"

enum { USES = 1 };

/* This hart's word of a space. */
static inline uint64_t *this_word(struct space *space) {
    return (uint64_t *)((char *)space + this_hart()->seen_offset);
}

LEAF void shootdown_withdraw(void) {
    struct space *space = this_hart()->published;
    if (space == NULL) return;
    __atomic_fetch_and(this_word(space), ~(uint64_t)USES, __ATOMIC_RELEASE);
    this_hart()->published = NULL;
}

LEAF struct executor *shootdown_publish(struct executor *next) {
    struct space *space = next->space;
    if (this_hart()->published == space) return next;
    shootdown_withdraw();
    this_hart()->published = space;
    uint64_t *word = this_word(space), before = *word;
    uint64_t now, generation = __atomic_load_n(&space->generation, __ATOMIC_RELAXED);
    do {
        now = generation;
        __atomic_store_n(word, 2 * now + USES, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        generation = __atomic_load_n(&space->generation, __ATOMIC_RELAXED);
    } while (UNLIKELY(generation != now));
    if (UNLIKELY(before != 2 * now)) {
        /* The change of the tables comes before the flush. */
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        sfence_vma_asid(space->asid);
        fence_i();
        handle_forget_all();
    }
    return next;
}

/* Does hart `i` use the space, with what was before `generation`? */
static inline bool is_behind(const struct space *space, uint64_t i, uint64_t generation) {
    uint64_t word = __atomic_load_n(&space->seen[i].word, __ATOMIC_ACQUIRE);
    return (word & USES) && word / 2 < generation;
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
