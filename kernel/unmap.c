/*
 * Unmapping.
 *
 *   1. (the caller has locked the space)
 *   2. clear V, and only V, in the leaves, and in the pointers to tables that
 *      become empty by that: so the addresses stay
 *   3. shootdown: no hart uses what was mapped
 *   4. walk again: what has an address but no V is dropped, its entry zeroed
 *   5. what reached zero goes to the free list in one step
 *
 * No reference is dropped before every hart has flushed: a page that another
 * space shares could otherwise be freed by that space's unmap while a stale
 * translation of this one still writes to it. For tables it is the same: a
 * page walker may be on its way through one.
 *
 * Outside of a call no entry has an address without V.
 */
#include "unmap.h"
#include "call.h"
#include "compiler.h"
#include "shootdown.h"

/* Where step 2 has got to. */
struct cursor {
    uint64_t va, end;
    uint64_t budget; /* entries that may yet be looked at */
    bool found;      /* something was mapped */
};

/* The end of the range, or of what such a table covers, whichever comes
 * first. */
static inline uint64_t end_here(const struct cursor *cursor, uint32_t shift) {
    uint64_t table_end = ((cursor->va >> (shift + 9)) + 1) << (shift + 9);
    return cursor->end < table_end ? cursor->end : table_end;
}

/* Step 2 in a table of leaves. Returns true if that has emptied it. */
static bool clear_leaves(struct page_table *table, struct cursor *cursor) {
    uint64_t slots = (end_here(cursor, PAGE_SHIFT) - cursor->va) >> PAGE_SHIFT;
    slots = slots < cursor->budget ? slots : cursor->budget;
    uint64_t cleared = 0;
    pte_t *entry = pte_at(table, cursor->va, PAGE_SHIFT);
    for (pte_t *last = entry + slots; entry != last; entry++) {
        pte_t pte = pte_load(entry);
        if (pte & PTE_V) {
            pte_store(entry, pte & ~PTE_V);
            cleared++;
        }
    }
    cursor->va += slots << PAGE_SHIFT;
    cursor->budget -= slots;
    cursor->found |= cleared != 0;
    return cleared != 0 && page_count_add(table, -(int64_t)cleared) == 0;
}

/* Step 2 in a table of any level. Returns true if that has emptied it. The
 * recursion is as deep as the tree: three calls, or four. */
static bool clear_table(struct page_table *table, uint32_t shift, struct cursor *cursor) {
    if (shift == PAGE_SHIFT) return clear_leaves(table, cursor);
    uint64_t cleared = 0, end = end_here(cursor, shift);
    for (pte_t *entry = pte_at(table, cursor->va, shift); cursor->va < end && cursor->budget > 0;
         entry++) {
        pte_t pte = pte_load(entry);
        cursor->budget--;
        if (!(pte & PTE_V)) {
            cursor->va = ((cursor->va >> shift) + 1) << shift;
        } else if (clear_table(pte_page(pte), shift - 9, cursor)) {
            pte_store(entry, pte & ~PTE_V);
            cleared++;
        }
    }
    return cleared != 0 && page_count_add(table, -(int64_t)cleared) == 0;
}

/* Step 4 in a table of any level: every entry without V, from the one for `va`
 * to the one for `last`. */
static void drop_table(struct page_table *table, uint32_t shift, uint64_t va, uint64_t last,
                       struct page_chain *chain) {
    pte_t *first_entry = pte_at(table, va, shift), *last_entry = pte_at(table, last, shift);
    for (pte_t *entry = first_entry; entry <= last_entry; entry++) {
        pte_t pte = pte_load(entry);
        if (pte == 0) continue;
        if (LIKELY(shift == PAGE_SHIFT)) {
            unmap_drop(pte, chain); /* step 2 has cleared all in the range */
        } else {
            /* Of the tables between these two, all entries. */
            drop_table(pte_page(pte), shift - 9, entry == first_entry ? va : 0,
                       entry == last_entry ? last : ~0ul, chain);
            if (pte & PTE_V) continue;
            page_retire(pte_page(pte), chain);
        }
        pte_store(entry, 0);
    }
}

LEAF void unmap_drop(pte_t leaf, struct page_chain *chain) {
    uint64_t type = leaf & PTE_TYPE;
    if (LIKELY(type == PTE_MEMORY))
        page_put(pte_page(leaf), chain);
    else if (type == PTE_EXECUTOR)
        executor_put(pte_page(leaf));
    else if (type == PTE_SPACE)
        space_put(pte_page(leaf));
    /* A device is not RAM: nobody counts it. */
}

uint64_t unmap_range(struct space *space, uint64_t va, uint64_t end) {
    struct cursor clear = {.va = va, .end = end, .budget = MAP_PAGES_MAX};
    struct page_table *table = space->root;
    uint32_t shift = page_table_root_shift;
    /* A single page whose table keeps others: nothing changes in those above. */
    pte_t *only = end - va == PAGE_SIZE ? page_table_walk(table, va) : NULL;
    if (only != NULL && page_count_add(pte_table(only), 0) > 1) {
        table = pte_table(only);
        shift = PAGE_SHIFT;
    }
    clear_table(table, shift, &clear);
    uint64_t stopped = clear.va < end ? clear.va : end;
    if (!clear.found) return stopped;
    shootdown(space);
    struct page_chain chain = {0};
    drop_table(table, shift, va, stopped - 1, &chain);
    page_free_chain(&chain);
    return stopped;
}

/* unmap(space, va, pages): whatever is mapped there, of any type; holes are
 * fine. 0, -EINVAL, -EBADF, -ESRCH. */
struct executor *call_unmap(struct executor *self) {
    uint64_t va = self->x[REG_A1], pages = self->x[REG_A2];
    if (!page_aligned(va) || va >= user_end() || pages == 0 ||
        pages > (user_end() - va) >> PAGE_SHIFT)
        return call_result(self, -EINVAL);
    struct space *space = call_space(self, user(self->x[REG_A0]));
    if (space == NULL) return call_result(self, -EBADF);
    uint64_t end = va + (pages << PAGE_SHIFT);
    lock_acquire(&space->lock, LOCK_SPACE);
    bool alive = space_alive(space);
    uint64_t stopped = alive ? unmap_range(space, va, end) : end;
    lock_release(&space->lock, LOCK_SPACE);
    space_put(space);
    if (!alive) return call_result(self, -ESRCH);
    if (stopped == end) return call_result(self, 0);
    /* More to do: let interrupts in, by making the call again for the rest. A
     * handle to the own space may have been in what is done. */
    if (space == self->space) self->x[REG_A0] = 0;
    self->x[REG_A1] = stopped;
    self->x[REG_A2] = (end - stopped) >> PAGE_SHIFT;
    return call_again(self);
}
