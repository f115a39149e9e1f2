/*
 * What the kernel needs of the C library: the four functions that the compiler
 * may call, and a few for strings.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *one, const void *other, size_t size);
bool string_equal(const char *one, const char *other);

/* Copy at most size - 1 bytes, and always end with 0. */
void string_copy(char *to, const char *from, size_t size);
