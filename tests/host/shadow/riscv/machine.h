/*
 * Stands in for kernel/riscv/machine.h: harts are threads of the host, and who
 * a thread is stands in a variable of its own. (The model: model.h.)
 */
#pragma once
#include "global.h"
#include "hart.h"
#include <stdint.h>

extern _Thread_local struct hart *model_hart;

static inline struct global *global(void) {
    return &global_page;
}

static inline struct hart *this_hart(void) {
    return model_hart;
}

/* model.c, memory.c */
void machine_relax(void);
void machine_wait(void);
uint64_t machine_time(void);
void page_zero(void *page);
void blocks_zero(void *start, uint64_t size);
void page_copy(void *to, const void *from);
