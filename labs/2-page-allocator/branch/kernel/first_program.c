/*
 * In place of a first program, for lab 2: the kernel takes pages, gives them
 * back, and shows what becomes of them.
 */
#include "first_program.h"
#include "lab.h"
#include "machine.h"
#include "page_alloc.h"
#include "panic.h"
#include "print.h"

enum { MANY = 1000 };

static uint64_t count_of(void *page) {
    return page_count_add(page, 0);
}

static uint64_t pages_free(void) {
    const struct hart *hart = this_hart();
    return global()->pages_free + (uint64_t)(hart->cache_top - hart->cache);
}

static void show_banks(void) {
    for (uint64_t i = 0; i < bank_count; i++)
        print("bank at %p: %lu pages, never handed out: %lu\n", (void *)banks[i]->base,
              banks[i]->size >> PAGE_SHIFT, (banks[i]->size - banks[i]->marked) >> PAGE_SHIFT);
    print("free in all: %lu, of these in this hart's cache: %ld\n", pages_free(),
          this_hart()->cache_top - this_hart()->cache);
}

static void *must_alloc(void) {
    void *page = page_alloc();
    if (page == NULL) stop("page_alloc found no page");
    return page;
}

static void show_count(void) {
    struct page_chain chain = {0};
    void *page = must_alloc();
    print("page_alloc: %p, its count is %lu\n", page, count_of(page));
    page_get(page);
    print("page_get:   its count is %lu\n", count_of(page));
    page_put(page, &chain);
    print("page_put:   its count is %lu\n", count_of(page));
    page_free(page);
}

/* Each page keeps the number of its turn; a page handed out twice would lose
 * the first. All go back as one chain. */
static void show_many(void) {
    static uint64_t *pages[MANY];
    struct page_chain chain = {0};
    for (uint64_t i = 0; i < MANY; i++) {
        pages[i] = must_alloc();
        *pages[i] = i;
    }
    print("took %d pages\n", MANY);
    for (uint64_t i = 0; i < MANY; i++) {
        if (*pages[i] != i) stop("page %p was handed out twice", pages[i]);
        page_put(pages[i], &chain);
    }
    print("put them on a chain: it has %lu\n", chain.count);
    page_free_chain(&chain);
}

void first_program_start(void) {
    uint64_t before = pages_free();
    show_banks();
    show_count();
    show_many();
    show_banks();
    if (pages_free() != before) stop("%lu pages were free, %lu are", before, pages_free());
    lab_done(2);
}
