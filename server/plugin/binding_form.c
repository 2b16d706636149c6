/* SPDX-License-Identifier: Apache-2.0
 *
 *      binding   config struct | of each parameter that points: its texts, numbers | inputs | as | opened
 *      opened    left_out of each input | cells | outputs
 *
 * Both sides are the same program, so numbers stand as they are in memory.
 */
#include "plugin/binding_form.h"

#include "base/crc32c.h"
#include "plugin/outputs.h"
#include "plugin/params.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_NONE UINT32_MAX

/* ---- To bytes ---------------------------------------------------------------------------------- */

static void put_u32(struct buffer *to, uint32_t v)
{
    buffer_put(to, &v, sizeof(v));
}

static void put_text(struct buffer *to, const char *text)
{
    put_u32(to, text ? (uint32_t)strlen(text) : TEXT_NONE);
    if (text)
        buffer_puts(to, text);
}

static void put_member(const struct weir_param *p, const char *config,
                       struct buffer *to)
{
    const void *at = config + p->offset;
    const struct weir_columns *c = at;
    const struct weir_numbers *n = at;
    if (p->type == WEIR_PARAM_STRING || p->type == WEIR_PARAM_COLUMN)
        put_text(to, *(const char *const *)at);
    if (p->type == WEIR_PARAM_NUMBERS)
        buffer_put(to, n->value, n->n * sizeof(*n->value));
    for (uint32_t i = 0; p->type == WEIR_PARAM_COLUMNS && i < c->n; i++)
        put_text(to, c->name[i]);
}

uint64_t binding_form_plugin(const struct plugin *p)
{
    const struct weir_analyzer *a = &p->analyzer;
    struct buffer b = {0};
    put_text(&b, a->name);
    put_u32(&b, a->flags);
    put_u32(&b, a->state_version);
    put_u32(&b, (uint32_t)a->config_size);
    put_u32(&b, (uint32_t)a->state_size);
    for (const struct weir_param *m = a->params; m && m->name; m++) {
        put_text(&b, m->name);
        put_u32(&b, m->type);
        put_u32(&b, (uint32_t)m->offset);
    }
    for (const struct weir_output *o = a->outputs; o && o->name; o++) {
        put_text(&b, o->name);
        put_u32(&b, o->type);
    }
    uint64_t number = b.error ? 0 : crc32c(0, b.data, b.size);
    buffer_free(&b);
    return number;
}

void binding_form_put_opened(const struct binding *b, struct buffer *to)
{
    for (size_t i = 0; i < b->n_inputs; i++)
        buffer_putc(to, b->left_out[i] ? 1 : 0);
    put_u32(to, (uint32_t)b->n_cells);
    buffer_put(to, b->cell, b->n_cells * sizeof(*b->cell));
    put_u32(to, (uint32_t)b->n_outputs);
    for (size_t i = 0; i < b->n_outputs; i++) {
        put_u32(to, b->output[i].type);
        put_text(to, b->output[i].name);
        put_text(to, b->output[i].help);
    }
    put_text(to, b->form);
}

void binding_form_put(const struct binding *b, struct buffer *to)
{
    const struct weir_analyzer *a = &b->plugin->analyzer;
    buffer_put(to, b->config, a->config_size);
    for (const struct weir_param *p = a->params; p && p->name; p++)
        put_member(p, b->config, to);
    put_u32(to, (uint32_t)b->n_inputs);
    buffer_put(to, b->input, b->n_inputs * sizeof(*b->input));
    buffer_put(to, b->types, b->n_inputs * sizeof(*b->types));
    for (size_t i = 0; i < b->n_inputs; i++)
        buffer_putc(to, b->dictionary[i] ? 1 : 0);
    put_text(to, b->as);
    binding_form_put_opened(b, to);
}

/* ---- And back ---------------------------------------------------------------------------------- */

struct taking {
    const char *at, *end;
    int err; /* sticky */
};

static void take(struct taking *t, void *to, size_t size)
{
    if (!t->err && size > (size_t)(t->end - t->at))
        t->err = -EBADMSG;
    if (t->err || !size)
        return;
    memcpy(to, t->at, size);
    t->at += size;
}

/* At most `most`; otherwise it is an error. */
static uint32_t take_u32(struct taking *t, uint32_t most)
{
    uint32_t v = 0;
    take(t, &v, sizeof(v));
    if (v > most)
        t->err = -EBADMSG;
    return t->err ? 0 : v;
}

/* NULL: none, or an error. */
static char *take_text(struct taking *t)
{
    uint32_t size = take_u32(t, TEXT_NONE);
    if (t->err || size == TEXT_NONE)
        return NULL;
    if (size > (size_t)(t->end - t->at)) {
        t->err = -EBADMSG;
        return NULL;
    }
    char *text = strndup(t->at, size);
    t->at += size;
    if (!text)
        t->err = -ENOMEM;
    return text;
}

/* A list for the config struct, that the binding owns. */
static void *new_list(struct taking *t, struct binding *b, size_t n, size_t size)
{
    void *list = t->err ? NULL : calloc(n + 1, size);
    if (!list && !t->err)
        t->err = -ENOMEM;
    if (list)
        b->list[b->n_lists++] = list;
    return list;
}

static const char *keep_text(struct taking *t, struct binding *b)
{
    char *text = take_text(t);
    if (text)
        b->string[b->n_strings++] = text;
    return text;
}

static void take_member(struct taking *t, struct binding *b, const struct weir_param *p)
{
    void *at = (char *)b->config + p->offset;
    if (p->type == WEIR_PARAM_STRING || p->type == WEIR_PARAM_COLUMN)
        *(const char **)at = keep_text(t, b);
    if (p->type == WEIR_PARAM_NUMBERS) {
        struct weir_numbers *n = at;
        double *value =
            n->n <= PARAMS_NUMBERS ? new_list(t, b, n->n, sizeof(*value)) : NULL;
        if (value)
            take(t, value, n->n * sizeof(*value));
        n->value = value;
    }
    if (p->type == WEIR_PARAM_COLUMNS) {
        struct weir_columns *c = at;
        const char **name =
            c->n <= BINDING_INPUTS_MAX ? new_list(t, b, c->n, sizeof(*name)) : NULL;
        for (uint32_t i = 0; name && i < c->n; i++)
            name[i] = keep_text(t, b);
        c->name = name;
    }
}

static int allocate(struct binding *b)
{
    size_t inputs = BINDING_INPUTS_MAX;
    b->config = calloc(1, b->plugin->analyzer.config_size + 1);
    b->string = calloc(PARAMS_MAX + inputs, sizeof(*b->string));
    b->list = calloc(PARAMS_MAX + 1, sizeof(*b->list));
    b->input = calloc(inputs, sizeof(*b->input));
    b->types = calloc(inputs, sizeof(*b->types));
    b->dictionary = calloc(inputs, sizeof(*b->dictionary));
    b->left_out = calloc(inputs, sizeof(*b->left_out));
    return b->config && b->string && b->list && b->input && b->types && b->dictionary &&
                   b->left_out
               ? 0
               : -ENOMEM;
}

static bool take_flag(struct taking *t)
{
    char c = 0;
    take(t, &c, 1);
    return c != 0;
}

/* `cell` and `output`, with their numbers, are the caller's to free. */
static void take_opened(struct taking *t, struct binding *b)
{
    for (size_t i = 0; i < b->n_inputs; i++)
        b->left_out[i] = take_flag(t);
    b->n_cells = take_u32(t, OUTPUTS_MAX);
    b->cell = calloc(b->n_cells + 1, sizeof(*b->cell));
    if (b->cell)
        take(t, b->cell, b->n_cells * sizeof(*b->cell));
    size_t n = take_u32(t, OUTPUTS_MAX);
    b->output = calloc(n + 1, sizeof(*b->output));
    if (!b->cell || !b->output)
        t->err = -ENOMEM;
    for (size_t i = 0; !t->err && i < n; i++) {
        struct binding_output *o = &b->output[b->n_outputs++];
        o->type = (enum weir_type)take_u32(t, WEIR_TIME);
        o->name = take_text(t);
        o->help = take_text(t);
        if (!t->err && (!o->name || !o->help || strlen(o->name) > BINDING_NAME_MAX))
            t->err = -EBADMSG;
    }
    b->form = take_text(t);
    for (size_t i = 0; !t->err && i < b->n_cells; i++)
        if (b->cell[i].output < -1 || b->cell[i].output >= (int)b->n_outputs)
            t->err = -EBADMSG;
    if (!t->err && t->at != t->end)
        t->err = -EBADMSG;
}

int binding_form_take(struct plugin *plugin, const char *bytes, size_t size,
                      struct binding **ret)
{
    struct taking t = {.at = bytes, .end = bytes + size};
    struct binding *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->plugin = plugin;
    t.err = allocate(b);
    if (!t.err)
        take(&t, b->config, plugin->analyzer.config_size);
    const struct weir_param *p = plugin->analyzer.params;
    for (; !t.err && p && p->name; p++)
        take_member(&t, b, p);
    b->n_inputs = take_u32(&t, BINDING_INPUTS_MAX);
    if (!t.err) {
        take(&t, b->input, b->n_inputs * sizeof(*b->input));
        take(&t, b->types, b->n_inputs * sizeof(*b->types));
    }
    for (size_t i = 0; i < b->n_inputs; i++)
        b->dictionary[i] = take_flag(&t);
    b->as = take_text(&t);
    if (!t.err)
        take_opened(&t, b);
    if (t.err) {
        binding_free(b);
        return t.err;
    }
    *ret = b;
    return 0;
}

int binding_form_take_opened(struct binding *b, const char *bytes, size_t size,
                             struct error *error)
{
    struct taking t = {.at = bytes, .end = bytes + size};
    struct binding *other = calloc(1, sizeof(*other));
    if (other) {
        other->n_inputs = b->n_inputs;
        other->left_out = calloc(b->n_inputs + 1, sizeof(*other->left_out));
    }
    if (!other || !other->left_out)
        t.err = -ENOMEM;
    else
        take_opened(&t, other);
    if (!t.err && !b->n_cells && !binding_has_good_outputs(other))
        t.err = -EBADMSG;
    if (!t.err && !b->n_cells) {
        struct binding_cell *cell = b->cell;
        struct binding_output *output = b->output;
        b->n_cells = other->n_cells;
        b->n_outputs = other->n_outputs;
        b->cell = other->cell;
        b->output = other->output;
        other->n_cells = other->n_outputs = 0;
        other->cell = cell;
        other->output = output;
    } else if (!t.err && !binding_same_outputs(b, other)) {
        t.err = -EINVAL;
    }
    for (size_t i = 0; !t.err && i < b->n_inputs; i++)
        b->left_out[i] = other->left_out[i];
    int err = t.err;
    if (!err && other->form)
        err = binding_form(b, other->form, error);
    binding_free(other);
    if (t.err)
        error_set(error, t.err, "%s",
                  t.err == -EINVAL
                      ? "it describes other outputs than when it was first opened"
                  : t.err == -ENOMEM ? "no memory"
                                     : "its process talks nonsense");
    return err;
}
