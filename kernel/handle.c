/*
 * Handles: looked up in the caller's own page table.
 */
#include "handle.h"
#include "call.h"
#include "exit.h"
#include "map.h"
#include "riscv/page_table.h"
#include "scheduler.h"

/* The page of the object of this type at `va`, 0 if there is none. */
static void *handle_look_up(struct space *space, user_t va, uint64_t type) {
    if (!page_aligned(va.raw) || va.raw >= user_end()) return NULL;
    pte_t pte = page_table_load(space->root, va.raw);
    if ((pte & (PTE_V | PTE_TYPE)) != (PTE_V | type)) return NULL;
    return pte_page(pte);
}

struct executor *handle_executor(struct space *space, user_t va) {
    return handle_look_up(space, va, PTE_EXECUTOR);
}

struct space *handle_space(struct space *space, user_t va) {
    return handle_look_up(space, va, PTE_SPACE);
}

struct space *call_space(struct executor *self, user_t va) {
    struct space *space = self->space;
    if (va.raw == 0) {
        space_get(space);
        return space;
    }
    lock_acquire(&self->space->lock, LOCK_SPACE);
    space = handle_space(self->space, va);
    if (space != NULL) space_get(space);
    lock_release(&self->space->lock, LOCK_SPACE);
    return space;
}

struct executor *call_executor(struct executor *self, user_t va) {
    struct executor *executor = handle_remembered(va);
    if (executor != NULL) {
        executor_get(executor);
        return executor;
    }
    lock_acquire(&self->space->lock, LOCK_SPACE);
    executor = handle_executor(self->space, va);
    handle_remember(self->space, va, executor);
    if (executor != NULL) executor_get(executor);
    lock_release(&self->space->lock, LOCK_SPACE);
    return executor;
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
    if (error != 0) space_put(space);
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
    space_put(space);
    if (error != 0) return call_result(self, error);
    error = map_page(self->space, va, phys_from_linear(executor), PTE_EXECUTOR | PTE_R | PTE_W);
    if (error == 0) handle_remember(self->space, va, executor);
    if (error != 0) executor_put(executor);
    return call_result(self, error);
}

/* destroy(space): end a process from outside. 0, -EBADF, -ESRCH if it has
 * ended. */
struct executor *call_destroy(struct executor *self) {
    struct space *space = call_space(self, user(self->x[REG_A0]));
    if (space == NULL) return call_result(self, -EBADF);
    bool alive = space_alive(space);
    space_exit(space);
    space_put(space);
    self = call_result(self, alive ? 0 : -ESRCH);
    /* It may have been our own. */
    return space_alive(self->space) ? self : scheduler_leave(self);
}
