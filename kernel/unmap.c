/*
 * Unmapping.
 *
 *   1. (the caller has locked the space)
 *   2. clear V, and only V, in the leaves, and in the pointers to tables that
 *      become empty by that: so the addresses stay
 *   3. shootdown: every hart in user mode in the space flushes
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
#include "machine.h"
#include "shootdown.h"

/* Where an unmapping has got to. */
struct cursor {
    uint64_t va, end;
    uint64_t budget; /* entries that may yet be looked at */
    bool found;      /* something was mapped */
};

/* Is the cursor still inside this table of `level`, with something to do? */
static bool cursor_stays(const struct cursor *cursor, uint64_t table_end)
{
    return cursor->va < cursor->end && cursor->va != table_end && cursor->budget > 0;
}

/* The address after the last that a table of `level` covers, which covers va. */
static uint64_t table_end(uint64_t va, uint32_t level)
{
    return round_down(va, level_size(level + 1)) + level_size(level + 1);
}

/* Step 2 in a table of leaves. Returns how many entries were cleared. */
static uint64_t clear_leaves(struct page_table *table, struct cursor *cursor)
{
    uint64_t slots = (table_end(cursor->va, 0) - cursor->va) >> PAGE_SHIFT;
    uint64_t wanted = (cursor->end - cursor->va) >> PAGE_SHIFT;
    slots = slots < wanted ? slots : wanted;
    slots = slots < cursor->budget ? slots : cursor->budget;
    uint64_t cleared = 0;
    pte_t *entry = &table->entries[level_index(cursor->va, 0)];
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
    return cleared;
}

/* Step 2 in a table of any level. Returns how many of its entries were
 * cleared. The recursion is as deep as the tree: three calls, or four. */
static uint64_t clear_table(struct page_table *table, uint32_t level, struct cursor *cursor)
{
    if (level == 0)
        return clear_leaves(table, cursor);
    uint64_t cleared = 0, end = table_end(cursor->va, level);
    while (cursor_stays(cursor, end)) {
        pte_t *entry = &table->entries[level_index(cursor->va, level)];
        pte_t pte = pte_load(entry);
        cursor->budget--;
        if (!(pte & PTE_V)) {
            cursor->va = table_end(cursor->va, level - 1);
            continue;
        }
        uint64_t fewer = clear_table(pte_page(pte), level - 1, cursor);
        if (fewer != 0 && page_count_add(pte_page(pte), -(int64_t)fewer) == 0) {
            pte_store(entry, pte & ~PTE_V);
            cleared++;
        }
    }
    return cleared;
}

/* Step 4 for leaves: every entry without V up to the end of the range. */
static void drop_leaves(struct page_table *table, struct cursor *cursor, struct page_chain *chain)
{
    uint64_t end = table_end(cursor->va, 0);
    end = end < cursor->end ? end : cursor->end;
    pte_t *entry = &table->entries[level_index(cursor->va, 0)];
    for (pte_t *last = entry + ((end - cursor->va) >> PAGE_SHIFT); entry != last; entry++) {
        pte_t pte = pte_load(entry);
        if (pte == 0 || (pte & PTE_V))
            continue;
        unmap_drop(pte, chain);
        pte_store(entry, 0);
    }
    cursor->va = end;
}

/* Step 4 in a table of any level. */
static void drop_table(struct page_table *table, uint32_t level, struct cursor *cursor,
                       struct page_chain *chain)
{
    if (level == 0) {
        drop_leaves(table, cursor, chain);
        return;
    }
    uint64_t end = table_end(cursor->va, level);
    while (cursor_stays(cursor, end)) {
        pte_t *entry = &table->entries[level_index(cursor->va, level)];
        pte_t pte = pte_load(entry);
        if (pte == 0) {
            cursor->va = table_end(cursor->va, level - 1);
            continue;
        }
        drop_table(pte_page(pte), level - 1, cursor, chain);
        if (!(pte & PTE_V)) {
            page_retire(pte_page(pte), chain);
            pte_store(entry, 0);
        }
    }
}

void unmap_drop(pte_t leaf, struct page_chain *chain)
{
    switch (leaf & PTE_TYPE) {
    case PTE_MEMORY:
        page_put(pte_page(leaf), chain);
        break;
    case PTE_EXECUTOR:
        executor_put(pte_page(leaf));
        break;
    case PTE_SPACE:
        space_put(pte_page(leaf));
        break;
    case PTE_DEVICE: /* not RAM: nobody counts it */
        break;
    }
}

uint64_t unmap_range(struct space *space, uint64_t va, uint64_t end)
{
    uint32_t top = page_table_levels - 1;
    struct cursor clear = {va, end, MAP_PAGES_MAX, false};
    clear_table(space->root, top, &clear);
    uint64_t stopped = clear.va < end ? clear.va : end;
    if (!clear.found)
        return stopped;
    shootdown(space);
    struct cursor drop = {va, stopped, UINT64_MAX, false};
    struct page_chain chain = {0};
    drop_table(space->root, top, &drop, &chain);
    page_free_chain(&chain);
    return stopped;
}

/* unmap(space, va, pages): whatever is mapped there, of any type; holes are
 * fine. 0, -EINVAL, -EBADF, -ESRCH. */
struct executor *call_unmap(struct executor *self)
{
    uint64_t va = self->x[REG_A1], pages = self->x[REG_A2];
    if (!page_aligned(va) || va >= user_end() || pages == 0 ||
        pages > (user_end() - va) >> PAGE_SHIFT)
        return call_result(self, -EINVAL);
    struct space *space = call_space(self, user(self->x[REG_A0]));
    if (space == NULL)
        return call_result(self, -EBADF);
    uint64_t end = va + (pages << PAGE_SHIFT);
    lock_acquire(&space->lock, LOCK_SPACE);
    bool alive = space_alive(space);
    uint64_t stopped = alive ? unmap_range(space, va, end) : end;
    lock_release(&space->lock, LOCK_SPACE);
    space_put(space);
    if (!alive)
        return call_result(self, -ESRCH);
    if (stopped == end)
        return call_result(self, 0);
    /* More to do: let interrupts in, by making the call again for the rest. */
    self->x[REG_A1] = stopped;
    self->x[REG_A2] = (end - stopped) >> PAGE_SHIFT;
    return call_again(self);
}
