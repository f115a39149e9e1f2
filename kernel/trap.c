/*
 * Traps from user mode: the kernel is a function from a trap to the executor
 * to resume.
 */
#include "trap.h"
#include "fault.h"
#include "interrupt.h"
#include "machine.h"
#include "reap.h"
#include "riscv/csr.h"
#include "scheduler.h"
#include "shootdown.h"
#include "state.h"
#include "timer.h"

/*
 * Who goes on, now that interrupts were served: `self` may have been stopped or
 * ended; or a quantum is over, whatever interrupt the trap was for, if the timer
 * has been set anew and is not at `timer_at` any more: that of `self`, unless its
 * turn only `begins`. The next one's quantum starts when it runs: if the way here
 * took long, its tick would be due before it has done anything, and where that
 * goes on nobody would.
 */
static struct executor *goes_on(struct executor *self, uint64_t timer_at, bool begins) {
    if (!state_runnable(state_load(self))) return scheduler_leave(self);
    if (this_hart()->timer_at == timer_at) return self;
    if (!begins) self = scheduler_yield(self);
    timer_renew();
    return self;
}

/* What is no interrupt is a fault: system calls don't come here. */
struct executor *trap(struct executor *self, uint64_t cause) {
    shootdown_withdraw(); /* which a hart that interrupts us may be waiting for */
    if (!(cause & CAUSE_INTERRUPT)) return fault(self, cause, csr_read(stval));
    uint64_t timer_at = this_hart()->timer_at;
    interrupt_serve();
    return goes_on(self, timer_at, false);
}

struct executor *trap_reap(struct executor *next) {
    shootdown_withdraw(); /* interrupts are served here, too */
    uint64_t timer_at = this_hart()->timer_at;
    reap_all();
    /* One that was dispatched in this trap has not had its turn yet: if it gave way
     * again, each second one would, at each tick, as long as there is to reap. */
    return goes_on(next, timer_at, this_hart()->switched);
}
