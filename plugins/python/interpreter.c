/* SPDX-License-Identifier: Apache-2.0 */
#include "interpreter.h"
#include "texts.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

static PyObject *helpers; /* the namespace of weir_host */

/* ---- The interpreter --------------------------------------------------------------------------- */

/* Extension modules do not name libpython among what they need, and plugins are loaded for themselves alone. */
static void show_libpython(void)
{
    Dl_info info;
    if (dladdr((void *)(uintptr_t)Py_IsInitialized, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
}

/* The python whose packages are used: that of the virtual environment that weir was started in, or the one this was built
 * for, rather than one that PATH happens to name. */
static PyStatus choose_python(PyConfig *c)
{
    const char *venv = getenv("VIRTUAL_ENV");
    char path[4096];
    if (!venv || !*venv)
        return PyConfig_SetBytesString(c, &c->program_name, PYTHON_PROGRAM);
    snprintf(path, sizeof(path), "%s/bin/python", venv);
    PyStatus s = PyConfig_SetBytesString(c, &c->program_name, path);
    return PyStatus_Exception(s) ? s : PyConfig_SetBytesString(c, &c->executable, path);
}

/* Nothing of the process is changed: no signal handlers, no locale. Hashes are the same in every run, so that what goes
 * through a set in its order gives the same rows again. */
static PyStatus start(void)
{
    PyPreConfig pre;
    PyConfig c;
    PyPreConfig_InitPythonConfig(&pre);
    pre.configure_locale = 0;
    pre.coerce_c_locale = 0;
    pre.utf8_mode = 1;
    PyStatus s = Py_PreInitialize(&pre);
    if (PyStatus_Exception(s))
        return s;
    PyConfig_InitPythonConfig(&c);
    c.install_signal_handlers = 0;
    c.parse_argv = 0;
    c.use_hash_seed = 1;
    c.hash_seed = 0;
    c.write_bytecode = 0;
    s = choose_python(&c);
    if (!PyStatus_Exception(s))
        s = Py_InitializeFromConfig(&c);
    PyConfig_Clear(&c);
    return s;
}

/* With the GIL. What is printed goes to standard error: on standard output `weir` has results. */
static int make_modules(void)
{
    static const char *const name[] = {"weir", "weir_host"};
    const char *const text[] = {python_weir, python_weir_host};
    for (size_t i = 0; i < 2; i++) {
        char file[32];
        snprintf(file, sizeof(file), "<weir/%s.py>", name[i]);
        PyObject *code = Py_CompileString(text[i], file, Py_file_input);
        PyObject *module = code ? PyImport_ExecCodeModuleEx(name[i], code, file) : NULL;
        Py_XDECREF(code);
        Py_XDECREF(module); /* it stays in sys.modules */
        if (!module)
            return -1;
    }
    PyObject *err = PySys_GetObject("stderr");
    return err ? PySys_SetObject("stdout", err) : 0;
}

static int find_helpers(void)
{
    PyObject *modules = PyImport_GetModuleDict();
    if (!PyDict_GetItemString(modules, "weir_host") && make_modules() < 0)
        return -1;
    PyObject *module = PyDict_GetItemString(modules, "weir_host");
    helpers = module ? Py_NewRef(PyModule_GetDict(module)) : NULL;
    return helpers ? 0 : -1;
}

static int start_python(struct weir_ctx *ctx)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int err = 0;
    pthread_mutex_lock(&lock);
    if (!Py_IsInitialized()) {
        show_libpython();
        PyStatus s = start();
        if (PyStatus_Exception(s))
            err = weir_fail(ctx, "Python does not start: %s",
                            s.err_msg ? s.err_msg : "it does not say why");
        else
            PyEval_SaveThread(); /* whoever calls takes the GIL */
    }
    if (!err && !helpers) {
        PyGILState_STATE gil = PyGILState_Ensure();
        if (find_helpers() < 0) {
            PyErr_Print();
            err = weir_fail(
                ctx, "Python does not start: what the plugin has in Python failed");
        }
        PyGILState_Release(gil);
    }
    pthread_mutex_unlock(&lock);
    return err;
}

/* ---- Errors ------------------------------------------------------------------------------------ */

PyObject *python_helper(const char *name)
{
    return PyDict_GetItemString(helpers, name);
}

int python_failed(struct weir_ctx *ctx)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (value && trace)
        PyException_SetTraceback(value, trace);
    PyObject *said =
        value ? PyObject_CallOneArg(python_helper("explain"), value) : NULL;
    PyObject *text = said ? PyTuple_GetItem(said, 0) : NULL;
    PyObject *lines = said ? PyTuple_GetItem(said, 1) : NULL;
    for (Py_ssize_t i = 0; lines && i < PyList_Size(lines); i++) {
        const char *line = PyUnicode_AsUTF8(PyList_GetItem(lines, i));
        ctx->host->log(ctx, WEIR_ERROR, "%s", line ? line : "?");
    }
    const char *line = text ? PyUnicode_AsUTF8(text) : NULL;
    int err = weir_fail(ctx, "%s", line ? line : "an exception that cannot be shown");
    PyErr_Clear();
    Py_XDECREF(said);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return err;
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static PyObject *names_of(const struct weir_columns *c)
{
    PyObject *list = PyList_New(c->n);
    for (uint32_t i = 0; list && i < c->n; i++) {
        PyObject *name = PyUnicode_FromString(c->name[i]);
        if (!name || PyList_SetItem(list, i, name) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static int describe(struct weir_ctx *ctx, PyObject *outputs, struct analyzer *a)
{
    struct weir_output output[OUTPUTS_MAX + 1] = {{.name = NULL}};
    Py_ssize_t n = PyList_Size(outputs);
    if (n > OUTPUTS_MAX)
        return weir_fail(ctx, "it has %zd outputs, the limit is %d", n, OUTPUTS_MAX);
    a->n_outputs = (size_t)n;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *pair = PyList_GetItem(outputs, i);
        a->type[i] = (uint32_t)PyLong_AsLong(PyTuple_GetItem(pair, 1));
        output[i] =
            (struct weir_output){.name = PyUnicode_AsUTF8(PyTuple_GetItem(pair, 0)),
                                 .type = a->type[i],
                                 .help = "output of the Python file"};
        if (!output[i].name)
            return python_failed(ctx);
    }
    return ctx->host->outputs(ctx, output);
}

static int take(struct weir_ctx *ctx, PyObject *opened, bool window, struct analyzer *a)
{
    const char *kind, *form;
    PyObject *what, *outputs, *dtype, *template, *declared, *row;
    int takes_window, together, arrays, waits;
    if (!PyArg_ParseTuple(opened, "sOOppipsOO(OO)", &kind, &what, &outputs,
                          &takes_window, &together, &arrays, &waits, &form, &dtype,
                          &template, &declared, &row))
        return python_failed(ctx);
    a->what = Py_NewRef(what);
    a->declared = Py_NewRef(PyTuple_GetItem(opened, 10));
    a->row = Py_NewRef(row);
    a->dtype = Py_NewRef(dtype);
    a->template = Py_NewRef(template);
    a->groups = *kind == 'g';
    a->window = takes_window;
    a->together = together;
    a->numpy = arrays == 1;
    a->arrow = arrays == 2;
    a->waits = waits;
    int err = describe(ctx, outputs, a);
    return err || window ? err : ctx->host->form(ctx, form);
}

int analyzer_open(struct weir_ctx *ctx, bool window, struct analyzer *ret)
{
    const struct config *c = ctx->config;
    if (start_python(ctx) < 0)
        return -1;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *names = names_of(&c->of);
    PyObject *opened = names ? PyObject_CallFunction(python_helper("open_analyzer"),
                                                     "szzOO", c->file, c->name, c->with,
                                                     names, window ? Py_True : Py_False)
                             : NULL;
    int err = opened ? take(ctx, opened, window, ret) : python_failed(ctx);
    Py_XDECREF(opened);
    Py_XDECREF(names);
    PyGILState_Release(gil);
    return err;
}

void analyzer_close(struct analyzer *a)
{
    Py_CLEAR(a->what);
    Py_CLEAR(a->declared);
    Py_CLEAR(a->row);
    Py_CLEAR(a->dtype);
    Py_CLEAR(a->template);
}

/* ---- Results ----------------------------------------------------------------------------------- */

static int wrong_value(struct weir_ctx *ctx, const struct analyzer *a, uint32_t cell,
                       PyObject *value)
{
    PyErr_Clear();
    Py_XDECREF(PyObject_CallFunction(python_helper("wrong_value"), "OIO", a->declared,
                                     cell, value));
    return python_failed(ctx);
}

static int put_int(struct weir_ctx *ctx, const struct analyzer *a, struct weir_out *out,
                   uint32_t cell, PyObject *value)
{
    PyObject *number = PyNumber_Index(value);
    int over = 0;
    long long v = number ? PyLong_AsLongLongAndOverflow(number, &over) : 0;
    Py_XDECREF(number);
    if (!number || PyErr_Occurred())
        return wrong_value(ctx, a, cell, value);
    if (over) {
        PyErr_Format(PyExc_OverflowError, "output %u does not fit 64 bits: %R",
                     cell + 1, value);
        return python_failed(ctx);
    }
    return weir_put_int(ctx, out, cell, v);
}

static int put_time(struct weir_ctx *ctx, const struct analyzer *a,
                    struct weir_out *out, uint32_t cell, PyObject *value)
{
    PyObject *us = PyObject_CallOneArg(python_helper("micros"), value);
    int err = us ? put_int(ctx, a, out, cell, us) : wrong_value(ctx, a, cell, value);
    Py_XDECREF(us);
    return err;
}

/* numpy's truth values are of a type of its own. */
static bool is_bool(PyObject *value)
{
    const char *type = Py_TYPE(value)->tp_name;
    return PyBool_Check(value) || !strcmp(type, "numpy.bool_") ||
           !strcmp(type, "numpy.bool");
}

int python_put(struct weir_ctx *ctx, const struct analyzer *a, struct weir_out *out,
               uint32_t cell, PyObject *value)
{
    if (value == Py_None)
        return 0;
    switch (a->type[cell]) {
    case WEIR_FLOAT: {
        double v = PyFloat_AsDouble(value);
        return v == -1 && PyErr_Occurred() ? wrong_value(ctx, a, cell, value)
                                           : weir_put_float(ctx, out, cell, v);
    }
    case WEIR_STRING: {
        Py_ssize_t size;
        const char *s =
            PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, &size) : NULL;
        return s ? weir_put_string(ctx, out, cell, s, (size_t)size)
                 : wrong_value(ctx, a, cell, value);
    }
    case WEIR_BOOL:
        return is_bool(value) ? weir_put_int(ctx, out, cell, PyObject_IsTrue(value))
                              : wrong_value(ctx, a, cell, value);
    case WEIR_TIME:
        return put_time(ctx, a, out, cell, value);
    default:
        return put_int(ctx, a, out, cell, value);
    }
}

int python_put_row(struct weir_ctx *ctx, const struct analyzer *a, struct weir_out *out,
                   PyObject *row)
{
    if (!PyTuple_Check(row) || (size_t)PyTuple_Size(row) != a->n_outputs) {
        Py_XDECREF(PyObject_CallFunctionObjArgs(python_helper("wrong_row"), a->declared,
                                                row, NULL));
        return python_failed(ctx);
    }
    int err = 0;
    for (uint32_t k = 0; !err && k < a->n_outputs; k++)
        err = python_put(ctx, a, out, k, PyTuple_GetItem(row, k));
    return err;
}

static PyObject *cell_object(const struct weir_cell *c)
{
    switch (c->type) {
    case 0:
        Py_RETURN_NONE;
    case WEIR_FLOAT:
        return PyFloat_FromDouble(c->as.f);
    case WEIR_STRING:
        return PyUnicode_DecodeUTF8(c->as.s, c->size, "replace");
    case WEIR_BOOL:
        return PyBool_FromLong((long)c->as.i);
    default:
        return PyLong_FromLongLong(c->as.i);
    }
}

static PyObject *border(int64_t us)
{
    if (us == INT64_MIN || us == INT64_MAX)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(us);
}

PyObject *python_window(const struct weir_window *w)
{
    PyObject *key = PyTuple_New(w->n_keys), *types = PyTuple_New(w->n_keys);
    bool ok = key && types;
    for (uint32_t i = 0; ok && i < w->n_keys; i++) {
        PyObject *value = cell_object(&w->key[i]),
                 *type = PyLong_FromLong(w->key[i].type);
        ok = value && type;
        if (value)
            PyTuple_SET_ITEM(key, i, value);
        if (type)
            PyTuple_SET_ITEM(types, i, type);
    }
    PyObject *start = border(w->start), *end = border(w->end), *ret = NULL;
    if (ok && start && end)
        ret = PyObject_CallFunctionObjArgs(python_helper("window"), start, end, key,
                                           types, NULL);
    Py_XDECREF(start);
    Py_XDECREF(end);
    Py_XDECREF(key);
    Py_XDECREF(types);
    return ret;
}
