/*
 * A program's memory, from the kernel: all of a range is looked at, then copied,
 * under one hold of the lock.
 */
#include "user_memory.h"
#include "machine.h"
#include "riscv/page_table.h"

void *user_memory_at(struct space *space, user_t va, uint64_t prot) {
    if (va.raw >= user_end()) return NULL;
    const pte_t *entry = page_table_walk(space->root, va.raw);
    if (entry == NULL) return NULL;
    pte_t pte = pte_load(entry), rights = prot << 1;
    if ((pte & rights) != rights || (pte & (PTE_V | PTE_U)) != (PTE_V | PTE_U)) return NULL;
    if ((pte & PTE_TYPE) != PTE_MEMORY) return NULL;
    return (char *)pte_page(pte) + va.raw % PAGE_SIZE;
}

/* The lock is held: may all of it be accessed? */
static bool permitted(struct space *space, uint64_t va, uint64_t size, uint64_t prot) {
    if (size == 0) return true;
    if (va >= user_end() || size > user_end() - va) return false;
    for (uint64_t page = round_down(va, PAGE_SIZE); page < va + size; page += PAGE_SIZE) {
        if (user_memory_at(space, user(page), prot) == NULL) return false;
    }
    return true;
}

int user_memory_check(struct space *space, user_t va, uint64_t size, uint64_t prot) {
    lock_acquire(&space->lock, LOCK_SPACE);
    bool fine = permitted(space, va.raw, size, prot);
    lock_release(&space->lock, LOCK_SPACE);
    return fine ? 0 : -EFAULT;
}

int user_memory_read(struct space *space, void *to, user_t from, uint64_t size) {
    int error = -EFAULT;
    lock_acquire(&space->lock, LOCK_SPACE);
    if (permitted(space, from.raw, size, PROT_READ)) {
        const char *memory = NULL;
        for (uint64_t i = 0; i < size; i++) {
            if (memory == NULL || (from.raw + i) % PAGE_SIZE == 0)
                memory = user_memory_at(space, user(from.raw + i), PROT_READ);
            ((char *)to)[i] = *memory++;
        }
        error = 0;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return error;
}

int user_memory_write(struct space *space, user_t to, const void *from, uint64_t size) {
    int error = -EFAULT;
    lock_acquire(&space->lock, LOCK_SPACE);
    if (permitted(space, to.raw, size, PROT_WRITE)) {
        char *memory = NULL;
        for (uint64_t i = 0; i < size; i++) {
            if (memory == NULL || (to.raw + i) % PAGE_SIZE == 0)
                memory = user_memory_at(space, user(to.raw + i), PROT_WRITE);
            *memory++ = ((const char *)from)[i];
        }
        error = 0;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return error;
}
