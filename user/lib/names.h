/*
 * Names of the kernel's numbers, for people.
 */
#pragma once
#include <stdint.h>

/* The name of an error, as in "ENOMEM"; with either sign. */
const char *error_name(int64_t error);

/* What a fault was, by its cause (scause; RISC-V privileged architecture,
 * section on the supervisor cause register), as in "load page fault at": what
 * follows is the fault's address, or the illegal instruction. */
const char *fault_name(uint64_t cause);

/* What an executor is doing, by its state word, as in "parked". */
const char *state_name(uint64_t state);
