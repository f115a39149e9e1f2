/*
 * What we ask of the compiler.
 */
#pragma once

/* A function on a hot path that calls nothing, or only as its last step: it
 * needs no frame. A backtrace from below it skips its caller. */
#define LEAF __attribute__((optimize("omit-frame-pointer")))

#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
