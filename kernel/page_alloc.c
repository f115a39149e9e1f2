/*
 * The page allocator.
 *
 *   cache of a hart          free queue, shared                 banks
 *  +---+---+---+      pop    head           tail    refill    +------+---------+
 *  | p | p | p |  <--------  [e] -> [e] -> [e]    <--------   | used | never   |
 *  +---+---+---+  -------->         append                    +------+---------+
 *                  a chain                                           mark
 *
 * The queue is linked through the entries of the page allocation table. Its
 * two ends are on different cache lines of the global page, so that a hart
 * that frees does not disturb one that allocates.
 *
 * Append (any number of harts at a time): end the chain with 0, swap the tail
 * with the chain's last entry, then store the chain's first entry into what
 * was the tail. One swap, however long the chain. Between swap and store the
 * queue is broken in two: an entry that says 0 but is not the tail.
 *   - The swap is acquire-release: swaps of the tail are totally ordered, and
 *     whoever swaps after us writes to our last entry after we ended it.
 *   - The store is a release: who follows it sees the whole chain.
 *
 * Pop (one hart at a time): swap the head with 0; who finds 0 waits, another
 * is popping. Take entries, put the head back. As nobody else can take an
 * entry meanwhile, none can leave and come back between a look at it and the
 * step that relies on that look: there is no ABA.
 *   - The swap is an acquire, the put-back a release: poppers see each other's
 *     work, the marks of the banks included.
 *   - The last entry is never taken, since the next append stores into it. So
 *     that every page can be had all the same, a dummy entry goes round: when
 *     it is popped it is appended at once, behind every page.
 *   - An entry that says 0 but is not the tail has an append in progress
 *     behind it: the store is a few instructions away, wait for it.
 */
#include "page_alloc.h"
#include "bank.h"
#include "compiler.h"
#include "global.h"
#include "hart.h"
#include "machine.h"
#include "panic.h"

static uint64_t dummy_entry;

/* The page of an entry. */
static void *page_of_entry(const uint64_t *entry) {
    struct bank *bank = &global()->main_bank;
    if (UNLIKELY((uint64_t)(entry - bank->entries) >= bank->size >> PAGE_SHIFT))
        bank = bank_of_entry(entry);
    return (void *)(bank->base + ((uint64_t)(entry - bank->entries) << PAGE_SHIFT));
}

__attribute__((cold, noinline)) static uint64_t *entry_search(uint64_t page, const void *caller) {
    struct bank *bank = bank_of_page(page);
    if (bank == NULL || !page_aligned(page))
        panic("page_alloc: %p is no page of RAM (caller %s)", (void *)page, symbol(caller));
    if (page - bank->base >= __atomic_load_n(&bank->marked, __ATOMIC_RELAXED))
        panic("page_alloc: page %p was never allocated (caller %s)", (void *)page, symbol(caller));
    return &bank->entries[(page - bank->base) >> PAGE_SHIFT];
}

/* The entry of a page that was allocated at some time; anything else panics. The
 * mark may be read late: whoever handed us a page had seen it move. */
static inline uint64_t *entry_of_page(const void *page, const void *caller) {
    struct bank *bank = &global()->main_bank;
    uint64_t offset = (uint64_t)page - bank->base;
    if (LIKELY(offset < __atomic_load_n(&bank->marked, __ATOMIC_RELAXED) && page_aligned(offset)))
        return (uint64_t *)((uint64_t)bank->entries + (offset >> (PAGE_SHIFT - 3)));
    return entry_search((uint64_t)page, caller);
}

__attribute__((cold, noinline, noreturn)) static void page_free_refused(void *page, uint64_t entry,
                                                                        const void *caller) {
    if (entry & ENTRY_ALLOCATED)
        panic("page_free: page %p has count %lu, not 1 (caller %s)", page, entry / 2,
              symbol(caller));
    panic("page_free: double free of page %p (caller %s)", page, symbol(caller));
}

/* Append entries first … last, already linked, to the free queue. */
static void queue_append(uint64_t *first, uint64_t *last) {
    __atomic_store_n(last, 0, __ATOMIC_RELAXED);
    uint64_t *before = __atomic_exchange_n(&global()->page_alloc_tail, last, __ATOMIC_ACQ_REL);
    __atomic_store_n(before, (uint64_t)first, __ATOMIC_RELEASE);
}

/* An entry that is nobody's any more joins the chain. */
static void chain_add(struct page_chain *chain, uint64_t *entry) {
    __atomic_store_n(entry, (uint64_t)chain->first, __ATOMIC_RELAXED);
    if (chain->first == NULL) chain->last = entry;
    chain->first = entry;
    chain->count++;
}

/* Push a free page on this hart's cache, which has room. */
static inline void cache_push(struct hart *hart, void *page, uint64_t *entry) {
    hart->cache_top++;
    *hart->cache_top = (struct cached_page){page, entry};
    __atomic_store_n(entry, 0, __ATOMIC_RELAXED);
}

/* How many pages are in this hart's cache. */
static inline uint64_t cached(const struct hart *hart) {
    return (uint64_t)(hart->cache_top - hart->cache);
}

/* Take pages off the queue until there is a batch in this hart's cache. This
 * hart is the one that pops; `head` is the queue's first entry. Returns the
 * first that remains. */
static uint64_t *queue_take(struct hart *hart, uint64_t *head) {
    while (cached(hart) < HART_CACHE_BATCH) {
        uint64_t next = __atomic_load_n(head, __ATOMIC_ACQUIRE);
        if (next == 0) {
            if (__atomic_load_n(&global()->page_alloc_tail, __ATOMIC_RELAXED) == head) break;
            while ((next = __atomic_load_n(head, __ATOMIC_ACQUIRE)) == 0) machine_relax();
        }
        if (head == &dummy_entry)
            queue_append(head, head);
        else
            cache_push(hart, page_of_entry(head), head);
        head = (uint64_t *)next;
    }
    return head;
}

/* Take pages above the mark of a bank, until there is a batch. This hart is the
 * one that pops. */
static void bank_take(struct hart *hart, struct bank *bank) {
    uint64_t marked = bank->marked;
    for (; cached(hart) < HART_CACHE_BATCH && marked < bank->size; marked += PAGE_SIZE)
        cache_push(hart, (void *)(bank->base + marked), &bank->entries[marked >> PAGE_SHIFT]);
    __atomic_store_n(&bank->marked, marked, __ATOMIC_RELAXED);
}

/* This hart's cache is empty: put a batch into it, and take a page from there.
 * NULL if there is not one free page. */
__attribute__((cold, noinline)) static void *refill_and_alloc(void) {
    struct hart *hart = this_hart();
    uint64_t **shared_head = &global()->page_alloc_head;
    uint64_t *head;
    while ((head = __atomic_exchange_n(shared_head, NULL, __ATOMIC_ACQUIRE)) == NULL)
        machine_relax();
    head = queue_take(hart, head);
    /* The largest bank first: its pages are the quickest to find again. */
    bank_take(hart, &global()->main_bank);
    for (uint64_t i = 0; i < bank_count && cached(hart) < HART_CACHE_BATCH; i++)
        bank_take(hart, banks[i]);
    __atomic_store_n(shared_head, head, __ATOMIC_RELEASE);
    uint64_t taken = cached(hart);
    __atomic_fetch_sub(&global()->pages_free, taken, __ATOMIC_RELAXED);
    return taken != 0 ? page_alloc() : NULL;
}

void page_alloc_init(void) {
    this_hart()->cache_top = this_hart()->cache;
    global()->page_alloc_head = &dummy_entry;
    global()->page_alloc_tail = &dummy_entry;
    for (uint64_t i = 0; i < bank_count; i++) global()->pages_free += banks[i]->size >> PAGE_SHIFT;
}

LEAF void *page_alloc(void) {
    struct hart *hart = this_hart();
    struct cached_page *top = hart->cache_top;
    void *page = top->page;
    if (UNLIKELY(page == NULL)) return refill_and_alloc();
    hart->cache_top = top - 1;
    __atomic_store_n(top->entry, ENTRY_FIRST, __ATOMIC_RELAXED);
    return page;
}

/* This hart's cache is full: append its topmost batch to the free queue, and
 * then free the page. */
__attribute__((cold, noinline)) static void flush_and_free(void *page) {
    struct hart *hart = this_hart();
    struct page_chain chain = {0};
    for (int i = 0; i < HART_CACHE_BATCH; i++) {
        chain_add(&chain, hart->cache_top->entry);
        hart->cache_top--;
    }
    page_free_chain(&chain);
    page_free(page);
}

/* page_free ends in a jump to this, which so returns to its caller. */
__attribute__((noinline)) static void free_looked_up(void *page) {
    const void *caller = __builtin_return_address(0);
    uint64_t *entry = entry_of_page(page, caller);
    uint64_t value = __atomic_load_n(entry, __ATOMIC_RELAXED);
    if (UNLIKELY(value != ENTRY_FIRST)) page_free_refused(page, value, caller);
    struct hart *hart = this_hart();
    if (UNLIKELY(hart->cache_top == &hart->cache[HART_CACHE_SIZE]))
        flush_and_free(page);
    else
        cache_push(hart, page, entry);
}

LEAF void page_free(void *page) {
    /* What was allocated last is often freed first: its slot, just above the top,
     * still says which entry it has. Anything else is looked up. */
    struct hart *hart = this_hart();
    struct cached_page *last = hart->cache_top + 1;
    if (last->page == page && page != NULL &&
        __atomic_load_n(last->entry, __ATOMIC_RELAXED) == ENTRY_FIRST) {
        hart->cache_top = last;
        __atomic_store_n(last->entry, 0, __ATOMIC_RELAXED);
    } else {
        free_looked_up(page);
    }
}

LEAF void page_get(void *page) {
    /* Relaxed: the caller's own count keeps the page allocated. */
    __atomic_fetch_add(entry_of_page(page, __builtin_return_address(0)), ENTRY_COUNT_ONE,
                       __ATOMIC_RELAXED);
}

LEAF void page_put(void *page, struct page_chain *chain) {
    uint64_t *entry = entry_of_page(page, __builtin_return_address(0));
    /* A count of 1 is ours: nobody else can raise it, so no atomic step is
     * needed. Acquire, as with the decrement that ends at zero: what the other
     * owners did with the page happened before it is used anew. */
    uint64_t value = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
    if (UNLIKELY(value != ENTRY_FIRST)) {
        KERNEL_ASSERT((value & ENTRY_ALLOCATED) && value != ENTRY_ALLOCATED);
        value = __atomic_fetch_sub(entry, ENTRY_COUNT_ONE, __ATOMIC_ACQ_REL);
        if (value != ENTRY_FIRST) return;
    }
    chain_add(chain, entry);
}

void page_free_chain(struct page_chain *chain) {
    if (chain->first == NULL) return;
    /* Counted first: who takes them off the queue counts them out after that. */
    __atomic_fetch_add(&global()->pages_free, chain->count, __ATOMIC_RELAXED);
    queue_append(chain->first, chain->last);
    *chain = (struct page_chain){0};
}

LEAF uint64_t page_count_add(void *page, int64_t change) {
    uint64_t *entry = entry_of_page(page, __builtin_return_address(0));
    *entry += (uint64_t)change * ENTRY_COUNT_ONE;
    return *entry / ENTRY_COUNT_ONE;
}

LEAF void page_retire(void *page, struct page_chain *chain) {
    chain_add(chain, entry_of_page(page, __builtin_return_address(0)));
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
