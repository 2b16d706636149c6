/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable run of bytes with a limit and a sticky error.
 */
#include "base/buffer.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_FIRST 256

void buffer_free(struct buffer *b)
{
    free(b->data);
    b->data = NULL;
    b->size = b->room = 0;
    b->error = 0;
}

void buffer_clear(struct buffer *b)
{
    b->size = 0;
    b->error = 0;
}

/* Room for `size` more bytes and a zero; false, with the error set, if there is none.
 */
static bool buffer_reserve(struct buffer *b, size_t size)
{
    if (b->error)
        return false;
    size_t most = b->limit ? b->limit : SIZE_MAX / 2;
    if (size > most || b->size > most - size) {
        b->error = -EFBIG;
        return false;
    }
    size_t need = b->size + size + 1;
    if (need <= b->room)
        return true;
    size_t room = b->room > SIZE_MAX / 4 ? need : b->room * 2;
    if (room < BUFFER_FIRST)
        room = BUFFER_FIRST;
    if (room < need)
        room = need;
    char *data = realloc(b->data, room);
    if (!data) {
        b->error = -ENOMEM;
        return false;
    }
    b->data = data;
    b->room = room;
    return true;
}

void buffer_put(struct buffer *b, const void *bytes, size_t size)
{
    if (size == 0 || !buffer_reserve(b, size))
        return;
    memcpy(b->data + b->size, bytes, size);
    b->size += size;
}

void buffer_putc(struct buffer *b, char c)
{
    if (buffer_reserve(b, 1))
        b->data[b->size++] = c;
}

void buffer_puts(struct buffer *b, const char *text)
{
    buffer_put(b, text, strlen(text));
}

void buffer_put_uint(struct buffer *b, uint64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    buffer_put(b, digits + at, sizeof(digits) - at);
}

/* Mostly there is room: a second time only where there was not. */
void buffer_printf(struct buffer *b, const char *format, ...)
{
    if (!buffer_reserve(b, 0))
        return;
    size_t room = b->room - b->size;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(b->data + b->size, room, format, args);
    va_end(args);
    if (length < 0)
        b->error = -ENOMEM;
    if (length < 0 || !buffer_reserve(b, (size_t)length))
        return;
    if ((size_t)length >= room) {
        va_start(args, format);
        vsnprintf(b->data + b->size, (size_t)length + 1, format, args);
        va_end(args);
    }
    b->size += (size_t)length;
}

const char *buffer_text(struct buffer *b)
{
    if (!buffer_reserve(b, 0))
        return "";
    b->data[b->size] = 0;
    return b->data;
}

static void buffer_put_json_escape(struct buffer *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, c) : NULL;
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    if (at)
        text[1] = to[at - from];
    buffer_put(b, text, at ? 2 : 6);
}

void buffer_put_utf8(struct buffer *b, const char *text, size_t size)
{
    size_t clean = 0; /* text[clean..i) goes out as it is */
    for (size_t i = 0; i < size;) {
        size_t length = utf8_length(text + i, size - i);
        i += length;
        if (length > 0)
            continue;
        buffer_put(b, text + clean, i - clean);
        buffer_puts(b, "\xef\xbf\xbd");
        clean = ++i;
    }
    buffer_put(b, text + clean, size - clean);
}

void buffer_put_json_string(struct buffer *b, const char *text, size_t size)
{
    size_t clean = 0; /* text[clean..i) goes out as it is */
    buffer_putc(b, '"');
    for (size_t i = 0; i < size;) {
        unsigned char c = (unsigned char)text[i];
        size_t length = utf8_length(text + i, size - i);
        if (length > 0 && c >= 0x20 && c != '"' && c != '\\') {
            i += length;
            continue;
        }
        buffer_put(b, text + clean, i - clean);
        if (length > 0)
            buffer_put_json_escape(b, c);
        else
            buffer_puts(b, "\xef\xbf\xbd");
        clean = ++i;
    }
    buffer_put(b, text + clean, size - clean);
    buffer_putc(b, '"');
}

/* snprintf writes the locale's decimal point, which a plugin may have changed. */
static size_t normalize_point(char *text)
{
    size_t n = 0;
    bool point = false;
    for (const char *p = text; *p; p++) {
        if (strchr("0123456789+-e", *p))
            text[n++] = *p;
        else if (!point)
            text[n++] = '.', point = true;
    }
    return n;
}

void buffer_put_json_double(struct buffer *b, double v)
{
    char text[64];
    if (!isfinite(v)) {
        buffer_puts(b, "null");
        return;
    }
    /* 15 digits hold every decimal of up to 15; only subnormal numbers have less
     * precision. */
    int digits = fpclassify(v) == FP_SUBNORMAL ? 1 : 15;
    do
        snprintf(text, sizeof text, "%.*g", digits, v);
    while (++digits <= 17 && strtod(text, NULL) != v);
    buffer_put(b, text, normalize_point(text));
}
