/*
 * Page tables: walking them and making them.
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
    uint64_t linear = linear_offset;
    for (uint64_t shift = page_table_root_shift; shift > PAGE_SHIFT; shift -= 9) {
        pte_t pte = pte_load(pte_at(table, va, shift));
        if (UNLIKELY((pte & (PTE_V | PTE_R | PTE_W | PTE_X)) != PTE_V)) return NULL;
        table = (struct page_table *)(pte_phys(pte).raw + linear);
    }
    return &table->entries[level_index(va, 0)];
}

pte_t *page_table_make(struct page_table *root, uint64_t va, uint32_t level,
                       struct page_list *tables) {
    struct page_table *table = root;
    for (uint32_t at = page_table_levels - 1; at > level; at--) {
        pte_t *entry = &table->entries[level_index(va, at)];
        pte_t pte = pte_load(entry);
        if (!(pte & PTE_V)) {
            struct page_table *made = page_list_take(tables);
            page_zero(made);
            page_count_add(made, -1);
            pte = pte_make(phys_from_linear(made), PTE_V);
            pte_publish(entry, pte);
            page_count_add(table, 1);
        }
        KERNEL_ASSERT(!pte_is_leaf(pte));
        table = pte_page(pte);
    }
    return &table->entries[level_index(va, level)];
}

uint64_t page_table_missing(struct page_table *root, uint64_t va, uint64_t end) {
    uint64_t missing = 0;
    while (va < end) {
        /* Down to the table of leaves, or the entry that leads to none. */
        struct page_table *table = root;
        uint32_t shift = page_table_root_shift;
        for (; shift > PAGE_SHIFT; shift -= 9) {
            pte_t pte = pte_load(pte_at(table, va, shift));
            if (!(pte & PTE_V)) break;
            table = pte_page(pte);
        }
        /* Behind such an entry a table is missing for each entry of each level
         * that the range touches. */
        uint64_t step = shift > PAGE_SHIFT ? shift : PAGE_SHIFT + 9;
        uint64_t next = ((va >> step) + 1) << step;
        uint64_t last = (next < end ? next : end) - 1;
        for (; shift > PAGE_SHIFT; shift -= 9) missing += (last >> shift) - (va >> shift) + 1;
        va = next;
    }
    return missing;
}

void page_table_map(struct page_table *root, uint64_t va, phys_t pa, uint64_t size, uint64_t bits) {
    bits |= PTE_V | PTE_A | (bits & PTE_W ? PTE_D : 0);
    for (uint64_t end = va + size; va != end;) {
        uint32_t level = page_table_levels - 1;
        while (((va | pa.raw) & (level_size(level) - 1)) != 0 || end - va < level_size(level))
            level--;
        struct page_list tables = {0};
        if (page_list_fill(&tables, page_table_levels - 1 - level, false) != 0)
            stop("paging: not enough RAM for the kernel's page tables");
        pte_t *entry = page_table_make(root, va, level, &tables);
        page_list_drop(&tables);
        /* The entries that follow in this table, as far as they are wanted:
         * larger leaves can begin only where the table ends. */
        uint64_t count = TABLE_ENTRIES - level_index(va, level);
        uint64_t wanted = (end - va) >> (PAGE_SHIFT + 9 * level);
        count = count < wanted ? count : wanted;
        page_count_add(pte_table(entry), (int64_t)count);
        for (; count > 0; count--, entry++) {
            KERNEL_ASSERT(pte_load(entry) == 0);
            pte_store(entry, pte_make(pa, bits));
            va += level_size(level);
            pa.raw += level_size(level);
        }
    }
}
