/*
 * The first page table, made by hand.
 *
 * It has to do only until the final tables are made (kernel_table.c), so it is
 * generous: whole GiB and 2 MiB. Nothing of it is left afterwards.
 *
 * Other than the reference: the image's table is full, whatever the image's
 * size, and the root's entries are numbered here.
 */
#include "riscv/boot_table.h"
#include "machine.h"
#include "panic.h"
#include "riscv/csr.h"
#include "riscv/page_table.h"

uint64_t linear_offset;
uint64_t image_offset;
uint64_t boot_satp;

#define GIB (1ul << 30)
#define MIB (1ul << 20)

/* Entries of the root: of the low half by physical address, of the high half: */
enum { ROOT_IMAGE = 256, ROOT_TREE = 258 };

enum {
    VALID = PTE_V | PTE_A | PTE_D,
    EXECUTED = VALID | PTE_R | PTE_X,
    ALL = EXECUTED | PTE_W,
    WRITTEN = VALID | PTE_R | PTE_W
};

static pte_t root[TABLE_ENTRIES] __attribute__((aligned(PAGE_SIZE)));
static pte_t image[TABLE_ENTRIES] __attribute__((aligned(PAGE_SIZE)));

uint64_t boot_table_make(uint64_t load_address, uint64_t tree_address) {
    if (load_address & (2 * MIB - 1) || load_address >> 38 != 0)
        stop("load address 0x%lx: no multiple of 2 MiB below 256 GiB", load_address);
    for (uint64_t i = 0; i < TABLE_ENTRIES; i++)
        image[i] = pte_make(phys(load_address + i * 2 * MIB), ALL);
    root[ROOT_IMAGE] = pte_make(phys((uint64_t)image), PTE_V);
    for (uint64_t i = 0; i < 2; i++)
        root[ROOT_TREE + i] = pte_make(phys((tree_address / GIB + i) * GIB), PTE_V | PTE_R | PTE_A);
    root[load_address / GIB] = pte_make(phys(load_address / GIB * GIB), EXECUTED);
    image_offset = KERNEL_IMAGE - load_address;
    boot_satp = (uint64_t)root / PAGE_SIZE + SATP_MODE_SV39;
    return boot_satp;
}

void boot_table_add_linear(const struct range *ram, uint64_t count) {
    for (const struct range *range = ram; range < ram + count; range++) {
        for (uint64_t gib = range->start / GIB; gib <= (range->end - 1) / GIB; gib++) {
            uint64_t va = gib * GIB + linear_offset;
            pte_publish(&root[va / GIB % TABLE_ENTRIES], pte_make(phys(gib * GIB), WRITTEN));
        }
    }
    sfence_vma_all();
}
