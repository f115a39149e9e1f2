/*
 * Banks of RAM: what of the machine's memory the page allocator may hand out,
 * after the firmware, the kernel image and the holes are taken out.
 *
 * Each bank starts with its part of the page allocation table, 8 bytes for
 * each page that follows. Pages that were never handed out lie above the mark
 * and their entries are not initialised, so that boot does not grow with RAM.
 */
#pragma once
#include "address.h"

struct bank {
    uint64_t base;     /* linear address of the first page */
    uint64_t marked;   /* bytes from base up to the mark; only refills move it */
    uint64_t *entries; /* of the page allocation table, one for each page */
    uint64_t size;     /* bytes from base to the end */
};

#define BANKS_MAX 32

/* All banks by address; the largest of them stands in the global page, where
 * the fast paths find it. Written at boot, but for the marks. */
extern struct bank *banks[BANKS_MAX];
extern uint64_t bank_count;

/* A range of physical memory: [start, end). */
struct range {
    uint64_t start, end;
    bool no_map; /* reserved, and not even to be mapped */
};

/*
 * Take the ranges `taken` out of the ranges `ram` (both sorted by their start and
 * rounded to pages; `taken` may overlap, `ram` may not) and make a bank of each
 * piece that is left and large enough to be of use. The linear map must cover them.
 */
void bank_discover(const struct range *ram, uint64_t ram_count, const struct range *taken,
                   uint64_t taken_count);

/* The bank with this page, or this entry: 0 if it is in none. Binary search. */
struct bank *bank_of_page(uint64_t page);
struct bank *bank_of_entry(const uint64_t *entry);
