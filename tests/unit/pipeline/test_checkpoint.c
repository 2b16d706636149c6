/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints: a pipeline that goes on from one gives the rows that it would have given without, and
 * bytes that are none are refused.
 */
#include "fixture.h"

#include "base/clock.h"
#include "base/hash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ENTRIES     120
#define ROWS        150 /* of an entry */
#define KEYS        400
#define BLOCKS_MAX  4096
#define LINES_MAX   60000
#define PATIENCE_US (60 * SECOND_US)

static const char analyzers[] =
    "count, {stats: {of: v}}, {ohlc: {of: v}}, {vwap: {price: v, volume: n}}, "
    "{topk: {of: s, k: 3, capacity: 4}}, {topk: {of: m, k: 2}, as: ints}";

static const char config_text[] =
    "streams:\n"
    "  t: {time: {field: ts, unit: us}, fields: {k: string, n: int, v: float, s: "
    "string, m: int}}\n"
    "  u: {time: {field: ts, unit: us}, fields: {k: int, n: int, v: float, s: string, "
    "m: int}}\n"
    "pipelines:\n"
    "  p: {from: t, key: [k, n], window: {tumbling: 10s}, out_of_orderness: 3s,\n"
    "      workers: %u, analyzers: [%s]%s}\n";

/* ---- What comes out --------------------------------------------------------------------------- */

/* The table of blocks, as the store keeps it. */
struct block {
    uint64_t id;
    uint32_t size;
    char *data;
};

struct results {
    pthread_mutex_t lock;  /* protects all of this */
    char *line[LINES_MAX]; /* result rows */
    size_t n_lines;
    struct block block[BLOCKS_MAX];
    size_t n_blocks;
    char *marks, *definition;
    size_t marks_size;
    uint64_t position, groups; /* of each worker's last part: the same; their sum */
    struct {
        uint64_t position, groups;
    } part[8];
    bool begins;    /* another run: the first part clears the table */
    size_t written; /* blocks in all checkpoints */
};

/* Zeros of a string are shown as dots. */
static void put_text(char *line, size_t size, const struct weir_cell *c)
{
    size_t at = strlen(line);
    assert_true(at + c->size + 2 <= size);
    line[at++] = '|';
    for (size_t i = 0; i < c->size; i++)
        line[at++] = c->as.s[i] ? c->as.s[i] : '.';
    line[at] = 0;
}

static void put_cell(char *line, size_t size, const struct weir_cell *c)
{
    size_t at = strlen(line);
    if (c->type == WEIR_STRING)
        put_text(line, size, c);
    else if (c->type == WEIR_FLOAT)
        snprintf(line + at, size - at, "|%a", c->as.f);
    else if (c->type)
        snprintf(line + at, size - at, "|%lld", (long long)c->as.i);
    else
        snprintf(line + at, size - at, "|null");
}

static int put_results(void *ctx, const char *pipeline, unsigned worker,
                       unsigned workers, uint64_t position, int64_t watermark_us,
                       struct rowset *rows)
{
    (void)pipeline, (void)worker, (void)workers, (void)position, (void)watermark_us;
    struct results *r = ctx;
    pthread_mutex_lock(&r->lock);
    for (struct rowset *next; rows; rows = next) {
        for (size_t i = 0; i < rows->n_rows; i++) {
            char line[1024];
            snprintf(line, sizeof(line), "%s", rows->table->name);
            for (size_t c = 0; c < rows->table->n_columns; c++)
                put_cell(line, sizeof(line),
                         rows->cell + i * rows->table->n_columns + c);
            assert_true(r->n_lines < LINES_MAX);
            r->line[r->n_lines++] = strdup(line);
        }
        next = rows->next;
        rowset_free(rows);
    }
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static void put_block(struct results *r, unsigned worker,
                      const struct checkpoint_block *b)
{
    uint64_t id = (uint64_t)worker << 32 | b->number;
    size_t i = 0;
    while (i < r->n_blocks && r->block[i].id != id)
        i++;
    assert_true(i < BLOCKS_MAX);
    if (i == r->n_blocks)
        r->block[r->n_blocks++] = (struct block){.id = id};
    free(r->block[i].data);
    r->block[i].size = b->size;
    r->block[i].data = malloc(b->size + 1);
    if (b->size)
        memcpy(r->block[i].data, b->data, b->size);
    r->written++;
}

static void clear_blocks(struct results *r)
{
    for (size_t i = 0; i < r->n_blocks; i++)
        free(r->block[i].data);
    r->n_blocks = 0;
}

static int put_checkpoint(void *ctx, const char *pipeline, struct checkpoint *c)
{
    (void)pipeline;
    struct results *r = ctx;
    pthread_mutex_lock(&r->lock);
    if (r->begins) {
        assert_true(c->whole);
        clear_blocks(r);
        memset(r->part, 0, sizeof(r->part));
    }
    r->begins = false;
    r->part[c->worker].position = c->position;
    r->part[c->worker].groups = c->groups;
    if (c->worker == 0) {
        free(r->marks);
        free(r->definition);
        r->marks = malloc(c->marks_size);
        memcpy(r->marks, c->marks, c->marks_size);
        r->marks_size = c->marks_size;
        r->definition = strdup(c->definition);
    }
    for (size_t i = 0; i < c->n_blocks; i++)
        put_block(r, c->worker, &c->block[i]);
    pthread_mutex_unlock(&r->lock);
    checkpoint_free(c);
    return 0;
}

static struct results *results_new(void)
{
    struct results *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void results_free(struct results *r)
{
    clear_blocks(r);
    for (size_t i = 0; i < r->n_lines; i++)
        free(r->line[i]);
    free(r->marks);
    free(r->definition);
    free(r);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_same_lines(struct results *a, struct results *b)
{
    qsort(a->line, a->n_lines, sizeof(a->line[0]), compare_lines);
    qsort(b->line, b->n_lines, sizeof(b->line[0]), compare_lines);
    assert_int_equal(a->n_lines, b->n_lines);
    for (size_t i = 0; i < a->n_lines; i++)
        assert_string_equal(a->line[i], b->line[i]);
}

/* ---- A pipeline ------------------------------------------------------------------------------- */

struct run {
    struct stage stage;
    struct results *results;
};

static struct run *run_prepare(struct results *results, unsigned workers,
                               const char *with, const char *more)
{
    struct run *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->results = results;
    char text[2048];
    snprintf(text, sizeof(text), config_text, workers, with, more);
    const struct pipeline_sink sink = {
        .put = put_results, .checkpoint = put_checkpoint, .ctx = results};
    stage_prepare(&r->stage, text, &sink, INT64_MIN);
    return r;
}

static int run_load(struct run *r, const struct results *from, struct error *error)
{
    int err =
        checkpoint_load_marks(r->stage.pipeline, from->marks, from->marks_size, true);
    for (size_t i = 0; err == 0 && i < from->n_blocks; i++)
        if (from->block[i].size)
            err = checkpoint_load_block(r->stage.pipeline, from->block[i].data,
                                        from->block[i].size, error);
    return err;
}

static void run_start(struct run *r, uint64_t position)
{
    r->results->begins = true;
    stage_start(&r->stage, (struct log_options){.position = position});
}

static void ask(void *log)
{
    log_checkpoint(log, "p");
}

static void run_end(struct run *r, enum log_end end)
{
    struct results *out = r->results;
    struct pipeline_status status;
    stage_end(&r->stage, end, &status);
    assert_string_equal(status.error, "");
    out->position = out->part[0].position;
    out->groups = 0;
    for (unsigned i = 0; i < pipeline_config(r->stage.pipeline)->workers; i++) {
        assert_int_equal(out->part[i].position, out->position);
        out->groups += out->part[i].groups;
    }
}

static void run_free(struct run *r)
{
    stage_free(&r->stage);
    free(r);
}

/* ---- Events ----------------------------------------------------------------------------------- */

static void put_string(struct batch *b, size_t column, const char *s, size_t size)
{
    struct column *c = &b->column[column];
    assert_int_equal(batch_bytes(b, column, size), 0);
    int32_t at = c->offsets[b->n_rows];
    memcpy(c->bytes + at, s, size);
    c->offsets[b->n_rows + 1] = at + (int32_t)size;
}

/* The entry at a position is always the same: time goes on by a second an entry, and back by up to eight. */
static struct batch *entry(const struct schema *s, uint64_t position)
{
    struct batch *b;
    unsigned seed = (unsigned)position * 7919;
    assert_int_equal(batch_new(s, ROWS, &b), 0);
    for (uint32_t i = 0; i < ROWS; i++) {
        int64_t us = (int64_t)position * SECOND_US - rand_r(&seed) % 8000 * 1000;
        int key = rand_r(&seed) % KEYS;
        char text[32];
        int size = snprintf(text, sizeof(text), "key%d", key / 3);
        text[1] = key % 5 ? text[1] : 0; /* zeros are escaped in keys */
        ((int64_t *)b->column[0].values)[i] = us;
        put_string(b, 1, text, (size_t)size);
        ((int64_t *)b->column[2].values)[i] = key % 3 - 1;
        ((double *)b->column[3].values)[i] = rand_r(&seed) % 1000 / 7.0;
        size = snprintf(text, sizeof(text), "value%d", rand_r(&seed) % 9);
        put_string(b, 4, text, (size_t)size);
        ((int64_t *)b->column[5].values)[i] = rand_r(&seed) % 7;
        b->n_rows++;
    }
    return b;
}

/* Entries (after, to], one by one: what is joined on the way differs from run to run. */
static void feed(struct run *r, uint64_t after, uint64_t to, uint64_t checkpoint_every)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    for (uint64_t i = after + 1; i <= to; i++) {
        struct batch *b = entry(r->stage.config->stream[0].schema, i);
        assert_int_equal(stage_append(&r->stage, b), 0);
        while (log_last(r->stage.log) < i) {
            assert_true(clock_monotonic_us() < until_us);
            usleep(20);
        }
        if (checkpoint_every && i % checkpoint_every == 0)
            assert_int_equal(log_call(r->stage.log, ask, r->stage.log), 0);
    }
}

static struct results *undisturbed(const char *more)
{
    struct results *all = results_new();
    struct run *r = run_prepare(all, 1, analyzers, more);
    run_start(r, 0);
    feed(r, 0, ENTRIES, 0);
    run_end(r, LOG_FINISH);
    run_free(r);
    assert_true(all->n_lines > 3000);
    return all;
}

/* From checkpoint to checkpoint, with as many workers as it says each time. */
static void assert_going_on_changes_nothing(const char *more)
{
    static const unsigned workers[] = {1, 2, 7, 3, 1, 1};
    static const uint64_t until[] = {31, 32, 58, 70, 99, ENTRIES};
    struct results *all = undisturbed(more), *parts = results_new();
    uint64_t position = 0;
    for (size_t i = 0; i < 6; i++) {
        struct error error = {0};
        struct run *r = run_prepare(parts, workers[i], analyzers, more);
        if (i && run_load(r, parts, &error) < 0)
            fail_msg("%s", error.text);
        run_start(r, position);
        feed(r, position, until[i], 4);
        run_end(r, i == 5 ? LOG_FINISH : LOG_STOP);
        position = until[i];
        assert_int_equal(parts->position, position);
        run_free(r);
    }
    assert_int_equal(parts->groups, 0);
    assert_same_lines(all, parts);
    results_free(all);
    results_free(parts);
}

static void going_on_from_checkpoints_changes_nothing(void **state)
{
    (void)state;
    assert_going_on_changes_nothing("");
}

static void going_on_changes_nothing_where_late_rows_revise(void **state)
{
    (void)state;
    assert_going_on_changes_nothing(", late: revise, allowed_lateness: 20s");
}

/* As a crash would have it: what came after the checkpoint comes again. */
static void rows_that_come_twice_are_the_same(void **state)
{
    (void)state;
    struct results *all = undisturbed(""), *parts = results_new();
    struct run *r = run_prepare(parts, 3, analyzers, "");
    run_start(r, 0);
    feed(r, 0, 77, 20);
    run_end(r, LOG_LEAVE);
    run_free(r);
    assert_int_equal(parts->position, 60);
    struct error error = {0};
    r = run_prepare(parts, 2, analyzers, "");
    assert_int_equal(run_load(r, parts, &error), 0);
    run_start(r, 60);
    feed(r, 60, ENTRIES, 0);
    run_end(r, LOG_FINISH);
    run_free(r);
    qsort(parts->line, parts->n_lines, sizeof(parts->line[0]), compare_lines);
    size_t n = 0;
    for (size_t i = 0; i < parts->n_lines; i++) {
        if (n && !strcmp(parts->line[n - 1], parts->line[i]))
            free(parts->line[i]);
        else
            parts->line[n++] = parts->line[i];
    }
    assert_true(n < parts->n_lines);
    parts->n_lines = n;
    assert_same_lines(all, parts);
    results_free(all);
    results_free(parts);
}

/* ---- Only what has changed -------------------------------------------------------------------- */

static const struct block *find_block(const struct results *r, uint64_t id)
{
    for (size_t i = 0; i < r->n_blocks; i++)
        if (r->block[i].id == id && r->block[i].size)
            return &r->block[i];
    return NULL;
}

static void assert_same_blocks(const struct results *a, const struct results *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_blocks; i++) {
        if (!a->block[i].size)
            continue;
        const struct block *same = find_block(b, a->block[i].id);
        assert_non_null(same);
        assert_int_equal(same->size, a->block[i].size);
        assert_memory_equal(same->data, a->block[i].data, same->size);
        n++;
    }
    for (size_t i = 0; i < b->n_blocks; i++)
        n -= b->block[i].size != 0;
    assert_int_equal(n, 0);
    assert_int_equal(a->marks_size, b->marks_size);
    assert_memory_equal(a->marks, b->marks, a->marks_size);
    assert_int_equal(a->groups, b->groups);
}

static struct results *table_after(unsigned workers, uint64_t to, uint64_t every)
{
    struct results *table = results_new();
    struct run *r = run_prepare(table, workers, analyzers, "");
    run_start(r, 0);
    feed(r, 0, to, every);
    run_end(r, LOG_STOP);
    run_free(r);
    return table;
}

static void blocks_that_changed_make_up_the_whole_together(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 3; workers += 2)
        for (uint64_t to = 20; to <= ENTRIES; to += 50) {
            struct results *whole = table_after(workers, to, 0);
            struct results *pieces = table_after(workers, to, 1);
            assert_same_blocks(whole, pieces);
            results_free(whole);
            results_free(pieces);
        }
}

static void what_has_not_changed_is_not_written(void **state)
{
    (void)state;
    struct results *table = results_new();
    struct run *r = run_prepare(table, 2, analyzers, "");
    run_start(r, 0);
    feed(r, 0, 10, 0);
    assert_int_equal(log_call(r->stage.log, ask, r->stage.log), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(log_call(r->stage.log, ask, r->stage.log), 0);
    run_end(r, LOG_STOP);
    assert_true(table->n_blocks > 1);
    assert_int_equal(table->written, table->n_blocks);
    run_free(r);
    results_free(table);
}

/* ---- Limits ----------------------------------------------------------------------------------- */

static void groups_find_room_however_their_keys_are_dealt_out(void **state)
{
    (void)state;
    struct results *table = table_after(1, 30, 0);
    char more[64];
    for (unsigned workers = 1; workers <= 8; workers++) {
        struct error error = {0};
        snprintf(more, sizeof(more), ", max_groups: %llu",
                 (unsigned long long)table->groups);
        struct results *out = results_new();
        struct run *r = run_prepare(out, workers, analyzers, more);
        assert_int_equal(run_load(r, table, &error), 0);
        run_start(r, 30);
        run_end(r, LOG_STOP);
        assert_int_equal(out->groups, table->groups);
        run_free(r);
        results_free(out);
    }
    struct error error = {0};
    snprintf(more, sizeof(more), ", max_groups: %llu",
             (unsigned long long)table->groups - 1);
    struct run *r = run_prepare(table, 1, analyzers, more);
    assert_int_equal(run_load(r, table, &error), -ENOSPC);
    assert_string_equal(error.text, "max_groups is less than there are open groups");
    run_free(r);
    results_free(table);
}

/* ---- Bytes that are none ---------------------------------------------------------------------- */

static void damage(char *bytes, size_t *size, unsigned *seed)
{
    unsigned how = (unsigned)rand_r(seed) % 4;
    if (how == 0)
        *size = (size_t)rand_r(seed) % (*size + 1);
    size_t changes = how == 1 ? 1 : (size_t)rand_r(seed) % 8;
    for (size_t i = 0; *size && i < changes; i++) {
        size_t at = (size_t)rand_r(seed) % *size;
        if (how == 2) /* a number of 4 bytes */
            at &= ~(size_t)3;
        bytes[at] = (char)rand_r(seed);
    }
}

/* Whatever it takes can be given out. */
static void try_damaged(const struct results *table, unsigned seed)
{
    struct results *out = results_new();
    struct run *r = run_prepare(out, 2, "{topk: {of: s, k: 3, capacity: 4}}", "");
    struct error error = {0};
    const struct block *b = &table->block[(size_t)rand_r(&seed) % table->n_blocks];
    size_t size = b->size, marks_size = table->marks_size;
    char *bytes = malloc(size + 1), *marks = malloc(marks_size + 1);
    memcpy(bytes, b->data, size);
    memcpy(marks, table->marks, marks_size);
    damage(seed % 3 ? bytes : marks, seed % 3 ? &size : &marks_size, &seed);
    int err = checkpoint_load_marks(r->stage.pipeline, marks, marks_size, true);
    if (err == 0)
        err = checkpoint_load_block(r->stage.pipeline, bytes, size, &error);
    assert_true(err == 0 || err == -EBADMSG || err == -EINVAL);
    assert_true(err == 0 || err == -EBADMSG || error.text[0]);
    free(bytes);
    free(marks);
    if (err == 0) {
        run_start(r, 30);
        run_end(r, LOG_FINISH);
    }
    run_free(r);
    results_free(out);
}

static void damaged_bytes_are_refused_or_taken_for_others(void **state)
{
    (void)state;
    struct results *table = results_new();
    struct run *r = run_prepare(table, 1, "{topk: {of: s, k: 3, capacity: 4}}", "");
    run_start(r, 0);
    feed(r, 0, 30, 0);
    run_end(r, LOG_STOP);
    run_free(r);
    for (unsigned seed = 1; seed <= 600; seed++)
        try_damaged(table, seed);
    results_free(table);
}

/* One group of another shape, as bytes. */
struct one {
    int64_t start_us;
    uint32_t key_size, revision;
    char key[16];
    int64_t count;
};

static int load_groups(const struct one *one, size_t n)
{
    struct results *out = results_new();
    struct run *r = run_prepare(out, 1, "count", "");
    struct error error = {0};
    int err = checkpoint_load_block(r->stage.pipeline, (const char *)one,
                                    n * sizeof(*one), &error);
    run_free(r);
    results_free(out);
    return err;
}

static void groups_that_cannot_be_are_refused(void **state)
{
    (void)state;
    /* "a", its terminator, and the int 5 with its sign turned, most significant byte first. */
    struct one good = {10 * SECOND_US, 11, 0, "a\0\0\x80\0\0\0\0\0\0\5", 3};
    assert_int_equal(load_groups(&good, 1), 0);
    struct one bad = good;
    bad.start_us++; /* no window begins then */
    assert_int_equal(load_groups(&bad, 1), -EBADMSG);
    bad.start_us = INT64_MIN;
    assert_int_equal(load_groups(&bad, 1), -EBADMSG);
    bad.start_us = INT64_MAX;
    assert_int_equal(load_groups(&bad, 1), -EBADMSG);
    for (uint32_t size = 0; size <= 16; size++) {
        bad = good;
        bad.key_size = size;
        if (size > 8 && size != good.key_size)
            assert_int_equal(load_groups(&bad, 1), -EBADMSG);
    }
    bad = good;
    bad.key[2] = 1; /* neither a terminator nor a zero of the string */
    assert_int_equal(load_groups(&bad, 1), -EBADMSG);
    struct one twice[] = {good, good};
    assert_int_equal(load_groups(twice, 2), -EBADMSG);
}

/* ---- Definitions ------------------------------------------------------------------------------ */

static char *definition(const char *stream, const char *key, const char *window,
                        const char *more)
{
    char text[1024], *ret;
    struct config *config;
    struct plugins *plugins;
    struct pipeline *p;
    struct error error = {0};
    int n = snprintf(
        text, sizeof(text),
        "streams:\n"
        "  t: {time: {field: ts, unit: us}, fields: {k: string, n: int, v: float}}\n"
        "  u: {time: {field: ts, unit: us}, fields: {k: string, n: int, v: int}}\n"
        "pipelines:\n"
        "  p: {from: %s, key: [%s], window: {%s}%s}\n",
        stream, key, window, more);
    if (config_parse("test.yaml", text, (size_t)n, &config, &error) < 0 ||
        plugins_new(NULL, &plugins) < 0 ||
        pipeline_new(config, &config->pipeline[0], plugins, NULL, &p, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(checkpoint_definition(p, &ret), 0);
    pipeline_unref(p);
    plugins_free(plugins);
    config_free(config);
    return ret;
}

static void definitions_differ_when_states_do(void **state)
{
    (void)state;
    static const struct {
        const char *stream, *key, *window, *more;
        bool same;
    } all[] = {
        {"t", "k", "tumbling: 10s", ", analyzers: [count, {stats: {of: v}}]", true},
        {"t", "k", "tumbling: 10000ms",
         ", workers: 3, retain: 1d, max_groups: 7, out_of_orderness: 1m, idle_timeout: "
         "1m, late: revise, allowed_lateness: 1m, analyzers: [count, {stats: {of: v}}]",
         true},
        {"t", "k", "tumbling: 20s", ", analyzers: [count, {stats: {of: v}}]", false},
        {"t", "k", "tumbling: 10s, offset: 1s",
         ", analyzers: [count, {stats: {of: v}}]", false},
        {"t", "n", "tumbling: 10s", ", analyzers: [count, {stats: {of: v}}]", false},
        {"t", "\"k\", n", "tumbling: 10s", ", analyzers: [count, {stats: {of: v}}]",
         false},
        {"t", "n, k", "tumbling: 10s", ", analyzers: [count, {stats: {of: v}}]", false},
        {"t", "", "tumbling: 10s", ", analyzers: [count, {stats: {of: v}}]", false},
        {"u", "k", "tumbling: 10s", ", analyzers: [count, {stats: {of: v}}]", false},
        {"t", "k", "tumbling: 10s",
         ", where: v > 1, analyzers: [count, {stats: {of: v}}]", false},
        {"t", "k", "tumbling: 10s",
         ", where: v > 2, analyzers: [count, {stats: {of: v}}]", false},
        {"t", "k", "tumbling: 10s", ", analyzers: [{stats: {of: v}}, count]", false},
        {"t", "k", "tumbling: 10s", ", analyzers: [count, {stats: {of: n}}]", false},
        {"t", "k", "tumbling: 10s", ", analyzers: [count, {ohlc: {of: v}}]", false},
        {"t", "k", "tumbling: 10s", ", analyzers: [count]", false},
        {"t", "n", "tumbling: 10s", ", analyzers: [{topk: {of: k, k: 3}}]", false},
        {"t", "n", "tumbling: 10s", ", analyzers: [{topk: {of: k, k: 4}}]", false},
    };
    enum { N = sizeof(all) / sizeof(all[0]) };
    char *text[N];
    for (size_t i = 0; i < N; i++)
        text[i] = definition(all[i].stream, all[i].key, all[i].window, all[i].more);
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < i; k++) {
            bool same = strcmp(text[i], text[k]) == 0;
            if (same != (all[i].same && all[k].same))
                fail_msg("%zu and %zu:\n%s\n%s", i, k, text[i], text[k]);
        }
    for (size_t i = 0; i < N; i++)
        free(text[i]);
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(going_on_from_checkpoints_changes_nothing),
        cmocka_unit_test(going_on_changes_nothing_where_late_rows_revise),
        cmocka_unit_test(rows_that_come_twice_are_the_same),
        cmocka_unit_test(blocks_that_changed_make_up_the_whole_together),
        cmocka_unit_test(what_has_not_changed_is_not_written),
        cmocka_unit_test(groups_find_room_however_their_keys_are_dealt_out),
        cmocka_unit_test(damaged_bytes_are_refused_or_taken_for_others),
        cmocka_unit_test(groups_that_cannot_be_are_refused),
        cmocka_unit_test(definitions_differ_when_states_do),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
