/* SPDX-License-Identifier: Apache-2.0
 *
 * What has become of a body's records, and where they stand in it. Internal to decode.
 */
#ifndef WEIR_DECODE_REPORT_H
#define WEIR_DECODE_REPORT_H

#include "decode/record.h"

struct report {
    uint64_t line, column; /* where the next byte stands, from 1 and from 0 */
    uint64_t begin_line, begin_column; /* the same for the record */
    struct decode_stats stats;
    struct decode_error errors[DECODE_ERRORS_MAX];
    void (*rejected)(void *ctx, const struct decode_reject *r); /* NULL: nobody */
    void *ctx;
};

void report_reset(struct report *r);

/* Moves the position past n bytes. */
void report_advance(struct report *r, const char *p, size_t n);

/* A record begins where the last one ended. */
static inline void report_begin(struct report *r)
{
    r->begin_line = r->line;
    r->begin_column = r->column;
}

/* The record was a line, and the next one is another: the same as advancing past it. */
static inline void report_next_line(struct report *r)
{
    r->line = ++r->begin_line;
}

/* Counts the record as rejected for what `fault` says. Its bytes: `size` of them at `begin`, and more
 * that are gone if `cut`; 0: none is at hand. `begin` is NULL if the fault is not within them. */
void report_reject(struct report *r, const struct record_fault *fault,
                   const char *begin, size_t size, bool cut);

#endif
