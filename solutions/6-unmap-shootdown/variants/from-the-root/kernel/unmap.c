/*
 * Unmapping without recursion: both walks enter the tables anew from the root
 * for each table of leaves, or hole. Neighbouring holes of one table are passed
 * over in one loop. In shootdown.c withdrawing is a release fence and a plain
 * store, and the flush has no acquire fence of its own: the full fence of the
 * loop before it is one.
 */
#include "unmap.h"
#include "call.h"
#include "compiler.h"
#include "machine.h"
#include "shootdown.h"

LEAF void unmap_drop(pte_t leaf, struct page_chain *chain) {
    void *page = pte_page(leaf);
    switch (leaf & PTE_TYPE) {
    case PTE_MEMORY: page_put(page, chain); break;
    case PTE_EXECUTOR: executor_put(page); break;
    case PTE_SPACE: space_put(page); break;
    case PTE_DEVICE: /* no RAM: nothing is counted */ break;
    }
}

/* The table that an entry stands in. */
static struct page_table *table_of(const pte_t *entry) {
    return (struct page_table *)round_down((uint64_t)entry, PAGE_SIZE);
}

/*
 * The way down to one address: the entries on it, by level. The tables are
 * entered anew from the root for each leaf table, or hole, of the range, so
 * that both walks are plain loops.
 */
enum { LEVELS_MAX = 4 };

/* Go down to `va` as far as upper entries have one of the bits of `mask`.
 * Returns the level of the last entry, which is 0 or leads nowhere. */
static uint32_t descend(struct space *space, uint64_t va, uint64_t mask, pte_t *way[LEVELS_MAX]) {
    struct page_table *table = space->root;
    for (uint32_t level = page_table_levels - 1;; level--) {
        way[level] = &table->entries[level_index(va, level)];
        pte_t pte = pte_load(way[level]);
        if (level == 0 || !(pte & mask)) return level;
        table = pte_page(pte);
    }
}

/* Where the entry for `va` at this level ends, or the range does. */
static uint64_t behind(uint64_t va, uint32_t level, uint64_t end) {
    uint64_t next = round_down(va, level_size(level)) + level_size(level);
    return next < end ? next : end;
}

/* `entry`, for `va` at this level, leads nowhere: pass over it and those that
 * follow it in its table and have none of the bits of `mask` either, as long as
 * the budget pays for the look. Returns where they end. */
static uint64_t pass_over(const pte_t *entry, uint64_t va, uint32_t level, uint64_t end,
                          uint64_t mask, uint64_t *budget) {
    uint64_t table_end = behind(va, level + 1, end);
    uint64_t next = behind(va, level, end);
    while (next < table_end && *budget != 0) {
        (*budget)--;
        if (pte_load(++entry) & mask) return next;
        next += level_size(level);
    }
    return next < end ? next : end;
}

/* `gone` entries of the leaf table on this way were made invalid. If it has
 * none left unlink it, and so on upwards; the root stays. */
static void unlink_empty(pte_t *way[LEVELS_MAX], uint64_t gone) {
    for (uint32_t level = 0;; level++, gone = 1) {
        uint64_t left = page_count_add(table_of(way[level]), -(int64_t)gone);
        if (left != 0 || level == page_table_levels - 1) return;
        pte_t *pointer = way[level + 1];
        pte_store(pointer, pte_load(pointer) & ~PTE_V);
    }
}

/*
 * The first walk: make what there is in [va, end) invalid, and the pointers to
 * tables that become empty by that. Addresses stay in the entries. Returns how
 * far the budget went; sets *some if anything was there.
 */
static uint64_t invalidate(struct space *space, uint64_t va, uint64_t end, bool *some) {
    pte_t *way[LEVELS_MAX];
    uint64_t budget = MAP_PAGES_MAX;
    while (va < end && budget >= page_table_levels) {
        uint32_t level = descend(space, va, PTE_V, way);
        budget -= page_table_levels - level;
        if (level != 0) {
            va = pass_over(way[level], va, level, end, PTE_V, &budget);
            continue;
        }
        /* One leaf entry is paid for already. */
        uint64_t count = (behind(va, 1, end) - va) >> PAGE_SHIFT;
        count = count <= budget + 1 ? count : budget + 1;
        budget -= count - 1;
        uint64_t gone = 0;
        for (uint64_t i = 0; i < count; i++) {
            pte_t pte = pte_load(&way[0][i]);
            if (pte & PTE_V) {
                pte_store(&way[0][i], pte & ~PTE_V);
                gone++;
            }
        }
        if (gone != 0) {
            unlink_empty(way, gone);
            *some = true;
        }
        va += count << PAGE_SHIFT;
    }
    return va;
}

/*
 * The second walk, over what the first did: drop each entry that has an address
 * and no V, and make it 0. A table is dropped when the walk leaves it.
 */
static void drop(struct space *space, uint64_t va, uint64_t end, struct page_chain *chain) {
    pte_t *way[LEVELS_MAX];
    uint64_t budget = ~0ul; /* the first walk has kept to its own */
    while (va < end) {
        uint32_t level = descend(space, va, ~0ul, way);
        uint64_t next =
            level == 0 ? behind(va, 1, end) : pass_over(way[level], va, level, end, ~0ul, &budget);
        for (uint64_t i = 0; level == 0 && i < (next - va) >> PAGE_SHIFT; i++) {
            pte_t pte = pte_load(&way[0][i]);
            if (pte != 0 && !(pte & PTE_V)) {
                pte_store(&way[0][i], 0);
                unmap_drop(pte, chain);
            }
        }
        /* Unlinked tables that end here, or of which the rest is empty since
         * the first walk went no further. Above one that is in use all are. */
        while (++level < page_table_levels) {
            pte_t pte = pte_load(way[level]);
            if ((pte & PTE_V) || (next != end && (next & (level_size(level) - 1)) != 0)) break;
            pte_store(way[level], 0);
            page_retire(pte_page(pte), chain);
        }
        va = next;
    }
}

uint64_t unmap_range(struct space *space, uint64_t va, uint64_t end) {
    bool some = false;
    uint64_t stop = invalidate(space, va, end, &some);
    if (some) {
        struct page_chain chain = {0};
        shootdown(space);
        drop(space, va, stop, &chain);
        page_free_chain(&chain);
    }
    return stop;
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
    uint64_t done = alive ? unmap_range(space, va, end) : end;
    lock_release(&space->lock, LOCK_SPACE);
    space_put(space);
    if (done != end) {
        self->x[REG_A1] = done;
        self->x[REG_A2] = (end - done) >> PAGE_SHIFT;
        return call_again(self);
    }
    return call_result(self, alive ? 0 : -ESRCH);
}
