/* SPDX-License-Identifier: Apache-2.0
 *
 * CPython in this process: one interpreter for all analyzers, begun with the first one and never ended. Ending it would
 * have to wait for calls under way, and extension modules such as numpy cannot begin a second time.
 *
 * Each of the two plugins has a copy of this code; they share the interpreter and the modules weir and weir_host in it.
 * The first analyzer of a process is opened while the configuration is read, by one thread, before there are workers.
 */
#ifndef WEIR_PYTHON_INTERPRETER_H
#define WEIR_PYTHON_INTERPRETER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "weir/plugin.h"

#include <stdbool.h>

#define PYTHON_COLUMNS                                                                 \
    WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) |                   \
        WEIR_TYPES(WEIR_TIME)
#define OUTPUTS_MAX 256
#define COLUMNS_MAX 512 /* more than the server has inputs */

enum { NULLS_SKIP, NULLS_KEEP };

struct config {
    const char *file, *name, *with;
    struct weir_columns of;
    int nulls;
};

/* What a file says of its analyzer. */
struct analyzer {
    PyObject *what; /* fold: the class; groups: an object of it; window: the function */
    PyObject *declared; /* for the functions of weir_host */
    PyObject *row;      /* the class of its rows */
    PyObject *dtype;    /* groups: of a record */
    PyObject *template; /* groups: bytes of a record of no rows */
    bool groups, window, numpy, arrow;
    bool together; /* groups: rows of each side by side */
    bool waits;    /* emit, or the function, is an async def */
    size_t n_outputs;
    uint32_t type[OUTPUTS_MAX]; /* enum weir_type */
};

/* Begins the interpreter if need be, opens the file and describes the outputs. Takes the GIL itself. */
int analyzer_open(struct weir_ctx *ctx, bool window, struct analyzer *ret);
void analyzer_close(struct analyzer *a); /* with the GIL */

/* What follows wants the GIL: PyGILState_Ensure. */

/* weir_fail with the exception that is raised; its traceback goes to the log. */
int python_failed(struct weir_ctx *ctx);

/* A function of weir_host, borrowed. */
PyObject *python_helper(const char *name);

/* Puts the values of a row into the cells of the group. */
int python_put_row(struct weir_ctx *ctx, const struct analyzer *a, struct weir_out *out,
                   PyObject *row);
int python_put(struct weir_ctx *ctx, const struct analyzer *a, struct weir_out *out,
               uint32_t cell, PyObject *value);

/* weir.Window; NULL with an exception. */
PyObject *python_window(const struct weir_window *w);

#endif
