/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/frame.h"

#include "laws/dice.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* All rows of the columns, strangers included: `from` is the row of ours, SIZE_MAX for a stranger. */
struct layout {
    const struct rows *rows;
    struct rows strangers;
    size_t n;
    size_t *from;
};

static struct rows_value value_at(const struct layout *l, size_t i, size_t input)
{
    const struct rows *r = l->from[i] == SIZE_MAX ? &l->strangers : l->rows;
    size_t row = l->from[i] == SIZE_MAX ? i : l->from[i];
    return r->value[row * r->n_inputs + input];
}

static void *room(struct frame *f, size_t size)
{
    struct fence *g = &f->fence[f->n_fences];
    if (!fence_new(g, size))
        return NULL;
    f->n_fences++;
    return g->data;
}

/* A whole number of words: who reads eight rows' bits at a time may. */
static bool put_validity(struct frame *f, const struct layout *l, size_t input,
                         bool always)
{
    struct weir_column *c = &f->column[input];
    for (size_t i = 0; i < l->n; i++)
        c->null_count += !value_at(l, i, input).type;
    if (!c->null_count && !always)
        return true;
    uint8_t *bits = room(f, (l->n + 63) / 64 * 8);
    if (!bits)
        return false;
    for (size_t i = 0; i < l->n; i++)
        if (value_at(l, i, input).type)
            bits[i >> 3] |= (uint8_t)(1u << (i & 7));
    c->validity = bits;
    return true;
}

static bool put_numbers(struct frame *f, const struct layout *l, size_t input)
{
    struct weir_column *c = &f->column[input];
    bool bits = c->type == WEIR_BOOL;
    char *to = room(f, bits ? (l->n + 63) / 64 * 8 : l->n * 8);
    if (!to)
        return false;
    for (size_t i = 0; i < l->n; i++) {
        struct rows_value v = value_at(l, i, input);
        if (bits && v.type)
            to[i >> 3] = (char)(to[i >> 3] | (int)v.as.i << (i & 7));
        else if (!bits && v.type)
            memcpy(to + i * 8, &v.as, 8);
    }
    c->values = to;
    return true;
}

static bool same_text(struct rows_value a, struct rows_value b)
{
    return a.size == b.size && (a.size == 0 || !memcmp(a.as.s, b.as.s, a.size));
}

static bool put_strings(struct frame *f, const struct rows_value *text, size_t n,
                        size_t input)
{
    struct weir_column *c = &f->column[input];
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += text[i].type ? text[i].size : 0;
    int32_t *offsets = room(f, (n + 1) * sizeof(*offsets));
    char *bytes = offsets ? room(f, size) : NULL;
    if (!bytes)
        return false;
    for (size_t i = 0; i < n; i++) {
        uint32_t more = text[i].type ? text[i].size : 0;
        if (more)
            memcpy(bytes + offsets[i], text[i].as.s, more);
        offsets[i + 1] = offsets[i] + (int32_t)more;
    }
    c->offsets = offsets;
    c->bytes = bytes;
    return true;
}

/* Null rows have code 0, whatever its word. With `other` the words are numbered backwards, behind one that no
 * row has. */
static bool put_dictionary(struct frame *f, const struct layout *l, size_t input,
                           bool other)
{
    struct rows_value *text = calloc(l->n + 2, sizeof(*text));
    int32_t *code = calloc(l->n + 1, sizeof(*code));
    size_t n = 0;
    bool ok = text && code;
    if (ok && other)
        text[n++] =
            (struct rows_value){.type = WEIR_STRING, .size = 8, .as.s = "of no row"};
    for (size_t k = 0; ok && k < l->n; k++) {
        size_t i = other ? l->n - 1 - k : k;
        struct rows_value v = value_at(l, i, input);
        size_t at = 0;
        while (v.type && at < n && !same_text(text[at], v))
            at++;
        if (at == n)
            text[n++] = v;
        code[i] = (int32_t)(v.type ? at : 0);
    }
    if (ok && n == 0)
        text[n++] = (struct rows_value){.type = WEIR_STRING, .as.s = ""};
    int32_t *values = ok ? room(f, l->n * sizeof(*values)) : NULL;
    ok = values && put_strings(f, text, n, input);
    if (ok && l->n)
        memcpy(values, code, l->n * sizeof(*values));
    f->column[input].values = values;
    f->column[input].dictionary_size = (int64_t)n;
    free(text);
    free(code);
    return ok;
}

static bool put_column(struct frame *f, const struct layout *l, size_t input,
                       bool dictionary, unsigned layout)
{
    struct weir_column *c = &f->column[input];
    if (!put_validity(f, l, input, layout & FRAME_VALIDITY))
        return false;
    if (c->type != WEIR_STRING)
        return put_numbers(f, l, input);
    if (dictionary)
        return put_dictionary(f, l, input, layout & FRAME_CODES);
    struct rows_value *text = calloc(l->n + 1, sizeof(*text));
    for (size_t i = 0; text && i < l->n; i++)
        text[i] = value_at(l, i, input);
    bool ok = text && put_strings(f, text, l->n, input);
    free(text);
    return ok;
}

/* Where ours are among all rows. */
static bool lay_out(struct layout *l, const struct rows *rows, const uint32_t *types,
                    unsigned layout, uint64_t seed)
{
    struct dice d = dice_of(seed);
    bool strangers = layout & FRAME_STRANGERS;
    *l = (struct layout){.rows = rows};
    size_t most = strangers ? 3 * rows->n + 3 : rows->n;
    l->from = calloc(most + 1, sizeof(*l->from));
    if (!l->from ||
        !rows_make(&l->strangers, layout & FRAME_OTHERS ? ROWS_EXTREMES : ROWS_TAME,
                   types, rows->n_inputs, most, seed))
        return false;
    for (size_t i = 0; i <= rows->n; i++) {
        for (size_t k = strangers ? dice(&d, 3) : 0; k > 0; k--)
            l->from[l->n++] = SIZE_MAX;
        if (i < rows->n)
            l->from[l->n++] = i;
    }
    return true;
}

static bool fill(struct frame *f, const struct layout *l, const uint32_t *types,
                 const bool *dictionary, unsigned layout)
{
    int64_t *time = room(f, l->n * sizeof(*time));
    f->row = calloc(f->n + 1, sizeof(*f->row));
    if (!time || !f->row)
        return false;
    for (size_t i = 0; i < l->n; i++) {
        bool ours = l->from[i] != SIZE_MAX;
        time[i] = ours ? l->rows->time[l->from[i]] : l->strangers.time[i];
        if (ours)
            f->row[l->from[i]] = (uint32_t)i;
    }
    f->time = time;
    for (size_t k = 0; k < l->rows->n_inputs; k++) {
        if (!types[k])
            continue;
        f->column[k].type = types[k];
        f->in[k] = &f->column[k];
        if (!put_column(f, l, k, dictionary[k], layout))
            return false;
    }
    for (size_t i = 0; i < f->n_fences; i++)
        fence_protect(&f->fence[i], true);
    return true;
}

bool frame_new(struct frame *f, const struct rows *rows, const uint32_t *types,
               const bool *dictionary, unsigned layout, uint64_t seed)
{
    struct layout l;
    assert(rows->n_inputs <= ROWS_INPUTS_MAX);
    *f = (struct frame){.n = rows->n};
    bool ok = lay_out(&l, rows, types, layout, seed) &&
              fill(f, &l, types, dictionary, layout);
    free(l.from);
    rows_free(&l.strangers);
    if (!ok)
        frame_free(f);
    return ok;
}

void frame_free(struct frame *f)
{
    for (size_t i = 0; i < f->n_fences; i++)
        fence_free(&f->fence[i]);
    free(f->row);
    *f = (struct frame){0};
}
