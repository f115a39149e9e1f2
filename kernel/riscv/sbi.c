/*
 * Calls to the firmware: extension in a7, function in a6, arguments from a0;
 * error comes back in a0, and in a1 a value, which no call here has a use for.
 * (SBI chapter 3.)
 */
#include "riscv/sbi.h"

/* Extensions, and a function. */
enum { SBI_LEGACY_PUT = 0x01, SBI_TIME = 0x54494d45, SBI_IPI = 0x735049, SBI_HSM = 0x48534d };
enum { SBI_RESET = 0x53525354, SBI_DEBUG_CONSOLE = 0x4442434e, SBI_WRITE_BYTE = 2 };

/* Returns 0 or a negative error. */
static int64_t sbi_call(uint64_t extension, uint64_t function, uint64_t arg0, uint64_t arg1) {
    register uint64_t a0 __asm__("a0") = arg0;
    register uint64_t a1 __asm__("a1") = arg1;
    register uint64_t a6 __asm__("a6") = function;
    register uint64_t a7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a6), "r"(a7) : "memory");
    return (int64_t)a0;
}

void sbi_put(char c) {
    if (sbi_call(SBI_DEBUG_CONSOLE, SBI_WRITE_BYTE, (uint8_t)c, 0) != 0)
        sbi_call(SBI_LEGACY_PUT, 0, (uint8_t)c, 0);
}

int64_t sbi_hart_start(uint64_t hart_id, phys_t entry) {
    return sbi_call(SBI_HSM, 0, hart_id, entry.raw);
}

void sbi_set_timer(uint64_t at) {
    sbi_call(SBI_TIME, 0, at, 0);
}

void sbi_send_ipi(uint64_t hart_id) {
    sbi_call(SBI_IPI, 0, 1, hart_id);
}

void sbi_shutdown(void) {
    sbi_call(SBI_RESET, 0, 0, 0);
}
