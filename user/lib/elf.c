/*
 * ELF program files, see elf.h.
 *
 * Nothing in a file can be trusted. Each number is compared in a way that
 * can't overflow: never `offset + length > size`, but `length > size` first
 * and then `offset > size - length`.
 */
#include "elf.h"
#include "stag/abi.h"
#include "string.h"
#include <stdbool.h>

/* `length` bytes at `offset` lie within `size`. */
static bool within(uint64_t offset, uint64_t length, uint64_t size) {
    return length <= size && offset <= size - length;
}

/* Copied, since the file may be misaligned in memory. */
void elf_read_header(const void *file, struct elf_header *header) {
    memcpy(header, file, sizeof(*header));
}

void elf_read_segment(const void *file, const struct elf_header *header, uint64_t index,
                      struct elf_segment *segment) {
    memcpy(segment, (const char *)file + header->segments_offset + index * sizeof(*segment),
           sizeof(*segment));
}

static const char *header_check(const struct elf_header *header, uint64_t size) {
    if (header->magic != ELF_MAGIC) return "not an ELF file";
    if (header->class != ELF_CLASS_64 || header->order != ELF_LITTLE)
        return "not a 64-bit little-endian program";
    if (header->machine != ELF_RISCV) return "a program for another machine";
    if (header->type != ELF_EXECUTABLE) return "not linked to a fixed address";
    if (header->segment_size != sizeof(struct elf_segment))
        return "segment headers of unknown size";
    if (header->segment_count > ELF_SEGMENTS_MAX) return "too many segments";
    if (!within(header->segments_offset, header->segment_count * sizeof(struct elf_segment), size))
        return "segment headers outside the file";
    return 0;
}

/* `free_from` is the first address that no earlier segment has a page of. */
static const char *segment_check(const struct elf_segment *segment, uint64_t size,
                                 uint64_t free_from) {
    if (segment->file_size > segment->memory_size)
        return "a segment larger in the file than in memory";
    if (!within(segment->offset, segment->file_size, size)) return "a segment outside the file";
    if (segment->address % PAGE_SIZE != 0) return "a segment that does not start on a page";
    if (segment->address < USER_IMAGE ||
        !within(segment->address, segment->memory_size, USER_STACK_LOW))
        return "a segment outside the program image";
    if (segment->address < free_from) return "segments that share a page or are out of order";
    if ((segment->flags & ELF_READ) == 0) return "a segment that can't be read";
    if ((segment->flags & ELF_WRITE) && (segment->flags & ELF_EXECUTE))
        return "a segment both writable and executable";
    return 0;
}

const char *elf_check(const void *file, uint64_t size) {
    struct elf_header header;
    uint64_t free_from = 0;
    bool entry_found = false;

    if (size < sizeof(header)) return "too short for a program";
    elf_read_header(file, &header);

    const char *wrong = header_check(&header, size);
    for (uint64_t i = 0; wrong == 0 && i < header.segment_count; i++) {
        struct elf_segment segment;
        elf_read_segment(file, &header, i, &segment);
        if (segment.type != ELF_LOAD || segment.memory_size == 0) continue;
        wrong = segment_check(&segment, size, free_from);
        /* In range now, so this can't overflow. */
        free_from = (segment.address + segment.memory_size + PAGE_SIZE - 1) & -(uint64_t)PAGE_SIZE;
        if ((segment.flags & ELF_EXECUTE) && header.entry >= segment.address &&
            header.entry - segment.address < segment.memory_size)
            entry_found = true;
    }
    if (wrong == 0 && !entry_found) wrong = "an entry outside the program's code";
    return wrong;
}
