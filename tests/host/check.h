/*
 * What a stress run holds to be true.
 */
#pragma once

/* A failure of what is tried, or of a check: says so and aborts. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) fail(__VA_ARGS__);                                                       \
    } while (0)
