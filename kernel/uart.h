/*
 * The UART (ns16550a), mapped at its physical address.
 */
#pragma once
#include <stdbool.h>

/* Receive with interrupts. The device must be mapped. */
void uart_init(void);

/* Send one character; waits until there is room. */
void uart_put(char c);

/* Take a received character. False if there is none. */
bool uart_get(char *c);
