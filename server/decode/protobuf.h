/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads messages of Protocol Buffers field by field, where they lie: no object is made of them.
 *
 *      struct protobuf m = protobuf_of(bytes, size), inner;
 *      for (struct protobuf_field f; protobuf_next(&m, &f);)
 *          if (f.number == 1 && protobuf_enter(&m, &f, &inner)) ...
 *      if (m.bad) ...
 *
 * A field of an unexpected type is passed over, as parsers of Protocol Buffers do with what they do not know.
 */
#ifndef WEIR_DECODE_PROTOBUF_H
#define WEIR_DECODE_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum protobuf_type {
    PROTOBUF_VARINT = 0,
    PROTOBUF_64 = 1,
    PROTOBUF_BYTES = 2,
    PROTOBUF_32 = 5
};

struct protobuf {
    const char *at, *end;
    bool bad; /* cut, or of no form */
};

struct protobuf_field {
    uint32_t number;
    enum protobuf_type type;
    uint64_t value;    /* of a number, as its bits; the size of bytes */
    const char *bytes; /* PROTOBUF_BYTES */
};

static inline struct protobuf protobuf_of(const char *bytes, size_t size)
{
    return (struct protobuf){.at = bytes, .end = bytes + size};
}

static inline bool protobuf_fail(struct protobuf *m)
{
    m->bad = true;
    m->at = m->end;
    return false;
}

static inline bool protobuf_varint(struct protobuf *m, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        unsigned char byte = (unsigned char)*m->at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = v;
            return true;
        }
    }
    return protobuf_fail(m);
}

/* Numbers of fixed size are little-endian. */
static inline bool protobuf_fixed(struct protobuf *m, unsigned size, uint64_t *ret)
{
    uint64_t v = 0;
    if ((size_t)(m->end - m->at) < size)
        return protobuf_fail(m);
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)(unsigned char)m->at[i] << (8 * i);
    m->at += size;
    *ret = v;
    return true;
}

/* The next field; false: there is none, or m->bad. */
static inline bool protobuf_next(struct protobuf *m, struct protobuf_field *ret)
{
    uint64_t key;
    if (m->at == m->end || !protobuf_varint(m, &key))
        return false;
    ret->number = (uint32_t)(key >> 3);
    ret->type = (enum protobuf_type)(key & 7);
    ret->bytes = NULL;
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return protobuf_fail(m);
    switch (ret->type) {
    case PROTOBUF_VARINT:
        return protobuf_varint(m, &ret->value);
    case PROTOBUF_64:
        return protobuf_fixed(m, 8, &ret->value);
    case PROTOBUF_32:
        return protobuf_fixed(m, 4, &ret->value);
    case PROTOBUF_BYTES:
        if (!protobuf_varint(m, &ret->value))
            return false;
        if (ret->value > (uint64_t)(m->end - m->at))
            return protobuf_fail(m);
        ret->bytes = m->at;
        m->at += ret->value;
        return true;
    }
    return protobuf_fail(m);
}

/* The message that a field is; false: it is none. */
static inline bool protobuf_enter(const struct protobuf_field *f, struct protobuf *ret)
{
    if (f->type != PROTOBUF_BYTES)
        return false;
    *ret = protobuf_of(f->bytes, (size_t)f->value);
    return true;
}

static inline double protobuf_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

#endif
