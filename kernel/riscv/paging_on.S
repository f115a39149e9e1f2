/*
 * The jump high: from physical addresses to the image's virtual ones.
 */
#include "assembly.h"

    .text

/*
 * void paging_on(uint64_t satp, uint64_t image_offset)
 *
 * Installs the first table and returns to where it was called from, at the
 * image's virtual address, with sp moved likewise. The table maps this code at
 * its physical address too: satp and pc can't change in one instruction.
 */
FUNCTION(paging_on)
    sfence.vma
    csrw    satp, a0
    sfence.vma
    add     sp, sp, a1
    add     ra, ra, a1
    ret
END(paging_on)
