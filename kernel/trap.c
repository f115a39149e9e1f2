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
#include "state.h"
#include "timer.h"

/*
 * Interrupts are served; then the executor may have been stopped or ended, or
 * its quantum is over. The next one's quantum starts when it runs: if the way
 * through the scheduler took long, its tick would be due before it has done
 * anything, and where that goes on nobody would. All else is a fault: system
 * calls don't come here.
 */
struct executor *trap(struct executor *self, uint64_t cause) {
    if (!(cause & CAUSE_INTERRUPT)) return fault(self, cause, csr_read(stval));
    interrupt_serve();
    if (!state_runnable(state_load(self))) return scheduler_leave(self);
    if (cause == (CAUSE_INTERRUPT | INTERRUPT_TIMER)) {
        self = scheduler_yield(self);
        timer_renew();
    }
    return self;
}

struct executor *trap_reap(struct executor *next) {
    while (this_hart()->reap_due) {
        reap_all();
        if (!state_runnable(state_load(next))) next = scheduler_leave(next);
    }
    return next;
}
