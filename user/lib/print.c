/*
 * Formatted output, see print.h.
 *
 * The text goes byte by byte into a sink: a buffer, which is written to the
 * console whenever it is full if the sink is the console, and otherwise keeps
 * the beginning of the text and drops the rest.
 */
#include "print.h"
#include "call.h"
#include "string.h"
#include <stdbool.h>

struct sink {
    char *buffer;
    size_t size;
    size_t used;  /* bytes now in the buffer */
    size_t total; /* bytes of the text so far */
    bool console; /* flush when full; otherwise drop */
};

/* What stands between the % and the letter. */
struct field {
    size_t width;
    bool zeros; /* fill it with zeros, not with blanks */
    bool left;  /* flush left */
    bool wide;  /* a 64-bit number */
};

/* Write what is in the buffer to the console. Nothing can be done about an
 * error: there is nowhere to report it. */
static void sink_flush(struct sink *sink) {
    size_t written = 0;

    while (written < sink->used) {
        int64_t result = console_write(sink->buffer + written, sink->used - written);
        if (result <= 0) break;
        written += result;
    }
    sink->used = 0;
}

static void sink_put(struct sink *sink, char byte) {
    if (sink->used == sink->size && sink->console) sink_flush(sink);
    if (sink->used < sink->size) sink->buffer[sink->used++] = byte;
    sink->total++;
}

static void put_times(struct sink *sink, char byte, size_t times) {
    for (; times > 0; times--) sink_put(sink, byte);
}

/* Put a prefix and `length` bytes, padded to the width of the field: with
 * blanks before or after them, or with zeros between the two. */
static void put_padded(struct sink *sink, const struct field *field, const char *prefix,
                       const char *text, size_t length) {
    size_t used = strlen(prefix) + length;
    size_t padding = field->width > used ? field->width - used : 0;
    bool zeros = field->zeros && !field->left;

    if (!zeros && !field->left) put_times(sink, ' ', padding);
    while (*prefix != 0) sink_put(sink, *prefix++);
    if (zeros) put_times(sink, '0', padding);
    while (length-- > 0) sink_put(sink, *text++);
    if (field->left) put_times(sink, ' ', padding);
}

/* Put a number in base 10 or 16, after the prefix ("", "-" or "0x"). */
static void put_number(struct sink *sink, const struct field *field, uint64_t number, bool decimal,
                       const char *prefix) {
    char text[20]; /* as many digits as 2^64 - 1 has */
    size_t position = sizeof(text);

    /* From the last digit to the first. */
    do {
        uint64_t rest = decimal ? number / 10 : number >> 4;
        uint64_t digit = decimal ? number - rest * 10 : number & 15;
        text[--position] = "0123456789abcdef"[digit];
        number = rest;
    } while (number != 0);
    put_padded(sink, field, prefix, text + position, sizeof(text) - position);
}

/* Read flags, width and size of a field. Returns what follows them. */
static const char *parse_field(const char *format, struct field *field, va_list *arguments) {
    *field = (struct field){0};
    for (;; format++) {
        if (*format == '0')
            field->zeros = true;
        else if (*format == '-')
            field->left = true;
        else
            break;
    }
    if (*format == '*') {
        int width = va_arg(*arguments, int);
        if (width < 0) field->left = true;
        field->width = width < 0 ? -(size_t)width : (size_t)width;
        format++;
    }
    for (; *format >= '0' && *format <= '9'; format++)
        field->width = field->width * 10 + (*format - '0');
    for (; *format == 'l' || *format == 'z'; format++) field->wide = true;
    return format;
}

static void put_signed(struct sink *sink, const struct field *field, int64_t number) {
    if (number < 0)
        put_number(sink, field, -(uint64_t)number, true, "-");
    else
        put_number(sink, field, number, true, "");
}

/* Put one field, whose letter is `letter`. Returns false if that is not known. */
static bool put_field(struct sink *sink, const struct field *field, char letter,
                      va_list *arguments) {
    switch (letter) {
    case 'd':
    case 'i':
        put_signed(sink, field,
                   field->wide ? va_arg(*arguments, int64_t) : va_arg(*arguments, int));
        break;
    case 'u':
    case 'x':
        put_number(sink, field,
                   field->wide ? va_arg(*arguments, uint64_t) : va_arg(*arguments, unsigned),
                   letter == 'u', "");
        break;
    case 'p': put_number(sink, field, (uint64_t)va_arg(*arguments, void *), false, "0x"); break;
    case 's': {
        const char *string = va_arg(*arguments, const char *);
        if (string == 0) string = "(null)";
        put_padded(sink, field, "", string, strlen(string));
        break;
    }
    case 'c': {
        char byte = (char)va_arg(*arguments, int);
        put_padded(sink, field, "", &byte, 1);
        break;
    }
    case '%': sink_put(sink, '%'); break;
    default: return false;
    }
    return true;
}

static void sink_format(struct sink *sink, const char *format, va_list *arguments) {
    while (*format != 0) {
        if (*format != '%') {
            sink_put(sink, *format++);
            continue;
        }
        struct field field;
        format = parse_field(format + 1, &field, arguments);
        if (*format == 0) break;
        if (put_field(sink, &field, *format, arguments)) {
            format++;
            continue;
        }
        /* It may have an argument that we can't skip: show the rest as it is. */
        while (*format != 0) sink_put(sink, *format++);
    }
}

int vprintf(const char *format, va_list arguments) {
    char buffer[CONSOLE_WRITE_MAX];
    struct sink sink = {.buffer = buffer, .size = sizeof(buffer), .console = true};
    va_list copy; /* a parameter of this type can't portably be pointed to */

    va_copy(copy, arguments);
    sink_format(&sink, format, &copy);
    va_end(copy);
    sink_flush(&sink);
    return (int)sink.total;
}

int printf(const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    int total = vprintf(format, arguments);
    va_end(arguments);
    return total;
}

int vsnprintf(char *buffer, size_t size, const char *format, va_list arguments) {
    /* One byte is kept back for the zero. */
    struct sink sink = {.buffer = buffer, .size = size > 0 ? size - 1 : 0};
    va_list copy;

    va_copy(copy, arguments);
    sink_format(&sink, format, &copy);
    va_end(copy);
    if (size > 0) buffer[sink.used] = 0;
    return (int)sink.total;
}

int snprintf(char *buffer, size_t size, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    int total = vsnprintf(buffer, size, format, arguments);
    va_end(arguments);
    return total;
}
