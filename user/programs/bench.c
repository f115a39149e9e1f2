/*
 * bench: what the kernel's operations cost, in instructions.
 *
 * It counts with the `instret` counter, in user mode, so the instructions of
 * the kernel that serve an operation are counted with our own. QEMU counts
 * exactly under `-icount shift=0` and otherwise not at all: bench notices and
 * says so. It wants a machine with one hart, so that what a partner does for
 * an operation is counted too.
 *
 * Each operation prints a line `BENCH key instructions`: an average, rounded
 * to the nearest, of 256 operations or more. The method:
 *
 *   - A batch of operations is counted several times and the smallest count is
 *     taken. A tick of the timer falls into some batches, not into all.
 *   - The count of a batch that does the same without the operation (its base)
 *     is taken off: the loop, the function called, the counter itself.
 *   - What only prepares for the next batch is done while we don't count.
 *
 * What is left holds all that a program needs for the operation: loading the
 * arguments, the `ecall`, the kernel. A partner's own loop, a jump for each
 * turn, is not taken off.
 */
#include "call.h"
#include "child.h"
#include "handle.h"
#include "info.h"
#include "print.h"
#include "thread.h"

#define ROUNDS  256 /* operations in a batch; a power of two */
#define BATCHES 8
#define PAGES   256 /* of the operations that work on many */

/* Where we map. */
#define AREA  0x8000000ul
#define AREA2 0x9000000ul

#define EVENT_PING   (1u << 3)
#define EVENT_PONG   (1u << 4)
#define EVENT_UNUSED (1u << 5) /* nobody waits for it */

/* Set by the linker script. */
extern char image_start[], constants_start[], variables_start[], image_end[];

/* Set up once: a page with the word that park_if looks at, and the handles of
 * our partners. */
static uint32_t word;
static uint64_t partner, partner_space;

static inline uint64_t instructions(void) {
    uint64_t count;
    __asm__ volatile("csrr %0, instret" : "=r"(count) : : "memory");
    return count;
}

/* What can't fail unless the kernel is broken. */
static void must(int64_t result) {
    if (result >= 0) return;
    printf("bench: a call failed: %ld\n", result);
    destroy(SPACE_OWN);
}

/*
 * The partners: executors beside us, in our space or in one of their own that
 * shows the same image. They have no control block, only a page of stack.
 */

/* Give up the hart again and again. */
static void partner_yield(void) {
    for (;;) yield();
}

/* Answer each ping. Our executor's handle is the argument. */
static void partner_answer(uint64_t main_executor) {
    for (;;) {
        park(EVENT_PING, DEADLINE_NONE);
        unpark(main_executor, EVENT_PONG);
    }
}

/* Fault at once, and again after each resume. */
static void partner_fault(void) {
    __asm__ volatile("1: ld zero, 0(zero)\n j 1b");
}

/* End at once. Naked: it has no stack, and one that the compiler's first
 * instructions wanted would end it by a fault. */
__attribute__((naked)) static void partner_end(void) {
    __asm__ volatile("li a7, %0\n ecall" : : "i"(CALL_TERMINATE));
}

/* Show `space` what lies from `start` to `end` of our image. */
static void show(uint64_t space, const char *start, const char *end, uint64_t prot) {
    uint64_t pages = (uint64_t)(end - start + PAGE_SIZE - 1) / PAGE_SIZE;
    must(share(SPACE_OWN, (uint64_t)start, space, (uint64_t)start, pages, prot));
}

/* Make a space with our image, a page of stack, and our executor's handle. */
static void make_space(uint64_t space) {
    must(create_space(space));
    show(space, image_start, constants_start, PROT_READ | PROT_EXECUTE);
    show(space, constants_start, variables_start, PROT_READ);
    show(space, variables_start, image_end, PROT_READ | PROT_WRITE);
    must(map(space, USER_STACK_LOW, 1, PROT_READ | PROT_WRITE, 0));
    must(share(SPACE_OWN, HANDLE_SELF, space, HANDLE_SELF, 1, PROT_READ));
}

/* Let a partner run `function` in `space`, which has a stack at `stack`. */
static void partner_begin(uint64_t space, uint64_t stack, void *function) {
    must(create_executor(space, partner));
    must(supervise(partner, HANDLE_SELF));
    must(start(partner, (uint64_t)function, stack + PAGE_SIZE, HANDLE_SELF));
    yield();
    park(EVENT_CHILD, 0); /* it may have faulted already */
}

static void begin_here(void *function) {
    must(map(SPACE_OWN, AREA2, 1, PROT_READ | PROT_WRITE, 0));
    partner_begin(SPACE_OWN, AREA2, function);
}

static void begin_there(void *function) {
    make_space(partner_space);
    partner_begin(partner_space, USER_STACK_LOW, function);
}

/* End whatever partner there is. */
static void partner_end_all(void) {
    struct executor_info info;

    stop(partner);
    do {
        yield();
        must(inspect(partner, &info));
    } while (info.state & (STATE_EXECUTING | STATE_QUEUED));
    unmap(SPACE_OWN, partner, 1);
    destroy(partner_space);
    unmap(SPACE_OWN, partner_space, 1);
    unmap(SPACE_OWN, AREA2, 1);
    yield();
    park(EVENT_CHILD | EVENT_PONG, 0);
}

/*
 * Operations. Each is a function that does it once, called ROUNDS times by
 * count_rounds(); the base of most is the first.
 */

static void do_nothing(void) {
    __asm__ volatile("");
}

static void do_null_call(void) {
    register uint64_t a0 __asm__("a0");
    register uint64_t a7 __asm__("a7") = CALL_COUNT;
    __asm__ volatile("ecall" : "=r"(a0) : "r"(a7) : "memory");
}

static void do_yield(void) {
    yield();
}

static void do_unpark(void) {
    unpark(HANDLE_SELF, EVENT_UNUSED);
}

static void do_unpark_park(void) {
    unpark(HANDLE_SELF, EVENT_UNUSED);
    park(EVENT_UNUSED, DEADLINE_NONE);
}

static void do_park_if_mismatch(void) {
    park_if(&word, 1, DEADLINE_NONE);
}

static void do_ping(void) {
    unpark(partner, EVENT_PING);
    park(EVENT_PONG, DEADLINE_NONE);
}

static void do_fault(void) {
    must(resume(partner));
    park(EVENT_CHILD, DEADLINE_NONE);
}

static void do_executor_life(void) {
    must(create_executor(SPACE_OWN, partner));
    must(supervise(partner, HANDLE_SELF));
    must(start(partner, (uint64_t)partner_end, 0, 0));
    park(EVENT_CHILD, DEADLINE_NONE);
    unmap(SPACE_OWN, partner, 1);
}

static void do_space_life(void) {
    must(create_space(partner_space));
    unmap(SPACE_OWN, partner_space, 1);
}

static void do_process_life(void) {
    make_space(partner_space);
    must(create_executor(partner_space, partner));
    must(supervise(partner, HANDLE_SELF));
    must(start(partner, (uint64_t)partner_end, 0, 0));
    park(EVENT_CHILD, DEADLINE_NONE);
    unmap(SPACE_OWN, partner, 1);
    unmap(SPACE_OWN, partner_space, 1);
}

/* The instructions of a batch of `operation`. */
static uint64_t count_rounds(void (*operation)(void)) {
    uint64_t before = instructions();
    for (uint64_t i = 0; i < ROUNDS; i++) operation();
    return instructions() - before;
}

/*
 * Batches that are not just a loop. Each leaves things as they were.
 */

static void touch(uint64_t address) {
    for (uint64_t i = 0; i < PAGES; i++) *(volatile uint64_t *)(address + i * PAGE_SIZE) = i;
}

/* Map PAGES pages and touch each. */
static uint64_t count_map(void (*)(void)) {
    uint64_t before = instructions();
    must(map(SPACE_OWN, AREA, PAGES, PROT_READ | PROT_WRITE, 0));
    touch(AREA);
    uint64_t count = instructions() - before;
    unmap(SPACE_OWN, AREA, PAGES);
    return count;
}

/* Touch each once more: the base of that. */
static uint64_t count_touch(void (*)(void)) {
    must(map(SPACE_OWN, AREA, PAGES, PROT_READ | PROT_WRITE, 0));
    touch(AREA);
    uint64_t before = instructions();
    touch(AREA);
    uint64_t count = instructions() - before;
    unmap(SPACE_OWN, AREA, PAGES);
    return count;
}

/* Unmap PAGES pages that were touched. */
static uint64_t count_unmap(void (*)(void)) {
    must(map(SPACE_OWN, AREA, PAGES, PROT_READ | PROT_WRITE, 0));
    touch(AREA);
    uint64_t before = instructions();
    unmap(SPACE_OWN, AREA, PAGES);
    return instructions() - before;
}

/* Share PAGES pages, with ourselves, by one call. */
static uint64_t count_share(void (*)(void)) {
    must(map(SPACE_OWN, AREA, PAGES, PROT_READ | PROT_WRITE, 0));
    uint64_t before = instructions();
    must(share(SPACE_OWN, AREA, SPACE_OWN, AREA2, PAGES, PROT_READ));
    uint64_t count = instructions() - before;
    unmap(SPACE_OWN, AREA, PAGES);
    unmap(SPACE_OWN, AREA2, PAGES);
    return count;
}

/* Share PAGES pages by one call each, and map so many by one call each. */
static uint64_t count_share_one(void (*)(void)) {
    must(map(SPACE_OWN, AREA, 1, PROT_READ | PROT_WRITE, 0));
    uint64_t before = instructions();
    for (uint64_t i = 0; i < PAGES; i++)
        must(share(SPACE_OWN, AREA, SPACE_OWN, AREA2 + i * PAGE_SIZE, 1, PROT_READ));
    uint64_t count = instructions() - before;
    unmap(SPACE_OWN, AREA, 1);
    unmap(SPACE_OWN, AREA2, PAGES);
    return count;
}

static uint64_t count_map_one(void (*)(void)) {
    uint64_t before = instructions();
    for (uint64_t i = 0; i < PAGES; i++)
        must(map(SPACE_OWN, AREA + i * PAGE_SIZE, 1, PROT_READ | PROT_WRITE, 0));
    uint64_t count = instructions() - before;
    unmap(SPACE_OWN, AREA, PAGES);
    return count;
}

/* The base of batches that are one call: the counter itself. */
static uint64_t count_counter(void (*)(void)) {
    uint64_t before = instructions();
    return instructions() - before;
}

/* One line of the table of benchmarks. Counts are instructions. */
struct benchmark {
    const char *key;
    uint64_t (*count)(void (*operation)(void)); /* a batch */
    void (*operation)(void);                    /* for count_rounds */
    uint64_t (*base_count)(void (*operation)(void));
    void (*base_operation)(void);
    void (*begin)(void *partner); /* starts a partner, or 0 */
    void *partner;
};

static const struct benchmark benchmarks[] = {
    {"null_call", count_rounds, do_null_call, count_rounds, do_nothing, 0, 0},
    {"yield_alone", count_rounds, do_yield, count_rounds, do_nothing, 0, 0},
    {"yield_pair", count_rounds, do_yield, count_rounds, do_nothing, begin_here, partner_yield},
    {"yield_pair_spaces", count_rounds, do_yield, count_rounds, do_nothing, begin_there,
     partner_yield},
    {"unpark_nobody", count_rounds, do_unpark, count_rounds, do_nothing, 0, 0},
    {"park_pending", count_rounds, do_unpark_park, count_rounds, do_unpark, 0, 0},
    {"park_if_mismatch", count_rounds, do_park_if_mismatch, count_rounds, do_nothing, 0, 0},
    {"block_wake", count_rounds, do_ping, count_rounds, do_nothing, begin_here, partner_answer},
    {"block_wake_spaces", count_rounds, do_ping, count_rounds, do_nothing, begin_there,
     partner_answer},
    {"fault_resume", count_rounds, do_fault, count_rounds, do_nothing, begin_here, partner_fault},
    {"map_touch", count_map, 0, count_touch, 0, 0, 0},
    {"map_one", count_map_one, 0, count_counter, 0, 0, 0},
    {"unmap", count_unmap, 0, count_counter, 0, 0, 0},
    {"share_page", count_share, 0, count_counter, 0, 0, 0},
    {"share_one", count_share_one, 0, count_counter, 0, 0, 0},
    {"executor_life", count_rounds, do_executor_life, count_rounds, do_nothing, 0, 0},
    {"space_life", count_rounds, do_space_life, count_rounds, do_nothing, 0, 0},
    {"process_life", count_rounds, do_process_life, count_rounds, do_nothing, 0, 0},
};

#define BENCHMARKS (sizeof(benchmarks) / sizeof(benchmarks[0]))

_Static_assert(PAGES == ROUNDS, "all counts are for as many operations");

/* The smallest count of several batches. One that is not counted goes first:
 * it makes tables, and fills the hart's cache of pages. */
static uint64_t smallest(uint64_t (*count)(void (*operation)(void)), void (*operation)(void)) {
    count(operation);
    uint64_t best = count(operation);
    for (uint64_t i = 1; i < BATCHES; i++) {
        uint64_t next = count(operation);
        if (next < best) best = next;
    }
    return best;
}

static void benchmark_run(const struct benchmark *benchmark) {
    if (benchmark->begin != 0) benchmark->begin(benchmark->partner);
    uint64_t count = smallest(benchmark->count, benchmark->operation);
    uint64_t base = smallest(benchmark->base_count, benchmark->base_operation);
    if (benchmark->begin != 0) partner_end_all();
    printf("BENCH %s %lu\n", benchmark->key, (count - base + ROUNDS / 2) / ROUNDS);
}

/* Does `instret` count instructions here? */
static bool counts_exactly(void) {
    for (uint64_t i = 0; i < BATCHES; i++) {
        uint64_t before = instructions();
        __asm__ volatile(".rept 1000\n nop\n .endr");
        if (instructions() - before == 1001) return true;
    }
    return false;
}

int main(void) {
    if (!counts_exactly()) {
        printf("bench: instret does not count instructions; run QEMU with -icount shift=0\n");
        return 1;
    }
    if (info_page()->hart_count != 1)
        printf("bench: with more than one hart, what others do is not counted\n");
    /* A handle that stays, as any program has some: otherwise the table that
     * handles stand in would come and go with the partners'. */
    must(share(SPACE_OWN, HANDLE_SELF, SPACE_OWN, (uint64_t)handle_take(), 1, PROT_READ));
    partner = (uint64_t)handle_take();
    partner_space = (uint64_t)handle_take();
    for (uint64_t i = 0; i < BENCHMARKS; i++) benchmark_run(&benchmarks[i]);
    return 0;
}
