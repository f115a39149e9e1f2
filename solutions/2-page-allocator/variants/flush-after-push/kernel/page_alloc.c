/*
 * The page allocator.
 *
 * Other than the reference: a cache is flushed as soon as it is full, not when
 * the next page comes; chains grow at their end; page_put is one atomic step
 * whatever the count is, and looks at what it found afterwards.
 */
#include "page_alloc.h"
#include "bank.h"
#include "compiler.h"
#include "global.h"
#include "hart.h"
#include "lab.h"
#include "machine.h"
#include "panic.h"

/* A link of the free queue that belongs to no page. It is always somewhere in
 * the queue, so the queue always has a last entry that may stay there. */
static uint64_t dummy __attribute__((aligned(64)));

/* The entry of a page that was handed out some time: NULL if it is no page of
 * a bank, or above the mark. */
static uint64_t *entry_of(const void *page) {
    uint64_t address = (uint64_t)page;
    const struct bank *bank = &global()->main_bank;
    if (UNLIKELY(address - bank->base >= bank->size)) bank = bank_of_page(address);
    if (bank == NULL || !page_aligned(address) ||
        address - bank->base >= __atomic_load_n(&bank->marked, __ATOMIC_RELAXED))
        return NULL;
    return &bank->entries[(address - bank->base) >> PAGE_SHIFT];
}

static void *page_of(uint64_t *entry) {
    const struct bank *bank = bank_of_entry(entry);
    KERNEL_ASSERT(bank != NULL);
    return (void *)(bank->base + ((uint64_t)(entry - bank->entries) << PAGE_SHIFT));
}

/* Put an entry behind the last one of a chain. The chain is this hart's alone,
 * and so are all entries in it. */
static void chain_add(struct page_chain *chain, uint64_t *entry) {
    *entry = 0;
    if (chain->first == NULL)
        chain->first = entry;
    else
        *chain->last = (uint64_t)entry;
    chain->last = entry;
    chain->count++;
}

/*
 * The free queue. Whoever appends owns its chain until step 3, and nobody else
 * writes to the entry that the swap returned. Whoever has swapped the head out
 * has the front of the queue, and the marks of all banks, until it puts the
 * head back.
 *
 *   release                       acquire, by the next one to do this
 *   tail swap   (append, 2)       tail swap: my 0 is there before you link to it
 *   link store  (append, 3)       link load (link_of): the chain's links, and
 *                                 what former owners wrote to the pages
 *   head store  (queue_close)     head swap (queue_open): the marks, the head
 *   page_put                      page_put, the last: all uses of the page
 */

/* Put linked entries into the queue, behind all others. Waits for nobody. */
static void append(uint64_t *first, uint64_t *last) {
    __atomic_store_n(last, 0, __ATOMIC_RELAXED);
    uint64_t *before = __atomic_exchange_n(&global()->page_alloc_tail, last, __ATOMIC_ACQ_REL);
    __atomic_store_n(before, (uint64_t)first, __ATOMIC_RELEASE);
}

/* Have the front of the queue: the entry there. */
static uint64_t *queue_open(void) {
    uint64_t *entry;
    while ((entry = __atomic_exchange_n(&global()->page_alloc_head, NULL, __ATOMIC_ACQUIRE)) ==
           NULL) {
        while (__atomic_load_n(&global()->page_alloc_head, __ATOMIC_RELAXED) == NULL)
            machine_relax();
    }
    return entry;
}

static void queue_close(uint64_t *entry) {
    __atomic_store_n(&global()->page_alloc_head, entry, __ATOMIC_RELEASE);
}

/* What an entry links to: NULL if it is the last. */
static uint64_t *link_of(const uint64_t *entry) {
    uint64_t link = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
    if (link == 0 && __atomic_load_n(&global()->page_alloc_tail, __ATOMIC_RELAXED) != entry) {
        /* Somebody has swapped the tail and is about to link. */
        while ((link = __atomic_load_n(entry, __ATOMIC_ACQUIRE)) == 0) machine_relax();
    }
    return (uint64_t *)link;
}

/* Take up to `wanted` entries from the front of the queue, which this hart has.
 * Returns the new front. */
static uint64_t *take_queued(uint64_t *front, struct hart *hart, uint64_t wanted) {
    while (wanted > 0) {
        uint64_t *next = link_of(front);
        if (next == NULL) break;
        if (front == &dummy) {
            /* There is a page behind it, now or soon: so it comes at most every
             * second time. */
            append(&dummy, &dummy);
        } else {
            *++hart->cache_top = (struct cached_page){page_of(front), front};
            wanted--;
        }
        front = next;
    }
    return front;
}

/* Take up to `wanted` pages above the mark of a bank; their entries are written
 * for the first time. This hart has the front of the queue; page_free on others
 * reads the mark meanwhile. */
static void take_marked(struct bank *bank, struct hart *hart, uint64_t wanted) {
    uint64_t marked = bank->marked;
    if (marked == bank->size) return;
    while (wanted > 0 && marked < bank->size) {
        uint64_t *entry = &bank->entries[marked >> PAGE_SHIFT];
        *entry = 0;
        *++hart->cache_top = (struct cached_page){(void *)(bank->base + marked), entry};
        marked += PAGE_SIZE;
        wanted--;
    }
    __atomic_store_n(&bank->marked, marked, __ATOMIC_RELAXED);
}

static uint64_t cached(const struct hart *hart) {
    return (uint64_t)(hart->cache_top - hart->cache);
}

/* Fill the cache of this hart, which is empty, with a batch, or what there is:
 * pages that were in use first, then such that never were, of the largest bank
 * and then of the others. */
static void refill(struct hart *hart) {
    uint64_t *front = take_queued(queue_open(), hart, HART_CACHE_BATCH);
    take_marked(&global()->main_bank, hart, HART_CACHE_BATCH - cached(hart));
    for (uint64_t i = 0; i < bank_count && cached(hart) < HART_CACHE_BATCH; i++)
        take_marked(banks[i], hart, HART_CACHE_BATCH - cached(hart));
    queue_close(front);
    if (cached(hart) > 0) __atomic_fetch_sub(&global()->pages_free, cached(hart), __ATOMIC_RELAXED);
}

/* Give the topmost batch of a full cache to everybody. */
static void flush(struct hart *hart) {
    struct page_chain chain = {0};
    while (chain.count < HART_CACHE_BATCH) chain_add(&chain, (hart->cache_top--)->entry);
    page_free_chain(&chain);
}

void page_alloc_init(void) {
    struct hart *hart = this_hart();
    hart->cache[0] = (struct cached_page){0};
    hart->cache_top = hart->cache;
    dummy = 0;
    global()->page_alloc_head = &dummy;
    global()->page_alloc_tail = &dummy;
    uint64_t pages = 0;
    for (uint64_t i = 0; i < bank_count; i++) pages += banks[i]->size >> PAGE_SHIFT;
    global()->pages_free = pages;
}

LEAF void *page_alloc(void) {
    struct hart *hart = this_hart();
    if (hart->cache_top->page == NULL) {
        refill(hart);
        if (hart->cache_top->page == NULL) return NULL;
    }
    struct cached_page *top = hart->cache_top--;
    *top->entry = ENTRY_FIRST;
    return top->page;
}

__attribute__((noreturn, cold, noinline)) static void free_refused(const void *page,
                                                                   const uint64_t *entry,
                                                                   const void *from) {
    if (entry == NULL) panic("%s frees %p, which is no page", symbol(from), page);
    panic("%s frees page %p, whose entry is 0x%lx", symbol(from), page, *entry);
}

LEAF void page_free(void *page) {
    uint64_t *entry = entry_of(page);
    if (entry == NULL || *entry != ENTRY_FIRST)
        free_refused(page, entry, __builtin_return_address(0));
    struct hart *hart = this_hart();
    *entry = 0;
    *++hart->cache_top = (struct cached_page){page, entry};
    if (cached(hart) == HART_CACHE_SIZE) flush(hart);
}

LEAF void page_get(void *page) {
    uint64_t *entry = entry_of(page);
    if (entry == NULL) panic("page_get: %p is no page", page);
    uint64_t was = __atomic_fetch_add(entry, ENTRY_COUNT_ONE, __ATOMIC_RELAXED);
    if ((was & ENTRY_ALLOCATED) == 0) panic("page_get: page %p is free", page);
}

LEAF void page_put(void *page, struct page_chain *chain) {
    uint64_t *entry = entry_of(page);
    if (entry == NULL) panic("page_put: %p is no page", page);
    uint64_t was = __atomic_fetch_sub(entry, ENTRY_COUNT_ONE, __ATOMIC_ACQ_REL);
    if ((was & ENTRY_ALLOCATED) == 0 || was < ENTRY_FIRST)
        panic("page_put: page %p had entry 0x%lx", page, was);
    if (was == ENTRY_FIRST) chain_add(chain, entry);
}

void page_free_chain(struct page_chain *chain) {
    if (chain->first == NULL) return;
    append(chain->first, chain->last);
    __atomic_fetch_add(&global()->pages_free, chain->count, __ATOMIC_RELAXED);
    *chain = (struct page_chain){0};
}

LEAF uint64_t page_count_add(void *page, int64_t change) {
    uint64_t *entry = entry_of(page);
    KERNEL_ASSERT(entry != NULL);
    *entry += (uint64_t)change * ENTRY_COUNT_ONE;
    return *entry >> 1;
}

LEAF void page_retire(void *page, struct page_chain *chain) {
    uint64_t *entry = entry_of(page);
    KERNEL_ASSERT(entry != NULL && (*entry & ENTRY_ALLOCATED) != 0);
    chain_add(chain, entry);
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
