/* SPDX-License-Identifier: Apache-2.0
 *
 * python_window: a function of a Python file gets all rows of a group at once, by time, and gives rows.
 */
#include "columns.h"

#include <stdlib.h>

struct user {
    struct analyzer analyzer;
    struct chosen chosen;
    struct columns columns;
};

static int open_window(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    struct user *u = calloc(1, sizeof(*u));
    if (!u)
        return weir_fail(ctx, "no memory");
    ctx->user = u;
    if (analyzer_open(ctx, true, &u->analyzer) < 0)
        return -1;
    return columns_new(&u->columns, ctx->types + c->of.first, c->of.n, &u->analyzer)
               ? 0
               : weir_fail(ctx, "no memory");
}

static void close_window(struct weir_ctx *ctx)
{
    struct user *u = ctx->user;
    if (!u)
        return;
    if (u->analyzer.what) {
        PyGILState_STATE gil = PyGILState_Ensure();
        analyzer_close(&u->analyzer);
        PyGILState_Release(gil);
    }
    columns_free(&u->columns);
    rows_free(&u->chosen);
    free(u);
}

static PyObject *call(struct user *u, const struct weir_window *w)
{
    PyObject *args = PyTuple_New((Py_ssize_t)u->columns.n), *keywords = NULL;
    PyObject *window = u->analyzer.window ? python_window(w) : NULL;
    for (size_t k = 0; args && k < u->columns.n; k++)
        PyTuple_SET_ITEM(args, (Py_ssize_t)k, Py_NewRef(u->columns.column[k].object));
    if (window)
        keywords = Py_BuildValue("{sO}", "window", window);
    bool ok = args && (keywords || !u->analyzer.window);
    PyObject *ret = ok ? PyObject_Call(u->analyzer.what, args, keywords) : NULL;
    Py_XDECREF(args);
    Py_XDECREF(window);
    Py_XDECREF(keywords);
    return ret;
}

/* Rows may come from a generator, which runs while they are put. */
static int put_rows(struct weir_ctx *ctx, struct user *u, PyObject *given,
                    struct weir_out *out)
{
    PyObject *rows = PyObject_CallFunctionObjArgs(python_helper("rows"),
                                                  u->analyzer.declared, given, NULL);
    PyObject *row = NULL;
    int err = rows ? 0 : python_failed(ctx);
    while (!err && (row = PyIter_Next(rows))) {
        err = python_put_row(ctx, &u->analyzer, out, row);
        if (!err)
            err = ctx->host->row(ctx, out);
        Py_DECREF(row);
    }
    if (!err && PyErr_Occurred())
        err = python_failed(ctx);
    Py_XDECREF(rows);
    return err;
}

static int whole(struct weir_ctx *ctx, const struct weir_window *w,
                 const struct weir_rows *r, struct weir_out *out)
{
    const struct config *config = ctx->config;
    struct user *u = ctx->user;
    struct chosen *c = &u->chosen;
    struct weir_rows all = *r;
    all.group = NULL;
    bool ok = rows_choose(c, &all, config->of.first, config->of.n,
                          config->nulls == NULLS_SKIP, false);
    if (ok && c->n_skipped)
        ctx->host->skip(ctx, 0, c->n_skipped);
    if (ok && !c->n)
        return 0;
    if (!ok || !columns_fetch(&u->columns, r, config->of.first, c))
        return weir_fail(ctx, "no memory");
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *given = columns_make(&u->columns, c->n, c) < 0 ? NULL : call(u, w);
    int err = given ? put_rows(ctx, u, given, out) : python_failed(ctx);
    Py_XDECREF(given);
    if (columns_give_back(&u->columns) < 0)
        err = err ? (PyErr_Clear(), err) : python_failed(ctx);
    PyGILState_Release(gil);
    return err;
}

static const struct weir_param params[] = {
#include "params.h"
    {.name = NULL},
};

static const struct weir_analyzer python_window_analyzer = {
    .name = "python_window",
    .version = "1.0",
    .help = "A function of a Python file gets all rows of each window",
    .flags = WEIR_MANY_ROWS | WEIR_WHOLE,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .reasons = "null",
    .config_size = sizeof(struct config),
    .open = open_window,
    .close = close_window,
    .whole = whole,
};
WEIR_PLUGIN(python_window_analyzer);
