/*
 * Taking mappings away: contract.
 *
 * Ordering: an access that precedes the call sees what was mapped, one that
 * follows it faults, one that overlaps does either. (See map.h for mapping over
 * something.) Calls on one space are ordered by its lock.
 */
#pragma once
#include "riscv/page_table.h"
#include "space.h"

/*
 * Unmap what there is in [va, end), of any type, in the user half; holes are
 * fine and empty tables are given back. Looks at no more than MAP_PAGES_MAX
 * entries, of tables of any level: returns the address where it stopped, `end`
 * when it is done. The lock is held; afterwards no hart can use what was mapped
 * before that address, its entries are 0, and what they referred to is dropped.
 * What reached zero is freed in one step. Where nothing was mapped no hart is
 * interrupted.
 */
uint64_t unmap_range(struct space *space, uint64_t va, uint64_t end);

/* Drop what a leaf that no hart uses any more refers to, V set or not. Its entry
 * is the caller's business. A page without further mappings joins the chain. */
void unmap_drop(pte_t leaf, struct page_chain *chain);
