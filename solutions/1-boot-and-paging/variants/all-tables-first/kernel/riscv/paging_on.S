/*
 * The jump high: from physical addresses to the image's virtual ones.
 *
 * Other than the reference: it jumps to the high half at once, and moves ra and
 * sp from there.
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
    lla     t0, high
    add     t0, t0, a1
    fence   rw, rw
    sfence.vma  zero, zero
    csrw    satp, a0
    sfence.vma  zero, zero
    jr      t0
high:
    add     ra, ra, a1
    add     sp, sp, a1
    jr      ra
END(paging_on)
