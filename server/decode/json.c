/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects: along a predicted layout as far as it goes, then key by key.
 */
#include "decode/json.h"

#include <errno.h>
#include <stdlib.h>

#define LONGEST_ESCAPE 6 /* characters that may stand for one byte of a name: \u0041 */

/* From behind a value, or from the start of the record: to the next key, or behind the closing brace,
 * which is told by *ret_end. */
static const char *next_key(struct json *j, const char *p, bool first, bool *ret_end)
{
    struct record *r = &j->record;
    char before = first ? '{' : ',';
    p = record_skip_space(r, p);
    *ret_end = !first && *p == '}';
    if (*ret_end)
        return p + 1;
    if (*p != before)
        return record_fault(r, p, DECODE_SYNTAX, "expected ',' or '}' after a value");
    p = record_skip_space(r, p + 1);
    *ret_end = first && *p == '}';
    if (*ret_end)
        return p + 1;
    if (*p != '"')
        return record_fault(r, p, DECODE_SYNTAX, "expected a key in quotes after '%c'",
                            before);
    return p;
}

static int find_column(struct json *j, const char *name, size_t size, bool escapes)
{
    if (!escapes)
        return names_find(&j->names, name, size);
    if (size > j->key_room)
        return -1; /* still longer than any name when it is unescaped */
    size = text_unescape(j->key, name, name + size);
    return names_find(&j->names, j->key, size);
}

/* The key at p: its column, or -1. Returns where its value begins, or NULL. */
static const char *read_key(struct json *j, const char *p, int *ret_column)
{
    struct record *r = &j->record;
    bool escapes;
    const char *name = p + 1, *end = text_check(r, name, &escapes);
    if (!end)
        return NULL;
    *ret_column = find_column(j, name, (size_t)(end - name), escapes);
    p = record_skip_space(r, end + 1);
    if (*p != ':')
        return record_fault(r, p, DECODE_SYNTAX, "expected ':' after a key");
    return record_skip_space(r, p + 1);
}

static const char *read_value(struct json *j, const char *p, int c,
                              enum value_kind kind)
{
    if (c < 0)
        return value_fast(&j->record, p, VALUE_SKIP, 0);
    if (record_bit(j->seen, (size_t)c))
        j->layouts.recording = false; /* layouts know nothing of keys that come twice */
    record_set_bit(j->seen, (size_t)c);
    record_clear_bit(j->record.null_bits, (size_t)c);
    return value_fast(&j->record, p, kind, (size_t)c);
}

/* A record without any field of the stream is somebody else's. Where a field is the time it is known
 * by that. Such a record leaves no layout. */
static bool note_missing(struct json *j, uint64_t *missing)
{
    const struct record *r = &j->record;
    uint64_t seen = 0;
    memset(missing, 0, RECORD_WORDS * sizeof *missing);
    for (unsigned w = 0; w < r->words; w++) {
        seen |= j->seen[w];
        missing[w] = j->all[w] & ~j->seen[w];
        j->record.null_bits[w] |= missing[w];
    }
    return seen || r->unit != DECODE_ARRIVAL || r->schema->n == 1;
}

/* Columns that the first k slots of a layout have set. */
static void note_seen(struct json *j, const struct layout *l, unsigned k)
{
    memset(j->seen, 0, sizeof j->seen);
    for (unsigned i = 0; i < k; i++)
        if (l->slot[i].kind != VALUE_SKIP)
            record_set_bit(j->seen, l->slot[i].column);
}

/* Key by key, from where k slots of layout `from` have been read. */
static __attribute__((noinline)) const char *read_members(struct json *j, const char *p,
                                                          unsigned from, unsigned k)
{
    note_seen(j, &j->layouts.layout[from], k);
    layout_record(&j->layouts, from, k);
    for (bool first = k == 0, end = false;; first = false) {
        const char *text = p;
        p = next_key(j, p, first, &end);
        if (p && end) {
            layout_add(&j->layouts, text, (size_t)(p - text), VALUE_SKIP, 0, true);
            if (note_missing(j, j->layouts.next.missing))
                return p;
            return record_fault(&j->record, NULL, DECODE_NO_FIELDS,
                                "none of the stream's fields is in the record, such as "
                                "'%.40s'",
                                j->record.schema->column[1].name);
        }
        int c = -1;
        if (p)
            p = read_key(j, p, &c);
        if (!p)
            return NULL;
        enum value_kind kind = c < 0 ? VALUE_SKIP : value_kind(&j->record, (size_t)c);
        layout_add(&j->layouts, text, (size_t)(p - text), kind, c < 0 ? 0 : (size_t)c,
                   false);
        p = read_value(j, p, c, kind);
        if (!p)
            return NULL;
    }
}

/* A line that does not begin with a brace: blank, or a value of another kind. */
static const char *no_object(struct json *j, const char *p)
{
    struct record *r = &j->record;
    if (j->lines && *p == '\n') {
        r->status = RECORD_BLANK;
        return NULL;
    }
    const char *end = value_skip(r, p);
    if (!end)
        return NULL;
    return record_fault(r, p, DECODE_TYPE, "expected an object");
}

static const char *read_unpredicted(struct json *j, const char *p, unsigned from,
                                    unsigned k)
{
    const char *begin = k == 0 ? record_skip_space(&j->record, p) : p;
    if (k == 0 && *begin != '{')
        return no_object(j, begin);
    return read_members(j, p, from, k);
}

static inline const char *read_object(struct json *j, const char *p)
{
    struct record *r = &j->record;
    struct layouts *t = &j->layouts;
    unsigned at = t->current;
    const struct layout *l = &t->layout[at];
    for (unsigned k = 0;; k++) {
        if (__builtin_expect(k >= l->n || !layout_matches(&l->slot[k], p), 0)) {
            int other = layout_other(t, at, k, p);
            if (other < 0)
                return read_unpredicted(j, p, at, k);
            at = (unsigned)other;
            l = &t->layout[at];
        }
        const struct layout_slot *s = &l->slot[k];
        p += s->size;
        if (s->last)
            break;
        p = value_fast(r, p, s->kind, s->column);
        if (!p)
            return NULL;
    }
    t->current = at;
    t->misses = 0;
    for (unsigned w = 0; w < r->words; w++)
        r->null_bits[w] |= l->missing[w];
    return p;
}

static const char *read_to_end(struct json *j, const char *p, const char *end)
{
    if (!j->lines)
        return p == end ? p
                        : record_fault(&j->record, p, DECODE_SYNTAX,
                                       "unexpected text after the object");
    if (*p != '\n')
        p = record_skip_space(&j->record, p);
    if (*p != '\n')
        return record_fault(&j->record, p, DECODE_SYNTAX,
                            "unexpected text after the object");
    return p + 1;
}

int json_decode(struct json *j, const char *p, const char *end, const char **ret_end)
{
    struct record *r = &j->record;
    record_begin(r);
    j->layouts.recording = false;
    if (r->unit == DECODE_ARRIVAL)
        ((int64_t *)r->out->column[0].values)[r->out->n_rows] = r->now_us;
    p = read_object(j, p);
    if (p)
        p = read_to_end(j, p, end);
    if (!p)
        return r->status;
    int status = record_commit(r);
    if (status != RECORD_OK)
        return status;
    if (j->layouts.recording)
        layout_keep(&j->layouts, j->layouts.next.missing);
    *ret_end = p;
    return RECORD_OK;
}

int json_init(struct json *j)
{
    size_t first = j->record.unit == DECODE_ARRIVAL ? 1 : 0;
    names_init(&j->names, j->record.schema, first);
    for (size_t c = first; c < j->record.schema->n; c++)
        record_set_bit(j->all, c);
    j->key_room = LONGEST_ESCAPE * j->names.longest;
    j->key = malloc(j->key_room + 1);
    return j->key ? 0 : -ENOMEM;
}

void json_free(struct json *j)
{
    free(j->key);
}
