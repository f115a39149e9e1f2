/*
 * Faults of user programs: contract.
 */
#pragma once
#include "executor.h"

/*
 * `self`, which runs here, trapped with this cause at this address. A page
 * fault on a mapping that by now permits the access is spurious: this hart
 * forgets what it remembers of the space, and `self` goes on. Else it stops, and
 * when it is at rest its supervisor gets EVENT_CHILD: the fault is noted and
 * STOPPED is set in one hold of the executor's lock, so that a resume forgets
 * both or neither. Without a living supervisor its process ends. Returns who
 * runs now.
 */
struct executor *fault(struct executor *self, uint64_t cause, uint64_t address);
