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

/* The parts of an ELF file that matter here (System V ABI, chapters 4, 5). */
struct elf_header {
    uint8_t magic[4], class, data, version, padding[9];
    uint16_t type, machine;
    uint32_t version_again;
    uint64_t entry, segments_at, sections_at;
    uint32_t flags;
    uint16_t header_size, segment_size, segment_count;
};

struct elf_segment {
    uint32_t type, flags;
    uint64_t offset, va, pa, file_size, memory_size, alignment;
};

enum {
    ELF_CLASS_64 = 2,
    ELF_LITTLE_ENDIAN = 1,
    ELF_EXECUTABLE = 2,
    ELF_RISCV = 243,
    SEGMENT_LOAD = 1,
    SEGMENT_X = 1,
    SEGMENT_W = 2,
    SEGMENT_R = 4,
};

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
    uint64_t from = va < segment->va ? segment->va : va;
    uint64_t end = segment->va + segment->file_size;
    uint64_t to = va + PAGE_SIZE < end ? va + PAGE_SIZE : end;
    const char *source = first_program_elf + segment->offset + (va - segment->va);
    if (from == va && to == va + PAGE_SIZE && ((uint64_t)source & 7) == 0) {
        page_copy(page, source);
    } else {
        page_zero(page);
        if (from < to) memcpy(page + (from - va), source + (from - va), to - from);
    }
    uint64_t bits = PTE_MEMORY | PTE_U | PTE_R;
    bits |= segment->flags & SEGMENT_W ? PTE_W : 0;
    bits |= segment->flags & SEGMENT_X ? PTE_X : 0;
    must(map_page(space, user(va), phys_from_linear(page), bits), "its segments overlap");
}

static void load_segment(struct space *space, const struct elf_segment *segment) {
    uint64_t size = (uint64_t)(first_program_elf_end - first_program_elf);
    uint64_t last = segment->va + segment->memory_size;
    if (segment->offset > size || segment->file_size > size - segment->offset ||
        segment->file_size > segment->memory_size || last < segment->va ||
        segment->va < USER_IMAGE || last > USER_STACK_LOW ||
        (segment->flags & (SEGMENT_W | SEGMENT_X)) == (SEGMENT_W | SEGMENT_X))
        stop("first program: a segment at 0x%lx makes no sense", segment->va);
    for (uint64_t va = round_down(segment->va, PAGE_SIZE); va < last; va += PAGE_SIZE)
        load_page(space, segment, va);
}

/* Load the file. Returns where it starts. */
static user_t load(struct space *space) {
    const struct elf_header *elf = (const struct elf_header *)first_program_elf;
    uint64_t size = (uint64_t)(first_program_elf_end - first_program_elf);
    if (size < sizeof(*elf) || memcmp(elf->magic, "\177ELF", 4) != 0 ||
        elf->class != ELF_CLASS_64 || elf->data != ELF_LITTLE_ENDIAN ||
        elf->type != ELF_EXECUTABLE || elf->machine != ELF_RISCV ||
        elf->segment_size != sizeof(struct elf_segment) || elf->segments_at > size ||
        elf->segment_count > (size - elf->segments_at) / sizeof(struct elf_segment))
        stop("first program: not an ELF file for this machine");
    const struct elf_segment *segments =
        (const struct elf_segment *)(first_program_elf + elf->segments_at);
    for (uint16_t i = 0; i < elf->segment_count; i++) {
        if (segments[i].type == SEGMENT_LOAD && segments[i].memory_size != 0)
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
