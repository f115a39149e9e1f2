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

static void timer_set(uint64_t at) {
    this_hart()->timer_at = at;
    sbi_set_timer(at);
}

void timer_init(void) {
    timer_quantum = machine_description.timebase / TICKS_PER_SECOND;
}

void timer_no_later(uint64_t at) {
    if (at < this_hart()->timer_at) timer_set(at);
}

void timer_need_tick(void) {
    timer_no_later(machine_time() + timer_quantum);
}

void timer_renew(void) {
    uint64_t tick = machine_time() + timer_quantum, deadline = deadline_nearest();
    timer_set(tick < deadline ? tick : deadline);
}

void timer_interrupt(void) {
    deadline_expire(machine_time());
    info_count_pages();
    if (this_hart()->executor != NULL)
        timer_renew();
    else
        timer_set(deadline_nearest());
}
