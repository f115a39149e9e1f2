/*
 * Memory of any size: malloc and free, with the standard meaning.
 */
#pragma once
#include <stddef.h>

/* At least `size` bytes at an address that is a multiple of 16, or 0 if there
 * is no memory left. Contents unknown. Any thread. */
[[nodiscard]] void *malloc(size_t size);

/* As malloc, for `count` things of `size` bytes, all zero. */
[[nodiscard]] void *calloc(size_t count, size_t size);

/* Give back what malloc or calloc returned; 0 is ignored. Any thread. */
void free(void *memory);
