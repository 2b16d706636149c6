/* SPDX-License-Identifier: Apache-2.0 */
#include "lookup/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64 /* of nested JSON */

static struct answer *alloc(size_t size)
{
    struct answer *a = calloc(1, offsetof(struct answer, bytes) + size);
    if (!a)
        return NULL;
    atomic_init(&a->refs, 1);
    a->bytes.size = (uint32_t)size;
    return a;
}

static size_t fixed_size(size_t n)
{
    return sizeof(struct answer_bytes) + n * sizeof(uint64_t);
}

struct answer *answer_new(enum answer_outcome outcome, size_t n)
{
    struct answer *a = alloc(fixed_size(n));
    if (!a)
        return NULL;
    a->bytes.outcome = outcome;
    a->bytes.nulls = UINT64_MAX;
    return a;
}

struct answer *answer_ref(struct answer *a)
{
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

void answer_unref(struct answer *a)
{
    if (a && atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1)
        free(a);
}

int answer_load(const char *bytes, size_t size, const struct schema *schema,
                struct answer **ret)
{
    const size_t n = schema->n - 1, fixed = fixed_size(n);
    struct answer_bytes head;
    if (size < fixed)
        return -EBADMSG;
    memcpy(&head, bytes, sizeof(head));
    if (head.size != size || head.outcome > ANSWER_FAILED)
        return -EBADMSG;
    struct answer *a = alloc(size);
    if (!a)
        return -ENOMEM;
    memcpy(&a->bytes, bytes, size);
    size_t texts = 0;
    for (size_t i = 0; i < n; i++) {
        if (schema->column[i + 1].type != WEIR_STRING)
            continue;
        if (a->bytes.value[i] > size - fixed - texts) {
            free(a);
            return -EBADMSG;
        }
        texts += a->bytes.value[i];
    }
    if (texts != size - fixed) {
        free(a);
        return -EBADMSG;
    }
    *ret = a;
    return 0;
}

/* ---- From JSON ----------------------------------------------------------------------------------- */

struct answer_reader {
    const struct schema *schema;
    struct decoder *decoder;
    struct batch *batch; /* of one row at a time */
};

int answer_reader_new(const struct config_lookup *c, struct answer_reader **ret)
{
    struct answer_reader *r = calloc(1, sizeof(*r));
    const struct decode_options options = {.schema = c->answer,
                                           .field = c->field,
                                           .paths = c->paths,
                                           .time_unit = DECODE_ARRIVAL,
                                           .record_max = BATCH_BYTES_MAX,
                                           .depth_max = DEPTH_MAX,
                                           .max_future_skew_us = INT64_MAX};
    if (!r)
        return -ENOMEM;
    r->schema = c->answer;
    int err = decoder_new(&options, DECODE_JSON, &r->decoder);
    if (!err)
        err = batch_new(c->answer, 1, &r->batch);
    if (err) {
        answer_reader_free(r);
        return err;
    }
    *ret = r;
    return 0;
}

void answer_reader_free(struct answer_reader *r)
{
    if (!r)
        return;
    decoder_free(r->decoder);
    batch_unref(r->batch);
    free(r);
}

static bool is_null(const struct column *c)
{
    return c->null_count > 0; /* of the one row */
}

static struct answer *of_row(const struct answer_reader *r)
{
    const size_t n = r->schema->n - 1;
    size_t texts = 0;
    for (size_t i = 0; i < n; i++) {
        const struct column *c = &r->batch->column[i + 1];
        texts += c->type == WEIR_STRING ? (size_t)c->offsets[1] : 0;
    }
    struct answer *a = alloc(fixed_size(n) + texts);
    if (!a)
        return NULL;
    char *to = (char *)(a->bytes.value + n);
    for (size_t i = 0; i < n; i++) {
        const struct column *c = &r->batch->column[i + 1];
        a->bytes.nulls |= is_null(c) ? UINT64_C(1) << i : 0;
        if (c->type == WEIR_STRING) {
            a->bytes.value[i] = (uint64_t)c->offsets[1];
            memcpy(to, c->bytes, (size_t)c->offsets[1]);
            to += c->offsets[1];
        } else if (c->type == WEIR_BOOL) {
            a->bytes.value[i] = *(const uint8_t *)c->values & 1;
        } else {
            memcpy(&a->bytes.value[i], c->values, sizeof(a->bytes.value[i]));
        }
    }
    return a;
}

int answer_read(struct answer_reader *r, const char *text, size_t size,
                struct answer **ret, struct error *error)
{
    batch_clear(r->batch);
    decoder_reset(r->decoder, 0);
    int err = size ? decoder_feed(r->decoder, &text, &size, r->batch) : 0;
    if (err == DECODE_DONE)
        err = decoder_finish(r->decoder, r->batch);
    if (err == -ENOMEM)
        return error_set(error, err, "out of memory");
    const struct decode_stats *s = decoder_stats(r->decoder);
    struct answer *a = NULL;
    if (err == DECODE_DONE && s->accepted == 1 && !s->rejected)
        a = of_row(r);
    else if (err == DECODE_DONE && !s->accepted && s->rejected == 1 &&
             s->by_reason[DECODE_NO_FIELDS] == 1)
        a = answer_new(ANSWER_MISSING, r->schema->n - 1);
    else
        return error_set(error, -EBADMSG, "the answer is no JSON object that fits: %s",
                         s->n_errors ? s->errors[0].message : "one object is expected");
    if (!a)
        return error_set(error, -ENOMEM, "out of memory");
    *ret = a;
    return 0;
}

/* ---- From cells ---------------------------------------------------------------------------------- */

int answer_of_cells(const struct weir_cell *cell, const struct schema *schema,
                    struct answer **ret)
{
    const size_t n = schema->n - 1;
    size_t texts = 0;
    for (size_t i = 0; i < n; i++)
        texts += cell[i].type == WEIR_STRING ? cell[i].size : 0;
    if (texts > ANSWER_TEXTS_MAX)
        return -E2BIG;
    struct answer *a = alloc(fixed_size(n) + texts);
    if (!a)
        return -ENOMEM;
    char *to = (char *)(a->bytes.value + n);
    a->bytes.outcome = ANSWER_MISSING;
    for (size_t i = 0; i < n; i++) {
        const struct weir_cell *c = &cell[i];
        if (!c->type) {
            a->bytes.nulls |= UINT64_C(1) << i;
            continue;
        }
        a->bytes.outcome = ANSWER_FOUND;
        if (c->type == WEIR_STRING) {
            a->bytes.value[i] = c->size;
            memcpy(to, c->as.s, c->size);
            to += c->size;
        } else { /* a double likewise */
            memcpy(&a->bytes.value[i], &c->as.i, sizeof(a->bytes.value[i]));
        }
    }
    *ret = a;
    return 0;
}

/* ---- To a batch ---------------------------------------------------------------------------------- */

/* Where the text of a column begins. */
static const char *text_of(const struct answer *a, size_t column,
                           const struct schema *schema)
{
    const char *at = (const char *)(a->bytes.value + (schema->n - 1));
    for (size_t i = 0; i < column; i++)
        at += schema->column[i + 1].type == WEIR_STRING ? a->bytes.value[i] : 0;
    return at;
}

static int put_text(const struct answer *a, size_t column, const struct schema *schema,
                    struct batch *to, size_t c, uint64_t *cut)
{
    struct column *t = &to->column[c];
    size_t size = a ? a->bytes.value[column] : 0;
    int r = size ? batch_bytes(to, c, size) : 0;
    if (r == -ENOSPC) { /* more text than a batch can have */
        size = 0;
        ++*cut;
        r = batch_set_null(to, c);
    }
    if (r == 0 && size)
        memcpy(t->bytes + t->offsets[to->n_rows], text_of(a, column, schema), size);
    t->offsets[to->n_rows + 1] = t->offsets[to->n_rows] + (int32_t)size;
    return r;
}

int answer_gather(const struct answer *const *row, size_t column,
                  const struct schema *schema, struct batch *to, size_t c,
                  uint64_t *cut)
{
    struct column *t = &to->column[c];
    const uint64_t bit = UINT64_C(1) << column;
    const uint32_t rows = to->n_rows;
    int r = 0;
    for (uint32_t n = 0; r == 0 && n < rows; n++) {
        const struct answer *a = row[n] && !(row[n]->bytes.nulls & bit) ? row[n] : NULL;
        to->n_rows = n;
        if (!a)
            r = batch_set_null(to, c);
        if (r < 0)
            break;
        if (t->type == WEIR_BOOL)
            batch_put_bool(t, n, a && a->bytes.value[column]);
        else if (t->type == WEIR_STRING)
            r = put_text(a, column, schema, to, c, cut);
        else
            ((uint64_t *)t->values)[n] = a ? a->bytes.value[column] : 0;
    }
    to->n_rows = rows;
    batch_seal_column(to, c);
    return r;
}
