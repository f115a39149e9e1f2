/*
 * The heap, see heap.h: first fit, as in Kernighan and Ritchie's book.
 *
 * The heap grows up from USER_HEAP by mapping more pages at its end, so it is
 * one piece, cut into blocks. A block starts with a header, its size; a free
 * block keeps the address of the next free one in it as well. Free blocks are
 * listed by address and neighbours are joined at once, so no two free blocks
 * ever touch. Pages are not given back to the kernel before the program ends.
 *
 * A spin lock guards the list. The heap does not use the mutex of sync.h, so
 * that it works while that is still being written.
 */
#include "heap.h"
#include "call.h"
#include "layout.h"
#include "spin.h"
#include "string.h"
#include <stdbool.h>

#define BLOCK_ALIGN 16ul /* sizes and addresses are multiples of it */
#define GROW_PAGES  16ul /* the heap grows by at least so many */

struct block {
    uint64_t size;      /* bytes, with this header */
    struct block *next; /* free block at a higher address; only while free */
};

static struct block *free_list;       /* under heap_lock, like the next */
static uint64_t heap_end = USER_HEAP; /* the first address not mapped */
static uint32_t heap_lock;

static struct block *block_end(struct block *block) {
    return (struct block *)((char *)block + block->size);
}

/* Put a block on the free list, joined with its neighbours. Lock held. */
static void block_release(struct block *block) {
    struct block *before = 0;
    struct block *after = free_list;

    while (after != 0 && after < block) {
        before = after;
        after = after->next;
    }
    block->next = after;
    if (after != 0 && block_end(block) == after) {
        block->size += after->size;
        block->next = after->next;
    }
    if (before == 0) {
        free_list = block;
    } else if (block_end(before) == block) {
        before->size += block->size;
        before->next = block->next;
    } else {
        before->next = block;
    }
}

/* Take a block of at least `size` bytes off the list, without what it has too
 * much. Returns 0 if none is large enough. Lock held. */
static struct block *block_take(uint64_t size) {
    struct block **link = &free_list;

    while (*link != 0 && (*link)->size < size) link = &(*link)->next;

    struct block *block = *link;
    if (block == 0) return 0;
    if (block->size - size < 2 * sizeof(struct block)) {
        *link = block->next; /* the rest is too small to be a block */
        return block;
    }
    struct block *rest = (struct block *)((char *)block + size);
    rest->size = block->size - size;
    rest->next = block->next;
    *link = rest;
    block->size = size;
    return block;
}

/* Map `pages` more pages at the end of the heap. Returns false if there is no
 * memory, with nothing mapped. Lock held. */
static bool heap_grow(uint64_t pages) {
    struct block *block = (struct block *)heap_end;
    uint64_t mapped = 0;

    if (pages > (USER_STACKS - heap_end) / PAGE_SIZE) return false;
    while (mapped < pages) {
        uint64_t part = pages - mapped < MAP_PAGES_MAX ? pages - mapped : MAP_PAGES_MAX;
        uint64_t at = heap_end + mapped * PAGE_SIZE;
        if (map(SPACE_OWN, at, part, PROT_READ | PROT_WRITE, 0) < 0) {
            if (mapped > 0) unmap(SPACE_OWN, heap_end, mapped);
            return false;
        }
        mapped += part;
    }
    block->size = pages * PAGE_SIZE;
    heap_end += block->size;
    block_release(block);
    return true;
}

void *malloc(size_t size) {
    if (size > USER_STACKS) return 0;
    /* Room for the header, which keeps the address a multiple of 16. */
    uint64_t needed = (size + sizeof(struct block) + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);

    spin_lock(&heap_lock);
    struct block *block = block_take(needed);
    uint64_t pages = (needed + PAGE_SIZE - 1) / PAGE_SIZE;
    if (block == 0 && ((pages < GROW_PAGES && heap_grow(GROW_PAGES)) || heap_grow(pages)))
        block = block_take(needed);
    spin_unlock(&heap_lock);
    return block == 0 ? 0 : block + 1;
}

void *calloc(size_t count, size_t size) {
    if (size != 0 && count > USER_STACKS / size) return 0;
    void *memory = malloc(count * size);
    if (memory != 0) memset(memory, 0, count * size);
    return memory;
}

void free(void *memory) {
    if (memory == 0) return;
    spin_lock(&heap_lock);
    block_release((struct block *)memory - 1);
    spin_unlock(&heap_lock);
}
