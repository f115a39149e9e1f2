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
 * Other than the reference: devices come first and RAM last; the parts of the
 * image are a list; RAM is mapped page by page to the next hole; what a program
 * sees in Sv39 is looked up in the template each time.
 */
#include "riscv/kernel_table.h"
#include "devicetree.h"
#include "machine.h"
#include "panic.h"
#include "riscv/asid.h"
#include "riscv/csr.h"

enum { LEVEL_1_GIB = 2 };

static struct page_table *template;
static pte_t user_image_entry; /* of a user root, with four levels */

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

struct part {
    const char *start, *end;
    uint64_t rights;
};

static void map_device(uint64_t pa, uint64_t size) {
    uint64_t start = round_down(pa, PAGE_SIZE), end = round_up(pa + size, PAGE_SIZE);
    if (pa == 0) return;
    if (end > user_end()) stop("paging: a device at 0x%lx is out of reach", pa);
    page_table_map(template, start, phys(start), end - start, PTE_R | PTE_W);
}

static bool may_be_mapped(uint64_t pa) {
    const struct machine_description *machine = &machine_description;
    for (uint64_t i = 0; i < machine->reserved_count; i++) {
        const struct range *range = &machine->reserved[i];
        if (machine->reserved[i].no_map && range->start <= pa && pa < range->end) return false;
    }
    return true;
}

/* The longest pieces of a range that may be mapped. */
static void map_ram(struct range ram) {
    for (uint64_t start = ram.start, end; start < ram.end; start = end + PAGE_SIZE) {
        for (end = start; end < ram.end && may_be_mapped(end);) end += PAGE_SIZE;
        page_table_map(template, (uint64_t)linear_from_phys(phys(start)), phys(start), end - start,
                       PTE_R | PTE_W | PTE_G);
    }
}

void kernel_table_init(bool sv48) {
    page_table_init(3 + sv48);
    template = new_table();
    map_device(machine_description.power, 1);
    map_device(machine_description.uart, 1);
    map_device(machine_description.plic, machine_description.plic_size);
    const struct part parts[] = {
        {data_start, image_end, PTE_R | PTE_W},
        {rodata_start, rodata_end, PTE_R},
        {text_start, text_end, PTE_R | PTE_X},
    };
    for (const struct part *part = parts; part < parts + 3; part++)
        page_table_map(template, (uint64_t)part->start, phys_from_image(part->start),
                       (uint64_t)(part->end - part->start), part->rights | PTE_G);
    for (uint64_t i = 0; i < machine_description.ram_count; i++)
        map_ram(machine_description.ram[i]);

    if (sv48) {
        struct page_table *image_alone = new_table();
        uint64_t index = level_index(KERNEL_IMAGE, LEVEL_1_GIB);
        pte_store(&image_alone->entries[index], upper_table(template)->entries[index]);
        user_image_entry = pte_make(phys_from_linear(image_alone), PTE_V);
    }

    /* A mode that the machine does not have leaves satp as it was. */
    uint64_t satp = asid_satp(phys_from_linear(template), 0);
    sfence_vma_all();
    csr_write(satp, satp);
    sfence_vma_all();
    if (csr_read(satp) != satp) stop("paging: this machine has no Sv48");
}

uint64_t kernel_table_for_hart(phys_t hart_page, phys_t stack_low, phys_t stack_high) {
    struct page_table *root = new_table();
    page_copy(root, template);
    if (page_table_levels == 4) {
        struct page_table *upper = new_table();
        page_copy(upper, upper_table(template));
        root->entries[TABLE_ENTRIES - 1] = pte_make(phys_from_linear(upper), PTE_V);
    }
    page_table_map(root, HART_PAGE, hart_page, PAGE_SIZE, PTE_R | PTE_W);
    page_table_map(root, HART_STACK, stack_low, PAGE_SIZE, PTE_R | PTE_W);
    page_table_map(root, HART_STACK + PAGE_SIZE, stack_high, PAGE_SIZE, PTE_R | PTE_W);
    return asid_satp(phys_from_linear(root), 0);
}

void kernel_table_show_image(struct page_table *root) {
    uint64_t index = level_index(KERNEL_IMAGE, page_table_levels - 1);
    pte_t image = page_table_levels == 3 ? template->entries[index] : user_image_entry;
    pte_store(&root->entries[index], image);
}
