/*
 * The UART: 8-bit registers, one byte apart (16550 data sheet).
 */
#include "uart.h"
#include "devicetree.h"
#include "machine.h"

enum { DATA = 0, INTERRUPT_ENABLE = 1, FIFO_CONTROL = 2, LINE_STATUS = 5 }; /* registers */
enum { INTERRUPT_ON_RECEIVE = 1, FIFO_ENABLE_AND_CLEAR = 7 };
enum { LINE_RECEIVED = 1, LINE_CAN_SEND = 0x20 };

static volatile uint8_t *uart_register(unsigned offset) {
    return (volatile uint8_t *)(machine_description.uart + offset);
}

void uart_init(void) {
    *uart_register(FIFO_CONTROL) = FIFO_ENABLE_AND_CLEAR;
    *uart_register(INTERRUPT_ENABLE) = INTERRUPT_ON_RECEIVE;
}

void uart_put(char c) {
    while (!(*uart_register(LINE_STATUS) & LINE_CAN_SEND)) machine_relax();
    *uart_register(DATA) = (uint8_t)c;
}

bool uart_get(char *c) {
    if (!(*uart_register(LINE_STATUS) & LINE_RECEIVED)) return false;
    *c = (char)*uart_register(DATA);
    return true;
}
