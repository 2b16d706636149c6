/* SPDX-License-Identifier: Apache-2.0
 *
 * From pieces of a body to records. A record that lies whole in a piece is decoded where it lies; one
 * that is cut, or so close to the end of the piece that loads of 16 bytes would leave it, is put
 * together in the carry first.
 *
 *      piece   ...} \n {...} \n {...} \n {...} \n {...
 *              ----------------------->   the last 64 bytes and what is unfinished: carry
 *                decoded in place
 */
#include "decode/array.h"
#include "decode/csv.h"
#include "decode/json.h"
#include "decode/lines.h"
#include "decode/named.h"
#include "decode/report.h"

#include <errno.h>
#include <stdlib.h>

#define CARRY_MIN 4096u

struct decoder {
    enum decode_format format;
    size_t terminator;     /* bytes of a record that do not count: the line feed */
    struct record *record; /* of json, csv or lines; the other two are NULL */
    struct json *json;
    struct csv *csv;
    struct lines *lines;
    struct array array;

    enum lines_state lines_state; /* of the line that is not whole yet */
    struct decode_route route;    /* find NULL: none */
    struct decoder *lane;         /* of the line before */
    struct batch *out;            /* of a lane; NULL: none yet */

    char *carry; /* the record that is not whole yet, and RECORD_PAD */
    size_t carry_size, carry_room;
    bool whole;    /* the carry is whole, and waits for a batch with room */
    bool skipping; /* the record is too long: its bytes are not kept, but for ... */
    size_t head;   /* ... so many at its beginning, in the carry */
    bool head_cut; /* the record has more of them */
    bool begun;    /* JSON: between the first and the last byte of an element */
    bool broken;   /* nothing more can be read */

    struct report report;
};

static const uint8_t space_in_line[256] = {[' '] = 1, ['\t'] = 1, ['\r'] = 1};
static const uint8_t space_anywhere[256] = {
    [' '] = 1, ['\t'] = 1, ['\r'] = 1, ['\n'] = 1};

static int init_record(struct record *r, const struct decode_options *o,
                       enum decode_format format)
{
    *r = (struct record){
        .schema = o->schema,
        .field = o->field,
        .paths = o->paths,
        .lenient = o->lenient,
        .words = (unsigned)((o->schema->n + 63) / 64),
        .unit = o->time_unit,
        .size_max = o->record_max,
        .depth_max = o->depth_max < RECORD_DEPTH_MAX ? o->depth_max : RECORD_DEPTH_MAX,
        .space = format == DECODE_NDJSON ? space_in_line : space_anywhere,
        .skew_us = o->max_future_skew_us,
        .check_unit =
            o->check_unit && o->time_unit >= DECODE_S && o->time_unit <= DECODE_NS,
        .c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0),
    };
    return r->c_locale ? 0 : -ENOMEM;
}

static int init_json(struct decoder *d, const struct decode_options *o)
{
    d->json = calloc(1, sizeof *d->json);
    if (!d->json)
        return -ENOMEM;
    d->record = &d->json->record;
    d->json->lines = d->format == DECODE_NDJSON;
    int err = init_record(d->record, o, d->format);
    return err < 0 ? err : json_init(d->json);
}

static int init_csv(struct decoder *d, const struct decode_options *o)
{
    d->csv = calloc(1, sizeof *d->csv);
    if (!d->csv)
        return -ENOMEM;
    d->record = &d->csv->record;
    int err = init_record(d->record, o, d->format);
    d->record->paths = NULL; /* fields have names only */
    if (err == 0)
        csv_init(d->csv);
    return err;
}

static int init_lines(struct decoder *d, const struct decode_options *o)
{
    d->lines = calloc(1, sizeof *d->lines);
    if (!d->lines)
        return -ENOMEM;
    d->record = &d->lines->record;
    int err = init_record(d->record, o, d->format);
    d->record->paths = NULL; /* as with CSV */
    d->record->check_unit = o->check_unit;
    decoder_precision(d, DECODE_NS);
    return err < 0 ? err : lines_init(d->lines);
}

int decoder_new(const struct decode_options *options, enum decode_format format,
                struct decoder **ret)
{
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->format = format;
    d->terminator = format == DECODE_JSON ? 0 : 1;
    int err = format == DECODE_CSV     ? init_csv(d, options)
              : format == DECODE_LINES ? init_lines(d, options)
                                       : init_json(d, options);
    if (err < 0) {
        decoder_free(d);
        return err;
    }
    decoder_reset(d, 0);
    *ret = d;
    return 0;
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    if (d->record && d->record->c_locale)
        freelocale(d->record->c_locale);
    if (d->json)
        json_free(d->json);
    if (d->lines)
        lines_free(d->lines);
    free(d->json);
    free(d->lines);
    free(d->csv);
    free(d->carry);
    free(d);
}

void decoder_clock(struct decoder *d, int64_t now_us)
{
    record_clock(d->record, now_us);
}

void decoder_reset(struct decoder *d, int64_t now_us)
{
    decoder_clock(d, now_us);
    d->carry_size = 0;
    d->whole = d->skipping = d->begun = d->broken = false;
    report_reset(&d->report);
    d->array = (struct array){.state = ARRAY_START};
    d->lines_state = LINES_START;
    d->lane = NULL;
    d->out = NULL;
    if (d->lines)
        d->lines->skipped = 0;
    if (d->format == DECODE_CSV)
        csv_begin_body(d->csv);
}

void decoder_precision(struct decoder *d, enum decode_unit unit)
{
    d->lines->guess = unit == DECODE_AUTO;
    if (d->record->unit != DECODE_ARRIVAL)
        d->record->unit = d->lines->guess ? DECODE_NS : unit;
    decoder_clock(d, d->record->now_us);
}

void decoder_set_route(struct decoder *d, const struct decode_route *route)
{
    d->route = *route;
    d->lane = NULL;
}

void decoder_out(struct decoder *d, struct batch *out)
{
    d->out = out;
}

bool decoder_is_between(const struct decoder *d)
{
    return !d->carry_size && !d->skipping && !d->begun &&
           (d->format != DECODE_CSV ||
            (d->csv->have_header && d->csv->state == CSV_FIELD && !d->csv->n_fields &&
             !d->csv->at));
}

const struct decode_stats *decoder_stats(const struct decoder *d)
{
    return &d->report.stats;
}

void decoder_on_reject(struct decoder *d,
                       void (*rejected)(void *ctx, const struct decode_reject *r),
                       void *ctx)
{
    d->report.rejected = rejected;
    d->report.ctx = ctx;
}

/* The record at `begin`, of `size` bytes and, if `cut`, more that are gone. 0: none is at hand. */
static void reject(struct decoder *d, const char *begin, size_t size, bool cut)
{
    if (d->terminator && size && begin[size - 1] == '\n')
        size--;
    if (d->terminator && size && begin[size - 1] == '\r')
        size--;
    report_reject(&d->report, &d->record->fault, begin, size, cut);
}

/* Nothing more of this body can be read. */
static int give_up(struct decoder *d, const char *begin, size_t size, bool cut)
{
    reject(d, begin, size, cut);
    d->broken = true;
    return -EBADMSG;
}

static int reject_too_long(struct decoder *d, const char *begin, size_t size, bool cut)
{
    record_fault(d->record, NULL, DECODE_TOO_LONG, "longer than the limit of %zu bytes",
                 d->record->size_max);
    if (d->format == DECODE_CSV && !d->csv->have_header)
        return give_up(d, begin, size, cut);
    reject(d, begin, size, cut);
    return RECORD_OK;
}

/* Of `size` bytes with its terminator. */
static inline bool is_too_long(const struct decoder *d, const char *begin, size_t size,
                               size_t size_max)
{
    const size_t bytes = size - d->terminator;
    return __builtin_expect(bytes > size_max, 0) &&
           !(d->terminator && bytes == size_max + 1 && begin[bytes - 1] == '\r');
}

static int make_room(struct decoder *d, struct batch *out)
{
    d->record->out = out;
    if (out->n_rows < out->room)
        return RECORD_OK;
    int err = batch_grow(out);
    return err == -ENOSPC ? RECORD_FULL : err;
}

static size_t bom_size(const struct decoder *d, const char *p)
{
    return d->report.begin_line == 1 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/* The line at *p, moved past it. */
static inline int decode_line(struct decoder *d, const char **p, struct batch *out)
{
    int status = make_room(d, out);
    if (status != RECORD_OK)
        return status;
    const char *begin = *p, *end = NULL;
    uint32_t rows = out->n_rows;
    status = json_decode(d->json, begin + bom_size(d, begin), NULL, &end);
    if (status == RECORD_FULL || status < 0)
        return status;
    if (__builtin_expect(!end, 0))
        end = record_line_feed(begin) + 1;
    bool too_long = is_too_long(d, begin, (size_t)(end - begin), d->record->size_max);
    if (__builtin_expect(status == RECORD_OK && !too_long, 1)) {
        d->report.stats.accepted++;
    } else if (too_long) {
        if (status == RECORD_OK)
            record_undo(d->record, rows);
        reject_too_long(d, begin, (size_t)(end - begin), false);
    } else if (status == RECORD_BAD) {
        reject(d, begin, (size_t)(end - begin), false);
    }
    report_next_line(&d->report);
    *p = end;
    return RECORD_OK;
}

/* All lines before `end`, which stands behind a line feed. */
static int decode_lines(struct decoder *d, const char **p, const char *end,
                        struct batch *out)
{
    while (*p < end) {
        int status = decode_line(d, p, out);
        if (status != RECORD_OK)
            return status;
    }
    return RECORD_OK;
}

/* ---- Lines of the line protocol ---- */

/* What stands at p, up to `end`, is rejected, or passed over: `lane` is NULL or `d` where no stream has it. */
static void reject_routed(struct decoder *d, struct decoder *lane, const char *p,
                          const char *end)
{
    if (lane && lane != d) {
        lane->report.begin_line = d->report.begin_line;
        lane->report.begin_column = d->report.begin_column;
        reject(lane, p, (size_t)(end - p), false);
        d->record->fault = lane->record->fault;
    }
    reject(d, p, (size_t)(end - p), false);
}

/* Whose line it is; *ret NULL: nobody's. RECORD_BAD: it cannot be said. */
static int find_lane(struct decoder *d, const char *p, struct decoder **ret)
{
    char room[LINES_NAME_MAX];
    const char *name;
    size_t size;
    *ret = d->lane;
    if (!d->route.find || (d->lane && lines_predict(d->lane->lines, p)))
        return RECORD_OK;
    *ret = NULL;
    if (!lines_measurement(p, room, &name, &size)) {
        record_fault(d->record, p, DECODE_SYNTAX,
                     "expected a measurement, of up to %d bytes", LINES_NAME_MAX);
        return RECORD_BAD;
    }
    int err = d->route.find(d->route.ctx, name, size, ret);
    if (*ret)
        d->lane = *ret;
    return err;
}

/* Behind the line at p, or NULL if that is not before `limit`. */
static const char *line_end(const char *p, const char *limit)
{
    enum lines_state state = LINES_START;
    return lines_scan(&state, p, limit);
}

/* The line of `lane` at p. A router asks for another batch itself. */
static int decode_for(struct decoder *d, struct decoder *lane, const char *p,
                      const char *limit, const char **ret_end)
{
    for (;;) {
        int status = lane->out ? make_room(lane, lane->out) : RECORD_FULL;
        if (status == RECORD_OK)
            status = lines_decode(lane->lines, p, limit, ret_end);
        if (status != RECORD_FULL || lane == d)
            return status;
        int err = d->route.room(d->route.ctx, lane);
        if (err < 0)
            return err;
    }
}

/* The line at *p, moved past it, in bytes that end with a line feed in front of `limit`. RECORD_CUT: the line ends
 * behind them. The place in the body is the caller's to move. */
static int decode_routed(struct decoder *d, const char **p, const char *limit,
                         struct batch *out, bool *ret_plain)
{
    const char *begin = *p, *end = NULL;
    struct decoder *lane = d;
    *ret_plain = false;
    if (!d->route.find)
        d->out = out;
    else if (lines_is_blank(begin))
        lane = NULL;
    int status = lane && d->route.find ? find_lane(d, begin, &lane) : RECORD_OK;
    if (status == RECORD_OK && lane)
        status = decode_for(d, lane, begin, limit, &end);
    if (status < 0 || status == RECORD_FULL || status == RECORD_CUT)
        return status;
    if (!end && !(end = line_end(begin, limit)))
        return RECORD_CUT;
    const struct record *r = lane ? lane->record : d->record;
    if (is_too_long(d, begin, (size_t)(end - begin), r->size_max)) {
        if (status == RECORD_OK && lane)
            record_undo(lane->record, lane->out->n_rows - 1);
        record_fault(lane ? lane->record : d->record, NULL, DECODE_TOO_LONG,
                     "longer than the limit of %zu bytes", r->size_max);
        status = RECORD_BAD;
    }
    if (status == RECORD_BAD) {
        reject_routed(d, lane, begin, end);
    } else if (!lane && !lines_is_blank(begin)) {
        d->report.stats.unrouted++;
    } else if (status == RECORD_OK && lane) {
        d->report.stats.accepted++;
        lane->report.stats.accepted += lane != d;
        lane->report.stats.skipped = lane->lines->skipped;
        *ret_plain = !lane->lines->feeds;
    }
    *p = end;
    return RECORD_OK;
}

static int decode_routed_lines(struct decoder *d, const char **p, const char *limit,
                               struct batch *out)
{
    while (*p < limit) {
        const char *begin = *p;
        bool plain;
        int status = decode_routed(d, p, limit, out, &plain);
        if (status != RECORD_OK)
            return status;
        if (plain) {
            report_next_line(&d->report);
        } else {
            report_advance(&d->report, begin, (size_t)(*p - begin));
            report_begin(&d->report);
        }
    }
    return RECORD_OK;
}

/* ---- Rows by name (named.h) ---- */

struct decoder *named_find(struct decoder *d, struct named_text name, uint64_t n,
                           int *ret_err)
{
    struct decoder *lane = NULL;
    *ret_err = d->route.find(d->route.ctx, name.bytes, name.size, &lane);
    if (!lane && !*ret_err)
        d->report.stats.unrouted += n;
    return lane;
}

int named_begin(struct decoder *d, struct decoder *lane, struct lines **ret)
{
    int status = lane->out ? make_room(lane, lane->out) : RECORD_FULL;
    if (status == RECORD_FULL) {
        int err = d->route.room(d->route.ctx, lane);
        status = err < 0 ? err : make_room(lane, lane->out);
    }
    if (status != RECORD_OK)
        return status < 0 ? status : -ENOMEM;
    record_begin(lane->record);
    memset(lane->lines->seen, 0, sizeof lane->lines->seen);
    lane->lines->row_skipped = 0;
    *ret = lane->lines;
    return 0;
}

int named_end(struct decoder *d, struct decoder *lane, int64_t time,
              enum decode_unit unit)
{
    int status = named_commit(lane->lines, time, unit);
    if (status == RECORD_FULL) {
        int err = d->route.room(d->route.ctx, lane);
        return err < 0 ? err : status;
    }
    if (status == RECORD_BAD) {
        lane->record->fault.at = NULL;
        reject_routed(d, lane, NULL, NULL);
    } else if (status == RECORD_OK) {
        d->report.stats.accepted++;
        lane->report.stats.accepted++;
        lane->report.stats.skipped = lane->lines->skipped;
    }
    report_next_line(&d->report);
    return status < 0 ? status : RECORD_OK;
}

/* A row or an element of `size` bytes. RECORD_OK: it is done with. */
static int decode_whole(struct decoder *d, const char *p, size_t size,
                        struct batch *out)
{
    if (is_too_long(d, p, size, d->record->size_max))
        return reject_too_long(d, p, size, false);
    int status = make_room(d, out);
    if (status != RECORD_OK)
        return status;
    const char *end;
    bool header = d->format == DECODE_CSV && !d->csv->have_header;
    if (d->format == DECODE_CSV)
        status = csv_decode(d->csv, p, size);
    else
        status = json_decode(d->json, p, p + size, &end);
    if (status == RECORD_BAD && header)
        return give_up(d, p, size, false);
    if (status == RECORD_FULL || status < 0)
        return status;
    if (status == RECORD_BAD)
        reject(d, p, size, false);
    d->report.stats.accepted += status == RECORD_OK;
    return RECORD_OK;
}

/* The next record begins where the last one ended. */
static void begin_record(struct decoder *d)
{
    report_begin(&d->report);
    d->begun = d->skipping = d->whole = false;
    d->lines_state = LINES_START;
    d->carry_size = 0;
    if (d->format == DECODE_CSV)
        csv_begin_row(d->csv);
}

static int grow_carry(struct decoder *d, size_t size)
{
    size_t room = d->carry_room ? d->carry_room : CARRY_MIN;
    while (room < size + RECORD_PAD)
        room *= 2;
    if (room == d->carry_room)
        return 0;
    char *p = realloc(d->carry, room);
    if (!p)
        return -ENOMEM;
    d->carry = p;
    d->carry_room = room;
    return 0;
}

/* Of a record that is too long to be kept so much is, at the beginning of the carry, as is shown. Without
 * memory it is less. */
static void keep_head(struct decoder *d, const char *p, size_t n)
{
    if (!d->skipping) {
        d->head_cut = d->carry_size > DECODE_RECORD_KEPT;
        d->head = d->head_cut ? DECODE_RECORD_KEPT : d->carry_size;
    }
    size_t more = DECODE_RECORD_KEPT - d->head;
    if (more > n)
        more = n;
    if (more && grow_carry(d, d->head + more) < 0)
        more = 0;
    if (more)
        memcpy(d->carry + d->head, p, more);
    d->head += more;
    d->head_cut = d->head_cut || more < n;
}

/* Takes n bytes of the record, to its end if `whole`. */
static int keep(struct decoder *d, const char *p, size_t n, bool whole)
{
    if (d->format != DECODE_NDJSON)
        report_advance(&d->report, p, n);
    size_t counted = n - (whole ? d->terminator : 0);
    /* One more may be a CR: that shows once the record is whole. */
    if (d->skipping || d->carry_size + counted > d->record->size_max + d->terminator) {
        keep_head(d, p, counted);
        d->skipping = true;
        d->carry_size = 0;
        return 0;
    }
    if (grow_carry(d, d->carry_size + n) < 0)
        return -ENOMEM;
    memcpy(d->carry + d->carry_size, p, n);
    d->carry_size += n;
    memset(d->carry + d->carry_size, 0, RECORD_PAD);
    d->whole = whole;
    return 0;
}

static int decode_carry(struct decoder *d, struct batch *out)
{
    const char *p = d->carry;
    bool plain;
    int status = d->format == DECODE_NDJSON ? decode_line(d, &p, out)
                 : d->format == DECODE_LINES
                     ? decode_routed(d, &p, p + d->carry_size, out, &plain)
                     : decode_whole(d, p, d->carry_size, out);
    if (status == RECORD_OK)
        begin_record(d);
    return status;
}

/* Ends a record that was not kept. */
static int end_skipped(struct decoder *d)
{
    int status = reject_too_long(d, d->carry, d->head, d->head_cut);
    if (d->format == DECODE_NDJSON)
        d->report.line++;
    begin_record(d);
    return status;
}

/* JSON: from between elements to the first byte of one. */
static int pass_between(struct decoder *d, const char **p, const char *end)
{
    const char *problem, *at, *begin = *p;
    const char *next = array_between(&d->array, begin, end, &problem, &at);
    report_advance(&d->report, begin, (size_t)((next ? next : at) - begin));
    begin_record(d);
    if (!next) {
        record_fault(d->record, at, DECODE_SYNTAX, "%s", problem);
        return give_up(d, at, 0, false);
    }
    d->begun = d->array.state == ARRAY_IN;
    *p = next;
    return RECORD_OK;
}

/* Behind the end of the record, or NULL. */
static const char *scan(struct decoder *d, const char *p, const char *end)
{
    if (d->format == DECODE_CSV)
        return csv_scan(d->csv, p, end);
    if (d->format == DECODE_JSON)
        return array_scan(&d->array, p, end);
    if (d->format == DECODE_LINES)
        return lines_scan(&d->lines_state, p, end);
    const char *feed = memchr(p, '\n', (size_t)(end - p));
    return feed ? feed + 1 : NULL;
}

/* A whole record of the piece, which can be read where it lies. */
static int decode_in_place(struct decoder *d, const char *p, size_t size,
                           struct batch *out)
{
    int status = decode_whole(d, p, size, out);
    if (status == RECORD_FULL) {
        int err = keep(d, p, size, true); /* it was scanned: let no one scan it again */
        return err < 0 ? err : status;
    }
    if (status == RECORD_OK) {
        report_advance(&d->report, p, size);
        begin_record(d);
    }
    return status;
}

/* The next record, or run of lines, or as much of one as there is. */
static int take(struct decoder *d, const char **p, const char *end, struct batch *out)
{
    bool fresh = d->carry_size == 0 && !d->skipping;
    bool lines = d->format == DECODE_NDJSON || d->format == DECODE_LINES;
    if (lines && fresh && end - *p > RECORD_PAD) {
        const char *feed = memrchr(*p, '\n', (size_t)(end - *p) - RECORD_PAD);
        int status = !feed ? RECORD_CUT
                     : d->format == DECODE_NDJSON
                         ? decode_lines(d, p, feed + 1, out)
                         : decode_routed_lines(d, p, feed + 1, out);
        if (status != RECORD_CUT)
            return status;
    }
    if (d->format == DECODE_JSON && !d->begun)
        return pass_between(d, p, end);
    const char *begin = *p, *stop = scan(d, begin, end);
    *p = stop ? stop : end;
    if (stop && fresh && end - stop >= RECORD_PAD && !lines)
        return decode_in_place(d, begin, (size_t)(stop - begin), out);
    int err = keep(d, begin, (size_t)(*p - begin), stop != NULL);
    if (err < 0 || !stop)
        return err;
    if (!d->skipping)
        return decode_carry(d, out);
    return end_skipped(d);
}

static int to_result(int status)
{
    return status == RECORD_FULL ? DECODE_FULL : status;
}

int decoder_feed(struct decoder *d, const char **p, size_t *n, struct batch *out)
{
    if (d->broken)
        return -EBADMSG;
    const char *end = *p + *n;
    int status = d->whole ? decode_carry(d, out) : RECORD_OK;
    while (status == RECORD_OK && *p < end)
        status = take(d, p, end, out);
    *n = (size_t)(end - *p);
    return to_result(status);
}

/* The body ends in the middle of a row or an element, or before the array does. */
static int reject_cut(struct decoder *d, const char *text)
{
    record_fault(d->record, NULL, DECODE_SYNTAX, "%s", text);
    reject(d, d->carry, d->carry_size, false);
    begin_record(d);
    d->array.state = ARRAY_END; /* said once */
    return DECODE_DONE;
}

/* An array without its end is part of something: none of it can be trusted to be all. */
static int finish_json(struct decoder *d)
{
    const char *text = d->array.state == ARRAY_IN
                           ? "the body ends before its last object does"
                           : "the body ends before the array does";
    if (d->array.state == ARRAY_END)
        return DECODE_DONE;
    if (d->array.state == ARRAY_START)
        return reject_cut(d, "the body is empty: expected an array of objects");
    record_fault(d->record, NULL, DECODE_SYNTAX, "%s", text);
    return give_up(d, d->carry, d->skipping ? d->head : d->carry_size,
                   d->skipping && d->head_cut);
}

int decoder_finish(struct decoder *d, struct batch *out)
{
    if (d->broken)
        return -EBADMSG;
    if (d->whole) {
        int status = decode_carry(d, out);
        if (status != RECORD_OK)
            return to_result(status);
    }
    if (d->format == DECODE_JSON)
        return finish_json(d);
    if (d->skipping)
        return end_skipped(d);
    if (d->carry_size == 0)
        return DECODE_DONE;
    static const char feed[] = "\n";
    if (d->format == DECODE_CSV && !csv_scan(d->csv, feed, feed + 1))
        return reject_cut(d, "a quoted field is not closed");
    if (d->format == DECODE_LINES && !lines_scan(&d->lines_state, feed, feed + 1))
        return reject_cut(d, "a string is not closed");
    int err = keep(d, feed, 1, true);
    return err < 0 ? err : to_result(decode_carry(d, out));
}
