/*
 * Formatted printing, a character at a time.
 */
#include "print.h"
#include "console.h"

static void print_string(const char *text, unsigned width) {
    for (; *text != 0 || width > 0; width -= width > 0) console_put(*text != 0 ? *text++ : ' ');
}

static void print_number(uint64_t number, unsigned base, unsigned width, char pad) {
    char digits[20];
    unsigned count = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number != 0);
    for (; width > count; width--) console_put(pad);
    while (count > 0) console_put(digits[--count]);
}

void vprint(const char *format, va_list arguments) {
    for (; *format != 0; format++) {
        if (*format != '%') {
            console_put(*format);
            continue;
        }
        format++;
        char pad = *format == '0' ? '0' : ' ';
        unsigned width = 0;
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (unsigned)(*format - '0');
        bool is_long = *format == 'l' || *format == 'p';
        if (*format == 'l') format++;
        if (*format == 's') {
            print_string(va_arg(arguments, const char *), width);
        } else if (*format == 'c') {
            console_put((char)va_arg(arguments, int));
        } else if (*format == 'd') {
            int64_t number = is_long ? va_arg(arguments, long) : va_arg(arguments, int);
            if (number < 0) console_put('-');
            print_number(number < 0 ? -(uint64_t)number : (uint64_t)number, 10, width, pad);
        } else if (*format == 'u' || *format == 'x' || *format == 'p') {
            if (*format == 'p') print_string("0x", 0);
            uint64_t number = is_long ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned);
            print_number(number, *format == 'u' ? 10 : 16, width, pad);
        } else {
            console_put(*format);
        }
    }
}

void print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprint(format, arguments);
    va_end(arguments);
}
