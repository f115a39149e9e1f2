/*
 * Mapping and sharing.
 *
 * Each call sets aside all pages that it needs, tables included, outside of the
 * lock; checks everything under the lock; and then changes the tables, by steps
 * that can't fail.
 */
#include "map.h"
#include "call.h"
#include "shootdown.h"
#include "unmap.h"

/* So many pages are mapped at a time: what they take the place of is noted on
 * the stack, to be dropped after the shootdown. */
enum { STEP_PAGES = 128 };

bool map_range_valid(uint64_t va, uint64_t pages) {
    return page_aligned(va) && va != 0 && va < user_end() && pages != 0 && pages <= MAP_PAGES_MAX &&
           pages <= (user_end() - va) >> PAGE_SHIFT;
}

/* Read alone, read and write, or read and execute. */
static bool prot_valid(uint64_t prot) {
    return prot == PROT_READ || prot == (PROT_READ | PROT_WRITE) ||
           prot == (PROT_READ | PROT_EXECUTE);
}

static uint64_t prot_bits(uint64_t prot) {
    _Static_assert(PROT_READ << 1 == PTE_R && PROT_WRITE << 1 == PTE_W &&
                       PROT_EXECUTE << 1 == PTE_X,
                   "a shift turns one into the other");
    return prot << 1;
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

/* The entry for `va`. Its tables are most often there, and quick to walk. */
static pte_t *entry_for(struct space *space, uint64_t va, struct page_list *tables) {
    pte_t *entry = page_table_walk(space->root, va);
    return entry != NULL ? entry : page_table_make(space->root, va, 0, tables);
}

int map_page(struct space *space, user_t va, phys_t pa, uint64_t bits) {
    struct page_list tables = {0};
    int error = lock_with_tables(space, space, va.raw, va.raw + PAGE_SIZE, &tables);
    if (error == 0) {
        pte_t *entry = entry_for(space, va.raw, &tables);
        if (pte_load(entry) != 0) {
            error = -EEXIST; /* so its table was there */
        } else {
            page_count_add(pte_table(entry), 1);
            pte_publish(entry, leaf(pa, bits));
        }
        space_unlock_both(space, space);
    }
    page_list_drop(&tables);
    return error;
}

/* Put new pages off `pages` into [va, end), and drop what they take the place
 * of, which no hart uses any more after the shootdown. */
static void fill_range(struct space *space, uint64_t va, uint64_t end, uint64_t bits,
                       struct page_list *pages, struct page_list *tables) {
    pte_t replaced[STEP_PAGES];
    while (va < end) {
        uint64_t count = entries_here(va, end), noted = 0;
        if (count > STEP_PAGES) count = STEP_PAGES;
        pte_t *entry = entry_for(space, va, tables);
        for (uint64_t i = 0; i < count; i++) {
            pte_t before = pte_load(&entry[i]);
            pte_publish(&entry[i], leaf(phys_from_linear(page_list_take(pages)), bits));
            if (before != 0) replaced[noted++] = before;
        }
        page_count_add(pte_table(entry), (int64_t)(count - noted));
        if (noted != 0 || (bits & PTE_X)) shootdown(space);
        struct page_chain chain = {0};
        for (uint64_t i = 0; i < noted; i++) unmap_drop(replaced[i], &chain);
        page_free_chain(&chain);
        va += count << PAGE_SHIFT;
    }
}

/*
 * map(space, va, pages, prot, flags): zeroed memory. With MAP_REPLACE in place
 * of whatever is mapped there, else -EEXIST. 0, -EINVAL, -EBADF, -ESRCH,
 * -ENOMEM.
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
    shootdown_withdraw(); /* before it takes long */
    int error = page_list_fill(&pages, count, true);
    if (error == 0) error = lock_with_tables(space, space, va, end, &tables);
    if (error == 0) {
        if (!(flags & MAP_REPLACE) && !range_empty(space, va, end))
            error = -EEXIST;
        else
            fill_range(space, va, end, prot_bits(prot) | PTE_MEMORY | PTE_U, &pages, &tables);
        space_unlock_both(space, space);
    }
    page_list_drop(&pages);
    page_list_drop(&tables);
    space_put(space);
    return call_result(self, error);
}

/* May this leaf be shared with `prot` into `to`? 0, -EINVAL (nothing there),
 * -EACCES, -EPERM. */
static int share_allowed(pte_t pte, uint64_t prot, struct space *to) {
    uint64_t type = pte & PTE_TYPE;
    if (pte == 0) return -EINVAL;
    /* Of a handle no rights are asked: it has no U. */
    if ((pte & PTE_U) && (prot & PROT_WRITE) && !(pte & PTE_W)) return -EACCES;
    if ((prot & PROT_EXECUTE) && type == PTE_DEVICE) return -EACCES;
    /* A space that was never started may hold younger ones only: so these
     * handles make no cycle (space.h). */
    if (type == PTE_SPACE && __atomic_load_n(&to->live, __ATOMIC_RELAXED) == 0 &&
        ((struct space *)pte_page(pte))->serial <= to->serial)
        return -EPERM;
    return 0;
}

/* One more reference to what a leaf refers to. A device has none. */
static void share_get(pte_t pte) {
    switch (pte & PTE_TYPE) {
    case PTE_MEMORY: page_get(pte_page(pte)); break;
    case PTE_EXECUTOR: executor_get(pte_page(pte)); break;
    case PTE_SPACE: space_get(pte_page(pte)); break;
    }
}

/* Check first, change second, under the locks of both spaces. */
static int share_range(struct space *from, uint64_t from_va, struct space *to, uint64_t to_va,
                       uint64_t count, uint64_t prot, struct page_list *tables) {
    uint64_t size = count << PAGE_SHIFT;
    if (!range_empty(to, to_va, to_va + size)) return -EEXIST;
    for (uint64_t at = 0; at < size; at += PAGE_SIZE) {
        int error = share_allowed(page_table_load(from->root, from_va + at), prot, to);
        if (error != 0) return error;
    }
    for (uint64_t at = 0; at < size; at += PAGE_SIZE) {
        pte_t pte = page_table_load(from->root, from_va + at);
        share_get(pte);
        /* A handle is shared whole. */
        if (pte & PTE_U) pte = leaf(pte_phys(pte), prot_bits(prot) | PTE_U | (pte & PTE_TYPE));
        pte_t *entry = entry_for(to, to_va + at, tables);
        page_count_add(pte_table(entry), 1);
        pte_publish(entry, pte);
    }
    if (prot & PROT_EXECUTE) shootdown(to);
    return 0;
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
    struct space *to = call_space(self, user(self->x[REG_A2]));
    struct page_list tables = {0};
    int error = -EBADF;
    if (from != NULL && to != NULL)
        error = lock_with_tables(from, to, to_va, to_va + (count << PAGE_SHIFT), &tables);
    if (error == 0) {
        error = share_range(from, from_va, to, to_va, count, prot, &tables);
        space_unlock_both(from, to);
    }
    page_list_drop(&tables);
    if (from != NULL) space_put(from);
    if (to != NULL) space_put(to);
    return call_result(self, error);
}
