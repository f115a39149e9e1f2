/*
 * The platform-level interrupt controller (RISC-V PLIC Specification 1.0.0):
 * hands the UART's interrupt to one hart, the one that booted.
 */
#pragma once

/* Offsets of a context's registers, and from one context to the next; numbers of
 * interrupts are below PLIC_SOURCES, and 0 is none (chapters 3 and 4). */
enum { PLIC_THRESHOLD = 0x200000, PLIC_CLAIM = 0x200004, PLIC_STRIDE = 0x1000 };
enum { PLIC_SOURCES = 1024 };

/* Have the UART's interrupt raised on the hart that booted, which calls this. */
void plic_init(void);

/* An external interrupt is pending on that hart. */
void plic_interrupt(void);
