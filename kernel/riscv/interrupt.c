/*
 * Interrupts. In the kernel they are never taken (sstatus.SIE stays 0), only
 * asked for; from user mode they always are.
 */
#include "interrupt.h"
#include "ipi.h"
#include "machine.h"
#include "plic.h"
#include "riscv/csr.h"
#include "timer.h"

void interrupt_init(void) {
    bool has_uart = this_hart()->index == 0; /* plic.h */
    csr_write(sie, SIE_SOFTWARE | SIE_TIMER | (has_uart ? SIE_EXTERNAL : 0));
    if (has_uart) plic_init();
}

void interrupt_serve(void) {
    uint64_t pending = csr_read(sip);
    if (pending & SIE_SOFTWARE) ipi_receive();
    if (pending & SIE_TIMER) timer_interrupt();
    if (pending & SIE_EXTERNAL) plic_interrupt();
}
