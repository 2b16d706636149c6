/* SPDX-License-Identifier: Apache-2.0
 *
 * CSV to rows: cutting, the header, the values.
 */
#include "decode/csv.h"

#include "decode/text.h"
#include "decode/value.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#if defined(__SSE2__) && !defined(DECODE_PORTABLE)

/* Bit i is set where p[i] may end a plain field. */
static unsigned plain_stops(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i m = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(',')),
                             _mm_cmpeq_epi8(v, _mm_set1_epi8('\n')));
    return (unsigned)_mm_movemask_epi8(
        _mm_or_si128(m, _mm_cmpeq_epi8(v, _mm_set1_epi8('"'))));
}

#else

static unsigned plain_stops(const char *p)
{
    unsigned m = 0;
    for (unsigned i = 0; i < 16; i++)
        m |= (unsigned)(p[i] == ',' || p[i] == '\n' || p[i] == '"') << i;
    return m;
}

#endif

static const char *plain_end(const char *p, const char *end)
{
    while (end - p >= 16) {
        unsigned stops = plain_stops(p);
        if (stops)
            return p + __builtin_ctz(stops);
        p += 16;
    }
    while (p < end && *p != ',' && *p != '\n' && *p != '"')
        p++;
    return p;
}

static void begin_field(struct csv *c, size_t at, bool quoted)
{
    c->state = quoted ? CSV_QUOTED : CSV_PLAIN;
    if (c->n_fields < CSV_FIELDS_MAX)
        c->field[c->n_fields] =
            (struct csv_field){.begin = at + quoted, .quoted = quoted};
}

static void end_field(struct csv *c, size_t at)
{
    c->state = CSV_FIELD;
    if (c->n_fields < CSV_FIELDS_MAX)
        c->field[c->n_fields].end = at;
    c->n_fields++;
}

static void note_problem(struct csv *c, size_t at, const char *problem)
{
    c->state = CSV_PLAIN;
    if (c->problem)
        return;
    c->problem = problem;
    c->problem_at = at;
}

/* One byte in any state but QUOTED, where nothing but a quote matters. `quotes` stand between the end
 * of the field and `at`. True: the row ends with it. */
static bool step(struct csv *c, char byte, size_t at, size_t quotes)
{
    if (byte == ',' || byte == '\n') {
        end_field(c, at - quotes);
        return byte == '\n';
    }
    if (c->state == CSV_PLAIN) {
        note_problem(c, at, "a quote in a field that does not begin with one");
    } else if (c->state == CSV_QUOTE && byte == '"') {
        if (c->n_fields < CSV_FIELDS_MAX)
            c->field[c->n_fields].doubled = true;
        c->state = CSV_QUOTED;
    } else if (c->state == CSV_QUOTE && byte == '\r') {
        c->state = CSV_RETURN;
    } else {
        note_problem(c, at, "expected ',' or the end of the line after a quoted field");
    }
    return false;
}

const char *csv_scan(struct csv *c, const char *p, const char *end)
{
    const char *begin = p;
    while (c->bom < 3 && p < end) {
        if (*p == "\xef\xbb\xbf"[c->bom])
            c->bom++, p++;
        else
            c->bom = 3; /* half of one stays in the row, and fails as UTF-8 */
    }
    while (p < end) {
        size_t at = c->at + (size_t)(p - begin);
        if (c->state == CSV_FIELD) {
            begin_field(c, at, *p == '"');
            p += *p == '"';
        } else if (c->state == CSV_QUOTED) {
            const char *quote = memchr(p, '"', (size_t)(end - p));
            p = quote ? quote + 1 : end;
            c->state = quote ? CSV_QUOTE : CSV_QUOTED;
        } else {
            if (c->state == CSV_PLAIN)
                p = plain_end(p, end);
            if (p == end)
                break;
            at = c->at + (size_t)(p - begin);
            size_t quotes = c->state == CSV_QUOTE ? 1 : c->state == CSV_RETURN ? 2 : 0;
            if (c->state == CSV_RETURN && *p == ',')
                note_problem(c, at, "a carriage return behind a quoted field");
            p++;
            if (step(c, p[-1], at, quotes))
                return p;
        }
    }
    c->at += (size_t)(p - begin);
    return NULL;
}

void csv_begin_row(struct csv *c)
{
    c->state = CSV_FIELD;
    c->at = 0;
    c->n_fields = 0;
    c->problem = NULL;
}

void csv_begin_body(struct csv *c)
{
    csv_begin_row(c);
    c->bom = 0;
    c->have_header = false;
}

/* What the header calls column i. */
static const char *header_name(const struct csv *c, size_t i)
{
    const struct record *r = &c->record;
    if (r->field && r->field[i].name)
        return r->field[i].name;
    return r->field && r->field[i].path ? r->field[i].path : r->schema->column[i].name;
}

void csv_init(struct csv *c)
{
    const struct schema *s = c->record.schema;
    c->names = (struct names){0};
    for (size_t i = c->record.unit == DECODE_ARRIVAL ? 1 : 0; i < s->n; i++)
        names_add(&c->names, header_name(c, i), strlen(header_name(c, i)), (int)i);
    csv_begin_body(c);
}

/* Copies without the first of each pair of quotes; returns the size. */
static size_t undouble(char *to, const char *p, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (p[i] == '"')
            i++;
        to[n++] = p[i];
    }
    return n;
}

static int bad(struct csv *c, const char *at, enum decode_reason reason,
               const char *text)
{
    record_fault(&c->record, at, reason, "%s", text);
    return RECORD_BAD;
}

/* The column that a field of the header names in *ret, or -1. */
static int find_column(const struct csv *c, const char *p, const struct csv_field *f,
                       int *ret)
{
    size_t size = f->end - f->begin;
    char *plain = NULL;
    if (f->doubled) {
        plain = malloc(size);
        if (!plain)
            return -ENOMEM;
        size = undouble(plain, p + f->begin, size);
    }
    *ret = names_find(&c->names, plain ? plain : p + f->begin, size);
    free(plain);
    return 0;
}

/* A field of the header that names no column, but would without spaces, or with letters of another case. */
static const struct csv_field *nearly(const struct csv *c, const char *p,
                                      const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < c->n_fields; i++) {
        const struct csv_field *f = &c->field[i];
        const char *at = p + f->begin, *end = p + f->end;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        while (at < end && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        if (c->column[i] < 0 && (size_t)(end - at) == size &&
            !strncasecmp(at, name, size))
            return f;
    }
    return NULL;
}

/* Says of a header that is one field, with what separates values elsewhere in it, what it should be. */
static const char *separator(const struct csv *c, const char *p)
{
    const struct csv_field *f = &c->field[0];
    size_t size = c->n_fields == 1 ? f->end - f->begin : 0;
    if (memchr(p + f->begin, ';', size))
        return "; values are separated by ',', not ';'";
    return memchr(p + f->begin, '\t', size)
               ? "; values are separated by ',', not tabulators"
               : "";
}

/* Fields that are not in the header are null in every row. If the header seems to mean one of them, or names none at
 * all, that is not what was meant. */
static int check_missing(struct csv *c, const char *p)
{
    struct record *r = &c->record;
    size_t n = 0, first = r->unit == DECODE_ARRIVAL ? 1 : 0;
    for (size_t i = first; i < r->schema->n; i++) {
        const char *name = header_name(c, i);
        if (!record_bit(c->missing, i))
            continue;
        n++;
        const struct csv_field *f = nearly(c, p, name);
        if (f) {
            record_fault(r, p + f->begin, DECODE_FIELDS,
                         "the header names '%.*s', the stream's field is '%.40s'",
                         (int)(f->end - f->begin < 40 ? f->end - f->begin : 40),
                         p + f->begin, name);
            return RECORD_BAD;
        }
    }
    if (record_bit(c->missing, 0) && first == 0) {
        record_fault(r, NULL, DECODE_NO_TIME,
                     "the header does not name '%.40s', the time%s", header_name(c, 0),
                     separator(c, p));
        return RECORD_BAD;
    }
    if (first == 1 && n > 0 && n == r->schema->n - 1) {
        record_fault(r, NULL, DECODE_NO_FIELDS,
                     "the header names none of the stream's fields, such as '%.40s'%s",
                     header_name(c, 1), separator(c, p));
        return RECORD_BAD;
    }
    return RECORD_OK;
}

static int read_header(struct csv *c, const char *p)
{
    struct record *r = &c->record;
    size_t first = r->unit == DECODE_ARRIVAL ? 1 : 0;
    if (c->n_fields > CSV_FIELDS_MAX)
        return bad(c, p, DECODE_FIELDS, "the header has too many fields");
    memset(c->missing, 0, sizeof c->missing);
    for (size_t i = first; i < r->schema->n; i++)
        record_set_bit(c->missing, i);
    for (size_t i = 0; i < c->n_fields; i++) {
        const struct csv_field *f = &c->field[i];
        const char *cr = memchr(p + f->begin, '\r', f->end - f->begin);
        if (cr)
            return bad(c, cr, DECODE_SYNTAX,
                       "a carriage return in the header; lines end in LF or CRLF");
        int column;
        int err = find_column(c, p, f, &column);
        if (err < 0)
            return err;
        if (column >= 0 && !record_bit(c->missing, (size_t)column)) {
            record_fault(r, p + f->begin, DECODE_FIELDS,
                         "the header names '%.40s' twice",
                         r->schema->column[column].name);
            return RECORD_BAD;
        }
        c->column[i] = (int16_t)column;
        if (column >= 0)
            record_clear_bit(c->missing, (size_t)column);
    }
    int status = check_missing(c, p);
    if (status != RECORD_OK)
        return status;
    c->n_columns = c->n_fields;
    c->have_header = true;
    return RECORD_BLANK;
}

static bool read_string(struct record *r, const char *p, const struct csv_field *f,
                        size_t c)
{
    size_t size = f->end - f->begin;
    if (!record_bytes(r, c, p, size))
        return false;
    struct column *col = &r->out->column[c];
    int32_t *offset = &col->offsets[r->out->n_rows];
    if (f->doubled)
        size = undouble(col->bytes + offset[0], p, size);
    else
        memcpy(col->bytes + offset[0], p, size);
    offset[1] = offset[0] + (int32_t)size;
    return true;
}

/* Numbers of the common form at once; false for all else. */
static bool read_fast(struct record *r, const char *p, size_t size, size_t c)
{
    struct column *col = &r->out->column[c];
    uint32_t row = r->out->n_rows;
    if (col->type == WEIR_INT)
        return number_fast_int(p, &((int64_t *)col->values)[row]) == p + size;
    if (col->type == WEIR_FLOAT)
        return number_fast_double(p, &((double *)col->values)[row]) == p + size;
    return false;
}

/* False: r->status says why. */
static bool read_field(struct record *r, const char *p, const struct csv_field *f,
                       size_t c)
{
    p += f->begin;
    size_t size = f->end - f->begin;
    if (size == 0 && !f->quoted) {
        record_null(r, c);
        return true;
    }
    if (read_fast(r, p, size, c))
        return true;
    return r->schema->column[c].type == WEIR_STRING ? read_string(r, p, f, c)
                                                    : value_plain(r, p, size, c);
}

static int read_row(struct csv *c, const char *p)
{
    struct record *r = &c->record;
    if (c->n_fields != c->n_columns) {
        record_fault(r, NULL, DECODE_FIELDS, "expected %zu fields, got %zu",
                     c->n_columns, c->n_fields);
        return RECORD_BAD;
    }
    record_begin(r);
    if (r->unit == DECODE_ARRIVAL)
        ((int64_t *)r->out->column[0].values)[r->out->n_rows] = r->now_us;
    for (unsigned w = 0; w < r->words; w++)
        r->null_bits[w] = c->missing[w];
    for (size_t i = 0; i < c->n_fields; i++)
        if (c->column[i] >= 0 && !read_field(r, p, &c->field[i], (size_t)c->column[i]))
            return r->status;
    return record_commit(r);
}

/* Takes the carriage return off the last field; true: the row is blank. */
static bool trim(struct csv *c, const char *p)
{
    if (c->n_fields > CSV_FIELDS_MAX)
        return false;
    struct csv_field *last = &c->field[c->n_fields - 1];
    if (!last->quoted && last->end > last->begin && p[last->end - 1] == '\r')
        last->end--;
    return c->n_fields == 1 && !last->quoted && last->end == last->begin;
}

int csv_decode(struct csv *c, const char *p, size_t size)
{
    if (trim(c, p))
        return RECORD_BLANK;
    const char *fault = text_utf8_fault(p, size);
    if (fault) {
        record_fault(&c->record, fault, DECODE_UTF8,
                     "byte 0x%02x is not valid UTF-8 here", (unsigned char)*fault);
        return RECORD_BAD;
    }
    if (c->problem)
        return bad(c, p + c->problem_at, DECODE_SYNTAX, c->problem);
    return c->have_header ? read_row(c, p) : read_header(c, p);
}
