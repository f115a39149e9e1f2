/*
 * The model of a machine that the kernel's concurrent parts run on: contract.
 *
 * A hart is a thread. Time is a counter that programs advance; when all harts
 * sleep it jumps to the next timer, so nothing waits for a real clock. An
 * interrupt is a bit in a word of the hart's, which ends its sleep and is
 * looked at by the model of user mode between any two steps.
 *
 * The model must not order what the kernel has to order, or it would hide from
 * ThreadSanitizer that the kernel does not. So everything shared in the model
 * is read and written by relaxed atomic operations, with fences where the
 * model itself needs them (ThreadSanitizer derives no order from a fence).
 * Three things order as the hardware does: an interrupt between harts (ipi.h
 * promises it), a step of the page walker from an entry to what it points to
 * (the hardware's address dependency), and nothing else.
 */
#pragma once
#include "check.h"
#include "executor.h"
#include "hart.h"
#include "tlb.h"
#include <stdbool.h>
#include <stdint.h>

/* Reads what others write, at moments when it can't matter: checks. */
#define UNWATCHED __attribute__((no_sanitize("thread"), noinline))

struct options {
    uint64_t seed, rounds, steps, harts, pages;
    uint64_t levels, asid_bits;
    int profile; /* of programs; -1: a different one each round */
    bool verbose;
};

extern struct options options;

enum {
    COUNT_STEPS,
    COUNT_TRAPS,
    COUNT_SLEEPS,
    COUNT_IPIS,
    COUNT_TICKS,
    COUNT_QUIET,
    COUNT_FAULTS,
    COUNT_HITS,
    COUNT_WALKS,
    COUNT_FLUSHES,
    COUNT_BACK, /* a trap returned whom it took, after it had let go of it */
    COUNTS
};

struct cpu {
    /* Written by all. */
    uint32_t pending; /* bits of sip, and PENDING_EXIT */
    uint32_t place;   /* PLACE_…, and above PLACE_BITS how often it has changed */
    uint64_t timer_at;
    uint8_t line[48];
    /* This hart's own. */
    struct hart *hart;
    uint64_t random;
    uint64_t stval;
    uint64_t x[31]; /* the registers, while in user mode */
    struct tlb tlb;
    uint64_t counts[COUNTS];
    uint64_t succeeded[32], failed[32]; /* calls by number */
};

#define PENDING_EXIT (1u << 31)

enum { PLACE_KERNEL, PLACE_USER, PLACE_ASLEEP, PLACE_BITS };

extern struct cpu cpus[HARTS_MAX];

/* The hart that this thread is. */
struct cpu *this_cpu(void);

/* A random number below `limit`. */
uint64_t random_below(uint64_t limit);

/* This hart is now in the kernel, in user mode, or asleep. */
void cpu_move(struct cpu *cpu, uint32_t place);

/* Check that no hart sleeps while an executor waits for one: called in user
 * mode. */
void check_nobody_oversleeps(void);

/* Let time pass; raises the timers it reaches. */
void time_pass(uint64_t ticks);

/* Raise interrupts of a hart. */
void cpu_raise(struct cpu *cpu, uint32_t bits);

/* The cause of the interrupt that this hart takes in user mode now; 0: none. */
uint64_t cpu_interrupt(struct cpu *cpu);

/* All harts sleep, no interrupt is pending and no timer set. Called on one of
 * them; raises an interrupt, or lets all end by raising PENDING_EXIT. */
void world_quiet(void);
