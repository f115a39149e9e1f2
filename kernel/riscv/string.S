/*
 * Clearing and copying pages, unrolled: 64 words a turn, so that the
 * loop costs next to nothing beside the stores.
 */
#include "assembly.h"
#include "layout.h"

    .text

/* void page_zero(void *page): leaves in a0 where the page ends (entry.S). */
FUNCTION(page_zero)
    li      a1, PAGE_SIZE               # and on into the next function
END(page_zero)

/* void blocks_zero(void *start, uint64_t size): size is a multiple of 512, not 0. */
FUNCTION(blocks_zero)
    add     t0, a0, a1
1:
    .set offset, 0
    .rept 64
    sd      zero, offset(a0)
    .set offset, offset + 8
    .endr
    addi    a0, a0, 512
    bne     a0, t0, 1b
    ret
END(blocks_zero)

/* void page_copy(void *to, const void *from) */
FUNCTION(page_copy)
    li      t0, PAGE_SIZE
    add     t0, a0, t0
1:
    .set offset, 0
    .rept 64
    ld      t1, offset(a1)
    sd      t1, offset(a0)
    .set offset, offset + 8
    .endr
    addi    a0, a0, 512
    addi    a1, a1, 512
    bne     a0, t0, 1b
    ret
END(page_copy)

/*
 * Products and quotients: the machine has neither instruction, and the
 * compiler calls these. Quotients and remainders by zero are those of the M
 * extension.
 */

/* uint64_t __muldi3(uint64_t a, uint64_t b): shift and add. */
FUNCTION(__muldi3)
    mv      a2, a0
    li      a0, 0
1:
    andi    a3, a1, 1
    beqz    a3, 2f
    add     a0, a0, a2
2:
    slli    a2, a2, 1
    srli    a1, a1, 1
    bnez    a1, 1b
    ret
END(__muldi3)

/* uint64_t __udivdi3(uint64_t a, uint64_t b): restoring division, bit by bit.
 * Leaves the remainder in a1. */
FUNCTION(__udivdi3)
    mv      a2, a1
    li      a1, 0
    li      a3, 64
1:
    slli    a1, a1, 1
    srli    a4, a0, 63
    or      a1, a1, a4
    slli    a0, a0, 1
    bltu    a1, a2, 2f
    sub     a1, a1, a2
    ori     a0, a0, 1
2:
    addi    a3, a3, -1
    bnez    a3, 1b
    ret
END(__udivdi3)

/* uint64_t __umoddi3(uint64_t a, uint64_t b) */
FUNCTION(__umoddi3)
    mv      t0, ra
    jal     __udivdi3
    mv      a0, a1
    jr      t0
END(__umoddi3)
