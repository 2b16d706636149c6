/* SPDX-License-Identifier: Apache-2.0
 *
 * Has pieces decoded into as many batches as they need.
 */
#include "source/intake.h"

#include <errno.h>
#include <stdlib.h>

#define INTAKE_ROWS_UNKNOWN 256u

int intake_setup(struct intake *t, const struct decode_options *options,
                 enum decode_format format)
{
    *t = (struct intake){.schema = options->schema, .rows = INTAKE_ROWS_UNKNOWN};
    return decoder_new(options, format, &t->decoder);
}

void intake_free(struct intake *t)
{
    intake_begin(t, 0);
    decoder_free(t->decoder);
    free(t->batch);
}

void intake_begin(struct intake *t, uint64_t rows)
{
    for (size_t i = t->first; i < t->n; i++)
        batch_unref(t->batch[i]);
    t->first = t->n = 0;
    if (rows == 0)
        rows = INTAKE_ROWS_UNKNOWN;
    t->rows = rows < BATCH_ROWS_MAX ? (uint32_t)rows : BATCH_ROWS_MAX;
}

/* A fresh batch at the end of the list. */
static int intake_open(struct intake *t, uint32_t rows)
{
    if (t->n == t->room) {
        size_t room = t->room ? t->room * 2 : 4;
        struct batch **batch = realloc(t->batch, room * sizeof(struct batch *));
        if (!batch)
            return -ENOMEM;
        t->batch = batch;
        t->room = room;
    }
    int rc = batch_new(t->schema, rows, &t->batch[t->n]);
    if (rc)
        return rc;
    t->n++;
    return 0;
}

static struct batch *intake_last(struct intake *t)
{
    return t->first < t->n ? t->batch[t->n - 1] : NULL;
}

/* After DECODE_FULL. A batch that is full without a row will never take the record. */
static int intake_next(struct intake *t)
{
    const struct batch *full = intake_last(t);
    if (full && full->n_rows == 0)
        return -ENOSPC;
    return intake_open(t, BATCH_ROWS_MAX);
}

int intake_feed(struct intake *t, const char *data, size_t size)
{
    int rc = intake_last(t) ? 0 : intake_open(t, t->rows);
    while (rc == 0 && (rc = decoder_feed(t->decoder, &data, &size, intake_last(t))) > 0)
        rc = intake_next(t);
    return rc;
}

int intake_finish(struct intake *t)
{
    int rc = intake_last(t) ? 0 : intake_open(t, t->rows);
    while (rc == 0 && (rc = decoder_finish(t->decoder, intake_last(t))) > 0)
        rc = intake_next(t);
    return rc;
}

struct batch *intake_batch(struct intake *t)
{
    while (t->first < t->n && t->batch[t->first]->n_rows == 0)
        batch_unref(t->batch[t->first++]);
    if (t->first < t->n)
        return t->batch[t->first];
    t->first = t->n = 0;
    return NULL;
}

void intake_taken(struct intake *t)
{
    t->first++;
}
