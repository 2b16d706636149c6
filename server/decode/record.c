/* SPDX-License-Identifier: Apache-2.0
 *
 * The rare parts of a row's life: faults, nulls, room for strings.
 */
#include "decode/record.h"

#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define QUOTED_MAX 40 /* bytes of a value that a message quotes */

const char *record_fault(struct record *r, const char *at, enum decode_reason reason,
                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->fault.message, sizeof r->fault.message, format, args);
    va_end(args);
    r->fault.at = at;
    r->fault.reason = reason;
    r->status = RECORD_BAD;
    return NULL;
}

/* Length of the part of a value that fits a message: no control characters, no half characters. */
static int quotable(const char *at, size_t size)
{
    size_t n = 0;
    while (n < size && n < QUOTED_MAX && (unsigned char)at[n] >= ' ')
        n++;
    while (n > 0 && n < size && ((unsigned char)at[n] & 0xc0) == 0x80)
        n--;
    return (int)n;
}

const char *record_type_fault(struct record *r, size_t c, const char *at, size_t size,
                              enum decode_reason reason, const char *expected)
{
    int n = quotable(at, size);
    return record_fault(r, at, reason, "field '%.40s': expected %s, got %.*s%s",
                        r->schema->column[c].name, expected, n, at,
                        (size_t)n < size ? "..." : "");
}

bool record_bytes(struct record *r, size_t c, const char *at, size_t size)
{
    struct column *col = &r->out->column[c];
    size_t used = (size_t)col->offsets[r->out->n_rows];
    if (col->bytes_room - used >= size)
        return true;
    int err = size > r->size_max ? -ENOSPC : batch_bytes(r->out, c, size);
    if (err == 0)
        return true;
    r->status = err;
    if (err == -ENOSPC && (size > r->size_max || r->out->n_rows == 0))
        record_fault(r, at, DECODE_TOO_LONG,
                     "field '%.40s': string of %zu bytes is too long",
                     r->schema->column[c].name, size);
    else if (err == -ENOSPC)
        r->status = RECORD_FULL;
    return false;
}

void record_null(struct record *r, size_t c)
{
    struct column *col = &r->out->column[c];
    uint32_t row = r->out->n_rows;
    record_set_bit(r->null_bits, c);
    if (col->type == WEIR_STRING)
        col->offsets[row + 1] = col->offsets[row];
    else if (col->type == WEIR_BOOL)
        batch_put_bool(col, row, false);
    else
        ((int64_t *)col->values)[row] = 0; /* the bits of 0.0, too */
}

void record_undo(struct record *r, uint32_t n)
{
    while (r->out->n_rows > n) {
        r->out->n_rows--;
        batch_undo_nulls(r->out);
    }
}

/* The default of column c instead of null. False: r->status. */
static bool put_default(struct record *r, size_t c)
{
    const struct decode_field *f = &r->field[c];
    struct column *col = &r->out->column[c];
    uint32_t row = r->out->n_rows;
    if (col->type == WEIR_STRING) {
        if (!record_bytes(r, c, NULL, f->size))
            return false;
        memcpy(col->bytes + col->offsets[row], f->text, f->size);
        col->offsets[row + 1] = col->offsets[row] + (int32_t)f->size;
    } else if (col->type == WEIR_BOOL) {
        batch_put_bool(col, row, f->init.i);
    } else if (col->type == WEIR_FLOAT) {
        ((double *)col->values)[row] = f->init.f;
    } else {
        ((int64_t *)col->values)[row] = f->init.i;
    }
    return true;
}

/* From 2001 to a year ahead. */
static bool is_today(const struct record *r, int64_t us)
{
    return us >= INT64_C(1000000000) * SECOND_US && us <= r->now_us + 366 * DAY_US;
}

static const char *const unit_name[] = {
    [DECODE_S] = "s", [DECODE_MS] = "ms", [DECODE_US] = "us", [DECODE_NS] = "ns"};

/* The unit, one or two steps coarser, of which the number would be today's time; -1: of none. */
static int coarser_unit(const struct record *r, int64_t us)
{
    int unit = (int)r->unit;
    for (int step = 1; step <= 2 && unit - step >= DECODE_S; step++)
        if (!__builtin_mul_overflow(us, 1000, &us) && is_today(r, us))
            return unit - step;
    return -1;
}

static int finer_unit(const struct record *r, int64_t us)
{
    for (int unit = (int)r->unit + 1; r->unit >= DECODE_S && unit <= DECODE_NS; unit++)
        if (is_today(r, us /= 1000))
            return unit;
    return -1;
}

static int fault_unit(struct record *r, int64_t time_us, int unit,
                      enum decode_reason reason)
{
    char text[CLOCK_TEXT_MAX];
    clock_format(time_us, text);
    record_fault(r, NULL, reason,
                 "field '%.40s': %s is %s; the number looks like %s, the unit is %s",
                 r->schema->column[0].name, text,
                 reason == DECODE_UNIT ? "long ago" : "too far in the future",
                 unit_name[unit], unit_name[r->unit]);
    return RECORD_BAD;
}

static int fault_time(struct record *r, int64_t time_us)
{
    char text[CLOCK_TEXT_MAX];
    int unit = finer_unit(r, time_us);
    if (unit >= 0)
        return fault_unit(r, time_us, unit, DECODE_FUTURE);
    clock_format(time_us, text);
    record_fault(r, NULL, DECODE_FUTURE, "field '%.40s': %s is too far in the future",
                 r->schema->column[0].name, text);
    return RECORD_BAD;
}

void record_clock(struct record *r, int64_t now_us)
{
    r->now_us = now_us;
    if (__builtin_add_overflow(now_us, r->skew_us, &r->latest_us))
        r->latest_us = INT64_MAX;
    bool finer = r->unit == DECODE_MS || r->unit == DECODE_US || r->unit == DECODE_NS;
    r->earliest_us =
        r->check_unit && finer ? (now_us + 366 * DAY_US) / 1000 : INT64_MIN;
    if (r->earliest_us > r->latest_us)
        r->earliest_us = r->latest_us;
}

int record_commit_slow(struct record *r)
{
    if (record_bit(r->null_bits, 0)) {
        record_fault(r, NULL, DECODE_NO_TIME,
                     "field '%.40s', the time, is missing or null",
                     r->schema->column[0].name);
        return RECORD_BAD;
    }
    int64_t time_us = ((const int64_t *)r->out->column[0].values)[r->out->n_rows];
    if (time_us > r->latest_us)
        return fault_time(r, time_us);
    int unit = r->check_unit ? coarser_unit(r, time_us) : -1;
    if (unit >= 0)
        return fault_unit(r, time_us, unit, DECODE_UNIT);
    for (unsigned w = 0; w < r->words; w++) {
        for (uint64_t bits = r->null_bits[w]; bits; bits &= bits - 1) {
            size_t c = w * 64 + (unsigned)__builtin_ctzll(bits);
            record_null(r, c);
            if (r->field && r->field[c].has_default) {
                if (put_default(r, c))
                    continue;
                batch_undo_nulls(r->out);
                return r->status;
            }
            if (batch_set_null(r->out, c) < 0) {
                batch_undo_nulls(r->out);
                return -ENOMEM;
            }
        }
    }
    r->out->n_rows++;
    return RECORD_OK;
}
