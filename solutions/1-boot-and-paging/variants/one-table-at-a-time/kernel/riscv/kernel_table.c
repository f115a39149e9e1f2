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
 */
#include "riscv/kernel_table.h"
#include "devicetree.h"
#include "machine.h"
#include "panic.h"
#include "riscv/asid.h"
#include "riscv/csr.h"

/* kernel.ld */
extern char text_start[], text_end[], rodata_start[], rodata_end[], data_start[], image_end[];

enum { LEVEL_GIB = 2 }; /* of the table that the upper half hangs off */

/* Shared by all kernel tables. Complete after kernel_table_init, and not
 * changed any more. */
static struct page_table *template;

/* What a program's root holds of the kernel: its entry for the image. */
static pte_t image_entry;

/* A page for a table, with count 1. */
static struct page_table *table_alloc(void) {
    struct page_table *table = page_alloc();
    if (table == NULL) stop("no RAM for the kernel's page tables");
    return table;
}

static pte_t *root_entry(struct page_table *root, uint64_t va) {
    return &root->entries[level_index(va, page_table_levels - 1)];
}

/* One of the parts of the image. */
static void map_image(const char *start, const char *end, uint64_t rights) {
    page_table_map(template, (uint64_t)start, phys_from_image(start), (uint64_t)(end - start),
                   rights | PTE_G);
}

static void map_linear(uint64_t start, uint64_t end) {
    page_table_map(template, (uint64_t)linear_from_phys(phys(start)), phys(start), end - start,
                   PTE_R | PTE_W | PTE_G);
}

/* A range of RAM, less what may not be mapped. The reserved ranges come by
 * their starts, but may overlap each other. */
static void map_ram(struct range ram) {
    const struct machine_description *machine = &machine_description;
    uint64_t start = ram.start; /* what is before this is done */
    for (uint64_t i = 0; i < machine->reserved_count && start < ram.end; i++) {
        struct range hole = machine->reserved[i];
        if (!machine->reserved[i].no_map || hole.end <= start || hole.start >= ram.end) continue;
        if (hole.start > start) map_linear(start, hole.start);
        start = hole.end;
    }
    if (start < ram.end) map_linear(start, ram.end);
}

/* The pages of a device, at their own addresses. Not global: for a program
 * these addresses mean something else. */
static void map_device(uint64_t address, uint64_t size) {
    if (address == 0) return;
    if (address >= user_end() || size > user_end() - address)
        stop("the device at 0x%lx is out of the kernel's reach", address);
    uint64_t start = round_down(address, PAGE_SIZE), end = round_up(address + size, PAGE_SIZE);
    page_table_map(template, start, phys(start), end - start, PTE_R | PTE_W);
}

/* A device of one page, which it may share with one that is mapped already. */
static void map_device_page(uint64_t address) {
    uint64_t page = round_down(address, PAGE_SIZE);
    const pte_t *entry = page < user_end() ? page_table_walk(template, page) : NULL;
    if (entry == NULL || (pte_load(entry) & PTE_V) == 0)
        map_device(address, 1); /* which knows what to do with 0, and what is out of reach */
}

/*
 * The entry to be put into a program's root. In Sv39 the root's entry 256 leads
 * to the image alone. In Sv48 the root's entry leads to the whole upper half, so
 * a program gets another table behind it.
 */
static pte_t make_image_entry(void) {
    pte_t *image = page_table_make(template, KERNEL_IMAGE, LEVEL_GIB, NULL); /* it is there */
    if (page_table_levels == 3) return pte_load(image);
    struct page_table *table = table_alloc(); /* its count of 1 is that of its one entry */
    page_zero(table);
    pte_store(&table->entries[level_index(KERNEL_IMAGE, LEVEL_GIB)], pte_load(image));
    return pte_make(phys_from_linear(table), PTE_V);
}

void kernel_table_init(bool sv48) {
    const struct machine_description *machine = &machine_description;
    page_table_init(sv48 ? 4 : 3);
    template = table_alloc();
    page_zero(template);
    map_image(text_start, text_end, PTE_R | PTE_X);
    map_image(rodata_start, rodata_end, PTE_R);
    map_image(data_start, image_end, PTE_R | PTE_W);
    for (uint64_t i = 0; i < machine->ram_count; i++) map_ram(machine->ram[i]);
    map_device(machine->plic, machine->plic_size);
    map_device_page(machine->uart);
    map_device_page(machine->power);
    image_entry = make_image_entry();

    uint64_t satp = asid_satp(phys_from_linear(template), 0);
    sfence_vma_all(); /* the stores to the tables come before the walks */
    csr_write(satp, satp);
    sfence_vma_all(); /* and nothing of the first table is remembered */
    if (csr_read(satp) != satp) stop("this machine has no Sv%s", sv48 ? "48" : "39");
}

/* A copy of one table, with the same tables and pages below it. `count` is
 * what it has besides its valid entries: 1 for a root, its owner's. */
static struct page_table *table_copy(const struct page_table *from, int64_t count) {
    struct page_table *table = table_alloc();
    page_copy(table, from);
    for (uint64_t i = 0; i < TABLE_ENTRIES; i++) count += (table->entries[i] & PTE_V) != 0;
    page_count_add(table, count - 1); /* a page comes with 1 */
    return table;
}

uint64_t kernel_table_for_hart(phys_t hart_page, phys_t stack_low, phys_t stack_high) {
    struct page_table *root = table_copy(template, 1);
    if (page_table_levels == 4) {
        /* The table of 1 GiB entries is not the root: it is to differ as well. */
        pte_t *upper = root_entry(root, HART_PAGE);
        struct page_table *own = table_copy(pte_page(pte_load(upper)), 0);
        pte_store(upper, pte_make(phys_from_linear(own), PTE_V));
    }
    /* Entry 257 is empty in the template, so all below it is made anew. */
    page_table_map(root, HART_PAGE, hart_page, PAGE_SIZE, PTE_R | PTE_W);
    page_table_map(root, HART_STACK, stack_low, PAGE_SIZE, PTE_R | PTE_W);
    page_table_map(root, HART_STACK + PAGE_SIZE, stack_high, PAGE_SIZE, PTE_R | PTE_W);
    return asid_satp(phys_from_linear(root), 0);
}

void kernel_table_show_image(struct page_table *root) {
    pte_store(root_entry(root, KERNEL_IMAGE), image_entry);
}
