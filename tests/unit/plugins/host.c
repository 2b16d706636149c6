/* SPDX-License-Identifier: Apache-2.0
 *
 * A host for one plugin in a test.
 */
#include "host.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <malloc.h>
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
    void *p = must(calloc(1, size ? size : 1));
    h->bytes += malloc_usable_size(p);
    return p;
}

static void lend_free(struct weir_ctx *ctx, void *p)
{
    struct host *h = (struct host *)ctx;
    h->allocated -= p != NULL;
    h->bytes -= malloc_usable_size(p);
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
        free((void *)(uintptr_t)c->as.s);
        return;
    }
    if (c->type == WEIR_FLOAT)
        snprintf(text, sizeof(text), "%.17g", c->as.f);
    else if (c->type)
        snprintf(text, sizeof(text), "%" PRId64, c->as.i);
    append(b, text, strlen(text));
}

/* Where emit and save put what they give. */
struct weir_out {
    struct host_bytes *text; /* of each group; or what is saved */
    size_t n, next;          /* groups; the least that may come */
    bool put;
    struct weir_cell cell[HOST_OUTPUTS];
};

static int lend_row(struct weir_ctx *ctx, struct weir_out *out)
{
    struct host *h = (struct host *)ctx;
    struct host_bytes *b = &out->text[out->next - 1];
    for (size_t i = 0; i < h->n_outputs; i++) {
        if (i)
            append(b, "\t", 1);
        append_cell(b, &out->cell[i]);
    }
    append(b, "\n", 1);
    memset(out->cell, 0, sizeof(out->cell));
    out->put = false;
    return 0;
}

static bool many_rows(const struct host *h)
{
    return h->analyzer->flags & WEIR_MANY_ROWS;
}

/* The group at hand is done. */
static void end_group(struct host *h, struct weir_out *out)
{
    if (out->next && !many_rows(h))
        lend_row(&h->ctx, out);
    if (out->put)
        give_up("%s: cells behind the last row", h->analyzer->name);
}

static int lend_group(struct weir_ctx *ctx, struct weir_out *out, size_t i)
{
    if (i < out->next || i >= out->n)
        give_up("group %zu", i);
    end_group((struct host *)ctx, out);
    out->next = i + 1;
    return 0;
}

static struct weir_cell *cell_of(struct weir_ctx *ctx, struct weir_out *out,
                                 uint32_t cell, uint32_t type)
{
    struct host *h = (struct host *)ctx;
    if (!out->next || cell >= h->n_outputs)
        give_up("%s: cell %u", h->analyzer->name, cell);
    uint32_t declared = h->analyzer->outputs ? h->analyzer->outputs[cell].type : type;
    if (declared >= WEIR_SAME_AS(0))
        declared = h->types[declared - WEIR_SAME_AS(0)];
    if (type == WEIR_INT && (declared == WEIR_TIME || declared == WEIR_BOOL))
        declared = WEIR_INT;
    if (declared != type)
        give_up("%s: cell %u has type %u", h->analyzer->name, cell, type);
    out->put = many_rows(h);
    out->cell[cell].type = type;
    return &out->cell[cell];
}

static int lend_put_int(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                        int64_t v)
{
    cell_of(ctx, out, cell, WEIR_INT)->as.i = v;
    return 0;
}

static int lend_put_float(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                          double v)
{
    cell_of(ctx, out, cell, WEIR_FLOAT)->as.f = v;
    return 0;
}

static int lend_put_string(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                           const char *s, size_t size)
{
    struct weir_cell *c = cell_of(ctx, out, cell, WEIR_STRING);
    char *copy = must(malloc(size + 1));
    if (size)
        memcpy(copy, s, size);
    c->as.s = copy;
    c->size = (uint32_t)size;
    return 0;
}

static void lend_skip(struct weir_ctx *ctx, uint32_t reason, uint64_t rows)
{
    struct host *h = (struct host *)ctx;
    (void)reason;
    h->skipped += rows;
}

/* Only their number is kept. */
static int lend_outputs(struct weir_ctx *ctx, const struct weir_output *outputs)
{
    struct host *h = (struct host *)ctx;
    h->n_outputs = 0;
    while (outputs[h->n_outputs].name)
        h->n_outputs++;
    return 0;
}

static int lend_write(struct weir_ctx *ctx, struct weir_out *out, const void *bytes,
                      size_t size)
{
    (void)ctx;
    append(out->text, bytes, size);
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
                       .table = {.size = sizeof(h->table),
                                 .fail = lend_fail,
                                 .log = lend_log,
                                 .alloc = lend_alloc,
                                 .free = lend_free,
                                 .skip = lend_skip,
                                 .outputs = lend_outputs,
                                 .group = lend_group,
                                 .put_int = lend_put_int,
                                 .put_float = lend_put_float,
                                 .put_string = lend_put_string,
                                 .row = lend_row,
                                 .write = lend_write}};
    const struct weir_param *p = h->analyzer->params;
    for (; p && p->name; p++) {
        if (p->type == WEIR_PARAM_COLUMN)
            h->n_inputs++;
        else if (p->init)
            host_set(h, p->name, p->init);
    }
    while (h->analyzer->outputs && h->analyzer->outputs[h->n_outputs].name)
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

static void set_numbers(struct host *h, struct weir_numbers *numbers, const char *text)
{
    char *end;
    numbers->n = 0;
    numbers->value = h->number;
    while (*(text += strspn(text, ", ")) && numbers->n < HOST_NUMBERS)
        h->number[numbers->n++] = strtod(text, &end), text = end;
}

static void set_column(struct host *h, size_t k, const char *text)
{
    static const char letters[] = "?ifbst"; /* by enum weir_type */
    const char *colon = strchr(text, ':');
    h->types[k] = (uint32_t)(strchr(letters, colon[1]) - letters);
}

/* "x:i y:s": the inputs from k on. */
static void set_columns(struct host *h, size_t k, struct weir_columns *columns,
                        const char *text)
{
    columns->first = (uint32_t)k;
    columns->name = h->name;
    while (*(text += strspn(text, " ")) && k < HOST_INPUTS) {
        size_t size = strcspn(text, ":");
        snprintf(h->names[k], sizeof(h->names[k]), "%.*s", (int)size, text);
        h->name[columns->n++] = h->names[k];
        set_column(h, k++, text);
        text += strcspn(text, " ");
    }
    h->n_inputs += columns->n;
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
    else if (p->type == WEIR_PARAM_COLUMNS)
        set_columns(h, k, member, text);
    else if (p->type == WEIR_PARAM_NUMBERS)
        set_numbers(h, member, text);
    if (p->type == WEIR_PARAM_COLUMN || p->type == WEIR_PARAM_STRING)
        *(const char **)member = text;
}

int host_open(struct host *h)
{
    h->ctx = (struct weir_ctx){.host = &h->table,
                               .config = h->config,
                               .types = h->types,
                               .n_inputs = h->n_inputs,
                               .size = sizeof(h->ctx)};
    return h->analyzer->open ? h->analyzer->open(&h->ctx) : 0;
}

void host_close(struct host *h)
{
    if (h->analyzer->close)
        h->analyzer->close(&h->ctx);
}

/* ---- States ---- */

/* All groups of a test are in this window. */
static const struct weir_window window = {
    .size = sizeof(window), .start = 0, .end = 1000000000000, .flags = WEIR_FINAL};

void host_init(struct host *h, void *state)
{
    if (h->analyzer->init && h->analyzer->init(&h->ctx, &window, state))
        give_up("init: %s", h->error);
}

void *host_state(struct host *h)
{
    size_t size = (h->analyzer->state_size + 15) & ~(size_t)15;
    void *state = must(aligned_alloc(16, size));
    memset(state, 0, size);
    host_init(h, state);
    return state;
}

void host_drop(struct host *h, void *state)
{
    if (h->analyzer->drop)
        h->analyzer->drop(&h->ctx, state);
    free(state);
}

int host_merge(struct host *h, void *into, void *from)
{
    const struct weir_window *w = &window;
    const void *other = from;
    int err = h->analyzer->merge(&h->ctx, 1, &w, &into, &other);
    host_drop(h, from);
    return err;
}

bool host_emit_many(struct host *h, const void *const *state, size_t n, char **text)
{
    size_t size = h->analyzer->state_size;
    const struct weir_window **windows = must(calloc(n + 1, sizeof(*windows)));
    char *before = must(malloc(n * size + 1));
    struct weir_out out = {.text = must(calloc(n + 1, sizeof(*out.text))), .n = n};
    for (size_t i = 0; i < n; i++) {
        windows[i] = &window;
        append(&out.text[i], "", 0);
        memcpy(before + i * size, state[i], size);
    }
    int err = h->analyzer->emit(&h->ctx, n, windows, state, &out);
    if (!err)
        end_group(h, &out);
    for (size_t i = 0; i < n; i++) {
        if (memcmp(before + i * size, state[i], size) != 0)
            give_up("%s: emit changed the state", h->analyzer->name);
        text[i] = out.text[i].data;
        if (err)
            free(text[i]);
    }
    free(out.text);
    free(before);
    free(windows);
    return err == 0;
}

char *host_emit(struct host *h, const void *state)
{
    char *text;
    return host_emit_many(h, &state, 1, &text) ? text : NULL;
}

struct host_bytes host_save(struct host *h, const void *state)
{
    struct host_bytes saved = {0};
    struct weir_out out = {.text = &saved};
    if (h->analyzer->save(&h->ctx, state, &out))
        give_up("%s", h->error);
    return saved;
}

void *host_reload(struct host *h, void *state)
{
    void *other = host_state(h);
    if (!h->analyzer->save) {
        memcpy(other, state, h->analyzer->state_size);
        free(state);
        return other;
    }
    struct host_bytes saved = host_save(h, state);
    if (h->analyzer->load(&h->ctx, other, h->analyzer->state_version, saved.data,
                          saved.size))
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
    t->sequence = HOST_SEQUENCE;
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

void host_put_bool(struct host_table *t, size_t input, size_t row, bool value)
{
    uint8_t *bits = t->values[input];
    if (value)
        bits[row / 8] |= (uint8_t)(1u << (row % 8));
}

/* Rows are put in order, nulls as empty text. */
void host_put_text(struct host_table *t, size_t input, size_t row, const char *text,
                   size_t size)
{
    int32_t *offsets = t->offsets[input];
    memcpy(t->bytes[input] + offsets[row], text, size);
    offsets[row + 1] = offsets[row] + (int32_t)size;
}

typedef int host_fold_call(struct weir_ctx *, const struct weir_rows *);

static int fold(struct host *h, host_fold_call *call, const struct host_table *t,
                const uint32_t *row, const uint32_t *group, size_t n, void *states,
                size_t stride)
{
    const struct weir_column *in[HOST_INPUTS] = {NULL};
    for (size_t k = 0; k < h->n_inputs; k++)
        in[k] = h->types[k] ? &t->input[k] : NULL;
    const struct weir_rows rows = {.size = sizeof(rows),
                                   .n = n,
                                   .row = row,
                                   .group = group,
                                   .states = states,
                                   .stride = stride,
                                   .time = t->time,
                                   .in = in,
                                   .sequence = t->sequence};
    return call(&h->ctx, &rows);
}

int host_update(struct host *h, const struct host_table *t, const uint32_t *row,
                const uint32_t *group, size_t n, void *states, size_t stride)
{
    return fold(h, h->analyzer->update, t, row, group, n, states, stride);
}

static int fold_one(struct host *h, host_fold_call *call, const struct host_table *t,
                    size_t first, size_t n, void *state)
{
    uint32_t *row = must(calloc(2 * n + 1, sizeof(*row)));
    for (size_t i = 0; i < n; i++)
        row[i] = (uint32_t)(first + i);
    int err = fold(h, call, t, row, row + n, n, state, 0);
    free(row);
    return err;
}

int host_fold(struct host *h, const struct host_table *t, size_t first, size_t n,
              void *state)
{
    return fold_one(h, h->analyzer->update, t, first, n, state);
}

int host_retract(struct host *h, const struct host_table *t, size_t first, size_t n,
                 void *state)
{
    return fold_one(h, h->analyzer->retract, t, first, n, state);
}
