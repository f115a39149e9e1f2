/*
 * Mapping and sharing.
 *
 * Each call sets aside all pages that it needs, tables included, outside of the
 * lock; checks everything under the lock; and then changes the tables, by steps
 * that can't fail.
 */
#include "map.h"
#include "call.h"
#include "handle.h"
#include "machine.h"
#include "shootdown.h"
#include "unmap.h"

bool map_range_valid(uint64_t va, uint64_t pages) {
    return page_aligned(va) && va != 0 && va < user_end() && pages != 0 && pages <= MAP_PAGES_MAX &&
           pages <= (user_end() - va) >> PAGE_SHIFT;
}

/* A leaf: accessed, and dirty if it can be written, from the start. */
static pte_t leaf(phys_t pa, uint64_t bits) {
    return pte_make(pa, bits | PTE_V | PTE_A | (bits & PTE_W ? PTE_D : 0));
}

/* The entry for `va` and those that follow it in the same table, up to `end`. */
static uint64_t entries_here(uint64_t va, uint64_t end) {
    uint64_t table_end = round_down(va, level_size(1)) + level_size(1);
    return ((end < table_end ? end : table_end) - va) >> PAGE_SHIFT;
}

static bool range_empty(struct space *space, uint64_t va, uint64_t end) {
    while (va < end) {
        uint64_t count = entries_here(va, end);
        const pte_t *entry = page_table_walk(space->root, va);
        for (uint64_t i = 0; entry != NULL && i < count; i++) {
            if (pte_load(&entry[i]) != 0) return false;
        }
        va += count << PAGE_SHIFT;
    }
    return true;
}

/* The table that an entry stands in. */
static struct page_table *table_of(const pte_t *entry) {
    return (struct page_table *)round_down((uint64_t)entry, PAGE_SIZE);
}

/*
 * Lock both spaces, which may be one, when there are as many pages on `tables`
 * as [va, end) in `to` lacks tables. 0, or -ESRCH or -ENOMEM: then they are not
 * locked. The caller drops what is on `tables` in any case.
 */
static int lock_with_tables(struct space *from, struct space *to, uint64_t va, uint64_t end,
                            struct page_list *tables) {
    for (uint64_t set_aside = 0;;) {
        space_lock_both(from, to);
        bool alive = space_alive(from) && space_alive(to);
        uint64_t missing = alive ? page_table_missing(to->root, va, end) : 0;
        if (alive && missing <= set_aside) return 0;
        space_unlock_both(from, to);
        if (!alive) return -ESRCH;
        /* Tables may go while we set pages aside, so look again. */
        int error = page_list_fill(tables, missing - set_aside, false);
        if (error != 0) return error;
        set_aside = missing;
    }
}

int map_page(struct space *space, user_t va, phys_t pa, uint64_t bits) {
    uint64_t end = va.raw + PAGE_SIZE;
    struct page_list tables = {0};
    int error = lock_with_tables(space, space, va.raw, end, &tables);
    if (error == 0) {
        if (!range_empty(space, va.raw, end)) {
            error = -EEXIST;
        } else {
            pte_t *entry = page_table_make(space->root, va.raw, 0, &tables);
            page_count_add(table_of(entry), 1);
            pte_publish(entry, leaf(pa, bits));
        }
        space_unlock_both(space, space);
    }
    page_list_drop(&tables);
    return error;
}

/* Rights are R, RW or RX. */
static bool prot_valid(uint64_t prot) {
    return prot == PROT_READ || prot == (PROT_READ | PROT_WRITE) ||
           prot == (PROT_READ | PROT_EXECUTE);
}

/* PROT_… as bits of an entry. */
static uint64_t prot_bits(uint64_t prot) {
    return prot << 1;
}

/*
 * Clear V in all that is mapped in [va, end): no hart will find it any more, but
 * the entries still tell what was there. True if there was anything.
 */
static bool range_invalidate(struct space *space, uint64_t va, uint64_t end) {
    bool any = false;
    while (va < end) {
        uint64_t count = entries_here(va, end);
        pte_t *entry = page_table_walk(space->root, va);
        for (uint64_t i = 0; entry != NULL && i < count; i++) {
            pte_t old = pte_load(&entry[i]);
            if (old != 0) {
                pte_store(&entry[i], old & ~PTE_V);
                any = true;
            }
        }
        va += count << PAGE_SHIFT;
    }
    return any;
}

/* Map `pages` at all of [va, end). What stands there, V clear, is dropped. */
static void range_fill(struct space *space, uint64_t va, uint64_t end, uint64_t bits,
                       struct page_list *pages, struct page_list *tables,
                       struct page_chain *dropped) {
    while (va < end) {
        uint64_t count = entries_here(va, end);
        pte_t *entry = page_table_make(space->root, va, 0, tables);
        for (uint64_t i = 0; i < count; i++) {
            pte_t old = pte_load(&entry[i]);
            if (old != 0)
                unmap_drop(old, dropped); /* the new one takes its place in the count */
            else
                page_count_add(table_of(entry), 1);
            pte_publish(&entry[i], leaf(phys_from_linear(page_list_take(pages)), bits));
        }
        va += count << PAGE_SHIFT;
    }
}

/*
 * map(space, va, pages, prot, flags): zeroed memory. With MAP_REPLACE in place
 * of whatever is mapped there, else -EEXIST. 0, -EINVAL, -EBADF, -ESRCH,
 * -ENOMEM.
 *
 * Old entries are not noted elsewhere: they stay where they are, without V, from
 * before the shootdown until the new ones overwrite them. A program that gets
 * there meanwhile faults, and fault() waits for the lock of the space: then it
 * finds the new entry, and the fault was spurious.
 */
struct executor *call_map(struct executor *self) {
    uint64_t va = self->x[REG_A1], count = self->x[REG_A2];
    uint64_t prot = self->x[REG_A3], flags = self->x[REG_A4];
    if (!map_range_valid(va, count) || !prot_valid(prot) || (flags & ~(uint64_t)MAP_REPLACE) != 0)
        return call_result(self, -EINVAL);
    struct space *space = call_space(self, user(self->x[REG_A0]));
    if (space == NULL) return call_result(self, -EBADF);

    uint64_t end = va + (count << PAGE_SHIFT);
    struct page_list pages = {0}, tables = {0};
    struct page_chain dropped = {0};
    int error = page_list_fill(&pages, count, true);
    if (error == 0) error = lock_with_tables(space, space, va, end, &tables);
    if (error == 0) {
        if (!(flags & MAP_REPLACE) && !range_empty(space, va, end)) {
            error = -EEXIST;
        } else {
            if (range_invalidate(space, va, end)) shootdown(space);
            range_fill(space, va, end, PTE_MEMORY | PTE_U | prot_bits(prot), &pages, &tables,
                       &dropped);
            if (prot & PROT_EXECUTE) shootdown(space);
        }
        space_unlock_both(space, space);
    }
    page_free_chain(&dropped);
    page_list_drop(&pages);
    page_list_drop(&tables);
    space_put(space);
    return call_result(self, error);
}

/* May what `pte` maps be shown in `to`, with rights `prot`? 0 or the error. */
static int share_check(pte_t pte, struct space *to, uint64_t prot) {
    if (!(pte & PTE_V)) return -EINVAL;
    bool more = (prot & PROT_WRITE) && !(pte & PTE_W);
    switch (pte & PTE_TYPE) {
    case PTE_MEMORY: return more ? -EACCES : 0;
    case PTE_DEVICE: return more || (prot & PROT_EXECUTE) ? -EACCES : 0;
    case PTE_SPACE:
        /* space.h: no cycle of spaces that never ran. */
        if (__atomic_load_n(&to->live, __ATOMIC_RELAXED) == 0) {
            const struct space *named = pte_page(pte);
            return named->serial > to->serial ? 0 : -EPERM;
        }
        return 0;
    default: /* PTE_EXECUTOR */ return 0;
    }
}

/* Can all of [from_va, …) be shown in `to`? 0 or the error. */
static int share_check_range(struct space *from, uint64_t from_va, struct space *to, uint64_t count,
                             uint64_t prot) {
    for (uint64_t i = 0; i < count; i++) {
        const pte_t *entry = page_table_walk(from->root, from_va + (i << PAGE_SHIFT));
        int error = entry == NULL ? -EINVAL : share_check(pte_load(entry), to, prot);
        if (error != 0) return error;
    }
    return 0;
}

/* The entry that shows what `pte` maps, with one more count or reference. */
static pte_t share_entry(pte_t pte, uint64_t prot) {
    switch (pte & PTE_TYPE) {
    case PTE_MEMORY:
        page_get(pte_page(pte));
        return leaf(pte_phys(pte), PTE_MEMORY | PTE_U | prot_bits(prot));
    case PTE_DEVICE: return leaf(pte_phys(pte), PTE_DEVICE | PTE_U | prot_bits(prot));
    case PTE_SPACE: space_get(pte_page(pte)); return pte;
    default: /* PTE_EXECUTOR */ executor_get(pte_page(pte)); return pte;
    }
}

/*
 * share(from_space, from_va, to_space, to_va, pages, prot): the same pages seen
 * from another space too. W only where the source has W (-EACCES), X wherever
 * it can be read but on devices; handles are shared whole, and that of a space
 * into one never started only if it is younger (-EPERM). 0, -EINVAL (also where
 * the source has a hole), -EEXIST, -EBADF, -ESRCH, -ENOMEM.
 */
struct executor *call_share(struct executor *self) {
    uint64_t from_va = self->x[REG_A1], to_va = self->x[REG_A3];
    uint64_t count = self->x[REG_A4], prot = self->x[REG_A5];
    if (!map_range_valid(from_va, count) || !map_range_valid(to_va, count) || !prot_valid(prot))
        return call_result(self, -EINVAL);
    struct space *from = call_space(self, user(self->x[REG_A0]));
    if (from == NULL) return call_result(self, -EBADF);
    struct space *to = call_space(self, user(self->x[REG_A2]));
    if (to == NULL) {
        space_put(from);
        return call_result(self, -EBADF);
    }

    uint64_t to_end = to_va + (count << PAGE_SHIFT);
    struct page_list tables = {0};
    int error = lock_with_tables(from, to, to_va, to_end, &tables);
    if (error == 0) {
        error = share_check_range(from, from_va, to, count, prot);
        if (error == 0 && !range_empty(to, to_va, to_end)) error = -EEXIST;
        for (uint64_t i = 0; error == 0 && i < count; i++) {
            uint64_t offset = i << PAGE_SHIFT;
            pte_t source = pte_load(page_table_walk(from->root, from_va + offset));
            pte_t *entry = page_table_make(to->root, to_va + offset, 0, &tables);
            page_count_add(table_of(entry), 1);
            pte_publish(entry, share_entry(source, prot));
        }
        if (error == 0 && (prot & PROT_EXECUTE)) shootdown(to);
        space_unlock_both(from, to);
    }
    page_list_drop(&tables);
    space_put(to);
    space_put(from);
    return call_result(self, error);
}
