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

/* The part of a bank of `size` bytes that its allocation table takes: 8 bytes
 * for each page that follows. */
static uint64_t table_size(uint64_t size) {
    uint64_t pages = size >> PAGE_SHIFT;
    return round_up(pages * sizeof(uint64_t), PAGE_SIZE);
}

static void bank_add(uint64_t start, uint64_t end) {
    /* Fewer than two pages have no room for a table and a page. */
    if (end < start + 2 * PAGE_SIZE) return;
    if (bank_count == BANKS_MAX) panic("bank: more than %u separate pieces of RAM", BANKS_MAX);
    uint64_t linear = (uint64_t)linear_from_phys(phys(start));
    uint64_t table = table_size(end - start);
    struct bank *bank = &other_banks[bank_count];
    *bank = (struct bank){
        .base = linear + table,
        .entries = (uint64_t *)linear,
        .size = end - start - table,
    };
    banks[bank_count++] = bank;
}

void bank_discover(const struct range *ram, uint64_t ram_count, const struct range *taken,
                   uint64_t taken_count) {
    for (uint64_t i = 0; i < ram_count; i++) {
        uint64_t start = ram[i].start;
        for (uint64_t j = 0; j < taken_count; j++) {
            if (taken[j].end <= start || taken[j].start >= ram[i].end) continue;
            if (taken[j].start > start) bank_add(start, taken[j].start);
            start = taken[j].end;
        }
        if (start < ram[i].end) bank_add(start, ram[i].end);
    }
    if (bank_count == 0) panic("bank: no RAM is left for the page allocator");
    uint64_t largest = 0;
    for (uint64_t i = 1; i < bank_count; i++) {
        if (banks[i]->size > banks[largest]->size) largest = i;
    }
    global()->main_bank = *banks[largest];
    banks[largest] = &global()->main_bank;
}

/* The last bank whose key, as told by `key`, is not above `address`. */
static struct bank *bank_search(uint64_t address, bool by_entry) {
    uint64_t low = 0, high = bank_count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        struct bank *bank = banks[middle];
        if ((by_entry ? (uint64_t)bank->entries : bank->base) <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : banks[low - 1];
}

struct bank *bank_of_page(uint64_t page) {
    struct bank *bank = bank_search(page, false);
    return bank != NULL && page - bank->base < bank->size ? bank : NULL;
}

struct bank *bank_of_entry(const uint64_t *entry) {
    struct bank *bank = bank_search((uint64_t)entry, true);
    return bank != NULL && entry < bank->entries + (bank->size >> PAGE_SHIFT) ? bank : NULL;
}
