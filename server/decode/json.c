/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects: along a predicted layout as far as it goes, then key by key.
 */
#include "decode/json.h"

#include <errno.h>
#include <stdlib.h>

#define JSON_NODE      SCHEMA_COLUMNS_MAX /* and behind: a node of the paths, not a column */
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

/* The same in an object within the record. */
static int find_within(struct json *j, uint16_t object, const char *name, size_t size,
                       bool escapes)
{
    const struct paths *t = j->record.paths;
    if (escapes && size > j->key_room)
        return -1;
    if (escapes) {
        size = text_unescape(j->key, name, name + size);
        name = j->key;
    }
    uint16_t node = paths_find(t, object, name, size);
    if (node == PATHS_NONE)
        return -1;
    return t->node[node].kind == PATHS_COLUMN ? t->node[node].column : JSON_NODE + node;
}

/* The key at p: its column, JSON_NODE and a node, or -1. Returns where its value begins, or NULL. */
static const char *read_key(struct json *j, const char *p, uint16_t object,
                            int *ret_column)
{
    struct record *r = &j->record;
    bool escapes;
    const char *name = p + 1, *end = text_check(r, name, &escapes);
    if (!end)
        return NULL;
    size_t size = (size_t)(end - name);
    *ret_column = object == PATHS_ROOT ? find_column(j, name, size, escapes)
                                       : find_within(j, object, name, size, escapes);
    p = record_skip_space(r, end + 1);
    if (*p != ':')
        return record_fault(r, p, DECODE_SYNTAX, "expected ':' after a key");
    return record_skip_space(r, p + 1);
}

/* The columns below a node, and whether there were some before: their key comes twice. */
static bool forget_below(struct json *j, uint16_t node)
{
    const struct paths_node *n = &j->record.paths->node[node];
    uint64_t before = 0;
    for (unsigned w = 0; w < j->record.words; w++) {
        before |= j->seen[w] & n->below[w];
        j->seen[w] &= ~n->below[w];
    }
    return before != 0;
}

static void see_below(struct json *j, uint16_t node)
{
    for (unsigned w = 0; w < j->record.words; w++)
        j->seen[w] |= j->record.paths->node[node].below[w];
}

/* Goes into an object, so that its values have slots of a layout like others. */
static void enter(struct json *j, uint16_t node)
{
    if (!forget_below(j, node))
        return;
    j->layouts.recording = false;
    nested_begin(&j->record, node);
}

/* The same at once: a list, or something else than an object where it should be one; no layout of that is kept. */
static const char *read_nested(struct json *j, const char *p, uint16_t node)
{
    if (forget_below(j, node) || j->record.paths->node[node].kind == PATHS_OBJECT)
        j->layouts.recording = false;
    see_below(j, node);
    return nested_read(&j->record, p, node);
}

static const char *read_value(struct json *j, const char *p, int c,
                              enum value_kind kind)
{
    if (c < 0)
        return value_fast(&j->record, p, VALUE_SKIP, 0);
    if (kind == VALUE_NESTED)
        return read_nested(j, p, (uint16_t)(c - JSON_NODE));
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
    for (unsigned i = 0; i < k; i++) {
        if (l->slot[i].kind == VALUE_NESTED)
            see_below(j, l->slot[i].column);
        else if (l->slot[i].kind != VALUE_SKIP)
            record_set_bit(j->seen, l->slot[i].column);
    }
}

static bool is_object(const struct json *j, int c)
{
    return c >= JSON_NODE && j->record.paths->node[c - JSON_NODE].kind == PATHS_OBJECT;
}

/* The record has been read to its closing brace. */
static const char *end_members(struct json *j, const char *p)
{
    if (note_missing(j, j->layouts.next.missing))
        return p;
    return record_fault(&j->record, NULL, DECODE_NO_FIELDS,
                        "none of the stream's fields is in the record, such as "
                        "'%.40s'",
                        j->record.schema->column[1].name);
}

/* Key by key, from where k slots of layout `from` have been read. What stands between two values, also the braces of
 * objects that are gone into, is the text of one slot. */
static __attribute__((noinline)) const char *read_members(struct json *j, const char *p,
                                                          unsigned from, unsigned k)
{
    const struct layout *l = &j->layouts.layout[from];
    uint16_t object = k ? l->slot[k - 1].object : PATHS_ROOT;
    const char *text = p;
    bool first = k == 0, end;
    note_seen(j, l, k);
    layout_record(&j->layouts, from, k);
    for (;;) {
        p = next_key(j, p, first, &end);
        first = false;
        if (p && end && object != PATHS_ROOT) {
            object = j->record.paths->node[object].parent;
            continue;
        }
        if (p && end) {
            layout_add(&j->layouts, text, (size_t)(p - text), VALUE_SKIP, 0, object,
                       true);
            return end_members(j, p);
        }
        int c = -1;
        if (p)
            p = read_key(j, p, object, &c);
        if (!p)
            return NULL;
        if (*p == '{' && is_object(j, c)) {
            object = (uint16_t)(c - JSON_NODE);
            enter(j, object);
            first = true;
            continue;
        }
        enum value_kind kind = c < 0            ? VALUE_SKIP
                               : c >= JSON_NODE ? VALUE_NESTED
                                                : value_kind(&j->record, (size_t)c);
        size_t column = c < 0 ? 0 : (size_t)(c >= JSON_NODE ? c - JSON_NODE : c);
        layout_add(&j->layouts, text, (size_t)(p - text), kind, column, object, false);
        p = text = read_value(j, p, c, kind);
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
    int status = j->rows ? nested_commit(r) : record_commit(r);
    if (status != RECORD_OK)
        return status;
    if (j->layouts.recording)
        layout_keep(&j->layouts, j->layouts.next.missing);
    *ret_end = p;
    return RECORD_OK;
}

/* The keys of the record itself; `longest` of those within it, too. */
static size_t add_names(struct json *j, size_t first)
{
    const struct schema *s = j->record.schema;
    const struct paths *t = j->record.paths;
    for (size_t c = first; !t && c < s->n; c++)
        names_add(&j->names, s->column[c].name, strlen(s->column[c].name), (int)c);
    size_t longest = j->names.longest;
    for (size_t i = 1; t && i < t->n; i++) {
        const struct paths_node *n = &t->node[i];
        longest = n->size > longest ? n->size : longest;
        if (n->parent == PATHS_ROOT)
            names_add(&j->names, n->key, n->size,
                      n->kind == PATHS_COLUMN ? (int)n->column : (int)(JSON_NODE + i));
    }
    return longest;
}

int json_init(struct json *j)
{
    size_t first = j->record.unit == DECODE_ARRIVAL ? 1 : 0;
    j->key_room = LONGEST_ESCAPE * add_names(j, first);
    j->rows = j->record.paths && j->record.paths->each != PATHS_NONE;
    for (size_t c = first; c < j->record.schema->n; c++)
        record_set_bit(j->all, c);
    j->key = malloc(j->key_room + 1);
    return j->key ? 0 : -ENOMEM;
}

void json_free(struct json *j)
{
    free(j->key);
}
