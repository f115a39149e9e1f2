/*
 * Interrupts: what is pending on this hart is served here, whoever asks: a
 * trap from user mode, an idle hart, or a long piece of kernel work between
 * two slices.
 */
#pragma once

/* Let this hart be interrupted: by other harts, its timer, and, if it is the
 * one that serves devices, by them. Once on each hart. */
void interrupt_init(void);

/* Serve everything that is pending. The caller looks afterwards at what may
 * have changed: its executor's state word, the run queue. No lock held. */
void interrupt_serve(void);
