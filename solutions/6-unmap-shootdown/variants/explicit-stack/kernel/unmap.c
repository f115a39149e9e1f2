/*
 * The call to unmap; the walks are in lab6.c, the file that may be added, and
 * keep the tables on their way in an array instead of on the stack. A slice is
 * a quarter of what it may be. In shootdown.c every return to user mode
 * flushes, fences and atomics are written in assembly, and harts are asked last
 * to first. exit.c clears `alive` by lr and sc; reap.c does one thing between
 * any two looks at interrupts, spaces first.
 */
#include "unmap.h"
#include "call.h"
#include "machine.h"

/* unmap(space, va, pages): whatever is mapped there, of any type; holes are
 * fine. 0, -EINVAL, -EBADF, -ESRCH. */
struct executor *call_unmap(struct executor *self) {
    uint64_t va = self->x[REG_A1], pages = self->x[REG_A2];
    if (!page_aligned(va) || va >= user_end() || pages == 0) return call_result(self, -EINVAL);
    if (pages > (user_end() - va) / PAGE_SIZE) return call_result(self, -EINVAL);
    struct space *space = call_space(self, user(self->x[REG_A0]));
    if (space == NULL) return call_result(self, -EBADF);
    uint64_t end = va + pages * PAGE_SIZE, at = va;
    int64_t result = -ESRCH;
    lock_acquire(&space->lock, LOCK_SPACE);
    if (space_alive(space)) {
        at = unmap_range(space, va, end);
        result = 0;
    }
    lock_release(&space->lock, LOCK_SPACE);
    space_put(space);
    if (result != 0 || at == end) return call_result(self, result);
    self->x[REG_A1] = at;
    self->x[REG_A2] = (end - at) / PAGE_SIZE;
    return call_again(self);
}
