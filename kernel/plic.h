/*
 * The platform-level interrupt controller (RISC-V PLIC Specification 1.0.0):
 * hands the UART's interrupt to one hart, the one that booted.
 */
#pragma once

/* Route this hart's share; only the boot hart has one. */
void plic_init_hart(void);

/* An external interrupt is pending on this hart. */
void plic_interrupt(void);
