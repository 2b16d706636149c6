/* SPDX-License-Identifier: Apache-2.0
 *
 * Strings of JSON: sixteen bytes at a time where they are plain ASCII, checked byte by byte where
 * they are not. May read RECORD_PAD bytes behind the string; any control character ends a scan.
 */
#ifndef WEIR_DECODE_TEXT_H
#define WEIR_DECODE_TEXT_H

#include "decode/record.h"

#include <string.h>

#if defined(__SSE2__) && !defined(DECODE_PORTABLE)
#include <emmintrin.h>

/* Bit i is set where p[i] ends a run of plain text: quote, backslash, control, not ASCII. (As signed
 * bytes, those that are not ASCII are below the space, too.) */
static inline unsigned text_stops(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
    __m128i back = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
    __m128i low = _mm_cmplt_epi8(v, _mm_set1_epi8(' '));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, back), low));
}

/* Bit i is set where a[i] and b[i] are equal. */
static inline unsigned text_equal16(const char *a, const char *b)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y));
}

/* Bit i is set where p[i] is not ASCII. */
static inline unsigned text_not_ascii(const char *p)
{
    return (unsigned)_mm_movemask_epi8(
        _mm_loadu_si128((const __m128i *)(const void *)p));
}

#else

static inline unsigned text_stops(const char *p)
{
    unsigned m = 0;
    for (unsigned i = 0; i < 16; i++) {
        signed char c = (signed char)p[i];
        m |= (unsigned)(c == '"' || c == '\\' || c < ' ') << i;
    }
    return m;
}

static inline unsigned text_equal16(const char *a, const char *b)
{
    unsigned m = 0;
    for (unsigned i = 0; i < 16; i++)
        m |= (unsigned)(a[i] == b[i]) << i;
    return m;
}

static inline unsigned text_not_ascii(const char *p)
{
    unsigned m = 0;
    for (unsigned i = 0; i < 16; i++)
        m |= (unsigned)((unsigned char)p[i] >> 7) << i;
    return m;
}

#endif

/* The plain string whose first byte is p[0], behind the quote, into row `row` of the column. Returns
 * what follows the closing quote, or NULL for a string that is not plain, is longer than 63 bytes or
 * finds no room: text_store takes all of them. A block may be written before it is known how much of
 * it belongs to the string: BATCH_SLACK. */
static inline const char *text_fast(struct column *col, uint32_t row, const char *p)
{
    static_assert(BATCH_SLACK >= 64 && RECORD_PAD >= 64,
                  "four blocks are copied unasked");
    size_t at = (size_t)col->offsets[row];
    char *to = col->bytes + at;
    for (unsigned n = 0; n < 64; n += 16) {
        memcpy(to + n, p + n, 16);
        unsigned stops = text_stops(p + n);
        if (stops) {
            n += (unsigned)__builtin_ctz(stops);
            if (p[n] != '"' || at + n > col->bytes_room)
                return NULL;
            col->offsets[row + 1] = (int32_t)(at + n);
            return p + n + 1;
        }
    }
    return NULL;
}

/* What follows the plain string that begins at p, behind its quote, or NULL as above. */
static inline const char *text_fast_skip(const char *p)
{
    for (unsigned n = 0; n < 64; n += 16) {
        unsigned stops = text_stops(p + n);
        if (stops) {
            p += n + (unsigned)__builtin_ctz(stops);
            return *p == '"' ? p + 1 : NULL;
        }
    }
    return NULL;
}

/* Checks a string that begins behind its quote and returns its closing quote, or NULL with a fault.
 * *ret_escapes: it contains escapes. */
const char *text_check(struct record *r, const char *p, bool *ret_escapes);

/* Copies a checked string without its escapes; never longer than it was. Returns the size. */
size_t text_unescape(char *to, const char *p, const char *end);

/* Any string, from behind its opening quote, into row n_rows of column c. Returns what follows its
 * closing quote, or NULL: r->status. */
const char *text_store(struct record *r, const char *p, size_t c);

/* The first byte that is not well-formed UTF-8, or NULL. An ASCII byte must stand behind the text. */
const char *text_utf8_fault(const char *p, size_t size);

#endif
