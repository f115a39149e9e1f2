/*
 * The first page table, made by hand.
 *
 * It has to do only until the final tables are made (kernel_table.c), so it is
 * generous: whole GiB and 2 MiB. Nothing of it is left afterwards.
 */
#include "riscv/boot_table.h"
#include "panic.h"
#include "riscv/csr.h"
#include "riscv/page_table.h"

enum { LEVEL_2_MIB = 1, LEVEL_1_GIB = 2 };

uint64_t linear_offset;
uint64_t image_offset;
uint64_t boot_satp;

static struct page_table boot_root __attribute__((aligned(PAGE_SIZE)));
static struct page_table boot_image __attribute__((aligned(PAGE_SIZE)));

extern char image_end[]; /* kernel.ld */

static void map_gib(uint64_t va, uint64_t pa, uint64_t rights) {
    boot_root.entries[level_index(va, LEVEL_1_GIB)] =
        pte_make(phys(round_down(pa, level_size(LEVEL_1_GIB))), rights | PTE_V | PTE_A | PTE_D);
}

uint64_t boot_table_make(uint64_t load_address, uint64_t tree_address) {
    if (load_address % level_size(LEVEL_2_MIB) != 0)
        stop("the kernel was loaded at 0x%lx: it must be a multiple of 2 MiB", load_address);
    if (load_address >= 1ul << 38)
        stop("the kernel was loaded at 0x%lx: it must be below 256 GiB", load_address);
    image_offset = KERNEL_IMAGE - load_address;

    map_gib(load_address, load_address, PTE_R | PTE_W | PTE_X);
    uint64_t size = (uint64_t)image_end - load_address; /* the MMU is off: physical */
    for (uint64_t at = 0; at < size; at += level_size(LEVEL_2_MIB))
        boot_image.entries[level_index(at, LEVEL_2_MIB)] =
            pte_make(phys(load_address + at), PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D);
    boot_root.entries[level_index(KERNEL_IMAGE, LEVEL_1_GIB)] =
        pte_make(phys((uint64_t)&boot_image), PTE_V);
    map_gib(BOOT_TREE_MAP, tree_address, PTE_R);
    map_gib(BOOT_TREE_MAP + level_size(LEVEL_1_GIB), tree_address + level_size(LEVEL_1_GIB), PTE_R);
    boot_satp = SATP_MODE_SV39 | (uint64_t)&boot_root >> PAGE_SHIFT;
    return boot_satp;
}

void boot_table_add_linear(const struct range *ram, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        for (uint64_t pa = round_down(ram[i].start, level_size(LEVEL_1_GIB)); pa < ram[i].end;
             pa += level_size(LEVEL_1_GIB))
            map_gib((uint64_t)linear_from_phys(phys(pa)), pa, PTE_R | PTE_W);
    }
    sfence_vma_all();
}
