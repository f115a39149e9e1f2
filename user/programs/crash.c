/*
 * crash [null|write|illegal|jump|stack|kernel|thread]: do something that a
 * program must not do, to see how it is reported.
 */
#include "print.h"
#include "string.h"
#include "thread.h"
#include "time.h"

/* Where nothing is mapped, and where the kernel is. */
#define NOWHERE 0x12345678ul
#define KERNEL  0xffffffc000000000ul

/* Read a byte; volatile, so that it is really done. */
static int64_t read_byte(uint64_t address) {
    return *(volatile char *)address;
}

/* Call ourselves so often that no stack is large enough. */
static int64_t overflow(uint64_t depth) {
    volatile char room[1024];

    room[0] = (char)depth;
    if (depth == 0) return 0;
    return room[0] + overflow(depth - 1) + room[0];
}

static int64_t crash_null(void) {
    return read_byte(0);
}

static int64_t crash_write(void) {
    /* Our own code can be read, not written. */
    *(volatile char *)crash_null = 0;
    return 0;
}

static int64_t crash_illegal(void) {
    __asm__ volatile("unimp");
    return 0;
}

static int64_t crash_jump(void) {
    /* As a tail of assembly: a C call of a wild address is undefined. */
    __asm__ volatile("jr %0" : : "r"(NOWHERE));
    return 0;
}

static int64_t crash_stack(void) {
    return overflow((USER_STACK_HIGH - USER_STACK_LOW) / 1024);
}

static int64_t crash_kernel(void) {
    return read_byte(KERNEL);
}

static int64_t thread_crash(void *argument) {
    return read_byte((uint64_t)argument);
}

/* A thread that nobody supervises takes its whole process with it. */
static int64_t crash_thread(void) {
    struct thread *thread;

    if (thread_create(thread_crash, 0, &thread) < 0) return 1;
    for (;;) sleep_ms(1000);
}

static const struct {
    const char *name;
    int64_t (*run)(void);
} ways[] = {
    {"null", crash_null},     {"write", crash_write}, {"illegal", crash_illegal},
    {"jump", crash_jump},     {"stack", crash_stack}, {"kernel", crash_kernel},
    {"thread", crash_thread},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "null";

    for (uint64_t i = 0; i < WAYS && argc <= 2; i++) {
        if (strcmp(ways[i].name, name) == 0) {
            int64_t result = ways[i].run();
            printf("crash: still alive (%ld)\n", result);
            return 1;
        }
    }
    printf("usage: crash [");
    for (uint64_t i = 0; i < WAYS; i++) printf("%s%s", i == 0 ? "" : "|", ways[i].name);
    printf("]\n");
    return 1;
}
