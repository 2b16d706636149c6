/* SPDX-License-Identifier: Apache-2.0
 *
 * A host for one plugin in a test.
 */
#include "host.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void give_up(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
static int lend_fail(struct weir_ctx *ctx, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static _Noreturn void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(99);
}

static void *must(void *p)
{
    if (!p)
        give_up("out of memory");
    return p;
}

/* ---- What the host lends ---- */

static int lend_fail(struct weir_ctx *ctx, const char *format, ...)
{
    struct host *h = (struct host *)ctx;
    va_list args;
    va_start(args, format);
    vsnprintf(h->error, sizeof(h->error), format, args);
    va_end(args);
    return -1;
}

static void lend_log(struct weir_ctx *ctx, enum weir_level level, const char *format,
                     ...)
{
    (void)ctx;
    (void)level;
    (void)format;
}

static void *lend_alloc(struct weir_ctx *ctx, size_t size)
{
    struct host *h = (struct host *)ctx;
    if (h->refuse && --h->refuse == 0) {
        h->refuse = 1; /* and all that follow */
        return NULL;
    }
    h->allocated++;
    return must(calloc(1, size ? size : 1));
}

static void lend_free(struct weir_ctx *ctx, void *p)
{
    struct host *h = (struct host *)ctx;
    h->allocated -= p != NULL;
    free(p);
}

static void append(struct host_bytes *b, const void *bytes, size_t size)
{
    b->data = must(realloc(b->data, b->size + size + 1));
    if (size)
        memcpy(b->data + b->size, bytes, size);
    b->size += size;
    b->data[b->size] = 0;
}

static void append_cell(struct host_bytes *b, const struct weir_cell *c)
{
    char text[64] = "null";
    if (c->type == WEIR_STRING) {
        append(b, c->as.s, c->size);
        return;
    }
    if (c->type == WEIR_FLOAT)
        snprintf(text, sizeof(text), "%.17g", c->as.f);
    else if (c->type)
        snprintf(text, sizeof(text), "%" PRId64, c->as.i);
    append(b, text, strlen(text));
}

static int lend_put(struct weir_ctx *ctx, struct weir_out *out,
                    const struct weir_cell *cells)
{
    struct host *h = (struct host *)ctx;
    struct host_bytes *b = (struct host_bytes *)(void *)out;
    for (size_t i = 0; i < h->n_outputs; i++) {
        if (i)
            append(b, "\t", 1);
        append_cell(b, &cells[i]);
    }
    append(b, "\n", 1);
    return 0;
}

static int lend_write(struct weir_ctx *ctx, struct weir_out *out, const void *bytes,
                      size_t size)
{
    (void)ctx;
    append((struct host_bytes *)(void *)out, bytes, size);
    return 0;
}

/* ---- Life ---- */

void host_load(struct host *h, const char *path)
{
    void *code = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct weir_entry *entry = code ? dlsym(code, "weir_plugin_abi1") : NULL;
    if (!entry)
        give_up("%s", dlerror());
    *h = (struct host){.analyzer = entry->analyzer,
                       .table = {sizeof(h->table), lend_fail, lend_log, lend_alloc,
                                 lend_free, lend_put, lend_write}};
    const struct weir_param *p = h->analyzer->params;
    for (; p && p->name; p++) {
        if (p->type == WEIR_PARAM_COLUMN)
            h->n_inputs++;
        else if (p->init)
            host_set(h, p->name, p->init);
    }
    while (h->analyzer->outputs[h->n_outputs].name)
        h->n_outputs++;
}

static int word_number(const char *choices, const char *word, size_t size)
{
    int k = 0;
    for (const char *at = choices; *at; at += strcspn(at, " "), k++) {
        at += strspn(at, " ");
        if (strcspn(at, " ") == size && strncmp(at, word, size) == 0)
            return k;
    }
    give_up("'%.*s' is not one of: %s", (int)size, word, choices);
}

static uint32_t set_bits(const char *choices, const char *text)
{
    uint32_t bits = 0;
    while (*(text += strspn(text, ", "))) {
        size_t size = strcspn(text, ", ");
        bits |= 1u << word_number(choices, text, size);
        text += size;
    }
    return bits;
}

static void set_column(struct host *h, size_t k, const char *text)
{
    const char *colon = strchr(text, ':');
    h->types[k] = colon[1] == 'i'   ? WEIR_INT
                  : colon[1] == 'f' ? WEIR_FLOAT
                                    : WEIR_STRING;
}

void host_set(struct host *h, const char *name, const char *text)
{
    size_t k = 0;
    const struct weir_param *p = h->analyzer->params;
    for (; p && p->name && strcmp(p->name, name) != 0; p++)
        k += p->type == WEIR_PARAM_COLUMN;
    if (!p || !p->name)
        give_up("%s has no parameter %s", h->analyzer->name, name);
    void *member = (char *)h->config + p->offset;
    if (p->type == WEIR_PARAM_COLUMN)
        set_column(h, k, text);
    else if (p->type == WEIR_PARAM_INT)
        *(int64_t *)member = strtoll(text, NULL, 10);
    else if (p->type == WEIR_PARAM_FLOAT)
        *(double *)member = strtod(text, NULL);
    else if (p->type == WEIR_PARAM_BOOL)
        *(int *)member = strcmp(text, "true") == 0;
    else if (p->type == WEIR_PARAM_CHOICE)
        *(int *)member = word_number(p->choices, text, strlen(text));
    else if (p->type == WEIR_PARAM_SET)
        *(uint32_t *)member = set_bits(p->choices, text);
    if (p->type == WEIR_PARAM_COLUMN || p->type == WEIR_PARAM_STRING)
        *(const char **)member = text;
}

int host_open(struct host *h)
{
    h->ctx =
        (struct weir_ctx){.host = &h->table, .config = h->config, .types = h->types};
    return h->analyzer->open ? h->analyzer->open(&h->ctx) : 0;
}

void host_close(struct host *h)
{
    if (h->analyzer->close)
        h->analyzer->close(&h->ctx);
}

/* ---- States ---- */

void *host_state(struct host *h)
{
    size_t size = (h->analyzer->state_size + 15) & ~(size_t)15;
    void *state = must(aligned_alloc(16, size));
    memset(state, 0, size);
    if (h->analyzer->init && h->analyzer->init(&h->ctx, state))
        give_up("init: %s", h->error);
    return state;
}

void host_drop(struct host *h, void *state)
{
    if (h->analyzer->drop)
        h->analyzer->drop(&h->ctx, state);
    free(state);
}

char *host_emit(struct host *h, const void *state)
{
    struct weir_cell cells[64] = {0};
    struct host_bytes out = {0};
    append(&out, "", 0);
    char *before = must(malloc(h->analyzer->state_size));
    memcpy(before, state, h->analyzer->state_size);
    int err = h->analyzer->emit(&h->ctx, state, cells, (struct weir_out *)(void *)&out);
    if (memcmp(before, state, h->analyzer->state_size) != 0)
        give_up("%s: emit changed the state", h->analyzer->name);
    free(before);
    if (!err && !(h->analyzer->flags & WEIR_MANY_ROWS))
        err = lend_put(&h->ctx, (struct weir_out *)(void *)&out, cells);
    if (!err)
        return out.data;
    free(out.data);
    return NULL;
}

void *host_reload(struct host *h, void *state)
{
    void *other = host_state(h);
    struct host_bytes saved = {0};
    if (!h->analyzer->save) {
        memcpy(other, state, h->analyzer->state_size);
        free(state);
        return other;
    }
    if (h->analyzer->save(&h->ctx, state, (struct weir_out *)(void *)&saved) ||
        h->analyzer->load(&h->ctx, other, saved.data, saved.size))
        give_up("%s", h->error);
    free(saved.data);
    host_drop(h, state);
    return other;
}

/* ---- Rows ---- */

struct host_table *host_table_new(const struct host *h, size_t n, size_t bytes)
{
    struct host_table *t = must(calloc(1, sizeof(*t)));
    t->n = n;
    t->time = must(calloc(n + 1, sizeof(*t->time)));
    for (size_t k = 0; k < h->n_inputs; k++) {
        t->values[k] = must(calloc(n + 1, 8));
        t->offsets[k] = must(calloc(n + 2, sizeof(int32_t)));
        t->bytes[k] = must(calloc(bytes + 1, 1));
        t->input[k] = (struct weir_column){
            .type = h->types[k],
            .values = h->types[k] == WEIR_STRING ? NULL : t->values[k],
            .offsets = t->offsets[k],
            .bytes = t->bytes[k]};
    }
    return t;
}

void host_table_free(struct host_table *t)
{
    for (size_t k = 0; k < HOST_INPUTS; k++) {
        free(t->values[k]);
        free(t->offsets[k]);
        free(t->bytes[k]);
        free(t->validity[k]);
    }
    free(t->time);
    free(t);
}

void host_null(struct host_table *t, size_t input, size_t row)
{
    if (!t->validity[input]) {
        t->validity[input] = must(malloc(t->n / 8 + 1));
        memset(t->validity[input], 0xff, t->n / 8 + 1);
        t->input[input].validity = t->validity[input];
    }
    t->validity[input][row / 8] &= (uint8_t) ~(1u << (row % 8));
    t->input[input].null_count++;
}

/* Rows are put in order, nulls as empty text. */
void host_put_text(struct host_table *t, size_t input, size_t row, const char *text,
                   size_t size)
{
    int32_t *offsets = t->offsets[input];
    memcpy(t->bytes[input] + offsets[row], text, size);
    offsets[row + 1] = offsets[row] + (int32_t)size;
}

int host_update(struct host *h, const struct host_table *t, const uint32_t *row,
                const uint32_t *group, size_t n, void *states, size_t stride)
{
    const struct weir_column *in[HOST_INPUTS] = {NULL};
    for (size_t k = 0; k < h->n_inputs; k++)
        in[k] = h->types[k] ? &t->input[k] : NULL;
    struct weir_rows rows = {n, row, group, states, stride, t->time, in};
    return h->analyzer->update(&h->ctx, &rows);
}

int host_fold(struct host *h, const struct host_table *t, size_t first, size_t n,
              void *state)
{
    uint32_t *row = must(calloc(2 * n + 1, sizeof(*row)));
    for (size_t i = 0; i < n; i++)
        row[i] = (uint32_t)(first + i);
    int err = host_update(h, t, row, row + n, n, state, 0);
    free(row);
    return err;
}
