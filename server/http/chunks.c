/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands between the data of a chunked body. Extensions and trailers are read over.
 *
 *      size [; extension] CR LF  data CR LF  ...  0 CR LF  [trailer CR LF] ... CR LF
 */
#include "http/head.h"

#include <errno.h>

#define CHUNKS_DIGITS_MAX 15   /* of a size */
#define CHUNKS_EXTRA_MAX  8192 /* bytes of extensions and trailers of a body */

static int chunk_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Behind a size, its line is over. */
static void chunk_begin(struct chunks *c)
{
    c->in = c->left ? CHUNKS_DATA : CHUNKS_TRAILER;
    c->digits = c->cr = c->line = 0;
}

static int chunk_size_byte(struct chunks *c, char byte)
{
    int digit = chunk_digit(byte);
    if (c->cr) {
        if (byte != '\n')
            return -EINVAL;
        chunk_begin(c);
    } else if (digit >= 0 && c->in == CHUNKS_SIZE) {
        if (++c->digits > CHUNKS_DIGITS_MAX)
            return -EINVAL;
        c->left = c->left << 4 | (unsigned)digit;
    } else if (!c->digits) {
        return -EINVAL;
    } else if (byte == '\r') {
        c->cr = 1;
    } else if (c->in == CHUNKS_EXTENSION || byte == ';' || byte == ' ' ||
               byte == '\t') {
        c->in = CHUNKS_EXTENSION;
        if (byte == '\n' || byte == 0 || ++c->extra > CHUNKS_EXTRA_MAX)
            return -EINVAL;
    } else {
        return -EINVAL;
    }
    return 0;
}

/* The CR LF behind data. */
static int chunk_data_byte(struct chunks *c, char byte)
{
    if (byte != (c->cr ? '\n' : '\r'))
        return -EINVAL;
    if (c->cr)
        *c = (struct chunks){.extra = c->extra};
    else
        c->cr = 1;
    return 0;
}

static int chunk_trailer_byte(struct chunks *c, char byte)
{
    if (c->cr) {
        if (byte != '\n')
            return -EINVAL;
        if (c->line == 0)
            c->in = CHUNKS_END;
        c->cr = c->line = 0;
    } else if (byte == '\r') {
        c->cr = 1;
    } else if (byte == '\n' || byte == 0 || ++c->extra > CHUNKS_EXTRA_MAX) {
        return -EINVAL;
    } else {
        c->line++;
    }
    return 0;
}

ssize_t chunks_skip(struct chunks *c, const char *text, size_t size)
{
    size_t n = 0;
    for (; n < size && c->in != CHUNKS_END; n++) {
        int rc;
        if (c->in == CHUNKS_DATA && c->left)
            break;
        if (c->in == CHUNKS_DATA)
            rc = chunk_data_byte(c, text[n]);
        else if (c->in == CHUNKS_TRAILER)
            rc = chunk_trailer_byte(c, text[n]);
        else
            rc = chunk_size_byte(c, text[n]);
        if (rc)
            return rc;
    }
    return (ssize_t)n;
}

void chunks_took(struct chunks *c, size_t size)
{
    c->left -= size;
}
