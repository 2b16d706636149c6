/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a statement as JSON, NDJSON, CSV or a table for people.
 */
#include "query/rowout.h"
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define ROWOUT_TABLE_WIDTH                                                             \
    20 /* of a column of the table; longer values push the others */

static const struct {
    const char *name, *type;
} rowout_formats[] = {
    [ROWOUT_JSON] = {"json", "application/json"},
    [ROWOUT_NDJSON] = {"ndjson", "application/x-ndjson"},
    [ROWOUT_CSV] = {"csv", "text/csv; charset=utf-8"},
    [ROWOUT_TABLE] = {"table", "text/plain; charset=utf-8"},
};
#define ROWOUT_FORMATS (sizeof(rowout_formats) / sizeof(rowout_formats[0]))

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
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].format == format && strlen(known[i].range) == size &&
            strncasecmp(known[i].range, range, size) == 0)
            return known[i].exactness;
    return size == 3 && memcmp(range, "*/*", 3) == 0;
}

/* Thousandths of "; q=0.5" behind a range; 1000 if there is none. */
static unsigned rowout_weight(const char *parameters)
{
    for (const char *p = parameters; *p == ';' || *p == ' ' || *p == '\t';) {
        p += strspn(p, "; \t");
        if ((*p | 32) == 'q' && p[1] == '=') {
            unsigned weight = p[2] == '1' ? 1000 : 0, unit = 100;
            p += p[2] ? 3 : 2;
            for (p += *p == '.'; unit && *p >= '0' && *p <= '9'; p++, unit /= 10)
                weight += (unsigned)(*p - '0') * unit;
            return weight > 1000 ? 1000 : weight;
        }
        p += strcspn(p, ";,");
    }
    return 1000;
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
            w = (struct rowout_wish){rowout_weight(p + size), exactness,
                                     (size_t)(p - accept)};
        p += strcspn(p, ",");
    }
    return w;
}

int rowout_accept(const char *accept, enum rowout_format *ret)
{
    static const enum rowout_format formats[] = {ROWOUT_JSON, ROWOUT_NDJSON,
                                                 ROWOUT_CSV};
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

static void rowout_time(struct buffer *b, int64_t us, bool quoted)
{
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
                           bool quoted)
{
    if (type == WEIR_TIME) {
        rowout_time(b, v, quoted);
        return;
    }
    if (type == WEIR_BOOL) {
        buffer_puts(b, v ? "true" : "false");
        return;
    }
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

static void rowout_json_value(struct buffer *b, sqlite3_stmt *row, int c,
                              enum weir_type type)
{
    switch (sqlite3_column_type(row, c)) {
    case SQLITE_INTEGER:
        rowout_integer(b, sqlite3_column_int64(row, c), type, true);
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
                             enum weir_type type)
{
    switch (sqlite3_column_type(row, c)) {
    case SQLITE_INTEGER:
        rowout_integer(b, sqlite3_column_int64(row, c), type, false);
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

static void rowout_key(struct buffer *b, const char *name)
{
    buffer_put_json_string(b, name, strlen(name));
    buffer_putc(b, ':');
}

static void rowout_row_json(struct rowout *o, struct buffer *b, sqlite3_stmt *row)
{
    bool arrays = o->arrays && o->format == ROWOUT_JSON;
    buffer_putc(b, arrays ? '[' : '{');
    for (size_t c = 0; c < o->n_columns; c++) {
        if (c)
            buffer_putc(b, ',');
        if (!arrays)
            rowout_key(b, o->column[c].name);
        rowout_json_value(b, row, (int)c, o->column[c].type);
    }
    buffer_putc(b, arrays ? ']' : '}');
}

static void rowout_row_csv(struct rowout *o, struct buffer *b, sqlite3_stmt *row)
{
    for (size_t c = 0; c < o->n_columns; c++) {
        if (c)
            buffer_putc(b, ',');
        rowout_csv_value(b, row, (int)c, o->column[c].type);
    }
    buffer_puts(b, "\r\n");
}

static void rowout_pad(struct buffer *b, size_t since)
{
    size_t width = 0; /* characters, not bytes */
    for (size_t i = since; i < b->size; i++)
        width += ((unsigned char)b->data[i] & 0xc0) != 0x80;
    for (; width < ROWOUT_TABLE_WIDTH; width++)
        buffer_putc(b, ' ');
}

static void rowout_row_table(struct rowout *o, struct buffer *b, sqlite3_stmt *row)
{
    for (size_t c = 0; c < o->n_columns; c++) {
        size_t since = b->size;
        if (sqlite3_column_type(row, (int)c) == SQLITE_TEXT) {
            size_t size;
            const char *text = rowout_text(b, row, (int)c, &size);
            buffer_put(b, text, size);
        } else {
            rowout_csv_value(b, row, (int)c, o->column[c].type);
        }
        if (c + 1 < o->n_columns) {
            rowout_pad(b, since);
            buffer_puts(b, "  ");
        }
    }
    buffer_putc(b, '\n');
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
    }
    o->rows++;
}

/* ---- Around them ---- */

static void rowout_names(struct rowout *o, struct buffer *b)
{
    for (size_t c = 0; c < o->n_columns; c++) {
        const char *name = o->column[c].name;
        size_t since = b->size;
        if (o->format == ROWOUT_JSON) {
            buffer_puts(b, c ? "," : "");
            buffer_put_json_string(b, name, strlen(name));
        } else if (o->format == ROWOUT_CSV) {
            buffer_puts(b, c ? "," : "");
            rowout_csv_text(b, name, strlen(name));
        } else {
            buffer_puts(b, name);
            if (c + 1 < o->n_columns) {
                rowout_pad(b, since);
                buffer_puts(b, "  ");
            }
        }
    }
}

void rowout_begin(struct rowout *o, struct buffer *b)
{
    o->rows = 0;
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
        buffer_putc(b, '\n');
        return;
    }
}

void rowout_end(struct rowout *o, struct buffer *b, const char *cut)
{
    if (o->format == ROWOUT_TABLE && cut)
        buffer_printf(b, "(cut: more %s than the limit)\n", cut);
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
