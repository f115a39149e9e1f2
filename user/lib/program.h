/*
 * The archive of programs that the shell carries.
 *
 * There is no file system: the build puts the ELF file of every program into
 * an assembler file, build/user/archive.S (made by tools/archive), which is
 * linked into the shell. It defines a table in the read-only data, from
 * `archive` to `archive_end`, of
 *
 *      .quad name      address of its name, which ends with a zero
 *      .quad start     address of its ELF file, a multiple of 8
 *      .quad size      of it, in bytes
 *
 * Only the shell has it: another program that uses this header can't be
 * linked.
 */
#pragma once
#include <stdint.h>

struct program {
    const char *name;
    const void *start;
    uint64_t size;
};

extern const struct program archive[];
extern const struct program archive_end[];

/* The program of that name, or 0. */
const struct program *program_find(const char *name);
