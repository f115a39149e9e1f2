/*
 * The console: characters out, keys in. The last executor that asked for keys
 * is told by EVENT_CONSOLE when more come.
 */
#pragma once
#include "executor.h"
#include <stdint.h>

/* Print one character for the kernel: no lock, so that a panic can. */
void console_put(char c);

/* Print a program's characters, without others' between them; not beside a panic. */
void console_write(const char *text, uint64_t length);

/* Take up to `length` keys, and make `reader` the one who is told of the next.
 * Returns how many, or -EAGAIN. */
int64_t console_read(struct executor *reader, char *buffer, uint64_t length);

/* An executor that ends waits for keys no more. */
void console_forget(struct executor *reader);

/* The UART has keys. */
void console_interrupt(void);
