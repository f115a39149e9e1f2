/*
 * What the devicetree tells of the machine.
 */
#pragma once
#include "bank.h"
#include "layout.h"
#include <stdbool.h>
#include <stdint.h>

#define RANGES_MAX 32

struct machine_description {
    struct range ram[RANGES_MAX]; /* by address, whole pages, no overlaps */
    uint64_t ram_count;
    struct range reserved[RANGES_MAX]; /* firmware and kernel; by address, whole pages */
    uint64_t reserved_count;

    uint64_t hart_ids[HARTS_MAX]; /* the boot hart comes first */
    uint64_t hart_count;
    uint64_t timebase; /* ticks of `time` a second */

    /* Physical addresses; 0: there is none. */
    uint64_t uart, uart_interrupt;
    uint64_t plic, plic_size, plic_context; /* of the boot hart's supervisor mode */
    uint64_t rtc;
    uint64_t power;

    bool sv48;          /* boot argument mmu=sv48 */
    char command[1024]; /* boot argument run=…, to the end of the line */
};

extern struct machine_description machine_description;

/*
 * Read the devicetree at `tree` into machine_description. Whatever the kernel
 * can't do without, and whatever makes no sense, stops the machine with a line
 * that says so. So does a boot hart that is not in it: it would run code for
 * somebody else.
 */
void devicetree_read(const void *tree, uint64_t boot_hart);

/* Keep a range of RAM from the page allocator; one of no size, or that ends
 * beyond all addresses, is ignored. */
void devicetree_reserve(struct range range);
