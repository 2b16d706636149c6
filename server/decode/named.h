/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows that come as names and values, from messages that are not text: samples of Prometheus, points and records of
 * OpenTelemetry. The columns are those of line protocol, and so are the streams: a router finds them by name. Internal
 * to decode.
 *
 *      lane = named_find(router, "http_requests_total", &err)
 *      do { named_begin -> named_text, named_double, ... } while (named_end(...) == RECORD_FULL)
 *
 * The value that comes last counts where a name comes twice. What no column wants is counted.
 */
#ifndef WEIR_DECODE_NAMED_H
#define WEIR_DECODE_NAMED_H

#include "decode/lines.h"

struct decoder;

/* A name or a text that lies somewhere. */
struct named_text {
    const char *bytes;
    size_t size;
};

#define NAMED(literal) ((struct named_text){literal, sizeof(literal) - 1})

/* The lane of a stream, or NULL: there is none, it is counted in `unrouted`, or *ret_err is negative. `n` records are
 * meant. */
struct decoder *named_find(struct decoder *router, struct named_text name, uint64_t n,
                           int *ret_err);

/* A row begins; *ret is what its values are put into. 0, or negative. */
int named_begin(struct decoder *router, struct decoder *lane, struct lines **ret);

/* All of these: false: the row cannot be, and nothing more need be put. */
/* Text of the body, with its pad, that may not be UTF-8; and text that is known to be. */
bool named_put_text(struct lines *l, struct named_text name, struct named_text text);
bool named_put_ascii(struct lines *l, struct named_text name, struct named_text text);
bool named_put_double(struct lines *l, struct named_text name, double v);
bool named_put_int(struct lines *l, struct named_text name, int64_t v);
bool named_put_bool(struct lines *l, struct named_text name, bool v);

/* The same without the counters: status, or negative. */
int named_commit(struct lines *l, int64_t time, enum decode_unit unit);

/* The row ends; `unit`: of `time`; 0 is none, and that of arrival. RECORD_OK: it is counted, as accepted or as rejected;
 * RECORD_FULL: begin again; or negative. */
int named_end(struct decoder *router, struct decoder *lane, int64_t time,
              enum decode_unit unit);

#endif
