/* SPDX-License-Identifier: Apache-2.0 */
#include "pieces.h"

#include "base/hash.h"
#include "decode/paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUTS 8

static struct decode_field path_field[] = {
    {.path = (char[]){"a.b"}},
    {.path = (char[]){"a.c[1]"}},
    {.path = (char[]){"d[*].e"}, .has_default = true, .init.f = 1.5},
    {.path = (char[]){"d[*].\"f.g\""}},
    {.name = (char[]){"@h"}, .has_default = true, .text = (char[]){"i"}, .size = 1},
};

struct decode_options pieces_options_paths(void)
{
    static struct schema *schema;
    static struct paths *paths;
    struct error error;
    size_t column;
    if (!schema) {
        hash_setup();
        schema = dump_schema("ts,c:string,e:float,f:int,h:string");
        if (paths_new(schema, path_field, 0, &paths, &column, &error) < 0)
            abort();
    }
    return (struct decode_options){.schema = schema,
                                   .field = path_field,
                                   .paths = paths,
                                   .lenient =
                                       DECODE_LENIENT_NUMBERS | DECODE_LENIENT_TIMES,
                                   .time_unit = DECODE_MS,
                                   .record_max = 200,
                                   .depth_max = 6,
                                   .max_future_skew_us = INT64_MAX};
}

struct decode_options pieces_options(enum decode_unit unit)
{
    static struct schema *schema;
    if (!schema) {
        hash_setup();
        schema = dump_schema("ts,symbol:string,price:float,qty:int,ok:bool,at:time");
    }
    return (struct decode_options){.schema = schema,
                                   .time_unit = unit,
                                   .record_max = 200,
                                   .depth_max = 6,
                                   .max_future_skew_us = INT64_MAX};
}

_Noreturn void pieces_differ(const char *what, const char *a, const char *b)
{
    fprintf(stderr, "%s\n---- one\n%s---- other\n%s", what, a, b);
    abort();
}

static int by_place(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* What is told of a rejected record. Its bytes are read, and must not be more than are kept. */
static void pieces_note(void *ctx, const struct decode_reject *r)
{
    struct buffer *to = ctx;
    if (r->size > DECODE_RECORD_KEPT || (r->size && !r->record))
        abort();
    buffer_printf(to, "%llu ", (unsigned long long)r->error->line);
    buffer_put_json_string(to, r->record ? r->record : "", r->record ? r->size : 0);
    buffer_puts(to, r->truncated ? "...\n" : "\n");
}

static void pieces_same(const char *what, struct buffer *a, struct buffer *b)
{
    if (strcmp(buffer_text(a), buffer_text(b)) != 0)
        pieces_differ(what, buffer_text(a), buffer_text(b));
}

void pieces_compare(const struct decode_options *o, enum decode_format format,
                    const char *body, size_t size, unsigned seed,
                    struct buffer *ret_whole)
{
    struct decoder *d = NULL;
    struct buffer pieces = {0}, told = {0}, told_pieces = {0};
    size_t cut[CUTS];
    for (size_t i = 0; i < CUTS; i++) {
        seed = seed * 1664525u + 1013904223u; /* Numerical Recipes, ranqd1 */
        cut[i] = (seed >> 8) % (size + 1);
    }
    qsort(cut, CUTS, sizeof cut[0], by_place);
    if (decoder_new(o, format, &d) < 0)
        abort();
    decoder_on_reject(d, pieces_note, &told);
    int whole_status = dump_decode(d, o->schema, body, size, NULL, 0, ret_whole);
    decoder_on_reject(d, pieces_note, &told_pieces);
    decoder_reset(d, 0); /* and now with the layouts of the first time */
    int status = dump_decode(d, o->schema, body, size, cut, CUTS, &pieces);
    if (status != whole_status)
        pieces_differ("whole and in pieces", buffer_text(ret_whole),
                      buffer_text(&pieces));
    pieces_same("whole and in pieces", ret_whole, &pieces);
    pieces_same("records told whole and in pieces", &told, &told_pieces);
    buffer_free(&told);
    buffer_free(&told_pieces);
    buffer_free(&pieces);
    decoder_free(d);
}
