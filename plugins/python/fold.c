/* SPDX-License-Identifier: Apache-2.0
 *
 * python: a class of a Python file folds rows. Of a weir.Fold the state of a group is an object, of a weir.Groups a
 * record of the class's dtype:
 *
 *      rows of a call --by group--> object.update(columns), once for each group
 *                     --------+
 *      records of its groups -+---> update(records, group of each row, columns), once --> records
 *
 * Or, where the class wants rows of a group together, update(records, first row of each group, columns).
 */
#include "columns.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Zeros: no row has come yet. Objects are made with the first one, so that opening a group takes no GIL. */
struct state {
    void *is; /* PyObject, of a Fold; memory from alloc, of a Groups */
};

struct user {
    struct analyzer analyzer;
    struct chosen chosen;
    struct columns columns;
    struct scratch records, others;
    size_t record_size; /* bytes; of a Fold 0 */
    PyObject **dropped; /* objects to give back when the GIL is held anyway */
    size_t n_dropped;
    PyObject *update, *merge, *emit, *save, *load; /* names of methods */
};

#define DROPPED_MAX 1024

static const char *record_template(const struct user *u)
{
    return PyBytes_AS_STRING(u->analyzer.template);
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static int open_python(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    struct user *u = calloc(1, sizeof(*u));
    if (!u)
        return weir_fail(ctx, "no memory");
    ctx->user = u;
    if (analyzer_open(ctx, false, &u->analyzer) < 0)
        return -1;
    PyGILState_STATE gil = PyGILState_Ensure();
    u->update = PyUnicode_InternFromString("update");
    u->merge = PyUnicode_InternFromString("merge");
    u->emit = PyUnicode_InternFromString("emit");
    u->save = PyUnicode_InternFromString("save");
    u->load = PyUnicode_InternFromString("load");
    if (u->analyzer.groups)
        u->record_size = (size_t)PyBytes_GET_SIZE(u->analyzer.template);
    bool ok = u->update && u->merge && u->emit && u->save && u->load;
    PyErr_Clear();
    PyGILState_Release(gil);
    u->dropped = malloc(DROPPED_MAX * sizeof(PyObject *));
    ok = ok && u->dropped &&
         columns_new(&u->columns, ctx->types + c->of.first, c->of.n, &u->analyzer);
    return ok ? 0 : weir_fail(ctx, "no memory");
}

/* With the GIL. */
static void forget_dropped(struct user *u)
{
    while (u->n_dropped)
        Py_DECREF(u->dropped[--u->n_dropped]);
}

static void close_python(struct weir_ctx *ctx)
{
    struct user *u = ctx->user;
    if (!u)
        return;
    if (u->analyzer.what) {
        PyGILState_STATE gil = PyGILState_Ensure();
        forget_dropped(u);
        analyzer_close(&u->analyzer);
        Py_XDECREF(u->update);
        Py_XDECREF(u->merge);
        Py_XDECREF(u->emit);
        Py_XDECREF(u->save);
        Py_XDECREF(u->load);
        PyGILState_Release(gil);
    }
    columns_free(&u->columns);
    rows_free(&u->chosen);
    free(u->records.at);
    free(u->others.at);
    free(u->dropped);
    free(u);
}

/* ---- States ------------------------------------------------------------------------------------ */

/* With the GIL. NULL: an exception. */
static PyObject *object_of(struct user *u, struct state *s)
{
    if (!s->is)
        s->is = PyObject_CallNoArgs(u->analyzer.what);
    return s->is;
}

static void *record_of(struct weir_ctx *ctx, struct user *u, struct state *s)
{
    if (!s->is && (s->is = ctx->host->alloc(ctx, u->record_size)))
        memcpy(s->is, record_template(u), u->record_size);
    return s->is;
}

static void drop(struct weir_ctx *ctx, void *state)
{
    struct state *s = state;
    struct user *u = ctx->user;
    if (u->analyzer.groups) {
        ctx->host->free(ctx, s->is);
    } else if (s->is) {
        if (u->n_dropped == DROPPED_MAX) {
            PyGILState_STATE gil = PyGILState_Ensure();
            forget_dropped(u);
            PyGILState_Release(gil);
        }
        u->dropped[u->n_dropped++] = s->is;
    }
    s->is = NULL;
}

/* ---- Update ------------------------------------------------------------------------------------ */

/* One group: its part of every column. */
static int update_object(struct user *u, PyObject *object, uint32_t first, uint32_t end,
                         bool all)
{
    PyObject *args[COLUMNS_MAX + 1] = {object};
    size_t n = 0;
    int err = 0;
    for (; !err && n < u->columns.n; n++) {
        PyObject *column = u->columns.column[n].object;
        args[n + 1] = all ? Py_NewRef(column) : PySequence_GetSlice(column, first, end);
        err = args[n + 1] ? 0 : -1;
    }
    PyObject *done =
        err ? NULL : PyObject_VectorcallMethod(u->update, args, (n + 1), NULL);
    for (size_t i = 1; i <= n; i++)
        Py_XDECREF(args[i]);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int update_objects(struct user *u, const struct weir_rows *r)
{
    const struct chosen *c = &u->chosen;
    int err = 0;
    for (size_t g = 0; !err && g < c->n_groups; g++) {
        PyObject *object =
            object_of(u, (struct state *)(void *)(r->states + c->slot[g] * r->stride));
        err = object ? update_object(u, object, c->first[g], c->first[g + 1],
                                     c->n_groups == 1)
                     : -1;
    }
    return err;
}

/* What is lent while a method is called, and what an array on it says. */
static PyObject *lend_records(struct user *u, void *at, size_t n, PyObject **ret_lent)
{
    *ret_lent = lent_new(at, n * u->record_size, 'B', true);
    return *ret_lent ? PyObject_CallFunctionObjArgs(python_helper("records"), *ret_lent,
                                                    u->analyzer.dtype, NULL)
                     : NULL;
}

/* Of memory that is ours: a view that is kept would read what comes after. */
static int end_records(PyObject *lent, int err)
{
    if (lent && lent_is_kept(lent) && !err) {
        PyGC_Collect();
        if (lent_is_kept(lent)) {
            PyErr_SetString(
                PyExc_RuntimeError,
                "it keeps the records that it was lent for the call, or the "
                "array of groups: keep a copy");
            err = -1;
        }
    }
    lent_end(lent);
    return err;
}

static int call_update(struct user *u)
{
    struct chosen *c = &u->chosen;
    PyObject *args[COLUMNS_MAX + 3] = {u->analyzer.what}, *lent = NULL, *numbers = NULL;
    const uint32_t *number = u->analyzer.together ? c->first : c->group;
    const size_t n_numbers = u->analyzer.together ? c->n_groups : c->n;
    int64_t *wide = scratch_take(&u->others, n_numbers * sizeof(*wide));
    for (size_t i = 0; wide && i < n_numbers; i++)
        wide[i] = number[i];
    args[1] = lend_records(u, u->records.at, c->n_groups, &lent);
    numbers = wide ? lent_new(wide, n_numbers, 'q', false) : PyErr_NoMemory();
    args[2] = numbers ? PyObject_CallOneArg(python_helper("numbers"), numbers) : NULL;
    for (size_t k = 0; k < u->columns.n; k++)
        args[3 + k] = u->columns.column[k].object;
    PyObject *done =
        args[1] && args[2]
            ? PyObject_VectorcallMethod(u->update, args, (3 + u->columns.n), NULL)
            : NULL;
    Py_XDECREF(args[1]);
    Py_XDECREF(args[2]);
    Py_XDECREF(done);
    int err = end_records(numbers, done ? 0 : -1);
    return end_records(lent, err);
}

static struct state *state_of(const struct weir_rows *r, uint32_t slot)
{
    return (struct state *)(void *)(r->states + slot * r->stride);
}

/* Without the GIL. */
static int gather_records(struct weir_ctx *ctx, struct user *u,
                          const struct weir_rows *r)
{
    const struct chosen *c = &u->chosen;
    char *to = scratch_take(&u->records, c->n_groups * u->record_size);
    if (!to)
        return weir_fail(ctx, "no memory");
    for (size_t g = 0; g < c->n_groups; g++) {
        const void *record = record_of(ctx, u, state_of(r, c->slot[g]));
        if (!record)
            return -1;
        memcpy(to + g * u->record_size, record, u->record_size);
    }
    return 0;
}

static void scatter_records(struct user *u, const struct weir_rows *r)
{
    const struct chosen *c = &u->chosen;
    const char *from = u->records.at;
    for (size_t g = 0; g < c->n_groups; g++)
        memcpy(state_of(r, c->slot[g])->is, from + g * u->record_size, u->record_size);
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    const struct config *config = ctx->config;
    struct user *u = ctx->user;
    struct chosen *c = &u->chosen;
    if (!rows_choose(c, r, config->of.first, config->of.n, config->nulls == NULLS_SKIP,
                     !u->analyzer.groups || u->analyzer.together))
        return weir_fail(ctx, "no memory");
    if (c->n_skipped)
        ctx->host->skip(ctx, 0, c->n_skipped);
    if (!c->n)
        return 0;
    if (!columns_fetch(&u->columns, r, config->of.first, c))
        return weir_fail(ctx, "no memory");
    if (u->analyzer.groups && gather_records(ctx, u, r) < 0)
        return -1;
    PyGILState_STATE gil = PyGILState_Ensure();
    forget_dropped(u);
    int err = columns_make(&u->columns, c->n, c);
    if (!err)
        err = u->analyzer.groups ? call_update(u) : update_objects(u, r);
    if (err)
        err = python_failed(ctx);
    if (columns_give_back(&u->columns) < 0)
        err = err ? (PyErr_Clear(), err) : python_failed(ctx);
    PyGILState_Release(gil);
    if (!err && u->analyzer.groups)
        scatter_records(u, r);
    return err;
}

/* ---- Merge ------------------------------------------------------------------------------------- */

/* The object of no rows becomes like another one. */
static int copy_object(struct user *u, struct state *s, PyObject *other)
{
    PyObject *object = object_of(u, s);
    PyObject *saved = object ? PyObject_CallMethodNoArgs(other, u->save) : NULL;
    PyObject *done = saved ? PyObject_CallMethodOneArg(object, u->load, saved) : NULL;
    Py_XDECREF(saved);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* A class need not know how to merge what has no rows. */
static int merge_objects(struct user *u, size_t n, void *const *into,
                         const void *const *from)
{
    int err = 0;
    for (size_t i = 0; !err && i < n; i++) {
        PyObject *other = ((const struct state *)from[i])->is;
        struct state *s = into[i];
        if (!other)
            continue;
        if (!s->is) {
            err = copy_object(u, s, other);
            continue;
        }
        PyObject *done = PyObject_CallMethodOneArg(s->is, u->merge, other);
        err = done ? 0 : -1;
        Py_XDECREF(done);
    }
    return err;
}

static bool is_pair(const void *into, const void *from)
{
    return ((const struct state *)into)->is && ((const struct state *)from)->is;
}

/* Those that both have rows. Returns how many. */
static long gather_pairs(struct weir_ctx *ctx, struct user *u, size_t n,
                         void *const *into, const void *const *from)
{
    char *a = scratch_take(&u->records, n * u->record_size);
    char *b = scratch_take(&u->others, n * u->record_size);
    long pairs = 0;
    if (!a || !b)
        return weir_fail(ctx, "no memory");
    for (size_t i = 0; i < n; i++)
        if (is_pair(into[i], from[i])) {
            memcpy(a + (size_t)pairs * u->record_size, ((struct state *)into[i])->is,
                   u->record_size);
            memcpy(b + (size_t)pairs++ * u->record_size,
                   ((const struct state *)from[i])->is, u->record_size);
        }
    return pairs;
}

static int copy_records(struct weir_ctx *ctx, struct user *u, size_t n,
                        void *const *into, const void *const *from)
{
    for (size_t i = 0; i < n; i++) {
        struct state *s = into[i];
        const void *other = ((const struct state *)from[i])->is;
        if (s->is || !other)
            continue;
        if (!record_of(ctx, u, s))
            return -1;
        memcpy(s->is, other, u->record_size);
    }
    return 0;
}

static int merge_records(struct weir_ctx *ctx, struct user *u, size_t n,
                         void *const *into, const void *const *from)
{
    long pairs = gather_pairs(ctx, u, n, into, from);
    if (pairs <= 0)
        return pairs < 0 ? -1 : copy_records(ctx, u, n, into, from);
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *lent[2] = {NULL, NULL}, *done = NULL;
    PyObject *a = lend_records(u, u->records.at, (size_t)pairs, &lent[0]);
    PyObject *b = a ? lend_records(u, u->others.at, (size_t)pairs, &lent[1]) : NULL;
    if (b)
        done = PyObject_CallMethodObjArgs(u->analyzer.what, u->merge, a, b, NULL);
    Py_XDECREF(a);
    Py_XDECREF(b);
    Py_XDECREF(done);
    int err = end_records(lent[0], done ? 0 : -1);
    err = end_records(lent[1], err);
    if (err)
        err = python_failed(ctx);
    PyGILState_Release(gil);
    const char *to = u->records.at;
    for (size_t i = 0; !err && i < n; i++)
        if (is_pair(into[i], from[i])) {
            memcpy(((struct state *)into[i])->is, to, u->record_size);
            to += u->record_size;
        }
    return err ? err : copy_records(ctx, u, n, into, from);
}

static int merge(struct weir_ctx *ctx, size_t n, const struct weir_window *const *w,
                 void *const *into, const void *const *from)
{
    struct user *u = ctx->user;
    (void)w;
    if (u->analyzer.groups)
        return merge_records(ctx, u, n, into, from);
    PyGILState_STATE gil = PyGILState_Ensure();
    int err = merge_objects(u, n, into, from) < 0 ? python_failed(ctx) : 0;
    PyGILState_Release(gil);
    return err;
}

/* ---- Emit -------------------------------------------------------------------------------------- */

static PyObject *call_emit(struct user *u, PyObject *object, PyObject *records,
                           PyObject *window)
{
    PyObject *method = PyObject_GetAttr(object, u->emit);
    PyObject *args = records ? PyTuple_Pack(1, records) : PyTuple_New(0),
             *keywords = NULL;
    if (window)
        keywords = Py_BuildValue("{sO}", "window", window);
    PyObject *ret = method && args && (keywords || !window)
                        ? PyObject_Call(method, args, keywords)
                        : NULL;
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(keywords);
    return ret;
}

static int emit_objects(struct weir_ctx *ctx, struct user *u, size_t n,
                        const struct weir_window *const *w, const void *const *state,
                        struct weir_out *out)
{
    int err = 0;
    for (size_t i = 0; !err && i < n; i++) {
        PyObject *object = ((const struct state *)state[i])->is, *window = NULL;
        if (!object)
            continue;
        bool ok = !u->analyzer.window || (window = python_window(w[i]));
        PyObject *row = ok ? call_emit(u, object, NULL, window) : NULL;
        err = row ? ctx->host->group(ctx, out, i) : python_failed(ctx);
        if (!err)
            err = python_put_row(ctx, &u->analyzer, out, row);
        Py_XDECREF(row);
        Py_XDECREF(window);
    }
    return err;
}

/* Of an async def: those of all groups are under way at once, and their rows come in the order of the groups. */
static int emit_waiting(struct weir_ctx *ctx, struct user *u, size_t n,
                        const struct weir_window *const *w, const void *const *state,
                        struct weir_out *out)
{
    PyObject *begun = PyList_New(0), *rows = NULL;
    bool ok = begun;
    for (size_t i = 0; ok && i < n; i++) {
        PyObject *object = ((const struct state *)state[i])->is, *window = NULL;
        if (!object)
            continue;
        ok = !u->analyzer.window || (window = python_window(w[i]));
        PyObject *row = ok ? call_emit(u, object, NULL, window) : NULL;
        ok = row && PyList_Append(begun, row) == 0;
        Py_XDECREF(row);
        Py_XDECREF(window);
    }
    if (ok)
        rows = PyObject_CallOneArg(python_helper("gather"), begun);
    int err = rows ? 0 : python_failed(ctx);
    Py_ssize_t at = 0;
    for (size_t i = 0; !err && i < n; i++) {
        if (!((const struct state *)state[i])->is)
            continue;
        err = ctx->host->group(ctx, out, i);
        if (!err)
            err = python_put_row(ctx, &u->analyzer, out, PyList_GetItem(rows, at++));
    }
    Py_XDECREF(rows);
    Py_XDECREF(begun);
    return err;
}

/* A list of windows, of those groups that have records. */
static PyObject *windows_of(const struct weir_window *const *w,
                            const void *const *state, size_t n)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < n; i++) {
        if (!((const struct state *)state[i])->is)
            continue;
        PyObject *window = python_window(w[i]);
        if (!window || PyList_Append(list, window) < 0)
            Py_CLEAR(list);
        Py_XDECREF(window);
    }
    return list;
}

/* An output of all groups: values of the cells' type side by side, or objects. */
struct output {
    PyObject *list; /* or else: */
    Py_buffer view;
};

static void outputs_end(struct output *o, size_t n)
{
    for (size_t k = 0; k < n; k++)
        PyBuffer_Release(&o[k].view);
}

/* With an exception -1, and what was begun is to be ended all the same. */
static int outputs_begin(const struct analyzer *a, PyObject *cells, size_t n,
                         struct output *o)
{
    for (size_t k = 0; k < a->n_outputs; k++) {
        PyObject *column = PyList_GetItem(cells, (Py_ssize_t)k);
        const size_t item = a->type[k] == WEIR_BOOL ? 1 : 8;
        if (PyList_Check(column)) {
            o[k].list = column;
            continue;
        }
        if (PyObject_GetBuffer(column, &o[k].view, PyBUF_SIMPLE) < 0)
            return -1;
        assert((size_t)o[k].view.len == n * item);
    }
    return 0;
}

static int put_output(struct weir_ctx *ctx, const struct analyzer *a,
                      const struct output *o, uint32_t k, size_t at,
                      struct weir_out *out)
{
    if (o->list)
        return python_put(ctx, a, out, k, PyList_GetItem(o->list, (Py_ssize_t)at));
    if (a->type[k] == WEIR_FLOAT)
        return weir_put_float(ctx, out, k, ((const double *)o->view.buf)[at]);
    return weir_put_int(ctx, out, k,
                        a->type[k] == WEIR_BOOL
                            ? ((const unsigned char *)o->view.buf)[at]
                            : ((const int64_t *)o->view.buf)[at]);
}

static int put_cells(struct weir_ctx *ctx, struct user *u, size_t n,
                     const void *const *state, PyObject *cells, size_t n_cells,
                     struct weir_out *out)
{
    const struct analyzer *a = &u->analyzer;
    struct output output[OUTPUTS_MAX];
    size_t at = 0;
    memset(output, 0, a->n_outputs * sizeof(output[0]));
    int err = outputs_begin(a, cells, n_cells, output) < 0 ? python_failed(ctx) : 0;
    for (size_t i = 0; !err && i < n; i++) {
        if (!((const struct state *)state[i])->is)
            continue;
        err = ctx->host->group(ctx, out, i);
        for (uint32_t k = 0; !err && k < a->n_outputs; k++)
            err = put_output(ctx, a, &output[k], k, at, out);
        at++;
    }
    outputs_end(output, a->n_outputs);
    return err;
}

static int emit_records(struct weir_ctx *ctx, struct user *u, size_t n,
                        const struct weir_window *const *w, const void *const *state,
                        struct weir_out *out)
{
    char *to = scratch_take(&u->records, n * u->record_size);
    size_t m = 0;
    if (!to)
        return weir_fail(ctx, "no memory");
    for (size_t i = 0; i < n; i++)
        if (((const struct state *)state[i])->is)
            memcpy(to + m++ * u->record_size, ((const struct state *)state[i])->is,
                   u->record_size);
    if (!m)
        return 0;
    PyObject *lent = NULL, *windows = NULL, *cells = NULL;
    PyObject *records = lend_records(u, to, m, &lent);
    bool ok = records && (!u->analyzer.window || (windows = windows_of(w, state, n)));
    PyObject *row = ok ? call_emit(u, u->analyzer.what, records, windows) : NULL;
    if (row)
        cells = PyObject_CallFunction(python_helper("cells"), "OOn",
                                      u->analyzer.declared, row, (Py_ssize_t)m);
    Py_XDECREF(row);
    Py_XDECREF(windows);
    Py_XDECREF(records);
    int err = end_records(lent, cells ? 0 : -1);
    err = err ? python_failed(ctx) : put_cells(ctx, u, n, state, cells, m, out);
    Py_XDECREF(cells);
    return err;
}

/* Of a group of which no row came, but for nulls, there is nothing to say: its cells are null. */
static int emit(struct weir_ctx *ctx, size_t n, const struct weir_window *const *w,
                const void *const *state, struct weir_out *out)
{
    struct user *u = ctx->user;
    PyGILState_STATE gil = PyGILState_Ensure();
    forget_dropped(u);
    int err = u->analyzer.groups  ? emit_records(ctx, u, n, w, state, out)
              : u->analyzer.waits ? emit_waiting(ctx, u, n, w, state, out)
                                  : emit_objects(ctx, u, n, w, state, out);
    PyGILState_Release(gil);
    return err;
}

/* ---- Save, load -------------------------------------------------------------------------------- */

/* FNV-1a. A pickle that is damaged may do anything: it is not even looked at. */
static uint64_t sum_of(const char *bytes, size_t size)
{
    uint64_t sum = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
    return sum;
}

/* Nothing, of a group without rows; a record; or a sum, and what the object gives. */
static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    struct user *u = ctx->user;
    const struct state *s = state;
    if (!s->is)
        return 0;
    if (u->analyzer.groups)
        return ctx->host->write(ctx, out, s->is, u->record_size);
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *bytes = PyObject_CallMethodNoArgs(s->is, u->save);
    if (bytes && !PyBytes_Check(bytes)) {
        PyErr_Format(PyExc_TypeError, "save gives bytes, and not %R", bytes);
        Py_CLEAR(bytes);
    }
    size_t size = bytes ? (size_t)PyBytes_GET_SIZE(bytes) : 0;
    uint64_t sum = bytes ? sum_of(PyBytes_AS_STRING(bytes), size) : 0;
    int err =
        bytes ? ctx->host->write(ctx, out, &sum, sizeof(sum)) : python_failed(ctx);
    if (!err)
        err = ctx->host->write(ctx, out, PyBytes_AS_STRING(bytes), size);
    Py_XDECREF(bytes);
    PyGILState_Release(gil);
    return err;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct user *u = ctx->user;
    struct state *s = state;
    (void)version;
    if (!size)
        return 0;
    if (u->analyzer.groups) {
        if (size != u->record_size)
            return weir_fail(ctx, "a state has %zu bytes, and a record %zu", size,
                             u->record_size);
        void *record = record_of(ctx, u, s);
        return record ? (memcpy(record, bytes, size), 0) : -1;
    }
    const char *text = (const char *)bytes + sizeof(uint64_t);
    uint64_t sum = 0;
    if (size >= sizeof(sum))
        memcpy(&sum, bytes, sizeof(sum));
    if (size < sizeof(sum) || sum != sum_of(text, size - sizeof(sum)))
        return weir_fail(ctx, "a state is damaged");
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *object = object_of(u, s);
    PyObject *saved = PyBytes_FromStringAndSize(text, (Py_ssize_t)(size - sizeof(sum)));
    PyObject *done =
        object && saved ? PyObject_CallMethodOneArg(object, u->load, saved) : NULL;
    int err = done ? 0 : python_failed(ctx);
    Py_XDECREF(saved);
    Py_XDECREF(done);
    PyGILState_Release(gil);
    return err;
}

/* ---- Tables ------------------------------------------------------------------------------------ */

static const struct weir_param params[] = {
#include "params.h"
    {.name = NULL},
};

static const struct weir_analyzer python = {
    .name = "python",
    .version = "1.0",
    .help = "A class of a Python file folds rows",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .reasons = "null",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_python,
    .close = close_python,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(python);
