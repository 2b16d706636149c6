/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters, places and messages of rejected records.
 */
#include "decode/report.h"

#include <string.h>

const char *decode_reason_name(enum decode_reason reason)
{
    static const char *const name[DECODE_REASONS] = {
        [DECODE_SYNTAX] = "syntax", [DECODE_UTF8] = "utf8",
        [DECODE_DEPTH] = "depth",   [DECODE_TOO_LONG] = "too_long",
        [DECODE_TYPE] = "type",     [DECODE_RANGE] = "range",
        [DECODE_FIELDS] = "fields", [DECODE_NO_TIME] = "no_time",
        [DECODE_FUTURE] = "future",
    };
    return name[reason];
}

void report_reset(struct report *r)
{
    r->line = r->begin_line = 1;
    r->column = r->begin_column = 0;
    r->stats = (struct decode_stats){.errors = r->errors};
}

void report_advance(struct report *r, const char *p, size_t n)
{
    const char *end = p + n, *feed;
    while ((feed = memchr(p, '\n', (size_t)(end - p)))) {
        r->line++;
        r->column = 0;
        p = feed + 1;
    }
    r->column += (uint64_t)(end - p);
}

/* The byte in its line, from 1; the record may have line feeds in it. */
static uint32_t find_column(const struct report *r, const char *begin, const char *at)
{
    const char *feed = memrchr(begin, '\n', (size_t)(at - begin));
    uint64_t column =
        feed ? (uint64_t)(at - feed) : r->begin_column + (uint64_t)(at - begin) + 1;
    return column > UINT32_MAX ? UINT32_MAX : (uint32_t)column;
}

void report_reject(struct report *r, const struct record_fault *fault,
                   const char *begin)
{
    r->stats.rejected++;
    r->stats.by_reason[fault->reason]++;
    if (r->stats.n_errors == DECODE_ERRORS_MAX)
        return;
    struct decode_error *e = &r->errors[r->stats.n_errors++];
    *e = (struct decode_error){.line = r->begin_line, .reason = fault->reason};
    memcpy(e->message, fault->message, sizeof e->message);
    if (fault->at && begin)
        e->column = find_column(r, begin, fault->at);
}
