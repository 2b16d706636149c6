/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a statement as JSON, NDJSON, CSV, Arrow or a table for people.
 */
#include "query/rowout.h"
#include "base/accept.h"
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ROWOUT_TABLE_ROWS 256         /* by which the columns of a table are measured */
#define ROWOUT_TABLE_SIZE (64u << 10) /* or so many bytes of them */
#define ROWOUT_TABLE_WIDTH                                                             \
    64 /* of a column of the table at most; longer values push the others */

static const struct {
    const char *name, *type;
} rowout_formats[] = {
    [ROWOUT_JSON] = {"json", "application/json"},
    [ROWOUT_NDJSON] = {"ndjson", "application/x-ndjson"},
    [ROWOUT_CSV] = {"csv", "text/csv; charset=utf-8"},
    [ROWOUT_TABLE] = {"table", "text/plain; charset=utf-8"},
    [ROWOUT_ARROW] = {"arrow", "application/vnd.apache.arrow.stream"},
};

static const int64_t rowout_unit_us[] = {
    [ROWOUT_US] = 1, [ROWOUT_MS] = 1000, [ROWOUT_S] = SECOND_US};

int rowout_parse(const char *name, enum rowout_format *ret)
{
    for (size_t i = 0; i < ROWOUT_FORMATS; i++) {
        if (strcmp(rowout_formats[i].name, name) != 0)
            continue;
        *ret = (enum rowout_format)i;
        return 0;
    }
    return -EINVAL;
}

int rowout_parse_times(const char *name, enum rowout_times *ret)
{
    static const char *const names[] = {[ROWOUT_RFC3339] = "rfc3339",
                                        [ROWOUT_US] = "us",
                                        [ROWOUT_MS] = "ms",
                                        [ROWOUT_S] = "s"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) != 0)
            continue;
        *ret = (enum rowout_times)i;
        return 0;
    }
    return -EINVAL;
}

const char *rowout_content_type(enum rowout_format format)
{
    return rowout_formats[format].type;
}

/* How exactly a range of Accept names the format; 0: not at all. */
static unsigned rowout_range(const char *range, size_t size, enum rowout_format format)
{
    static const struct {
        const char *range;
        enum rowout_format format;
        unsigned exactness;
    } known[] = {
        {"application/json", ROWOUT_JSON, 3},
        {"application/*", ROWOUT_JSON, 2},
        {"application/x-ndjson", ROWOUT_NDJSON, 3},
        {"application/ndjson", ROWOUT_NDJSON, 3},
        {"application/jsonl", ROWOUT_NDJSON, 3},
        {"application/*", ROWOUT_NDJSON, 2},
        {"text/csv", ROWOUT_CSV, 3},
        {"text/*", ROWOUT_CSV, 2},
        {"application/vnd.apache.arrow.stream", ROWOUT_ARROW, 3},
        {"application/*", ROWOUT_ARROW, 2},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].format == format && strlen(known[i].range) == size &&
            strncasecmp(known[i].range, range, size) == 0)
            return known[i].exactness;
    return size == 3 && memcmp(range, "*/*", 3) == 0;
}

struct rowout_wish {
    unsigned weight, exactness;
    size_t place; /* in the header */
};

/* What the header says of a format: the most exact range counts (RFC 9110, 12.5.1). */
static struct rowout_wish rowout_wanted(const char *accept, enum rowout_format format)
{
    struct rowout_wish w = {0};
    for (const char *p = accept; *p;) {
        p += strspn(p, " \t,");
        size_t size = strcspn(p, " \t,;");
        unsigned exactness = rowout_range(p, size, format);
        if (exactness > w.exactness)
            w = (struct rowout_wish){accept_weight(p + size), exactness,
                                     (size_t)(p - accept)};
        p += strcspn(p, ",");
    }
    return w;
}

int rowout_accept(const char *accept, enum rowout_format *ret)
{
    static const enum rowout_format formats[] = {ROWOUT_JSON, ROWOUT_NDJSON, ROWOUT_CSV,
                                                 ROWOUT_ARROW};
    struct rowout_wish best = {0};
    if (!accept || !accept[strspn(accept, " \t")])
        accept = "*/*";
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        struct rowout_wish w = rowout_wanted(accept, formats[i]);
        if (w.weight < best.weight || w.weight == 0 ||
            (w.weight == best.weight &&
             (w.exactness < best.exactness ||
              (w.exactness == best.exactness && w.place >= best.place))))
            continue;
        best = w;
        *ret = formats[i];
    }
    return best.weight ? 0 : -ENOENT;
}

/* ---- One value ---- */

/* The text of a value of that type; a buffer without memory fails, and shows no empty text. */
static const char *rowout_text(struct buffer *b, sqlite3_stmt *row, int c,
                               size_t *ret_size)
{
    const char *text = (const char *)sqlite3_column_text(row, c);
    *ret_size = text ? (size_t)sqlite3_column_bytes(row, c) : 0;
    if (!text && !b->error)
        b->error = -ENOMEM;
    return text ? text : "";
}

static void rowout_number(struct buffer *b, int64_t v)
{
    char text[24];
    char *p = text + sizeof(text);
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do {
        *--p = (char)('0' + u % 10);
        u /= 10;
    } while (u);
    if (v < 0)
        *--p = '-';
    buffer_put(b, p, (size_t)(text + sizeof(text) - p));
}

static void rowout_time(struct buffer *b, int64_t us, enum rowout_times times,
                        bool quoted)
{
    if (times != ROWOUT_RFC3339) {
        int64_t unit = rowout_unit_us[times];
        rowout_number(b, us / unit - (us % unit < 0)); /* down, before 1970 too */
        return;
    }
    char text[CLOCK_TEXT_MAX];
    size_t size = clock_format(us, text);
    if (quoted)
        buffer_putc(b, '"');
    buffer_put(b, text, size);
    if (quoted)
        buffer_putc(b, '"');
}

static void rowout_hex(struct buffer *b, sqlite3_stmt *row, int c)
{
    const unsigned char *bytes = sqlite3_column_blob(row, c);
    int size = sqlite3_column_bytes(row, c);
    if (!bytes && size > 0 && !b->error)
        b->error = -ENOMEM;
    for (int i = 0; !b->error && i < size; i++) {
        buffer_putc(b, "0123456789abcdef"[bytes[i] >> 4]);
        buffer_putc(b, "0123456789abcdef"[bytes[i] & 15]);
    }
}

static void rowout_integer(struct buffer *b, int64_t v, enum weir_type type,
                           enum rowout_times times, bool quoted)
{
    if (type == WEIR_TIME)
        rowout_time(b, v, times, quoted);
    else if (type == WEIR_BOOL)
        buffer_puts(b, v ? "true" : "false");
    else
        rowout_number(b, v);
}

static void rowout_json_value(struct buffer *b, sqlite3_stmt *row, int c,
                              enum weir_type type, enum rowout_times times)
{
    switch (sqlite3_column_type(row, c)) {
    case SQLITE_INTEGER:
        rowout_integer(b, sqlite3_column_int64(row, c), type, times, true);
        return;
    case SQLITE_FLOAT:
        buffer_put_json_double(b, sqlite3_column_double(row, c));
        return;
    case SQLITE_TEXT: {
        size_t size;
        const char *text = rowout_text(b, row, c, &size);
        buffer_put_json_string(b, text, size);
        return;
    }
    case SQLITE_BLOB:
        buffer_putc(b, '"');
        rowout_hex(b, row, c);
        buffer_putc(b, '"');
        return;
    default:
        buffer_puts(b, "null");
    }
}

enum weir_type rowout_declared(sqlite3_stmt *s, int column)
{
    static const struct {
        const char *name;
        enum weir_type type;
    } declared[] = {{"INTEGER", WEIR_INT},
                    {"INT", WEIR_INT},
                    {"REAL", WEIR_FLOAT},
                    {"TEXT", WEIR_STRING}};
    const char *name = sqlite3_column_decltype(s, column);
    for (size_t i = 0; name && i < sizeof(declared) / sizeof(declared[0]); i++)
        if (strcasecmp(declared[i].name, name) == 0)
            return declared[i].type;
    return 0;
}

void rowout_put_value(struct buffer *b, sqlite3_stmt *row, int column,
                      enum weir_type type)
{
    rowout_json_value(b, row, column, type, ROWOUT_RFC3339);
}

/* RFC 4180: quoted where it holds a quote, a comma or a line end, and where it is empty, so that it is
 * not null. */
static void rowout_csv_text(struct buffer *b, const char *text, size_t size)
{
    bool plain = size > 0;
    for (size_t i = 0; plain && i < size; i++)
        plain = text[i] != '"' && text[i] != ',' && text[i] != '\n' && text[i] != '\r';
    if (plain) {
        buffer_put(b, text, size);
        return;
    }
    buffer_putc(b, '"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            buffer_putc(b, '"');
        buffer_putc(b, text[i]);
    }
    buffer_putc(b, '"');
}

/* Null and what JSON would call null are empty. */
static void rowout_csv_value(struct buffer *b, sqlite3_stmt *row, int c,
                             enum weir_type type, enum rowout_times times)
{
    switch (sqlite3_column_type(row, c)) {
    case SQLITE_INTEGER:
        rowout_integer(b, sqlite3_column_int64(row, c), type, times, false);
        return;
    case SQLITE_FLOAT: {
        double v = sqlite3_column_double(row, c);
        if (v - v == 0) /* finite */
            buffer_put_json_double(b, v);
        return;
    }
    case SQLITE_TEXT: {
        size_t size;
        const char *text = rowout_text(b, row, c, &size);
        rowout_csv_text(b, text, size);
        return;
    }
    case SQLITE_BLOB:
        rowout_hex(b, row, c);
        return;
    default:
        return;
    }
}

/* ---- Rows ---- */

/* UTF-8, and a zero. */
static void rowout_name(struct buffer *b, const char *name)
{
    buffer_put_utf8(b, name, strlen(name));
    buffer_putc(b, 0);
}

/* How many of the names are this one. */
static size_t rowout_count(const struct buffer *names, const char *name)
{
    size_t n = 0;
    for (size_t at = 0; at < names->size; at += strlen(names->data + at) + 1)
        n += !strcmp(names->data + at, name);
    return n;
}

/* The names of all columns: name, or where that is taken name_2, name_3, ... Who has a thousand columns named so
 * that sixteen of these are taken, too, gets one twice. */
static void rowout_unique(struct rowout *o)
{
    struct buffer own = {0}, other = {0};
    for (size_t c = 0; c < o->n_columns; c++)
        rowout_name(&own, o->column[c].name);
    size_t at = 0;
    for (size_t c = 0; !own.error && c < o->n_columns; c++) {
        const char *first = own.data + at, *name = first;
        at += strlen(first) + 1;
        const struct buffer before = {.data = own.data,
                                      .size = (size_t)(first - own.data)};
        size_t n = rowout_count(&before, first);
        for (size_t last = n + 16; n && n < last;) {
            buffer_clear(&other);
            buffer_printf(&other, "%s_%zu", first, ++n);
            name = buffer_text(&other);
            if (!rowout_count(&own, name) && !rowout_count(&o->names, name))
                break;
        }
        buffer_put(&o->names, name, strlen(name) + 1);
    }
    if (own.error || other.error)
        o->names.error = -ENOMEM;
    buffer_free(&own);
    buffer_free(&other);
}

/* "name": as it stands in an object, and a zero; of each column. */
static void rowout_keys(struct rowout *o)
{
    struct buffer keys = {.error = o->names.error};
    for (size_t at = 0; at < o->names.size;) {
        const char *name = o->names.data + at;
        size_t size = strlen(name);
        buffer_put_json_string(&keys, name, size);
        buffer_put(&keys, ":", 2);
        at += size + 1;
    }
    buffer_free(&o->names);
    o->names = keys;
}

/* As Arrow has the columns. */
static int rowout_arrow(struct rowout *o)
{
    struct arrow_field *field = calloc(o->n_columns + 1, sizeof(*field));
    if (!field || o->names.error) {
        free(field);
        return -ENOMEM;
    }
    const char *name = o->names.data;
    for (size_t c = 0; c < o->n_columns; c++) {
        field[c] = (struct arrow_field){
            name, o->column[c].type,
            o->times == ROWOUT_RFC3339 ? 0 : rowout_unit_us[o->times]};
        name += strlen(name) + 1;
    }
    int err = arrow_new(field, o->n_columns, &o->arrow);
    free(field);
    return err;
}

static void rowout_row_json(struct rowout *o, struct buffer *b, sqlite3_stmt *row)
{
    bool arrays = o->arrays && o->format == ROWOUT_JSON;
    const char *key = o->names.data;
    buffer_putc(b, arrays ? '[' : '{');
    for (size_t c = 0; c < o->n_columns; c++) {
        if (c)
            buffer_putc(b, ',');
        if (!arrays) {
            size_t size = strlen(key);
            buffer_put(b, key, size);
            key += size + 1;
        }
        rowout_json_value(b, row, (int)c, o->column[c].type, o->times);
    }
    buffer_putc(b, arrays ? ']' : '}');
}

static void rowout_row_csv(struct rowout *o, struct buffer *b, sqlite3_stmt *row)
{
    for (size_t c = 0; c < o->n_columns; c++) {
        if (c)
            buffer_putc(b, ',');
        rowout_csv_value(b, row, (int)c, o->column[c].type, o->times);
    }
    buffer_puts(b, "\r\n");
}

/* Characters, not bytes. */
static size_t rowout_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* A line of cells, each with a zero behind. Returns where the next one begins. */
static const char *rowout_line(const struct rowout *o, struct buffer *b,
                               const char *cell)
{
    for (size_t c = 0; c < o->n_columns; c++) {
        buffer_puts(b, cell);
        size_t width = rowout_width(cell);
        size_t pad = width < o->width[c] ? o->width[c] - width + 2 : 2;
        while (c + 1 < o->n_columns && pad--)
            buffer_putc(b, ' ');
        cell += strlen(cell) + 1;
    }
    buffer_putc(b, '\n');
    return cell;
}

/* What was held: now the columns have their widths. */
static void rowout_measured(struct rowout *o, struct buffer *b)
{
    const char *end = o->held.data + o->held.size;
    o->width = calloc(o->n_columns + 1, sizeof(*o->width));
    if (!o->width || o->held.error) {
        b->error = -ENOMEM;
        return;
    }
    size_t c = 0;
    for (const char *cell = o->held.data; cell < end; cell += strlen(cell) + 1) {
        size_t width = rowout_width(cell);
        if (width > o->width[c] && width <= ROWOUT_TABLE_WIDTH)
            o->width[c] = width;
        c = c + 1 < o->n_columns ? c + 1 : 0;
    }
    for (const char *cell = o->held.data; cell < end;)
        cell = rowout_line(o, b, cell);
    buffer_clear(&o->held);
}

/* A zero in a text would end the cell: it becomes what stands for it elsewhere. */
static void rowout_cell(struct rowout *o, sqlite3_stmt *row, size_t c)
{
    if (sqlite3_column_type(row, (int)c) != SQLITE_TEXT) {
        rowout_csv_value(&o->held, row, (int)c, o->column[c].type, o->times);
    } else {
        size_t size;
        const char *text = rowout_text(&o->held, row, (int)c, &size);
        for (size_t at = 0; at < size;) {
            size_t n = strnlen(text + at, size - at);
            buffer_put(&o->held, text + at, n);
            at += n;
            if (at < size) {
                buffer_puts(&o->held, "\u2400");
                at++;
            }
        }
    }
    buffer_putc(&o->held, 0);
}

static void rowout_row_table(struct rowout *o, struct buffer *b, sqlite3_stmt *row)
{
    for (size_t c = 0; c < o->n_columns; c++)
        rowout_cell(o, row, c);
    if (o->width && !o->held.error) {
        rowout_line(o, b, o->held.data);
        buffer_clear(&o->held);
    } else if (o->rows + 1 >= ROWOUT_TABLE_ROWS || o->held.error ||
               o->held.size >= ROWOUT_TABLE_SIZE) {
        rowout_measured(o, b);
    }
}

void rowout_row(struct rowout *o, struct buffer *b, sqlite3_stmt *row)
{
    switch (o->format) {
    case ROWOUT_JSON:
        buffer_puts(b, o->rows ? ",\n" : "\n");
        rowout_row_json(o, b, row);
        break;
    case ROWOUT_NDJSON:
        rowout_row_json(o, b, row);
        buffer_putc(b, '\n');
        break;
    case ROWOUT_CSV:
        rowout_row_csv(o, b, row);
        break;
    case ROWOUT_TABLE:
        rowout_row_table(o, b, row);
        break;
    case ROWOUT_ARROW:
        if (!b->error)
            b->error = arrow_row(o->arrow, row, &o->why);
        break;
    }
    o->rows++;
}

void rowout_drop(struct rowout *o)
{
    arrow_drop(o->arrow);
    o->rows--;
}

size_t rowout_size(const struct rowout *o, const struct buffer *b)
{
    return b->size + (o->arrow ? arrow_size(o->arrow) : 0);
}

void rowout_flush(struct rowout *o, struct buffer *b)
{
    if (o->arrow && !b->error)
        arrow_flush(o->arrow, b);
}

/* ---- Around them ---- */

static void rowout_names(struct rowout *o, struct buffer *b)
{
    for (size_t c = 0; c < o->n_columns; c++) {
        const char *name = o->column[c].name;
        if (o->format == ROWOUT_TABLE) {
            buffer_put(&o->held, name, strlen(name) + 1);
            continue;
        }
        buffer_puts(b, c ? "," : "");
        if (o->format == ROWOUT_JSON)
            buffer_put_json_string(b, name, strlen(name));
        else
            rowout_csv_text(b, name, strlen(name));
    }
}

void rowout_begin(struct rowout *o, struct buffer *b)
{
    const bool objects =
        o->format == ROWOUT_NDJSON || (o->format == ROWOUT_JSON && !o->arrays);
    o->rows = 0;
    if (objects || o->format == ROWOUT_ARROW)
        rowout_unique(o);
    if (objects)
        rowout_keys(o);
    if (o->names.error)
        b->error = o->names.error;
    switch (o->format) {
    case ROWOUT_JSON:
        if (!o->arrays) {
            buffer_putc(b, '[');
            return;
        }
        buffer_puts(b, "{\"columns\":[");
        rowout_names(o, b);
        buffer_puts(b, "],\"rows\":[");
        return;
    case ROWOUT_NDJSON:
        return;
    case ROWOUT_CSV:
        rowout_names(o, b);
        buffer_puts(b, "\r\n");
        return;
    case ROWOUT_TABLE:
        rowout_names(o, b);
        return;
    case ROWOUT_ARROW:
        if (!b->error)
            b->error = rowout_arrow(o);
        return;
    }
}

void rowout_end(struct rowout *o, struct buffer *b, const char *cut)
{
    if (o->format == ROWOUT_TABLE && !o->width)
        rowout_measured(o, b);
    if (o->format == ROWOUT_TABLE && cut)
        buffer_printf(b, "(cut: more %s than the limit)\n", cut);
    if (o->arrow && !b->error)
        arrow_end(o->arrow, b);
    if (o->format != ROWOUT_JSON)
        return;
    buffer_puts(b, o->rows ? "\n]" : "]");
    if (!o->arrays) {
        buffer_putc(b, '\n');
        return;
    }
    buffer_puts(b, cut ? ",\"truncated\":true,\"reason\":\"" : ",\"truncated\":false");
    if (cut) {
        buffer_puts(b, cut);
        buffer_putc(b, '"');
    }
    buffer_puts(b, "}\n");
}

void rowout_free(struct rowout *o)
{
    arrow_free(o->arrow);
    o->arrow = NULL;
    buffer_free(&o->names);
    buffer_free(&o->held);
    free(o->width);
    o->width = NULL;
}
