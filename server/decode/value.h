/* SPDX-License-Identifier: Apache-2.0
 *
 * One JSON value into row n_rows of its column, or past it.
 */
#ifndef WEIR_DECODE_VALUE_H
#define WEIR_DECODE_VALUE_H

#include "decode/nested.h"
#include "decode/number.h"
#include "decode/record.h"
#include "decode/text.h"

/* How the value of a column is read, so that a predicted line needs no look at the schema. */
enum value_kind {
    VALUE_SKIP, /* no column: only checked */
    VALUE_STRING,
    VALUE_FLOAT,
    VALUE_INT,
    VALUE_NUMBER_TIME, /* column 0, of any unit that is a number */
    VALUE_OTHER,       /* bool, RFC 3339 */
    VALUE_NESTED, /* an object or a list with columns in it; a node instead of a column */
};

enum value_kind value_kind(const struct record *r, size_t c);

/* Any value, valid or not, and white space before it: a layout's text may be found in front of more of
 * it than the layout knows. Both return what follows it, or NULL: r->status. */
const char *value_store(struct record *r, const char *p, size_t c);
const char *value_skip(struct record *r, const char *p);

/* A number into a column of any type. False: it is of the wrong type or range. */
bool value_number(struct record *r, const struct number *n, size_t c);

/* Says that `size` bytes at p are no value for column c. Returns NULL. */
const char *value_wrong(struct record *r, const char *p, size_t size, size_t c)
    __attribute__((cold));

/* RFC 3339 text into a WEIR_TIME column; `size` bytes at p. NULL: r->status. */
const char *value_text_time(struct record *r, const char *p, size_t size, size_t c);

/* Text without quotes, as in CSV, into a column that is no string: `size` bytes at p, and a byte behind them that is no
 * part of a number. False: r->status. */
bool value_plain(struct record *r, const char *p, size_t size, size_t c);

static inline int64_t value_us_in(enum decode_unit unit)
{
    return unit == DECODE_S ? 1000000 : unit == DECODE_MS ? 1000 : 1;
}

static inline bool value_is_event_time(int64_t us)
{
    return us >= -DECODE_TIME_MAX_US && us <= DECODE_TIME_MAX_US;
}

/* The same as value_store and value_skip, quickly where the value is of the common form. */
static inline const char *value_fast(struct record *r, const char *p,
                                     enum value_kind kind, size_t c)
{
    struct column *col = r->out->column;
    uint32_t row = r->out->n_rows;
    const char *end = NULL;
    switch (kind) {
    case VALUE_STRING:
        if (*p == '"')
            end = text_fast(&col[c], row, p + 1);
        break;
    case VALUE_FLOAT:
        end = number_fast_double(p, &((double *)col[c].values)[row]);
        break;
    case VALUE_INT:
        end = number_fast_int(p, &((int64_t *)col[c].values)[row]);
        break;
    case VALUE_NUMBER_TIME: {
        int64_t v, *us = &((int64_t *)col[c].values)[row];
        end = r->unit == DECODE_NS ? NULL : number_fast_int(p, &v);
        if (end && (__builtin_mul_overflow(v, value_us_in(r->unit), us) ||
                    !value_is_event_time(*us)))
            end = NULL;
        break;
    }
    case VALUE_SKIP:
        if (*p == '"')
            end = text_fast_skip(p + 1);
        return end ? end : value_skip(r, p);
    case VALUE_NESTED:
        return nested_read(r, p, (uint16_t)c);
    case VALUE_OTHER:
        break;
    }
    return __builtin_expect(end != NULL, 1) ? end : value_store(r, p, c);
}

#endif
