/* SPDX-License-Identifier: Apache-2.0
 *
 * FlatBuffers, front to back.
 */
#include "query/flat.h"

#include <assert.h>
#include <string.h>

static void flat_zeros(struct buffer *b, size_t n)
{
    static const char zeros[64];
    for (size_t part; n > 0 && !b->error; n -= part) {
        part = n < sizeof(zeros) ? n : sizeof(zeros);
        buffer_put(b, zeros, part);
    }
}

/* Until `ahead` bytes further on is a multiple of `to`. */
static void flat_align(struct buffer *b, size_t ahead, size_t to)
{
    flat_zeros(b, (to - (b->size + ahead) % to) % to);
}

void flat_set(struct buffer *b, size_t place, uint64_t value, size_t size)
{
    if (b->error)
        return;
    assert(place + size <= b->size);
    for (size_t i = 0; i < size; i++)
        b->data[place + i] = (char)(value >> (8 * i) & 0xff);
}

void flat_begin(struct buffer *b)
{
    flat_zeros(b, 4);
}

/* Where the buffer ends is what `place` refers to. */
static void flat_refer(struct buffer *b, size_t place)
{
    flat_set(b, place, b->size - place, 4);
}

void flat_table(struct buffer *b, size_t place, const uint8_t *size, size_t n,
                size_t *ret_field)
{
    size_t at[FLAT_FIELDS_MAX] = {0}, end = 4;
    assert(n <= FLAT_FIELDS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (size[i] == 0)
            continue;
        /* The table begins 4 bytes behind a multiple of 8, so that the field behind its first 4 has any alignment. */
        at[i] = end + (size[i] - (end + 4) % size[i]) % size[i];
        end = at[i] + size[i];
    }
    const size_t vtable_size = 4 + 2 * n;
    flat_align(b, vtable_size + 4, 8);
    const size_t vtable = b->size, table = vtable + vtable_size;
    flat_zeros(b, vtable_size);
    flat_set(b, vtable, vtable_size, 2);
    flat_set(b, vtable + 2, end, 2);
    for (size_t i = 0; i < n; i++)
        flat_set(b, vtable + 4 + 2 * i, at[i], 2);
    flat_refer(b, place);
    flat_zeros(b, end);
    flat_set(b, table, table - vtable, 4);
    for (size_t i = 0; i < n; i++)
        ret_field[i] = table + at[i];
}

size_t flat_vector(struct buffer *b, size_t place, size_t n, size_t size)
{
    flat_align(b, 4, size < 8 ? size : 8);
    flat_align(b, 0, 4);
    flat_refer(b, place);
    flat_zeros(b, 4 + n * size);
    flat_set(b, b->size - n * size - 4, n, 4);
    return b->size - n * size;
}

void flat_string(struct buffer *b, size_t place, const char *text)
{
    flat_align(b, 0, 4);
    flat_refer(b, place);
    size_t size = strlen(text), at = b->size;
    flat_zeros(b, 4);
    flat_set(b, at, size, 4);
    buffer_put(b, text, size + 1);
}
