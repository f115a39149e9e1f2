/*
 * Making mappings: contract.
 *
 * Ordering: an access that precedes the call sees what was mapped before, one
 * that follows it sees the new mapping, one that overlaps sees either, each
 * access by itself. Over an invalid entry a spurious fault is the fault
 * handler's business (fault.c).
 */
#pragma once
#include "riscv/page_table.h"
#include "space.h"

/* Is [va, va + pages) in the user half, aligned, not empty, and not too much
 * for one call? The page at 0 is never mapped. */
bool map_range_valid(uint64_t va, uint64_t pages);

/*
 * Map one page: `bits` are its rights, PTE_U and its type. The caller's
 * reference to the page goes to the mapping. Takes the space's lock.
 * Returns 0, -ENOMEM, -EEXIST or -ESRCH.
 */
__attribute__((warn_unused_result)) int map_page(struct space *space, user_t va, phys_t pa,
                                                 uint64_t bits);
