/*
 * pager: a pager in user mode.
 *
 * A child executor starts in an address space in which nothing is mapped, so
 * its first instruction faults at once. The kernel stops it and tells us, its
 * supervisor; we look where it faulted, map the page that belongs there, and
 * let it try again. Page by page the child gets all that it touches:
 *
 *   code, constants   our own pages, shared (read, execute)
 *   notes             two pages of ours, shared read-only; at the first store
 *                     to one of them it gets a copy (copy on write)
 *   stack             fresh pages of zeroes
 *   file              pages that we make up when they are asked for
 *
 * At the end the child has verified what it saw, and we verify that its stores
 * went to its own copy and not to our page.
 */
#include "call.h"
#include "child.h"
#include "handle.h"
#include "names.h"
#include "print.h"
#include "string.h"
#include "thread.h"

/* Set by the linker script. */
extern char image_start[], constants_start[], variables_start[];

#define CHILD_STACK_PAGES 4
#define FILE_ADDRESS      0x8000000ul
#define FILE_PAGES        32
#define WORDS_A_PAGE      (PAGE_SIZE / sizeof(uint64_t))

/* Where we fill a page before the child sees it. */
#define WINDOW 0x9000000ul

/* RISC-V scause values of page faults. */
#define FAULT_FETCH 12
#define FAULT_LOAD  13
#define FAULT_STORE 15

/* What we show the child; we don't write to it while the child runs. */
#define NOTES (2 * WORDS_A_PAGE)
static uint64_t notes[NOTES] __attribute__((aligned(PAGE_SIZE)));

/* Kinds of repairs. */
enum repair { CODE, CONSTANTS, NOTES_SHARED, NOTES_COPIED, STACK, FILE, REPAIRS };

static const char *const repair_names[REPAIRS] = {
    [CODE] = "code, shared",          [CONSTANTS] = "constants, shared",
    [NOTES_SHARED] = "notes, shared", [NOTES_COPIED] = "notes, copied on write",
    [STACK] = "stack, zeroed",        [FILE] = "file, made up",
};

struct pager {
    uint64_t space; /* handles of the child's */
    uint64_t executor;
    uint64_t repaired[REPAIRS];
};

/* Word `index` of the file. */
static uint64_t file_word(uint64_t index) {
    return index << 32 | (index ^ 0x5a5a5a5a);
}

/*
 * What the child does. It has no thread control block, so it must not use
 * mutexes and the like. Ends with the number of words that were wrong.
 */
static void child_run(void) {
    const volatile uint64_t *file = (const volatile uint64_t *)FILE_ADDRESS;
    volatile uint64_t *note = notes;
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < FILE_PAGES * WORDS_A_PAGE; i++) wrong += file[i] != file_word(i);
    for (uint64_t i = 0; i < NOTES; i++) wrong += note[i] != i;

    /* Write to the second page only: the first must stay shared. */
    for (uint64_t i = WORDS_A_PAGE; i < NOTES; i++) note[i] = ~i;
    for (uint64_t i = 0; i < NOTES; i++) wrong += note[i] != (i < WORDS_A_PAGE ? i : ~i);
    terminate(wrong);
}

static bool is_between(uint64_t address, uint64_t low, uint64_t high) {
    return address >= low && address < high;
}

/* Show the child a page of ours at the same address. */
static int64_t page_show(struct pager *pager, uint64_t page, uint64_t prot) {
    return share(SPACE_OWN, page, pager->space, page, 1, prot);
}

/* Give the child a page of its own with the contents that we put into the
 * window. What it had there goes away first. */
static int64_t page_give(struct pager *pager, uint64_t page, uint64_t prot) {
    unmap(pager->space, page, 1);
    int64_t error = share(SPACE_OWN, WINDOW, pager->space, page, 1, prot);
    unmap(SPACE_OWN, WINDOW, 1);
    return error;
}

/* Make a zeroed page in the window. */
static int64_t window_open(void) {
    return map(SPACE_OWN, WINDOW, 1, PROT_READ | PROT_WRITE, 0);
}

static int64_t repair_stack(struct pager *pager, uint64_t page) {
    int64_t error = window_open();
    if (error < 0) return error;
    return page_give(pager, page, PROT_READ | PROT_WRITE);
}

static int64_t repair_file(struct pager *pager, uint64_t page) {
    uint64_t *words = (uint64_t *)WINDOW;
    uint64_t first = (page - FILE_ADDRESS) / sizeof(uint64_t);
    int64_t error = window_open();
    if (error < 0) return error;
    for (uint64_t i = 0; i < WORDS_A_PAGE; i++) words[i] = file_word(first + i);
    return page_give(pager, page, PROT_READ);
}

/* The child stores to a page that it may share with us: copy it. */
static int64_t repair_copy(struct pager *pager, uint64_t page) {
    int64_t error = window_open();
    if (error < 0) return error;
    memcpy((void *)WINDOW, (const void *)page, PAGE_SIZE);
    return page_give(pager, page, PROT_READ | PROT_WRITE);
}

/* Which page belongs where the child faulted? Returns REPAIRS if none does:
 * then the child has done wrong. */
static enum repair repair_kind(const struct executor_info *info) {
    uint64_t address = info->fault_address;
    uint64_t cause = info->fault_cause;

    if (cause != FAULT_FETCH && cause != FAULT_LOAD && cause != FAULT_STORE) return REPAIRS;
    if (cause == FAULT_STORE) {
        if (is_between(address, (uint64_t)notes, (uint64_t)(notes + NOTES))) return NOTES_COPIED;
        if (!is_between(address, USER_STACK_LOW, USER_STACK_HIGH)) return REPAIRS;
    }
    if (is_between(address, (uint64_t)image_start, (uint64_t)constants_start)) return CODE;
    if (is_between(address, (uint64_t)constants_start, (uint64_t)variables_start)) return CONSTANTS;
    if (is_between(address, (uint64_t)notes, (uint64_t)(notes + NOTES))) return NOTES_SHARED;
    if (is_between(address, USER_STACK_HIGH - CHILD_STACK_PAGES * PAGE_SIZE, USER_STACK_HIGH))
        return STACK;
    if (is_between(address, FILE_ADDRESS, FILE_ADDRESS + FILE_PAGES * PAGE_SIZE)) return FILE;
    return REPAIRS;
}

/* Map what the child missed. Returns 0, or an error after a message. */
static int64_t pager_repair(struct pager *pager, const struct executor_info *info) {
    uint64_t page = info->fault_address & -(uint64_t)PAGE_SIZE;
    enum repair kind = repair_kind(info);
    int64_t error = -EFAULT;

    switch (kind) {
    case CODE: error = page_show(pager, page, PROT_READ | PROT_EXECUTE); break;
    case CONSTANTS:
    case NOTES_SHARED: error = page_show(pager, page, PROT_READ); break;
    case NOTES_COPIED: error = repair_copy(pager, page); break;
    case STACK: error = repair_stack(pager, page); break;
    case FILE: error = repair_file(pager, page); break;
    case REPAIRS: break;
    }
    if (error < 0) {
        printf("pager: no repair for a %s 0x%lx, pc 0x%lx: %s\n", fault_name(info->fault_cause),
               info->fault_address, info->pc, error_name(error));
        return error;
    }
    pager->repaired[kind]++;
    return 0;
}

/* Make the child: an empty space, an executor that we supervise. */
static int64_t pager_create(struct pager *pager) {
    int64_t space = handle_take();
    int64_t executor = handle_take();
    if (space < 0 || executor < 0) return -ENOMEM;
    *pager = (struct pager){.space = space, .executor = executor};

    int64_t error = create_space(space);
    if (error == 0) error = create_executor(space, executor);
    if (error == 0) error = supervise(executor, thread_handle(thread_self()));
    if (error == 0) error = start(executor, (uint64_t)child_run, USER_STACK_HIGH, 0);
    return error;
}

/* Serve the child's faults until it ends. Returns what it ended with, or an
 * error. */
static int64_t pager_run(struct pager *pager) {
    struct executor_info info;

    for (;;) {
        while (!child_settled(pager->executor, &info)) park(EVENT_CHILD, DEADLINE_NONE);
        if (info.state & STATE_TERMINATED) return info.status;
        int64_t error = pager_repair(pager, &info);
        if (error == 0) error = resume(pager->executor);
        if (error < 0) {
            destroy(pager->space);
            return error;
        }
    }
}

int main(int argc, char **) {
    if (argc > 1) {
        printf("usage: pager\n");
        return 1;
    }
    struct pager pager;

    for (uint64_t i = 0; i < NOTES; i++) notes[i] = i;

    int64_t error = pager_create(&pager);
    if (error < 0) {
        printf("pager: can't make a child: %s\n", error_name(error));
        return 1;
    }
    int64_t wrong = pager_run(&pager);
    for (uint64_t kind = 0; kind < REPAIRS; kind++)
        printf("%-24s %3lu pages\n", repair_names[kind], pager.repaired[kind]);
    if (wrong < 0) return 1; /* pager_repair has said why */

    uint64_t changed = 0;
    for (uint64_t i = 0; i < NOTES; i++) changed += notes[i] != i;
    handle_drop(pager.executor);
    handle_drop(pager.space);

    bool right = wrong == 0 && changed == 0 && pager.repaired[NOTES_COPIED] == 1;
    printf("the child saw %ld wrong words, %lu of ours changed: %s\n", wrong, changed,
           right ? "all as it should be" : "WRONG");
    return right ? 0 : 1;
}
