/* SPDX-License-Identifier: Apache-2.0
 *
 * A rejected record, as it is kept for whoever has to find out what is wrong with it.
 */
#ifndef WEIR_SOURCE_DEAD_LETTER_H
#define WEIR_SOURCE_DEAD_LETTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dead_letter {
    const char *stream;
    int64_t received_us; /* wall clock */
    const char *source;  /* "": it gave no name */
    uint64_t line;       /* as in struct decode_error */
    uint32_t column;
    const char *reason;
    const char *message;
    const char *record; /* any bytes; NULL: there are none */
    size_t record_size; /* at most DECODE_RECORD_KEPT */
    bool truncated;     /* the record is longer */
    bool once; /* the same record at the same place of the same source is one */
};

#endif
