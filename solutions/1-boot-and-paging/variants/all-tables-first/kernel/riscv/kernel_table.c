/*
 * The final tables of the kernel.
 *
 * The upper half hangs off a table of 1 GiB entries: in Sv39 that is the root
 * itself, in Sv48 the table behind the root's last entry.
 *
 *   entry 256          image        shared by all tables, user tables too
 *   entry 257          hart page    each hart's own
 *   entries 384 … 511  linear map   shared by all kernel tables
 *
 * A template holds the shared parts; a hart's table is a copy of it (of its
 * upper tables only) with entry 257 added. A user root shows the image: in
 * Sv39 by a copy of entry 256, in Sv48 by way of one more table, the same for
 * all, that holds the image alone.
 *
 * Other than the reference: a hart's table takes the entries of the template one
 * by one, with their counts; RAM is mapped by the holes that it has; satp is
 * swapped.
 */
#include "riscv/kernel_table.h"
#include "devicetree.h"
#include "machine.h"
#include "panic.h"
#include "riscv/asid.h"
#include "riscv/csr.h"

enum { LEVEL_1_GIB = 2 };

static struct page_table *template;
static pte_t user_image_entry; /* of a user root */

/* kernel.ld */
extern char text_start[], text_end[], rodata_start[], rodata_end[], data_start[], image_end[];

static struct page_table *new_table(void) {
    struct page_table *table = page_alloc();
    if (table == NULL) stop("paging: not enough RAM for the kernel's page tables");
    page_zero(table);
    return table;
}

/* The table of 1 GiB entries that the upper half hangs off. */
static struct page_table *upper_table(struct page_table *root) {
    if (page_table_levels == 3) return root;
    return pte_page(root->entries[TABLE_ENTRIES - 1]);
}

static void map_image(const char *start, const char *end, uint64_t rights) {
    page_table_map(template, (uint64_t)start, phys_from_image(start), (uint64_t)(end - start),
                   rights | PTE_G);
}

static void map_device(uint64_t pa, uint64_t size) {
    uint64_t start = round_down(pa, PAGE_SIZE), end = round_up(pa + size, PAGE_SIZE);
    if (pa == 0) return;
    if (end > user_end()) stop("paging: a device at 0x%lx is out of reach", pa);
    page_table_map(template, start, phys(start), end - start, PTE_R | PTE_W);
}

static void map_linear(uint64_t start, uint64_t end) {
    if (start < end)
        page_table_map(template, (uint64_t)linear_from_phys(phys(start)), phys(start), end - start,
                       PTE_R | PTE_W | PTE_G);
}

/* The first byte that may not be mapped, from here on. */
static uint64_t next_hole(uint64_t at, uint64_t end, uint64_t *hole_end) {
    const struct machine_description *machine = &machine_description;
    uint64_t hole = end;
    for (uint64_t i = 0; i < machine->reserved_count; i++) {
        struct range range = machine->reserved[i];
        if (!machine->reserved[i].no_map || range.end <= at || range.start >= hole) continue;
        hole = range.start > at ? range.start : at;
        *hole_end = range.end;
    }
    return hole;
}

static void map_ram(struct range ram) {
    for (uint64_t at = ram.start, next; at < ram.end; at = next) {
        next = ram.end;
        map_linear(at, next_hole(at, ram.end, &next));
    }
}

void kernel_table_init(bool sv48) {
    page_table_init(sv48 ? 4 : 3);
    template = new_table();
    map_image(text_start, text_end, PTE_R | PTE_X);
    map_image(rodata_start, rodata_end, PTE_R);
    map_image(data_start, image_end, PTE_R | PTE_W);
    for (uint64_t i = 0; i < machine_description.ram_count; i++)
        map_ram(machine_description.ram[i]);
    map_device(machine_description.uart, 0x100);
    map_device(machine_description.plic, machine_description.plic_size);
    map_device(machine_description.power, 4);

    pte_t image = upper_table(template)->entries[level_index(KERNEL_IMAGE, LEVEL_1_GIB)];
    if (sv48) {
        struct page_table *image_alone = new_table();
        image_alone->entries[level_index(KERNEL_IMAGE, LEVEL_1_GIB)] = image;
        user_image_entry = pte_make(phys_from_linear(image_alone), PTE_V);
    } else {
        user_image_entry = image;
    }

    uint64_t wanted = asid_satp(phys_from_linear(template), 0);
    sfence_vma_all();
    uint64_t before;
    __asm__ volatile("csrrw %0, satp, %1" : "=r"(before) : "r"(wanted) : "memory");
    sfence_vma_all();
    if (csr_read(satp) != wanted)
        stop("paging: satp stays 0x%lx, there is no Sv%s", before, sv48 ? "48" : "39");
}

/* The same tables and pages below, and the count that it has by them. */
static struct page_table *copy_table(const struct page_table *from) {
    struct page_table *table = new_table();
    for (uint64_t i = 0; i < TABLE_ENTRIES; i++) {
        if (from->entries[i] & PTE_V) {
            pte_store(&table->entries[i], from->entries[i]);
            page_count_add(table, 1);
        }
    }
    return table;
}

uint64_t kernel_table_for_hart(phys_t hart_page, phys_t stack_low, phys_t stack_high) {
    struct page_table *root = copy_table(template);
    if (page_table_levels == 4) {
        struct page_table *upper = copy_table(upper_table(template));
        page_count_add(upper, -1); /* the 1 that a page comes with */
        root->entries[TABLE_ENTRIES - 1] = pte_make(phys_from_linear(upper), PTE_V);
    }
    page_table_map(root, HART_PAGE, hart_page, PAGE_SIZE, PTE_R | PTE_W);
    page_table_map(root, HART_STACK, stack_low, PAGE_SIZE, PTE_R | PTE_W);
    page_table_map(root, HART_STACK + PAGE_SIZE, stack_high, PAGE_SIZE, PTE_R | PTE_W);
    return asid_satp(phys_from_linear(root), 0);
}

void kernel_table_show_image(struct page_table *root) {
    root->entries[level_index(KERNEL_IMAGE, page_table_levels - 1)] = user_image_entry;
}
