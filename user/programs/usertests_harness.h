/*
 * usertests: what the tests stand on.
 *
 * A test is a function without arguments that says what must hold by check().
 * It runs in a thread of its own, so that the first check that fails can end
 * it, and the thread is supervised, so that a test that faults fails alone.
 *
 * Tests leave their traces where they like within two areas, and the harness
 * clears both after each of them:
 *
 *   AREA … AREA_END     memory; the stacks of workers are at its end
 *   handle(0 … )        handles; what executes behind one is stopped first
 *
 * Whoever does something for a test is a worker: an executor in our own space,
 * or in one that shows our image. Workers have no thread control block: they
 * use the calls and nothing else of the library, never check(), and end by
 * terminate(), or are ended.
 */
#pragma once
#include "stag.h"

#define AREA          0x0000000100000000ul
#define WORKER_STACKS 0x0000000e00000000ul
#define AREA_END      0x0000001000000000ul /* where the library has its stacks */

/* Far above what the library takes for itself. */
#define TEST_HANDLES      HANDLE_AT(0x10000)
#define TEST_HANDLE_PAGES 0x10000ul
#define WORKERS           64 /* the handles behind which executors may run */

#define STACK_STRIDE_SHIFT 16
#define WORKER_STACK_PAGES 2

/* Nothing in a test takes longer, however slow the machine is. */
#define PATIENCE_MS 300000

#define PROT_RW (PROT_READ | PROT_WRITE)
#define PROT_RX (PROT_READ | PROT_EXECUTE)

/* Events of our own. */
#define EVENT_A (1u << 3)
#define EVENT_B (1u << 4)

/* scause (RISC-V privileged architecture). */
#define CAUSE_ILLEGAL 2
#define CAUSE_BREAK   3
#define CAUSE_FETCH   12
#define CAUSE_LOAD    13
#define CAUSE_STORE   15

struct test {
    const char *name;
    void (*run)(void);
};

/* Where the program is (user.ld). */
extern char image_start[], constants_start[], variables_start[], image_end[];

/* usertests.c: the test that runs now has failed here; it ends. */
__attribute__((noreturn)) void check_failed(const char *file, int line, const char *text);

/* usertests.c: with `usertests deep`, tests need not be quick nor save
 * memory. */
extern bool deep;

/* This must hold, or the test fails and ends. */
#define check(condition) check_at((condition), __FILE__, __LINE__, #condition)

static inline void check_at(bool holds, const char *file, int line, const char *text) {
    if (!holds) check_failed(file, line, text);
}

/* The first address behind the user half. */
static inline uint64_t user_end(void) {
    return info_page()->mmu_levels == 4 ? 1ul << 47 : 1ul << 38;
}

static inline uint64_t handle(uint64_t number) {
    return TEST_HANDLES + (number << PAGE_SHIFT);
}

/* The handle of the test's own executor. */
static inline uint64_t me(void) {
    return thread_handle(thread_self());
}

/* Memory of the test, as words. */
static inline volatile uint64_t *words(uint64_t address) {
    return (volatile uint64_t *)address;
}

/*
 * Pieces of machine code. A worker is started at one, with an argument in a0,
 * and needs no stack. Those that can go on terminate with a0 as it is then.
 */
extern char code_load[], code_store[], code_jump[], code_illegal[], code_float[], code_break[];
extern char code_spin[], code_count[], code_patterns[], code_yield[], code_end[];

#define PATTERN 0x0123456789abcd00ul /* + n: what code_patterns puts into xn */

__asm__(".text\n"
        "code_load:    lb   zero, 0(a0)\n" /* read the byte at a0 */
        "              j    code_end\n"
        "code_store:   sb   a0, 0(a0)\n" /* write the byte at a0 */
        "              j    code_end\n"
        "code_jump:    jr   a0\n"
        "code_illegal: unimp\n"
        "code_float:   .word 0x02b57553\n" /* fadd.d fa0, fa0, fa1 */
        "code_break:   ebreak\n"
        "code_spin:    j    code_spin\n"
        "code_count:   addi t0, t0, 1\n" /* count in the word at a0 */
        "              sd   t0, 0(a0)\n"
        "              j    code_count\n"
        "code_end:     li   a7, 2\n" /* CALL_TERMINATE */
        "              ecall\n"
        /* All registers get patterns, then spin. */
        "code_patterns:\n"
        ".irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16\n"
        "              li   x\\n, 0x0123456789abcd00 + \\n\n"
        ".endr\n"
        ".irp n, 17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "              li   x\\n, 0x0123456789abcd00 + \\n\n"
        ".endr\n"
        "              j    code_spin\n"
        /* With the registers as they are, yield again and again. */
        "code_yield:   li   a7, 1\n" /* CALL_YIELD */
        "1:            ecall\n"
        "              j    1b\n");

/* The stack of worker `number` ends here. */
static inline uint64_t worker_stack_end(uint64_t number) {
    return WORKER_STACKS + (number << STACK_STRIDE_SHIFT) + WORKER_STACK_PAGES * PAGE_SIZE;
}

/* Make worker `number` in `space` (a handle, or SPACE_OWN) and start it; we
 * supervise it. Its handle is handle(number). */
static inline void executor_begin(uint64_t number, uint64_t space, const void *pc, uint64_t sp,
                                  uint64_t argument) {
    check(create_executor(space, handle(number)) == 0);
    check(supervise(handle(number), me()) == 0);
    check(start(handle(number), (uint64_t)pc, sp, argument) == 0);
}

/* A worker in our space that runs machine code without a stack. */
static inline void code_begin(uint64_t number, const void *code, uint64_t argument) {
    executor_begin(number, SPACE_OWN, code, 0, argument);
}

/* A worker in our space that runs a C function. */
static inline void worker_begin(uint64_t number, const void *function, uint64_t argument) {
    uint64_t end = worker_stack_end(number);
    check(map(SPACE_OWN, end - WORKER_STACK_PAGES * PAGE_SIZE, WORKER_STACK_PAGES, PROT_RW, 0) ==
          0);
    executor_begin(number, SPACE_OWN, function, end, argument);
}

/* Show `space` what lies from `start` to `end` of our image. */
static inline void show_image(uint64_t space, const char *start, const char *end, uint64_t prot) {
    uint64_t pages = (uint64_t)(end - start + PAGE_SIZE - 1) / PAGE_SIZE;
    check(share(SPACE_OWN, (uint64_t)start, space, (uint64_t)start, pages, prot) == 0);
}

/* A space that shows our image, variables and all, and has a stack: its handle
 * is handle(number). */
static inline void space_begin(uint64_t number) {
    uint64_t space = handle(number);
    check(create_space(space) == 0);
    show_image(space, image_start, constants_start, PROT_RX);
    show_image(space, constants_start, variables_start, PROT_READ);
    show_image(space, variables_start, image_end, PROT_RW);
    check(map(space, USER_STACK_LOW, WORKER_STACK_PAGES, PROT_RW, 0) == 0);
}

/* A worker that runs `pc` in the space of space_begin(space). */
static inline void process_begin(uint64_t number, uint64_t space, const void *pc,
                                 uint64_t argument) {
    executor_begin(number, handle(space), pc, USER_STACK_LOW + WORKER_STACK_PAGES * PAGE_SIZE,
                   argument);
}

/* Wait until worker `number` has ended or faulted: how it is then. It need not
 * be us who supervises it. */
static inline struct executor_info settled(uint64_t number) {
    struct executor_info info;
    uint64_t deadline = time_after(PATIENCE_MS);

    while (!child_settled(handle(number), &info)) {
        check(time_now() < deadline);
        park(EVENT_CHILD, time_after(5));
    }
    return info;
}

/* Wait until worker `number` neither executes nor waits for a hart. */
static inline struct executor_info at_rest(uint64_t number) {
    struct executor_info info;
    uint64_t deadline = time_after(PATIENCE_MS);

    for (;;) {
        check(inspect(handle(number), &info) == 0);
        if ((info.state & (STATE_EXECUTING | STATE_QUEUED)) == 0) return info;
        check(time_now() < deadline);
        sleep_ms(1);
    }
}

/* Worker `number` ends, with this status. */
static inline void check_status(uint64_t number, uint64_t status) {
    struct executor_info info = settled(number);
    check((info.state & STATE_TERMINATED) != 0);
    check(info.status == status);
}

/* Worker `number` faults, in this way. */
static inline void check_fault(uint64_t number, uint64_t cause, uint64_t address) {
    struct executor_info info = settled(number);
    check((info.state & STATE_TERMINATED) == 0);
    check(info.fault_cause == cause);
    check(info.fault_address == address);
}

/* Machine code with this argument faults so, and again when it is resumed:
 * nobody takes the fault for a spurious one. Worker 63 runs it. */
static inline void check_code_faults(const void *code, uint64_t argument, uint64_t cause) {
    uint64_t address = cause == CAUSE_ILLEGAL ? 0 : argument;
    uint64_t number = WORKERS - 1;

    code_begin(number, code, argument);
    for (int i = 0; i < 2; i++) {
        struct executor_info info = settled(number);
        check(info.fault_cause == cause);
        check(cause == CAUSE_ILLEGAL || info.fault_address == address);
        check(info.pc == (cause == CAUSE_FETCH ? argument : (uint64_t)code));
        check(info.x[9] == argument);
        check(i == 1 || resume(handle(number)) == 0);
    }
    unmap(SPACE_OWN, handle(number), 1);
}

/* Machine code with this argument ends as it should. */
static inline void check_code_ends(const void *code, uint64_t argument) {
    code_begin(WORKERS - 1, code, argument);
    check_status(WORKERS - 1, argument);
    unmap(SPACE_OWN, handle(WORKERS - 1), 1);
}

/* Map pages of the test's memory to read and write. */
static inline void map_rw(uint64_t address, uint64_t pages) {
    check(map(SPACE_OWN, address, pages, PROT_RW, 0) == 0);
}
