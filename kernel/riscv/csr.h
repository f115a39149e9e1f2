/*
 * Control and status registers, and the fences that go with them. Each is
 * volatile and clobbers memory: none may move against a load or a store.
 * Privileged manual, chapters 9 to 11.
 */
#pragma once
#include <stdint.h>

#define CAUSE_INTERRUPT (1ul << 63)

#define INTERRUPT_SOFTWARE 1
#define INTERRUPT_TIMER    5
#define INTERRUPT_EXTERNAL 9

#define SIE_SOFTWARE (1ul << INTERRUPT_SOFTWARE)
#define SIE_TIMER    (1ul << INTERRUPT_TIMER)
#define SIE_EXTERNAL (1ul << INTERRUPT_EXTERNAL)

/* Fields of sstatus. */
#define SSTATUS_SIE  (1ul << 1)  /* interrupts in the kernel */
#define SSTATUS_SPIE (1ul << 5)  /* … after sret */
#define SSTATUS_SPP  (1ul << 8)  /* where sret goes: 0 is user mode */
#define SSTATUS_VS   (3ul << 9)  /* 0: vector instructions are illegal */
#define SSTATUS_FS   (3ul << 13) /* 0: floating-point instructions are illegal */
#define SSTATUS_SUM  (1ul << 18) /* kernel accesses to user pages */
#define SSTATUS_MXR  (1ul << 19) /* loads from executable pages */

#define CAUSE_ILLEGAL          2
#define CAUSE_ECALL_USER       8
#define CAUSE_FETCH_PAGE_FAULT 12
#define CAUSE_LOAD_PAGE_FAULT  13
#define CAUSE_STORE_PAGE_FAULT 15

#define SATP_MODE_SV39  (8ul << 60)
#define SATP_MODE_SV48  (9ul << 60)
#define SATP_ASID_SHIFT 44

#define csr_read(name)                                                                             \
    ({                                                                                             \
        uint64_t value_;                                                                           \
        __asm__ volatile("csrr %0, " #name : "=r"(value_)::"memory");                              \
        value_;                                                                                    \
    })

#define csr_write(name, value)                                                                     \
    __asm__ volatile("csrw " #name ", %0" ::"rK"((uint64_t)(value)) : "memory")

#define csr_clear(name, bits)                                                                      \
    __asm__ volatile("csrc " #name ", %0" ::"rK"((uint64_t)(bits)) : "memory")

/* Everything this hart has cached of translations, of all address spaces. */
static inline void sfence_vma_all(void) {
    __asm__ volatile("sfence.vma zero, zero" ::: "memory");
}

/* All translations of one address space (not the global ones). */
static inline void sfence_vma_asid(uint64_t asid) {
    __asm__ volatile("sfence.vma zero, %0" ::"r"(asid) : "memory");
}

/* The leaf for one page in one address space. What is remembered of the tables on
 * the way to it may stay. */
static inline void sfence_vma_page(uint64_t va, uint64_t asid) {
    __asm__ volatile("sfence.vma %0, %1" ::"r"(va), "r"(asid) : "memory");
}

/* Code written to memory is what this hart fetches from here on. */
static inline void fence_i(void) {
    __asm__ volatile("fence.i" ::: "memory");
}

/* Memory and device accesses, and CSR accesses, before against after. */
static inline void fence_io(void) {
    __asm__ volatile("fence iorw, iorw" ::: "memory");
}
