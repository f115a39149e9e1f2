/*
 * Children, see child.h.
 */
#include "child.h"
#include "call.h"

bool child_settled(uint64_t executor, struct executor_info *info) {
    for (;;) {
        if (inspect(executor, info) < 0) {
            /* There is no such executor. */
            *info = (struct executor_info){
                .state = STATE_TERMINATED, .fault_cause = FAULT_NONE, .status = STATUS_KILLED};
            return true;
        }
        bool faulted = (info->state & STATE_STOPPED) && info->fault_cause != FAULT_NONE;
        if (!faulted && (info->state & STATE_TERMINATED) == 0) return false;
        if ((info->state & (STATE_EXECUTING | STATE_QUEUED)) == 0) return true;
        /* On its way to rest, in a moment: until then there are no registers
         * to be read, and no second event will come. */
        yield();
    }
}
