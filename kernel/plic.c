/*
 * The platform-level interrupt controller.
 */
#include "plic.h"
#include "console.h"
#include "devicetree.h"
#include "machine.h"

/* Offsets of its registers, all 32 bits wide (PLIC specification, chapter 3). */
enum {
    PRIORITY = 0,
    ENABLE = 0x2000,
    ENABLE_STRIDE_SHIFT = 7,
    CONTEXT = 0x200000,
    CONTEXT_STRIDE_SHIFT = 12,
    THRESHOLD = 0,
    CLAIM = 4,
};

static volatile uint32_t *plic_register(uint64_t offset) {
    return (volatile uint32_t *)(machine_description.plic + offset);
}

static uint64_t context_offset(void) {
    uint64_t context = machine_description.plic_contexts[this_hart()->index];
    return CONTEXT + (context << CONTEXT_STRIDE_SHIFT);
}

void plic_init_hart(void) {
    if (this_hart()->index != 0) return;
    uint64_t interrupt = machine_description.uart_interrupt;
    uint64_t context = machine_description.plic_contexts[0];
    *plic_register(PRIORITY + 4 * interrupt) = 1;
    *plic_register(ENABLE + (context << ENABLE_STRIDE_SHIFT) + interrupt / 32 * 4) =
        1u << interrupt % 32;
    *plic_register(context_offset() + THRESHOLD) = 0;
}

void plic_interrupt(void) {
    volatile uint32_t *claim = plic_register(context_offset() + CLAIM);
    for (uint32_t interrupt; (interrupt = *claim) != 0; *claim = interrupt) {
        if (interrupt == machine_description.uart_interrupt) console_interrupt();
    }
}
