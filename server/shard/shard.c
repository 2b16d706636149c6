/* SPDX-License-Identifier: Apache-2.0
 *
 * A shard: a pipeline of one worker, without log, store or threads. Rows do not move its watermark, only the router's word does.
 *
 * What is saved of a part:
 *
 *      head | definition, to a multiple of 8 | groups, as in a checkpoint's block (pipeline/checkpoint.h)
 */
#include "base/buffer.h"
#include "log/entry.h"
#include "pipeline/worker.h"
#include "shard/columns.h"
#include "shard/internal.h"
#include "shard/rowtext.h"
#include "shard/settings.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART_MAX ((size_t)1 << 30) /* bytes of one that is saved */

struct head {
    char magic[8];
    uint32_t version, crc; /* crc32c of all behind it */
    uint32_t parts, part;
    uint64_t definition_size;
    uint64_t entries; /* that were read so far */
    struct checkpoint_times times;
};
static const char magic[8] = "weirpart";
#define VERSION 1
static_assert(sizeof(struct head) == 64, "as it is stored");
#define CRC_FROM offsetof(struct head, parts)

struct weir_shard {
    struct job job;
    struct derive *derive; /* of the stream; NULL: it derives nothing */
    uint64_t derive_errors;
    struct shard_tables tables;
    struct settings settings;
    struct rowset *given, **given_end; /* rows that the last call gave */
    struct rowtext text;
    struct columns columns;
    uint64_t entries;
    struct buffer *saved; /* of each part */
    char *definition;
    bool begun;
};

static struct worker *worker_of(const struct weir_shard *s)
{
    return &s->job.made->worker[0];
}

/* ---- Open, close -------------------------------------------------------------------------------- */

static int keep_rows(void *ctx, const char *pipeline, unsigned worker, unsigned workers,
                     uint64_t position, int64_t watermark_us, struct rowset *rows)
{
    (void)pipeline, (void)worker, (void)workers, (void)position, (void)watermark_us;
    struct weir_shard *s = ctx;
    *s->given_end = rows;
    while (*s->given_end)
        s->given_end = &(*s->given_end)->next;
    return 0;
}

static void forget_rows(struct weir_shard *s)
{
    for (struct rowset *next; s->given; s->given = next) {
        next = s->given->next;
        rowset_free(s->given);
    }
    s->given_end = &s->given;
    columns_begin(&s->columns, NULL);
}

static int make_derive(struct weir_shard *s, struct error *error)
{
    struct derive_column column[SCHEMA_COLUMNS_MAX];
    const size_t n = config_derive_columns(&s->job.stream->derive, column);
    return n ? derive_new(s->job.stream->columns, column, n, &s->derive, error) : 0;
}

int weir_shard_open(const struct weir_shard_options *options, struct weir_shard **ret,
                    struct weir_shard_error *error)
{
    struct error why = {0};
    struct weir_shard *s = calloc(1, sizeof(*s));
    int err = s ? job_make(&s->job, options, error) : -ENOMEM;
    if (!s)
        snprintf(error->text, sizeof(error->text), "no memory");
    if (err < 0) {
        weir_shard_close(s);
        return err;
    }
    const struct pipeline_sink sink = {.put = keep_rows, .ctx = s};
    forget_rows(s);
    err = make_derive(s, &why);
    if (err == 0)
        err = pipeline_prepare(s->job.made, &sink, INT64_MIN, &why);
    if (err == 0)
        err = checkpoint_definition(s->job.made, &s->definition);
    if (err == 0)
        err = shard_tables_make(&s->tables, s->job.made);
    if (err == 0)
        err = settings_make(&s->settings, &s->job);
    s->saved = calloc(s->job.parts, sizeof(*s->saved));
    if (err == 0 && !s->saved)
        err = -ENOMEM;
    if (err < 0) {
        job_error(&s->job, err, &why, error);
        weir_shard_close(s);
        return err;
    }
    *ret = s;
    return 0;
}

void weir_shard_close(struct weir_shard *s)
{
    if (!s)
        return;
    forget_rows(s);
    rowtext_free(&s->text);
    columns_free(&s->columns);
    shard_tables_free(&s->tables);
    settings_free(&s->settings);
    job_free(&s->job);
    derive_free(s->derive);
    for (uint32_t i = 0; s->saved && i < s->job.parts; i++)
        buffer_free(&s->saved[i]);
    free(s->saved);
    free(s->definition);
    free(s);
}

/* ---- Folding ------------------------------------------------------------------------------------ */

static int read_entry(struct weir_shard *s, struct log_entry *e,
                      struct weir_shard_error *error)
{
    struct error why = {0};
    if (!s->begun)
        pipeline_begin_alone(s->job.made);
    s->begun = true;
    forget_rows(s);
    e->position = ++s->entries;
    int err = pipeline_read(s->job.made, e, &why);
    columns_begin(&s->columns, s->given);
    return err < 0 ? job_error(&s->job, err, &why, error) : 0;
}

static int derive(struct weir_shard *s, struct log_entry *e)
{
    struct batch *wide;
    uint64_t errors;
    int err = derive_batch(s->derive, e->batch, &errors, &wide);
    if (err < 0)
        return err;
    batch_unref(e->batch);
    e->batch = wide;
    s->derive_errors += errors;
    return 0;
}

int weir_shard_fold(struct weir_shard *s, const void *bytes, size_t size,
                    struct weir_shard_error *error)
{
    const struct error why = {.text = "rows are not as a router writes them"};
    const struct error none = {0};
    struct log_entry *e;
    int err = entry_new(LOG_BATCH, &e);
    if (err < 0)
        return job_error(&s->job, err, &none, error);
    /* Its rows say nothing of how far the stream is. */
    e->held = true;
    e->reached_us = INT64_MIN;
    err = codec_read(s->job.map, bytes, size, &e->batch);
    if (err == 0) {
        batch_seal(e->batch);
        err = s->derive ? derive(s, e) : 0;
    }
    if (err < 0)
        job_error(&s->job, err, err == -EBADMSG ? &why : &none, error);
    else
        err = read_entry(s, e, error);
    log_entry_unref(e);
    return err;
}

static int mark(struct weir_shard *s, enum log_kind kind, int64_t time_us,
                struct weir_shard_error *error)
{
    const struct error none = {0};
    struct log_entry *e;
    int err = entry_mark(kind, NULL, 0, time_us, &e);
    if (err < 0)
        return job_error(&s->job, err, &none, error);
    err = read_entry(s, e, error);
    log_entry_unref(e);
    return err;
}

int weir_shard_advance(struct weir_shard *s, int64_t watermark_us,
                       struct weir_shard_error *error)
{
    return mark(s, LOG_ADVANCE, watermark_us, error);
}

int weir_shard_end(struct weir_shard *s, struct weir_shard_error *error)
{
    return mark(s, LOG_END, 0, error);
}

int weir_shard_rows(struct weir_shard *s, const struct weir_shard_row **ret_rows,
                    size_t *ret_n, struct weir_shard_error *error)
{
    const struct error none = {0};
    int err = 0;
    rowtext_clear(&s->text);
    for (struct rowset *r = s->given; err == 0 && r; r = r->next)
        err = rowtext_add(&s->text, r);
    if (err < 0)
        return job_error(&s->job, err, &none, error);
    rowtext_close(&s->text);
    *ret_rows = rowtext_list(&s->text, ret_n);
    return 0;
}

int weir_shard_next(struct weir_shard *s, size_t rows_max,
                    const struct weir_shard_columns **ret,
                    struct weir_shard_error *error)
{
    const struct error none = {0};
    int err = columns_next(&s->columns, &s->tables, rows_max, ret);
    return err < 0 ? job_error(&s->job, err, &none, error) : 0;
}

const struct weir_shard_table *weir_shard_tables(const struct weir_shard *s,
                                                 size_t *ret_n)
{
    *ret_n = s->tables.n;
    return s->tables.table;
}

const struct weir_shard_setting *weir_shard_settings(const struct weir_shard *s,
                                                     size_t *ret_n)
{
    *ret_n = s->settings.n;
    return s->settings.list;
}

void weir_shard_count(struct weir_shard *s, struct weir_shard_figures *ret)
{
    struct pipeline_status p;
    pipeline_status(s->job.made, &p);
    *ret =
        (struct weir_shard_figures){.events = p.events,
                                    .late = p.late,
                                    .filtered = p.filtered,
                                    .where_errors = p.where_errors + p.choose_errors,
                                    .derive_errors = s->derive_errors + p.derive_errors,
                                    .over_groups = p.over_groups,
                                    .rows = p.rows,
                                    .groups = p.groups,
                                    .state_bytes = p.state_bytes,
                                    .watermark_us = p.watermark_us};
}

/* ---- States ------------------------------------------------------------------------------------- */

static size_t part_of(void *ctx, const char *key, size_t size)
{
    const struct weir_shard *s = ctx;
    return job_part(&s->job, key, size);
}

static void begin_part(struct weir_shard *s, struct buffer *b)
{
    static const char zeros[sizeof(struct head)];
    const size_t size = strlen(s->definition);
    buffer_clear(b);
    b->limit = PART_MAX;
    buffer_put(b, zeros, sizeof(zeros));
    buffer_put(b, s->definition, size);
    buffer_put(b, zeros, -size & 7);
}

static void end_part(struct weir_shard *s, uint32_t part)
{
    struct buffer *b = &s->saved[part];
    struct head h = {.version = VERSION,
                     .parts = s->job.parts,
                     .part = part,
                     .definition_size = strlen(s->definition),
                     .entries = s->entries,
                     .times = checkpoint_times(worker_of(s))};
    memcpy(h.magic, magic, sizeof(magic));
    memcpy(b->data, &h, sizeof(h));
    h.crc = crc32c(0, b->data + CRC_FROM, b->size - CRC_FROM);
    memcpy(b->data, &h, sizeof(h));
}

int weir_shard_save(struct weir_shard *s, struct weir_shard_error *error)
{
    struct error why = {0};
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < s->job.parts; i++) {
        begin_part(s, &s->saved[i]);
        err = s->saved[i].error;
    }
    if (err == 0)
        err = checkpoint_put_parts(worker_of(s), part_of, s, s->saved);
    if (err == -EINVAL)
        worker_error(worker_of(s), err, &why);
    if (err < 0)
        return job_error(&s->job, err, &why, error);
    for (uint32_t i = 0; i < s->job.parts; i++)
        end_part(s, i);
    return 0;
}

const void *weir_shard_saved(const struct weir_shard *s, uint32_t part,
                             size_t *ret_size)
{
    const struct buffer none = {0};
    const struct buffer *b = part < s->job.parts ? &s->saved[part] : &none;
    *ret_size = b->size;
    return b->data;
}

/* Whether the bytes are a part, and one of this pipeline. */
static int check_part(struct weir_shard *s, const char *bytes, size_t size,
                      struct head *ret, struct error *why)
{
    struct head h;
    if (size < sizeof(h))
        return error_set(why, -EBADMSG, "a saved part is cut short");
    memcpy(&h, bytes, sizeof(h));
    if (memcmp(h.magic, magic, sizeof(magic)) != 0 || h.version != VERSION ||
        h.crc != crc32c(0, bytes + CRC_FROM, size - CRC_FROM) ||
        h.definition_size > size - sizeof(h))
        return error_set(why, -EBADMSG, "a saved part is damaged, or of a newer weir");
    if (h.parts != s->job.parts)
        return error_set(
            why, -EBADMSG,
            "what was saved has %u parts, not %u: their number is for good", h.parts,
            s->job.parts);
    char *definition = strndup(bytes + sizeof(h), h.definition_size);
    bool can = false;
    int err = definition ? checkpoint_can_load(s->job.made, definition, &can) : -ENOMEM;
    free(definition);
    if (err == 0 && !can)
        return error_set(why, -ESTALE,
                         "what was saved is of another definition (key, window, where, "
                         "analyzers) of the pipeline");
    *ret = h;
    return err;
}

/* Parts may come from several shards, of which none had seen more than its own rows. */
static void merge_times(struct weir_shard *s, const struct checkpoint_times *t)
{
    struct checkpoint_times now = checkpoint_times(worker_of(s));
    now.value_us = t->value_us > now.value_us ? t->value_us : now.value_us;
    now.newest_us = t->newest_us > now.newest_us ? t->newest_us : now.newest_us;
    now.unknown_us = t->unknown_us > now.unknown_us ? t->unknown_us : now.unknown_us;
    checkpoint_set_times(worker_of(s), &now);
}

int weir_shard_load(struct weir_shard *s, const void *bytes, size_t size,
                    struct weir_shard_error *error)
{
    struct error why = {0};
    struct head h = {.parts = 0};
    int err = s->begun ? error_set(&why, -EINVAL, "parts are loaded before rows come")
                       : check_part(s, bytes, size, &h, &why);
    if (err == 0) {
        const size_t at = sizeof(h) + ((h.definition_size + 7) & ~UINT64_C(7));
        err = at > size ? -EBADMSG
                        : checkpoint_load_block(s->job.made, (const char *)bytes + at,
                                                size - at, &why);
    }
    if (err < 0)
        return job_error(&s->job, err, &why, error);
    merge_times(s, &h.times);
    s->entries = h.entries > s->entries ? h.entries : s->entries;
    return 0;
}
