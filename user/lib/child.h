/*
 * What a supervisor needs to know of an executor after EVENT_CHILD.
 */
#pragma once
#include "stag/abi.h"
#include <stdbool.h>

/*
 * Has the executor ended, or stopped by a fault? If so `*info` tells how, with
 * its registers. After a fault, info->fault_cause is not FAULT_NONE, and pc and
 * the other registers are those of the instruction that faulted; after an end,
 * info->status is STATUS_KILLED unless it terminated by itself.
 *
 * One EVENT_CHILD may stand for several executors, so a supervisor of several
 * asks for each of them.
 */
bool child_settled(uint64_t executor, struct executor_info *info);
