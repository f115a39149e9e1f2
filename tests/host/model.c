/*
 * Harts: interrupts, sleep, time, and the registers that go with them.
 *
 * The moment when all sleep. A hart that goes to sleep counts itself in, and
 * out again before it clears what woke it; in the same word stands how often
 * one has left. Who finds all counted in, then no interrupt pending, and then
 * that word unchanged, is at such a moment. By the step that finds it unchanged
 * it counts itself out, so there is only one. Since nobody runs, the state is
 * the final one: then a runnable executor in the queue is a lost wake-up, and
 * a deadline without a timer a lost timeout. (No clock has to decide that.)
 */
#define _GNU_SOURCE
#include "model.h"
#include "deadline.h"
#include "machine.h"
#include "riscv/csr.h"
#include "riscv/sbi.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

_Thread_local struct hart *model_hart;
_Thread_local uint32_t model_countdown = 1;

struct cpu cpus[HARTS_MAX] __attribute__((aligned(64)));

static uint64_t now;

/* Harts that sleep, and above ASLEEP_BITS how often one has woken. */
static uint64_t asleep;
enum { ASLEEP_BITS = 8 };

struct cpu *this_cpu(void) {
    return &cpus[model_hart->index];
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift
 * generators, scrambled", 2016. */
uint64_t random_below(uint64_t limit) {
    uint64_t *state = &this_cpu()->random;
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * 0x2545f4914f6cdd1d >> 32) % limit;
}

/* A point of interleave.h whose turn it is: give the processor away, or spin
 * for a while, or go on. */
void model_hold_up(void) {
    model_countdown = 1 + (uint32_t)random_below(200);
    uint64_t choice = random_below(32);
    if (choice < 16)
        sched_yield();
    else if (choice < 24)
        for (uint64_t i = random_below(2000); i > 0; i--) __asm__ volatile("" ::: "memory");
    else if (choice == 24)
        usleep((unsigned)random_below(400)); /* long enough for others to do a lot */
}

void machine_relax(void) {
    sched_yield();
}

/* Interrupts. */

static uint32_t pending(struct cpu *cpu) {
    return __atomic_load_n(&cpu->pending, __ATOMIC_RELAXED);
}

static void raise_ordered(struct cpu *cpu, uint32_t bits, int order) {
    if (order == __ATOMIC_RELEASE)
        __atomic_fetch_or(&cpu->pending, bits, __ATOMIC_RELEASE);
    else
        __atomic_fetch_or(&cpu->pending, bits, __ATOMIC_RELAXED);
    syscall(SYS_futex, &cpu->pending, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void cpu_raise(struct cpu *cpu, uint32_t bits) {
    raise_ordered(cpu, bits, __ATOMIC_RELAXED);
}

uint64_t cpu_interrupt(struct cpu *cpu) {
    uint32_t bits = pending(cpu);
    if (bits & SIE_EXTERNAL) return CAUSE_INTERRUPT | INTERRUPT_EXTERNAL;
    if (bits & SIE_SOFTWARE) return CAUSE_INTERRUPT | INTERRUPT_SOFTWARE;
    return bits & SIE_TIMER ? CAUSE_INTERRUPT | INTERRUPT_TIMER : 0;
}

void sbi_send_ipi(uint64_t hart_id) {
    for (uint64_t i = 0; i < hart_count; i++) {
        if (harts[i]->id == hart_id) {
            this_cpu()->counts[COUNT_IPIS]++;
            raise_ordered(&cpus[i], SIE_SOFTWARE, __ATOMIC_RELEASE);
            return;
        }
    }
    fail("an interrupt for hart id %lu, which there is not", hart_id);
}

uint64_t model_read_sip(void) {
    return pending(this_cpu());
}

/* With the fence that follows it this is ipi_receive: what the sender stored
 * is seen. */
void model_clear_sip(uint64_t bits) {
    __atomic_fetch_and(&this_cpu()->pending, ~(uint32_t)bits, __ATOMIC_ACQUIRE);
}

void model_write_sie(uint64_t bits) {
    (void)bits;
}

uint64_t model_read_stval(void) {
    return this_cpu()->stval;
}

void fence_io(void) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Time. */

uint64_t machine_time(void) {
    return __atomic_add_fetch(&now, 1, __ATOMIC_RELAXED);
}

/* Raise the timers that `time` has reached. A hart that sets its timer anew
 * just then may get an interrupt too many, which does no harm. */
static void timers_raise(uint64_t time) {
    for (uint64_t i = 0; i < hart_count; i++) {
        if (__atomic_load_n(&cpus[i].timer_at, __ATOMIC_RELAXED) <= time &&
            !(pending(&cpus[i]) & SIE_TIMER))
            cpu_raise(&cpus[i], SIE_TIMER);
    }
}

void time_pass(uint64_t ticks) {
    timers_raise(__atomic_add_fetch(&now, ticks, __ATOMIC_RELAXED));
}

void sbi_set_timer(uint64_t at) {
    struct cpu *cpu = this_cpu();
    __atomic_store_n(&cpu->timer_at, at, __ATOMIC_RELAXED);
    __atomic_fetch_and(&cpu->pending, ~(uint32_t)SIE_TIMER, __ATOMIC_RELAXED);
    cpu->counts[COUNT_TICKS]++;
}

/* Who is where. */

void cpu_move(struct cpu *cpu, uint32_t place) {
    uint32_t count = cpu->place >> PLACE_BITS;
    __atomic_store_n(&cpu->place, (count + 1) << PLACE_BITS | place, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* With all harts asleep or in user mode, none of them interrupted, the run
 * queue stays as it is: if it is not empty nobody may be asleep. What is seen
 * held all at once if all are still where they were. */
void check_nobody_oversleeps(void) {
    uint32_t places[HARTS_MAX];
    bool one_sleeps = false;
    for (uint64_t i = 0; i < hart_count; i++) {
        places[i] = __atomic_load_n(&cpus[i].place, __ATOMIC_RELAXED);
        uint32_t place = places[i] & ((1 << PLACE_BITS) - 1);
        if (place == PLACE_KERNEL || pending(&cpus[i]) != 0) return;
        one_sleeps |= place == PLACE_ASLEEP;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!one_sleeps || __atomic_load_n(&global()->sched_head, __ATOMIC_RELAXED) == NULL) return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint64_t i = 0; i < hart_count; i++) {
        if (__atomic_load_n(&cpus[i].place, __ATOMIC_RELAXED) != places[i] ||
            pending(&cpus[i]) != 0)
            return;
    }
    fail("lost wake-up: a hart sleeps while an executor is queued (idle_harts 0x%lx)",
         __atomic_load_n(&global()->idle_harts, __ATOMIC_RELAXED));
}

/* Sleep. */

static const uint64_t FALL_ASLEEP = 1, WAKE_UP = (1 << ASLEEP_BITS) - 1;

/* Is this the moment when all sleep and nothing is pending? Then this hart is
 * counted out. */
static bool all_asleep(void) {
    uint64_t seen = __atomic_load_n(&asleep, __ATOMIC_RELAXED);
    if ((seen & ((1 << ASLEEP_BITS) - 1)) != hart_count) return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint64_t i = 0; i < hart_count; i++) {
        if (pending(&cpus[i]) != 0) return false;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_compare_exchange_n(&asleep, &seen, seen + WAKE_UP, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}

static void nobody_runs(void) {
    CHECK(__atomic_load_n(&global()->sched_head, __ATOMIC_RELAXED) == NULL,
          "lost wake-up: all harts sleep, but executors are queued");
    uint64_t next = DEADLINE_NONE;
    for (uint64_t i = 0; i < hart_count; i++) {
        uint64_t at = __atomic_load_n(&cpus[i].timer_at, __ATOMIC_RELAXED);
        next = at < next ? at : next;
    }
    CHECK(next <= deadline_nearest(), "lost timeout: a deadline at %lu, the next timer at %lu",
          deadline_nearest(), next);
    if (next == DEADLINE_NONE) {
        this_cpu()->counts[COUNT_QUIET]++;
        world_quiet();
        return;
    }
    uint64_t time = __atomic_load_n(&now, __ATOMIC_RELAXED);
    if (time < next) __atomic_store_n(&now, next, __ATOMIC_RELAXED);
    timers_raise(time < next ? next : time);
}

void machine_wait(void) {
    struct cpu *cpu = this_cpu();
    cpu->counts[COUNT_SLEEPS]++;
    __atomic_fetch_add(&asleep, FALL_ASLEEP, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    cpu_move(cpu, PLACE_ASLEEP);
    while (pending(cpu) == 0) {
        if (all_asleep()) {
            nobody_runs();
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            __atomic_fetch_add(&asleep, FALL_ASLEEP, __ATOMIC_RELAXED);
        } else {
            syscall(SYS_futex, &cpu->pending, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
        }
    }
    cpu_move(cpu, PLACE_KERNEL);
    __atomic_fetch_add(&asleep, WAKE_UP, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (pending(cpu) & PENDING_EXIT) pthread_exit(NULL);
}
