/*
 * The page allocator.
 *
 * Other than the reference: behind the harts' caches free pages are in one
 * list under a lock, newest first, and the marks are under the same lock. No
 * queue, no dummy, no waiting for links. A flush gives back the half that was
 * in the cache longest. Entries are always found by a search of the banks.
 */
#include "page_alloc.h"
#include "bank.h"
#include "compiler.h"
#include "global.h"
#include "hart.h"
#include "machine.h"
#include "panic.h"

/* All that is not in a cache: under `taken`. */
static struct {
    uint32_t taken;
    uint64_t *first; /* entry of a free page, which links to the next; 0: none */
} pool __attribute__((aligned(64)));

static void pool_lock(void) {
    while (__atomic_exchange_n(&pool.taken, 1, __ATOMIC_ACQUIRE) != 0) machine_relax();
}

static void pool_unlock(void) {
    __atomic_store_n(&pool.taken, 0, __ATOMIC_RELEASE);
}

static void *page_of_entry(const uint64_t *entry) {
    const struct bank *bank = bank_of_entry(entry);
    return (void *)(bank->base + (uint64_t)(entry - bank->entries) * PAGE_SIZE);
}

/* The entry of a page below its bank's mark; else panics: `function` was called
 * by `caller` with that page. */
static uint64_t *checked_entry(const void *page, const char *function, const void *caller) {
    uint64_t address = (uint64_t)page;
    struct bank *bank = bank_of_page(address);
    if (bank == NULL || !page_aligned(address))
        panic("%s of %p, called by %s: no page", function, page, symbol(caller));
    uint64_t offset = address - bank->base;
    if (offset >= __atomic_load_n(&bank->marked, __ATOMIC_RELAXED))
        panic("%s of %p, called by %s: never allocated", function, page, symbol(caller));
    return &bank->entries[offset / PAGE_SIZE];
}

static int cached(const struct hart *hart) {
    return (int)(hart->cache_top - hart->cache);
}

static void cache_add(struct hart *hart, void *page, uint64_t *entry) {
    *entry = 0;
    hart->cache_top++;
    hart->cache_top->page = page;
    hart->cache_top->entry = entry;
}

/* A page above the mark of some bank, under the lock. False if there is none. */
static bool add_fresh_page(struct hart *hart) {
    for (uint64_t i = 0; i < bank_count; i++) {
        struct bank *bank = banks[i];
        uint64_t marked = bank->marked;
        if (marked == bank->size) continue;
        cache_add(hart, (void *)(bank->base + marked), &bank->entries[marked / PAGE_SIZE]);
        __atomic_store_n(&bank->marked, marked + PAGE_SIZE, __ATOMIC_RELAXED);
        return true;
    }
    return false;
}

static bool add_listed_page(struct hart *hart) {
    uint64_t *entry = pool.first;
    if (entry == NULL) return false;
    pool.first = (uint64_t *)*entry;
    cache_add(hart, page_of_entry(entry), entry);
    return true;
}

/* Fill an empty cache by half, or with what there is. */
static void refill(struct hart *hart) {
    pool_lock();
    while (cached(hart) < HART_CACHE_BATCH && (add_listed_page(hart) || add_fresh_page(hart)))
        __atomic_fetch_sub(&global()->pages_free, 1, __ATOMIC_RELAXED);
    pool_unlock();
}

static void chain_add(struct page_chain *chain, uint64_t *entry) {
    *entry = (uint64_t)chain->first;
    chain->first = entry;
    if (chain->last == NULL) chain->last = entry;
    chain->count++;
}

/* Give the lower half of a full cache back, and move the rest down. */
static void flush(struct hart *hart) {
    struct page_chain chain = {0};
    struct cached_page *lowest = &hart->cache[1];
    for (int i = 0; i < HART_CACHE_BATCH; i++) {
        chain_add(&chain, lowest[i].entry);
        lowest[i] = lowest[i + HART_CACHE_BATCH];
    }
    hart->cache_top -= HART_CACHE_BATCH;
    page_free_chain(&chain);
}

void page_alloc_init(void) {
    this_hart()->cache_top = &this_hart()->cache[0];
    global()->pages_free = 0;
    for (uint64_t i = 0; i < bank_count; i++) global()->pages_free += banks[i]->size / PAGE_SIZE;
}

void *page_alloc(void) {
    struct hart *hart = this_hart();
    if (cached(hart) == 0) refill(hart);
    if (cached(hart) == 0) return NULL;
    struct cached_page taken = *hart->cache_top;
    hart->cache_top--;
    *taken.entry = ENTRY_FIRST;
    return taken.page;
}

__attribute__((noinline)) void page_free(void *page) {
    const void *caller = __builtin_return_address(0);
    uint64_t *entry = checked_entry(page, "page_free", caller);
    if (*entry != ENTRY_FIRST)
        panic("page_free of %p, called by %s: its entry is 0x%lx", page, symbol(caller), *entry);
    struct hart *hart = this_hart();
    if (cached(hart) == HART_CACHE_SIZE) flush(hart);
    cache_add(hart, page, entry);
}

__attribute__((noinline)) void page_get(void *page) {
    uint64_t *entry = checked_entry(page, "page_get", __builtin_return_address(0));
    __atomic_fetch_add(entry, ENTRY_COUNT_ONE, __ATOMIC_RELAXED);
}

__attribute__((noinline)) void page_put(void *page, struct page_chain *chain) {
    uint64_t *entry = checked_entry(page, "page_put", __builtin_return_address(0));
    uint64_t left = __atomic_sub_fetch(entry, ENTRY_COUNT_ONE, __ATOMIC_ACQ_REL);
    if ((left & ENTRY_ALLOCATED) == 0 || (int64_t)left < ENTRY_ALLOCATED)
        panic("page_put of %p, which has no count", page);
    if (left == ENTRY_ALLOCATED) chain_add(chain, entry);
}

void page_free_chain(struct page_chain *chain) {
    if (chain->count == 0) return;
    pool_lock();
    *chain->last = (uint64_t)pool.first;
    pool.first = chain->first;
    __atomic_fetch_add(&global()->pages_free, chain->count, __ATOMIC_RELAXED);
    pool_unlock();
    chain->first = chain->last = NULL;
    chain->count = 0;
}

uint64_t page_count_add(void *page, int64_t change) {
    uint64_t *entry = checked_entry(page, "page_count_add", __builtin_return_address(0));
    int64_t count = (int64_t)(*entry / ENTRY_COUNT_ONE) + change;
    *entry = (uint64_t)count * ENTRY_COUNT_ONE + ENTRY_ALLOCATED;
    return (uint64_t)count;
}

void page_retire(void *page, struct page_chain *chain) {
    chain_add(chain, checked_entry(page, "page_retire", __builtin_return_address(0)));
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
