/*
 * The final tables of the kernel: contract. (The map: layout.h.)
 */
#pragma once
#include "hart.h"
#include "riscv/page_table.h"

/*
 * Make what all kernel tables share, with the rights that it keeps, and switch
 * to that: the image, the linear map of all RAM but what is reserved as no-map,
 * and the devices that the kernel drives (UART and power: a page each, PLIC; not
 * the clock). Stops if a device is not below user_end(), or if the hart has no
 * such mode and leaves satp as it was. Calls page_table_init. Once, on the boot
 * hart, when pages can be allocated.
 */
void kernel_table_init(bool sv48);

/* Make the table of one hart: the shared parts, and this hart's page and the
 * two pages of its stack at the addresses that are the same for all. Returns
 * its satp. */
uint64_t kernel_table_for_hart(phys_t hart_page, phys_t stack_low, phys_t stack_high);

/* Put into a user root what a user table has of the kernel: the image. Allocates
 * nothing: the tables below are the same for all. */
void kernel_table_show_image(struct page_table *root);
