/*
 * Functions in assembly: from FUNCTION(name), or PRIVATE_FUNCTION(name) if only
 * its own file calls it, to END(name). Type and size are for backtraces and for
 * debuggers; the address of a trap handler must be aligned to fit into stvec.
 */
#pragma once

/* clang-format off */ /* it would take this for C */
#define FUNCTION(name)         .globl name; PRIVATE_FUNCTION(name)
#define PRIVATE_FUNCTION(name) .type name, @function; .balign 4; name:
#define END(name)              .size name, . - name
