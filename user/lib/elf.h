/*
 * ELF program files: what a file must be like for spawn() to load it.
 */
#pragma once
#include "stag/elf.h"
#include <stdint.h>

#define ELF_SEGMENTS_MAX 16

/*
 * Look a program file of `size` bytes over: is it a RISC-V program whose
 * segments lie within the file, start on a page, are readable, never both
 * writable and executable, come in ascending order, don't share a page, and
 * fit between USER_IMAGE and USER_STACK_LOW; and is the entry in a segment
 * that can be executed?
 * Returns 0 if so, otherwise a few words that say what is wrong.
 */
const char *elf_check(const void *file, uint64_t size);

/* Read the header of a file, and segment `index` of it. The file has passed
 * elf_check, and may lie at any address. */
void elf_read_header(const void *file, struct elf_header *header);
void elf_read_segment(const void *file, const struct elf_header *header, uint64_t index,
                      struct elf_segment *segment);
