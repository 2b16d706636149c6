/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of stored groups and watermarks; checkpoint.h draws them.
 */
#ifndef WEIR_PIPELINE_STORED_H
#define WEIR_PIPELINE_STORED_H

#include <stddef.h>
#include <stdint.h>

struct stored_group {
    int64_t window; /* id */
    uint32_t key_size,
        revision; /* of windows by time key_size | STORED_ROW where the row as
                                  * it was given out stands behind the states */
};
#define STORED_ROW UINT32_C(0x80000000)

/* Behind the key of a group whose window is by key. */
struct stored_span {
    int64_t order, start_us, end_us, last_us, floor_us;
    uint64_t number, rows, given; /* given | SPAN_ROW: as STORED_ROW */
};
#define SPAN_ROW UINT64_C(4)

struct stored_marks {
    uint32_t version, n;
    int64_t value_us, newest_us;
    int64_t unknown_us; /* groups of windows that ended at or before it are not here */
};

struct stored_source {
    int64_t max_us;
    uint64_t idle;
};

/* Behind the sources, of a pipeline that reads another one: the uint64_t number of the row that comes next. */

struct stored_bytes { /* that are left to be read */
    const char *at, *end;
};

/* The next `size` bytes, and what they are padded with; NULL: there are not so many. */
static inline const char *stored_take(struct stored_bytes *r, uint64_t size)
{
    uint64_t whole = (size + 7) & ~UINT64_C(7);
    if (whole < size || whole > (uint64_t)(r->end - r->at))
        return NULL;
    const char *p = r->at;
    r->at += whole;
    return p;
}

#endif
