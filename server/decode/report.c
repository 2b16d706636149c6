/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters, places and messages of rejected records.
 */
#include "decode/report.h"

#include <string.h>

const char *decode_reason_name(enum decode_reason reason)
{
    static const char *const name[DECODE_REASONS] = {
        [DECODE_SYNTAX] = "syntax",       [DECODE_UTF8] = "utf8",
        [DECODE_DEPTH] = "depth",         [DECODE_TOO_LONG] = "too_long",
        [DECODE_TYPE] = "type",           [DECODE_RANGE] = "range",
        [DECODE_FIELDS] = "fields",       [DECODE_NO_TIME] = "no_time",
        [DECODE_FUTURE] = "future",       [DECODE_UNIT] = "unit",
        [DECODE_NO_FIELDS] = "no_fields",
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

/* Less by the character at the end that is cut in two. */
static size_t whole_characters(const char *p, size_t size)
{
    for (size_t n = 1; n <= 3 && n <= size; n++) {
        unsigned char c = (unsigned char)p[size - n];
        size_t needs = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (c < 0x80 || (c >= 0xc0 && needs <= n))
            return size;
        if (c >= 0xc0)
            return size - n;
    }
    return size;
}

static void tell(struct report *r, const struct decode_error *e, const char *begin,
                 size_t size, bool cut)
{
    struct decode_reject told = {
        .error = e, .record = size ? begin : NULL, .size = size, .truncated = cut};
    if (size > DECODE_RECORD_KEPT) {
        told.size = DECODE_RECORD_KEPT;
        told.truncated = true;
    }
    if (told.truncated)
        told.size = whole_characters(begin, told.size);
    r->rejected(r->ctx, &told);
}

void report_reject(struct report *r, const struct record_fault *fault,
                   const char *begin, size_t size, bool cut)
{
    struct decode_error more, *e = &more;
    r->stats.rejected++;
    r->stats.by_reason[fault->reason]++;
    if (r->stats.n_errors < DECODE_ERRORS_MAX)
        e = &r->errors[r->stats.n_errors++];
    else if (!r->rejected)
        return;
    *e = (struct decode_error){.line = r->begin_line, .reason = fault->reason};
    memcpy(e->message, fault->message, sizeof e->message);
    if (fault->at && begin)
        e->column = find_column(r, begin, fault->at);
    if (r->rejected)
        tell(r, e, begin, size, cut);
}
