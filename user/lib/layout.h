/*
 * Where the library puts things in a program's address space, within what
 * stag/abi.h lays down.
 *
 *   USER_HEAP …           the heap, growing up
 *   USER_STACKS …         stacks of threads 1, 2, …: each lies at the top of a
 *                         stride of its own, all below it stays unmapped, so
 *                         that a stack that overflows faults
 *   USER_WINDOWS …        where spawn() fills the memory of a new program
 *   USER_HANDLES …        handles:
 *     + page n              the executor of thread n; thread 0 is HANDLE_SELF
 *     + page HANDLES_GIVEN  what a parent shares with its child, by agreement
 *     + page HANDLES_TAKEN  what handle_take() gives out
 *
 * The heap ends where the stacks begin.
 */
#pragma once
#include "stag/abi.h"

#define USER_STACKS  0x0000001000000000
#define USER_WINDOWS 0x0000001800000000

#define THREADS_MAX  1024
#define STACK_PAGES  8
#define STACK_STRIDE 0x100000

#define WINDOWS_MAX   64
#define WINDOW_STRIDE 0x1000000 /* as large as the largest program */

#define HANDLES_GIVEN 1024
#define HANDLES_TAKEN 1040
#define HANDLES_MAX   1024 /* that handle_take gives out */

/* The address of page `number` of the handle area. */
#define HANDLE_AT(number) (USER_HANDLES + ((uint64_t)(number) << PAGE_SHIFT))
