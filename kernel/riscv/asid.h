/*
 * Address space numbers: how many the hardware has is found out at boot. 0 is
 * the kernel's. With none at all, every write of satp is followed by a flush
 * (trap_entry.S), and all spaces share 0.
 */
#pragma once
#include "address.h"

/* Find out, on the boot hart, with the kernel's table installed. */
void asid_init(void);

/* True if the hardware has address space numbers. */
bool asid_supported(void);

/* A number that no live space has. False if none is left. */
bool asid_alloc(uint64_t *asid);

void asid_free(uint64_t asid);

/* The satp value for a root table. */
uint64_t asid_satp(phys_t root, uint64_t asid);
