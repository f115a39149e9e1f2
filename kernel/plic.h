/*
 * The platform-level interrupt controller (RISC-V PLIC Specification 1.0.0):
 * hands the UART's interrupt to one hart, the one that booted.
 */
#pragma once

/* Have the UART's interrupt raised on the hart that booted, which calls this. */
void plic_init(void);

/* An external interrupt is pending on that hart. */
void plic_interrupt(void);
