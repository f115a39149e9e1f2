/*
 * The platform-level interrupt controller.
 */
#include "plic.h"
#include "console.h"
#include "devicetree.h"

/* Offsets of registers, all 32 bits wide; the rest stand in plic.h. */
enum { PRIORITY = 0, ENABLE = 0x2000, ENABLE_STRIDE = 0x80 };

static volatile uint32_t *plic_register(uint64_t offset) {
    return (volatile uint32_t *)(machine_description.plic + offset);
}

void plic_init(void) {
    uint64_t interrupt = machine_description.uart_interrupt;
    uint64_t context = machine_description.plic_context;
    *plic_register(PRIORITY + 4 * interrupt) = 1;
    *plic_register(ENABLE + ENABLE_STRIDE * context + interrupt / 32 * 4) = 1u << interrupt % 32;
    *plic_register(PLIC_THRESHOLD + PLIC_STRIDE * context) = 0;
}

void plic_interrupt(void) {
    volatile uint32_t *claim =
        plic_register(PLIC_CLAIM + PLIC_STRIDE * machine_description.plic_context);
    for (uint32_t interrupt; (interrupt = *claim) != 0; *claim = interrupt) {
        if (interrupt == machine_description.uart_interrupt) console_interrupt();
    }
}
