/*
 * Ticks and deadlines.
 *
 * A hart that runs programs gets a tick every quantum; an idle one gets none.
 * For each deadline in the heap there is a hart whose timer is set no later:
 * the hart that inserts a deadline sees to its own timer, and whoever sets a
 * timer anew sets it no later than the nearest deadline. A switch between
 * executors leaves the timer alone, but for one at the end of a quantum.
 */
#pragma once
#include <stdint.h>

/* Ticks of `time` that an executor may run before others get their turn. */
extern uint64_t timer_quantum;

void timer_init(void);

/* This hart's timer goes off no later than `at`. */
void timer_no_later(uint64_t at);

/* This hart is about to run programs after it was idle: see that it ticks. */
void timer_need_tick(void);

/* The executor that runs here has a whole quantum from now on. */
void timer_renew(void);

/* The timer interrupt: wake whose deadline has passed, set the timer anew. */
void timer_interrupt(void);
