/*
 * What the kernel and user programs agree on: call numbers, errors, rights,
 * events, and the structures that the kernel shows to programs.
 *
 * A call is made by `ecall` with its number in a7 and its arguments in a0…;
 * the result comes back in a0: zero or more, or a negative error number.
 * All other registers are preserved, except a1 in park_and_swap, which brings
 * the old value, and a1 and a2 in unmap, which says there how far it has come (when
 * it is done they may hold anything).
 */
#pragma once

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096

/* Where things are in every address space (user half). */
#define USER_INFO_PAGE  0x0000000000fff000 /* struct info_page, read-only */
#define USER_IMAGE      0x0000000001000000 /* program image */
#define USER_STACK_LOW  0x0000000002000000
#define USER_STACK_HIGH 0x0000000002040000
#define USER_DEVICES    0x0000000003000000 /* device pages, by convention */
#define USER_HEAP       0x0000000004000000 /* heap and mappings, by convention */
#define USER_HANDLES    0x0000002000000000 /* handles, by convention */

/* What the kernel maps for the first program, and spawn() for the others. */
#define USER_RTC_PAGE   (USER_DEVICES + 0 * PAGE_SIZE) /* goldfish RTC */
#define USER_POWER_PAGE (USER_DEVICES + 1 * PAGE_SIZE) /* sifive_test */
#define HANDLE_SELF     (USER_HANDLES + 0 * PAGE_SIZE) /* its first executor */

/* Call numbers. The argument list of each stands above its handler. */
#define CALL_YIELD           1
#define CALL_TERMINATE       2
#define CALL_MAP             3
#define CALL_UNMAP           4
#define CALL_SHARE           5
#define CALL_CREATE_SPACE    6
#define CALL_CREATE_EXECUTOR 7
#define CALL_START           8
#define CALL_RESUME          9
#define CALL_STOP            10
#define CALL_DESTROY         11
#define CALL_SUPERVISE       12
#define CALL_INSPECT         13
#define CALL_PARK            14
#define CALL_PARK_IF         15
#define CALL_PARK_AND_SWAP   16
#define CALL_UNPARK          17
#define CALL_CONSOLE_WRITE   18
#define CALL_CONSOLE_READ    19
#define CALL_COUNT           20 /* numbers from here on are -ENOSYS */

/* Errors; a call returns the negative. The numbers are those of Linux. */
#define EPERM     1   /* the rules of share forbid it */
#define ESRCH     3   /* the executor or space has ended */
#define EBADF     9   /* no handle of the right type at that address */
#define EAGAIN    11  /* the value differs, or nothing to read yet */
#define ENOMEM    12  /* no page, or no address space number, left */
#define EACCES    13  /* more rights asked for than the source has */
#define EFAULT    14  /* that memory can't be read, or written */
#define EBUSY     16  /* the executor is not stopped, or is queued yet */
#define EEXIST    17  /* something is mapped there */
#define EINVAL    22  /* an argument is out of range */
#define ENOSYS    38  /* no such call */
#define ETIMEDOUT 110 /* the deadline passed */

/* Rights of a mapping: READ, alone or with either of the others; anything else
 * is -EINVAL. And flags of map. */
#define PROT_READ    1
#define PROT_WRITE   2
#define PROT_EXECUTE 4
#define MAP_REPLACE  1 /* what is mapped there already gives way */

#define MAP_PAGES_MAX     4096 /* of one map or share */
#define CONSOLE_WRITE_MAX 256  /* bytes of one console_write */

/* Events: bits 3 to 31 are the programs' own. */
#define EVENT_WAKE    (1u << 0) /* ends park_if and park_and_swap */
#define EVENT_CHILD   (1u << 1) /* a supervised executor faulted or ended */
#define EVENT_CONSOLE (1u << 2) /* a key was pressed */

/* Deadlines are values of the `time` counter. A deadline that has passed makes
 * park a poll. */
#define DEADLINE_NONE 0xffffffffffffffff

/*
 * The state word of an executor.
 *
 *  63            32 31        12 11 10 9  8 7   5  4   3   2   1   0
 * +----------------+------------+-----+----+-----+---+---+---+---+---+
 * | pending events |  sequence  |  0  | rs |  0  | T | S | P | Q | E |
 * +----------------+------------+-----+----+-----+---+---+---+---+---+
 *
 * E executing, Q queued, P parked, S stopped, T terminated; rs is why the last
 * park ended; the sequence number counts parks.
 * Runnable means none of P, S and T.
 */
#define STATE_EXECUTING      (1ul << 0)
#define STATE_QUEUED         (1ul << 1)
#define STATE_PARKED         (1ul << 2)
#define STATE_STOPPED        (1ul << 3)
#define STATE_TERMINATED     (1ul << 4)
#define STATE_REASON         (3ul << 8)
#define STATE_REASON_EVENT   (1ul << 8)
#define STATE_REASON_TIMEOUT (2ul << 8)
#define STATE_SEQUENCE_ONE   (1ul << 12)
#define STATE_SEQUENCE       (0xffffful << 12)
#define STATE_EVENTS_SHIFT   32

#ifndef __ASSEMBLER__
#include <stdint.h>

#define FAULT_NONE    0xffffffffffffffff
#define STATUS_KILLED 0xffffffffffffffff

/* One page, the same in every address space, read-only. Counts of free pages
 * are brought up to date at every tick and before a hart goes idle. */
struct info_page {
    uint32_t kernel_version; /* 0x00010000 is 1.0 */
    uint32_t page_size;      /* bytes */
    uint32_t hart_count;
    uint32_t mmu_levels;        /* 3: Sv39, 4: Sv48 */
    uint64_t timebase;          /* ticks of `time` a second */
    uint64_t quantum;           /* ticks of `time` between preemptions */
    uint64_t pages_total;       /* that the page allocator manages */
    uint64_t pages_shared_free; /* free, in no hart's cache */
    uint64_t pages_cached[16];  /* free, in the cache of each hart */
    char command[1024];         /* what the boot arguments ask the shell to run */
    uint8_t reserved[PAGE_SIZE - 1200];
};

/* What inspect() tells. Registers are of the last time it entered the kernel,
 * and all zero while it is executing or queued. */
struct executor_info {
    uint64_t state; /* STATE_… */
    uint64_t pc;
    uint64_t x[31];         /* x1 … x31 */
    uint64_t fault_cause;   /* scause of the fault that stopped it, or FAULT_NONE */
    uint64_t fault_address; /* stval */
    uint64_t status;        /* given to terminate; STATUS_KILLED if it did not */
};

_Static_assert(sizeof(struct info_page) == PAGE_SIZE, "one page");
#endif
