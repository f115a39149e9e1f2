/*
 * Address space numbers: a bit each, taken by compare-and-swap.
 */
#include "riscv/asid.h"
#include "riscv/csr.h"
#include "riscv/page_table.h"

enum { ASID_BITS_MAX = 16, WORD_BITS = 64 };

static uint64_t asid_count = 1; /* 2 to the number of bits */
static uint64_t used[(1 << ASID_BITS_MAX) / WORD_BITS];
static uint64_t search_from; /* a hint; atomic */

void asid_init(void) {
    uint64_t satp = csr_read(satp);
    csr_write(satp, satp | 0xfffful << SATP_ASID_SHIFT);
    asid_count = (csr_read(satp) >> SATP_ASID_SHIFT & 0xffff) + 1;
    csr_write(satp, satp);
    sfence_vma_all();
    used[0] = 1; /* the kernel's */
}

bool asid_supported(void) {
    return asid_count > 1;
}

bool asid_alloc(uint64_t *asid) {
    *asid = 0;
    if (!asid_supported()) return true;
    uint64_t words = (asid_count + WORD_BITS - 1) / WORD_BITS;
    uint64_t word = __atomic_load_n(&search_from, __ATOMIC_RELAXED);
    for (uint64_t i = 0; i < words; i++, word = word + 1 < words ? word + 1 : 0) {
        uint64_t seen = __atomic_load_n(&used[word], __ATOMIC_RELAXED);
        while (~seen != 0) {
            uint64_t bit = ~seen & -~seen; /* the lowest that is clear */
            uint64_t number = word * WORD_BITS;
            while (bit >> (number % WORD_BITS) != 1) number++;
            if (number >= asid_count) break;
            /* Acquire: the end of the space that had it comes first. */
            if (__atomic_compare_exchange_n(&used[word], &seen, seen | bit, false, __ATOMIC_ACQUIRE,
                                            __ATOMIC_RELAXED)) {
                __atomic_store_n(&search_from, word, __ATOMIC_RELAXED);
                *asid = number;
                return true;
            }
        }
    }
    return false;
}

void asid_free(uint64_t asid) {
    if (asid != 0)
        __atomic_fetch_and(&used[asid / WORD_BITS], ~(1ul << asid % WORD_BITS), __ATOMIC_RELEASE);
}

uint64_t asid_satp(phys_t root, uint64_t asid) {
    uint64_t mode = page_table_levels == 4 ? SATP_MODE_SV48 : SATP_MODE_SV39;
    return mode | asid << SATP_ASID_SHIFT | root.raw >> PAGE_SHIFT;
}
