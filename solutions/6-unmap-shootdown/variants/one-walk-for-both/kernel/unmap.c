/*
 * Unmapping with one recursive walk for both steps: what it does with an entry
 * is the step's business. In shootdown.c sequentially consistent accesses stand
 * where the reference has fences, and a second look at the words where it keeps
 * a set of harts. Exit (exit.c) makes `alive` 0 by a swap, and ends executors
 * one at a time, each after another look at the list. reap.c takes the whole
 * list of executors at once.
 */
#include "unmap.h"
#include "call.h"
#include "machine.h"
#include "shootdown.h"

enum step { CLEAR, DROP };

struct walk {
    enum step step;
    uint64_t va, end;
    uint64_t budget; /* entries that may yet be looked at */
    bool some;       /* an entry of a page was cleared */
    struct page_chain chain;
};

static uint64_t walk_table(struct walk *walk, struct page_table *table, uint32_t level);

/* Whether the entry became invalid. Moves on from what it covers. */
static bool clear_entry(struct walk *walk, pte_t *entry, uint32_t level) {
    uint64_t next = round_down(walk->va, level_size(level)) + level_size(level);
    pte_t pte = pte_load(entry);
    if (!(pte & PTE_V)) {
        walk->va = next;
        return false;
    }
    if (level == 0) {
        walk->va = next;
        walk->some = true;
    } else {
        struct page_table *below = pte_page(pte);
        uint64_t gone = walk_table(walk, below, level - 1);
        if (gone == 0 || page_count_add(below, -(int64_t)gone) != 0) return false;
    }
    pte_store(entry, pte & ~PTE_V);
    return true;
}

static void drop_entry(struct walk *walk, pte_t *entry, uint32_t level) {
    pte_t pte = pte_load(entry);
    if (level == 0 || pte == 0)
        walk->va = round_down(walk->va, level_size(level)) + level_size(level);
    else
        walk_table(walk, pte_page(pte), level - 1);
    if (pte == 0 || (pte & PTE_V)) return;
    pte_store(entry, 0);
    if (level == 0)
        unmap_drop(pte, &walk->chain);
    else
        page_retire(pte_page(pte), &walk->chain);
}

/* Returns how many entries became invalid. */
static uint64_t walk_table(struct walk *walk, struct page_table *table, uint32_t level) {
    uint64_t gone = 0;
    for (uint64_t i = level_index(walk->va, level);
         i < TABLE_ENTRIES && walk->va < walk->end && walk->budget != 0; i++) {
        walk->budget--;
        if (walk->step == DROP)
            drop_entry(walk, &table->entries[i], level);
        else
            gone += clear_entry(walk, &table->entries[i], level);
    }
    return gone;
}

void unmap_drop(pte_t leaf, struct page_chain *chain) {
    if ((leaf & PTE_TYPE) == PTE_MEMORY) page_put(pte_page(leaf), chain);
    if ((leaf & PTE_TYPE) == PTE_EXECUTOR) executor_put(pte_page(leaf));
    if ((leaf & PTE_TYPE) == PTE_SPACE) space_put(pte_page(leaf));
}

uint64_t unmap_range(struct space *space, uint64_t va, uint64_t end) {
    struct walk walk = {.step = CLEAR, .va = va, .end = end, .budget = MAP_PAGES_MAX};
    uint64_t gone = walk_table(&walk, space->root, page_table_levels - 1);
    if (walk.va < end) end = walk.va;
    if (!walk.some) return end;
    if (gone != 0) page_count_add(space->root, -(int64_t)gone);
    shootdown(space);
    walk = (struct walk){.step = DROP, .va = va, .end = end, .budget = ~0ul};
    walk_table(&walk, space->root, page_table_levels - 1);
    page_free_chain(&walk.chain);
    return end;
}

static struct executor *unmap_in(struct executor *self, struct space *space) {
    uint64_t va = self->x[REG_A1], end = va + (self->x[REG_A2] << PAGE_SHIFT);
    lock_acquire(&space->lock, LOCK_SPACE);
    if (!space_alive(space)) {
        lock_release(&space->lock, LOCK_SPACE);
        return call_result(self, -ESRCH);
    }
    va = unmap_range(space, va, end);
    lock_release(&space->lock, LOCK_SPACE);
    self->x[REG_A1] = va;
    self->x[REG_A2] = (end - va) >> PAGE_SHIFT;
    return va == end ? call_result(self, 0) : call_again(self);
}

/* unmap(space, va, pages): whatever is mapped there, of any type; holes are
 * fine. 0, -EINVAL, -EBADF, -ESRCH. */
struct executor *call_unmap(struct executor *self) {
    uint64_t va = self->x[REG_A1], pages = self->x[REG_A2], most = user_end() >> PAGE_SHIFT;
    if (!page_aligned(va) || pages == 0 || pages > most || va >> PAGE_SHIFT > most - pages)
        return call_result(self, -EINVAL);
    struct space *space = call_space(self, user(self->x[REG_A0]));
    if (space == NULL) return call_result(self, -EBADF);
    struct executor *next = unmap_in(self, space);
    space_put(space);
    return next;
}
