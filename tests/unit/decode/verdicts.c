/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder's verdict on each line of standard input, for against_python.py to compare:
 *
 *      1700000000123000 <tab> s<hex bytes> <tab> 0x1.edp+6 <tab> 17 <tab> t      accepted; - is null
 *      !type                                                                     rejected
 *      (nothing)                                                                 blank
 *
 * Lines are fed in bodies of up to 100, which is as many errors as are kept, cut at random.
 */
#include "base/buffer.h"
#include "base/hash.h"
#include "dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES (DECODE_ERRORS_MAX - 1)

static uint64_t random_state = 1;

static size_t random_below(size_t n)
{
    random_state = hash_mix(random_state ^ UINT64_C(0x9e3779b97f4a7c15),
                            UINT64_C(0xd6e8feb86659fd93));
    return (size_t)(random_state >> 16) % n;
}

static bool is_null(const struct column *c, uint32_t row)
{
    return c->validity && !(c->validity[row / 8] >> row % 8 & 1);
}

static void print_value(const struct column *c, uint32_t row)
{
    if (is_null(c, row)) {
        putchar('-');
    } else if (c->type == WEIR_STRING) {
        putchar('s');
        for (int32_t i = c->offsets[row]; i < c->offsets[row + 1]; i++)
            printf("%02x", (unsigned char)c->bytes[i]);
    } else if (c->type == WEIR_FLOAT) {
        printf("%a", ((const double *)c->values)[row]);
    } else if (c->type == WEIR_BOOL) {
        putchar(((const uint8_t *)c->values)[row / 8] >> row % 8 & 1 ? 't' : 'f');
    } else {
        printf("%" PRId64, ((const int64_t *)c->values)[row]);
    }
}

static void print_row(const struct batch *b, uint32_t row)
{
    for (size_t c = 0; c < b->schema->n; c++) {
        if (c > 0)
            putchar('\t');
        print_value(&b->column[c], row);
    }
    putchar('\n');
}

static void feed_in_pieces(struct decoder *d, const char *p, size_t size,
                           struct batch *b)
{
    while (size > 0) {
        size_t n = random_below(3) == 0 ? size : random_below(size) + 1;
        char *own = malloc(n); /* so that a sanitizer sees what is read behind it */
        if (!own)
            abort();
        memcpy(own, p, n);
        const char *at = own;
        size_t rest = n;
        if (decoder_feed(d, &at, &rest, b) != DECODE_DONE || rest != 0)
            abort();
        free(own);
        p += n;
        size -= n;
    }
    if (decoder_finish(d, b) != DECODE_DONE)
        abort();
}

static bool is_blank(const char *p, size_t n)
{
    while (n > 0 && (*p == ' ' || *p == '\t' || *p == '\r'))
        p++, n--;
    return n == 0;
}

/* Rows come in the order of their lines; a line that is neither blank nor rejected has the next. */
static void print_verdicts(const struct decode_stats *s, const char *p, const char *end,
                           const struct batch *b)
{
    uint32_t row = 0;
    size_t bad = 0;
    for (uint64_t line = 2; p < end; line++) {
        const char *feed = memchr(p, '\n', (size_t)(end - p));
        if (bad < s->n_errors && s->errors[bad].line == line)
            printf("!%s\n", decode_reason_name(s->errors[bad++].reason));
        else if (is_blank(p, (size_t)(feed - p)))
            putchar('\n');
        else if (row < b->n_rows)
            print_row(b, row++);
        else
            abort();
        p = feed + 1;
    }
    if (row != b->n_rows || row != s->accepted || bad != s->rejected)
        abort();
}

/* A body with a line feed in front: a byte order mark is no part of this comparison. */
static void judge(struct decoder *d, const struct buffer *body, struct batch *b)
{
    decoder_reset(d, 0);
    feed_in_pieces(d, body->data, body->size, b);
    print_verdicts(decoder_stats(d), body->data + 1, body->data + body->size, b);
    batch_clear(b);
}

int main(void)
{
    struct schema *schema = dump_schema("ts,symbol:string,price:float,qty:int,ok:bool");
    struct decode_options o = {.schema = schema,
                               .time_unit = DECODE_MS,
                               .record_max = 1u << 20,
                               .depth_max = 64,
                               .max_future_skew_us = INT64_MAX};
    struct decoder *d = NULL;
    struct batch *b = NULL;
    hash_setup();
    if (decoder_new(&o, DECODE_NDJSON, &d) < 0 || batch_new(schema, 1, &b) < 0)
        return 1;
    struct buffer body = {0};
    char *line = NULL;
    size_t room = 0, lines = 0;
    ssize_t n;
    buffer_putc(&body, '\n');
    while ((n = getline(&line, &room, stdin)) > 0) {
        buffer_put(&body, line, (size_t)n);
        if (line[n - 1] != '\n')
            buffer_putc(&body, '\n');
        if (++lines < LINES)
            continue;
        judge(d, &body, b);
        buffer_clear(&body);
        buffer_putc(&body, '\n');
        lines = 0;
    }
    if (lines > 0)
        judge(d, &body, b);
    free(line);
    buffer_free(&body);
    batch_unref(b);
    decoder_free(d);
    schema_free(schema);
    return 0;
}
