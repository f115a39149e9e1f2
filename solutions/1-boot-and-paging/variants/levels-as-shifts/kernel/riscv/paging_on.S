/*
 * The jump high: from physical addresses to the image's virtual ones.
 *
 * Other than the reference: the address to return to is made before the jump,
 * and sp is moved first.
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
    add     t1, ra, a1
    add     sp, sp, a1
    sfence.vma
    csrw    satp, a0
    sfence.vma
    fence.i
    mv      ra, t1
    ret
END(paging_on)
