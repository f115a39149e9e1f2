/*
 * What we ask of the compiler.
 */
#pragma once

/* A function on a hot path that calls nothing but what is inlined, or only as
 * its last step: it needs no frame. A backtrace from below it skips its caller. */
#define LEAF __attribute__((optimize("omit-frame-pointer")))

/* A function on a hot path that has what it calls inlined: one frame in place of
 * several. */
#define FLAT __attribute__((flatten))

/*
 * The order of a compare-and-swap that must release what was written before.
 * gcc before 13 takes the order of the release fence from the wrong operand,
 * the order for failure, which can't be a release: only with both sequentially
 * consistent does it emit the fence. (GCC bugs 100265 and 100266.)
 */
#define CAS_ORDER __ATOMIC_SEQ_CST

#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
