/*
 * Bytes and strings: what programs need of the standard library's <string.h>,
 * with the standard meaning. The compiler itself calls the four mem functions.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copy `count` bytes between places that do not overlap. Returns `to`. */
void *memcpy(void *to, const void *from, size_t count);

/* Copy `count` bytes between places that may overlap. Returns `to`. */
void *memmove(void *to, const void *from, size_t count);

/* Fill `count` bytes with the low byte of `value`. Returns `to`. */
void *memset(void *to, int value, size_t count);

/* Less than, equal to or greater than zero, as the first bytes that differ. */
int memcmp(const void *one, const void *other, size_t count);

/* Bytes before the terminating zero. */
size_t strlen(const char *string);

/* As memcmp, for strings that end with a zero. */
int strcmp(const char *one, const char *other);

/* The first `wanted` in the string, or 0. */
char *strchr(const char *string, int wanted);

/* Copy a string into `size` bytes, cut if it must be, always with its zero.
 * Returns the length of `from`. `size` is not 0. */
size_t string_copy(char *to, const char *from, size_t size);

/*
 * Read a whole string as a number, decimal or, after 0x, hexadecimal, with an
 * optional minus sign. Returns false, and leaves `*value`, if it isn't one or
 * has more than 64 bits.
 */
bool string_number(const char *string, int64_t *value);
