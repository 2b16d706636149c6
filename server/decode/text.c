/* SPDX-License-Identifier: Apache-2.0
 *
 * Strings that are not plain: escapes (RFC 8259, section 7), UTF-8, great length.
 */
#include "decode/text.h"

#include "base/utf8.h"

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const char *p)
{
    int32_t v = 0;
    for (unsigned i = 0; i < 4; i++) {
        char c = p[i];
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            v = v * 16 + ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return v;
}

static bool is_high_surrogate(int32_t u)
{
    return u >= 0xd800 && u < 0xdc00;
}

static bool is_low_surrogate(int32_t u)
{
    return u >= 0xdc00 && u < 0xe000;
}

/* The escape at p (a backslash): what follows it, or NULL with a fault. */
static const char *check_escape(struct record *r, const char *p)
{
    if (p[1] != 'u') {
        if (p[1] != '\0' && strchr("\"\\/bfnrt", p[1]))
            return p + 2;
        return record_fault(r, p, DECODE_SYNTAX, "unknown escape in a string");
    }
    int32_t u = hex4(p + 2);
    if (u < 0)
        return record_fault(r, p, DECODE_SYNTAX,
                            "expected four hexadecimal digits after \\u");
    if (is_low_surrogate(u) ||
        (is_high_surrogate(u) &&
         (p[6] != '\\' || p[7] != 'u' || !is_low_surrogate(hex4(p + 8)))))
        return record_fault(r, p, DECODE_UTF8, "lone surrogate \\u%04x", (unsigned)u);
    return p + (is_high_surrogate(u) ? 12 : 6);
}

static const char *check_utf8(struct record *r, const char *p)
{
    do {
        size_t n = utf8_length(p, 4);
        if (n == 0)
            return record_fault(r, p, DECODE_UTF8,
                                "byte 0x%02x is not valid UTF-8 here",
                                (unsigned char)*p);
        p += n;
    } while ((unsigned char)*p >= 0x80);
    return p;
}

const char *text_check(struct record *r, const char *p, bool *ret_escapes)
{
    *ret_escapes = false;
    for (;;) {
        unsigned stops = text_stops(p);
        if (!stops) {
            p += 16;
            continue;
        }
        p += __builtin_ctz(stops);
        if (*p == '"')
            return p;
        if (*p == '\\') {
            *ret_escapes = true;
            p = check_escape(r, p);
        } else if ((unsigned char)*p >= 0x80) {
            p = check_utf8(r, p);
        } else if (*p == '\n' || *p == '\r') {
            return record_fault(r, p, DECODE_SYNTAX, "a string is not closed");
        } else {
            return record_fault(r, p, DECODE_SYNTAX,
                                "control character 0x%02x in a string",
                                (unsigned char)*p);
        }
        if (!p)
            return NULL;
    }
}

static size_t put_utf8(char *to, uint32_t u)
{
    if (u < 0x80) {
        to[0] = (char)u;
        return 1;
    }
    unsigned n = u < 0x800 ? 2 : u < 0x10000 ? 3 : 4;
    for (unsigned i = n - 1; i > 0; i--, u >>= 6)
        to[i] = (char)(0x80 | (u & 0x3f));
    to[0] = (char)((0xf00u >> n & 0xf0) | u); /* 110xxxxx, 1110xxxx, 11110xxx */
    return n;
}

static char simple_escape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c; /* quote, backslash, slash */
    }
}

size_t text_unescape(char *to, const char *p, const char *end)
{
    char *at = to;
    for (;;) {
        const char *back = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((back ? back : end) - p);
        memcpy(at, p, plain);
        at += plain;
        if (!back)
            return (size_t)(at - to);
        p = back + 2;
        if (back[1] != 'u') {
            *at++ = simple_escape(back[1]);
            continue;
        }
        int32_t u = hex4(p);
        p += 4;
        if (is_high_surrogate(u)) {
            u = 0x10000 + ((u - 0xd800) << 10) + (hex4(p + 2) - 0xdc00);
            p += 6;
        }
        at += put_utf8(at, (uint32_t)u);
    }
}

const char *text_store(struct record *r, const char *p, size_t c)
{
    bool escapes;
    const char *end = text_check(r, p, &escapes);
    if (!end)
        return NULL;
    size_t size = (size_t)(end - p);
    if (!record_bytes(r, c, p, size))
        return NULL;
    struct column *col = &r->out->column[c];
    uint32_t row = r->out->n_rows;
    char *to = col->bytes + col->offsets[row];
    if (escapes)
        size = text_unescape(to, p, end);
    else
        memcpy(to, p, size);
    col->offsets[row + 1] = col->offsets[row] + (int32_t)size;
    return end + 1;
}

const char *text_utf8_fault(const char *p, size_t size)
{
    const char *end = p + size;
    while (p < end) {
        unsigned high = text_not_ascii(p);
        if (!high) {
            p += 16;
            continue;
        }
        p += __builtin_ctz(high);
        while (p < end && (unsigned char)*p >= 0x80) {
            size_t n = utf8_length(p, (size_t)(end - p));
            if (n == 0)
                return p;
            p += n;
        }
    }
    return NULL;
}
