/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines: along a predicted layout as far as it goes, then name by name.
 */
#include "decode/lines.h"

#include "decode/value.h"

#include <errno.h>
#include <stdlib.h>

/* How the value of a slot is read. */
enum lines_kind {
    KIND_SKIP_TAG,
    KIND_SKIP,
    KIND_TAG,  /* into a string */
    KIND_TEXT, /* a string into a string */
    KIND_FLOAT,
    KIND_INT,
    KIND_OTHER_TAG,
    KIND_OTHER,
    KIND_TIME, /* the line's own */
};

enum lines_part { PART_TAGS, PART_FIELDS, PART_END }; /* a slot's `object` */

#if defined(__SSE2__) && !defined(DECODE_PORTABLE)

/* Bit i is set where p[i] may end the plain value of a tag. */
static inline unsigned tag_stops(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i comma = _mm_cmpeq_epi8(v, _mm_set1_epi8(','));
    __m128i equals = _mm_cmpeq_epi8(v, _mm_set1_epi8('='));
    __m128i back = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
    __m128i low = _mm_cmplt_epi8(v, _mm_set1_epi8(' ' + 1)); /* not ASCII, too */
    return (unsigned)_mm_movemask_epi8(
        _mm_or_si128(_mm_or_si128(comma, equals), _mm_or_si128(back, low)));
}

#else

static inline unsigned tag_stops(const char *p)
{
    unsigned m = 0;
    for (unsigned i = 0; i < 16; i++) {
        signed char c = (signed char)p[i];
        m |= (unsigned)(c == ',' || c == '=' || c == '\\' || c <= ' ') << i;
    }
    return m;
}

#endif

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* What may stand behind the value of a field. */
static inline bool ends_value(char c)
{
    return c == ',' || c == ' ' || c == '\n' || c == '\r';
}

static inline bool ends_line(const char *p)
{
    return *p == '\n' || (*p == '\r' && p[1] == '\n');
}

static const char *skip_spaces(const char *p)
{
    while (*p == ' ')
        p++;
    return p;
}

/* ---- Names and tags ---- */

static inline bool is_special(char c)
{
    return c == ',' || c == ' ' || c == '=';
}

/* From p to the first of `stops` that has no backslash in front of it, or the line feed. */
static const char *name_end(const char *p, const char *stops, bool *ret_escapes)
{
    *ret_escapes = false;
    for (; *p != '\n' && *p != stops[0] && *p != stops[1] && *p != stops[2]; p++) {
        if (*p != '\\' || !is_special(p[1]))
            continue;
        *ret_escapes = true;
        p++;
    }
    return p;
}

/* Copies without the backslashes that mean something; never longer. */
static size_t name_unescape(char *to, const char *p, const char *end)
{
    char *at = to;
    for (; p < end; p++) {
        if (*p == '\\' && p + 1 < end && is_special(p[1]))
            p++;
        *at++ = *p;
    }
    return (size_t)(at - to);
}

static bool check_utf8(struct record *r, const char *p, const char *end)
{
    const char *fault = text_utf8_fault(p, (size_t)(end - p));
    if (fault)
        record_fault(r, fault, DECODE_UTF8, "byte 0x%02x is not valid UTF-8 here",
                     (unsigned char)*fault);
    return !fault;
}

/* A name at p and its equals sign: the column in *ret, or -1. Returns where the value begins, or NULL. */
static const char *read_key(struct lines *l, const char *p, int *ret)
{
    struct record *r = &l->record;
    bool escapes;
    const char *end = name_end(p, "=, ", &escapes);
    size_t size = (size_t)(end - p);
    if (*end != '=')
        return record_fault(r, end, DECODE_SYNTAX, "expected '=' after a name");
    if (size == 0)
        return record_fault(r, p, DECODE_SYNTAX, "expected a name before '='");
    if (!check_utf8(r, p, end))
        return NULL;
    if (!escapes)
        *ret = names_find(&l->names, p, size);
    else if (size > l->key_room)
        *ret = -1;
    else
        *ret = names_find(&l->names, l->key, name_unescape(l->key, p, end));
    return end + 1;
}

/* Bytes that may hold escapes into row n_rows of string column c. */
static bool store_text(struct record *r, const char *p, const char *end, size_t c,
                       bool escapes,
                       size_t (*unescape)(char *to, const char *p, const char *end))
{
    size_t size = (size_t)(end - p);
    if (!record_bytes(r, c, p, size))
        return false;
    struct column *col = &r->out->column[c];
    int32_t *offset = &col->offsets[r->out->n_rows];
    if (escapes)
        size = unescape(col->bytes + offset[0], p, end);
    else
        memcpy(col->bytes + offset[0], p, size);
    offset[1] = offset[0] + (int32_t)size;
    return true;
}

/* The value of a tag into column c, or into none: -1. */
static const char *read_tag(struct lines *l, const char *p, int c)
{
    struct record *r = &l->record;
    bool escapes;
    const char *end = name_end(p, ", =", &escapes);
    if (end == p)
        return record_fault(r, p, DECODE_SYNTAX, "expected the value of a tag");
    if (*end == '=')
        return record_fault(r, end, DECODE_SYNTAX,
                            "an equals sign in a tag needs a backslash");
    if (!check_utf8(r, p, end))
        return NULL;
    if (c < 0)
        return end;
    bool ok = r->schema->column[c].type == WEIR_STRING
                  ? store_text(r, p, end, (size_t)c, escapes, name_unescape)
                  : value_plain(r, p, (size_t)(end - p), (size_t)c);
    return ok ? end : NULL;
}

static inline const char *tag_fast(struct column *col, uint32_t row, const char *p)
{
    size_t at = (size_t)col->offsets[row];
    char *to = col->bytes + at;
    for (unsigned n = 0; n < 64; n += 16) {
        memcpy(to + n, p + n, 16);
        unsigned stops = tag_stops(p + n);
        if (stops) {
            n += (unsigned)__builtin_ctz(stops);
            if ((p[n] != ',' && p[n] != ' ') || n == 0 || at + n > col->bytes_room)
                return NULL;
            col->offsets[row + 1] = (int32_t)(at + n);
            return p + n;
        }
    }
    return NULL;
}

static inline const char *tag_fast_skip(const char *p)
{
    unsigned stops = tag_stops(p);
    if (!stops)
        return NULL;
    const char *end = p + __builtin_ctz(stops);
    return end > p && (*end == ',' || *end == ' ') ? end : NULL;
}

/* ---- Values of fields ---- */

static size_t string_unescape(char *to, const char *p, const char *end)
{
    char *at = to;
    for (; p < end; p++) {
        if (*p == '\\' && p + 1 < end && (p[1] == '"' || p[1] == '\\'))
            p++;
        *at++ = *p;
    }
    return (size_t)(at - to);
}

/* From behind the opening quote to the closing one; RECORD_CUT in r->status where it is behind `limit`. */
static const char *string_end(struct lines *l, const char *p, const char *limit,
                              bool *ret_escapes)
{
    *ret_escapes = false;
    for (;;) {
        unsigned stops = text_stops(p);
        if (!stops) {
            p += 16;
            continue;
        }
        p += __builtin_ctz(stops);
        if (p >= limit)
            break;
        if (*p == '"')
            return p;
        bool back = *p == '\\';
        *ret_escapes |= back;
        l->feeds |= p[back] == '\n';
        p += back ? 2 : 1;
        if (p >= limit)
            break;
    }
    l->record.status = RECORD_CUT;
    return NULL;
}

static const char *read_string(struct lines *l, const char *p, const char *limit, int c)
{
    struct record *r = &l->record;
    bool escapes;
    const char *end = string_end(l, p + 1, limit, &escapes);
    if (!end || !check_utf8(r, p + 1, end))
        return NULL;
    if (c < 0)
        return end + 1;
    enum weir_type type = r->schema->column[c].type;
    size_t size = (size_t)(end - p) - 1;
    bool ok;
    if (type == WEIR_STRING)
        ok = store_text(r, p + 1, end, (size_t)c, escapes, string_unescape);
    else if (type == WEIR_TIME ||
             (type != WEIR_BOOL && r->lenient & DECODE_LENIENT_NUMBERS))
        ok = value_plain(r, p + 1, size, (size_t)c);
    else
        ok = value_wrong(r, p, size + 2, (size_t)c);
    return ok ? end + 1 : NULL;
}

/* true, True, TRUE, t, T and the same of false. */
static const char *read_bool(struct lines *l, const char *p, int c)
{
    static const char *const word[] = {"true",  "True",  "TRUE",  "t", "T",
                                       "false", "False", "FALSE", "f", "F"};
    struct record *r = &l->record;
    size_t size = strcspn(p, ", \r\n");
    for (size_t i = 0; i < sizeof(word) / sizeof(*word); i++) {
        if (strlen(word[i]) != size || memcmp(word[i], p, size) != 0)
            continue;
        if (c >= 0 && r->schema->column[c].type != WEIR_BOOL)
            return value_wrong(r, p, size, (size_t)c);
        if (c >= 0)
            batch_put_bool(&r->out->column[c], r->out->n_rows, i < 5);
        return p + size;
    }
    return record_fault(r, p, DECODE_SYNTAX, "expected a value");
}

#define NUMBER_TEXT 64

/* JSON's numbers, and those with a plus, zeros in front, or no digit on one side of the point. */
static bool scan_number(const char *p, struct number *n, const char **ret_problem)
{
    if (number_scan(p, n, ret_problem) && !is_digit(*n->end) && *n->end != '.')
        return true;
    char text[NUMBER_TEXT + RECORD_PAD] = "";
    const char *at = p, *problem;
    size_t size = 0;
    if (*at == '-')
        text[size++] = *at;
    at += *at == '-' || *at == '+';
    bool digits = is_digit(*at) || (*at == '.' && is_digit(at[1]));
    while (*at == '0' && is_digit(at[1]))
        at++;
    if (*at == '.')
        text[size++] = '0';
    for (; size < NUMBER_TEXT - 2 && (is_digit(*at) || *at == '.'); at++) {
        text[size++] = *at;
        if (*at == '.' && !is_digit(at[1]))
            text[size++] = '0';
    }
    for (; size < NUMBER_TEXT &&
           ((*at | 0x20) == 'e' || *at == '+' || *at == '-' || is_digit(*at));
         at++)
        text[size++] = *at;
    struct number m;
    if (!digits || !number_scan(text, &m, &problem) || m.end != text + size) {
        number_scan(p, n, ret_problem);
        return !*ret_problem;
    }
    m.begin = p;
    m.end = at;
    *n = m;
    *ret_problem = NULL;
    return true;
}

static const char *read_number(struct lines *l, const char *p, int c)
{
    struct record *r = &l->record;
    struct number n;
    const char *problem = NULL;
    int64_t whole;
    if (!is_digit(*p) && *p != '-' && *p != '+' && *p != '.')
        return record_fault(r, p, DECODE_SYNTAX, "expected a value");
    if (!scan_number(p, &n, &problem))
        return record_fault(r, n.end, DECODE_SYNTAX, "%s", problem);
    bool suffix = *n.end == 'i' || *n.end == 'u';
    if (suffix && number_to_int(&n, &whole) == -EDOM)
        return record_fault(r, p, DECODE_SYNTAX, "a whole number is to end with '%c'",
                            *n.end);
    if (*n.end == 'u' && n.negative)
        return record_fault(r, p, DECODE_SYNTAX, "a negative number ends with 'u'");
    if (c >= 0 && !value_number(r, &n, (size_t)c))
        return NULL;
    return n.end + suffix;
}

static const char *read_field(struct lines *l, const char *p, const char *limit, int c)
{
    if (*p == '"')
        return read_string(l, p, limit, c);
    if ((*p | 0x20) == 't' || (*p | 0x20) == 'f')
        return read_bool(l, p, c);
    return read_number(l, p, c);
}

/* Of 8 to 19 digits; NULL for all others, valid or not. */
static inline const char *time_fast(const char *p, enum decode_unit unit, int64_t *ret)
{
    uint64_t x = number_load(p);
    if (number_count(x) < 8)
        return NULL;
    uint64_t v = number_eight(x, 8);
    x = number_load(p + 8);
    unsigned k = number_count(x);
    v = v * number_power_of_ten[k] + number_eight(x, k);
    p += 8 + k;
    for (unsigned i = 0; k == 8 && i < 3 && is_digit(*p); i++)
        v = v * 10 + (uint64_t)(*p++ - '0');
    int64_t us = (int64_t)(v / 1000);
    if (*p != '\n' ||
        (unit != DECODE_NS &&
         (v > INT64_MAX || __builtin_mul_overflow(v, value_us_in(unit), &us) ||
          !value_is_event_time(us))))
        return NULL;
    *ret = us;
    return p;
}

/* The time at the end of the line; that of arrival where the stream asks for it. */
static const char *read_time(struct lines *l, const char *p)
{
    struct record *r = &l->record;
    int64_t *us = &((int64_t *)r->out->column[0].values)[r->out->n_rows];
    struct number n;
    const char *problem = NULL;
    bool arrival = r->unit == DECODE_ARRIVAL;
    if (l->guess && !arrival) {
        size_t digits = strspn(p + (*p == '-'), "0123456789");
        r->unit = digits <= 10   ? DECODE_S
                  : digits <= 13 ? DECODE_MS
                  : digits <= 16 ? DECODE_US
                                 : DECODE_NS;
    }
    const char *end = arrival ? NULL : time_fast(p, r->unit, us);
    if (end)
        return end;
    if ((!is_digit(*p) && *p != '-') || !scan_number(p, &n, &problem))
        return record_fault(r, p, DECODE_NO_TIME,
                            "expected a time, a whole number, behind the fields");
    return arrival || value_number(r, &n, 0) ? n.end : NULL;
}

/* ---- Lines ---- */

static const char *read_value(struct lines *l, const char *p, const char *limit,
                              enum lines_kind kind, size_t c, uint64_t *skipped)
{
    struct column *col = l->record.out->column;
    uint32_t row = l->record.out->n_rows;
    const char *end = NULL;
    switch (kind) {
    case KIND_SKIP_TAG:
        ++*skipped;
        end = tag_fast_skip(p);
        return end ? end : read_tag(l, p, -1);
    case KIND_SKIP: {
        double v;
        ++*skipped;
        if (*p == '"')
            end = text_fast_skip(p + 1);
        else if ((end = number_fast_double(p, &v)) && (*end == 'i' || *end == 'u'))
            end = *p == '-' || memchr(p, '.', (size_t)(end - p)) ? NULL : end + 1;
        return end && ends_value(*end) ? end : read_field(l, p, limit, -1);
    }
    case KIND_TAG:
        end = tag_fast(&col[c], row, p);
        return end ? end : read_tag(l, p, (int)c);
    case KIND_TEXT:
        if (*p == '"')
            end = text_fast(&col[c], row, p + 1);
        break;
    case KIND_FLOAT:
        end = number_fast_double(p, &((double *)col[c].values)[row]);
        if (end && !ends_value(*end))
            end = NULL;
        break;
    case KIND_INT:
        end = number_fast_int(p, &((int64_t *)col[c].values)[row]);
        end = end && *end == 'i' ? end + 1 : NULL;
        break;
    case KIND_OTHER_TAG:
        return read_tag(l, p, (int)c);
    case KIND_TIME: /* other lines had one here */
        p = skip_spaces(p);
        return ends_line(p) ? p : read_time(l, p);
    case KIND_OTHER:
        break;
    }
    return __builtin_expect(end != NULL, 1) ? end : read_field(l, p, limit, (int)c);
}

static enum lines_kind value_kind_of(const struct lines *l, int c, bool tag)
{
    if (c < 0)
        return tag ? KIND_SKIP_TAG : KIND_SKIP;
    enum weir_type type = l->record.schema->column[c].type;
    if (tag)
        return type == WEIR_STRING ? KIND_TAG : KIND_OTHER_TAG;
    return type == WEIR_STRING  ? KIND_TEXT
           : type == WEIR_FLOAT ? KIND_FLOAT
           : type == WEIR_INT   ? KIND_INT
                                : KIND_OTHER;
}

/* Columns that the first k slots of a layout have set, and how many fields there were. */
static bool note_seen(struct lines *l, const struct layout *from, unsigned k)
{
    bool fields = false;
    memset(l->seen, 0, sizeof l->seen);
    for (unsigned i = 0; i < k; i++) {
        const struct layout_slot *s = &from->slot[i];
        fields |= s->object != PART_TAGS;
        if (s->kind != KIND_SKIP && s->kind != KIND_SKIP_TAG && s->kind != KIND_TIME)
            record_set_bit(l->seen, s->column);
    }
    return fields;
}

/* Behind the last value. */
static const char *end_line(struct lines *l, const char *text, const char *p,
                            bool fields)
{
    struct record *r = &l->record;
    uint64_t seen = 0;
    uint64_t *missing = l->layouts.next.missing;
    p += *p == '\r' && p[1] == '\n';
    if (!fields)
        return record_fault(r, p, DECODE_SYNTAX, "the line has no fields");
    layout_add(&l->layouts, text, (size_t)(p + 1 - text), KIND_SKIP, 0, PART_END, true);
    memset(missing, 0, sizeof l->layouts.next.missing);
    for (unsigned w = 0; w < r->words; w++) {
        seen |= l->seen[w];
        missing[w] = l->all[w] & ~l->seen[w];
        r->null_bits[w] |= missing[w];
    }
    if (seen || r->schema->n == 1)
        return p + 1;
    return record_fault(r, NULL, DECODE_NO_FIELDS,
                        "none of the stream's fields is in the line, such as '%.40s'",
                        r->schema->column[1].name);
}

/* Name by name, from where k slots of layout `from` have been read. */
static __attribute__((noinline)) const char *read_line(struct lines *l, const char *p,
                                                       const char *limit, unsigned from,
                                                       unsigned k, uint64_t *skipped)
{
    struct record *r = &l->record;
    const struct layout *at = &l->layouts.layout[from];
    uint16_t part = k ? at->slot[k - 1].object : PART_TAGS;
    bool fields = note_seen(l, at, k), escapes;
    const char *text = p;
    layout_record(&l->layouts, from, k);
    if (k == 0) {
        p = skip_spaces(p);
        const char *end = name_end(p, ", \n", &escapes);
        if (end == p)
            return record_fault(r, p, DECODE_SYNTAX, "expected a measurement");
        if (!check_utf8(r, p, end))
            return NULL;
        p = end;
    }
    for (;;) {
        int c = -1;
        const char *next = skip_spaces(p);
        bool spaces = next > p;
        if (ends_line(next))
            return end_line(l, text, next, fields);
        if (part == PART_END)
            return record_fault(r, next, DECODE_SYNTAX,
                                "unexpected text behind the time");
        if (spaces && part == PART_FIELDS) {
            part = PART_END;
            layout_add(&l->layouts, text, (size_t)(next - text), KIND_TIME, 0, part,
                       false);
            p = text = read_time(l, next);
            if (!p)
                return NULL;
            continue;
        }
        if (!spaces && *p != ',')
            return record_fault(r, p, DECODE_SYNTAX,
                                "expected ',' or a space after a value");
        part = spaces ? PART_FIELDS : part;
        p = read_key(l, spaces ? next : p + 1, &c);
        if (!p)
            return NULL;
        fields |= part == PART_FIELDS;
        enum lines_kind kind = value_kind_of(l, c, part == PART_TAGS);
        if (c >= 0) {
            if (record_bit(l->seen, (size_t)c))
                l->layouts.recording = false; /* twice: the last counts */
            record_set_bit(l->seen, (size_t)c);
        }
        layout_add(&l->layouts, text, (size_t)(p - text), kind, c < 0 ? 0 : (size_t)c,
                   part, false);
        p = text = read_value(l, p, limit, kind, c < 0 ? 0 : (size_t)c, skipped);
        if (!p)
            return NULL;
    }
}

static inline const char *read_predicted(struct lines *l, const char *p,
                                         const char *limit, uint64_t *skipped)
{
    struct record *r = &l->record;
    struct layouts *t = &l->layouts;
    unsigned current = t->current;
    const struct layout *at = &t->layout[current];
    for (unsigned k = 0;; k++) {
        if (__builtin_expect(k >= at->n || !layout_matches(&at->slot[k], p), 0)) {
            int other = layout_other(t, current, k, p);
            if (other < 0)
                return read_line(l, p, limit, current, k, skipped);
            current = (unsigned)other;
            at = &t->layout[current];
        }
        const struct layout_slot *s = &at->slot[k];
        p += s->size;
        if (s->last)
            break;
        p = read_value(l, p, limit, (enum lines_kind)s->kind, s->column, skipped);
        if (!p)
            return NULL;
    }
    t->current = current;
    t->misses = 0;
    for (unsigned w = 0; w < r->words; w++)
        r->null_bits[w] |= at->missing[w];
    return p;
}

bool lines_is_blank(const char *p)
{
    p = skip_spaces(p);
    return *p == '#' || ends_line(p);
}

int lines_decode(struct lines *l, const char *p, const char *limit,
                 const char **ret_end)
{
    struct record *r = &l->record;
    uint64_t skipped = 0;
    if (lines_is_blank(p)) {
        *ret_end = record_line_feed(p) + 1;
        return RECORD_BLANK;
    }
    record_begin(r);
    l->layouts.recording = l->feeds = false;
    ((int64_t *)r->out->column[0].values)[r->out->n_rows] = r->now_us;
    p = read_predicted(l, p, limit, &skipped);
    if (!p)
        return r->status;
    int status = record_commit(r);
    if (status != RECORD_OK)
        return status;
    if (l->layouts.recording)
        layout_keep(&l->layouts, l->layouts.next.missing);
    l->skipped += skipped;
    *ret_end = p;
    return RECORD_OK;
}

const char *lines_measurement(const char *p, char *room, const char **ret_name,
                              size_t *ret_size)
{
    bool escapes;
    p = skip_spaces(p);
    const char *end = name_end(p, ", \n", &escapes);
    size_t size = (size_t)(end - p);
    if (size == 0 || size > LINES_NAME_MAX)
        return NULL;
    *ret_name = escapes ? room : p;
    *ret_size = escapes ? name_unescape(room, p, end) : size;
    return end;
}

const char *lines_scan(enum lines_state *state, const char *p, const char *end)
{
    enum lines_state s = *state;
    for (; p < end; p++) {
        char c = *p;
        if (c == '\n' && s != LINES_STRING && s != LINES_STRING_ESCAPED) {
            *state = LINES_START;
            return p + 1;
        }
        switch (s) {
        case LINES_START:
            s = c == ' ' ? s : c == '#' ? LINES_COMMENT : LINES_NAMES;
            s = c == '\\' ? LINES_ESCAPED : s;
            break;
        case LINES_NAMES:
            s = c == '\\' ? LINES_ESCAPED : c == ' ' ? LINES_KEY : s;
            break;
        case LINES_ESCAPED:
            s = c == '\\' ? s : LINES_NAMES;
            break;
        case LINES_KEY:
            s = c == '\\' ? LINES_KEY_ESCAPED : c == '=' ? LINES_EQUALS : s;
            break;
        case LINES_EQUALS:
            s = c == '"'    ? LINES_STRING
                : c == '='  ? LINES_EQUALS
                : c == '\\' ? LINES_KEY_ESCAPED
                            : LINES_KEY;
            break;
        case LINES_KEY_ESCAPED:
            s = c == '\\' ? s : LINES_KEY;
            break;
        case LINES_STRING:
            s = c == '\\' ? LINES_STRING_ESCAPED : c == '"' ? LINES_KEY : s;
            break;
        case LINES_STRING_ESCAPED:
            s = LINES_STRING;
            break;
        case LINES_COMMENT:
            break;
        }
    }
    *state = s;
    return NULL;
}

int lines_init(struct lines *l)
{
    const struct record *r = &l->record;
    for (size_t c = 1; c < r->schema->n; c++) {
        const struct decode_field *f = r->field ? &r->field[c] : NULL;
        const char *name = f && f->name   ? f->name
                           : f && f->path ? f->path
                                          : r->schema->column[c].name;
        names_add(&l->names, name, strlen(name), (int)c);
        record_set_bit(l->all, c);
    }
    l->key_room = 2 * l->names.longest;
    l->key = malloc(l->key_room + 1);
    return l->key ? 0 : -ENOMEM;
}

void lines_free(struct lines *l)
{
    free(l->key);
}
