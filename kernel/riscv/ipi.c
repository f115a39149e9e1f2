/*
 * Interrupts from hart to hart, by way of the firmware.
 */
#include "ipi.h"
#include "global.h"
#include "machine.h"
#include "panic.h"
#include "riscv/csr.h"
#include "riscv/sbi.h"

void ipi_send(struct hart *hart) {
    /* Memory before device: the firmware's store that raises the interrupt
     * must not overtake ours. */
    fence_io();
    sbi_send_ipi(hart->id);
}

void ipi_receive(void) {
    /* Cleared first, looked second: a sender that comes between raises it
     * again. */
    csr_clear(sip, SIE_SOFTWARE);
    fence_io();
    if (panicking()) panic_halt();
}
