/* SPDX-License-Identifier: Apache-2.0 */
#include "columns.h"

#include "arrow.h"

#include <stdlib.h>
#include <string.h>

void *scratch_take(struct scratch *s, size_t size)
{
    if (size > s->room || !s->at) {
        void *at = realloc(s->at, size + size / 2 + 64);
        if (!at)
            return NULL;
        s->at = at;
        s->room = size + size / 2 + 64;
    }
    return s->at;
}

/* ---- Which rows -------------------------------------------------------------------------------- */

static bool has_null(const struct weir_rows *r, size_t first, size_t n, uint32_t row)
{
    for (size_t k = 0; k < n; k++)
        if (weir_is_null(r->in[first + k], row))
            return true;
    return false;
}

/* Numbers of groups from 0, in the order in which they come. The table maps a slot to its number plus one. */
static bool number_groups(struct chosen *c, const uint32_t *slot_of)
{
    size_t size = 16;
    while (size < 2 * c->n)
        size *= 2;
    uint32_t(*table)[2] = scratch_take(&c->table, size * sizeof(*table));
    c->slot = scratch_take(&c->slots, c->n * sizeof(*c->slot));
    c->group = scratch_take(&c->numbers, c->n * sizeof(*c->group));
    if (!table || !c->slot || !c->group)
        return false;
    memset(table, 0, size * sizeof(*table));
    c->n_groups = 0;
    for (size_t i = 0; i < c->n; i++) {
        uint32_t slot = slot_of[i];
        size_t at = (slot * UINT32_C(2654435769)) & (size - 1);
        while (table[at][1] && table[at][0] != slot)
            at = (at + 1) & (size - 1);
        if (!table[at][1]) {
            table[at][0] = slot;
            c->slot[c->n_groups++] = slot;
            table[at][1] = (uint32_t)c->n_groups;
        }
        c->group[i] = table[at][1] - 1;
    }
    return true;
}

/* A counting sort, which keeps the order of each group's rows. */
static bool sort_rows(struct chosen *c)
{
    c->first = scratch_take(&c->firsts, (c->n_groups + 2) * sizeof(*c->first));
    uint32_t *sorted = scratch_take(&c->sorted, c->n * sizeof(*sorted));
    if (!c->first || !sorted)
        return false;
    memset(c->first, 0, (c->n_groups + 2) * sizeof(*c->first));
    for (size_t i = 0; i < c->n; i++)
        c->first[c->group[i] + 2]++;
    for (size_t g = 2; g <= c->n_groups; g++)
        c->first[g] += c->first[g - 1];
    for (size_t i = 0; i < c->n; i++)
        sorted[c->first[c->group[i] + 1]++] = c->row[i];
    if (c->n_groups > 1)
        c->row = sorted;
    return true;
}

bool rows_choose(struct chosen *c, const struct weir_rows *r, size_t first_in,
                 size_t n_in, bool skip, bool sort)
{
    const uint32_t *group = r->group;
    bool nulls = false;
    c->n = r->n;
    c->row = r->row;
    c->n_skipped = 0;
    for (size_t k = 0; skip && k < n_in; k++)
        nulls = nulls || r->in[first_in + k]->null_count;
    if (nulls) {
        uint32_t *row = scratch_take(&c->rows, 2 * r->n * sizeof(*row));
        if (!row)
            return false;
        uint32_t *of = row + r->n;
        size_t n = 0;
        for (size_t i = 0; i < r->n; i++) {
            row[n] = r->row[i];
            of[n] = group ? group[i] : 0;
            n += !has_null(r, first_in, n_in, r->row[i]);
        }
        c->n_skipped = r->n - n;
        c->n = n;
        c->row = row;
        group = group ? of : NULL;
    }
    if (!group)
        return true;
    return number_groups(c, group) && (!sort || sort_rows(c));
}

void rows_free(struct chosen *c)
{
    free(c->rows.at);
    free(c->numbers.at);
    free(c->slots.at);
    free(c->firsts.at);
    free(c->sorted.at);
    free(c->table.at);
}

/* ---- Lent memory ------------------------------------------------------------------------------- */

struct lent {
    PyObject_HEAD void *values;
    Py_ssize_t n, item, exports;
    char format[2];
    bool writable, over;
};

static int lent_get(PyObject *o, Py_buffer *view, int flags)
{
    struct lent *l = (struct lent *)o;
    if ((flags & PyBUF_WRITABLE) && !l->writable) {
        PyErr_SetString(PyExc_BufferError, "columns of a batch cannot be written to");
        return -1;
    }
    *view = (Py_buffer){.buf = l->values,
                        .obj = Py_NewRef(o),
                        .len = l->n * l->item,
                        .itemsize = l->item,
                        .readonly = !l->writable,
                        .ndim = 1,
                        .format = (flags & PyBUF_FORMAT) ? l->format : NULL,
                        .shape = (flags & PyBUF_ND) ? &l->n : NULL,
                        .strides =
                            (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &l->item : NULL};
    l->exports++;
    return 0;
}

static void lent_release(PyObject *o, Py_buffer *view)
{
    (void)view;
    ((struct lent *)o)->exports--;
}

static PyBufferProcs lent_buffer = {.bf_getbuffer = lent_get,
                                    .bf_releasebuffer = lent_release};

static PyTypeObject lent_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "weir._Lent",
    .tp_basicsize = sizeof(struct lent),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_as_buffer = &lent_buffer,
};

PyObject *lent_new(void *values, size_t n, char format, bool writable)
{
    if (!(lent_type.tp_flags & Py_TPFLAGS_READY) && PyType_Ready(&lent_type) < 0)
        return NULL;
    struct lent *l = PyObject_New(struct lent, &lent_type);
    if (!l)
        return NULL;
    l->values = values;
    l->n = (Py_ssize_t)n;
    l->item = format == '?' || format == 'B' ? 1 : 8;
    l->exports = 0;
    l->format[0] = format;
    l->format[1] = 0;
    l->writable = writable;
    l->over = false;
    return (PyObject *)l;
}

bool lent_is_over(PyObject *lent)
{
    return ((struct lent *)lent)->over;
}

bool lent_is_kept(PyObject *lent)
{
    return ((struct lent *)lent)->exports > 0;
}

/* Whoever still has a view of it sees nothing rather than memory of others, as far as a buffer can be taken again. */
void lent_end(PyObject *lent)
{
    if (lent) {
        ((struct lent *)lent)->n = 0;
        ((struct lent *)lent)->over = true;
    }
    Py_XDECREF(lent);
}

/* ---- Columns ----------------------------------------------------------------------------------- */

bool columns_new(struct columns *c, const uint32_t *types, size_t n,
                 const struct analyzer *a)
{
    c->column = calloc(n + 1, sizeof(*c->column));
    c->n = n;
    c->numpy = a->numpy;
    c->arrow = a->arrow;
    for (size_t k = 0; c->column && k < n; k++)
        c->column[k].type = types[k];
    return c->column;
}

void columns_free(struct columns *c)
{
    for (size_t k = 0; c->column && k < c->n; k++) {
        free(c->column[k].gathered.at);
        free(c->column[k].mask.at);
    }
    free(c->column);
    c->column = NULL;
}

static bool side_by_side(const struct chosen *rows)
{
    for (size_t i = 1; i < rows->n; i++)
        if (rows->row[i] != rows->row[0] + i)
            return false;
    return true;
}

static bool fetch_mask(struct column *c, const struct chosen *rows)
{
    c->nulls = false;
    if (!c->in->validity)
        return true;
    uint8_t *mask = scratch_take(&c->mask, rows->n);
    for (size_t i = 0; mask && i < rows->n; i++) {
        mask[i] = (uint8_t)weir_is_null(c->in, rows->row[i]);
        c->nulls = c->nulls || mask[i];
    }
    return mask;
}

static bool fetch(struct column *c, const struct chosen *rows, bool together)
{
    if (!fetch_mask(c, rows))
        return false;
    if (c->type == WEIR_STRING)
        return true;
    const int64_t *from = c->in->values; /* of floats the bits, too */
    if (together && c->type != WEIR_BOOL) {
        c->values = from + rows->row[0];
        return true;
    }
    size_t item = c->type == WEIR_BOOL ? 1 : 8;
    void *to = scratch_take(&c->gathered, rows->n * item);
    if (!to)
        return false;
    for (size_t i = 0; i < rows->n; i++)
        if (item == 1)
            ((uint8_t *)to)[i] = (uint8_t)weir_bool(c->in, rows->row[i]);
        else
            memcpy((char *)to + 8 * i, from + rows->row[i], 8);
    c->values = to;
    return true;
}

bool columns_fetch(struct columns *c, const struct weir_rows *r, size_t first_in,
                   const struct chosen *rows)
{
    bool together = side_by_side(rows), ok = true;
    for (size_t k = 0; ok && k < c->n; k++) {
        c->column[k].in = r->in[first_in + k];
        ok = c->arrow || fetch(&c->column[k], rows, together);
    }
    return ok;
}

static PyObject *make_strings(const struct column *c, const struct chosen *rows,
                              bool numpy)
{
    PyObject *list = PyList_New((Py_ssize_t)rows->n);
    for (size_t i = 0; list && i < rows->n; i++) {
        size_t size;
        const char *s = weir_string(c->in, rows->row[i], &size);
        PyObject *text = weir_is_null(c->in, rows->row[i])
                             ? Py_NewRef(Py_None)
                             : PyUnicode_DecodeUTF8(s, (Py_ssize_t)size, "replace");
        if (!text || PyList_SetItem(list, (Py_ssize_t)i, text) < 0)
            Py_CLEAR(list);
    }
    if (!list || !numpy)
        return list;
    PyObject *column =
        PyObject_CallFunctionObjArgs(python_helper("strings"), list, Py_True, NULL);
    Py_DECREF(list);
    return column;
}

static PyObject *make_values(struct column *c, size_t n, bool numpy)
{
    static const char format[] = {
        [WEIR_INT] = 'q', [WEIR_FLOAT] = 'd', [WEIR_BOOL] = '?', [WEIR_TIME] = 'q'};
    PyObject *lent = lent_new((void *)(uintptr_t)c->values, n, format[c->type], false);
    if (!lent)
        return NULL;
    c->lent = (struct lent *)lent;
    return numpy ? PyObject_CallFunction(python_helper("array"), "OI", lent, c->type)
                 : PyMemoryView_FromObject(lent);
}

/* What is copied once somebody asks for it. */
static int make_arrow(struct column *c, size_t n, const struct chosen *rows)
{
    PyObject *token = lent_new(NULL, 0, 'B', false);
    c->lent = (struct lent *)token;
    c->object = token ? arrow_new(c->in, rows->row, n, token) : NULL;
    return c->object ? 0 : -1;
}

static int make(struct column *c, size_t n, const struct chosen *rows, bool numpy)
{
    c->object = c->type == WEIR_STRING ? make_strings(c, rows, numpy)
                                       : make_values(c, n, numpy);
    if (!c->object)
        return -1;
    if (!c->nulls || c->type == WEIR_STRING)
        return 0;
    PyObject *mask = lent_new(c->mask.at, n, '?', false);
    c->lent_mask = (struct lent *)mask;
    PyObject *object =
        mask ? PyObject_CallFunctionObjArgs(python_helper("masked"), c->object, mask,
                                            numpy ? Py_True : Py_False, NULL)
             : NULL;
    Py_SETREF(c->object, object);
    return object ? 0 : -1;
}

int columns_make(struct columns *c, size_t n, const struct chosen *rows)
{
    int err = 0;
    for (size_t k = 0; !err && k < c->n; k++)
        err = c->arrow ? make_arrow(&c->column[k], n, rows)
                       : make(&c->column[k], n, rows, c->numpy);
    return err;
}

static bool some_kept(const struct columns *c)
{
    bool kept = false;
    for (size_t k = 0; k < c->n; k++)
        for (int i = 0; i < 2; i++) {
            struct lent *l = i ? c->column[k].lent_mask : c->column[k].lent;
            kept = kept || (l && l->exports);
        }
    return kept;
}

int columns_give_back(struct columns *c)
{
    for (size_t k = 0; k < c->n; k++)
        Py_CLEAR(c->column[k].object);
    bool kept = some_kept(c);
    if (kept && !PyErr_Occurred()) { /* by what waits to be collected, perhaps */
        PyGC_Collect();
        kept = some_kept(c);
    }
    for (size_t k = 0; k < c->n; k++) {
        lent_end((PyObject *)c->column[k].lent);
        lent_end((PyObject *)c->column[k].lent_mask);
        c->column[k].lent = c->column[k].lent_mask = NULL;
    }
    if (!kept || PyErr_Occurred())
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "it keeps an array, or a part of one, that it "
                                        "was lent for the call: keep a copy, as "
                                        "array.copy() of numpy, list(array) otherwise");
    return -1;
}
