/*
 * Page tables: walking them and making them.
 *
 * Other than the reference: page_table_map sets all tables aside that the range
 * could need in 4 KiB pages, before it changes anything, and gives back what
 * larger leaves have saved; walk and make call themselves, from the root down;
 * page_table_missing counts level by level, each table where it begins.
 */
#include "riscv/page_table.h"
#include "compiler.h"
#include "machine.h"
#include "panic.h"

uint32_t page_table_levels;
uint64_t page_table_user_end;
uint32_t page_table_root_shift;

void page_table_init(uint32_t levels) {
    page_table_levels = levels;
    page_table_root_shift = PAGE_SHIFT + 9 * (levels - 1);
    page_table_user_end = 1ul << (page_table_root_shift + 8);
}

/* The entry at `level` on the way to `va`, below `table`, which is at level
 * `at`; 0 if there is no table for it. */
static pte_t *find(struct page_table *table, uint32_t at, uint64_t va, uint32_t level) {
    pte_t *entry = table->entries + level_index(va, at);
    if (at == level) return entry;
    pte_t pte = pte_load(entry);
    bool points = (pte & PTE_V) && !pte_is_leaf(pte);
    return points ? find(pte_page(pte), at - 1, va, level) : NULL;
}

pte_t *page_table_walk(struct page_table *root, uint64_t va) {
    return find(root, page_table_levels - 1, va, 0);
}

static pte_t *make(struct page_table *table, uint32_t at, uint64_t va, uint32_t level,
                   struct page_list *tables) {
    pte_t *entry = table->entries + level_index(va, at);
    if (at <= level) return entry;
    if (!(pte_load(entry) & PTE_V)) {
        struct page_table *new = page_list_take(tables);
        page_count_add(table, 1);
        page_count_add(new, -1);
        page_zero(new);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        pte_store(entry, pte_make(phys_from_linear(new), PTE_V));
    }
    pte_t pte = pte_load(entry);
    if (pte_is_leaf(pte))
        panic("page_table_make: a leaf of level %u is on the way to 0x%lx", at, va);
    return make(pte_page(pte), at - 1, va, level, tables);
}

pte_t *page_table_make(struct page_table *root, uint64_t va, uint32_t level,
                       struct page_list *tables) {
    return make(root, page_table_levels - 1, va, level, tables);
}

uint64_t page_table_missing(struct page_table *root, uint64_t va, uint64_t end) {
    uint64_t missing = 0;
    if (va == end) return 0;
    /* A table of level - 1 for each entry of this level that has none. */
    for (uint32_t level = 1; level < page_table_levels; level++) {
        uint64_t first = va / level_size(level), last = (end - 1) / level_size(level);
        for (uint64_t number = first; number <= last; number++) {
            pte_t *entry = find(root, page_table_levels - 1, number * level_size(level), level);
            missing += entry == NULL || !(pte_load(entry) & PTE_V);
        }
    }
    return missing;
}

void page_table_map(struct page_table *root, uint64_t va, phys_t pa, uint64_t size, uint64_t bits) {
    struct page_list tables = {0};
    if (page_list_fill(&tables, page_table_missing(root, va, va + size), false) != 0)
        stop("paging: too little RAM for page tables");
    bits |= PTE_V | PTE_A;
    if (bits & PTE_W) bits |= PTE_D;
    for (uint64_t done = 0, step; done < size; done += step) {
        /* 1 GiB, 2 MiB or 4 KiB: as large as fits. */
        uint64_t both = (va + done) | (pa.raw + done);
        uint32_t level = 2;
        while (both % level_size(level) != 0 || size - done < level_size(level)) level--;
        step = level_size(level);
        pte_t *entry = page_table_make(root, va + done, level, &tables);
        pte_store(entry, pte_make(phys(pa.raw + done), bits));
        page_count_add((void *)round_down((uint64_t)entry, PAGE_SIZE), 1);
    }
    page_list_drop(&tables);
}
