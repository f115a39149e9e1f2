/*
 * The end of a process: contract. (The life of a space: space.h.)
 */
#pragma once
#include "executor.h"
#include "space.h"

/*
 * End a space: it is alive no more, all its executors are terminated, and the
 * last of them to come to rest has it torn down (reap_space). From before `alive`
 * is cleared until that is done the exit holds a reference of its own, which
 * reap.c gives back. Without effect the second time. The caller holds a
 * reference, and no lock.
 */
void space_exit(struct space *space);

/* An executor that has ended leaves the list of its space. It may be the last
 * that the teardown waits for. Does not touch the space afterwards, unless the
 * caller holds a reference to it. No lock held. */
void exit_leave(struct executor *executor);

/* Give back a slice of what a space that has exited holds. Returns true when
 * nothing is left but the page of the space itself: then its root is 0. No lock
 * held. */
bool exit_tear_down(struct space *space);
