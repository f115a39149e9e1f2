/*
 * Page tables: walking them and making them.
 *
 * Other than the reference: walk and make share one loop, over shifts instead of
 * levels; page_table_missing goes through the pages' tables and remembers where
 * the last one of each level ended; page_table_map takes the largest leaf that
 * fits, one at a time, in a table that it keeps until its end.
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

static pte_t *slot_of(struct page_table *table, uint64_t va, uint32_t shift) {
    return &table->entries[va >> shift & (TABLE_ENTRIES - 1)];
}

/* A new table behind an empty entry of `table`. Its zeros come first. */
static pte_t add_table(struct page_table *table, pte_t *slot, struct page_list *tables) {
    void *page = page_list_take(tables);
    page_zero(page);
    pte_t pointer = pte_make(phys_from_linear(page), PTE_V);
    __atomic_exchange_n(slot, pointer, __ATOMIC_ACQ_REL);
    page_count_add(table, 1);
    page_count_add(page, -1);
    return pointer;
}

/* Down to the table whose entries have this shift; without a list of pages
 * nothing is made, and 0 returned where something is missing. */
static struct page_table *descend(struct page_table *root, uint64_t va, uint32_t to,
                                  struct page_list *tables) {
    struct page_table *table = root;
    for (uint32_t shift = page_table_root_shift; shift > to; shift -= 9) {
        pte_t *slot = slot_of(table, va, shift);
        pte_t pte = pte_load(slot);
        if (tables != NULL) {
            if (!(pte & PTE_V)) pte = add_table(table, slot, tables);
            KERNEL_ASSERT(!pte_is_leaf(pte));
        } else if (!(pte & PTE_V) || pte_is_leaf(pte)) {
            return NULL;
        }
        table = pte_page(pte);
    }
    return table;
}

pte_t *page_table_walk(struct page_table *root, uint64_t va) {
    struct page_table *table = descend(root, va, PAGE_SHIFT, NULL);
    return table == NULL ? NULL : slot_of(table, va, PAGE_SHIFT);
}

pte_t *page_table_make(struct page_table *root, uint64_t va, uint32_t level,
                       struct page_list *tables) {
    uint32_t shift = PAGE_SHIFT + 9 * level;
    return slot_of(descend(root, va, shift, tables), va, shift);
}

uint64_t page_table_missing(struct page_table *root, uint64_t va, uint64_t end) {
    uint64_t missing = 0, counted[4] = {0}; /* by level: what was counted ends here */
    for (uint64_t at = va; at < end; at = (at | (level_size(1) - 1)) + 1) {
        for (uint32_t level = 0; level + 1 < page_table_levels; level++) {
            if (at < counted[level]) continue;
            counted[level] = (at | (level_size(level + 1) - 1)) + 1;
            missing += descend(root, at, PAGE_SHIFT + 9 * level, NULL) == NULL;
        }
    }
    return missing;
}

void page_table_map(struct page_table *root, uint64_t va, phys_t pa, uint64_t size, uint64_t bits) {
    pte_t attributes = bits | PTE_V | PTE_A | (bits & PTE_W) / PTE_W * PTE_D;
    struct page_table *table = NULL;
    uint32_t in = 0;
    for (uint64_t left = size; left > 0;) {
        uint32_t shift = page_table_root_shift;
        while (left >> shift == 0 || ((va | pa.raw) & ((1ul << shift) - 1)) != 0) shift -= 9;
        if (table == NULL || shift != in || (va >> shift & (TABLE_ENTRIES - 1)) == 0) {
            struct page_list tables = {0};
            if (page_list_fill(&tables, page_table_levels, false) != 0)
                stop("paging: no memory for a table on the way to 0x%lx", va);
            table = descend(root, va, shift, &tables);
            page_list_drop(&tables);
            in = shift;
        }
        pte_publish(slot_of(table, va, shift), pte_make(pa, attributes));
        page_count_add(table, 1);
        va += 1ul << shift;
        pa.raw += 1ul << shift;
        left -= 1ul << shift;
    }
}
