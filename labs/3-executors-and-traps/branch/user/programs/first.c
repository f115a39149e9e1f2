/*
 * The first program of lab 3: it prints, maps and shares memory, makes a
 * second process that shows the same image, and faults on purpose. The second
 * process looks at what became of the first.
 */
#include "call.h"
#include "lab.h"
#include "layout.h"
#include "names.h"
#include "print.h"

#define CHILD_SPACE    HANDLE_AT(HANDLES_GIVEN)
#define CHILD_EXECUTOR HANDLE_AT(HANDLES_GIVEN + 1)
#define PARENT         HANDLE_AT(HANDLES_GIVEN + 2) /* in the child */
#define PAGE           USER_HEAP
#define CHILD_STACK    (USER_HEAP + 16 * PAGE_SIZE)
#define CHILD_PAGES    8
#define NOTHING        (USER_HEAP + 64 * PAGE_SIZE) /* not mapped */

extern char image_start[], image_end[]; /* user.ld */

static void must(int64_t result, const char *what) {
    if (result < 0) {
        printf("%s: %s\n", what, error_name(result));
        terminate(1);
    }
}

/* The second process. It shares our memory, so it must not be written by
 * both; the page at PAGE is a message. */
static void child(void) {
    struct executor_info info;
    printf("second process: the page says \"%s\"\n", (const char *)PAGE);
    do must(inspect(PARENT, &info), "inspect");
    while (!(info.state & STATE_TERMINATED));
    if (info.fault_cause == FAULT_NONE) {
        printf("the first process ended, but not by a fault\n");
        terminate(1);
    }
    printf("the first process ended by a %s 0x%lx\n", fault_name(info.fault_cause),
           info.fault_address);
    lab_done(3);
}

/* Show our own page at `va` there, with what rights it has. */
static void give_page(uint64_t va) {
    int64_t error = share(SPACE_OWN, va, CHILD_SPACE, va, 1, PROT_READ | PROT_WRITE);
    if (error == -EACCES) /* not writable: text or constants */
        error = share(SPACE_OWN, va, CHILD_SPACE, va, 1, PROT_READ | PROT_EXECUTE);
    must(error, "share");
}

int main(void) {
    printf("hello from user mode\n");
    must(map(SPACE_OWN, PAGE, 1, PROT_READ | PROT_WRITE, 0), "map");
    snprintf((char *)PAGE, PAGE_SIZE, "greetings from the first process");

    must(create_space(CHILD_SPACE), "create_space");
    for (uint64_t va = (uint64_t)image_start; va < (uint64_t)image_end; va += PAGE_SIZE)
        give_page(va);
    must(share(SPACE_OWN, PAGE, CHILD_SPACE, PAGE, 1, PROT_READ), "share");
    must(share(SPACE_OWN, HANDLE_SELF, CHILD_SPACE, PARENT, 1, PROT_READ), "share a handle");
    must(share(SPACE_OWN, USER_POWER_PAGE, CHILD_SPACE, USER_POWER_PAGE, 1, PROT_READ | PROT_WRITE),
         "share a device");
    must(map(CHILD_SPACE, CHILD_STACK, CHILD_PAGES, PROT_READ | PROT_WRITE, 0), "map there");

    must(create_executor(CHILD_SPACE, CHILD_EXECUTOR), "create_executor");
    must(start(CHILD_EXECUTOR, (uint64_t)child, CHILD_STACK + CHILD_PAGES * PAGE_SIZE, 0), "start");

    printf("first process: now a fault, on purpose\n");
    *(volatile char *)NOTHING = 1;
    printf("the store did nothing\n");
    return 1;
}
