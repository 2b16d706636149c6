/* SPDX-License-Identifier: Apache-2.0 */
#include "arrow.h"

#include <stdlib.h>
#include <string.h>

/* As the specification has them. */
struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

#define ARROW_FLAG_NULLABLE 2

struct arrow {
    PyObject_HEAD const struct weir_column *in;
    const uint32_t *row;
    Py_ssize_t n;
    PyObject *token;
};

/* ---- Structures for others ----------------------------------------------------------------------- */

static void release_schema(struct ArrowSchema *s)
{
    s->release = NULL;
}

static void release_array(struct ArrowArray *a)
{
    free(a->private_data);
    a->release = NULL;
}

static void end_schema(PyObject *capsule)
{
    struct ArrowSchema *s = PyCapsule_GetPointer(capsule, "arrow_schema");
    if (s && s->release)
        s->release(s);
    free(s);
}

static void end_array(PyObject *capsule)
{
    struct ArrowArray *a = PyCapsule_GetPointer(capsule, "arrow_array");
    if (a && a->release)
        a->release(a);
    free(a);
}

static PyObject *make_schema(uint32_t type)
{
    static const char *const format[] = {[WEIR_INT] = "l",
                                         [WEIR_FLOAT] = "g",
                                         [WEIR_BOOL] = "b",
                                         [WEIR_STRING] = "u",
                                         [WEIR_TIME] = "tsu:UTC"};
    struct ArrowSchema *s = malloc(sizeof(*s));
    if (!s)
        return PyErr_NoMemory();
    *s = (struct ArrowSchema){.format = format[type],
                              .name = "",
                              .flags = ARROW_FLAG_NULLABLE,
                              .release = release_schema};
    PyObject *capsule = PyCapsule_New(s, "arrow_schema", end_schema);
    if (!capsule)
        free(s);
    return capsule;
}

/* ---- Rows, copied -------------------------------------------------------------------------------- */

static size_t text_size(const struct arrow *o)
{
    size_t size, total = 0;
    for (Py_ssize_t i = 0; o->in->type == WEIR_STRING && i < o->n; i++) {
        weir_string(o->in, o->row[i], &size);
        total += weir_is_null(o->in, o->row[i]) ? 0 : size;
    }
    return total;
}

static int64_t copy_validity(const struct arrow *o, uint8_t *bits)
{
    int64_t nulls = 0;
    for (Py_ssize_t i = 0; i < o->n; i++) {
        bool null = weir_is_null(o->in, o->row[i]);
        bits[i / 8] |= (uint8_t)(!null << i % 8);
        nulls += null;
    }
    return nulls;
}

static void copy_values(const struct arrow *o, char *values, char *texts)
{
    int32_t *offset = (int32_t *)(void *)values;
    size_t size, at = 0;
    for (Py_ssize_t i = 0; i < o->n; i++) {
        uint32_t row = o->row[i];
        if (o->in->type == WEIR_BOOL) {
            values[i / 8] |= (char)(weir_bool(o->in, row) << i % 8);
        } else if (o->in->type == WEIR_STRING) {
            const char *s = weir_string(o->in, row, &size);
            size = weir_is_null(o->in, row) ? 0 : size;
            if (size)
                memcpy(texts + at, s, size);
            offset[i] = (int32_t)at;
            at += size;
        } else {
            memcpy(values + 8 * i, (const int64_t *)o->in->values + row, 8);
        }
    }
    if (o->in->type == WEIR_STRING)
        offset[o->n] = (int32_t)at;
}

static size_t padded(size_t size)
{
    return (size + 63) & ~(size_t)63; /* as Arrow would have it */
}

/* One block: the pointers, validity, values or offsets, texts. */
static int fill(const struct arrow *o, struct ArrowArray *a)
{
    size_t n = (size_t)o->n, texts = text_size(o);
    size_t head = padded(3 * sizeof(void *)), bits = padded((n + 7) / 8);
    size_t values = padded(o->in->type == WEIR_BOOL     ? (n + 7) / 8
                           : o->in->type == WEIR_STRING ? (n + 1) * sizeof(int32_t)
                                                        : 8 * n);
    char *block = texts <= INT32_MAX
                      ? aligned_alloc(64, head + bits + values + padded(texts + 1))
                      : NULL;
    if (!block)
        return -1;
    memset(block, 0, head + bits + values + padded(texts + 1));
    const void **buffer = (const void **)(void *)block;
    *a = (struct ArrowArray){.length = o->n,
                             .n_buffers = o->in->type == WEIR_STRING ? 3 : 2,
                             .buffers = buffer,
                             .release = release_array,
                             .private_data = block};
    a->null_count = copy_validity(o, (uint8_t *)block + head);
    buffer[0] = a->null_count ? block + head : NULL;
    buffer[1] = block + head + bits;
    buffer[2] = block + head + bits + values;
    copy_values(o, block + head + bits, block + head + bits + values);
    return 0;
}

static PyObject *make_array(const struct arrow *o)
{
    struct ArrowArray *a = malloc(sizeof(*a));
    if (!a || fill(o, a) < 0) {
        free(a);
        return PyErr_NoMemory();
    }
    PyObject *capsule = PyCapsule_New(a, "arrow_array", end_array);
    if (!capsule) {
        a->release(a);
        free(a);
    }
    return capsule;
}

/* ---- The object ---------------------------------------------------------------------------------- */

static bool is_there(const struct arrow *o)
{
    if (!lent_is_over(o->token))
        return true;
    PyErr_SetString(
        PyExc_RuntimeError,
        "a column is there for the call only; what was made of it can be kept");
    return false;
}

static PyObject *give_array(PyObject *self, PyObject *args, PyObject *keywords)
{
    const struct arrow *o = (const struct arrow *)self;
    (void)args, (void)keywords; /* a schema may be asked for, and need not be given */
    if (!is_there(o))
        return NULL;
    PyObject *schema = make_schema(o->in->type);
    PyObject *array = schema ? make_array(o) : NULL;
    PyObject *both = array ? PyTuple_Pack(2, schema, array) : NULL;
    Py_XDECREF(schema);
    Py_XDECREF(array);
    return both;
}

static Py_ssize_t length(PyObject *self)
{
    return ((const struct arrow *)self)->n;
}

static PyObject *slice(PyObject *self, PyObject *key)
{
    const struct arrow *o = (const struct arrow *)self;
    Py_ssize_t start, stop, step;
    if (!PySlice_Check(key)) {
        PyErr_SetString(PyExc_TypeError, "a column of Arrow has slices, and no values");
        return NULL;
    }
    if (!is_there(o) || PySlice_Unpack(key, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t n = PySlice_AdjustIndices(o->n, &start, &stop, step);
    if (step != 1) {
        PyErr_SetString(PyExc_ValueError,
                        "slices of a column of Arrow have a step of 1");
        return NULL;
    }
    return arrow_new(o->in, o->row + start, (size_t)n, o->token);
}

static void end(PyObject *self)
{
    Py_DECREF(((struct arrow *)self)->token);
    PyObject_Free(self);
}

static PyMethodDef methods[] = {
    {"__arrow_c_array__", (PyCFunction)(void (*)(void))give_array,
     METH_VARARGS | METH_KEYWORDS, "Capsules of a schema and an array."},
    {NULL, NULL, 0, NULL},
};

static PyMappingMethods mapping = {.mp_length = length, .mp_subscript = slice};
static PySequenceMethods sequence = {.sq_length = length};

static PyTypeObject arrow_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "weir.Column",
    .tp_basicsize = sizeof(struct arrow),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = end,
    .tp_methods = methods,
    .tp_as_mapping = &mapping,
    .tp_as_sequence = &sequence,
};

PyObject *arrow_new(const struct weir_column *in, const uint32_t *row, size_t n,
                    PyObject *token)
{
    if (!(arrow_type.tp_flags & Py_TPFLAGS_READY) && PyType_Ready(&arrow_type) < 0)
        return NULL;
    struct arrow *o = PyObject_New(struct arrow, &arrow_type);
    if (!o)
        return NULL;
    o->in = in;
    o->row = row;
    o->n = (Py_ssize_t)n;
    o->token = Py_NewRef(token);
    return (PyObject *)o;
}
