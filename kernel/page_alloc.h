/*
 * The page allocator: contract.
 *
 * The page allocation table has a word for each page of RAM:
 *
 *   odd:  allocated, 2·count + 1
 *   even: free, the address of the next free page's entry; 0 ends the list
 *
 * The count of a page of memory is the number of mappings it has, that of a
 * page table the number of its valid entries, that of a kernel object 1.
 *
 * A free page is in the free queue, which all harts share, or in the small
 * cache of one hart, or above the mark of its bank.
 */
#pragma once
#include "address.h"

#define ENTRY_COUNT_ONE 2                                   /* step of the count */
#define ENTRY_ALLOCATED 1                                   /* an allocated page with count 0 */
#define ENTRY_FIRST     (ENTRY_ALLOCATED + ENTRY_COUNT_ONE) /* with count 1 */

/* Free pages that were taken out of use together, linked by their entries, in
 * any order. Empty: all 0. */
struct page_chain {
    uint64_t *first, *last;
    uint64_t count;
};

/* Pages set aside for a change that must not fail half-way, allocated, linked
 * by their first words. */
struct page_list {
    void *first;
};

/* Once, on the boot hart, when the banks are known: the queue is empty, nothing
 * was handed out, this hart's cache_top is at the floor of its cache (the other
 * harts' are set by boot.c), pages_free counts all pages. */
void page_alloc_init(void);

/* A page with count 1 and unknown contents, or 0 if none is left in this hart's
 * cache, in the queue or above the marks: other harts' caches may hold some. */
__attribute__((warn_unused_result)) void *page_alloc(void);

/* A page with count 1 goes back. Anything else panics and names the caller: a
 * page that is free, or has another count, an address that is no page of a
 * bank, or a page above its bank's mark (which has no entry to look at yet). */
void page_free(void *page);

/* One more count, for a page of which the caller holds one: that is not checked.
 * What is no page panics, as in page_free. Any hart, no lock, beside others for
 * the same page. */
void page_get(void *page);

/* One less; a page that reaches zero is added to the chain. What is no page, a
 * free page, or one with count 0, panics. Any hart, no lock, beside others for
 * the same page. */
void page_put(void *page, struct page_chain *chain);

/* Free a whole chain, a long one in the same time as a short one: with a queue
 * that is one atomic swap. It is empty afterwards; an empty one may be given. */
void page_free_chain(struct page_chain *chain);

/*
 * The count of a page table (page_table.h), under the lock of its space.
 * page_count_add returns the count after the change; a count may be zero, never
 * less, for as long as the lock is held.
 */
uint64_t page_count_add(void *page, int64_t change);

/* Free a page whatever its count, into the chain: a page table that is done. */
void page_retire(void *page, struct page_chain *chain);

/*
 * Set `count` pages aside, each cleared if `clear`. Returns 0, or -ENOMEM and
 * leaves the list as it was.
 */
__attribute__((warn_unused_result)) int page_list_fill(struct page_list *list, uint64_t count,
                                                       bool clear);

/* Take one page off the list: it must not be empty. Its first word is 0, the
 * rest as page_list_fill left it. */
void *page_list_take(struct page_list *list);

/* Free what is left on the list. */
void page_list_drop(struct page_list *list);
