/* SPDX-License-Identifier: Apache-2.0
 *
 * Filling a cell, a single value; one of zeros is null. Strings are not copied.
 */
#ifndef WEIR_BATCH_CELL_H
#define WEIR_BATCH_CELL_H

#include "weir/plugin.h"

static inline void cell_put_int(struct weir_cell *c, int64_t v)
{
    c->type = WEIR_INT;
    c->as.i = v;
}

static inline void cell_put_time(struct weir_cell *c, int64_t us)
{
    c->type = WEIR_TIME;
    c->as.i = us;
}

static inline void cell_put_float(struct weir_cell *c, double v)
{
    c->type = WEIR_FLOAT;
    c->as.f = v;
}

static inline void cell_put_string(struct weir_cell *c, const char *s, size_t size)
{
    c->type = WEIR_STRING;
    c->size = (uint32_t)size;
    c->as.s = s;
}

#endif
