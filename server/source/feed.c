/* SPDX-License-Identifier: Apache-2.0
 *
 * Has pieces decoded into as many batches as they need.
 */
#include "source/feed.h"

#include "base/clock.h"
#include "source/source.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FEED_ROWS_UNKNOWN 256u

int feed_setup(struct feed *t, const struct source_stream *stream,
               enum decode_format format)
{
    *t = (struct feed){.decode = source_decode(stream),
                       .rows = FEED_ROWS_UNKNOWN,
                       .now = stream->sink.now,
                       .ctx = stream->sink.ctx};
    return decoder_new(t->decode, format, &t->decoder);
}

int64_t feed_now(const struct feed *t)
{
    return t->now ? t->now(t->ctx) : clock_now_us();
}

void feed_free(struct feed *t)
{
    feed_begin(t, 0);
    feed_keep(t, NULL);
    decoder_free(t->decoder);
    free(t->batch);
}

void feed_keep(struct feed *t, struct batch *spare)
{
    batch_unref(t->spare);
    t->spare = spare;
}

void feed_begin(struct feed *t, uint64_t rows)
{
    for (size_t i = 0; i < t->n; i++)
        batch_unref(t->batch[i]);
    t->n = 0;
    if (rows == 0)
        rows = FEED_ROWS_UNKNOWN;
    t->rows = rows < BATCH_ROWS_MAX ? (uint32_t)rows : BATCH_ROWS_MAX;
}

/* An empty batch at the end of the list. */
static int feed_open(struct feed *t, uint32_t rows)
{
    if (t->n == t->room) {
        size_t room = t->room ? t->room * 2 : 4;
        struct batch **batch = realloc(t->batch, room * sizeof(struct batch *));
        if (!batch)
            return -ENOMEM;
        t->batch = batch;
        t->room = room;
    }
    struct batch *b = t->spare;
    if (b && b->schema == t->decode->schema && rows <= b->room) {
        t->spare = NULL;
        batch_clear(b);
        t->batch[t->n++] = b;
        return 0;
    }
    int rc = batch_new(t->decode->schema, rows, &t->batch[t->n]);
    if (rc)
        return rc;
    t->n++;
    return 0;
}

static struct batch *feed_last(const struct feed *t)
{
    return t->n ? t->batch[t->n - 1] : NULL;
}

/* After DECODE_FULL. A batch that is full without a row will never take the record. */
static int feed_next(struct feed *t)
{
    const struct batch *full = feed_last(t);
    if (full && full->n_rows == 0)
        return -EFBIG;
    return feed_open(t, BATCH_ROWS_MAX);
}

int feed_piece(struct feed *t, const char *data, size_t size)
{
    int rc = feed_last(t) ? 0 : feed_open(t, t->rows);
    decoder_clock(t->decoder, feed_now(t));
    while (rc == 0 && (rc = decoder_feed(t->decoder, &data, &size, feed_last(t))) > 0)
        rc = feed_next(t);
    return rc;
}

int feed_finish(struct feed *t)
{
    int rc = feed_last(t) ? 0 : feed_open(t, t->rows);
    while (rc == 0 && (rc = decoder_finish(t->decoder, feed_last(t))) > 0)
        rc = feed_next(t);
    return rc;
}

struct feed_place feed_end(const struct feed *t)
{
    const struct batch *last = feed_last(t);
    return (struct feed_place){last ? t->n - 1 : 0, last ? last->n_rows : 0};
}

int feed_put_text(struct feed *t, struct feed_place from, size_t column,
                  const char *text, size_t size)
{
    int err = 0;
    for (size_t i = from.batch; err == 0 && i < t->n; i++) {
        err = batch_put_text(t->batch[i], column, from.row, text, size);
        from.row = 0;
    }
    return err;
}

void feed_cut(struct feed *t, struct feed_place from)
{
    while (t->n > from.batch + 1)
        batch_unref(t->batch[--t->n]);
    for (struct batch *b = feed_last(t);
         b && t->n > from.batch && b->n_rows > from.row;) {
        b->n_rows--;
        batch_undo_nulls(b);
    }
}

int feed_room(struct feed *t)
{
    int rc = feed_last(t) ? feed_next(t) : feed_open(t, t->rows);
    if (!rc)
        decoder_out(t->decoder, feed_last(t));
    return rc;
}

/* Only the last one can be empty: another one follows one that is full. */
size_t feed_batches(const struct feed *t, struct batch *const **ret, uint64_t *ret_rows)
{
    const struct batch *last = feed_last(t);
    size_t n = last && last->n_rows == 0 ? t->n - 1 : t->n;
    *ret_rows = 0;
    for (size_t i = 0; i < n; i++)
        *ret_rows += t->batch[i]->n_rows;
    *ret = t->batch;
    return n;
}

void feed_taken(struct feed *t, size_t n)
{
    assert(n <= t->n);
    t->n -= n;
    if (t->n)
        memmove(t->batch, t->batch + n, t->n * sizeof(t->batch[0]));
}
