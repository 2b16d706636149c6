/* SPDX-License-Identifier: Apache-2.0 */
#include "recover.h"

#include "base/clock.h"
#include "base/doing.h"
#include "base/logger.h"
#include "pipeline/join.h"
#include "pipeline/lookup.h"
#include "pipeline/reference.h"
#include "restart.h"
#include "results_feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT_ONCE_ENTRIES 64 /* so few may be read in a reload, while the streams wait */

int recover_stream(struct weir *w, struct restore *r, size_t stream,
                   struct log_options *options, struct error *error)
{
    struct journals_needs needs;
    int err =
        restore_needs(r, w->config, w->config->stream[stream].name, &needs, error);
    if (err < 0 || !needs.known)
        return err;
    options->kept = needs.kept;
    options->least = needs.least;
    options->position = needs.most;
    return 0;
}

static int know_key(void *ctx, const struct request_id *key, int64_t taken_us)
{
    return log_know_request(ctx, key, taken_us);
}

static int know_bookmark(void *log, const char *source, const char *bookmark)
{
    return log_know_bookmark(log, source, bookmark);
}

int recover_keys(struct weir *w, struct restore *r, size_t stream, struct error *error)
{
    int64_t since_us = clock_unstepped_us() - w->config->server.idempotency_retain_us;
    const char *name = w->config->stream[stream].name;
    int err = restore_keys(r, name, since_us, know_key, w->log[stream], error);
    return err < 0 ? err
                   : restore_bookmarks(r, name, know_bookmark, w->log[stream], error);
}

/* ---- Pipelines -------------------------------------------------------------------------------- */

struct loading {
    struct pipeline *pipeline;
    struct error *error;
};

static int load_block(void *ctx, const char *data, size_t size)
{
    struct loading *l = ctx;
    return checkpoint_load_block(l->pipeline, data, size, l->error);
}

/* Groups of another definition are given up. */
static int is_same(struct pipeline *p, const struct restore_checkpoint *c, bool *ret,
                   struct error *error)
{
    int err = checkpoint_can_load(p, c->definition, ret);
    if (err < 0)
        return error_set(error, err, "no memory");
    if (*ret)
        return 0;
    char version[160] = "";
    bool other = checkpoint_other_version(p, c->definition, version, sizeof(version));
    pipeline_say_partial(
        p,
        "has another definition than before%s%s%s: it starts afresh behind entry %llu; "
        "%llu groups of windows that were open are given up",
        other ? " (" : "", version, other ? ")" : "", (unsigned long long)c->position,
        (unsigned long long)c->groups);
    return 0;
}

/* What the journal does not have any more cannot be read again: groups without it would be wrong. Nor can what it
 * still has be made windows of: the first would begin in the middle. */
static bool journal_has(struct pipeline *p, struct log *log, uint64_t position)
{
    if (position + 1 >= log_first(log))
        return true;
    pipeline_say_partial(p,
                         "stopped at entry %llu, and the journal begins at %llu: it "
                         "starts afresh behind entry %llu",
                         (unsigned long long)position,
                         (unsigned long long)log_first(log),
                         (unsigned long long)log_written(log));
    return false;
}

/* Nor can what its parent has given out since. */
static bool parent_gives(struct pipeline *p, uint64_t position, uint64_t parent)
{
    if (position >= parent)
        return true;
    pipeline_say_partial(
        p,
        "stopped at entry %llu, and '%s' goes on behind %llu: it starts "
        "afresh there",
        (unsigned long long)position, pipeline_config(p)->from,
        (unsigned long long)parent);
    return false;
}

/* One that gives all of its results once more does not know what it gave before, to take it out. */
static bool parent_replaces(struct pipeline *p)
{
    if (!pipeline_reads_replaced(p) || !pipeline_is_afresh(pipeline_parent(p)))
        return true;
    pipeline_say_partial(p, "starts afresh, as '%s' does", pipeline_config(p)->from);
    return false;
}

static int load(struct restore *r, struct pipeline *p, struct log *log,
                const struct restore_checkpoint *c, uint64_t *ret_position,
                bool *ret_same, struct error *error)
{
    struct loading l = {.pipeline = p, .error = error};
    const uint64_t parent = *ret_position;
    bool has = pipeline_parent(p)
                   ? parent_gives(p, c->position, parent) && parent_replaces(p)
                   : journal_has(p, log, c->position),
         same = false;
    int err = has ? is_same(p, c, &same, error) : 0;
    if (err < 0)
        return err;
    if (c->marks && (err = checkpoint_load_marks(p, c->marks, c->marks_size, same)) < 0)
        return error_set(error, err, "its stored watermark is damaged");
    if (!same && pipeline_parent(p)) /* it has seen no row that counts */
        pipeline_forget_files(p);
    *ret_position = has ? c->position : pipeline_parent(p) ? parent : log_written(log);
    *ret_same = same;
    return same ? restore_states(r, pipeline_config(p)->name, load_block, &l, error)
                : 0;
}

/* With what is there: the files, then the journal, or from here on. */
static uint64_t begin_behind(struct pipeline *p, struct log *log, bool known)
{
    const struct config_pipeline *c = pipeline_config(p);
    bool all = c->backfill_journal || !known;
    pipeline_begin_behind(p, c->n_backfill > 0);
    if (known && all && !c->n_backfill && log_first(log) > 1)
        pipeline_say_partial(p,
                             "begins with what the journal has, from entry %llu on, of "
                             "a stream that is older",
                             (unsigned long long)log_first(log));
    return all ? log_first(log) - 1 : log_written(log);
}

/* One that is new, or that was away for so long that its groups were forgotten. */
static int begin(const struct weir *w, struct restore *r, struct pipeline *p,
                 struct log *log, const char *stream, uint64_t *ret_position,
                 struct error *error)
{
    uint64_t kept;
    int err = restore_stream(r, stream, &kept, error);
    if (err < 0 && err != -ENOENT)
        return err;
    if (pipeline_config(p)->backfill_node && w->serves)
        *ret_position = begin_behind(p, log, err == 0);
    if (pipeline_is_behind(p)) /* it, or the one that it reads */
        return 0;
    uint64_t position = err == -ENOENT ? log_first(log) - 1 : log_written(log);
    if (position > *ret_position) /* where its parent is */
        *ret_position = position;
    if (err == 0 && *ret_position > 0)
        pipeline_say_partial(p, "begins behind entry %llu of a stream that is older",
                             (unsigned long long)*ret_position);
    return 0;
}

/* ---- Streams that are joined ------------------------------------------------------------------- */

static int load_rows(void *ctx, const char *data, size_t size)
{
    return join_load_block(ctx, data, size);
}

/* Results that were made since stand in their table: they are read behind the watermark. */
static int load_results(struct restore *r, struct pipeline *p, struct join_input *in,
                        const struct restore_checkpoint *c, struct error *error)
{
    char *definition;
    int err = join_define(in, &definition);
    if (err < 0)
        return error_set(error, err, "no memory");
    bool same = !strcmp(definition, c->definition);
    free(definition);
    if (!same)
        pipeline_say_partial(p, "joins '%s' otherwise than before: it reads them again",
                             in->stream);
    if (!same || !c->marks)
        return 0;
    err = join_load_marks(in, c->marks, c->marks_size);
    if (err == 0)
        err = restore_states(r, in->name, load_rows, in, error);
    return err < 0 && !error->text[0]
               ? error_set(error, err, "the stored results of '%s' are damaged",
                           in->stream)
               : err;
}

static int load_input(struct restore *r, struct pipeline *p, struct join_input *in,
                      const struct restore_checkpoint *c, struct error *error)
{
    char *definition;
    int err = join_define(in, &definition);
    if (err < 0)
        return error_set(error, err, "no memory");
    bool same = !strcmp(definition, c->definition);
    bool has = c->position + 1 >= log_first(in->log);
    free(definition);
    in->position = has ? c->position : log_written(in->log);
    if (!has)
        pipeline_say_partial(p,
                             "stopped at entry %llu of '%s', and the journal begins at "
                             "%llu: it goes on behind entry %llu",
                             (unsigned long long)c->position, in->stream,
                             (unsigned long long)log_first(in->log),
                             (unsigned long long)in->position);
    if (has && !same)
        pipeline_say_partial(p,
                             "joins '%s' otherwise than before: what it found until "
                             "entry %llu is given up",
                             in->stream, (unsigned long long)c->position);
    if (c->marks && join_load_marks(in, c->marks, c->marks_size) < 0)
        return error_set(error, -EBADMSG, "the stored watermark of '%s' is damaged",
                         in->stream);
    if (!has || !same)
        return 0;
    err = restore_states(r, in->name, load_rows, in, error);
    return err < 0 && !error->text[0]
               ? error_set(error, err, "the stored events of '%s' are damaged",
                           in->stream)
               : err;
}

/* A stream that the database does not know is read from its beginning, another one from where it is, or with what its journal
 * has, as the pipeline's own. */
static int begin_input(struct restore *r, struct pipeline *p, struct join_input *in,
                       struct error *error)
{
    uint64_t kept, first = log_first(in->log);
    bool behind = pipeline_is_behind(p);
    int err = restore_stream(r, in->stream, &kept, error);
    if (err < 0 && err != -ENOENT)
        return err;
    atomic_store_explicit(&in->behind, behind, memory_order_relaxed);
    if (behind && err == 0 && first > 1)
        pipeline_say_partial(p,
                             "begins with what the journal of '%s' has, from entry "
                             "%llu on, of a stream that is older",
                             in->stream, (unsigned long long)first);
    in->position = behind || err == -ENOENT ? first - 1 : log_written(in->log);
    return 0;
}

/* Of several streams in the same windows: the pipeline's checkpoint has only what all of them have reached. */
static int load_own_marks(struct restore *r, struct join *j, struct error *error)
{
    struct restore_checkpoint stored = {0};
    int err = restore_checkpoint(r, j->own.name, j->own.stream, &stored, error);
    if (err == 0 && stored.marks &&
        join_load_marks(&j->own, stored.marks, stored.marks_size) < 0)
        err = error_set(error, -EBADMSG, "the stored watermark of '%s' is damaged",
                        j->own.stream);
    restore_checkpoint_free(&stored);
    return err == -ENOENT ? 0 : err;
}

static int recover_inputs(struct weir *w, struct restore *r, struct pipeline *p,
                          struct error *error)
{
    struct join *j = pipeline_join(p);
    int err = j ? load_own_marks(r, j, error) : 0;
    for (size_t i = 0; j && err == 0 && i < j->n; i++) {
        struct join_input *in = &j->input[i];
        struct restore_checkpoint stored = {0};
        in->log = in->results ? NULL : w->log[in->config->stream];
        err = restore_checkpoint(r, in->name, in->stream, &stored, error);
        if (err == -ENOENT)
            err = in->results ? 0 : begin_input(r, p, in, error);
        else if (err == 0 && in->results)
            err = load_results(r, p, in, &stored, error);
        else if (err == 0)
            err = load_input(r, p, in, &stored, error);
        restore_checkpoint_free(&stored);
        if (err < 0)
            in->log = NULL; /* whoever had its place keeps it */
        else
            join_show(in);
    }
    return err;
}

/* One that is exchanged before it has caught up, or was away, goes on beside the others: they do not wait while all that it
 * lacks is read. */
static void go_on_behind(const struct weir *w, struct pipeline *p, uint64_t position)
{
    struct log *log = w->log[pipeline_config(p)->stream];
    struct join *j = pipeline_join(p);
    bool far = log_last(log) > position + AT_ONCE_ENTRIES;
    for (size_t i = 0; j && i < j->n; i++)
        far = far || (j->input[i].log && log_last(j->input[i].log) >
                                             j->input[i].position + AT_ONCE_ENTRIES);
    if (!far || pipeline_parent(p))
        return;
    pipeline_begin_behind(p, false);
    for (size_t i = 0; j && i < j->n; i++)
        if (!j->input[i].results)
            atomic_store_explicit(&j->input[i].behind, true, memory_order_relaxed);
}

int recover_input_place(struct weir *w, struct restore *r, const char *name,
                        size_t stream, uint64_t *ret_position, struct error *error)
{
    struct restore_checkpoint stored = {0};
    int err =
        restore_checkpoint(r, name, w->config->stream[stream].name, &stored, error);
    if (err == -ENOENT) {
        *ret_position = log_written(w->log[stream]);
        return 0;
    }
    uint64_t first = log_first(w->log[stream]);
    *ret_position = stored.position + 1 < first ? first - 1 : stored.position;
    restore_checkpoint_free(&stored);
    return err;
}

/* ---- Tables that are joined --------------------------------------------------------------------- */

static int take_rows(void *reference, const struct batch *b, struct error *error)
{
    return reference_take(reference, b, error);
}

static int read_reference(struct restore *r, const struct pipeline *p,
                          struct reference *ref, const char *stream, uint64_t position,
                          struct error *error)
{
    uint64_t wrong = 0;
    reference_clear(ref);
    int err = restore_reference(r, ref->config, take_rows, ref, &wrong, error);
    if (err == 0 && (err = reference_seal(ref, stream, position)) < 0)
        error_set(error, err, "no memory");
    if (err < 0)
        return err;
    atomic_store_explicit(&ref->n_wrong, wrong, memory_order_relaxed);
    if (wrong)
        logger_warn(
            "recover",
            "pipeline '%s': %llu values of table '%s' are not of the types that "
            "'columns', 'on' and 'time' say: they count as null",
            pipeline_config(p)->name, (unsigned long long)wrong, ref->config->table);
    return 0;
}

static const char *stream_of(const struct weir *w, const struct pipeline *p)
{
    return w->config->stream[pipeline_config(p)->stream].name;
}

int recover_read_references(const struct weir *w, struct restore *r, struct pipeline *p,
                            struct error *error)
{
    struct references *all = pipeline_references(p);
    int err = 0;
    for (size_t i = 0; all && err == 0 && i < all->n; i++)
        err = read_reference(r, p, &all->of[i], stream_of(w, p), 0, error);
    return err;
}

int recover_references_differ(const struct weir *w, struct restore *r,
                              struct pipeline *p, bool *ret, struct error *error)
{
    const struct references *now = pipeline_references(p);
    struct references *all = NULL;
    *ret = false;
    int err = references_new(p, &all);
    if (err < 0)
        return error_set(error, err, "no memory");
    for (size_t i = 0; all && err == 0 && i < all->n; i++) {
        const char *before = now->of[i].definition;
        err = read_reference(r, p, &all->of[i], stream_of(w, p), 0, error);
        *ret = *ret || !before || (err == 0 && strcmp(before, all->of[i].definition));
    }
    references_free(all);
    return err;
}

int recover_check_references(const struct weir *w, const char *path, bool rows,
                             struct error *error)
{
    struct restore *r = NULL;
    int err = 0;
    for (size_t i = 0; err == 0 && i < w->n_pipelines; i++) {
        struct references *all = pipeline_references(w->pipeline[i]);
        if (!rows && weir_leaves_out(w, w->pipeline[i]))
            continue;
        for (size_t k = 0; all && err == 0 && k < all->n; k++) {
            const struct config_reference *c = all->of[k].config;
            if (!r && (err = access(path, F_OK) ? -ENOENT : 0) == 0)
                err = restore_open(path, &r, error);
            if (err == -ENOENT)
                err = node_error(c->table_node, error,
                                 "there is no table '%s', nor a database '%s'",
                                 c->table, path);
            else if (err == 0 && rows)
                err = read_reference(r, w->pipeline[i], &all->of[k], "", 0, error);
            else if (err == 0)
                err = restore_reference(r, c, NULL, NULL, NULL, error);
        }
    }
    restore_close(r);
    return err;
}

static int load_reference_rows(void *reference, const char *data, size_t size)
{
    return reference_load(reference, data, size);
}

/* As it was stored. -ENOENT: it was not, or not so. */
static int load_reference(struct restore *r, struct reference *ref, const char *stream,
                          struct error *error)
{
    struct restore_checkpoint stored = {0};
    int err = restore_checkpoint(r, ref->name, stream, &stored, error);
    if (err == 0 && !reference_can_load(ref, stored.definition))
        err = -ENOENT;
    if (err == 0) {
        reference_clear(ref);
        err = restore_states(r, ref->name, load_reference_rows, ref, error);
        if (err == 0)
            err = reference_loaded(ref, stored.definition);
        if (err < 0 && !error->text[0])
            error_set(error, err, "the stored rows of table '%s' are damaged",
                      ref->config->table);
    }
    restore_checkpoint_free(&stored);
    return err;
}

/* Is what was read now in the file already? Then it is not written once more. */
static int is_stored(struct restore *r, struct reference *ref, const char *stream,
                     bool *ret, struct error *error)
{
    struct restore_checkpoint stored = {0};
    int err = restore_checkpoint(r, ref->name, stream, &stored, error);
    *ret = err == 0 && !strcmp(stored.definition, ref->definition);
    restore_checkpoint_free(&stored);
    return err == -ENOENT ? 0 : err;
}

/* Where entries are read again they are to find what they found before: as long as the pipeline goes on with what
 * was stored. Otherwise its tables are read as they are now. *ret_stores: its first checkpoint has to be made. */
static int recover_references(struct weir *w, struct restore *r, struct pipeline *p,
                              bool same, uint64_t position, bool *ret_stores,
                              struct error *error)
{
    struct references *all = pipeline_references(p);
    const char *stream = stream_of(w, p);
    struct log *log = w->log[pipeline_config(p)->stream];
    const bool live = atomic_load_explicit(&w->wired, memory_order_acquire);
    const bool again = same && position < (live ? log_last(log) : log_written(log));
    int err = 0;
    for (size_t i = 0; all && err == 0 && i < all->n; i++) {
        struct reference *ref = &all->of[i];
        bool stored = false;
        err = again ? load_reference(r, ref, stream, error) : -ENOENT;
        if (err != -ENOENT)
            continue;
        err = ref->definition ? 0 /* a reload has read it */
                              : read_reference(r, p, ref, stream, position, error);
        if (err == 0)
            err = is_stored(r, ref, stream, &stored, error);
        if (stored) {
            checkpoint_free(ref->snapshot);
            ref->snapshot = NULL;
        }
        *ret_stores = *ret_stores || !stored;
    }
    return err;
}

/* ---- Results ----------------------------------------------------------------------------------- */

static int put_results(void *store, const char *pipeline, unsigned worker,
                       unsigned workers, uint64_t position, int64_t watermark_us,
                       struct rowset *rows)
{
    const struct store_report report = {.pipeline = pipeline,
                                        .worker = worker,
                                        .workers = workers,
                                        .position = position,
                                        .watermark_us = watermark_us,
                                        .rows = rows};
    return store_put(store, &report);
}

static int put_checkpoint(void *store, const char *pipeline, struct checkpoint *c)
{
    return store_put_checkpoint(store, pipeline, c);
}

static int put_answers(void *store, const char *pipeline, struct pipeline_answers *a)
{
    return store_put_answers(store, pipeline, a);
}

static int load_answers(void *lookup, uint64_t first, uint64_t last, const char *data,
                        size_t size)
{
    return lookup_load(lookup, first, last, data, size);
}

static void results_out(void *store, const char *pipeline)
{
    store_out(store, pipeline);
}

static bool results_ready(void *store, struct waiter *w)
{
    return store_ready(store, w);
}

static void results_unwait(void *store, struct waiter *w)
{
    store_unwait(store, w);
}

struct clearing {
    struct pipeline *pipeline;
    struct error *error;
};

static int clear_tables(struct store *s, void *ctx)
{
    const struct clearing *c = ctx;
    const struct table *const *table;
    size_t n = pipeline_tables(c->pipeline, &table);
    int err = 0;
    for (size_t i = 0; err == 0 && i < n; i++)
        if (!table[i]->late)
            err = store_clear_table(s, table[i], c->error);
    return err;
}

int recover_pipeline(struct weir *w, struct restore *r, struct pipeline *p,
                     uint64_t *ret_position, bool *ret_stores, struct error *error)
{
    const struct config_pipeline *c = pipeline_config(p);
    struct log *log = w->log[c->stream];
    int err = c->asks && !w->lookups ? lookups_new(&w->lookups, error) : 0;
    if (err < 0)
        return err;
    const struct pipeline_sink sink = {.put = put_results,
                                       .checkpoint = put_checkpoint,
                                       .ready = results_ready,
                                       .unwait = results_unwait,
                                       .out = results_out,
                                       /* What a run reads is not read again. */
                                       .answers = w->serves ? put_answers : NULL,
                                       .ctx = w->store,
                                       .lookups = w->lookups,
                                       .crashed = w->crashed};
    struct restore_checkpoint stored = {0};
    int64_t watermark_us = INT64_MIN;
    bool same = false;
    err = restore_watermark(r, c->name, &watermark_us, error);
    if (err < 0 && err != -ENOENT)
        return err;
    const char *stream = w->config->stream[c->stream].name;
    doing_pipeline(c->name, 0); /* analyzers are opened, and load states */
    err = pipeline_prepare(p, &sink, watermark_us, error);
    const struct references *tables = pipeline_references(p);
    /* Their digests are in its definition; a reload has read them. */
    if (err == 0 && tables && pipeline_reads_replaced(p) && !tables->of[0].definition)
        err = recover_read_references(w, r, p, error);
    if (err == 0 &&
        (err = restore_checkpoint(r, c->name, stream, &stored, error)) == -ENOENT) {
        err = begin(w, r, p, log, stream, ret_position, error);
    } else if (err == 0) {
        doing_pipeline(c->name, stored.position);
        err = load(r, p, log, &stored, ret_position, &same, error);
    }
    doing_pipeline(NULL, 0);
    restore_checkpoint_free(&stored);
    if (err == 0)
        err = recover_inputs(w, r, p, error);
    if (err == 0 && atomic_load_explicit(&w->wired, memory_order_acquire))
        go_on_behind(w, p, *ret_position);
    if (err == 0 && pipeline_wants_files(p) && !w->serves)
        err = error_set(error, -EBUSY,
                        "it has files to read first ('backfill'), which 'weir serve' "
                        "does");
    else if (err == 0 && pipeline_wants_files(p) && !c->n_backfill)
        pipeline_forget_files(p);
    else if (err == 0 && pipeline_wants_files(p))
        pipeline_begin_behind(p, true); /* once more, if it has been tried before */
    *ret_stores = !same;
    if (err == 0)
        err = recover_references(w, r, p, same, *ret_position, ret_stores, error);
    if (err == 0 && pipeline_lookup(p))
        err = restore_answers(r, c->name, *ret_position, load_answers,
                              pipeline_lookup(p), error);
    if (!same)
        pipeline_begin_afresh(p);
    if (err == 0 && !same && pipeline_parent(p))
        restart_forget(w, p);
    struct clearing clearing = {.pipeline = p, .error = error};
    /* Its revisions begin at 0: what is there would not be replaced. */
    if (err == 0 && !same && c->window.kind == CONFIG_GLOBAL)
        err = store_call(w->store, clear_tables, &clearing);
    return err;
}

/* ---- Pipelines that are gone ------------------------------------------------------------------- */

/* Of a pipeline that may not be made, as a table of its parent is not known: by its configuration alone. */
static bool joins_stream(const struct weir *w, const struct config_pipeline *c,
                         const char *stream)
{
    bool reads = c->join_node && node_get(c->join_node, stream);
    for (size_t i = 0; !reads && c->joins.all && i < c->joins.n; i++)
        reads = !strcmp(w->config->stream[c->joins.join[i].stream].name, stream);
    return reads ||
           (c->joins.all && !strcmp(w->config->stream[c->stream].name, stream));
}

/* Its own checkpoint, or that of a stream or a table that it joins? */
static bool is_of(const struct weir *w, const struct config_pipeline *c,
                  const char *pipeline, const char *stream)
{
    size_t size = strlen(c->name);
    if (!strcmp(c->name, pipeline))
        return true;
    if (strncmp(pipeline, c->name, size) || pipeline[size] != '.')
        return false;
    const char *what = pipeline + size + 1;
    /* A child's tables are known once it is made. */
    bool its = c->from && c->join_node && node_get(c->join_node, what);
    for (size_t i = 0; !its && i < c->references.n; i++)
        its = !strcmp(c->references.reference[i].node->text, what);
    for (size_t i = 0; !its && i < c->results.n; i++) {
        const char *table = c->results.item[i].table;
        its = !strcmp(table, what) && !strcmp(table, stream);
    }
    /* Beside results, tables of the database, too. */
    if (!its && c->results.n)
        its = c->join_node && node_get(c->join_node, what);
    return its || (!strcmp(what, stream) && joins_stream(w, c, stream));
}

/* One that is not configured any more may come back, and go on, as long as the journal has what it missed. What it joined
 * is of no use to others, nor is what a pipeline does not join any more. */
static bool keep_checkpoint(void *ctx, const char *pipeline, const char *stream,
                            uint64_t position, bool left)
{
    const struct weir *w = ctx;
    const struct config *c = w->latest ? w->latest : w->config;
    if (!pipeline || !stream)
        return true; /* no memory */
    const size_t size = strcspn(pipeline, ".");
    bool goes_on = false;
    for (size_t i = 0; i < c->n_pipelines; i++) {
        const char *name = c->pipeline[i].name;
        if (is_of(w, &c->pipeline[i], pipeline, stream))
            return true;
        goes_on = goes_on || (strlen(name) == size && !strncmp(name, pipeline, size));
    }
    for (size_t i = 0; i < w->config->n_streams; i++)
        if (w->log[i] && !strcmp(w->config->stream[i].name, stream))
            return !left && position + 1 >= log_first(w->log[i]);
    return !left && !(goes_on && pipeline[size]);
}

static int forget(struct store *s, void *ctx)
{
    results_feed_forget(s, ctx);
    return store_forget_checkpoints(s, keep_checkpoint, ctx);
}

void recover_forget(struct weir *w)
{
    int err = store_call(w->store, forget, w);
    if (err < 0)
        logger_warn("recover",
                    "groups of pipelines that are gone stay in the database: %s",
                    strerror(-err));
}

int recover_place(struct weir *w, struct restore *r, struct pipeline *p,
                  struct log *log, uint64_t *ret_position, struct error *error)
{
    const struct config_pipeline *c = pipeline_config(p);
    const char *stream = w->config->stream[c->stream].name;
    struct restore_checkpoint stored = {0};
    int err = restore_checkpoint(r, c->name, stream, &stored, error);
    if (err == -ENOENT)
        return begin(w, r, p, log, stream, ret_position, error);
    uint64_t first = log_first(log);
    *ret_position = stored.position + 1 < first ? first - 1 : stored.position;
    restore_checkpoint_free(&stored);
    return err;
}
