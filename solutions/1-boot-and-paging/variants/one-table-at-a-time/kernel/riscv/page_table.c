/*
 * Page tables: walking them and making them.
 *
 * Other than the reference: page_table_map goes down on its own, takes one page
 * for each table that is missing (so that none is left over) and counts leaf by
 * leaf; page_table_missing calls itself for each entry, level by level.
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

LEAF pte_t *page_table_walk(struct page_table *root, uint64_t va) {
    struct page_table *table = root;
    for (uint32_t level = page_table_levels - 1; level > 0; level--) {
        pte_t pte = pte_load(&table->entries[level_index(va, level)]);
        /* V decides alone: what else an invalid entry holds means nothing. */
        if ((pte & PTE_V) == 0 || pte_is_leaf(pte)) return NULL;
        table = pte_page(pte);
    }
    return &table->entries[level_index(va, 0)];
}

/*
 * The table that `entry` points to, an entry of `table`. If there is none it
 * is made from a page of the list. A leaf must not stand there.
 */
static struct page_table *table_below(struct page_table *table, pte_t *entry,
                                      struct page_list *tables) {
    pte_t pte = pte_load(entry);
    if ((pte & PTE_V) == 0) {
        struct page_table *below = page_list_take(tables);
        page_zero(below);
        page_count_add(below, -1); /* counted as a page until now: no entry is valid */
        pte_publish(entry, pte_make(phys_from_linear(below), PTE_V));
        page_count_add(table, 1);
        return below;
    }
    KERNEL_ASSERT(!pte_is_leaf(pte));
    return pte_page(pte);
}

pte_t *page_table_make(struct page_table *root, uint64_t va, uint32_t level,
                       struct page_list *tables) {
    struct page_table *table = root;
    for (uint32_t at = page_table_levels - 1; at > level; at--)
        table = table_below(table, &table->entries[level_index(va, at)], tables);
    return &table->entries[level_index(va, level)];
}

/*
 * A table counts as missing if a page of the range needs it and the entry that
 * should point to it is not valid, or stands in a table that is missing itself.
 * This is the number of those below `table`, which is of this level and may be
 * missing too (0), for the pages from `va` to the one that holds `last`; all of
 * these are in the reach of the table. Each entry is met once, so no table is
 * counted twice.
 */
static uint64_t missing_below(const struct page_table *table, uint32_t level, uint64_t va,
                              uint64_t last) {
    uint64_t count = 0;
    if (level == 0) return 0;
    for (;;) {
        /* What this entry covers of the range. */
        uint64_t entry_last = va | (level_size(level) - 1);
        uint64_t piece_last = entry_last < last ? entry_last : last;
        pte_t pte = table != NULL ? pte_load(&table->entries[level_index(va, level)]) : 0;
        if ((pte & PTE_V) == 0)
            count += 1 + missing_below(NULL, level - 1, va, piece_last);
        else if (!pte_is_leaf(pte))
            count += missing_below(pte_page(pte), level - 1, va, piece_last);
        if (entry_last >= last) return count;
        va = entry_last + 1;
    }
}

uint64_t page_table_missing(struct page_table *root, uint64_t va, uint64_t end) {
    if (va == end) return 0;
    return missing_below(root, page_table_levels - 1, va, end - 1);
}

/* Can one leaf of this level map the beginning of the range? */
static bool leaf_fits(uint64_t va, phys_t pa, uint64_t size, uint32_t level) {
    return ((va | pa.raw) & (level_size(level) - 1)) == 0 && size >= level_size(level);
}

void page_table_map(struct page_table *root, uint64_t va, phys_t pa, uint64_t size, uint64_t bits) {
    bits |= PTE_V | PTE_A | ((bits & PTE_W) != 0 ? PTE_D : 0);
    KERNEL_ASSERT(page_aligned(va | pa.raw | size));
    /* `size` is what is left. The end is never computed: it may be 0. */
    while (size > 0) {
        struct page_table *table = root;
        uint32_t level = page_table_levels - 1;
        pte_t *entry = &table->entries[level_index(va, level)];
        /* Down to where a leaf fits; a table that is there already is used. */
        while (!leaf_fits(va, pa, size, level) || (pte_load(entry) & PTE_V) != 0) {
            KERNEL_ASSERT(level > 0); /* else the page is mapped already */
            struct page_list tables = {NULL};
            /* One page for one table: none is ever left over. */
            if ((pte_load(entry) & PTE_V) == 0 && page_list_fill(&tables, 1, false) != 0)
                stop("no RAM for the kernel's page tables");
            table = table_below(table, entry, &tables);
            level--;
            entry = &table->entries[level_index(va, level)];
        }
        pte_store(entry, pte_make(pa, bits));
        page_count_add(table, 1);
        va += level_size(level);
        pa.raw += level_size(level);
        size -= level_size(level);
    }
}
