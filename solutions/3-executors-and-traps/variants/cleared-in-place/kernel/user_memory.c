/*
 * A program's memory, from the kernel.
 */
#include "user_memory.h"
#include "machine.h"
#include "riscv/page_table.h"
#include "string.h"

void *user_memory_at(struct space *space, user_t va, uint64_t prot) {
    /* The walk looks at indices only: it would take other addresses for one of
     * the user half. */
    if (va.raw >= user_end()) return NULL;
    const pte_t *entry = page_table_walk(space->root, va.raw);
    if (entry == NULL) return NULL;
    pte_t pte = pte_load(entry);
    /* PROT_… are PTE_R, PTE_W and PTE_X, shifted by one. The type is part of
     * the comparison: PTE_MEMORY is neither of its bits. */
    uint64_t wanted = PTE_V | PTE_U | PTE_MEMORY | prot << 1;
    if ((pte & (wanted | PTE_TYPE)) != wanted) return NULL;
    return (char *)pte_page(pte) + (va.raw & (PAGE_SIZE - 1));
}

/* Does [va, va + size) leave the user half, or wrap around? */
static bool leaves_user_half(user_t va, uint64_t size) {
    return size != 0 && (va.raw >= user_end() || size > user_end() - va.raw);
}

/* How many of `size` bytes from `va` on are in its page. */
static uint64_t bytes_here(user_t va, uint64_t size) {
    uint64_t rest = PAGE_SIZE - (va.raw & (PAGE_SIZE - 1));
    return size < rest ? size : rest;
}

int user_memory_check(struct space *space, user_t va, uint64_t size, uint64_t prot) {
    if (leaves_user_half(va, size)) return -EFAULT;
    int error = 0;
    lock_acquire(&space->lock, LOCK_SPACE);
    while (size > 0 && error == 0) {
        uint64_t count = bytes_here(va, size);
        if (user_memory_at(space, va, prot) == NULL) error = -EFAULT;
        va.raw += count;
        size -= count;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return error;
}

int user_memory_read(struct space *space, void *to, user_t from, uint64_t size) {
    if (leaves_user_half(from, size)) return -EFAULT;
    char *next = to;
    int error = 0;
    lock_acquire(&space->lock, LOCK_SPACE);
    while (size > 0 && error == 0) {
        uint64_t count = bytes_here(from, size);
        const void *source = user_memory_at(space, from, PROT_READ);
        if (source != NULL)
            memcpy(next, source, count);
        else
            error = -EFAULT;
        next += count;
        from.raw += count;
        size -= count;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return error;
}

int user_memory_write(struct space *space, user_t to, const void *from, uint64_t size) {
    if (leaves_user_half(to, size)) return -EFAULT;
    const char *next = from;
    int error = 0;
    lock_acquire(&space->lock, LOCK_SPACE);
    while (size > 0 && error == 0) {
        uint64_t count = bytes_here(to, size);
        void *target = user_memory_at(space, to, PROT_WRITE);
        if (target != NULL)
            memcpy(target, next, count);
        else
            error = -EFAULT;
        next += count;
        to.raw += count;
        size -= count;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return error;
}
