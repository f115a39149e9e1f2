/*
 * The books: contract. To be called when no hart runs.
 */
#pragma once
#include <stdint.h>

/* Check every page of RAM, every reference count, every state. */
void audit(void);

/* Free pages: in the free queue, in the harts' caches, above the marks. Checks
 * the queue on the way. */
uint64_t audit_free_pages(void);
