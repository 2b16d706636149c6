/* SPDX-License-Identifier: Apache-2.0 */
#include "pieces.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUTS 8

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

void pieces_compare(const struct decode_options *o, enum decode_format format,
                    const char *body, size_t size, unsigned seed,
                    struct buffer *ret_whole)
{
    struct decoder *d = NULL;
    struct buffer pieces = {0};
    size_t cut[CUTS];
    for (size_t i = 0; i < CUTS; i++) {
        seed = seed * 1664525u + 1013904223u; /* Numerical Recipes, ranqd1 */
        cut[i] = (seed >> 8) % (size + 1);
    }
    qsort(cut, CUTS, sizeof cut[0], by_place);
    if (decoder_new(o, format, &d) < 0)
        abort();
    int whole_status = dump_decode(d, o->schema, body, size, NULL, 0, ret_whole);
    decoder_reset(d, 0); /* and now with the layouts of the first time */
    int status = dump_decode(d, o->schema, body, size, cut, CUTS, &pieces);
    if (status != whole_status ||
        strcmp(buffer_text(ret_whole), buffer_text(&pieces)) != 0)
        pieces_differ("whole and in pieces", buffer_text(ret_whole),
                      buffer_text(&pieces));
    buffer_free(&pieces);
    decoder_free(d);
}
