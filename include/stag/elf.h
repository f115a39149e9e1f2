/*
 * ELF program files, as the kernel and user/lib/spawn.c load them: the layout
 * of their headers.
 *
 * It is that of the ELF-64 object file format (System V ABI, chapters 4 and
 * 5), with the names in words.
 */
#pragma once
#include <stdint.h>

#define ELF_MAGIC      0x464c457f /* 0x7f 'E' 'L' 'F', read as a number */
#define ELF_CLASS_64   2
#define ELF_LITTLE     1
#define ELF_EXECUTABLE 2   /* ET_EXEC: linked to a fixed address */
#define ELF_RISCV      243 /* EM_RISCV */
#define ELF_LOAD       1   /* PT_LOAD */

struct elf_header {
    uint32_t magic;
    uint8_t class;
    uint8_t order; /* of bytes */
    uint8_t version;
    uint8_t rest[9];
    uint16_t type;
    uint16_t machine;
    uint32_t file_version;
    uint64_t entry;
    uint64_t segments_offset; /* of the program headers, in the file */
    uint64_t sections_offset;
    uint32_t flags;
    uint16_t header_size;
    uint16_t segment_size; /* of one program header */
    uint16_t segment_count;
    uint16_t section_size;
    uint16_t section_count;
    uint16_t section_names;
};

/* Rights of a segment; not in the order of PROT_…. */
#define ELF_EXECUTE 1
#define ELF_WRITE   2
#define ELF_READ    4

struct elf_segment {
    uint32_t type;
    uint32_t flags;
    uint64_t offset; /* in the file */
    uint64_t address;
    uint64_t physical;
    uint64_t file_size;
    uint64_t memory_size; /* what the file lacks is zero */
    uint64_t alignment;
};

_Static_assert(sizeof(struct elf_header) == 64, "as in the ELF standard");
_Static_assert(sizeof(struct elf_segment) == 56, "as in the ELF standard");
