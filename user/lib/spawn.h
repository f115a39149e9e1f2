/*
 * Starting programs, each in an address space of its own.
 *
 * A child starts with least authority: its image, its stack, a handle to its
 * own first executor (HANDLE_SELF), and what the parent grants it. Nothing is
 * inherited.
 */
#pragma once
#include <stdint.h>

/* An error of spawn() besides those of the kernel: not a program that we can
 * run; elf_check tells what is wrong with it. The number is that of Linux. */
#define ENOEXEC 8

/* A running child, as its parent knows it. */
struct process {
    uint64_t space;    /* handle */
    uint64_t executor; /* handle of its first executor */
};

/* One thing the parent shares with a child: pages, or a handle, that are at
 * `from` here and shall be at `to` there, with rights `prot`. */
struct grant {
    uint64_t from;
    uint64_t to;
    uint64_t pages;
    uint64_t prot;
};

/*
 * Start a program from an ELF file in memory, with arguments argv[0 … argc-1]
 * and `grant_count` grants. The calling thread becomes the supervisor of its
 * first executor: it gets EVENT_CHILD when that one faults or ends.
 *
 * Returns 0 and the process; or -ENOEXEC, -EINVAL (the arguments take more
 * than a page), -ENOMEM, or what share says of a grant, and nothing is left
 * behind. The process is dropped with process_end().
 */
[[nodiscard]] int64_t spawn(const void *file, uint64_t size, int argc, const char *const argv[],
                            const struct grant grants[], uint64_t grant_count,
                            struct process *process);

/*
 * End a process if it still runs, and drop our handles to it.
 *
 * A process whose first executor has ended (its main() returned) may have
 * threads left; this ends them too.
 */
void process_end(struct process *process);
