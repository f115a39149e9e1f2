/*
 * From the first C instruction at the image's address to user mode, on the
 * hart that boots and on the others.
 */
#include "bank.h"
#include "devicetree.h"
#include "first_program.h"
#include "info.h"
#include "interrupt.h"
#include "machine.h"
#include "page_alloc.h"
#include "panic.h"
#include "print.h"
#include "riscv/asid.h"
#include "riscv/boot_table.h"
#include "riscv/csr.h"
#include "riscv/kernel_table.h"
#include "riscv/sbi.h"
#include "scheduler.h"
#include "shootdown.h"
#include "space.h"
#include "timer.h"
#include "trap.h"
#include "uart.h"

/* entry.S. It calls boot_main, hart_main and boot_trapped. */
void _start(void);
void hart_enter(uint64_t kernel_satp);

struct global global_page __attribute__((aligned(PAGE_SIZE)));
struct hart *harts[HARTS_MAX];
uint64_t hart_count;

/* The boot hart's page and stack are in the image: it needs them before there
 * are pages to allocate. */
union {
    struct hart hart;
    uint8_t page[PAGE_SIZE];
} boot_hart __attribute__((aligned(PAGE_SIZE)));
uint8_t boot_stack[HART_STACK_SIZE] __attribute__((aligned(PAGE_SIZE)));

extern char image_end[]; /* kernel.ld */

/* The kernel itself is in RAM, or the devicetree is not of this machine. */
static void check_image_in_ram(struct range image) {
    for (uint64_t i = 0; i < machine_description.ram_count; i++) {
        const struct range *ram = &machine_description.ram[i];
        if (ram->start <= image.start && image.end <= ram->end) return;
    }
    stop("the kernel was loaded at 0x%lx, where the devicetree tells of no RAM", image.start);
}

/* Banks of what is neither the firmware's nor the image. */
static void find_banks(void) {
    const struct machine_description *machine = &machine_description;
    struct range image = {.start = phys_from_image((void *)KERNEL_IMAGE).raw,
                          .end = phys_from_image(image_end).raw};
    check_image_in_ram(image);
    devicetree_reserve(image);
    bank_discover(machine->ram, machine->ram_count, machine->reserved, machine->reserved_count);
}

/* A hart's page, its stack and its table. */
static void make_hart(uint64_t index, phys_t page, phys_t stack_low, phys_t stack_high) {
    struct hart *hart = linear_from_phys(page);
    hart->self = hart;
    hart->gp = &global_page;
    hart->sp = HART_STACK_TOP;
    hart->index = index;
    hart->id = machine_description.hart_ids[index];
    hart->seen_offset = offsetof(struct space, seen) + index * sizeof(struct space_seen);
    hart->timer_at = DEADLINE_NONE;
    hart->kernel_satp = kernel_table_for_hart(page, stack_low, stack_high);
    harts[index] = hart;
}

static void make_harts(void) {
    make_hart(0, phys_from_image(&boot_hart), phys_from_image(boot_stack),
              phys_from_image(boot_stack + PAGE_SIZE));
    for (uint64_t i = 1; i < hart_count; i++) {
        void *page = page_alloc(), *stack_low = page_alloc(), *stack_high = page_alloc();
        if (page == NULL || stack_low == NULL || stack_high == NULL)
            stop("no RAM for hart %lu", machine_description.hart_ids[i]);
        page_zero(page);
        make_hart(i, phys_from_linear(page), phys_from_linear(stack_low),
                  phys_from_linear(stack_high));
    }
}

void boot_main(uint64_t hart_id, uint64_t tree_address) {
    if (tree_address == 0 || tree_address % 8 != 0)
        stop("devicetree: the firmware gave none (its address is 0x%lx)", tree_address);
    devicetree_read((const void *)(BOOT_TREE_MAP + tree_address % (1ul << 30)), hart_id);
    hart_count = machine_description.hart_count;
    linear_offset = LINEAR_MAP - round_down(machine_description.ram[0].start, 1ul << 30);
    boot_table_add_linear(machine_description.ram, machine_description.ram_count);
    find_banks();
    page_alloc_init();
    kernel_table_init(machine_description.sv48);
    timer_init();
    info_init();
    make_harts();
    hart_enter(boot_hart.hart.kernel_satp);
}

/* The rest of the boot, on the boot hart's own table. */
static void boot_finish(void) {
    uart_init();
    asid_init();
    print("\nStag: %lu hart%s, %lu MiB, Sv%s\n", hart_count, hart_count == 1 ? "" : "s",
          info_page->pages_total >> (20 - PAGE_SHIFT), page_table_levels == 3 ? "39" : "48");
    fence_io(); /* what the others find here comes before the firmware's letting them go */
    for (uint64_t i = 1; i < hart_count; i++) {
        int64_t error = sbi_hart_start(harts[i]->id, phys_from_image(_start));
        if (error != 0) stop("hart %lu does not start: SBI error %ld", harts[i]->id, error);
    }
    first_program_start();
}

void hart_main(void) {
    struct hart *hart = this_hart();
    /* Whatever the firmware has left there; none is ever set again. */
    csr_clear(sstatus, SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP | SSTATUS_VS | SSTATUS_FS |
                           SSTATUS_SUM | SSTATUS_MXR);
    csr_write(sscratch, 0);
    csr_write(scounteren, 7); /* programs may read cycle, time and instret */
    csr_write(stvec, trap_entry);
    if (hart->index == 0) {
        /* Its page, which it knew by another address until now, is in use. */
        hart->cache_top = hart->cache + (hart->cache_top - boot_hart.hart.cache);
        boot_finish();
    } else {
        hart->cache_top = hart->cache;
    }
    if (!asid_supported()) csr_write(stvec, trap_entry_flushing);
    interrupt_init();
    timer_need_tick();
    struct executor *first = shootdown_publish(trap_reap(scheduler_next()));
    if (asid_supported()) trap_exit(first);
    trap_exit_flushing(first);
}

void boot_trapped(uint64_t cause, uint64_t pc, uint64_t address) {
    stop("trap at boot: cause %lu at pc 0x%lx, address 0x%lx", cause, pc, address);
}
