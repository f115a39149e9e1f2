/*
 * Stands in for kernel/riscv/csr.h: its constants, with registers and fences
 * of the model in place of instructions (model.c, tlb.c).
 */
#pragma once

/* The real header's functions hold instructions; unused, none is emitted. */
#define sfence_vma_all  instruction_sfence_vma_all
#define sfence_vma_asid instruction_sfence_vma_asid
#define sfence_vma_page instruction_sfence_vma_page
#define fence_i         instruction_fence_i
#define fence_io        instruction_fence_io
#include "riscv/real_csr.h"
#undef sfence_vma_all
#undef sfence_vma_asid
#undef sfence_vma_page
#undef fence_i
#undef fence_io
#undef csr_read
#undef csr_write
#undef csr_clear

#define csr_read(name)         model_read_##name()
#define csr_write(name, value) model_write_##name(value)
#define csr_clear(name, bits)  model_clear_##name(bits)

uint64_t model_read_sip(void);
void model_clear_sip(uint64_t bits);
void model_write_sie(uint64_t bits);
uint64_t model_read_satp(void);
void model_write_satp(uint64_t value);
uint64_t model_read_stval(void);

void sfence_vma_all(void);
void sfence_vma_asid(uint64_t asid);
void sfence_vma_page(uint64_t va, uint64_t asid);
void fence_i(void);
void fence_io(void);
