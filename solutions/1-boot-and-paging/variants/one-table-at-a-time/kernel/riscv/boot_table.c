/*
 * The first page table, made by hand.
 *
 * It has to do only until the final tables are made (kernel_table.c), so it is
 * generous: whole GiB and 2 MiB. Nothing of it is left afterwards.
 */
#include "riscv/boot_table.h"
#include "machine.h"
#include "panic.h"
#include "riscv/csr.h"
#include "riscv/page_table.h"

uint64_t linear_offset;
uint64_t image_offset;
uint64_t boot_satp;

extern char image_end[]; /* kernel.ld */

/* Always Sv39: the entries of the root cover a GiB each. */
enum { LEVEL_2M = 1, LEVEL_1G = 2 };

#define SIZE_2M (2ul << 20)
#define SIZE_1G (1ul << 30)

/* The first half of the root is below this; 256 is the kernel's. */
#define LOW_HALF_END (TABLE_ENTRIES / 2 * SIZE_1G)

#define RIGHTS_ALL  (PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D)
#define RIGHTS_READ (PTE_V | PTE_R | PTE_A)
#define RIGHTS_DATA (PTE_V | PTE_R | PTE_W | PTE_A | PTE_D)

/* In .bss, so all entries are invalid at first. */
static struct page_table boot_root __attribute__((aligned(PAGE_SIZE)));
static struct page_table boot_image __attribute__((aligned(PAGE_SIZE))); /* of 2 MiB leaves */

/* A leaf of 1 GiB for `va`, to the GiB that `pa` is in. */
static void boot_map_gib(uint64_t va, uint64_t pa, uint64_t bits) {
    pte_store(&boot_root.entries[level_index(va, LEVEL_1G)],
              pte_make(phys(round_down(pa, SIZE_1G)), bits));
}

uint64_t boot_table_make(uint64_t load_address, uint64_t tree_address) {
    /* The MMU is off: an address that C forms here is physical. */
    if (load_address % SIZE_2M != 0)
        stop("the kernel was loaded at 0x%lx, which is no multiple of 2 MiB", load_address);
    if (load_address >= LOW_HALF_END)
        stop("the kernel was loaded at 0x%lx, which is not below 256 GiB", load_address);

    /* This code where it runs now, until paging_on has returned. */
    boot_map_gib(load_address, load_address, RIGHTS_ALL);

    /* The image, as many leaves as it takes: kernel.ld keeps it below 1 GiB. */
    uint64_t end = (uint64_t)image_end;
    for (uint64_t pa = load_address; pa < end; pa += SIZE_2M) {
        uint64_t va = KERNEL_IMAGE + (pa - load_address);
        pte_store(&boot_image.entries[level_index(va, LEVEL_2M)], pte_make(phys(pa), RIGHTS_ALL));
    }
    pte_store(&boot_root.entries[level_index(KERNEL_IMAGE, LEVEL_1G)],
              pte_make(phys((uint64_t)&boot_image), PTE_V));

    /* The devicetree, which may run over the end of its GiB. */
    boot_map_gib(BOOT_TREE_MAP, tree_address, RIGHTS_READ);
    boot_map_gib(BOOT_TREE_MAP + SIZE_1G, tree_address + SIZE_1G, RIGHTS_READ);

    image_offset = KERNEL_IMAGE - load_address;
    /* Not asid_satp: that goes by page_table_levels, which is not known yet. */
    boot_satp = SATP_MODE_SV39 | (uint64_t)&boot_root >> PAGE_SHIFT;
    return boot_satp;
}

void boot_table_add_linear(const struct range *ram, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        /* Two ranges in one GiB make the same entry twice. */
        for (uint64_t pa = round_down(ram[i].start, SIZE_1G); pa < ram[i].end; pa += SIZE_1G)
            boot_map_gib((uint64_t)linear_from_phys(phys(pa)), pa, RIGHTS_DATA);
    }
    sfence_vma_all(); /* the table is in use, and the new entries are needed at once */
}
