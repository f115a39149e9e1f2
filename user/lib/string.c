/*
 * Bytes and strings, see string.h.
 *
 * gcc knows what a loop that fills or copies memory looks like and replaces
 * it by a call of memset or memcpy. Inside those two that would be a call of
 * themselves without end: PLAIN_LOOPS forbids it.
 */
#include "string.h"

#define PLAIN_LOOPS __attribute__((optimize("no-tree-loop-distribute-patterns")))

/* Both addresses can be used for 8-byte accesses. The machine may trap and
 * emulate misaligned ones, which is slow. */
static bool both_aligned(const void *one, const void *other) {
    return (((uintptr_t)one | (uintptr_t)other) & 7) == 0;
}

/* A word that may alias anything. */
typedef uint64_t __attribute__((may_alias)) any_word;

PLAIN_LOOPS void *memcpy(void *to, const void *from, size_t count) {
    char *put = to;
    const char *get = from;

    if (both_aligned(to, from)) {
        for (; count >= 8; count -= 8) {
            *(any_word *)put = *(const any_word *)get;
            put += 8;
            get += 8;
        }
    }
    for (; count > 0; count--) *put++ = *get++;
    return to;
}

PLAIN_LOOPS void *memmove(void *to, const void *from, size_t count) {
    /* As unsigned numbers: true if `to` is below `from`, or past its end. Our
     * memcpy goes upwards, so it may be below. */
    if ((uintptr_t)to - (uintptr_t)from >= count) return memcpy(to, from, count);

    /* Last byte first, so that no byte is overwritten before it is read. */
    char *put = to;
    const char *get = from;
    while (count-- > 0) put[count] = get[count];
    return to;
}

PLAIN_LOOPS void *memset(void *to, int value, size_t count) {
    char *put = to;
    uint64_t word = (unsigned char)value;
    word |= word << 8;
    word |= word << 16;
    word |= word << 32;

    if (both_aligned(to, to)) {
        for (; count >= 8; count -= 8) {
            *(any_word *)put = word;
            put += 8;
        }
    }
    for (; count > 0; count--) *put++ = (char)value;
    return to;
}

int memcmp(const void *one, const void *other, size_t count) {
    const unsigned char *left = one;
    const unsigned char *right = other;

    for (size_t i = 0; i < count; i++) {
        if (left[i] != right[i]) return left[i] - right[i];
    }
    return 0;
}

PLAIN_LOOPS size_t strlen(const char *string) {
    size_t length = 0;

    while (string[length] != 0) length++;
    return length;
}

int strcmp(const char *one, const char *other) {
    while (*one != 0 && *one == *other) {
        one++;
        other++;
    }
    return (unsigned char)*one - (unsigned char)*other;
}

char *strchr(const char *string, int wanted) {
    for (;; string++) {
        if (*string == (char)wanted) return (char *)string;
        if (*string == 0) return 0;
    }
}

size_t string_copy(char *to, const char *from, size_t size) {
    size_t length = strlen(from);
    size_t copied = length < size ? length : size - 1;

    memcpy(to, from, copied);
    to[copied] = 0;
    return length;
}

/* The value of a digit, or 16 if it is none. */
static uint64_t digit_value(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return 16;
}

bool string_number(const char *string, int64_t *value) {
    bool negative = *string == '-';
    uint64_t base = 10;
    uint64_t number = 0;

    if (negative) string++;
    if (string[0] == '0' && (string[1] == 'x' || string[1] == 'X')) {
        base = 16;
        string += 2;
    }
    if (*string == 0) return false;
    for (; *string != 0; string++) {
        uint64_t digit = digit_value(*string);
        if (digit >= base) return false;
        if (number > (~0ul - digit) / base) return false;
        number = number * base + digit;
    }
    if (negative && number > 1ul << 63) return false;
    *value = (int64_t)(negative ? -number : number);
    return true;
}
