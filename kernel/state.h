/*
 * The state word of an executor: the rules that all who change it keep. Its
 * picture is in abi.h.
 *
 *   EXECUTING   a hart runs it, or `start` writes its registers, or `inspect`
 *               reads them
 *   QUEUED      it is in the run queue
 *   PARKED      it sleeps until an event of its mask, or its deadline
 *   STOPPED     it was never started, was stopped, or has faulted
 *   TERMINATED  it has ended, or is about to
 *
 * Runnable: none of the last three.
 *
 * 1. Every change is one atomic step. If it is right only as long as nobody else
 *    changes what it hangs on, it is a compare-and-swap of the whole word, so
 *    that no two changes can both win: an event and a timeout that end the same
 *    park, two harts that queue the same executor.
 * 2. Whoever makes an executor runnable while it is neither EXECUTING nor
 *    QUEUED sets QUEUED in the same step, and is thereby the one who puts it
 *    in the run queue. An executor is never in the queue twice.
 * 3. A hart that takes an executor off the queue turns QUEUED into EXECUTING
 *    in one step. If it is no longer runnable the hart lets go of it at once,
 *    as rule 4 says. So an executor that was terminated is not resumed.
 * 4. STOPPED and TERMINATED are requests: whoever holds EXECUTING completes
 *    them by clearing that flag. Whoever sets them while another hart holds
 *    EXECUTING sends that hart an interrupt; it comes to the word when it takes
 *    it, at the latest on its way out of user mode. If the hart has queued the
 *    executor meanwhile, the one that takes it off the queue completes them.
 * 5. TERMINATED is never cleared. The one step after which it is set while
 *    EXECUTING and QUEUED are not happens once, and makes its author the one
 *    who calls executor_end.
 * 6. A park counts the sequence number up by one; it wraps. Who ends a park on
 *    account of a deadline compares it: a late timeout can't end a later park.
 *
 * One reference is held as long as EXECUTING or QUEUED is set: the step that
 * sets the first of them takes it, the step that clears the last gives it
 * back (executor_put), and turning one into the other hands it over.
 *
 * Memory order: a change that lets another hart have the executor (clearing
 * EXECUTING, setting QUEUED) is a release; a change that takes it (setting
 * EXECUTING) is an acquire. So whoever holds EXECUTING sees all that its last
 * holder wrote to registers and fields.
 */
#pragma once
#include "compiler.h"
#include "executor.h"

#define STATE_NOT_RUNNABLE (STATE_PARKED | STATE_STOPPED | STATE_TERMINATED)
#define STATE_HELD         (STATE_EXECUTING | STATE_QUEUED)

static inline uint64_t state_load(const struct executor *executor) {
    return __atomic_load_n(&executor->state, __ATOMIC_ACQUIRE);
}

/* Change the word from *seen to `next`. False if it was not *seen any more;
 * then *seen is what it is. */
static inline bool state_change(struct executor *executor, uint64_t *seen, uint64_t next) {
    return __atomic_compare_exchange_n(&executor->state, seen, next, false, CAS_ORDER, CAS_ORDER);
}

/* Clear bits that nobody else may clear now, whatever else is in the word.
 * Acquire: with an event that is taken comes what its last sender stored. */
static inline void state_clear(struct executor *executor, uint64_t bits) {
    __atomic_fetch_and(&executor->state, ~bits, __ATOMIC_ACQUIRE);
}

/* Turn EXECUTING into QUEUED, or QUEUED into EXECUTING. Returns what the word was
 * before. */
static inline uint64_t state_exchange_held(struct executor *executor) {
    return __atomic_fetch_xor(&executor->state, STATE_HELD, __ATOMIC_ACQ_REL);
}

static inline bool state_runnable(uint64_t state) {
    return (state & STATE_NOT_RUNNABLE) == 0;
}

/* Rule 2: must whoever changes the word to `state` queue the executor? */
static inline bool state_needs_queue(uint64_t state) {
    return (state & (STATE_NOT_RUNNABLE | STATE_HELD)) == 0;
}
