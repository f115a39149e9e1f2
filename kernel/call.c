/*
 * System calls: the table of handlers, and those that only look up a handle
 * and pass it on.
 */
#include "call.h"
#include "compiler.h"
#include "console.h"
#include "park.h"
#include "scheduler.h"
#include "state.h"
#include "user_memory.h"

typedef struct executor *call_handler(struct executor *self);

/* There is no such call. */
LEAF static struct executor *call_unknown(struct executor *self) {
    return call_result(self, -ENOSYS);
}

static call_handler *const handlers[CALL_COUNT] = {
    [0] = call_unknown,
    [CALL_YIELD] = call_yield,
    [CALL_TERMINATE] = call_terminate,
    [CALL_MAP] = call_map,
    [CALL_UNMAP] = call_unmap,
    [CALL_SHARE] = call_share,
    [CALL_CREATE_SPACE] = call_create_space,
    [CALL_CREATE_EXECUTOR] = call_create_executor,
    [CALL_START] = call_start,
    [CALL_RESUME] = call_resume,
    [CALL_STOP] = call_stop,
    [CALL_DESTROY] = call_destroy,
    [CALL_SUPERVISE] = call_supervise,
    [CALL_INSPECT] = call_inspect,
    [CALL_PARK] = call_park,
    [CALL_PARK_IF] = call_park_if,
    [CALL_PARK_AND_SWAP] = call_park_and_swap,
    [CALL_UNPARK] = call_unpark,
    [CALL_CONSOLE_WRITE] = call_console_write,
    [CALL_CONSOLE_READ] = call_console_read,
};

LEAF struct executor *call_dispatch(struct executor *self) {
    uint64_t number = self->x[REG_A7];
    if (UNLIKELY(number >= CALL_COUNT)) return call_unknown(self);
    return handlers[number](self);
}

/* yield(): give up the hart to whoever waits for one. 0. */
LEAF struct executor *call_yield(struct executor *self) {
    return scheduler_yield(call_result(self, 0));
}

/* terminate(status): end this executor. Does not return. */
struct executor *call_terminate(struct executor *self) {
    /* Seen by whoever sees that it has come to rest: EXECUTING is cleared by a
     * release. */
    __atomic_store_n(&self->status, self->x[REG_A0], __ATOMIC_RELAXED);
    /* It is executing, here: scheduler_leave ends it. */
    if (executor_terminate(self)) panic("call: %p terminates, but does not execute", self);
    return scheduler_leave(self);
}

/* start(executor, pc, sp, arg): run a stopped executor from pc, with its stack
 * pointer at sp and arg in a0. 0, -EBADF, -EBUSY, -ESRCH. */
struct executor *call_start(struct executor *self) {
    struct executor *executor = call_executor(self, user(self->x[REG_A0]));
    if (executor == NULL) return call_result(self, -EBADF);
    int error =
        executor_start(executor, user(self->x[REG_A1]), user(self->x[REG_A2]), self->x[REG_A3]);
    executor_put(executor);
    return error == -EAGAIN ? call_again(self) : call_result(self, error);
}

/* Do `action` to the executor that the call names; its result is the call's. */
static struct executor *act_on_named(struct executor *self, int (*action)(struct executor *)) {
    struct executor *executor = call_executor(self, user(self->x[REG_A0]));
    if (executor == NULL) return call_result(self, -EBADF);
    int error = action(executor);
    executor_put(executor);
    return call_result(self, error);
}

/* resume(executor): let a stopped executor go on. 0, -EBADF, -EINVAL (it was
 * never started), -EBUSY (it is not stopped), -ESRCH. */
struct executor *call_resume(struct executor *self) {
    return act_on_named(self, executor_resume);
}

/* stop(executor): it comes to rest soon; at once if it is the caller. 0,
 * -EBADF, -ESRCH. */
struct executor *call_stop(struct executor *self) {
    self = act_on_named(self, executor_stop);
    return state_runnable(state_load(self)) ? self : scheduler_leave(self);
}

/*
 * supervise(executor, supervisor): from now on it is `supervisor` (0: nobody)
 * who gets EVENT_CHILD when the executor faults or ends. 0, -EBADF, -EINVAL (it
 * would supervise itself), -ESRCH.
 */
struct executor *call_supervise(struct executor *self) {
    struct executor *executor = call_executor(self, user(self->x[REG_A0]));
    struct executor *supervisor = call_executor(self, user(self->x[REG_A1]));
    int error = 0;
    if (executor == NULL || (supervisor == NULL && self->x[REG_A1] != 0)) {
        error = -EBADF;
    } else if (supervisor == executor) {
        error = -EINVAL;
    } else {
        /* executor_end takes the supervisor out under the lock, after
         * TERMINATED is set. */
        lock_acquire(&executor->lock, LOCK_EXECUTOR);
        if (state_load(executor) & STATE_TERMINATED) {
            error = -ESRCH;
        } else {
            struct executor *before = executor->supervisor;
            executor->supervisor = supervisor;
            supervisor = before;
        }
        lock_release(&executor->lock, LOCK_EXECUTOR);
    }
    if (supervisor != NULL) executor_put(supervisor);
    if (executor != NULL) executor_put(executor);
    return call_result(self, error);
}

/* inspect(executor, buffer): fill a struct executor_info. 0, -EBADF, -EFAULT. */
struct executor *call_inspect(struct executor *self) {
    struct executor *executor = call_executor(self, user(self->x[REG_A0]));
    if (executor == NULL) return call_result(self, -EBADF);
    struct executor_info info;
    executor_inspect(executor, &info);
    executor_put(executor);
    /* On its way to rest, or just being inspected or started: wait for that. */
    if ((info.state & STATE_EXECUTING) && !state_runnable(info.state)) return call_again(self);
    return call_result(self,
                       user_memory_write(self->space, user(self->x[REG_A1]), &info, sizeof(info)));
}

/* console_write(buffer, length): at most CONSOLE_WRITE_MAX bytes. The number
 * written, -EINVAL, -EFAULT. */
struct executor *call_console_write(struct executor *self) {
    char text[CONSOLE_WRITE_MAX];
    uint64_t length = self->x[REG_A1];
    if (length > sizeof(text)) return call_result(self, -EINVAL);
    int error = user_memory_read(self->space, text, user(self->x[REG_A0]), length);
    if (error == 0) console_write(text, length);
    return call_result(self, error != 0 ? error : (int64_t)length);
}

/* console_read(buffer, length): take keys that were pressed. How many, or
 * -EAGAIN, and the caller gets EVENT_CONSOLE when there are; -EINVAL, -EFAULT. */
struct executor *call_console_read(struct executor *self) {
    char text[CONSOLE_WRITE_MAX];
    user_t buffer = user(self->x[REG_A0]);
    uint64_t length = self->x[REG_A1];
    if (length == 0) return call_result(self, -EINVAL);
    length = length < sizeof(text) ? length : sizeof(text);
    /* Before keys are taken that could not be delivered. */
    int error = user_memory_check(self->space, buffer, length, PROT_WRITE);
    if (error != 0) return call_result(self, error);
    int64_t count = console_read(self, text, length);
    if (count > 0) error = user_memory_write(self->space, buffer, text, (uint64_t)count);
    return call_result(self, error != 0 ? error : count);
}
