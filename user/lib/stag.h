/*
 * The user library: all of its headers but lab.h.
 *
 *   call.h       the system calls, one function each
 *   info.h       info_page(): what the kernel shows of the machine
 *   time.h       time_now, time_ticks, time_after (deadlines), sleep_ms
 *   string.h     memcpy and friends, strlen, strcmp, string_number, …
 *   print.h      printf, snprintf
 *   heap.h       malloc, calloc, free
 *   layout.h     where things are in the address space
 *   slots.h      which of a row of numbered places are taken
 *   handle.h     handle_take, handle_drop: addresses for handles
 *   thread.h     thread_create, thread_join, thread_exit, thread_self
 *   sync.h       mutex, condition variable
 *   semaphore.h  counting semaphore
 *   spin.h       spin lock
 *   compiler.h   CAS_ORDER, the order of a compare-and-swap that releases
 *   elf.h        elf_check: is it a program?
 *   spawn.h      spawn, process_end: programs in spaces of their own
 *   child.h      child_settled: has a child faulted or ended, and how?
 *   device.h     page_present, power_off
 *   names.h      error_name, fault_name, state_name
 *
 * (program.h, the archive, is the shell's alone.)
 *
 * A program is one file in user/programs/ that defines
 *
 *      int main(int argc, char **argv)
 *
 * and includes this header or the ones it needs. What main returns is the
 * status that the shell reports; 0 means success. A program gets nothing from
 * the shell but its arguments, HANDLE_SELF, and what the shell's table of
 * grants lists for it.
 *
 * Functions that can fail return a negative error of stag/abi.h. Functions of
 * the library may be called from any thread, unless they say otherwise; they
 * need tp to point to a control block, which it does in main() and in all
 * threads made by thread_create(). An executor that a program makes by itself
 * with create_executor() has no control block: what stands on thread_self()
 * (thread.h, sync.h, semaphore.h, spawn.h) does not work there.
 */
#pragma once
#include "call.h"
#include "child.h"
#include "compiler.h"
#include "device.h"
#include "elf.h"
#include "handle.h"
#include "heap.h"
#include "info.h"
#include "layout.h"
#include "names.h"
#include "print.h"
#include "semaphore.h"
#include "slots.h"
#include "spawn.h"
#include "spin.h"
#include "string.h"
#include "sync.h"
#include "thread.h"
#include "time.h"
