/*
 * Discovery of the banks of RAM, and their look-up.
 */
#include "bank.h"
#include "global.h"
#include "machine.h"
#include "panic.h"

struct bank *banks[BANKS_MAX];
uint64_t bank_count;

static struct bank other_banks[BANKS_MAX];

static void bank_add(uint64_t start, uint64_t end) {
    /* Nothing, or fewer than two pages: no room for a table and a page. */
    if (end < start + 2 * PAGE_SIZE) return;
    if (bank_count == BANKS_MAX) stop("more than %u separate pieces of RAM", BANKS_MAX);
    uint64_t linear = (uint64_t)linear_from_phys(phys(start));
    uint64_t table = round_up((end - start) / PAGE_SIZE * sizeof(uint64_t), PAGE_SIZE);
    struct bank *bank = &other_banks[bank_count];
    bank->base = linear + table;
    bank->entries = (uint64_t *)linear;
    bank->size = end - start - table;
    banks[bank_count++] = bank;
}

void bank_discover(const struct range *ram, uint64_t ram_count, const struct range *taken,
                   uint64_t taken_count) {
    for (uint64_t i = 0; i < ram_count; i++) {
        uint64_t start = ram[i].start;
        for (uint64_t j = 0; j < taken_count; j++) {
            if (taken[j].end <= start || taken[j].start >= ram[i].end) continue;
            bank_add(start, taken[j].start);
            start = taken[j].end;
        }
        bank_add(start, ram[i].end);
    }
    if (bank_count == 0) stop("no RAM is left for the page allocator");
    uint64_t largest = 0;
    for (uint64_t i = 1; i < bank_count; i++) {
        if (banks[i]->size > banks[largest]->size) largest = i;
    }
    global()->main_bank = *banks[largest];
    banks[largest] = &global()->main_bank;
}

/* The only bank that may have `address` in it, in its table or its pages. */
static struct bank *bank_search(uint64_t address) {
    uint64_t low = 0, high = bank_count;
    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;
        if (address < (uint64_t)banks[middle]->entries)
            high = middle;
        else
            low = middle;
    }
    return banks[low];
}

struct bank *bank_of_page(uint64_t page) {
    struct bank *bank = bank_search(page);
    return page - bank->base < bank->size ? bank : NULL;
}

struct bank *bank_of_entry(const uint64_t *entry) {
    struct bank *bank = bank_search((uint64_t)entry);
    return (uint64_t)(entry - bank->entries) < bank->size >> PAGE_SHIFT ? bank : NULL;
}
