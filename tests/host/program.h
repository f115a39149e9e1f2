/*
 * User programs: contract. What an executor does in user mode is chosen at
 * random, by profile.
 */
#pragma once
#include "executor.h"
#include "model.h"

/* Where an executor starts, where it runs, and where its ecall stands. */
#define PC_START 0x1000000
#define PC_RUN   0x1000100
#define PC_CALL  0x1000200

enum { PROFILES = 4 };

/* Of the programs in this round. */
extern uint64_t program_profile;

/* User mode: run `executor`, whose registers are in `cpu`, until it traps.
 * Returns the cause; pc is in the executor, as sepc. */
uint64_t program_run(struct cpu *cpu, struct executor *executor);

extern const char *const call_names[CALL_COUNT];
