/* SPDX-License-Identifier: Apache-2.0
 *
 * The row that is being built from one record, and what is wrong with the record. Internal to decode.
 *
 * Values go straight into row n_rows of the batch. Nulls are only noted here and reach the batch in
 * record_commit, so that a record which fails half-way leaves nothing behind: without ++n_rows the
 * values it stored do not exist.
 */
#ifndef WEIR_DECODE_RECORD_H
#define WEIR_DECODE_RECORD_H

#include "config.h"

#include "decode/decode.h"
#include "decode/paths.h"

#include <assert.h>
#include <locale.h>
#include <string.h>

/* Bytes that may be read behind the last byte of a record (16-byte loads). */
#define RECORD_PAD DECODE_PAD

#define RECORD_DEPTH_MAX 1024u /* a bit each on the stack of the thread */

#define RECORD_WORDS (SCHEMA_COLUMNS_MAX / 64)

enum record_status {
    RECORD_OK,
    RECORD_BAD,   /* rejected: `fault` says why */
    RECORD_FULL,  /* the batch has no room for it */
    RECORD_BLANK, /* nothing on this line */
    RECORD_CUT,   /* it does not end where it may */
};                /* or a negative errno */

struct record_fault {
    const char *at; /* NULL: the whole record */
    enum decode_reason reason;
    char message[sizeof((struct decode_error){0}.message)];
};

struct record {
    struct batch *out;
    const struct schema *schema;
    const struct decode_field *field; /* NULL: nothing is known beside the schema */
    const struct paths *paths;        /* NULL: all columns are keys of the record */
    const char *each; /* the list of which each element becomes a row; NULL: not seen */
    unsigned lenient;
    unsigned words;                   /* of the bit sets below that are in use */
    uint64_t null_bits[RECORD_WORDS]; /* columns of this row that are null */
    int status;                       /* set where a function returns NULL */
    struct record_fault fault;

    enum decode_unit unit;
    int64_t now_us;
    int64_t skew_us;
    int64_t latest_us; /* now and the skew; later events are "future" */
    bool check_unit;
    int64_t earliest_us; /* earlier times are looked at closely; at most latest_us */
    size_t size_max;
    unsigned depth_max; /* up to RECORD_DEPTH_MAX */
    const uint8_t *
        space; /* what counts as white space: not the line feed where it ends records */
    locale_t
        c_locale; /* for strtod_l, whatever a plugin made of the process's locale */
};

static inline bool record_bit(const uint64_t *set, size_t c)
{
    return set[c / 64] >> (c % 64) & 1;
}

static inline void record_set_bit(uint64_t *set, size_t c)
{
    set[c / 64] |= UINT64_C(1) << (c % 64);
}

static inline void record_clear_bit(uint64_t *set, size_t c)
{
    set[c / 64] &= ~(UINT64_C(1) << (c % 64));
}

static inline const char *record_skip_space(const struct record *r, const char *p)
{
    while (r->space[(unsigned char)*p])
        p++;
    return p;
}

/* The line feed at p or behind it; there is one. */
static inline const char *record_line_feed(const char *p)
{
#ifdef HAVE_RAWMEMCHR
    return rawmemchr(p, '\n');
#else
    while (*p != '\n')
        p++;
    return p;
#endif
}

static inline void record_begin(struct record *r)
{
    for (unsigned w = 0; w < r->words; w++)
        r->null_bits[w] = 0;
    r->each = NULL;
    r->status = RECORD_OK;
}

/* Notes what is wrong and returns NULL. */
const char *record_fault(struct record *r, const char *at, enum decode_reason reason,
                         const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

/* The same for a value of column c: "field 'qty': expected a whole number, got 17.5". `size` bytes at
 * `at` are quoted, up to a limit and the first control character. */
const char *record_type_fault(struct record *r, size_t c, const char *at, size_t size,
                              enum decode_reason reason, const char *expected)
    __attribute__((cold));

/* Makes room for `size` bytes in string column c. False: r->status says why. */
bool record_bytes(struct record *r, size_t c, const char *at, size_t size);

/* Notes column c as null and stores the zero that null rows hold. */
void record_null(struct record *r, size_t c);

/* Takes back the rows behind the first n. */
void record_undo(struct record *r, uint32_t n);

/* The wall clock from here on. */
void record_clock(struct record *r, int64_t now_us);

int record_commit_slow(struct record *r);

/* Ends the row: writes nulls, checks the time, counts it. Returns an enum record_status or -ENOMEM. */
static inline int record_commit(struct record *r)
{
    uint64_t any = 0;
    for (unsigned w = 0; w < r->words; w++)
        any |= r->null_bits[w];
    const int64_t *time = r->out->column[0].values;
    uint64_t since = (uint64_t)time[r->out->n_rows] - (uint64_t)r->earliest_us,
             span = (uint64_t)r->latest_us - (uint64_t)r->earliest_us;
    if (__builtin_expect(any != 0 || since > span, 0))
        return record_commit_slow(r);
    r->out->n_rows++;
    return RECORD_OK;
}

#endif
