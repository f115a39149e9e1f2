/*
 * Address space numbers: a bit each; 0 is the kernel's.
 */
#include "riscv/asid.h"
#include "riscv/csr.h"
#include "riscv/page_table.h"

enum { ASID_BITS_MAX = 16, WORD_BITS = 64 };

static uint64_t asid_count = 1; /* 2 to the number of bits */
static uint64_t used[(1 << ASID_BITS_MAX) / WORD_BITS];

void asid_init(void) {
    uint64_t satp = csr_read(satp);
    csr_write(satp, satp | 0xfffful << SATP_ASID_SHIFT);
    asid_count = (csr_read(satp) >> SATP_ASID_SHIFT & 0xffff) + 1;
    csr_write(satp, satp);
    sfence_vma_all();
}

bool asid_supported(void) {
    return asid_count > 1;
}

bool asid_alloc(uint64_t *asid) {
    *asid = 0;
    for (uint64_t number = 1; number < asid_count; number++) {
        uint64_t *word = &used[number / WORD_BITS];
        uint64_t bit = 1ul << number % WORD_BITS;
        if (__atomic_load_n(word, __ATOMIC_RELAXED) & bit) continue;
        /* Acquire: the end of the space that had it comes first. */
        if (__atomic_fetch_or(word, bit, __ATOMIC_ACQUIRE) & bit) continue;
        *asid = number;
        return true;
    }
    return !asid_supported(); /* then all share 0 */
}

void asid_free(uint64_t asid) {
    __atomic_fetch_and(&used[asid / WORD_BITS], ~(1ul << asid % WORD_BITS), __ATOMIC_RELEASE);
}

uint64_t asid_satp(phys_t root, uint64_t asid) {
    uint64_t mode = page_table_levels == 4 ? SATP_MODE_SV48 : SATP_MODE_SV39;
    return mode | asid << SATP_ASID_SHIFT | root.raw >> PAGE_SHIFT;
}
