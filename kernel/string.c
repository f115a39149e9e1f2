/*
 * Memory and strings. Nothing here is on a hot path: whole pages are cleared
 * and copied by riscv/string.S.
 */
#include "string.h"
#include <stdint.h>

/* The compiler must not turn these loops into calls of the functions they
 * are. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")

void *memcpy(void *to, const void *from, size_t size) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((((uintptr_t)to | (uintptr_t)from) & 7) == 0) {
        for (; size >= 8; size -= 8, target += 8, source += 8)
            *(uint64_t *)target = *(const uint64_t *)source;
    }
    while (size-- > 0) *target++ = *source++;
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if (target <= source) return memcpy(to, from, size);
    while (size-- > 0) target[size] = source[size];
    return to;
}

void *memset(void *to, int value, size_t size) {
    uint8_t *target = to;
    while (size-- > 0) *target++ = (uint8_t)value;
    return to;
}

int memcmp(const void *one, const void *other, size_t size) {
    const uint8_t *a = one, *b = other;
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) return a[i] - b[i];
    }
    return 0;
}

bool string_equal(const char *one, const char *other) {
    while (*one != 0 && *one == *other) one++, other++;
    return *one == *other;
}

void string_copy(char *to, const char *from, size_t size) {
    for (; size > 1 && *from != 0; size--) *to++ = *from++;
    *to = 0;
}
