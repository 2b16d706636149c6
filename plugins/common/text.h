/* SPDX-License-Identifier: Apache-2.0
 *
 * Hashes that are the same in every process, so that what depends on them is the same in every replay, and what
 * can be said of bytes.
 */
#ifndef WEIR_COMMON_TEXT_H
#define WEIR_COMMON_TEXT_H

#include "weir/plugin.h"

#include <string.h>

/* A permutation of the 64-bit numbers whose values look drawn by chance: the finalizer of SplitMix64, by G. L.
 * Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. */
static inline uint64_t hash_number(uint64_t v)
{
    v += 0x9e3779b97f4a7c15u;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

/* Multiply-and-fold, 8 bytes at a time, the last of them padded. */
static inline uint64_t hash_bytes(const char *bytes, size_t size)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ size, word;
    for (; size > 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        unsigned __int128 p = (unsigned __int128)(h ^ word) * 0xa0761d6478bd642fu;
        h = (uint64_t)p ^ (uint64_t)(p >> 64);
    }
    word = 0;
    if (size)
        memcpy(&word, bytes, size);
    return hash_number(h ^ word);
}

/* Of the value of a row that is not null. Of floats, equal ones are the same: 0 and -0. */
static inline uint64_t hash_value(const struct weir_column *c, uint32_t row)
{
    size_t size;
    const char *text;
    double v;
    uint64_t bits;
    switch (c->type) {
    case WEIR_STRING:
        text = weir_string(c, row, &size);
        return hash_bytes(text, size);
    case WEIR_FLOAT:
        v = weir_number(c, row) + 0.0;
        memcpy(&bits, &v, sizeof(bits));
        return hash_number(bits);
    case WEIR_BOOL:
        return hash_number((uint64_t)weir_bool(c, row));
    default:
        return hash_number((uint64_t)weir_int(c, row));
    }
}

/* Whether a time can be one that was saved: within 36,000 years of 1970, so that differences do not overflow. */
static inline int time_is_sound(int64_t us)
{
    return us > -((int64_t)1 << 60) && us < (int64_t)1 << 60;
}

/* RFC 3629. */
static inline int text_is_utf8(const void *text, size_t n)
{
    const unsigned char *s = text;
    for (size_t i = 0, more; i < n; i += more + 1) {
        unsigned char c = s[i], next = i + 1 < n ? s[i + 1] : 0;
        more = c < 0x80   ? 0
               : c < 0xc2 ? n
               : c < 0xe0 ? 1
               : c < 0xf0 ? 2
               : c < 0xf5 ? 3
                          : n;
        if (more >= n - i || (c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) ||
            (c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f))
            return 0;
        for (size_t k = 1; k <= more; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return 0;
    }
    return 1;
}

/* How many of the first `most` bytes are whole characters. */
static inline size_t text_cut(const char *text, size_t size, size_t most)
{
    if (size <= most)
        return size;
    while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80)
        most--;
    return most;
}

#endif
