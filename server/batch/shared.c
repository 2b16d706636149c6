/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/shared.h"

#include "batch/pool.h"

#include <errno.h>

static uint64_t offset_of(const void *p)
{
    return p ? pool_offset(p) : SHARED_NONE;
}

void shared_write_column(const struct weir_column *c, struct shared_column *to)
{
    *to = (struct shared_column){.type = c->type,
                                 .null_count = c->null_count,
                                 .dictionary_size = c->dictionary_size,
                                 .validity = offset_of(c->validity),
                                 .values = offset_of(c->values),
                                 .offsets = offset_of(c->offsets),
                                 .bytes = offset_of(c->bytes)};
}

void shared_write(const struct batch *b, struct shared_batch *to)
{
    *to =
        (struct shared_batch){.n_rows = b->n_rows, .n_columns = (uint32_t)b->schema->n};
    for (size_t i = 0; i < b->schema->n; i++)
        shared_write_column(&b->view[i], &to->column[i]);
}

/* An arena as another process sees it; sticky. */
struct mapped {
    const char *base;
    size_t size;
    int error;
};

/* `size` bytes at `offset`, aligned to `align`. */
static const void *find(struct mapped *m, uint64_t offset, uint64_t size,
                        uint64_t align)
{
    if (offset == SHARED_NONE)
        return NULL;
    if (offset > m->size || size > m->size - offset || offset % align) {
        m->error = -EBADMSG;
        return NULL;
    }
    return m->base + offset;
}

static struct weir_column read_column(struct mapped *m, const struct shared_column *c,
                                      uint64_t rows)
{
    struct weir_column v = {.type = c->type,
                            .null_count = c->null_count,
                            .dictionary_size = c->dictionary_size};
    v.validity = find(m, c->validity, (rows + 7) / 8, 1);
    if (c->type == WEIR_STRING) {
        uint64_t strings = rows;
        if (c->dictionary_size > 0) {
            strings = (uint64_t)c->dictionary_size;
            v.values = find(m, c->values, rows * sizeof(int32_t), sizeof(int32_t));
        }
        uint64_t ends = strings < m->size / 4 ? (strings + 1) * 4 : m->size + 1;
        v.offsets = find(m, c->offsets, ends, sizeof(int32_t));
        int32_t end = v.offsets ? v.offsets[strings] : -1;
        v.bytes = end < 0 ? NULL : find(m, c->bytes, (uint64_t)end, 1);
        if (end < 0 || (end > 0 && !v.bytes) || (c->dictionary_size > 0 && !v.values))
            m->error = -EBADMSG;
    } else {
        uint64_t size = c->type == WEIR_BOOL ? (rows + 7) / 8 : rows * 8;
        v.values = find(m, c->values, size, c->type == WEIR_BOOL ? 1 : 8);
        if (!v.values || c->type < WEIR_INT || c->type > WEIR_TIME)
            m->error = -EBADMSG;
    }
    return v;
}

int shared_read(const struct shared_batch *from, const void *arena, size_t size,
                struct weir_column *ret)
{
    struct mapped m = {.base = arena, .size = size};
    if (from->n_rows > BATCH_ROWS_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < from->n_columns; i++)
        ret[i] = read_column(&m, &from->column[i], from->n_rows);
    return m.error;
}

int shared_read_column(const struct shared_column *from, uint32_t rows,
                       const void *arena, size_t size, struct weir_column *ret)
{
    struct mapped m = {.base = arena, .size = size};
    if (rows > BATCH_ROWS_MAX)
        return -EBADMSG;
    *ret = read_column(&m, from, rows);
    return m.error;
}
