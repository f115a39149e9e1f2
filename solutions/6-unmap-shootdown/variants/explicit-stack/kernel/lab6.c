/*
 * The two walks of an unmapping. Where they are is an address, and for each
 * level the table on the way there.
 */
#include "executor.h"
#include "machine.h"
#include "shootdown.h"
#include "unmap.h"

enum { LEVELS_MAX = 4, SLICE = MAP_PAGES_MAX / 4 };

struct place {
    uint64_t va;
    uint32_t level, top;
    struct page_table *tables[LEVELS_MAX];
    uint64_t gone[LEVELS_MAX]; /* entries of that table made invalid */
};

static struct place begin(struct space *space, uint64_t va) {
    struct place place = {.va = va, .level = page_table_levels - 1};
    place.top = place.level;
    place.tables[place.top] = space->root;
    return place;
}

/* The entry of `level` on the way to `va`. */
static pte_t *entry_at(struct place *place, uint32_t level, uint64_t va) {
    return &place->tables[level]->entries[level_index(va, level)];
}

static void go_down(struct place *place, pte_t pte) {
    place->level--;
    place->tables[place->level] = pte_page(pte);
    place->gone[place->level] = 0;
}

/* Behind the entry. True if that is the end of its table. */
static bool go_on(struct place *place) {
    uint64_t size = level_size(place->level);
    place->va = round_down(place->va, size) + size;
    return place->level < place->top && level_index(place->va, place->level) == 0;
}

/* Up from a table, in which `va` lies; unlink it if it has become empty. */
static void leave_cleared(struct place *place, uint64_t va) {
    uint32_t level = place->level++;
    pte_t *pointer = entry_at(place, level + 1, va);
    uint64_t gone = place->gone[level];
    if (gone != 0 && page_count_add(place->tables[level], -(int64_t)gone) == 0) {
        pte_store(pointer, pte_load(pointer) & ~PTE_V);
        place->gone[level + 1]++;
    }
}

/* The same in the second walk: what was unlinked is dropped. */
static void leave_dropped(struct place *place, uint64_t va, struct page_chain *chain) {
    uint32_t level = place->level++;
    pte_t *pointer = entry_at(place, level + 1, va);
    if (!(pte_load(pointer) & PTE_V)) {
        pte_store(pointer, 0);
        page_retire(place->tables[level], chain);
    }
}

static bool ends_here(const struct place *place) {
    return place->level < place->top && level_index(place->va, place->level) == 0;
}

/* Returns where it stopped. */
static uint64_t clear(struct space *space, uint64_t va, uint64_t end, bool *some) {
    struct place place = begin(space, va);
    for (int looked_at = 0; place.va < end && looked_at < SLICE; looked_at++) {
        pte_t *entry = entry_at(&place, place.level, place.va);
        pte_t pte = pte_load(entry);
        if ((pte & PTE_V) && place.level != 0) {
            go_down(&place, pte);
            continue;
        }
        if (pte & PTE_V) {
            pte_store(entry, pte & ~PTE_V);
            place.gone[0]++;
            *some = true;
        }
        for (bool over = go_on(&place); over; over = ends_here(&place))
            leave_cleared(&place, place.va - 1);
    }
    while (place.level < place.top) leave_cleared(&place, place.va);
    if (place.gone[place.top] != 0) page_count_add(space->root, -(int64_t)place.gone[place.top]);
    return place.va < end ? place.va : end;
}

static void drop(struct space *space, uint64_t va, uint64_t end, struct page_chain *chain) {
    struct place place = begin(space, va);
    while (place.va < end) {
        pte_t *entry = entry_at(&place, place.level, place.va);
        pte_t pte = pte_load(entry);
        if (pte != 0 && place.level != 0) {
            go_down(&place, pte);
            continue;
        }
        if (pte != 0 && !(pte & PTE_V)) {
            pte_store(entry, 0);
            unmap_drop(pte, chain);
        }
        for (bool over = go_on(&place); over; over = ends_here(&place))
            leave_dropped(&place, place.va - 1, chain);
    }
    while (place.level < place.top) leave_dropped(&place, place.va, chain);
}

void unmap_drop(pte_t leaf, struct page_chain *chain) {
    uint64_t type = leaf & PTE_TYPE;
    if (type == PTE_EXECUTOR)
        executor_put(pte_page(leaf));
    else if (type == PTE_SPACE)
        space_put(pte_page(leaf));
    else if (type != PTE_DEVICE)
        page_put(pte_page(leaf), chain);
}

uint64_t unmap_range(struct space *space, uint64_t va, uint64_t end) {
    bool some = false;
    uint64_t stopped = clear(space, va, end, &some);
    if (some) {
        struct page_chain chain = {0};
        shootdown(space);
        drop(space, va, stopped, &chain);
        page_free_chain(&chain);
    }
    return stopped;
}
