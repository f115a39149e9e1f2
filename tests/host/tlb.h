/*
 * A hart's memory management unit: contract.
 *
 * It remembers leaves and pointers to leaf tables, of any number of address
 * spaces, until it is told to forget them or needs the place: like hardware,
 * it may go on using what is no longer in the tables. For each it notes the
 * space and the generation of its tables at the time of the walk, which the
 * hardware does not know, to tell a use that the kernel's shootdown should
 * have made impossible.
 */
#pragma once
#include "address.h"
#include "riscv/page_table.h"
#include <stdbool.h>

struct executor;
struct cpu;

enum { TLB_ENTRIES = 256 };

struct translation {
    bool valid;
    uint32_t level;        /* 0: a leaf; 1: the pointer to a table of leaves */
    uint64_t asid, number; /* va >> what the level covers */
    pte_t pte;
    uint64_t serial, generation; /* of the space, at the walk */
};

struct tlb {
    struct translation entries[TLB_ENTRIES];
};

/*
 * What this hart, in user mode in the executor's space, finds at `va` if it
 * needs the rights `rights` (PTE_R, W, X): the host's address of the memory; 0
 * if it must fault, or finds a device. Fails if it had to use a translation
 * from before a shootdown that is complete, or a page that is free.
 */
void *tlb_translate(struct cpu *cpu, struct executor *executor, uint64_t va, uint64_t rights);
