/*
 * A program's memory, from the kernel.
 */
#include "user_memory.h"
#include "riscv/page_table.h"
#include "string.h"

void *user_memory_at(struct space *space, user_t va, uint64_t prot) {
    if (va.raw >= user_end()) return NULL;
    pte_t pte = page_table_load(space->root, va.raw);
    pte_t wanted = PTE_V | PTE_U | PTE_MEMORY | prot << 1;
    if ((pte & (PTE_V | PTE_U | PTE_TYPE | prot << 1)) != wanted) return NULL;
    return (char *)pte_page(pte) + va.raw % PAGE_SIZE;
}

/* Copy page by page, out of or into the program's memory. With NULL for the
 * kernel's, only see whether that could be done. */
static int copy(struct space *space, char *kernel, user_t va, uint64_t size, uint64_t prot) {
    int error = 0;
    lock_acquire(&space->lock, LOCK_SPACE);
    for (uint64_t done = 0; done < size && error == 0;) {
        uint64_t rest_of_page = PAGE_SIZE - (va.raw + done) % PAGE_SIZE;
        uint64_t part = size - done < rest_of_page ? size - done : rest_of_page;
        char *memory = user_memory_at(space, user(va.raw + done), prot);
        if (memory == NULL)
            error = -EFAULT;
        else if (kernel != NULL && (prot & PROT_WRITE))
            memcpy(memory, kernel + done, part);
        else if (kernel != NULL)
            memcpy(kernel + done, memory, part);
        done += part;
    }
    lock_release(&space->lock, LOCK_SPACE);
    return error;
}

int user_memory_check(struct space *space, user_t va, uint64_t size, uint64_t prot) {
    return copy(space, NULL, va, size, prot);
}

int user_memory_read(struct space *space, void *to, user_t from, uint64_t size) {
    return copy(space, to, from, size, PROT_READ);
}

int user_memory_write(struct space *space, user_t to, const void *from, uint64_t size) {
    return copy(space, (char *)from, to, size, PROT_WRITE);
}
