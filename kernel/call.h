/*
 * System calls: what their handlers share.
 *
 * A handler takes the executor that made the call, whose registers are saved
 * in its page and whose pc is past the ecall, and returns the one to resume.
 * It checks all arguments before it changes anything.
 */
#pragma once
#include "executor.h"
#include "space.h"

/* The call's result is `result`; the caller goes on. */
static inline struct executor *call_result(struct executor *self, int64_t result) {
    self->x[REG_A0] = (uint64_t)result;
    return self;
}

/* The call is made again, with the arguments as they now stand in the
 * registers, after pending interrupts. */
static inline struct executor *call_again(struct executor *self) {
    self->pc -= 4;
    return self;
}

/* The call that `self` has made. */
struct executor *call_dispatch(struct executor *self);

/* The space that a call's argument names: 0 is the caller's own. With a
 * reference for the caller of this; 0 if there is none. */
struct space *call_space(struct executor *self, user_t va);

/* The executor that a call's argument names, with a reference; 0 if none. */
struct executor *call_executor(struct executor *self, user_t va);

/* The handlers. Arguments, results and errors stand above each. */
struct executor *call_yield(struct executor *self);           /* call.c */
struct executor *call_terminate(struct executor *self);       /* call.c */
struct executor *call_map(struct executor *self);             /* map.c */
struct executor *call_unmap(struct executor *self);           /* unmap.c */
struct executor *call_share(struct executor *self);           /* map.c */
struct executor *call_create_space(struct executor *self);    /* handle.c */
struct executor *call_create_executor(struct executor *self); /* handle.c */
struct executor *call_start(struct executor *self);           /* call.c */
struct executor *call_resume(struct executor *self);          /* call.c */
struct executor *call_stop(struct executor *self);            /* call.c */
struct executor *call_destroy(struct executor *self);         /* handle.c */
struct executor *call_supervise(struct executor *self);       /* call.c */
struct executor *call_inspect(struct executor *self);         /* call.c */
struct executor *call_park(struct executor *self);            /* park.c */
struct executor *call_park_if(struct executor *self);         /* park.c */
struct executor *call_park_and_swap(struct executor *self);   /* park.c */
struct executor *call_unpark(struct executor *self);          /* park.c */
struct executor *call_console_write(struct executor *self);   /* call.c */
struct executor *call_console_read(struct executor *self);    /* call.c */
