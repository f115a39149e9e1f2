/*
 * Starting programs, see spawn.h.
 *
 * The parent can't write to another space, so it maps fresh memory in a
 * window of its own, fills it there, shares the pages with the child at their
 * final address and with their final rights, and unmaps its window. The pages
 * are writable for the parent before they are executable for the child, and
 * no mapping is ever both.
 *
 *      parent                         child
 *      window  RW --- share R+X ----> text        USER_IMAGE
 *      window  RW --- share R ------> constants
 *      window  RW --- share R+W ----> variables
 *      window  RW --- share R+W ----> stack       USER_STACK_LOW
 *
 * Whatever fails, destroying the space gives back all that the child had got,
 * and process_end() drops the two handles.
 */
#include "spawn.h"
#include "call.h"
#include "elf.h"
#include "handle.h"
#include "layout.h"
#include "slots.h"
#include "string.h"
#include "thread.h"

/* Bit n: window n is in use. */
static struct slots window_slots;

/* Pages to be given to a child: where they shall be, and what fills them. */
struct load {
    uint64_t address;
    uint64_t pages;
    uint64_t prot;
    uint64_t offset; /* where in the first page the contents begin */
    const void *contents;
    uint64_t size; /* of the contents; the rest is zero */
};

/* Map, fill and share the pages of `load`, by way of a window. */
static int64_t load_share(uint64_t space, const struct load *load) {
    int64_t slot = slots_take(&window_slots, WINDOWS_MAX);
    if (slot < 0) return slot;

    uint64_t window = USER_WINDOWS + (uint64_t)slot * WINDOW_STRIDE;
    int64_t error = map(SPACE_OWN, window, load->pages, PROT_READ | PROT_WRITE, 0);
    if (error == 0) {
        memcpy((char *)window + load->offset, load->contents, load->size);
        error = share(SPACE_OWN, window, space, load->address, load->pages, load->prot);
        unmap(SPACE_OWN, window, load->pages);
    }
    slots_give(&window_slots, slot);
    return error;
}

/* The rights of a segment, in the order of the ABI. */
static uint64_t segment_prot(const struct elf_segment *segment) {
    uint64_t prot = PROT_READ;

    if (segment->flags & ELF_WRITE) prot |= PROT_WRITE;
    if (segment->flags & ELF_EXECUTE) prot |= PROT_EXECUTE;
    return prot;
}

/* Give a child the segments of its program, which has passed elf_check. */
static int64_t load_image(uint64_t space, const void *file, const struct elf_header *header) {
    for (uint64_t i = 0; i < header->segment_count; i++) {
        struct elf_segment segment;
        elf_read_segment(file, header, i, &segment);
        if (segment.type != ELF_LOAD || segment.memory_size == 0) continue;

        struct load load = {
            .address = segment.address,
            .pages = (segment.memory_size + PAGE_SIZE - 1) / PAGE_SIZE,
            .prot = segment_prot(&segment),
            .contents = (const char *)file + segment.offset,
            .size = segment.file_size,
        };
        int64_t error = load_share(space, &load);
        if (error < 0) return error;
    }
    return 0;
}

/*
 * Lay out the arguments as start.S wants them, at the end of a page that will
 * be the last of the stack: argc, the argv pointers, a zero, and the strings.
 * Returns the offset of argc in the page, or -EINVAL if it is too small.
 */
static int64_t arguments_lay_out(char *page, int argc, const char *const argv[]) {
    if (argc < 0 || argc > PAGE_SIZE / 16) return -EINVAL;

    uint64_t strings = 0;
    for (int i = 0; i < argc; i++) {
        strings += strlen(argv[i]) + 1;
        if (strings > PAGE_SIZE) return -EINVAL;
    }
    uint64_t needed = (2 + (uint64_t)argc) * sizeof(uint64_t) + strings;
    if (needed > PAGE_SIZE) return -EINVAL;

    /* A multiple of 16: it becomes the stack pointer too. */
    uint64_t offset = (PAGE_SIZE - needed) & ~15ul;
    uint64_t *word = (uint64_t *)(page + offset);
    char *string = (char *)(word + 2 + argc);
    *word++ = argc;
    for (int i = 0; i < argc; i++) {
        uint64_t length = strlen(argv[i]) + 1;
        memcpy(string, argv[i], length);
        *word++ = USER_STACK_HIGH - PAGE_SIZE + (string - page);
        string += length;
    }
    *word = 0;
    return offset;
}

/* Give a child its stack, with its arguments on top. Returns where they are,
 * or an error. */
static int64_t load_stack(uint64_t space, int argc, const char *const argv[]) {
    char page[PAGE_SIZE] __attribute__((aligned(16))) = {0}; /* the child sees its end */
    int64_t offset = arguments_lay_out(page, argc, argv);
    if (offset < 0) return offset;

    struct load load = {
        .address = USER_STACK_LOW,
        .pages = (USER_STACK_HIGH - USER_STACK_LOW) / PAGE_SIZE,
        .prot = PROT_READ | PROT_WRITE,
        .offset = USER_STACK_HIGH - PAGE_SIZE - USER_STACK_LOW + offset,
        .contents = page + offset,
        .size = PAGE_SIZE - offset,
    };
    int64_t error = load_share(space, &load);
    if (error < 0) return error;
    return USER_STACK_HIGH - PAGE_SIZE + offset;
}

/* Share with a child all that it is granted. */
static int64_t share_grants(uint64_t space, const struct grant grants[], uint64_t grant_count) {
    for (uint64_t i = 0; i < grant_count; i++) {
        const struct grant *grant = &grants[i];
        int64_t error = share(SPACE_OWN, grant->from, space, grant->to, grant->pages, grant->prot);
        if (error < 0) return error;
    }
    return 0;
}

/* Set up a child in its empty space and start it. On an error the caller
 * cleans up, by ending the process. */
static int64_t process_build(struct process *process, const void *file, int argc,
                             const char *const argv[], const struct grant grants[],
                             uint64_t grant_count) {
    struct elf_header header;
    elf_read_header(file, &header);

    int64_t error = load_image(process->space, file, &header);
    if (error < 0) return error;
    int64_t arguments = load_stack(process->space, argc, argv);
    if (arguments < 0) return arguments;
    error = share_grants(process->space, grants, grant_count);
    if (error < 0) return error;
    error = supervise(process->executor, thread_handle(thread_self()));
    if (error < 0) return error;
    error = share(SPACE_OWN, process->executor, process->space, HANDLE_SELF, 1, PROT_READ);
    if (error < 0) return error;
    return start(process->executor, header.entry, arguments, arguments);
}

/* Make an empty space and a stopped executor in it. On an error nothing is
 * left of them. */
static int64_t process_create(struct process *process) {
    int64_t space = handle_take();
    if (space < 0) return space;
    int64_t executor = handle_take();
    if (executor < 0) {
        handle_drop(space);
        return executor;
    }
    process->space = space;
    process->executor = executor;

    int64_t error = create_space(space);
    if (error == 0) error = create_executor(space, executor);
    if (error < 0) process_end(process);
    return error;
}

int64_t spawn(const void *file, uint64_t size, int argc, const char *const argv[],
              const struct grant grants[], uint64_t grant_count, struct process *process) {
    if (elf_check(file, size) != 0) return -ENOEXEC;

    int64_t error = process_create(process);
    if (error < 0) return error;
    error = process_build(process, file, argc, argv, grants, grant_count);
    if (error < 0) process_end(process);
    return error;
}

void process_end(struct process *process) {
    /* An error means that it has ended by itself, or never began. */
    destroy(process->space);
    handle_drop(process->executor);
    handle_drop(process->space);
}
