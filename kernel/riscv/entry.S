/*
 * The first instructions: of the hart that boots, and of each other hart.
 *
 * The firmware enters with the MMU off, the hart's id in a0, in a1 the address
 * of the devicetree. The image may have been loaded at any physical address:
 * until paging is on, all addresses are formed relative to the pc.
 *
 * OpenSBI before 1.2 publishes that a hart is to start before it writes where:
 * a hart that is asked to start elsewhere may come to _start all the same, and
 * in a1 there may be anything. So all begin at _start; only the first to come
 * boots, and the others find their page by their id.
 */
#include "asm_offsets.h"
#include "assembly.h"
#include "layout.h"

    .section .text.entry, "ax"

FUNCTION(_start)
    csrw    sie, zero
    csrci   sstatus, 2                  # SIE: never set in the kernel
    lla     t0, boot_trap
    csrw    stvec, t0
    lla     t0, boot_begun
    li      t1, 1
    amoswap.w.aq t1, t1, (t0)
    bnez    t1, hart_start
    mv      s1, a0
    mv      s2, a1
    lla     a0, bss_start
    lla     s3, bss_end
1:
    call    page_zero                   # a0 = where the next page begins
    bltu    a0, s3, 1b
    lla     sp, boot_stack + HART_STACK_SIZE
    lla     gp, global_page
    lla     tp, boot_hart
    li      s0, 0
    lla     a0, _start
    mv      a1, s2
    call    boot_table_make             # a0 = satp of the first table
    ld      a1, image_offset
    call    paging_on
    lla     t0, boot_trap               # and now these are image addresses
    csrw    stvec, t0
    lla     gp, global_page
    lla     tp, boot_hart
    mv      a0, s1
    mv      a1, s2
    call    boot_main                   # does not return
END(_start)

    .data
    .balign 4
boot_begun:
    .word   0                           # 1: a hart boots; not in what it clears

    .text

/* Each other hart, once `harts` is complete. */
PRIVATE_FUNCTION(hart_start)
    lla     t0, harts
    ld      t1, linear_offset
1:
    ld      s1, 0(t0)                   # a hart page in the linear map
    addi    t0, t0, 8
    sub     t2, s1, t1
    ld      t2, HART_ID(t2)
    bne     t2, a0, 1b
    ld      a0, boot_satp
    ld      a1, image_offset
    call    paging_on
    lla     t0, boot_trap
    csrw    stvec, t0
    ld      a0, HART_KERNEL_SATP(s1)
    j       hart_enter
END(hart_start)

/* void hart_enter(uint64_t kernel_satp): on this hart's own table and stack,
 * into hart_main. */
FUNCTION(hart_enter)
    sfence.vma
    csrw    satp, a0
    sfence.vma
    li      tp, HART_PAGE
    lla     gp, global_page
    li      sp, HART_STACK_TOP
    li      s0, 0
    call    hart_main                   # does not return
END(hart_enter)

/* A trap before the hart has its own table: a bug, told through the firmware. The
 * boot hart may be beyond that and use its stack: this is its emergency stack. */
PRIVATE_FUNCTION(boot_trap)
    lla     sp, boot_hart + PAGE_SIZE
    csrr    a0, scause
    csrr    a1, sepc
    csrr    a2, stval
    call    boot_trapped                # does not return
END(boot_trap)
