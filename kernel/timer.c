/*
 * Ticks and deadlines.
 */
#include "timer.h"
#include "deadline.h"
#include "devicetree.h"
#include "info.h"
#include "machine.h"
#include "riscv/sbi.h"

enum { TICKS_PER_SECOND = 100 };

uint64_t timer_quantum;

static void timer_set(uint64_t at)
{
    this_hart()->timer_at = at;
    sbi_set_timer(at);
}

void timer_init(void)
{
    timer_quantum = machine_description.timebase / TICKS_PER_SECOND;
}

void timer_no_later(uint64_t at)
{
    if (at < this_hart()->timer_at)
        timer_set(at);
}

void timer_need_tick(void)
{
    timer_no_later(machine_time() + timer_quantum);
}

void timer_interrupt(void)
{
    uint64_t now = machine_time();
    deadline_expire(now);
    info_count_pages();
    uint64_t next = deadline_nearest();
    if (this_hart()->executor != NULL && now + timer_quantum < next)
        next = now + timer_quantum;
    timer_set(next);
}
