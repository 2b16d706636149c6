/* SPDX-License-Identifier: Apache-2.0 */
#include "dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum weir_type type_of(const char *name)
{
    for (enum weir_type t = WEIR_INT; t <= WEIR_TIME; t++)
        if (strcmp(name, schema_type_name(t)) == 0)
            return t;
    fprintf(stderr, "dump_schema: no type '%s'\n", name);
    abort();
}

struct schema *dump_schema(const char *text)
{
    char *copy = strdup(text), *rest = NULL;
    size_t n = 1, i = 0;
    for (const char *p = text; *p; p++)
        n += *p == ',';
    struct schema *s = NULL;
    char *word = copy ? strtok_r(copy, ",", &rest) : NULL;
    if (!word || schema_new(n, word, &s) < 0)
        abort();
    while ((word = strtok_r(NULL, ",", &rest))) {
        char *type = strchr(word, ':');
        if (!type)
            abort();
        *type++ = '\0';
        if (schema_set(s, ++i, word, type_of(type)) < 0)
            abort();
    }
    free(copy);
    return s;
}

static bool is_null(const struct column *c, uint32_t row)
{
    return c->validity && !(c->validity[row / 8] >> row % 8 & 1);
}

static void dump_value(struct buffer *to, const struct column *c, uint32_t row)
{
    if (c->type == WEIR_STRING) {
        int32_t begin = c->offsets[row], end = c->offsets[row + 1];
        if (is_null(c, row) && begin == end)
            buffer_puts(to, "null");
        else
            buffer_put_json_string(to, c->bytes + begin, (size_t)(end - begin));
        return;
    }
    bool yes =
        c->type == WEIR_BOOL && ((const uint8_t *)c->values)[row / 8] >> row % 8 & 1;
    int64_t bits = c->type == WEIR_BOOL ? yes : ((const int64_t *)c->values)[row];
    if (is_null(c, row))
        buffer_puts(to, bits == 0 ? "null" : "null but not zero");
    else if (c->type == WEIR_BOOL)
        buffer_puts(to, yes ? "true" : "false");
    else if (c->type == WEIR_FLOAT)
        buffer_printf(to, "%a", ((const double *)c->values)[row]);
    else
        buffer_printf(to, "%" PRId64, bits);
}

void dump_row(struct buffer *to, const struct batch *b, uint32_t row)
{
    for (size_t c = 0; c < b->schema->n; c++) {
        buffer_printf(to, "%s%s=", c ? " " : "", b->schema->column[c].name);
        dump_value(to, &b->column[c], row);
    }
}

static void dump_batch(struct buffer *to, struct batch *b)
{
    for (uint32_t row = 0; row < b->n_rows; row++) {
        buffer_puts(to, "row ");
        dump_row(to, b, row);
        buffer_putc(to, '\n');
    }
    batch_clear(b);
}

static int feed(struct decoder *d, const char *p, size_t n, struct batch *b,
                struct buffer *to)
{
    int status;
    while ((status = decoder_feed(d, &p, &n, b)) == DECODE_FULL)
        dump_batch(to, b);
    return status;
}

static int feed_piece(struct decoder *d, const char *p, size_t n, struct batch *b,
                      struct buffer *to)
{
    char *own = malloc(n ? n : 1);
    if (!own)
        abort();
    memcpy(own, p, n);
    int status = feed(d, own, n, b, to);
    free(own);
    return status;
}

static void dump_stats(struct buffer *to, const struct decode_stats *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->n_errors; i++) {
        const struct decode_error *e = &s->errors[i];
        buffer_printf(to, "bad %" PRIu64 ":%" PRIu32 " %s %s\n", e->line, e->column,
                      decode_reason_name(e->reason), e->message);
    }
    for (enum decode_reason i = 0; i < DECODE_REASONS; i++)
        sum += s->by_reason[i];
    if (sum != s->rejected)
        buffer_puts(to, "the reasons do not add up\n");
    buffer_printf(to, "end %" PRIu64 " accepted, %" PRIu64 " rejected\n", s->accepted,
                  s->rejected);
}

int dump_decode(struct decoder *d, const struct schema *schema, const char *body,
                size_t size, const size_t *cut, size_t n, struct buffer *to)
{
    struct batch *b = NULL;
    if (batch_new(schema, 1, &b) < 0)
        abort();
    size_t at = 0;
    int status = DECODE_DONE;
    for (size_t i = 0; i <= n && status == DECODE_DONE; i++) {
        size_t end = i < n ? cut[i] : size;
        status = feed_piece(d, body + at, end - at, b, to);
        at = end;
    }
    if (status == DECODE_DONE) {
        while ((status = decoder_finish(d, b)) == DECODE_FULL)
            dump_batch(to, b);
    }
    dump_batch(to, b);
    dump_stats(to, decoder_stats(d));
    batch_unref(b);
    return status;
}
