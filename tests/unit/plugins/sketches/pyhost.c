/* SPDX-License-Identifier: Apache-2.0
 *
 * A Python host: one plugin, the analyzer is a class in a file. Crossing into the interpreter costs more than
 * the work of a row, so each call crosses once, whatever it holds: rows as arrays, groups by the hundred.
 * Asks for: many rows a call with the group of each, many groups in emit and merge, a list of columns, outputs
 * at open, states that are handles and are saved as pickles, errors as text. The calls of `struct python`
 * are what a few pages of CPython's C API give.
 */
#include "weir/plugin.h"

#include <stddef.h>

struct config {
    const char *file;
    struct weir_columns of;
};

struct state {
    uint64_t object; /* number of the accumulator in the interpreter; 0: none yet */
};

struct python; /* an interpreter with the class of a file */
struct python *python_open(const char *file, const struct weir_columns *of,
                           const uint32_t *types);
void python_close(struct python *p);
const struct weir_output *python_outputs(struct python *p);
const char *python_error(struct python *p); /* the traceback, in one line */
/* fold(columns, row, object of each row), all as memory views; makes objects where there are none. The
 * window of a new object was given by python_begin. */
int python_begin(struct python *p, const struct weir_window *w, uint64_t *ret_object);
int python_fold(struct python *p, const struct weir_rows *r, uint64_t *skipped);
int python_merge(struct python *p, size_t n, void *const *into,
                 const void *const *from);
/* Results of n objects: one value for each output, as a list of columns. */
struct python_value {
    uint32_t type; /* enum weir_type; 0: None */
    int64_t i;
    double f;
    const char *s; /* in a buffer of the interpreter, gone with the next call */
    size_t size;
};
int python_results(struct python *p, size_t n, const struct weir_window *const *w,
                   const void *const *state, size_t *ret_columns,
                   const struct python_value **ret);
int python_dump(struct python *p, uint64_t object, const void **ret, size_t *ret_size);
int python_load(struct python *p, const void *bytes, size_t size, uint64_t *ret_object);
void python_drop(struct python *p, uint64_t object);

static int failed(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "%s", python_error(ctx->user));
}

static int open_python(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    ctx->user = python_open(c->file, &c->of, ctx->types + c->of.first);
    if (!ctx->user)
        return weir_fail(ctx, "cannot start Python with '%s'", c->file);
    return ctx->host->outputs(ctx, python_outputs(ctx->user));
}

static void close_python(struct weir_ctx *ctx)
{
    python_close(ctx->user);
}

static int init(struct weir_ctx *ctx, const struct weir_window *w, void *state)
{
    return python_begin(ctx->user, w, &((struct state *)state)->object) ? failed(ctx)
                                                                        : 0;
}

static void drop(struct weir_ctx *ctx, void *state)
{
    python_drop(ctx->user, ((struct state *)state)->object);
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    uint64_t skipped = 0;
    int err = python_fold(ctx->user, r, &skipped);
    if (skipped)
        ctx->host->skip(ctx, 0, skipped);
    return err ? failed(ctx) : 0;
}

static int merge(struct weir_ctx *ctx, size_t n, const struct weir_window *const *w,
                 void *const *into, const void *const *from)
{
    (void)w;
    return python_merge(ctx->user, n, into, from) ? failed(ctx) : 0;
}

static int put(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
               const struct python_value *v)
{
    switch (v->type) {
    case 0:
        return 0;
    case WEIR_FLOAT:
        return weir_put_float(ctx, out, cell, v->f);
    case WEIR_STRING:
        return weir_put_string(ctx, out, cell, v->s, v->size);
    default:
        return weir_put_int(ctx, out, cell, v->i);
    }
}

static int emit(struct weir_ctx *ctx, size_t n, const struct weir_window *const *w,
                const void *const *state, struct weir_out *out)
{
    size_t columns;
    const struct python_value *v;
    if (python_results(ctx->user, n, w, state, &columns, &v))
        return failed(ctx);
    int err = 0;
    for (size_t i = 0; !err && i < n; i++) {
        err = ctx->host->group(ctx, out, i);
        for (uint32_t k = 0; !err && k < columns; k++)
            err = put(ctx, out, k, v++);
    }
    return err;
}

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const void *bytes;
    size_t size;
    if (python_dump(ctx->user, ((const struct state *)state)->object, &bytes, &size))
        return failed(ctx);
    return ctx->host->write(ctx, out, bytes, size);
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct state *s = state;
    (void)version;
    python_drop(ctx->user, s->object); /* that of init */
    return python_load(ctx->user, bytes, size, &s->object) ? failed(ctx) : 0;
}

static const struct weir_param params[] = {
    {.name = "file",
     .type = WEIR_PARAM_STRING,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, file),
     .help = "the Python file"},
    {.name = "of",
     .type = WEIR_PARAM_COLUMNS,
     .offset = offsetof(struct config, of),
     .help = "the columns that it takes",
     .column_types = WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) |
                     WEIR_TYPES(WEIR_TIME)},
    {.name = NULL},
};

static const struct weir_analyzer python = {
    .name = "python",
    .version = "1.0",
    .help = "An analyzer in Python",
    .params = params,
    .reasons = "error",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .open = open_python,
    .close = close_python,
    .init = init,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(python);
