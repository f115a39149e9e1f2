/*
 * Traps from user mode: the kernel is a function from a trap to the executor
 * to resume.
 */
#include "trap.h"
#include "call.h"
#include "fault.h"
#include "interrupt.h"
#include "machine.h"
#include "reap.h"
#include "riscv/csr.h"
#include "scheduler.h"
#include "shootdown.h"
#include "state.h"

/* Interrupts are served; then the executor may have been stopped or ended, or
 * its quantum is over. */
static struct executor *interrupted(struct executor *self, uint64_t cause)
{
    interrupt_serve();
    if (!state_runnable(state_load(self)))
        return scheduler_leave(self);
    return cause == (CAUSE_INTERRUPT | INTERRUPT_TIMER) ? scheduler_yield(self) : self;
}

struct executor *trap(struct executor *self, uint64_t cause)
{
    shootdown_withdraw(self->space);
    struct executor *next;
    if (cause == CAUSE_ECALL_USER) {
        self->pc += 4;
        next = call_dispatch(self);
    } else if (cause & CAUSE_INTERRUPT) {
        next = interrupted(self, cause);
    } else {
        next = fault(self, cause, csr_read(stval));
    }
    return trap_prepare(next);
}

struct executor *trap_prepare(struct executor *next)
{
    while (this_hart()->reap_due) {
        reap_all();
        /* It has served interrupts, one of which may have been meant to stop
         * or end `next`. */
        if (!state_runnable(state_load(next)))
            next = scheduler_leave(next);
    }
    shootdown_publish(next->space);
    return next;
}
