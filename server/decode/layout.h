/* SPDX-License-Identifier: Apache-2.0
 *
 * What the lines before looked like: the bytes between their values, and what to do with the value.
 *
 *      {"ts":1700000000123,"symbol":"SYM0042","price":123.45}
 *      ^^^^^^-------------^^^^^^^^^^---------^^^^^^^^^------^
 *      slot 0  value 0     slot 1    value 1   slot 2      slot 3, the last
 *
 * A line that has a layout is read by comparing each slot's text with one or two loads: no key is
 * looked up, and keys need no check, because these very bytes have been checked when the layout was
 * made. Where the text differs, another layout with the same slots so far may go on; if none does,
 * the general reader takes over at this very byte. So a prediction is never trusted, only verified.
 */
#ifndef WEIR_DECODE_LAYOUT_H
#define WEIR_DECODE_LAYOUT_H

#include "decode/text.h"
#include "decode/value.h"

#define LAYOUTS      4  /* remembered at a time */
#define LAYOUT_SLOTS 64 /* lines with more keys are read without prediction */
#define LAYOUT_TEXT  48 /* bytes of a slot's text; the same for longer ones */

struct layout_slot {
    char text[LAYOUT_TEXT];
    uint32_t size;   /* of the text */
    uint16_t mask;   /* a bit for each of its first 16 bytes */
    uint16_t column; /* or a node: VALUE_NESTED */
    uint16_t object; /* the node of paths.h that the value lies in */
    uint8_t kind;    /* enum value_kind; of lines.c: enum lines_kind */
    bool last;       /* no value follows */
};

struct layout {
    unsigned n;
    uint64_t missing[RECORD_WORDS]; /* columns that such a line does not set */
    struct layout_slot slot[LAYOUT_SLOTS];
};

struct layouts {
    struct layout layout[LAYOUTS]; /* unused ones have n = 0 */
    uint8_t common[LAYOUTS]
                  [LAYOUTS]; /* slots that two of them have in common from the start */
    unsigned current;        /* of the last line that had one */
    unsigned oldest;         /* to be replaced next */
    unsigned misses;         /* lines without a layout since the last that had one */
    bool recording;          /* `next` describes the line up to here */
    struct layout next;
};

static inline bool layout_matches(const struct layout_slot *s, const char *p)
{
    static_assert(LAYOUT_TEXT <= RECORD_PAD, "the text may be compared with the pad");
    if (~text_equal16(s->text, p) & s->mask)
        return false;
    return s->size <= 16 || memcmp(s->text + 16, p + 16, s->size - 16) == 0;
}

/* A layout that begins with the same k slots as number `from` and goes on as p does; or -1. */
int layout_other(const struct layouts *t, unsigned from, unsigned k, const char *p);

/* Begins to record a line, of which layout `from` described the first k slots. */
void layout_record(struct layouts *t, unsigned from, unsigned k);

/* Adds one slot to the recording; drops it if there are limits in the way. */
void layout_add(struct layouts *t, const char *text, size_t size, unsigned kind,
                size_t column, uint16_t object, bool last);

/* The recorded line was accepted: remembers its layout. */
void layout_keep(struct layouts *t, const uint64_t *missing);

#endif
