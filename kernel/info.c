/*
 * The info page.
 */
#include "info.h"
#include "devicetree.h"
#include "machine.h"
#include "page_alloc.h"
#include "panic.h"
#include "riscv/page_table.h"
#include "string.h"
#include "timer.h"

struct info_page *info_page;

void info_init(void) {
    struct info_page *info = page_alloc();
    if (info == NULL) stop("info: no RAM is left");
    page_zero(info);
    info->kernel_version = 0x00010000;
    info->page_size = PAGE_SIZE;
    info->hart_count = (uint32_t)hart_count;
    info->mmu_levels = page_table_levels;
    info->timebase = machine_description.timebase;
    info->quantum = timer_quantum;
    for (uint64_t i = 0; i < bank_count; i++) info->pages_total += banks[i]->size >> PAGE_SHIFT;
    string_copy(info->command, machine_description.command, sizeof(info->command));
    info_page = info;
}

void info_count_pages(void) {
    uint64_t shared = __atomic_load_n(&global()->pages_free, __ATOMIC_RELAXED);
    uint64_t cached = (uint64_t)(this_hart()->cache_top - this_hart()->cache);
    __atomic_store_n(&info_page->pages_shared_free, shared, __ATOMIC_RELAXED);
    __atomic_store_n(&info_page->pages_cached[this_hart()->index], cached, __ATOMIC_RELAXED);
}
