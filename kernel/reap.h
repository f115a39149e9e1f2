/*
 * Objects without references. They are not freed where the last reference is
 * dropped, under whatever locks, but put on a list of this hart and worked
 * off in a loop, with no lock held, before the hart returns to user mode or
 * goes idle: freeing a space drops its handles, which may free further spaces,
 * ten thousand in a row, without a stack that grows. That may take many quanta,
 * so it is done by turns with whatever else there is to do.
 */
#pragma once
#include "executor.h"
#include "space.h"

/* Put an executor without references on this hart's list, and set reap_due. */
void reap_executor(struct executor *executor);

/* Put a space on this hart's list: without references, or to be torn down. Sets
 * reap_due. */
void reap_space(struct space *space);

/* Work the lists off, and serve interrupts between any two slices: at most 64
 * executors; a part of a teardown (exit_tear_down); the exit of a space that was
 * never started, which is as long as it has executors. Clears reap_due when the
 * lists are empty; returns then, or when an interrupt was served after which the
 * timer is set to another time than at the call (hart->timer_at): a quantum is
 * over. The rest is for the hart's next trap, or for the next time if it is idle.
 * The caller sees to it that the timer is set. No lock held. */
void reap_all(void);
