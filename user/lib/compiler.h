/*
 * What has to be said to the compiler.
 */
#pragma once

/*
 * The order of a compare-and-swap that must release what was written before,
 * for success and for failure.
 *
 * gcc before 13 takes the order of the release fence from the wrong operand,
 * the order for failure, which can't be a release: only with both sequentially
 * consistent does it emit the fence. (GCC bugs 100265 and 100266.)
 *
 * One that only acquires must say so for failure too: that order is what the lr
 * gets, and the aq of the sc orders nothing (unprivileged manual,
 * Load-Reserved/Store-Conditional).
 */
#define CAS_ORDER __ATOMIC_SEQ_CST
