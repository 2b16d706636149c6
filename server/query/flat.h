/* SPDX-License-Identifier: Apache-2.0
 *
 * FlatBuffers (flatbuffers.dev, "FlatBuffers internals"), written front to back: a place that is to refer to something is
 * there first, and is filled in when that is written. Numbers are little-endian; errors are the buffer's, sticky.
 *
 *      buffer   [root: u32]  vtable  table  whatever it refers to  ...
 *      vtable   [its size: u16][size of the table: u16][place of field 0 within the table: u16] ...
 *      table    [how far behind its vtable: i32] fields
 *      vector   [number of elements: u32] elements;  a string has a zero behind
 */
#ifndef WEIR_QUERY_FLAT_H
#define WEIR_QUERY_FLAT_H

#include "base/buffer.h"

#define FLAT_FIELDS_MAX 8 /* of a table */

/* An empty buffer becomes one with a root, and its place is 0. */
void flat_begin(struct buffer *b);

/* A table of zeros to which `place` refers. By field: its size in bytes, 1, 2, 4 (also what refers to something) or 8; 0: it is
 * left out. Sets ret_field[i] to the place of field i. */
void flat_table(struct buffer *b, size_t place, const uint8_t *size, size_t n,
                size_t *ret_field);

void flat_set(struct buffer *b, size_t place, uint64_t value, size_t size);

/* n elements of zeros, aligned to their size, but at most to 8. The place of the first. */
size_t flat_vector(struct buffer *b, size_t place, size_t n, size_t size);

void flat_string(struct buffer *b, size_t place, const char *text);

#endif
