/*
 * Where the kernel puts things: read by C, assembler and linker script.
 *
 * Kernel half of every kernel table (a user table has the image only):
 *
 *   0xffffffc000000000  kernel image, global: text RX, rodata R, data RW
 *   0xffffffc040000000  hart page     this hart's memory, at one address
 *   0xffffffc040001000  guard         on all harts
 *   0xffffffc040002000  kernel stack, 8 KiB
 *   0xffffffc040004000  guard
 *   0xffffffe000000000  linear map of all RAM, global, 128 GiB at most
 *
 * The devices that the kernel drives are identity-mapped below, in the
 * kernel's tables only.
 */
#pragma once
#include <stag/abi.h>

#define KERNEL_IMAGE    0xffffffc000000000
#define KERNEL_IMAGE_PA 0x80200000 /* as linked; it runs wherever it is loaded */
#define HART_PAGE       0xffffffc040000000
#define HART_STACK      (HART_PAGE + 0x2000)
#define HART_STACK_SIZE 0x2000
#define HART_STACK_TOP  (HART_STACK + HART_STACK_SIZE)
#define LINEAR_MAP      0xffffffe000000000
#define LINEAR_MAP_SIZE 0x0000002000000000 /* 128 GiB, to the end of the address space */

#define HARTS_MAX 16

/* In the hart page, above its structure. */
#define EMERGENCY_STACK_TOP (HART_PAGE + PAGE_SIZE)
