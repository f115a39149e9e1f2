/*
 * Formatted output.
 *
 * Known are %d %i %u %x %c %s %p %%, with `l` or `z` for 64-bit numbers, a width
 * (`*` too), zero padding, and `-` for flush left. There is no precision and
 * no floating point: what follows an unknown letter is not formatted.
 *
 * What one printf writes reaches the console in pieces of CONSOLE_WRITE_MAX
 * bytes; lines shorter than that are never mixed with another program's.
 */
#pragma once
#include <stdarg.h>
#include <stddef.h>

/* Write to the console. Returns the number of bytes of the whole text. */
__attribute__((format(printf, 1, 2))) int printf(const char *format, ...);
int vprintf(const char *format, va_list arguments);

/* Write into `size` bytes, cut if it must be, with a zero at the end unless
 * `size` is 0. Returns the number of bytes of the whole text, without it. */
__attribute__((format(printf, 3, 4))) int snprintf(char *buffer, size_t size, const char *format,
                                                   ...);
int vsnprintf(char *buffer, size_t size, const char *format, va_list arguments);
