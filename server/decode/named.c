/* SPDX-License-Identifier: Apache-2.0
 *
 * Values by name: text as cells of CSV, numbers and bools also as text.
 */
#include "decode/named.h"

#include "decode/value.h"

#include <math.h>
#include <stdio.h>

#define NAMED_NUMBER 64 /* longer text is no number */

/* The column, which has a value from now on, or -1. */
static int find(struct lines *l, struct named_text name)
{
    int c = names_find(&l->names, name.bytes, name.size);
    if (c < 0) {
        l->row_skipped++;
        return -1;
    }
    record_set_bit(l->seen, (size_t)c);
    record_clear_bit(l->record.null_bits, (size_t)c);
    return c;
}

static bool put_string(struct record *r, size_t c, const char *text, size_t size)
{
    struct column *col = &r->out->column[c];
    int32_t *offset = &col->offsets[r->out->n_rows];
    if (!record_bytes(r, c, text, size))
        return false;
    memcpy(col->bytes + offset[0], text, size);
    offset[1] = offset[0] + (int32_t)size;
    return true;
}

/* Text that is to be a number, a bool or a time, with a zero behind it. */
static bool put_plain(struct record *r, size_t c, struct named_text text)
{
    char copy[NAMED_NUMBER + RECORD_PAD] = "";
    if (text.size > NAMED_NUMBER)
        return value_wrong(r, text.bytes, text.size, c);
    memcpy(copy, text.bytes, text.size);
    return value_plain(r, copy, text.size, c);
}

bool named_put_ascii(struct lines *l, struct named_text name, struct named_text text)
{
    struct record *r = &l->record;
    int c = find(l, name);
    if (c < 0)
        return true;
    return r->schema->column[c].type == WEIR_STRING
               ? put_string(r, (size_t)c, text.bytes, text.size)
               : put_plain(r, (size_t)c, text);
}

bool named_put_text(struct lines *l, struct named_text name, struct named_text text)
{
    struct record *r = &l->record;
    int c = names_find(&l->names, name.bytes, name.size);
    if (c < 0)
        return named_put_ascii(l, name, text);
    const char *fault = text_utf8_fault(text.bytes, text.size);
    if (fault) {
        record_fault(r, NULL, DECODE_UTF8, "field '%.40s': not valid UTF-8",
                     r->schema->column[c].name);
        return false;
    }
    return named_put_ascii(l, name, text);
}

bool named_put_double(struct lines *l, struct named_text name, double v)
{
    struct record *r = &l->record;
    char text[NAMED_NUMBER];
    int c = find(l, name);
    if (c < 0)
        return true;
    if (!isfinite(v)) { /* as in JSON */
        record_null(r, (size_t)c);
        return true;
    }
    if (r->schema->column[c].type == WEIR_FLOAT) {
        ((double *)r->out->column[c].values)[r->out->n_rows] = v;
        return true;
    }
    int size = snprintf(text, sizeof text, "%.17g", v);
    if (r->schema->column[c].type == WEIR_STRING)
        return put_string(r, (size_t)c, text, (size_t)size);
    return put_plain(r, (size_t)c, (struct named_text){text, (size_t)size});
}

bool named_put_int(struct lines *l, struct named_text name, int64_t v)
{
    struct record *r = &l->record;
    char text[NAMED_NUMBER];
    int c = find(l, name);
    if (c < 0)
        return true;
    enum weir_type type = r->schema->column[c].type;
    if (type == WEIR_FLOAT || type == WEIR_INT) {
        struct column *col = &r->out->column[c];
        if (type == WEIR_INT)
            ((int64_t *)col->values)[r->out->n_rows] = v;
        else
            ((double *)col->values)[r->out->n_rows] = (double)v;
        return true;
    }
    int size = snprintf(text, sizeof text, "%lld", (long long)v);
    if (type == WEIR_STRING)
        return put_string(r, (size_t)c, text, (size_t)size);
    return put_plain(r, (size_t)c, (struct named_text){text, (size_t)size});
}

bool named_put_bool(struct lines *l, struct named_text name, bool v)
{
    return named_put_ascii(l, name, v ? NAMED("true") : NAMED("false"));
}

/* `time` in microseconds. False: it is out of range. */
static bool scale(int64_t time, enum decode_unit unit, int64_t *ret)
{
    if (unit == DECODE_NS) {
        *ret = time / 1000;
        return true;
    }
    return !__builtin_mul_overflow(time, value_us_in(unit), ret) &&
           value_is_event_time(*ret);
}

int named_commit(struct lines *l, int64_t time, enum decode_unit unit)
{
    struct record *r = &l->record;
    int64_t *us = &((int64_t *)r->out->column[0].values)[r->out->n_rows];
    uint64_t seen = 0;
    if (r->status != RECORD_OK)
        return r->status;
    *us = r->now_us;
    if (time && r->unit != DECODE_ARRIVAL && !scale(time, unit, us)) {
        record_fault(r, NULL, DECODE_RANGE,
                     "field '%.40s': expected a time within 146000 years of 1970",
                     r->schema->column[0].name);
        return RECORD_BAD;
    }
    for (unsigned w = 0; w < r->words; w++) {
        seen |= l->seen[w];
        r->null_bits[w] |= l->all[w] & ~l->seen[w];
    }
    if (!seen && r->schema->n > 1) {
        record_fault(r, NULL, DECODE_NO_FIELDS,
                     "none of the stream's fields is there, such as '%.40s'",
                     r->schema->column[1].name);
        return RECORD_BAD;
    }
    int status = record_commit(r);
    if (status == RECORD_OK)
        l->skipped += l->row_skipped;
    return status;
}
