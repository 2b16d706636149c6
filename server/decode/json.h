/* SPDX-License-Identifier: Apache-2.0
 *
 * One JSON object to one row.
 */
#ifndef WEIR_DECODE_JSON_H
#define WEIR_DECODE_JSON_H

#include "decode/layout.h"
#include "decode/names.h"

struct json {
    struct record record;
    struct names names;
    struct layouts layouts;
    bool rows;  /* a record may be several, or none: each element of a list */
    bool lines; /* a line feed ends each record; otherwise its last byte does */
    uint64_t all[RECORD_WORDS]; /* columns that a record can set */
    uint64_t seen[RECORD_WORDS];
    char *key;       /* a key without its escapes */
    size_t key_room; /* longer keys with escapes are no column's */
};

/* `j` is zeroed but for record and lines. -ENOMEM. */
int json_init(struct json *j);
void json_free(struct json *j);

/* The record that begins at p. Lines end in a line feed; others have been found to be balanced up to
 * `end`. *ret_end is set behind the record where it is read to its end (RECORD_OK, _BLANK). Returns an
 * enum record_status, or -ENOMEM. */
int json_decode(struct json *j, const char *p, const char *end, const char **ret_end);

#endif
