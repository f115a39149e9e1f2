/*
 * The first page table, made by hand, with the MMU off: contract.
 */
#pragma once
#include "bank.h"

/* Where boot_table_make maps the GiB with the devicetree, and the next. */
#define BOOT_TREE_MAP 0xffffffc080000000

/* satp of the first table; the other harts start with it. */
extern uint64_t boot_satp;

/*
 * Make the first table, Sv39: the image at KERNEL_IMAGE, with all rights; this
 * code at its physical address, to be executed at least; the devicetree at
 * BOOT_TREE_MAP, to be read at least. A is set, and D with W. Sets image_offset
 * and boot_satp. Returns the satp value. Stops if load_address is no multiple of
 * 2 MiB or not below 256 GiB. Runs with the MMU off.
 */
uint64_t boot_table_make(uint64_t load_address, uint64_t tree_address);

/* Add the linear map of these ranges, readable and writable, in whole GiB, when
 * they are known and linear_offset is set; it can be used at once. */
void boot_table_add_linear(const struct range *ram, uint64_t count);
