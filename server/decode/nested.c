/* SPDX-License-Identifier: Apache-2.0
 *
 * Without layouts: keys are looked up, elements counted. The depth of the calls is that of the paths.
 */
#include "decode/nested.h"

#include "decode/value.h"

#include <errno.h>
#include <string.h>

static const char *read_value(struct record *r, const char *p, uint16_t node);

/* All columns below are null until they are found. */
static void begin(struct record *r, const struct paths_node *node)
{
    for (unsigned w = 0; w < r->words; w++)
        for (uint64_t bits = node->below[w]; bits; bits &= bits - 1)
            record_null(r, w * 64 + (unsigned)__builtin_ctzll(bits));
}

void nested_begin(struct record *r, uint16_t id)
{
    const struct paths *t = r->paths;
    begin(r, &t->node[id]);
    if (t->each != PATHS_NONE && record_bit(t->node[id].below, t->node[t->each].column))
        r->each = NULL;
}

static const char *wrong(struct record *r, const char *p, const struct paths_node *node)
{
    const char *end = value_skip(r, p);
    if (!end)
        return NULL;
    return record_type_fault(r, node->column, p, (size_t)(end - p), DECODE_TYPE,
                             node->kind == PATHS_LIST ? "a list that it is in"
                                                      : "an object that it is in");
}

/* A key, with its escapes undone in `plain` if it has some. Keys that are longer than any of a path are nobody's. */
static const char *read_key(struct record *r, const char *p, uint16_t object,
                            uint16_t *ret_node)
{
    char plain[1024];
    bool escapes;
    if (*p != '"')
        return record_fault(r, p, DECODE_SYNTAX, "expected a key in quotes");
    const char *name = p + 1, *end = text_check(r, name, &escapes);
    if (!end)
        return NULL;
    size_t size = (size_t)(end - name);
    *ret_node = PATHS_NONE;
    if (!escapes)
        *ret_node = paths_find(r->paths, object, name, size);
    else if (size <= sizeof(plain))
        *ret_node =
            paths_find(r->paths, object, plain, text_unescape(plain, name, end));
    p = record_skip_space(r, end + 1);
    if (*p != ':')
        return record_fault(r, p, DECODE_SYNTAX, "expected ':' after a key");
    return record_skip_space(r, p + 1);
}

/* Behind a value: at the next one (a key, or an element), or NULL with *ret_end behind the container, or NULL: a fault. */
static const char *next(struct record *r, const char *p, char close,
                        const char **ret_end)
{
    p = record_skip_space(r, p);
    if (*p == ',')
        return record_skip_space(r, p + 1);
    if (*p == close)
        *ret_end = p + 1;
    else
        record_fault(r, p, DECODE_SYNTAX, "expected ',' or '%c' after a value", close);
    return NULL;
}

static const char *read_object(struct record *r, const char *p, uint16_t object)
{
    const char *end = NULL;
    p = record_skip_space(r, p + 1);
    if (*p == '}')
        return p + 1;
    while (p) {
        uint16_t node;
        p = read_key(r, p, object, &node);
        if (p)
            p = node == PATHS_NONE ? value_skip(r, p) : read_value(r, p, node);
        if (p)
            p = next(r, p, '}', &end);
    }
    return end;
}

static uint16_t find_element(const struct paths *t, uint16_t list, uint32_t element)
{
    uint16_t i = t->node[list].child;
    while (i != PATHS_NONE && (t->node[i].each || t->node[i].element != element))
        i = t->node[i].next;
    return i;
}

/* That of which each element becomes a row is looked at again when the record has been read: nested_commit. */
static const char *read_list(struct record *r, const char *p, uint16_t list)
{
    const char *end = NULL;
    if (r->paths->each != PATHS_NONE && r->paths->node[r->paths->each].parent == list)
        r->each = p;
    p = record_skip_space(r, p + 1);
    if (*p == ']')
        return p + 1;
    for (uint32_t i = 0; p; i++) {
        uint16_t node = find_element(r->paths, list, i);
        p = node == PATHS_NONE ? value_skip(r, p) : read_value(r, p, node);
        if (p)
            p = next(r, p, ']', &end);
    }
    return end;
}

static const char *read_value(struct record *r, const char *p, uint16_t id)
{
    const struct paths_node *node = &r->paths->node[id];
    if (node->kind == PATHS_COLUMN) {
        record_clear_bit(r->null_bits, node->column);
        return value_fast(r, p, value_kind(r, node->column), node->column);
    }
    nested_begin(r, id);
    if (*p == '{' && node->kind == PATHS_OBJECT)
        return read_object(r, p, id);
    if (*p == '[' && node->kind == PATHS_LIST)
        return read_list(r, p, id);
    return *p == 'n' ? value_skip(r, p) : wrong(r, p, node);
}

const char *nested_read(struct record *r, const char *p, uint16_t node)
{
    return read_value(r, record_skip_space(r, p), node);
}

/* ---- A row of each element -------------------------------------------------------------------- */

/* The value of column c of row `from` into row n_rows. False: r->status. */
static bool copy_value(struct record *r, size_t c, uint32_t from)
{
    struct column *col = &r->out->column[c];
    uint32_t row = r->out->n_rows;
    if (col->type == WEIR_BOOL) {
        const uint8_t *bits = col->values;
        batch_put_bool(col, row, bits[from >> 3] >> (from & 7) & 1);
        return true;
    }
    if (col->type != WEIR_STRING) {
        ((int64_t *)col->values)[row] = ((const int64_t *)col->values)[from];
        return true;
    }
    size_t size = (size_t)(col->offsets[from + 1] - col->offsets[from]);
    if (!record_bytes(r, c, NULL, size))
        return false;
    memcpy(col->bytes + col->offsets[row], col->bytes + col->offsets[from], size);
    col->offsets[row + 1] = col->offsets[row] + (int32_t)size;
    return true;
}

/* All that is not of the element, as in the first row. */
static bool begin_row(struct record *r, uint32_t first, const uint64_t *null_bits)
{
    int err = r->out->n_rows < r->out->room ? 0 : batch_grow(r->out);
    if (err < 0) {
        r->status = err == -ENOSPC ? RECORD_FULL : err;
        return false;
    }
    memcpy(r->null_bits, null_bits, sizeof(r->null_bits));
    for (unsigned w = 0; w < r->words; w++)
        for (uint64_t bits = r->paths->repeated[w]; bits; bits &= bits - 1)
            if (!copy_value(r, w * 64 + (unsigned)__builtin_ctzll(bits), first))
                return false;
    return true;
}

/* The rows of the elements at p; an enum record_status. */
static int read_rows(struct record *r, const char *p, uint32_t first)
{
    uint64_t null_bits[RECORD_WORDS];
    const char *end = NULL;
    memcpy(null_bits, r->null_bits, sizeof(null_bits));
    while (p) {
        begin(r, &r->paths->node[r->paths->each]);
        p = read_value(r, p, r->paths->each);
        int status = p ? record_commit(r) : r->status;
        if (status != RECORD_OK)
            return status;
        p = next(r, p, ']', &end);
        if (p && !begin_row(r, first, null_bits))
            return r->status;
    }
    return RECORD_OK;
}

int nested_commit(struct record *r)
{
    uint32_t first = r->out->n_rows;
    const char *p = r->each ? record_skip_space(r, r->each + 1) : NULL;
    bool none = !p || *p == ']';
    int status = none ? record_commit(r) : read_rows(r, p, first);
    if (none || status != RECORD_OK)
        record_undo(r, first);
    if (status != RECORD_FULL || first > 0)
        return status;
    record_fault(r, r->each, DECODE_TOO_LONG,
                 "the list has more elements than fit into a batch");
    return RECORD_BAD;
}
