/* SPDX-License-Identifier: Apache-2.0
 *
 * From bytes to rows by part: decoded once, keyed, dealt, and on their way as columns (journal/codec.h).
 *
 * Whether a row is late depends on the watermark at that row, which only this place knows. To a window it matters no more than
 * whether its end has been passed: so what is dealt is cut before the row with which the watermark passes one, and only there.
 *
 *      rows     a b c d | e f g        e: with it the watermark passes the end of a window
 *      pieces   part 0: a c, part 1: b d, watermark, part 0: e, part 1: f g
 */
#include "base/clock.h"
#include "batch/keys.h"
#include "decode/decode.h"
#include "expr/derive.h"
#include "shard/internal.h"
#include "window/window.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX     64 /* of nested JSON, as in the server */
#define ROWS_AT_FIRST 64
#define OUT_MAX       ((size_t)1 << 31) /* bytes of all pieces of a call */

struct weir_router {
    struct job job;
    struct decoder *decoder;     /* of lines */
    struct decoder *messages;    /* NULL: those of the source are lines, too */
    struct derive *derive, *own; /* NULL: no key is made of such columns */
    const struct window_kind *window;
    int64_t newest_us;   /* INT64_MIN: none */
    int64_t border_us;   /* the watermark has not reached it */
    struct batch **part; /* rows that wait; NULL: none */
    uint32_t *of_key;    /* part of each key of the batch at hand */
    size_t of_key_room;
    struct dealt {
        uint32_t row, part;
    } dealt[BATCH_ROWS_MAX]; /* rows of the batch at hand that are not in `part` yet */
    uint32_t n_dealt;
    uint32_t sorted[BATCH_ROWS_MAX]; /* the rows of `dealt` by part */
    uint32_t *end;                   /* of each part: in `sorted`, meanwhile */
    struct buffer out;               /* bytes of pieces */
    struct piece {
        struct weir_piece to;
        size_t at; /* in `out` */
    } * piece;
    struct weir_piece *given;
    size_t n_pieces, room;
    struct weir_router_figures count;
    struct codec_plan codec;
};

/* ---- Open, close -------------------------------------------------------------------------------- */

static void rejected(void *ctx, const struct decode_reject *reject)
{
    struct weir_router *r = ctx;
    const struct decode_error *e = reject->error;
    snprintf(r->count.last_rejected, sizeof(r->count.last_rejected),
             "line %llu, column %u: %s: %s", (unsigned long long)e->line, e->column,
             decode_reason_name(e->reason), e->message);
}

static int make_decoder(struct weir_router *r, enum decode_format format,
                        struct decoder **ret)
{
    const struct config_stream *s = r->job.stream;
    const struct decode_options options = {.schema = s->schema,
                                           .field = s->field,
                                           .paths = s->paths,
                                           .lenient = s->lenient,
                                           .time_unit = s->time_unit,
                                           .record_max =
                                               r->job.config->server.max_record,
                                           .depth_max = DEPTH_MAX,
                                           .max_future_skew_us = s->max_future_skew_us,
                                           .check_unit = s->check_unit};
    int err = decoder_new(&options, format, ret);
    if (err == 0)
        decoder_on_reject(*ret, rejected, r);
    return err;
}

static int make_decoders(struct weir_router *r)
{
    const struct config_source *source = &r->job.stream->source;
    int err = make_decoder(r, DECODE_NDJSON, &r->decoder);
    if (err == 0 && source->kind == CONFIG_SOURCE_KAFKA &&
        source->format != DECODE_NDJSON)
        err = make_decoder(r, source->format, &r->messages);
    return err;
}

/* Derived columns, where a key is one, or is made of one. */
static int make_derive(struct weir_router *r, struct error *error)
{
    const struct config_pipeline *c = r->job.pipeline;
    const struct config_stream *s = r->job.stream;
    struct derive_column column[SCHEMA_COLUMNS_MAX];
    size_t highest = 0, n;
    for (size_t i = 0; i < c->n_keys; i++)
        highest = c->key[i] > highest ? c->key[i] : highest;
    int err = 0;
    if (highest >= s->schema->n && (n = config_derive_columns(&s->derive, column)))
        err = derive_new(s->columns, column, n, &r->derive, error);
    if (err == 0 && highest >= s->columns->n &&
        (n = config_derive_columns(&c->derive, column)))
        err = derive_new(c->schema, column, n, &r->own, error);
    return err;
}

void weir_router_go_on(struct weir_router *r, int64_t newest_us)
{
    const int64_t behind_us = r->job.pipeline->out_of_orderness_us;
    r->newest_us = newest_us;
    int64_t watermark_us =
        newest_us < INT64_MIN + behind_us ? INT64_MIN : newest_us - behind_us;
    r->border_us = newest_us == INT64_MIN ? INT64_MIN
                                          : window_next_border(r->window, watermark_us);
}

int weir_router_open(const struct weir_shard_options *options, struct weir_router **ret,
                     struct weir_shard_error *error)
{
    struct error why = {0};
    struct weir_router *r = calloc(1, sizeof(*r));
    int err = r ? job_make(&r->job, options, error) : -ENOMEM;
    if (!r)
        snprintf(error->text, sizeof(error->text), "no memory");
    if (err < 0) {
        weir_router_close(r);
        return err;
    }
    r->out.limit = OUT_MAX;
    r->window = pipeline_window(r->job.made);
    r->part = calloc(r->job.parts, sizeof(struct batch *));
    r->end = calloc(r->job.parts, sizeof(*r->end));
    err = r->part && r->end ? make_decoders(r) : -ENOMEM;
    if (err == 0)
        err = make_derive(r, &why);
    if (err < 0) {
        job_error(&r->job, err, &why, error);
        weir_router_close(r);
        return err;
    }
    weir_router_go_on(r, INT64_MIN);
    *ret = r;
    return 0;
}

void weir_router_close(struct weir_router *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; r->part && i < r->job.parts; i++)
        batch_unref(r->part[i]);
    free(r->part);
    decoder_free(r->decoder);
    decoder_free(r->messages);
    derive_free(r->derive);
    derive_free(r->own);
    buffer_free(&r->out);
    free(r->of_key);
    free(r->end);
    free(r->piece);
    free(r->given);
    job_free(&r->job);
    free(r);
}

int64_t weir_router_newest(const struct weir_router *r)
{
    return r->newest_us;
}

void weir_router_count(const struct weir_router *r, struct weir_router_figures *ret)
{
    *ret = r->count;
}

/* ---- Pieces ------------------------------------------------------------------------------------- */

static int add_piece(struct weir_router *r, const struct weir_piece *piece)
{
    if (r->n_pieces == r->room) {
        size_t room = r->room ? 2 * r->room : 64;
        struct piece *list = realloc(r->piece, room * sizeof(*list));
        if (!list)
            return -ENOMEM;
        r->piece = list;
        r->room = room;
    }
    r->piece[r->n_pieces++] =
        (struct piece){.to = *piece, .at = r->out.size - piece->size};
    return 0;
}

static int flush_part(struct weir_router *r, uint32_t part)
{
    static const char zeros[64];
    struct batch *b = r->part[part];
    if (!b || !b->n_rows)
        return 0;
    codec_plan_make(b, &r->codec);
    size_t left = r->codec.size, at = r->out.size;
    while (left) { /* room */
        size_t some = left < sizeof(zeros) ? left : sizeof(zeros);
        buffer_put(&r->out, zeros, some);
        left -= some;
    }
    if (r->out.error)
        return r->out.error;
    codec_write(b, &r->codec, r->out.data + at);
    const struct weir_piece piece = {
        .part = (int32_t)part, .size = r->codec.size, .rows = b->n_rows};
    batch_clear(b);
    return add_piece(r, &piece);
}

static int flush(struct weir_router *r)
{
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < r->job.parts; i++)
        err = flush_part(r, i);
    return err;
}

/* ---- Dealing ------------------------------------------------------------------------------------ */

static int append(struct weir_router *r, const struct batch *b, uint32_t part,
                  const uint32_t *row, uint32_t n)
{
    struct batch **to = &r->part[part];
    const size_t *column = r->job.sent_from;
    int err = *to ? 0 : batch_new(r->job.sent, ROWS_AT_FIRST, to);
    if (err == 0)
        err = batch_append_rows(*to, b, column, row, n);
    if (err != -ENOSPC)
        return err;
    err = flush_part(r, part);
    return err < 0 ? err : batch_append_rows(*to, b, column, row, n);
}

/* What is dealt goes to its parts, in its order. */
static int put_dealt(struct weir_router *r, const struct batch *b)
{
    uint32_t *const end = r->end, parts = r->job.parts;
    int err = 0;
    memset(end, 0, parts * sizeof(*end));
    for (uint32_t i = 0; i < r->n_dealt; i++)
        end[r->dealt[i].part]++;
    for (uint32_t k = 0, at = 0; k < parts; k++) { /* where it begins, at first */
        const uint32_t n = end[k];
        end[k] = at;
        at += n;
    }
    for (uint32_t i = 0; i < r->n_dealt; i++)
        r->sorted[end[r->dealt[i].part]++] = r->dealt[i].row;
    for (uint32_t k = 0, at = 0; err == 0 && k < parts; at = end[k++])
        if (end[k] > at)
            err = append(r, b, k, r->sorted + at, end[k] - at);
    r->n_dealt = 0;
    return err;
}

/* The row moves the watermark. */
static int reach(struct weir_router *r, const struct batch *b, int64_t time_us)
{
    const int64_t behind_us = r->job.pipeline->out_of_orderness_us;
    r->newest_us = time_us;
    if (time_us < INT64_MIN + behind_us || time_us - behind_us < r->border_us)
        return 0;
    const struct weir_piece piece = {.part = -1, .watermark_us = time_us - behind_us};
    int err = put_dealt(r, b);
    if (err == 0)
        err = flush(r);
    if (err == 0)
        err = add_piece(r, &piece);
    r->border_us = window_next_border(r->window, piece.watermark_us);
    return err;
}

static int deal_rows(struct weir_router *r, const struct batch *b,
                     const struct key_ids *keys)
{
    const int64_t *time = b->view[0].values;
    int err = 0;
    r->n_dealt = 0;
    for (uint32_t row = 0; err == 0 && row < b->n_rows; row++) {
        if (time[row] > r->newest_us)
            err = reach(r, b, time[row]);
        const uint32_t key = keys->id[row];
        r->count.null_keys += key == KEY_NULL;
        r->count.long_keys += key == KEY_TOO_LONG;
        if (key < KEY_TOO_LONG)
            r->dealt[r->n_dealt++] = (struct dealt){row, r->of_key[key]};
    }
    r->count.events += b->n_rows;
    return err < 0 ? err : put_dealt(r, b);
}

static int find_parts(struct weir_router *r, const struct key_ids *keys)
{
    if (keys->n > r->of_key_room) {
        uint32_t *list = realloc(r->of_key, keys->n * sizeof(*list));
        if (!list)
            return -ENOMEM;
        r->of_key = list;
        r->of_key_room = keys->n;
    }
    for (uint32_t k = 0; k < keys->n; k++)
        r->of_key[k] = job_part(&r->job, keys->bytes + keys->offset[k],
                                keys->offset[k + 1] - keys->offset[k]);
    return 0;
}

/* In place of *b one with more columns. */
static int widen(struct derive *d, struct batch **b)
{
    struct batch *wide;
    uint64_t errors; /* the shard counts them */
    int err = d ? derive_batch(d, *b, &errors, &wide) : 0;
    if (d && err == 0) {
        batch_unref(*b);
        *b = wide;
    }
    return err;
}

static int deal(struct weir_router *r, struct batch *b)
{
    const struct config_pipeline *c = r->job.pipeline;
    struct key_ids *keys = NULL;
    batch_seal(b);
    struct batch *wide = batch_ref(b);
    int err = widen(r->derive, &wide);
    if (err == 0)
        err = widen(r->own, &wide);
    if (err == 0)
        err = keys_new(wide, c->key, c->n_keys, &keys);
    if (err == 0)
        err = find_parts(r, keys);
    if (err == 0)
        err = deal_rows(r, b, keys);
    keys_free(keys);
    batch_unref(wide);
    return err;
}

/* Rows of a body into *batch, NULL: there is none yet; one that is full is dealt. */
static int read_body(struct weir_router *r, struct decoder *d, const char *p, size_t n,
                     struct batch **batch)
{
    int got = DECODE_FULL, err = 0;
    decoder_reset(d, clock_now_us());
    while (err == 0 && got == DECODE_FULL) {
        err = *batch ? 0 : batch_new(r->job.stream->schema, BATCH_ROWS_MAX, batch);
        if (err < 0)
            break;
        got = decoder_feed(d, &p, &n, *batch);
        if (got == DECODE_DONE)
            got = decoder_finish(d, *batch);
        if (got == DECODE_FULL) {
            err = deal(r, *batch);
            batch_unref(*batch);
            *batch = NULL;
        }
    }
    r->count.rejected += decoder_stats(d)->rejected;
    if (err == 0 && got < 0 && got != -EBADMSG) /* the rest of the body was rejected */
        err = got;
    return err;
}

static void begin_read(struct weir_router *r)
{
    r->n_pieces = 0;
    r->count.last_rejected[0] = '\0';
    buffer_clear(&r->out);
}

/* Deals what is left in `batch`, which may be NULL, and takes it. */
static int end_read(struct weir_router *r, int err, struct batch *batch,
                    const struct weir_piece **ret_pieces, size_t *ret_n,
                    struct weir_shard_error *error)
{
    const struct error why = {0};
    if (err == 0 && batch && batch->n_rows)
        err = deal(r, batch);
    batch_unref(batch);
    if (err == 0)
        err = flush(r);
    struct weir_piece *given =
        err == 0 ? realloc(r->given, (r->n_pieces + 1) * sizeof(*given)) : NULL;
    if (err == 0 && !given)
        err = -ENOMEM;
    if (err < 0)
        return job_error(&r->job, err, &why, error);
    r->given = given;
    for (size_t i = 0; i < r->n_pieces; i++) {
        given[i] = r->piece[i].to;
        given[i].bytes = given[i].part < 0 ? NULL : r->out.data + r->piece[i].at;
    }
    *ret_pieces = given;
    *ret_n = r->n_pieces;
    return 0;
}

int weir_router_read(struct weir_router *r, const void *bytes, size_t size,
                     const struct weir_piece **ret_pieces, size_t *ret_n,
                     struct weir_shard_error *error)
{
    struct batch *batch = NULL;
    begin_read(r);
    int err = read_body(r, r->decoder, bytes, size, &batch);
    return end_read(r, err, batch, ret_pieces, ret_n, error);
}

int weir_router_read_messages(struct weir_router *r, const void *bytes,
                              const uint32_t *size, size_t n,
                              const struct weir_piece **ret_pieces, size_t *ret_n,
                              struct weir_shard_error *error)
{
    struct decoder *d = r->messages ? r->messages : r->decoder;
    struct batch *batch = NULL;
    const char *p = bytes;
    int err = 0;
    begin_read(r);
    for (size_t i = 0; err == 0 && i < n; p += size[i++])
        if (size[i])
            err = read_body(r, d, p, size[i], &batch);
    return end_read(r, err, batch, ret_pieces, ret_n, error);
}
