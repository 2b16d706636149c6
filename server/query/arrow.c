/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows as a stream of Arrow.
 *
 *      message   FFFFFFFF  [size of the metadata: u32]  metadata, a FlatBuffer  body
 *      body      of each column: which rows are not null, one bit each, if some are | values, or offsets and bytes
 *                each at a multiple of 8
 */
#include "query/arrow.h"
#include "base/clock.h"
#include "query/flat.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum arrow_type {
    ARROW_NOTHING, /* each value was null */
    ARROW_INT,
    ARROW_FLOAT,
    ARROW_BOOL,
    ARROW_TIME,
    ARROW_TEXT,
    ARROW_BYTES,
};

struct arrow_column {
    const char *name;
    enum arrow_type type;
    bool is_time;
    int64_t unit_us; /* of times as numbers; 0: timestamps */
    size_t nulls;
    struct buffer valid; /* a bit a row */
    struct buffer
        values; /* int64_t; double; a bit a row; int32_t: where the text begins, and where the last one ends */
    struct buffer text;
};

struct arrow {
    bool begun;    /* the schema is out */
    uint64_t done; /* rows that are out */
    size_t rows;   /* that are kept */
    size_t n_columns;
    struct arrow_column column[];
};

/* ---- One value in its column ---- */

static bool arrow_is_text(const struct arrow_column *c)
{
    return c->type == ARROW_TEXT || c->type == ARROW_BYTES;
}

static void arrow_bit(struct buffer *bits, size_t row, bool bit)
{
    if (row % 8 == 0)
        buffer_putc(bits, 0);
    if (bit && !bits->error)
        bits->data[row / 8] = (char)(bits->data[row / 8] | 1 << row % 8);
}

static bool arrow_is_valid(const struct arrow_column *c, size_t row)
{
    return c->valid.data[row / 8] >> row % 8 & 1;
}

static void arrow_text_ends(struct arrow_column *c)
{
    int32_t end = (int32_t)c->text.size;
    buffer_put(&c->values, &end, sizeof(end));
}

/* Before the first value, of any column that is kept. */
static void arrow_column_begin(struct arrow_column *c)
{
    buffer_clear(&c->valid);
    buffer_clear(&c->values);
    buffer_clear(&c->text);
    c->nulls = 0;
    if (arrow_is_text(c))
        arrow_text_ends(c);
}

/* Of a time units that have begun, before 1970 too. */
static int64_t arrow_in_units(const struct arrow_column *c, int64_t v)
{
    return c->unit_us ? v / c->unit_us - (v % c->unit_us < 0) : v;
}

static void arrow_put_int(struct arrow_column *c, size_t row, int64_t v)
{
    v = arrow_in_units(c, v);
    const double real = (double)v;
    if (c->type == ARROW_BOOL)
        arrow_bit(&c->values, row, v != 0);
    else if (c->type == ARROW_FLOAT)
        buffer_put(&c->values, &real, sizeof(real));
    else
        buffer_put(&c->values, &v, sizeof(v));
}

static void arrow_put_null(struct arrow_column *c, size_t row)
{
    static const int64_t zero;
    arrow_bit(&c->valid, row, false);
    c->nulls++;
    if (arrow_is_text(c))
        arrow_text_ends(c);
    else if (c->type == ARROW_BOOL)
        arrow_bit(&c->values, row, false);
    else
        buffer_put(&c->values, &zero, sizeof(zero));
}

/* ---- As text ---- */

static void arrow_put_hex(struct buffer *to, const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        buffer_putc(to, "0123456789abcdef"[bytes[i] >> 4]);
        buffer_putc(to, "0123456789abcdef"[bytes[i] & 15]);
    }
}

/* Whole ones as integers, which they may have been before others of the column. */
static void arrow_put_real(struct buffer *to, double v)
{
    if (isinf(v))
        buffer_puts(to, v < 0 ? "-Inf" : "Inf"); /* as SQLite's shell */
    else if (fabs(v) <= 0x1p53 && v == trunc(v) && (v != 0 || !signbit(v)))
        buffer_printf(to, "%.0f", v);
    else
        buffer_put_json_double(to, v);
}

/* The value of a row that is kept, as of a column that was `type`. */
static void arrow_put_kept(struct buffer *to, const struct arrow_column *was,
                           size_t row)
{
    const char *at = was->values.data + row * 8;
    int64_t number;
    double real;
    char time[CLOCK_TEXT_MAX];
    int32_t span[2];
    switch (was->type) {
    case ARROW_FLOAT:
        memcpy(&real, at, sizeof(real));
        arrow_put_real(to, real);
        return;
    case ARROW_BOOL:
        buffer_puts(to, was->values.data[row / 8] >> row % 8 & 1 ? "true" : "false");
        return;
    case ARROW_TIME:
        memcpy(&number, at, sizeof(number));
        buffer_put(to, time, clock_format(number, time));
        return;
    case ARROW_BYTES:
        memcpy(span, was->values.data + row * sizeof(span[0]), sizeof(span));
        arrow_put_hex(to, (const unsigned char *)was->text.data + span[0],
                      (size_t)(span[1] - span[0]));
        return;
    default:
        memcpy(&number, at, sizeof(number));
        buffer_printf(to, "%" PRId64, number);
    }
}

/* Any value but null, as text. */
static void arrow_put_text(struct arrow_column *c, sqlite3_stmt *row, int i)
{
    int kind = sqlite3_column_type(row, i);
    if (kind == SQLITE_INTEGER) {
        int64_t v = sqlite3_column_int64(row, i);
        char time[CLOCK_TEXT_MAX];
        if (c->is_time && !c->unit_us)
            buffer_put(&c->text, time, clock_format(v, time));
        else
            buffer_printf(&c->text, "%" PRId64, arrow_in_units(c, v));
        return;
    }
    if (kind == SQLITE_FLOAT) {
        arrow_put_real(&c->text, sqlite3_column_double(row, i));
        return;
    }
    const void *bytes = kind == SQLITE_TEXT ? (const void *)sqlite3_column_text(row, i)
                                            : sqlite3_column_blob(row, i);
    size_t size = (size_t)sqlite3_column_bytes(row, i);
    if (!bytes && (kind == SQLITE_TEXT || size > 0))
        c->text.error = -ENOMEM;
    else if (kind == SQLITE_TEXT)
        buffer_put_utf8(&c->text, bytes, size); /* readers refuse all else */
    else if (c->type == ARROW_BYTES)
        buffer_put(&c->text, bytes, size);
    else
        arrow_put_hex(&c->text, bytes, size);
}

/* ---- What a column is ---- */

static bool arrow_is_exact(int64_t v)
{
    return v >= -(INT64_C(1) << 53) && v <= INT64_C(1) << 53;
}

/* The type that holds the column's values so far and one of that kind as well, as far as the kinds tell. */
static enum arrow_type arrow_wider(enum arrow_type type, int kind)
{
    static const enum arrow_type alone[] = {[SQLITE_INTEGER] = ARROW_INT,
                                            [SQLITE_FLOAT] = ARROW_FLOAT,
                                            [SQLITE_TEXT] = ARROW_TEXT,
                                            [SQLITE_BLOB] = ARROW_BYTES};
    bool whole = kind == SQLITE_INTEGER;
    switch (type) {
    case ARROW_NOTHING:
        return alone[kind];
    case ARROW_INT:
        return whole ? type : kind == SQLITE_FLOAT ? ARROW_FLOAT : ARROW_TEXT;
    case ARROW_FLOAT:
        return whole || kind == SQLITE_FLOAT ? type : ARROW_TEXT;
    case ARROW_BOOL:
    case ARROW_TIME:
        return whole ? type : ARROW_TEXT;
    case ARROW_BYTES:
        return kind == SQLITE_BLOB ? type : ARROW_TEXT;
    default:
        return type;
    }
}

/* False: some of them would be others. */
static bool arrow_to_floats(struct arrow_column *c, size_t rows)
{
    int64_t v;
    for (size_t r = 0; r < rows; r++) {
        memcpy(&v, c->values.data + r * sizeof(v), sizeof(v));
        if (!arrow_is_exact(v))
            return false;
    }
    for (size_t r = 0; r < rows; r++) {
        memcpy(&v, c->values.data + r * sizeof(v), sizeof(v));
        double real = (double)v;
        memcpy(c->values.data + r * sizeof(v), &real, sizeof(real));
    }
    return true;
}

static void arrow_to_text(struct arrow_column *c, enum arrow_type to, size_t rows)
{
    struct arrow_column was = *c;
    c->values = (struct buffer){0};
    c->text = (struct buffer){0};
    c->type = to;
    c->text.limit = INT32_MAX;
    arrow_text_ends(c);
    for (size_t r = 0; r < rows; r++) {
        if (was.type != ARROW_NOTHING && arrow_is_valid(&was, r))
            arrow_put_kept(&c->text, &was, r);
        arrow_text_ends(c);
    }
    buffer_free(&was.values);
    buffer_free(&was.text);
}

/* All that is kept of the column becomes `to`, or text. */
static void arrow_widen(struct arrow_column *c, enum arrow_type to, size_t rows)
{
    if (c->type == to || c->valid.error || c->values.error || c->text.error)
        return;
    if (to == ARROW_FLOAT && c->type == ARROW_INT && !arrow_to_floats(c, rows))
        to = ARROW_TEXT;
    if (to == ARROW_TEXT || to == ARROW_BYTES)
        arrow_to_text(c, to, rows);
    c->type = to; /* zeros of nulls are the same in all others */
}

/* Makes room in the column's type for a value that is not null. False: there is none. */
static bool arrow_fit(struct arrow *a, struct arrow_column *c, sqlite3_stmt *row, int i)
{
    const int kind = sqlite3_column_type(row, i);
    enum arrow_type wider = arrow_wider(c->type, kind);
    if (wider == ARROW_FLOAT && kind == SQLITE_INTEGER &&
        !arrow_is_exact(sqlite3_column_int64(row, i)))
        wider = ARROW_TEXT;
    if (!a->begun)
        arrow_widen(c, wider, a->rows);
    else if (c->type == ARROW_INT && kind == SQLITE_FLOAT && !c->is_time) {
        double v = sqlite3_column_double(row, i);
        return v >= -0x1p63 && v < 0x1p63 && v == trunc(v) && (v != 0 || !signbit(v));
    }
    return !a->begun || c->type == wider;
}

/* ---- Rows ---- */

int arrow_new(const struct arrow_field *field, size_t n, struct arrow **ret)
{
    static const enum arrow_type types[] = {[WEIR_INT] = ARROW_INT,
                                            [WEIR_FLOAT] = ARROW_FLOAT,
                                            [WEIR_BOOL] = ARROW_BOOL,
                                            [WEIR_STRING] = ARROW_TEXT,
                                            [WEIR_TIME] = ARROW_TIME};
    struct arrow *a = calloc(1, sizeof(*a) + n * sizeof(a->column[0]));
    if (!a)
        return -ENOMEM;
    a->n_columns = n;
    for (size_t i = 0; i < n; i++) {
        struct arrow_column *c = &a->column[i];
        c->name = field[i].name;
        c->is_time = field[i].type == WEIR_TIME;
        c->unit_us = c->is_time ? field[i].unit_us : 0;
        c->type = c->unit_us ? ARROW_INT : types[field[i].type];
        c->text.limit = INT32_MAX;
        arrow_column_begin(c);
    }
    *ret = a;
    return 0;
}

void arrow_free(struct arrow *a)
{
    for (size_t i = 0; a && i < a->n_columns; i++) {
        buffer_free(&a->column[i].valid);
        buffer_free(&a->column[i].values);
        buffer_free(&a->column[i].text);
    }
    free(a);
}

static const char *const arrow_names[] = {
    [ARROW_NOTHING] = "null", [ARROW_INT] = "int64",      [ARROW_FLOAT] = "float64",
    [ARROW_BOOL] = "bool",    [ARROW_TIME] = "timestamp", [ARROW_TEXT] = "utf8",
    [ARROW_BYTES] = "binary",
};

static int arrow_value(struct arrow *a, struct arrow_column *c, sqlite3_stmt *row,
                       int i, struct error *error)
{
    static const char *const kinds[] = {[SQLITE_INTEGER] = "an integer",
                                        [SQLITE_FLOAT] = "a real number",
                                        [SQLITE_TEXT] = "text",
                                        [SQLITE_BLOB] = "a blob"};
    const int kind = sqlite3_column_type(row, i);
    if (kind == SQLITE_NULL) {
        arrow_put_null(c, a->rows);
        return 0;
    }
    if (!arrow_fit(a, c, row, i))
        return error_set(error, -EDOM,
                         "column '%s' is %s by its first rows, and row %" PRIu64
                         " has %s that it cannot hold: CAST it to one type",
                         c->name, arrow_names[c->type], a->done + a->rows + 1,
                         kinds[kind]);
    arrow_bit(&c->valid, a->rows, true);
    if (arrow_is_text(c)) {
        arrow_put_text(c, row, i);
        arrow_text_ends(c);
    } else if (kind == SQLITE_FLOAT && c->type == ARROW_FLOAT) {
        double v = sqlite3_column_double(row, i);
        buffer_put(&c->values, &v, sizeof(v));
    } else {
        arrow_put_int(c, a->rows, sqlite3_column_int64(row, i));
    }
    return 0;
}

int arrow_row(struct arrow *a, sqlite3_stmt *row, struct error *error)
{
    for (size_t i = 0; i < a->n_columns; i++) {
        struct arrow_column *c = &a->column[i];
        int err = arrow_value(a, c, row, (int)i, error);
        if (!err && (c->valid.error || c->values.error || c->text.error))
            err = -ENOMEM;
        if (err)
            return err;
    }
    a->rows++;
    return 0;
}

void arrow_drop(struct arrow *a)
{
    const size_t last = --a->rows;
    for (size_t i = 0; i < a->n_columns; i++) {
        struct arrow_column *c = &a->column[i];
        c->nulls -= !arrow_is_valid(c, last);
        if (arrow_is_text(c)) {
            int32_t begin;
            c->values.size -= sizeof(begin);
            memcpy(&begin, c->values.data + last * sizeof(begin), sizeof(begin));
            c->text.size = (size_t)begin;
        } else if (c->type != ARROW_BOOL) {
            c->values.size -= 8;
        }
        struct buffer *bits[] = {&c->valid, c->type == ARROW_BOOL ? &c->values : NULL};
        for (size_t k = 0; k < 2 && bits[k]; k++) {
            bits[k]->data[last / 8] =
                (char)(bits[k]->data[last / 8] & ~(1 << last % 8));
            bits[k]->size -= last % 8 == 0;
        }
    }
}

size_t arrow_size(const struct arrow *a)
{
    size_t size = 0;
    for (size_t i = 0; i < a->n_columns; i++)
        size +=
            a->column[i].valid.size + a->column[i].values.size + a->column[i].text.size;
    return size;
}

/* ---- Messages ---- */

/* Schema.fbs and Message.fbs: fields by their ids, with their sizes. */
enum { MESSAGE_VERSION, MESSAGE_HEADER_TYPE, MESSAGE_HEADER, MESSAGE_BODY };
static const uint8_t message_table[] = {2, 1, 4, 8};
enum { SCHEMA_ENDIANNESS, SCHEMA_FIELDS };
static const uint8_t schema_table[] = {2, 4};
enum { FIELD_NAME, FIELD_NULLABLE, FIELD_TYPE_TYPE, FIELD_TYPE, FIELD_CHILDREN = 5 };
static const uint8_t field_table[] = {4, 1, 1, 4, 0, 4};
enum { BATCH_LENGTH, BATCH_NODES, BATCH_BUFFERS };
static const uint8_t batch_table[] = {8, 4, 4};

enum { VERSION_5 = 4, HEADER_SCHEMA = 1, HEADER_BATCH = 3 };
enum { PRECISION_DOUBLE = 2, UNIT_MICROSECOND = 2 };

static const char arrow_mark[4] = {'\xff', '\xff', '\xff', '\xff'};

static void arrow_pad(struct buffer *to, size_t size)
{
    static const char zeros[8];
    buffer_put(to, zeros, (8 - size % 8) % 8);
}

static void arrow_message(struct buffer *meta, uint8_t type, size_t ret_field[4])
{
    flat_begin(meta);
    flat_table(meta, 0, message_table, 4, ret_field);
    flat_set(meta, ret_field[MESSAGE_VERSION], VERSION_5, 2);
    flat_set(meta, ret_field[MESSAGE_HEADER_TYPE], type, 1);
}

/* Behind the mark of the message. */
static void arrow_put_meta(struct buffer *to, const struct buffer *meta)
{
    uint32_t size = (uint32_t)(meta->size + (8 - meta->size % 8) % 8);
    const char little[4] = {(char)size, (char)(size >> 8), (char)(size >> 16),
                            (char)(size >> 24)};
    if (meta->error && !to->error)
        to->error = meta->error;
    buffer_put(to, little, sizeof(little));
    buffer_put(to, meta->data, meta->size);
    arrow_pad(to, meta->size);
}

static void arrow_put_type(struct buffer *meta, size_t place, enum arrow_type type)
{
    static const uint8_t number_table[] = {4, 1}, float_table[] = {2},
                         timestamp_table[] = {2, 4};
    size_t at[2];
    switch (type) {
    case ARROW_INT:
        flat_table(meta, place, number_table, 2, at);
        flat_set(meta, at[0], 64, 4);
        flat_set(meta, at[1], true, 1);
        return;
    case ARROW_FLOAT:
        flat_table(meta, place, float_table, 1, at);
        flat_set(meta, at[0], PRECISION_DOUBLE, 2);
        return;
    case ARROW_TIME:
        flat_table(meta, place, timestamp_table, 2, at);
        flat_set(meta, at[0], UNIT_MICROSECOND, 2);
        flat_string(meta, at[1], "UTC");
        return;
    default:
        flat_table(meta, place, NULL, 0, at);
    }
}

static void arrow_put_schema(struct arrow *a, struct buffer *to)
{
    static const uint8_t type_number[] = {
        [ARROW_INT] = 2,  [ARROW_FLOAT] = 3, [ARROW_BYTES] = 4,
        [ARROW_TEXT] = 5, [ARROW_BOOL] = 6,  [ARROW_TIME] = 10};
    struct buffer meta = {0};
    size_t message[4], at[6];
    arrow_message(&meta, HEADER_SCHEMA, message);
    flat_table(&meta, message[MESSAGE_HEADER], schema_table, 2, at);
    flat_set(&meta, at[SCHEMA_ENDIANNESS], __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__, 2);
    size_t field = flat_vector(&meta, at[SCHEMA_FIELDS], a->n_columns, 4);
    for (size_t i = 0; i < a->n_columns; i++) {
        struct arrow_column *c = &a->column[i];
        if (c->type == ARROW_NOTHING)
            arrow_widen(c, ARROW_TEXT, a->rows);
        flat_table(&meta, field + i * 4, field_table, 6, at);
        flat_set(&meta, at[FIELD_NULLABLE], true, 1);
        flat_set(&meta, at[FIELD_TYPE_TYPE], type_number[c->type], 1);
        flat_string(&meta, at[FIELD_NAME], c->name);
        arrow_put_type(&meta, at[FIELD_TYPE], c->type);
        flat_vector(&meta, at[FIELD_CHILDREN], 0, 4);
    }
    buffer_put(to, arrow_mark, sizeof(arrow_mark));
    arrow_put_meta(to, &meta);
    buffer_put(to, arrow_mark, sizeof(arrow_mark));
    buffer_free(&meta);
    a->begun = true;
}

struct arrow_body { /* what is in it so far */
    size_t buffer;  /* the place where the next one is described */
    size_t size;
};

static void arrow_describe(struct buffer *meta, struct arrow_body *body, size_t size)
{
    flat_set(meta, body->buffer, body->size, 8);
    flat_set(meta, body->buffer + 8, size, 8);
    body->buffer += 16;
    body->size += size + (8 - size % 8) % 8;
}

static size_t arrow_valid_size(const struct arrow_column *c)
{
    return c->nulls ? c->valid.size : 0;
}

static void arrow_put_buffer(struct buffer *to, const struct buffer *b, size_t size)
{
    if (b->error && !to->error)
        to->error = b->error;
    buffer_put(to, b->data, size);
    arrow_pad(to, size);
}

static void arrow_put_batch(struct arrow *a, struct buffer *to)
{
    struct buffer meta = {0};
    struct arrow_body body = {0};
    size_t message[4], at[3], n_buffers = 0;
    for (size_t i = 0; i < a->n_columns; i++)
        n_buffers += arrow_is_text(&a->column[i]) ? 3 : 2;
    arrow_message(&meta, HEADER_BATCH, message);
    flat_table(&meta, message[MESSAGE_HEADER], batch_table, 3, at);
    flat_set(&meta, at[BATCH_LENGTH], a->rows, 8);
    size_t node = flat_vector(&meta, at[BATCH_NODES], a->n_columns, 16);
    body.buffer = flat_vector(&meta, at[BATCH_BUFFERS], n_buffers, 16);
    for (size_t i = 0; i < a->n_columns; i++) {
        const struct arrow_column *c = &a->column[i];
        flat_set(&meta, node + i * 16, a->rows, 8);
        flat_set(&meta, node + i * 16 + 8, c->nulls, 8);
        arrow_describe(&meta, &body, arrow_valid_size(c));
        arrow_describe(&meta, &body, c->values.size);
        if (arrow_is_text(c))
            arrow_describe(&meta, &body, c->text.size);
    }
    flat_set(&meta, message[MESSAGE_BODY], body.size, 8);
    arrow_put_meta(to, &meta);
    for (size_t i = 0; i < a->n_columns; i++) {
        const struct arrow_column *c = &a->column[i];
        arrow_put_buffer(to, &c->valid, arrow_valid_size(c));
        arrow_put_buffer(to, &c->values, c->values.size);
        arrow_put_buffer(to, &c->text, c->text.size);
    }
    buffer_put(to, arrow_mark, sizeof(arrow_mark));
    buffer_free(&meta);
}

void arrow_flush(struct arrow *a, struct buffer *to)
{
    if (!a->begun)
        arrow_put_schema(a, to);
    if (a->rows == 0)
        return;
    arrow_put_batch(a, to);
    for (size_t i = 0; i < a->n_columns; i++)
        arrow_column_begin(&a->column[i]);
    a->done += a->rows;
    a->rows = 0;
}

void arrow_end(struct arrow *a, struct buffer *to)
{
    static const char end[4];
    arrow_flush(a, to);
    buffer_put(to, end, sizeof(end));
}
