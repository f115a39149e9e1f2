/*
 * A program's memory, from the kernel: page by page, the lock taken for each.
 */
#include "user_memory.h"
#include "machine.h"
#include "riscv/page_table.h"
#include "string.h"

void *user_memory_at(struct space *space, user_t va, uint64_t prot) {
    const pte_t *entry = NULL;
    if (va.raw < user_end()) entry = page_table_walk(space->root, va.raw);
    if (entry == NULL) return NULL;
    pte_t pte = pte_load(entry);
    bool memory = (pte & PTE_V) && (pte & PTE_U) && (pte & PTE_TYPE) == PTE_MEMORY;
    bool readable = !(prot & PROT_READ) || (pte & PTE_R);
    bool writable = !(prot & PROT_WRITE) || (pte & PTE_W);
    bool executable = !(prot & PROT_EXECUTE) || (pte & PTE_X);
    if (!memory || !readable || !writable || !executable) return NULL;
    return (char *)pte_page(pte) + (va.raw & (PAGE_SIZE - 1));
}

/* What one step does with a page. */
enum step { LOOK, READ, WRITE };

/* The bytes of one page, under the lock. False if they may not be had. */
static bool in_one_page(struct space *space, char *kernel, uint64_t va, uint64_t size,
                        uint64_t prot, enum step step) {
    lock_acquire(&space->lock, LOCK_SPACE);
    char *memory = user_memory_at(space, user(va), prot);
    if (memory != NULL && step == READ) memcpy(kernel, memory, size);
    if (memory != NULL && step == WRITE) memcpy(memory, kernel, size);
    lock_release(&space->lock, LOCK_SPACE);
    return memory != NULL;
}

static int in_all_pages(struct space *space, char *kernel, uint64_t va, uint64_t size,
                        uint64_t prot, enum step step) {
    uint64_t end = va + size;
    if (end < va) return -EFAULT;
    while (va != end) {
        uint64_t next = round_down(va, PAGE_SIZE) + PAGE_SIZE;
        if (next > end) next = end;
        if (!in_one_page(space, kernel, va, next - va, prot, step)) return -EFAULT;
        if (step != LOOK) kernel += next - va;
        va = next;
    }
    return 0;
}

int user_memory_check(struct space *space, user_t va, uint64_t size, uint64_t prot) {
    return in_all_pages(space, NULL, va.raw, size, prot, LOOK);
}

int user_memory_read(struct space *space, void *to, user_t from, uint64_t size) {
    return in_all_pages(space, to, from.raw, size, PROT_READ, READ);
}

int user_memory_write(struct space *space, user_t to, const void *from, uint64_t size) {
    return in_all_pages(space, (char *)from, to.raw, size, PROT_WRITE, WRITE);
}
