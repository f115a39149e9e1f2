/*
 * Calls to the firmware (RISC-V Supervisor Binary Interface 1.0).
 */
#pragma once
#include "address.h"

/* Print one character: debug console if the firmware has it, else the legacy
 * call. Works before the MMU is on. */
void sbi_put(char c);

/* Start a hart at `entry`, its id in a0, the MMU off. Returns 0 or a negative SBI
 * error. */
int64_t sbi_hart_start(uint64_t hart_id, phys_t entry);

/* Raise the timer interrupt of this hart when `time` reaches `at`; take back
 * one that is pending. */
void sbi_set_timer(uint64_t at);

/* Raise the software interrupt of a hart. */
void sbi_send_ipi(uint64_t hart_id);

/* Power off. Returns only if the firmware can't. */
void sbi_shutdown(void);
