/*
 * Stands in for kernel/string.h.
 *
 * The kernel copies a program's memory while other executors of the program
 * may write to it. That is a race of the program with itself, which gets what
 * it deserves; the kernel trusts nothing that it reads there twice. So that
 * ThreadSanitizer does not report it as a race of the kernel, this memcpy is
 * made of relaxed atomic steps. Races with those who clear or free the page
 * are reported as ever.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define memcpy model_copy

void *model_copy(void *restrict to, const void *restrict from, size_t size);
void string_copy(char *to, const char *from, size_t size);
