/*
 * What is left to write. No kernel that is complete calls any of this.
 */
#pragma once

/* A function that stops does nothing with its parameters. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/*
 * `function` is a student's to write: says so in one line, with the section of
 * the handout to read, and powers off. Works from the first instruction in C
 * on, with the MMU off too. Of several harts, the first speaks.
 */
__attribute__((noreturn, cold, noinline)) void lab_todo(unsigned lab, unsigned exercise,
                                                        const char *function);

/* The kernel has come as far as this lab goes: says so, and powers off. */
__attribute__((noreturn, cold, noinline)) void lab_done(unsigned lab);
