/* SPDX-License-Identifier: Apache-2.0
 *
 * A pipeline from its log to its rows, held against a model that goes row by row.
 */
#include "fixture.h"

#include "base/clock.h"
#include "base/hash.h"
#include "log/entry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS    50
#define SECONDS 400
#define EVENTS  40000
#define WINDOW  10

struct event {
    int64_t us;
    int key; /* KEYS: null */
    int64_t qty;
};

/* What comes out: count and sum of qty by window and key. */
struct cells {
    int64_t count[SECONDS / WINDOW][KEYS], sum[SECONDS / WINDOW][KEYS];
    int64_t late;
};

/* Results as the sink gets them, as one text in which every row stands once. */
struct results {
    pthread_mutex_t lock;
    struct cells cells;
    size_t rows;
    int64_t watermark_us[8];
    int fail; /* what put answers */
};

static int put_results(void *ctx, const char *pipeline, unsigned worker,
                       unsigned workers, uint64_t position, int64_t watermark_us,
                       struct rowset *rows)
{
    (void)pipeline, (void)workers, (void)position;
    struct results *r = ctx;
    pthread_mutex_lock(&r->lock);
    for (struct rowset *next; rows; rows = next) {
        const struct weir_cell *before = NULL;
        for (size_t i = 0; i < rows->n_rows; i++) {
            const struct weir_cell *c = rows->cell + i * rows->table->n_columns;
            size_t w = (size_t)(c[0].as.i / (WINDOW * SECOND_US));
            int k = c[1].as.s[1] * 10 + c[1].as.s[2] - '0' * 11;
            assert_int_equal(c[1].size, 3);
            assert_int_equal(r->cells.count[w][k], 0); /* each row once */
            r->cells.count[w][k] = c[3].as.i;
            r->cells.sum[w][k] = c[4].as.i;
            if (before) /* in the order of the primary key */
                assert_true(before[0].as.i < c[0].as.i ||
                            (before[0].as.i == c[0].as.i &&
                             memcmp(before[1].as.s, c[1].as.s, 3) < 0));
            before = c;
            r->rows++;
        }
        next = rows->next;
        rowset_free(rows);
    }
    assert_true(watermark_us >= r->watermark_us[worker]);
    r->watermark_us[worker] = watermark_us;
    pthread_mutex_unlock(&r->lock);
    return r->fail;
}

static void make_events(struct event *e, unsigned seed, int jitter_s)
{
    for (int i = 0; i < EVENTS; i++) {
        int64_t us = (int64_t)i * (SECONDS - 20) * SECOND_US / EVENTS;
        us -= rand_r(&seed) % (jitter_s * 1000 + 1) * INT64_C(1000);
        e[i] = (struct event){.us = us < 0 ? 0 : us,
                              .key = rand_r(&seed) % (KEYS + 1),
                              .qty = rand_r(&seed) % 1000 - 300};
    }
}

static struct cells *model(const struct event *e, int64_t out_of_orderness_us,
                           bool positive_only)
{
    struct cells *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    int64_t newest = INT64_MIN / 2;
    for (int i = 0; i < EVENTS; i++) {
        newest = e[i].us > newest ? e[i].us : newest;
        int64_t end = (e[i].us / (WINDOW * SECOND_US) + 1) * WINDOW * SECOND_US;
        if (e[i].key == KEYS || (positive_only && e[i].qty <= 0))
            continue;
        if (end <= newest - out_of_orderness_us) {
            m->late++;
            continue;
        }
        m->count[end / (WINDOW * SECOND_US) - 1][e[i].key]++;
        m->sum[end / (WINDOW * SECOND_US) - 1][e[i].key] += e[i].qty;
    }
    return m;
}

static struct batch *cut(const struct schema *s, const struct event *e, uint32_t n)
{
    struct batch *b;
    assert_int_equal(batch_new(s, n, &b), 0);
    for (uint32_t i = 0; i < n; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%02d", e[i].key);
        assert_int_equal(batch_grow(b), 0);
        assert_int_equal(batch_bytes(b, 1, 3), 0);
        int32_t at = b->column[1].offsets[i];
        ((int64_t *)b->column[0].values)[i] = e[i].us;
        memcpy(b->column[1].bytes + at, key, 3);
        b->column[1].offsets[i + 1] = at + (e[i].key == KEYS ? 0 : 3);
        ((int64_t *)b->column[2].values)[i] = e[i].qty;
        if (e[i].key == KEYS)
            assert_int_equal(batch_set_null(b, 1), 0);
        b->n_rows++;
    }
    return b;
}

static const char config_text[] =
    "streams:\n"
    "  t: {time: {field: ts, unit: us}, fields: {k: string, qty: int}}\n"
    "pipelines:\n"
    "  p:\n"
    "    from: t\n"
    "    key: [k]\n"
    "    window: {tumbling: 10s}\n"
    "    analyzers:\n"
    "      - count\n"
    "      - stats: {of: qty, emit: [sum]}\n"
    "    workers: %u\n"
    "    out_of_orderness: %us\n"
    "    where: %s\n";

struct run {
    struct stage stage;
    struct results results;
};

static struct run *run_prepare(unsigned workers, unsigned out_of_orderness_s,
                               const char *where)
{
    struct run *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    pthread_mutex_init(&r->results.lock, NULL);
    for (int i = 0; i < 8; i++)
        r->results.watermark_us[i] = INT64_MIN;
    char text[1024];
    snprintf(text, sizeof(text), config_text, workers, out_of_orderness_s, where);
    const struct pipeline_sink sink = {.put = put_results, .ctx = &r->results};
    stage_prepare(&r->stage, text, &sink, INT64_MIN);
    return r;
}

static struct run *run_new(unsigned workers, unsigned out_of_orderness_s,
                           const char *where)
{
    struct run *r = run_prepare(workers, out_of_orderness_s, where);
    stage_start(&r->stage, (struct log_options){.linger_us = 100});
    return r;
}

static void run_free(struct run *r)
{
    stage_free(&r->stage);
    free(r);
}

static void assert_same_as_model(unsigned workers, unsigned cut_rows, int jitter_s,
                                 unsigned out_of_orderness_s, bool positive_only)
{
    struct event *e = calloc(EVENTS, sizeof(*e));
    assert_non_null(e);
    make_events(e, 11, jitter_s);
    struct cells *m = model(e, out_of_orderness_s * SECOND_US, positive_only);
    struct run *r =
        run_new(workers, out_of_orderness_s, positive_only ? "qty > 0" : "1");
    for (uint32_t i = 0; i < EVENTS; i += cut_rows) {
        uint32_t n = EVENTS - i < cut_rows ? EVENTS - i : cut_rows;
        struct batch *b = cut(r->stage.config->stream[0].schema, e + i, n);
        assert_int_equal(stage_append(&r->stage, b), 0);
    }
    struct pipeline_status status;
    stage_end(&r->stage, LOG_FINISH, &status);
    assert_string_equal(status.error, "");
    assert_int_equal(status.late, m->late);
    assert_int_equal(status.groups, 0);
    assert_memory_equal(r->results.cells.count, m->count, sizeof(m->count));
    assert_memory_equal(r->results.cells.sum, m->sum, sizeof(m->sum));
    run_free(r);
    free(m);
    free(e);
}

static void rows_are_those_of_the_model_whatever_the_workers_and_the_cuts(void **state)
{
    (void)state;
    static const unsigned workers[] = {1, 2, 3, 8}, cuts[] = {7, 1000, 40000};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++)
            assert_same_as_model(workers[i], cuts[k], 3, 5, false);
}

static void late_rows_are_told_row_by_row_whatever_the_cuts(void **state)
{
    (void)state;
    assert_same_as_model(1, 13, 30, 4, false);
    assert_same_as_model(1, 40000, 30, 4, false);
    assert_same_as_model(4, 1024, 30, 0, false);
    assert_same_as_model(4, 40000, 30, 0, false);
}

static void where_is_asked_before_lateness(void **state)
{
    (void)state;
    assert_same_as_model(2, 999, 30, 4, true);
}

/* Of which it is given nothing but entries. */
static void read_alone(struct run *r, struct log_entry *e, int expected)
{
    struct error error = {0};
    assert_int_equal(pipeline_read(r->stage.pipeline, e, &error), expected);
    assert_true(!error.text[0] == (expected == 0));
    log_entry_unref(e);
}

static void read_alone_batch(struct run *r, const struct event *event, uint32_t n,
                             int expected)
{
    struct log_entry *e;
    assert_int_equal(entry_new(LOG_BATCH, &e), 0);
    e->batch = cut(r->stage.config->stream[0].schema, event, n);
    batch_seal(e->batch);
    read_alone(r, e, expected);
}

static void without_a_log_and_threads_rows_are_the_same(void **state)
{
    (void)state;
    struct event *event = calloc(EVENTS, sizeof(*event));
    struct log_entry *end;
    assert_non_null(event);
    make_events(event, 11, 30);
    struct cells *m = model(event, 4 * SECOND_US, true);
    struct run *r = run_prepare(1, 4, "qty > 0");
    pipeline_begin_alone(r->stage.pipeline);
    for (uint32_t i = 0; i < EVENTS; i += 1000)
        read_alone_batch(r, event + i, 1000, 0);
    assert_int_equal(entry_new(LOG_END, &end), 0);
    read_alone(r, end, 0);
    struct pipeline_status status;
    pipeline_status(r->stage.pipeline, &status);
    assert_int_equal(status.late, m->late);
    assert_int_equal(status.groups, 0);
    assert_memory_equal(r->results.cells.count, m->count, sizeof(m->count));
    assert_memory_equal(r->results.cells.sum, m->sum, sizeof(m->sum));
    run_free(r);
    free(m);
    free(event);
}

static void without_a_log_who_gives_entries_is_told_what_has_failed(void **state)
{
    (void)state;
    struct event *event = calloc(EVENTS, sizeof(*event));
    assert_non_null(event);
    make_events(event, 11, 3);
    struct run *r = run_prepare(1, 5, "1");
    r->results.fail = -EIO;
    pipeline_begin_alone(r->stage.pipeline);
    read_alone_batch(r, event, EVENTS, -EIO);
    read_alone_batch(r, event, 10, -EIO); /* it stays so */
    run_free(r);
    free(event);
}

static void a_sink_that_fails_stops_the_pipeline_with_a_text(void **state)
{
    (void)state;
    struct event *e = calloc(EVENTS, sizeof(*e));
    assert_non_null(e);
    make_events(e, 11, 3);
    struct run *r = run_new(1, 5, "1");
    r->results.fail = -EIO;
    assert_int_equal(
        stage_append(&r->stage, cut(r->stage.config->stream[0].schema, e, 1000)), 0);
    assert_int_equal(
        stage_append(&r->stage, cut(r->stage.config->stream[0].schema, e, 1000)), 0);
    struct pipeline_status status;
    stage_end(&r->stage, LOG_FINISH, &status);
    assert_non_null(strstr(status.error, "Input/output error"));
    run_free(r);
    free(e);
}

static void assert_new_fails(const char *analyzers, const char *where,
                             const char *expected)
{
    char text[1024];
    struct config *config;
    struct plugins *plugins;
    struct pipeline *p;
    struct error error = {0};
    int n =
        snprintf(text, sizeof(text),
                 "streams:\n"
                 "  t: {time: {field: ts, unit: us}, fields: {k: string, qty: int}}\n"
                 "pipelines:\n"
                 "  p:\n"
                 "    from: t\n"
                 "    key: [k]\n"
                 "    window: {tumbling: 10s}\n"
                 "    where: %s\n"
                 "    analyzers: %s\n",
                 where, analyzers);
    if (config_parse("test.yaml", text, (size_t)n, &config, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(plugins_new(NULL, &plugins), 0);
    assert_int_equal(
        pipeline_new(config, &config->pipeline[0], plugins, NULL, &p, &error), -EINVAL);
    if (strcmp(error.text, expected))
        fail_msg("expected: %s\n     got: %s", expected, error.text);
    plugins_free(plugins);
    config_free(config);
}

static void
faults_that_only_plugins_and_sqlite_know_are_told_with_their_place(void **state)
{
    (void)state;
    assert_new_fails("[count]", "price > 0",
                     "test.yaml:8:12: where: no such column: price");
    assert_new_fails("[topk: {of: k}]", "1",
                     "test.yaml:9:17: column 'k' is in table 'p_topk' already: a key "
                     "column, or one that every such table has");
    assert_new_fails(
        "[count, count]", "1",
        "test.yaml:9:24: column 'count' is in table 'p' already; `as: NAME` beside the "
        "analyzer puts NAME_ before its columns");
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_the_model_whatever_the_workers_and_the_cuts),
        cmocka_unit_test(late_rows_are_told_row_by_row_whatever_the_cuts),
        cmocka_unit_test(where_is_asked_before_lateness),
        cmocka_unit_test(without_a_log_and_threads_rows_are_the_same),
        cmocka_unit_test(without_a_log_who_gives_entries_is_told_what_has_failed),
        cmocka_unit_test(a_sink_that_fails_stops_the_pipeline_with_a_text),
        cmocka_unit_test(
            faults_that_only_plugins_and_sqlite_know_are_told_with_their_place),
    };
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
