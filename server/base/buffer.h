/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable run of bytes with a limit and a sticky error: after one failure further writes do
 * nothing, so that a series of small writes is checked once, at its end.
 */
#ifndef WEIR_BASE_BUFFER_H
#define WEIR_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
    char *data; /* not zero-terminated unless buffer_text was called */
    size_t size;
    size_t room;  /* allocated */
    size_t limit; /* 0: none */
    int error;    /* 0, -ENOMEM or -EFBIG; sticky */
};

void buffer_free(struct buffer *b);  /* and makes it empty again */
void buffer_clear(struct buffer *b); /* keeps the memory; clears the error */
void buffer_put(struct buffer *b, const void *bytes, size_t size);
void buffer_putc(struct buffer *b, char c);
void buffer_puts(struct buffer *b, const char *text);
void buffer_put_uint(struct buffer *b, uint64_t n); /* in decimal */
void buffer_printf(struct buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A zero behind the bytes (not counted in size); "" after an error. */
const char *buffer_text(struct buffer *b);

/* What is no UTF-8 becomes U+FFFD. */
void buffer_put_utf8(struct buffer *b, const char *text, size_t size);

/* JSON: a quoted string with RFC 8259 escapes; invalid UTF-8 bytes become U+FFFD. */
void buffer_put_json_string(struct buffer *b, const char *text, size_t size);

/* The shortest decimal that reads back as the same double ("0.1", "1e+300"; of some powers of two
 * one digit more); `null` for NaN and infinities. Always with '.', 'e' or a whole number, never locale-dependent. */
void buffer_put_json_double(struct buffer *b, double v);

#endif
