/*
 * The kernel's concurrent parts in a stress run, with threads as harts.
 *
 *   stress [-s seed] [-r rounds] [-n steps a round] [-c harts] [-m pages of RAM]
 *          [-l levels of page table] [-a bits of a space's number]
 *          [-p profile] [-w seconds] [-v]
 *
 * -w is a watchdog for a run that hangs, not a measure of anything.
 * Each thread is what trap_entry.S is to a hart: it takes an executor into
 * user mode, and from there through the kernel to the next. Ends with "passed"
 * and status 0, or with what failed.
 */
#include "call.h"
#include "interrupt.h"
#include "machine.h"
#include "model.h"
#include "program.h"
#include "riscv/csr.h"
#include "scheduler.h"
#include "shootdown.h"
#include "timer.h"
#include "trap.h"
#include "world.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options options = {
    .seed = 1,
    .rounds = 4,
    .steps = 20000,
    .harts = 4,
    .pages = 900,
    .levels = 3,
    .asid_bits = 5,
    .profile = -1,
};

/* The registers that a C function keeps for its caller (s0 … s11) stay in place
 * through the kernel, unless it let go of the executor. */
static bool is_kept(uint64_t reg) {
    return reg == REG_FP || reg == REG_FP + 1 || (reg > REG_A7 && reg <= REG_A7 + 10);
}

/* What trap_entry does (trap.h): `cpu->x` goes from those of `self` to those of
 * whoever it returns. */
static struct executor *enter_kernel(struct cpu *cpu, struct executor *self, uint64_t cause) {
    memcpy(self->x, cpu->x, sizeof(cpu->x));
    cpu->counts[COUNT_TRAPS]++;
    struct executor *next;
    if (cause == CAUSE_ECALL_USER) {
        self->pc += 4;
        next = call_dispatch(self);
    } else {
        next = trap(self, cause);
    }
    if (cpu->hart->reap_due) next = trap_reap(next);
    if (cpu->hart->published != next->space) next = shootdown_publish(next);
    bool switched = cpu->hart->switched;
    cpu->hart->switched = 0;
    cpu->counts[COUNT_BACK] += switched && next == self;
    for (uint64_t reg = 0; reg < 31; reg++) {
        if (switched || !is_kept(reg)) cpu->x[reg] = next->x[reg];
    }
    return next;
}

static void *run_hart(void *argument) {
    struct cpu *cpu = argument;
    model_hart = cpu->hart;
    interrupt_init();
    timer_need_tick();
    struct executor *executor = shootdown_publish(trap_reap(scheduler_next()));
    memcpy(cpu->x, executor->x, sizeof(cpu->x));
    for (;;) {
        CHECK(cpu->hart->ranks_held == 0, "to user mode with a lock held");
        cpu_move(cpu, PLACE_USER);
        uint64_t cause = program_run(cpu, executor);
        cpu_move(cpu, PLACE_KERNEL);
        executor = enter_kernel(cpu, executor, cause);
    }
}

static void print_counts(void) {
    static const char *const names[COUNTS] = {
        "steps",
        "traps",
        "sleeps",
        "ipis",
        "timers",
        "quiet moments",
        "faults",
        "TLB hits",
        "TLB walks",
        "TLB flushes",
        "back after a switch",
    };
    for (uint64_t i = 0; i < COUNTS; i++) {
        uint64_t sum = 0;
        for (uint64_t hart = 0; hart < options.harts; hart++) sum += cpus[hart].counts[i];
        printf("%-20s %8lu\n", names[i], sum);
    }
    for (uint64_t number = 1; number < CALL_COUNT; number++) {
        uint64_t good = 0, bad = 0;
        for (uint64_t hart = 0; hart < options.harts; hart++) {
            good += cpus[hart].succeeded[number];
            bad += cpus[hart].failed[number];
        }
        printf("%-16s %10lu succeeded %10lu failed\n", call_names[number], good, bad);
    }
}

static void run_round(uint64_t round) {
    pthread_t threads[HARTS_MAX];
    world_begin_round(round);
    for (uint64_t i = 0; i < options.harts; i++) {
        if (pthread_create(&threads[i], NULL, run_hart, &cpus[i]) != 0)
            fail("no thread for hart %lu", i);
    }
    for (uint64_t i = 0; i < options.harts; i++) pthread_join(threads[i], NULL);
    world_end_round();
    if (options.verbose) printf("round %lu, profile %lu\n", round, program_profile);
}

static void read_options(int count, char **values) {
    for (int letter; (letter = getopt(count, values, "s:r:n:c:m:l:a:p:w:v")) != -1;) {
        uint64_t value = optarg != NULL ? strtoul(optarg, NULL, 0) : 0;
        switch (letter) {
        case 's': options.seed = value; break;
        case 'r': options.rounds = value; break;
        case 'n': options.steps = value; break;
        case 'c': options.harts = value; break;
        case 'm': options.pages = value; break;
        case 'l': options.levels = value; break;
        case 'a': options.asid_bits = value; break;
        case 'p': options.profile = (int)value; break;
        case 'w': alarm((unsigned)value); break;
        case 'v': options.verbose = true; break;
        default: exit(2);
        }
    }
    CHECK(options.harts >= 1 && options.harts <= HARTS_MAX, "from 1 to %d harts", HARTS_MAX);
    CHECK(options.pages >= 300 && options.pages <= RAM_PAGES_MAX, "from 300 pages up");
    CHECK(options.asid_bits >= 1 && options.asid_bits <= 12, "from 1 to 12 bits");
    CHECK(options.profile < PROFILES, "profiles are 0 to %d", PROFILES - 1);
}

/* The run hangs. */
static void hung(int signal) {
    (void)signal;
    static const char message[] = "FAILED: the watchdog's time is up\n";
    if (write(STDERR_FILENO, message, sizeof(message) - 1) > 0)
        for (uint64_t i = 0; i < options.harts; i++)
            dprintf(STDERR_FILENO, "hart %lu: pending 0x%x, ranks held 0x%lx, executor %p\n", i,
                    cpus[i].pending, cpus[i].hart->ranks_held, (void *)cpus[i].hart->executor);
    _exit(3);
}

int main(int count, char **values) {
    signal(SIGALRM, hung);
    read_options(count, values);
    printf("seed %lu, %lu rounds of %lu steps, %lu harts, %lu pages, Sv%s\n", options.seed,
           options.rounds, options.steps, options.harts, options.pages,
           options.levels == 3 ? "39" : "48");
    fflush(stdout);
    world_boot();
    for (uint64_t round = 0; round < options.rounds; round++) run_round(round);
    if (options.verbose) print_counts();
    printf("passed\n");
    return 0;
}
