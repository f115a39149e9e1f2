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

/* Map one page of a segment, filled from the file as far as that goes. */
static void load_page(struct space *space, const struct elf_segment *segment, uint64_t va) {
    char *page = page_alloc();
    if (page == NULL) stop("first program: not enough RAM");
    /* The part of the page that the file fills. */
    uint64_t from = va < segment->address ? segment->address : va;
    uint64_t end = segment->address + segment->file_size;
    uint64_t to = va + PAGE_SIZE < end ? va + PAGE_SIZE : end;
    const char *source = first_program_elf + segment->offset + (va - segment->address);
    if (from == va && to == va + PAGE_SIZE && ((uint64_t)source & 7) == 0) {
        page_copy(page, source);
    } else {
        page_zero(page);
        if (from < to) memcpy(page + (from - va), source + (from - va), to - from);
    }
    uint64_t bits = PTE_MEMORY | PTE_U | PTE_R;
    bits |= segment->flags & ELF_WRITE ? PTE_W : 0;
    bits |= segment->flags & ELF_EXECUTE ? PTE_X : 0;
    must(map_page(space, user(va), phys_from_linear(page), bits), "its segments overlap");
}

static void load_segment(struct space *space, const struct elf_segment *segment) {
    uint64_t size = (uint64_t)(first_program_elf_end - first_program_elf);
    uint64_t last = segment->address + segment->memory_size;
    if (segment->offset > size || segment->file_size > size - segment->offset ||
        segment->file_size > segment->memory_size || last < segment->address ||
        segment->address < USER_IMAGE || last > USER_STACK_LOW ||
        (segment->flags & (ELF_WRITE | ELF_EXECUTE)) == (ELF_WRITE | ELF_EXECUTE))
        stop("first program: a segment at 0x%lx makes no sense", segment->address);
    for (uint64_t va = round_down(segment->address, PAGE_SIZE); va < last; va += PAGE_SIZE)
        load_page(space, segment, va);
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
    const struct elf_segment *segments =
        (const struct elf_segment *)(first_program_elf + elf->segments_offset);
    for (uint16_t i = 0; i < elf->segment_count; i++) {
        if (segments[i].type == ELF_LOAD && segments[i].memory_size != 0)
            load_segment(space, &segments[i]);
    }
    return user(elf->entry);
}

static void map_stack(struct space *space) {
    for (uint64_t va = USER_STACK_LOW; va < USER_STACK_HIGH; va += PAGE_SIZE) {
        void *page = page_alloc();
        if (page == NULL) stop("first program: not enough RAM");
        page_zero(page);
        must(map_page(space, user(va), phys_from_linear(page), PTE_MEMORY | PTE_U | PTE_R | PTE_W),
             "no stack");
    }
}

/* Programs drive the clock and the power themselves. */
static void map_device(struct space *space, uint64_t va, uint64_t pa) {
    if (pa != 0)
        must(map_page(space, user(va), phys(pa), PTE_DEVICE | PTE_U | PTE_R | PTE_W),
             "no device page");
}

void first_program_start(void) {
    struct space *space;
    struct executor *executor;
    must(space_create(&space), "no space");
    user_t entry = load(space);
    map_stack(space);
    map_device(space, USER_RTC_PAGE, machine_description.rtc);
    map_device(space, USER_POWER_PAGE, machine_description.power);
    must(executor_create(space, &executor), "no executor");
    executor_get(executor); /* for the handle */
    must(map_page(space, user(HANDLE_SELF), phys_from_linear(executor),
                  PTE_EXECUTOR | PTE_R | PTE_W),
         "no handle");
    must(executor_start(executor, entry, user(USER_STACK_HIGH), 0), "it does not start");
    executor_put(executor);
    space_put(space);
}
