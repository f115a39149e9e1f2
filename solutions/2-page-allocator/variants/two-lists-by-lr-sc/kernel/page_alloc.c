/*
 * The page allocator.
 *
 * Other than the reference: two lists instead of a queue. Who frees pushes on
 * the first, `returned`, by lr and sc, and waits for nobody. Who refills has
 * the second, `ready`, for itself; when that is empty it takes all of the first
 * by one swap. An entry can't come back to the top of a list between a look and
 * a step: nobody takes single entries off the first, and only one hart at a
 * time takes them off the second. So there is no ABA, no dummy, and no link to
 * wait for. page_put looks first, then changes the count by compare-and-swap.
 * The fences are stronger than they need be.
 */
#include "page_alloc.h"
#include "bank.h"
#include "compiler.h"
#include "global.h"
#include "hart.h"
#include "machine.h"
#include "panic.h"

#define LIST_TAKEN 1 /* no entry has this address */

static uint64_t returned __attribute__((aligned(64))); /* first entry, 0: none */
static uint64_t ready __attribute__((aligned(64)));    /* the same, or LIST_TAKEN */

/* Store a value in a word that still holds what it did; else false. */
static inline bool store_if(uint64_t *word, uint64_t old, uint64_t value) {
    uint64_t found;
    int failed;
    __asm__ volatile("   lr.d.aq %[found], (%[word])\n"
                     "   li %[failed], 1\n"
                     "   bne %[found], %[old], 1f\n"
                     "   sc.d.rl %[failed], %[value], (%[word])\n"
                     "1:\n"
                     : [found] "=&r"(found), [failed] "=&r"(failed)
                     : [word] "r"(word), [old] "r"(old), [value] "r"(value)
                     : "memory");
    return failed == 0;
}

static uint64_t *entry_in(const struct bank *bank, uint64_t page) {
    bool inside = page - bank->base < __atomic_load_n(&bank->marked, __ATOMIC_RELAXED);
    return inside ? &bank->entries[(page - bank->base) >> PAGE_SHIFT] : NULL;
}

/* The entry of a page that was allocated at some time, else 0. */
static uint64_t *entry_of(const void *page) {
    uint64_t *entry = NULL;
    if (page_aligned((uint64_t)page)) {
        entry = entry_in(&global()->main_bank, (uint64_t)page);
        const struct bank *bank = entry == NULL ? bank_of_page((uint64_t)page) : NULL;
        entry = bank != NULL ? entry_in(bank, (uint64_t)page) : entry;
    }
    return entry;
}

__attribute__((cold, noinline, noreturn)) static void refuse(const char *what, const void *page,
                                                             const void *caller) {
    panic("%s: %s of %p", symbol(caller), what, page);
}

/* Push a page whose entry is of `bank` on this hart's cache. */
static void push(struct hart *hart, const struct bank *bank, uint64_t *entry) {
    uint64_t index = (uint64_t)(entry - bank->entries);
    __atomic_store_n(entry, 0, __ATOMIC_RELAXED);
    hart->cache_top[1] = (struct cached_page){(void *)(bank->base + (index << PAGE_SHIFT)), entry};
    hart->cache_top++;
}

/* Move up to `wanted` entries of a list into the cache: what remains of it. */
static uint64_t take_from_list(struct hart *hart, uint64_t list, uint64_t wanted) {
    if (list == 0 || wanted == 0) return list;
    uint64_t *entry = (uint64_t *)list;
    uint64_t rest = __atomic_load_n(entry, __ATOMIC_RELAXED);
    push(hart, bank_of_entry(entry), entry);
    return take_from_list(hart, rest, wanted - 1);
}

static void take_from_bank(struct hart *hart, struct bank *bank, uint64_t wanted) {
    uint64_t left = (bank->size - bank->marked) >> PAGE_SHIFT;
    uint64_t count = left < wanted ? left : wanted;
    for (uint64_t i = 0; i < count; i++)
        push(hart, bank, &bank->entries[(bank->marked >> PAGE_SHIFT) + i]);
    if (count > 0)
        __atomic_store_n(&bank->marked, bank->marked + count * PAGE_SIZE, __ATOMIC_RELEASE);
}

/* How many pages are missing in the cache for a batch. */
static uint64_t missing(const struct hart *hart) {
    return HART_CACHE_BATCH - (uint64_t)(hart->cache_top - hart->cache);
}

__attribute__((noinline)) static void refill(struct hart *hart) {
    uint64_t list;
    while ((list = __atomic_exchange_n(&ready, LIST_TAKEN, __ATOMIC_SEQ_CST)) == LIST_TAKEN)
        machine_relax();
    list = take_from_list(hart, list, missing(hart));
    if (list == 0) list = __atomic_exchange_n(&returned, 0, __ATOMIC_SEQ_CST);
    list = take_from_list(hart, list, missing(hart));
    for (uint64_t i = bank_count; i > 0 && missing(hart) > 0; i--)
        take_from_bank(hart, banks[i - 1], missing(hart));
    uint64_t got = HART_CACHE_BATCH - missing(hart);
    __atomic_fetch_sub(&global()->pages_free, got, __ATOMIC_SEQ_CST);
    __atomic_store_n(&ready, list, __ATOMIC_SEQ_CST);
}

/* Put an entry in front of a chain. */
static void chain_entry(struct page_chain *chain, uint64_t *entry) {
    if (chain->count++ == 0) chain->last = entry;
    __atomic_store_n(entry, (uint64_t)chain->first, __ATOMIC_RELAXED);
    chain->first = entry;
}

void page_alloc_init(void) {
    this_hart()->cache_top = this_hart()->cache;
    for (uint64_t i = 0; i < bank_count; i++) global()->pages_free += banks[i]->size >> PAGE_SHIFT;
}

void *page_alloc(void) {
    struct hart *hart = this_hart();
    if (hart->cache_top == hart->cache) refill(hart);
    if (hart->cache_top == hart->cache) return NULL;
    struct cached_page *top = hart->cache_top;
    __atomic_store_n(top->entry, ENTRY_FIRST, __ATOMIC_RELAXED);
    hart->cache_top = top - 1;
    return top->page;
}

__attribute__((noinline)) void page_free(void *page) {
    uint64_t *entry = entry_of(page);
    if (entry == NULL) refuse("page_free of what is no page", page, __builtin_return_address(0));
    if (__atomic_load_n(entry, __ATOMIC_RELAXED) != ENTRY_FIRST)
        refuse("page_free of a page that is free or shared", page, __builtin_return_address(0));
    struct hart *hart = this_hart();
    struct page_chain chain = {0};
    if (hart->cache_top - hart->cache == HART_CACHE_SIZE) {
        while (chain.count < HART_CACHE_BATCH) chain_entry(&chain, (hart->cache_top--)->entry);
    }
    hart->cache_top++;
    *hart->cache_top = (struct cached_page){page, entry};
    __atomic_store_n(entry, 0, __ATOMIC_RELAXED);
    page_free_chain(&chain);
}

void page_get(void *page) {
    uint64_t *entry = entry_of(page);
    uint64_t value;
    do {
        value = entry != NULL ? __atomic_load_n(entry, __ATOMIC_RELAXED) : 0;
        if ((value & ENTRY_ALLOCATED) == 0)
            refuse("page_get of what is not allocated", page, __builtin_return_address(0));
    } while (!store_if(entry, value, value + ENTRY_COUNT_ONE));
}

void page_put(void *page, struct page_chain *chain) {
    uint64_t *entry = entry_of(page);
    uint64_t value;
    do {
        value = entry != NULL ? __atomic_load_n(entry, __ATOMIC_RELAXED) : 0;
        if ((value & ENTRY_ALLOCATED) == 0 || value == ENTRY_ALLOCATED)
            refuse("page_put of what has no count", page, __builtin_return_address(0));
    } while (!store_if(entry, value, value - ENTRY_COUNT_ONE));
    if (value == ENTRY_FIRST) chain_entry(chain, entry);
}

void page_free_chain(struct page_chain *chain) {
    if (chain->count == 0) return;
    uint64_t first;
    do {
        first = __atomic_load_n(&returned, __ATOMIC_RELAXED);
        __atomic_store_n(chain->last, first, __ATOMIC_RELAXED);
    } while (!store_if(&returned, first, (uint64_t)chain->first));
    __atomic_fetch_add(&global()->pages_free, chain->count, __ATOMIC_SEQ_CST);
    *chain = (struct page_chain){0};
}

uint64_t page_count_add(void *page, int64_t change) {
    uint64_t *entry = entry_of(page);
    KERNEL_ASSERT(entry != NULL);
    return __atomic_add_fetch(entry, (uint64_t)change * ENTRY_COUNT_ONE, __ATOMIC_RELAXED) >> 1;
}

void page_retire(void *page, struct page_chain *chain) {
    uint64_t *entry = entry_of(page);
    KERNEL_ASSERT(entry != NULL);
    chain_entry(chain, entry);
}

int page_list_fill(struct page_list *list, uint64_t count, bool clear) {
    for (uint64_t i = 0; i < count; i++) {
        void **page = page_alloc();
        if (page == NULL) {
            while (i-- > 0) page_free(page_list_take(list));
            return -ENOMEM;
        }
        if (clear) page_zero(page);
        *page = list->first;
        list->first = page;
    }
    return 0;
}

void *page_list_take(struct page_list *list) {
    void **page = list->first;
    KERNEL_ASSERT(page != NULL);
    list->first = *page;
    *page = NULL;
    return page;
}

void page_list_drop(struct page_list *list) {
    while (list->first != NULL) page_free(page_list_take(list));
}
