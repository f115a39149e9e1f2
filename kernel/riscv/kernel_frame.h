/*
 * What a trap taken in the kernel, which is a bug, leaves for the panic.
 */
#pragma once
#include <stdint.h>

struct kernel_frame {
    uint64_t pc;
    uint64_t x[31];   /* x1 … x31 */
    uint64_t cause;   /* scause */
    uint64_t address; /* stval */
};
