/* SPDX-License-Identifier: Apache-2.0 */
#include "log/entry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEQUENCE_ROW_BITS                                                              \
    16 /* of a sequence number: the row; the others: the position */
#define SEQUENCE_POSITION_BITS (64 - SEQUENCE_ROW_BITS)

/* On disk: never change a number. */
enum stored_kind {
    STORED_BATCH = 1,
    STORED_IDLE = 2,
    STORED_ADVANCE = 3,
    STORED_HELD = 4,
    STORED_REACHED = 5,
    STORED_HEARD = 6,
    STORED_SCHEMA = 16, /* from here on without a position */
    STORED_SOURCE = 17,
    STORED_KEY = 18,
    STORED_BOOKMARK = 19,
};

struct stored_head {
    uint32_t kind, size; /* of the bytes that follow, without padding */
};

struct stored_batch {
    uint32_t source, zero;
};

struct stored_held {
    struct stored_batch batch;
    int64_t reached_us;
};

struct stored_mark {
    int64_t time_us;
    uint32_t source, zero; /* the pipeline's name follows; none: all */
};

struct stored_source {
    uint32_t number, zero; /* the name follows, or the bookmark */
};

struct stored_request_id {
    int64_t taken_us;
    uint64_t digest, accepted, rejected, position;
    uint32_t key_size, errors_size; /* both follow */
};

/* ---- Entries in memory ------------------------------------------------------------------------ */

int entry_new(enum log_kind kind, struct log_entry **ret)
{
    struct log_entry *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    atomic_init(&e->refs, 1);
    e->kind = kind;
    *ret = e;
    return 0;
}

int entry_mark(enum log_kind kind, const char *pipeline, uint32_t source,
               int64_t time_us, struct log_entry **ret)
{
    struct log_entry *e;
    int r = entry_new(kind, &e);
    if (r < 0)
        return r;
    e->source = source;
    e->time_us = time_us;
    if (pipeline && !(e->pipeline = strdup(pipeline))) {
        log_entry_unref(e);
        return -ENOMEM;
    }
    *ret = e;
    return 0;
}

void entry_unprepare(struct log_entry *e)
{
    for (size_t i = 0; e->keys && i < e->n_keys; i++)
        keys_free(e->keys[i]);
    for (size_t i = 0; e->dictionary && i < e->n_columns; i++)
        dictionary_free(e->dictionary[i]);
    free(e->keys);
    free(e->dictionary);
    e->keys = NULL;
    e->dictionary = NULL;
}

void log_entry_unref(struct log_entry *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    entry_unprepare(e);
    free(e->pipeline);
    free(e->bookmark);
    free(e->part);
    free(e->gone);
    batch_unref(e->batch);
    free(e);
}

/* The part that the row is of: the last that begins at it or before. */
static size_t find_part(const struct log_entry *e, uint32_t row)
{
    size_t low = 0, high = e->n_parts;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (e->part[middle].first <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

uint64_t log_entry_row(const struct log_entry *e, uint32_t row, uint32_t *ret_index)
{
    *ret_index = row;
    if (e->sequence) { /* of a file: before all that the log has */
        uint64_t number = e->sequence + row;
        *ret_index = (uint32_t)(number & ((UINT64_C(1) << SEQUENCE_ROW_BITS) - 1));
        return (number >> SEQUENCE_ROW_BITS) - (UINT64_C(1) << SEQUENCE_POSITION_BITS);
    }
    if (!e->part)
        return e->position;
    size_t i = find_part(e, row);
    *ret_index = row - e->part[i].first;
    return e->part[i].position;
}

uint64_t log_entry_sequence(const struct log_entry *e, uint32_t row, uint32_t *ret_end)
{
    static_assert(BATCH_ROWS_MAX <= 1u << SEQUENCE_ROW_BITS, "a row fits its bits");
    *ret_end = e->batch->n_rows;
    if (e->sequence)
        return e->sequence;
    if (!e->part)
        return e->position << SEQUENCE_ROW_BITS;
    size_t i = find_part(e, row);
    if (i + 1 < e->n_parts)
        *ret_end = e->part[i + 1].first;
    return (e->part[i].position << SEQUENCE_ROW_BITS) - e->part[i].first;
}

int64_t log_entry_reached(const struct log_entry *e, uint32_t row)
{
    if (row >= e->batch->n_rows)
        return e->reached_us;
    size_t i = e->part ? find_part(e, row) : 0;
    return i ? e->part[i - 1].reached_us : INT64_MIN;
}

static int add_part(struct log_entry *e, const struct log_entry *of, uint32_t first)
{
    struct log_part *part = e->part;
    if ((e->n_parts & (e->n_parts - 1)) == 0) { /* full at powers of two */
        part = realloc(part, (e->n_parts ? 2 * e->n_parts : 1) * sizeof(*part));
        if (!part)
            return -ENOMEM;
        e->part = part;
    }
    part[e->n_parts++] = (struct log_part){
        .position = of->position, .first = first, .reached_us = of->reached_us};
    return 0;
}

int entry_join(struct log_entry *to, struct log_entry *from)
{
    int r = to->n_parts ? 0 : add_part(to, to, 0);
    if (r == 0)
        r = add_part(to, from, to->batch->n_rows);
    if (r < 0)
        return r;
    r = batch_append(to->batch, from->batch);
    if (r < 0) {
        to->n_parts--;
        return r;
    }
    to->position = from->position;
    to->reached_us = from->reached_us;
    if (from->bookmark) {
        free(to->bookmark);
        to->bookmark = from->bookmark;
        from->bookmark = NULL;
    }
    to->held_rows += from->held_rows;
    to->held_bytes += from->held_bytes;
    to->held_requests += from->held_requests;
    log_entry_unref(from);
    return 0;
}

/* ---- To the journal --------------------------------------------------------------------------- */

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* Head and room for `size` bytes, padding zeroed. NULL: no memory. To be followed by stored_end. */
static char *stored_begin(struct journal *j, enum stored_kind kind, size_t size)
{
    if (size > UINT32_MAX)
        return NULL;
    const struct stored_head head = {.kind = kind, .size = (uint32_t)size};
    char *to = journal_room(j, sizeof(head) + padded(size));
    if (!to)
        return NULL;
    memcpy(to, &head, sizeof(head));
    memset(to + sizeof(head) + size, 0, padded(size) - size);
    return to + sizeof(head);
}

static int stored_end(struct journal *j, size_t size)
{
    journal_added(j, sizeof(struct stored_head) + padded(size));
    return 0;
}

/* A fixed part and a text. */
static int write_text(struct journal *j, enum stored_kind kind, const void *fixed,
                      size_t fixed_size, const char *text, size_t size)
{
    char *to = stored_begin(j, kind, fixed_size + size);
    if (!to)
        return -ENOMEM;
    memcpy(to, fixed, fixed_size);
    memcpy(to + fixed_size, text, size);
    return stored_end(j, fixed_size + size);
}

static int write_batch(struct journal *j, const struct log_entry *e)
{
    const struct stored_held fixed = {.batch = {.source = e->source},
                                      .reached_us = e->reached_us};
    size_t fixed_size = e->held ? sizeof(fixed) : sizeof(fixed.batch);
    struct codec_plan plan;
    codec_plan_make(e->batch, &plan);
    size_t size = fixed_size + plan.size;
    char *to = stored_begin(j, e->held ? STORED_HELD : STORED_BATCH, size);
    if (!to)
        return -ENOMEM;
    memcpy(to, &fixed, fixed_size);
    codec_write(e->batch, &plan, to + fixed_size);
    return stored_end(j, size);
}

int entry_write(struct journal *j, const struct log_entry *e)
{
    if (e->kind == LOG_BATCH)
        return write_batch(j, e);
    const struct stored_mark fixed = {.time_us = e->time_us, .source = e->source};
    enum stored_kind kind = e->kind == LOG_IDLE      ? STORED_IDLE
                            : e->kind == LOG_ADVANCE ? STORED_ADVANCE
                            : e->kind == LOG_HEARD   ? STORED_HEARD
                                                     : STORED_REACHED;
    const char *pipeline = e->pipeline ? e->pipeline : "";
    return write_text(j, kind, &fixed, sizeof(fixed), pipeline, strlen(pipeline));
}

int entry_write_schema(struct journal *j, const struct schema *s)
{
    size_t size = codec_schema_size(s);
    char *to = stored_begin(j, STORED_SCHEMA, size);
    if (!to)
        return -ENOMEM;
    codec_schema_write(s, to);
    return stored_end(j, size);
}

int entry_write_source(struct journal *j, uint32_t number, const char *name)
{
    const struct stored_source fixed = {.number = number};
    return write_text(j, STORED_SOURCE, &fixed, sizeof(fixed), name, strlen(name));
}

int entry_write_bookmark(struct journal *j, uint32_t source, const char *bookmark)
{
    const struct stored_source fixed = {.number = source};
    return write_text(j, STORED_BOOKMARK, &fixed, sizeof(fixed), bookmark,
                      strlen(bookmark));
}

int entry_write_request_id(struct journal *j, const struct request_id *key,
                           int64_t taken_us)
{
    const struct stored_request_id fixed = {.taken_us = taken_us,
                                            .digest = key->digest,
                                            .accepted = key->answer.accepted,
                                            .rejected = key->answer.rejected,
                                            .position = key->answer.position,
                                            .key_size = (uint32_t)key->size,
                                            .errors_size =
                                                (uint32_t)key->answer.errors_size};
    size_t size = sizeof(fixed) + key->size + key->answer.errors_size;
    char *to = stored_begin(j, STORED_KEY, size);
    if (!to)
        return -ENOMEM;
    memcpy(to, &fixed, sizeof(fixed));
    memcpy(to + sizeof(fixed), key->key, key->size);
    if (key->answer.errors_size)
        memcpy(to + sizeof(fixed) + key->size, key->answer.errors,
               key->answer.errors_size);
    return stored_end(j, size);
}

size_t entry_size(const struct batch *b)
{
    struct codec_plan plan;
    codec_plan_make(b, &plan);
    return sizeof(struct stored_head) + padded(sizeof(struct stored_held) + plan.size);
}

#define BATCH_BESIDE  64u /* heads, and more */
#define COLUMN_BESIDE 64u /* its head, and the padding of its parts */

size_t entry_size_max(const struct batch *b)
{
    size_t rows = b->n_rows, size = BATCH_BESIDE;
    for (size_t i = 0; i < b->schema->n; i++) {
        const struct column *c = &b->column[i];
        size += COLUMN_BESIDE + rows / 8; /* validity */
        if (c->type == WEIR_BOOL)
            size += rows / 8;
        else if (c->type == WEIR_STRING)
            size += rows * sizeof(*c->offsets) + (size_t)c->offsets[rows];
        else
            size += rows * 8;
    }
    return size;
}

size_t entry_request_id_size(const struct request_id *key)
{
    return sizeof(struct stored_head) +
           padded(sizeof(struct stored_request_id) + request_id_bytes(key));
}

size_t entry_bookmark_size(const char *bookmark)
{
    return sizeof(struct stored_head) +
           padded(sizeof(struct stored_source) + strlen(bookmark));
}

/* ---- From the journal ------------------------------------------------------------------------- */

struct reading {
    const struct schema *schema;
    struct codec_map **map;
    const struct entry_calls *calls;
};

static int read_schema(struct reading *r, const char *bytes, size_t size)
{
    struct codec_map *map;
    int err = codec_map_new(r->schema, bytes, size, &map);
    if (err < 0)
        return err;
    codec_map_free(*r->map);
    *r->map = map;
    return 0;
}

static int read_source(struct reading *r, const char *bytes, size_t size)
{
    struct stored_source fixed;
    if (size <= sizeof(fixed))
        return -EBADMSG;
    memcpy(&fixed, bytes, sizeof(fixed));
    if (fixed.number == 0 || fixed.number >= LOG_SOURCES_MAX ||
        memchr(bytes + sizeof(fixed), 0, size - sizeof(fixed)))
        return -EBADMSG;
    return r->calls->source(r->calls->ctx, fixed.number, bytes + sizeof(fixed),
                            size - sizeof(fixed));
}

static int read_bookmark(struct reading *r, const char *bytes, size_t size)
{
    struct stored_source fixed;
    if (size <= sizeof(fixed) || size - sizeof(fixed) > REQUEST_BOOKMARK_MAX)
        return -EBADMSG;
    memcpy(&fixed, bytes, sizeof(fixed));
    if (fixed.number >= LOG_SOURCES_MAX ||
        memchr(bytes + sizeof(fixed), 0, size - sizeof(fixed)))
        return -EBADMSG;
    return r->calls->bookmark(r->calls->ctx, fixed.number, bytes + sizeof(fixed),
                              size - sizeof(fixed));
}

static int read_key(struct reading *r, const char *bytes, size_t size)
{
    struct stored_request_id fixed;
    if (size < sizeof(fixed))
        return -EBADMSG;
    memcpy(&fixed, bytes, sizeof(fixed));
    if (fixed.key_size == 0 || fixed.key_size > REQUEST_KEY_MAX ||
        size - sizeof(fixed) != (size_t)fixed.key_size + fixed.errors_size)
        return -EBADMSG;
    const struct request_id key = {
        .key = bytes + sizeof(fixed),
        .size = fixed.key_size,
        .digest = fixed.digest,
        .answer = {.accepted = fixed.accepted,
                   .rejected = fixed.rejected,
                   .position = fixed.position,
                   .errors = fixed.errors_size ? (char *)(uintptr_t)bytes +
                                                     sizeof(fixed) + fixed.key_size
                                               : NULL,
                   .errors_size = fixed.errors_size}};
    return r->calls->key(r->calls->ctx, &key, fixed.taken_us);
}

/* 0 without an entry: it was unreadable, and the caller says to go on. */
static int read_batch(struct reading *r, uint64_t position, bool held,
                      const char *bytes, size_t size, struct log_entry **ret)
{
    struct stored_held fixed = {0};
    size_t fixed_size = held ? sizeof(fixed) : sizeof(fixed.batch);
    if (size < fixed_size)
        return -EBADMSG;
    memcpy(&fixed, bytes, fixed_size);
    if (fixed.batch.source >= LOG_SOURCES_MAX)
        return -EBADMSG;
    struct log_entry *e;
    int err = entry_new(LOG_BATCH, &e);
    if (err < 0)
        return err;
    e->source = fixed.batch.source;
    e->held = held;
    e->reached_us = fixed.reached_us;
    err = *r->map
              ? codec_read(*r->map, bytes + fixed_size, size - fixed_size, &e->batch)
              : -EBADMSG;
    if (err == 0) {
        *ret = e;
        return 0;
    }
    log_entry_unref(e);
    if (err != -EBADMSG || !r->calls->unreadable)
        return err;
    codec_map_free(*r->map);
    *r->map = NULL;
    return r->calls->unreadable(r->calls->ctx, position, fixed.batch.source);
}

static int read_mark(enum log_kind kind, const char *bytes, size_t size,
                     struct log_entry **ret)
{
    struct stored_mark fixed;
    char name[256];
    if (size < sizeof(fixed) || size - sizeof(fixed) >= sizeof(name))
        return -EBADMSG;
    memcpy(&fixed, bytes, sizeof(fixed));
    if (fixed.source >= LOG_SOURCES_MAX)
        return -EBADMSG;
    memcpy(name, bytes + sizeof(fixed), size - sizeof(fixed));
    name[size - sizeof(fixed)] = 0;
    return entry_mark(kind, name[0] ? name : NULL, fixed.source, fixed.time_us, ret);
}

static int read_positioned(struct reading *r, uint32_t kind, uint64_t position,
                           const char *bytes, size_t size)
{
    struct log_entry *e = NULL;
    int err = -EBADMSG;
    switch (kind) {
    case STORED_BATCH:
    case STORED_HELD:
        err = read_batch(r, position, kind == STORED_HELD, bytes, size, &e);
        break;
    case STORED_IDLE:
        err = read_mark(LOG_IDLE, bytes, size, &e);
        break;
    case STORED_ADVANCE:
        err = read_mark(LOG_ADVANCE, bytes, size, &e);
        break;
    case STORED_REACHED:
        err = read_mark(LOG_REACHED, bytes, size, &e);
        break;
    case STORED_HEARD:
        err = read_mark(LOG_HEARD, bytes, size, &e);
        break;
    }
    if (err < 0 || !e)
        return err;
    e->position = position;
    return r->calls->entry(r->calls->ctx, e);
}

static int read_other(struct reading *r, uint32_t kind, const char *bytes, size_t size)
{
    switch (kind) {
    case STORED_SCHEMA:
        return read_schema(r, bytes, size);
    case STORED_SOURCE:
        return read_source(r, bytes, size);
    case STORED_KEY:
        return read_key(r, bytes, size);
    default:
        return -EBADMSG;
    }
}

int entry_read(const struct journal_frame *f, uint64_t after, uint64_t up_to,
               const struct schema *schema, struct codec_map **map,
               const struct entry_calls *calls)
{
    struct reading r = {.schema = schema, .map = map, .calls = calls};
    uint64_t position = f->first;
    for (size_t at = 0; at < f->size;) {
        struct stored_head head;
        if (f->size - at < sizeof(head))
            return -EBADMSG;
        memcpy(&head, f->payload + at, sizeof(head));
        at += sizeof(head);
        if (padded(head.size) > f->size - at)
            return -EBADMSG;
        const char *bytes = f->payload + at;
        int err = 0;
        bool wanted = position > after && position <= up_to;
        if (head.kind == STORED_BOOKMARK) {
            err = wanted ? read_bookmark(&r, bytes, head.size) : 0;
        } else if (head.kind > STORED_HEARD || !head.kind) {
            err = read_other(&r, head.kind, bytes, head.size);
        } else {
            if (wanted)
                err = read_positioned(&r, head.kind, position, bytes, head.size);
            position++;
        }
        if (err < 0)
            return err;
        at += padded(head.size);
    }
    return position == f->first + f->n ? 0 : -EBADMSG;
}
