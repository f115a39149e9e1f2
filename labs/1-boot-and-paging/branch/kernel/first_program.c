/*
 * In place of a first program, for lab 1: the kernel walks the table it runs on
 * and shows what it finds, as the machine sees it.
 */
#include "first_program.h"
#include "lab.h"
#include "machine.h"
#include "print.h"
#include "riscv/kernel_table.h"

/* Leaves that follow each other, in both kinds of address, with like bits. */
struct run {
    uint64_t start, end, pa, bits;
};

enum { SATP_PAGE_BITS = 44 };

static const char *place(uint64_t va) {
    if (va >= LINEAR_MAP) return "all RAM";
    if (va >= HART_STACK) return "kernel stack of this hart";
    if (va >= HART_PAGE) return "page of this hart";
    return va >= KERNEL_IMAGE ? "kernel image" : "device";
}

static void run_print(const struct run *run) {
    if (run->start != run->end)
        print("  %016lx  %9lu KiB  at %9lx  %c%c%c%c  %s\n", run->start,
              (run->end - run->start) >> 10, run->pa, run->bits & PTE_R ? 'R' : '-',
              run->bits & PTE_W ? 'W' : '-', run->bits & PTE_X ? 'X' : '-',
              run->bits & PTE_G ? 'G' : '-', place(run->start));
}

static void add_leaf(struct run *run, uint64_t va, uint64_t size, pte_t pte) {
    uint64_t pa = pte_phys(pte).raw, bits = pte & (PTE_R | PTE_W | PTE_X | PTE_G);
    if (va != run->end || pa != run->pa + (run->end - run->start) || bits != run->bits) {
        run_print(run);
        *run = (struct run){va, va, pa, bits};
    }
    run->end = va + size;
}

/* All leaves below this table, in order. Its first entry is for `va`. */
static void walk(const struct page_table *table, uint32_t level, uint64_t va, struct run *run) {
    for (uint64_t i = 0; i < TABLE_ENTRIES; i++, va += level_size(level)) {
        pte_t pte = pte_load(&table->entries[i]);
        if (va == page_table_user_end)
            va = -page_table_user_end; /* the upper half: the sign bit is copied */
        if (!(pte & PTE_V)) continue;
        if (pte_is_leaf(pte))
            add_leaf(run, va, level_size(level), pte);
        else
            walk(pte_page(pte), level - 1, va, run);
    }
}

void first_program_start(void) {
    uint64_t page = this_hart()->kernel_satp & ((1ul << SATP_PAGE_BITS) - 1);
    struct run run = {0};
    print("What hart %lu sees:\n", this_hart()->id);
    walk(linear_from_phys(phys(page << PAGE_SHIFT)), page_table_levels - 1, 0, &run);
    run_print(&run);
    lab_done(1);
}
