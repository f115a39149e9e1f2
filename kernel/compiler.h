/*
 * What we ask of the compiler.
 */
#pragma once

/* A function on a hot path, without a frame pointer: most of these call nothing but
 * what is inlined, or only as their last step, and need no frame at all. A backtrace
 * from below it skips its caller, or ends there. */
#define LEAF __attribute__((optimize("omit-frame-pointer")))

/*
 * The order of a compare-and-swap that must release what was written before.
 * gcc before 13 takes the order of the release fence from the wrong operand,
 * the order for failure, which can't be a release: only with both sequentially
 * consistent does it emit the fence. (GCC bugs 100265 and 100266.)
 */
#define CAS_ORDER __ATOMIC_SEQ_CST

#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
