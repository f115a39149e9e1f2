/*
 * Printing from the kernel, from its first instruction on: through the
 * firmware until the UART is known.
 *
 * Knows %d %u %x with l, %lu %lx %ld, %p, %s, %c, %% and a width with 0.
 */
#pragma once
#include <stdarg.h>

__attribute__((format(printf, 1, 2))) void print(const char *format, ...);
void vprint(const char *format, va_list arguments);
