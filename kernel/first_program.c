/*
 * The first program. All others are started by programs, which load them by
 * the same rules (user/lib/spawn.c).
 */
#include "first_program.h"
#include "devicetree.h"
#include "executor.h"
#include "machine.h"
#include "map.h"
#include "page_alloc.h"
#include "panic.h"
#include "riscv/page_table.h"
#include "space.h"
#include "string.h"
#include <stag/elf.h>

extern const char first_program_elf[], first_program_elf_end[]; /* first_program_image.S */

/* The first program has nobody to report an error to. */
static void must(int error, const char *what) {
    if (error != 0) stop("first program: %s: error %d", what, -error);
}

/* Map fresh memory at [va, va + size): `contents`, and zeros after them. */
static void map_memory(struct space *space, uint64_t va, uint64_t size, uint64_t rights,
                       const char *contents, uint64_t contents_size) {
    for (uint64_t at = 0; at < size; at += PAGE_SIZE) {
        void *page = page_alloc();
        if (page == NULL) stop("first program: not enough RAM");
        uint64_t left = at < contents_size ? contents_size - at : 0;
        if (left >= PAGE_SIZE) {
            page_copy(page, contents + at);
        } else {
            page_zero(page);
            memcpy(page, contents + at, left);
        }
        uint64_t bits = PTE_MEMORY | PTE_U | PTE_R | rights;
        must(map_page(space, user(va + at), phys_from_linear(page), bits),
             "not enough RAM, or its segments overlap");
    }
}

static void load_segment(struct space *space, const struct elf_segment *segment) {
    uint64_t size = (uint64_t)(first_program_elf_end - first_program_elf);
    uint64_t end = segment->address + segment->memory_size;
    if (segment->offset > size || segment->file_size > size - segment->offset ||
        segment->file_size > segment->memory_size || end < segment->address ||
        segment->address < USER_IMAGE || end > USER_STACK_LOW || !page_aligned(segment->address) ||
        !page_aligned(segment->offset) ||
        ((segment->flags & ELF_WRITE) && (segment->flags & ELF_EXECUTE)))
        stop("first program: a segment at 0x%lx makes no sense", segment->address);
    uint64_t rights = segment->flags & ELF_WRITE ? PTE_W : segment->flags & ELF_EXECUTE ? PTE_X : 0;
    map_memory(space, segment->address, segment->memory_size, rights,
               first_program_elf + segment->offset, segment->file_size);
}

/* Load the file. Returns where it starts. */
static user_t load(struct space *space) {
    const struct elf_header *elf = (const struct elf_header *)first_program_elf;
    uint64_t size = (uint64_t)(first_program_elf_end - first_program_elf);
    if (size < sizeof(*elf) || elf->magic != ELF_MAGIC || elf->class != ELF_CLASS_64 ||
        elf->order != ELF_LITTLE || elf->type != ELF_EXECUTABLE || elf->machine != ELF_RISCV ||
        elf->segment_size != sizeof(struct elf_segment) || elf->segments_offset > size ||
        elf->segment_count > (size - elf->segments_offset) / sizeof(struct elf_segment))
        stop("first program: not an ELF file for this machine");
    const struct elf_segment *segments = (const void *)(first_program_elf + elf->segments_offset);
    for (uint16_t i = 0; i < elf->segment_count; i++) {
        if (segments[i].type == ELF_LOAD && segments[i].memory_size != 0)
            load_segment(space, &segments[i]);
    }
    return user(elf->entry);
}

/* Programs drive the clock and the power themselves. */
static void map_device(struct space *space, uint64_t va, uint64_t pa) {
    uint64_t bits = PTE_DEVICE | PTE_U | PTE_R | PTE_W;
    if (pa != 0) must(map_page(space, user(va), phys(pa), bits), "no device page");
}

void first_program_start(void) {
    struct space *space;
    struct executor *executor;
    must(space_create(&space), "no space");
    user_t entry = load(space);
    map_memory(space, USER_STACK_LOW, USER_STACK_HIGH - USER_STACK_LOW, PTE_W, NULL, 0);
    map_device(space, USER_RTC_PAGE, machine_description.rtc);
    map_device(space, USER_POWER_PAGE, machine_description.power);
    must(executor_create(space, &executor), "no executor");
    /* Our reference goes to the handle, which keeps the executor from here on. */
    phys_t page = phys_from_linear(executor);
    must(map_page(space, user(HANDLE_SELF), page, PTE_EXECUTOR | PTE_R | PTE_W), "no handle");
    must(executor_start(executor, entry, user(USER_STACK_HIGH), 0), "it does not start");
    space_put(space);
}
