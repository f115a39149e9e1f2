/*
 * Handles: looked up in the caller's own page table.
 */
#include "handle.h"
#include "call.h"
#include "exit.h"
#include "machine.h"
#include "map.h"
#include "riscv/page_table.h"
#include "scheduler.h"

/* The page behind the handle at `va`, 0 if none of this type stands there. */
static void *object_at(struct space *space, user_t va, pte_t type) {
    if (va.raw >= user_end() || !page_aligned(va.raw)) return NULL;
    const pte_t *entry = page_table_walk(space->root, va.raw);
    if (entry == NULL) return NULL;
    pte_t pte = pte_load(entry);
    /* All bits of the type: PTE_SPACE has that of PTE_EXECUTOR too. */
    if ((pte & (PTE_V | PTE_U | PTE_TYPE)) != (PTE_V | type)) return NULL;
    return pte_page(pte);
}

struct executor *handle_executor(struct space *space, user_t va) {
    return object_at(space, va, PTE_EXECUTOR);
}

struct space *handle_space(struct space *space, user_t va) {
    return object_at(space, va, PTE_SPACE);
}

struct space *call_space(struct executor *self, user_t va) {
    struct space *own = self->space;
    if (va.raw == 0) {
        space_get(own);
        return own;
    }
    lock_acquire(&own->lock, LOCK_SPACE);
    struct space *found = handle_space(own, va);
    if (found != NULL) space_get(found); /* while the lock keeps the handle's reference */
    lock_release(&own->lock, LOCK_SPACE);
    return found;
}

struct executor *call_executor(struct executor *self, user_t va) {
    struct space *own = self->space;
    lock_acquire(&own->lock, LOCK_SPACE);
    struct executor *found = handle_executor(own, va);
    if (found != NULL) executor_get(found);
    lock_release(&own->lock, LOCK_SPACE);
    return found;
}

/* create_space(va): a new address space, its handle at va. 0, -EINVAL,
 * -EEXIST, -ENOMEM. */
struct executor *call_create_space(struct executor *self) {
    user_t va = user(self->x[REG_A0]);
    if (!map_range_valid(va.raw, 1)) return call_result(self, -EINVAL);
    struct space *space;
    int error = space_create(&space);
    if (error != 0) return call_result(self, error);
    error = map_page(self->space, va, phys_from_linear(space), PTE_SPACE | PTE_R | PTE_W);
    if (error != 0) space_put(space); /* the last: nobody has seen it */
    return call_result(self, error);
}

/* create_executor(space, va): a new executor in `space`, stopped, its handle
 * at va in the caller's space. 0, -EINVAL, -EBADF, -EEXIST, -ESRCH, -ENOMEM. */
struct executor *call_create_executor(struct executor *self) {
    user_t va = user(self->x[REG_A1]);
    if (!map_range_valid(va.raw, 1)) return call_result(self, -EINVAL);
    struct space *space = call_space(self, user(self->x[REG_A0]));
    if (space == NULL) return call_result(self, -EBADF);
    struct executor *executor;
    int error = executor_create(space, &executor);
    if (error == 0) {
        error = map_page(self->space, va, phys_from_linear(executor), PTE_EXECUTOR | PTE_R | PTE_W);
        if (error != 0) executor_put(executor);
    }
    space_put(space);
    return call_result(self, error);
}

/* destroy(space): end a process from outside. 0, -EBADF, -ESRCH if it has
 * ended. */
struct executor *call_destroy(struct executor *self) {
    struct space *space = call_space(self, user(self->x[REG_A0]));
    if (space == NULL) return call_result(self, -EBADF);
    /* Two that destroy it at the same time may both have ended it. */
    bool alive = space_alive(space);
    if (alive) space_exit(space);
    space_put(space);
    self = call_result(self, alive ? 0 : -ESRCH);
    /* It may have been our own, by whatever name: then we have been ended. */
    return space_alive(self->space) ? self : scheduler_leave(self);
}
