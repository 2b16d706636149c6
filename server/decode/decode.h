/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes of a request to rows of a batch, directed by the stream's schema: declared fields are
 * converted, others are skipped but still checked. A record that is wrong is rejected alone.
 *
 *      for each piece of the body:  while (decoder_feed(d, &p, &n, batch) == DECODE_FULL) new batch
 *      at its end:                  while (decoder_finish(d, batch) == DECODE_FULL) new batch
 *      then                         decoder_stats, and decoder_reset for the next request
 *
 * A decoder is used by one thread at a time and may serve many requests, one after the other: it
 * remembers the order of keys from line to line, which makes it fast, never different.
 */
#ifndef WEIR_DECODE_DECODE_H
#define WEIR_DECODE_DECODE_H

#include "base/error.h"
#include "batch/batch.h"

enum decode_format {
    DECODE_NDJSON,
    DECODE_JSON, /* array of objects, or objects one after the other */
    DECODE_CSV,
    DECODE_LINES, /* line protocol of InfluxDB */
    DECODE_FORMATS
};

enum decode_unit {
    DECODE_RFC3339, /* string; without a zone UTC is meant */
    DECODE_S, /* numbers, also decimal: 1700000000.123; digits below 1 us are cut */
    DECODE_MS,
    DECODE_US,
    DECODE_NS,
    DECODE_ARRIVAL, /* no field: the time the record is decoded */
    DECODE_AUTO, /* of DECODE_LINES only: up to 10 digits are s, 13 ms, 16 us, more ns */
};

/* Why a record was rejected; the label of weir_rejected_total. */
enum decode_reason {
    DECODE_SYNTAX,   /* "syntax": not JSON, not CSV */
    DECODE_UTF8,     /* "utf8" */
    DECODE_DEPTH,    /* "depth": nested too deeply */
    DECODE_TOO_LONG, /* "too_long": record longer than the limit */
    DECODE_TYPE,     /* "type": a declared field of another type */
    DECODE_RANGE,    /* "range": a number, or an event time, that does not fit */
    DECODE_FIELDS,   /* "fields": CSV row with too few or too many fields */
    DECODE_NO_TIME,  /* "no_time": time missing, null or not readable */
    DECODE_FUTURE,   /* "future": time further ahead than max_future_skew */
    DECODE_UNIT,     /* "unit": a time that looks like one of another unit */
    DECODE_NO_FIELDS, /* "no_fields": none of the stream's fields, where none is the time */
    DECODE_REASONS
};

/* Event times are at most so far from 1970, 146,000 years: windows and delays of up to a hundred years
 * are added to them without overflow. */
#define DECODE_TIME_MAX_US (INT64_C(1) << 62)

/* What else is to be known of a column; of all zeros: nothing. */
struct decode_field {
    char *path; /* where it is in a record of JSON (decode/paths.h); NULL: */
    char
        *name; /* its key there, and the name in a header of CSV; NULL: as the column */
    bool has_default; /* instead of null, and where it is missing: */
    union {
        int64_t i; /* int, time, bool */
        double f;
    } init;
    char *text; /* of a string: */
    size_t size;
};

enum decode_lenient { /* bits: what comes otherwise than it should is taken */
                      DECODE_LENIENT_NUMBERS = 1, /* numbers as strings */
                      DECODE_LENIENT_TIMES =
                          2, /* times as numbers in strings; without seconds, or the colon of the zone */
};

struct paths;

struct decode_options {
    const struct schema *schema;      /* column 0 is the time */
    const struct decode_field *field; /* of each column; NULL: all zeros */
    const struct paths *paths; /* made of them; NULL: no field has a path or a name */
    unsigned lenient;          /* enum decode_lenient */
    enum decode_unit time_unit;
    size_t record_max;          /* bytes of one line, row or array element */
    unsigned depth_max;         /* of nested JSON, the record itself being 1 */
    int64_t max_future_skew_us; /* INT64_MAX: none */
    bool check_unit; /* numbers that are today's time in a coarser unit are rejected */
};

#define DECODE_ERRORS_MAX 100

struct decode_error {
    uint64_t
        line; /* in the request, from 1; for arrays the line the element begins on */
    uint32_t
        column; /* byte in the line (array: in the line of the fault), from 1; 0: whole record */
    enum decode_reason reason;
    char message[160];
};

struct decode_stats {
    uint64_t accepted;
    uint64_t rejected;
    uint64_t by_reason[DECODE_REASONS];
    uint64_t skipped;  /* DECODE_LINES: values of accepted ones that no column wants */
    uint64_t unrouted; /* lines that are no stream's: neither accepted nor rejected */
    size_t n_errors;   /* the first DECODE_ERRORS_MAX are kept */
    const struct decode_error *errors;
};

enum { DECODE_DONE = 0, DECODE_FULL = 1 };

struct decoder;

int decoder_new(const struct decode_options *options, enum decode_format format,
                struct decoder **ret);
void decoder_free(struct decoder *d); /* takes NULL */

/* Ready for the next request; `now_us` (wall clock) serves DECODE_ARRIVAL and max_future_skew. */
void decoder_reset(struct decoder *d, int64_t now_us);

/* A request may last for days: the wall clock from here on. */
void decoder_clock(struct decoder *d, int64_t now_us);

/* Decodes records from *p, *n on, which are moved past what was taken. DECODE_DONE: all was taken (an
 * unfinished record is kept inside). DECODE_FULL: `out` is full: call again with another batch.
 * Negative: -ENOMEM; or -EBADMSG: the rest of the body cannot be read (CSV header wrong, no array);
 * the error is in decoder_stats. */
int decoder_feed(struct decoder *d, const char **p, size_t *n, struct batch *out);

/* The body ends here: an unfinished last record is decoded or rejected. -EBADMSG: an array has no end. */
int decoder_finish(struct decoder *d, struct batch *out);

/* All that was fed so far are whole records, and of CSV the header is among them. */
bool decoder_is_between(const struct decoder *d);

const struct decode_stats *decoder_stats(const struct decoder *d);

/* ---- DECODE_LINES ----
 *
 * A line without a time is given that of its arrival. Its measurement is not looked at, unless the lines of a body are
 * rows of several streams: then a decoder, the router, reads the body, and hands each line to the decoder of its
 * stream, which has batches and decoder_stats of its own. The router's are those of all lines; errors that no stream
 * has are in the router's only. */

/* What the times are given in; nanoseconds at first. Stays over decoder_reset. */
void decoder_precision(struct decoder *d, enum decode_unit unit);

struct decode_route {
    /* The decoder of a measurement; *ret stays NULL: its lines are passed over. Negative: the body is given up, and
     * decoder_feed, decoder_finish return that. */
    int (*find)(void *ctx, const char *name, size_t size, struct decoder **ret);
    /* The batch of `d` is full, or it has none: decoder_out gives it another. Negative: as above. */
    int (*room)(void *ctx, struct decoder *d);
    void *ctx;
};

/* `d` becomes a router: decoder_feed, decoder_finish take no batch, NULL, and never return DECODE_FULL. Its options say
 * how long a line may be; its schema is not used. Streams' decoders stay the caller's. Anew before each body. */
void decoder_set_route(struct decoder *d, const struct decode_route *route);
void decoder_out(struct decoder *d, struct batch *out);

/* A body that is complete, without what it was compressed with: rows for the streams that the router finds by the names
 * of metrics. Behind the body lie DECODE_PAD zeros. Line numbers are those of rows. -EBADMSG: it is no such body; what
 * stood before the fault is with the streams' decoders. */
int decoder_remote(struct decoder *router, const char *body, size_t size);
/* The same of OpenTelemetry, as protobuf. Logs have the name "logs". */
int decoder_otlp_metrics(struct decoder *router, const char *body, size_t size);
int decoder_otlp_logs(struct decoder *router, const char *body, size_t size);
/* The same as JSON; and what Telegraf makes of metrics with `data_format = "json"`. */
int decoder_otlp_metrics_json(struct decoder *router, const char *body, size_t size);
int decoder_otlp_logs_json(struct decoder *router, const char *body, size_t size);
int decoder_telegraf(struct decoder *router, const char *body, size_t size);
#define DECODE_PAD 64u /* bytes behind such a body that may be read */

#define DECODE_RECORD_KEPT 4096u /* bytes of a rejected record that are shown */

/* A record that was rejected, while its bytes are at hand. All of it is valid during the call only. */
struct decode_reject {
    const struct decode_error *error;
    const char *record; /* without its line end; NULL: there are no bytes of it */
    size_t size;        /* at most DECODE_RECORD_KEPT */
    bool truncated;     /* the record is longer; it was cut between characters */
};

/* Has `rejected` called for each record that is rejected, also for those that decoder_stats has no room
 * for. NULL (at first): nobody is. Stays over decoder_reset. */
void decoder_on_reject(struct decoder *d,
                       void (*rejected)(void *ctx, const struct decode_reject *r),
                       void *ctx);

const char *decode_reason_name(enum decode_reason reason);

#endif
