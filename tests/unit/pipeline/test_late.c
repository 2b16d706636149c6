/* SPDX-License-Identifier: Apache-2.0
 *
 * Late events of a pipeline, kept aside or folded into results that are given out again, held against a
 * model that goes row by row.
 */
#include "fixture.h"

#include "base/clock.h"
#include "base/hash.h"
#include "pipeline/stored.h"
#include "store/store.h"

#include <sched.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define KEYS    20
#define VALUES  4
#define TOP     2
#define SECONDS 400
#define EVENTS  20000
#define WINDOW  10
#define WINDOWS (SECONDS / WINDOW)

struct event {
    int64_t us;
    int key, value; /* VALUES: null */
    int64_t qty;
};

/* What is to be known of a group in the end. */
struct group {
    int64_t revision, count, sum;
    int64_t of_value[VALUES];
};

struct model {
    struct group group[WINDOWS][KEYS]; /* count 0: there is none */
    uint32_t side[EVENTS];             /* events kept aside, in order */
    size_t n_side, dropped, folded;
};

enum policy { DROP, SIDE, REVISE };

static struct model *model_new(const struct event *e, int64_t out_of_orderness_s,
                               enum policy late, int64_t lateness_s)
{
    struct model *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    int64_t newest = INT64_MIN / 2;
    for (uint32_t i = 0; i < EVENTS; i++) {
        newest = e[i].us > newest ? e[i].us : newest;
        int64_t watermark = newest - out_of_orderness_s * SECOND_US;
        int64_t window = e[i].us / (WINDOW * SECOND_US);
        int64_t end = (window + 1) * WINDOW * SECOND_US;
        struct group *g = &m->group[window][e[i].key];
        if (end <= watermark) {
            if (late == SIDE) {
                m->side[m->n_side++] = i;
                continue;
            }
            if (late == DROP || end + lateness_s * SECOND_US <= watermark) {
                m->dropped++;
                continue;
            }
            m->folded++;
            g->revision++;
        }
        g->count++;
        g->sum += e[i].qty;
        if (e[i].value < VALUES)
            g->of_value[e[i].value]++;
    }
    return m;
}

/* The rows of the two tables as they stand in the end, and the late events. */
struct top {
    int64_t seen; /* not a bool: compared as bytes */
    int64_t revision, n, value[TOP], count[TOP];
};
struct side {
    int64_t position, row, us, qty, window_us;
    int key, value;
};
struct results {
    pthread_mutex_t lock;
    struct group own[WINDOWS][KEYS];
    struct top top[WINDOWS][KEYS];
    struct side *side;
    size_t n_side, rows;
    int64_t seen_us[8];
};

static int key_number(const struct weir_cell *c)
{
    assert_int_equal(c->size, 3);
    return (c->as.s[1] - '0') * 10 + c->as.s[2] - '0';
}

/* Outputs stand behind the key and, if there is one, the revision. */
static void take_own(struct results *r, const struct weir_cell *c, bool with_revision)
{
    struct group *g = &r->own[c[0].as.i / (WINDOW * SECOND_US)][key_number(&c[1])];
    int64_t revision = with_revision ? c[3].as.i : 0;
    c += with_revision;
    assert_true(!g->count || revision > g->revision); /* raised every time */
    *g = (struct group){.revision = revision, .count = c[3].as.i, .sum = c[4].as.i};
    r->rows++;
}

static void take_top(struct results *r, const struct weir_cell *c, bool with_revision)
{
    struct top *t = &r->top[c[0].as.i / (WINDOW * SECOND_US)][key_number(&c[1])];
    int64_t rank = c[2].as.i, revision = with_revision ? c[4].as.i : 0;
    c += with_revision;
    if (rank <= 1) {
        assert_true(!t->seen || revision > t->revision);
        *t = (struct top){.seen = true, .revision = revision};
    }
    if (rank == 0) {
        assert_true(revision > 0);
        return;
    }
    assert_int_equal(rank, t->n + 1);
    assert_int_equal(revision, t->revision);
    t->value[t->n] = c[4].as.i;
    t->count[t->n++] = c[5].as.i;
    r->rows++;
}

static void take_side(struct results *r, const struct weir_cell *c)
{
    assert_true(r->n_side < EVENTS);
    struct side *s = &r->side[r->n_side++];
    assert_int_equal(c[4].type, WEIR_TIME);
    *s = (struct side){.window_us = c[0].as.i,
                       .position = c[1].as.i,
                       .row = c[2].as.i,
                       .us = c[4].as.i,
                       .key = key_number(&c[5]),
                       .qty = c[6].as.i,
                       .value = c[7].type ? (int)c[7].as.i : VALUES};
}

static int put_results(void *ctx, const char *pipeline, unsigned worker,
                       unsigned workers, uint64_t position, int64_t watermark_us,
                       struct rowset *rows)
{
    (void)pipeline, (void)workers, (void)position;
    struct results *r = ctx;
    pthread_mutex_lock(&r->lock);
    for (struct rowset *next; rows; rows = next) {
        const struct table *t = rows->table;
        for (size_t i = 0; i < rows->n_rows; i++) {
            const struct weir_cell *c = rows->cell + i * t->n_columns;
            const struct weir_cell *before = i ? c - t->n_columns : NULL;
            if (!t->late && before) /* in the order of the primary key */
                assert_true(before[0].as.i < c[0].as.i ||
                            (before[0].as.i == c[0].as.i &&
                             memcmp(before[1].as.s, c[1].as.s, 3) <= 0));
            if (t->late)
                take_side(r, c);
            else if (strcmp(t->name, "p") == 0)
                take_own(r, c, t->revision);
            else
                take_top(r, c, t->revision);
        }
        next = rows->next;
        rowset_free(rows);
    }
    assert_true(watermark_us >= r->seen_us[worker]);
    r->seen_us[worker] = watermark_us;
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static void make_events(struct event *e, unsigned seed, int jitter_s)
{
    for (int i = 0; i < EVENTS; i++) {
        int64_t us = (int64_t)i * (SECONDS - 20) * SECOND_US / EVENTS;
        us -= rand_r(&seed) % (jitter_s * 1000 + 1) * INT64_C(1000);
        e[i] = (struct event){.us = us < 0 ? 0 : us,
                              .key = rand_r(&seed) % KEYS,
                              .value = rand_r(&seed) % (VALUES + 1),
                              .qty = rand_r(&seed) % 1000 - 300};
        if (e[i].key % 4 == 3)
            e[i].value = VALUES; /* groups without any: they have no row in p_topk */
    }
}

static struct batch *cut(const struct schema *s, const struct event *e, uint32_t n)
{
    struct batch *b;
    assert_int_equal(batch_new(s, n, &b), 0);
    for (uint32_t i = 0; i < n; i++) {
        char key[16];
        int size = snprintf(key, sizeof(key), "k%02d", e[i].key);
        assert_int_equal(batch_grow(b), 0);
        assert_int_equal(batch_bytes(b, 1, (size_t)size), 0);
        int32_t at = b->column[1].offsets[i];
        ((int64_t *)b->column[0].values)[i] = e[i].us;
        memcpy(b->column[1].bytes + at, key, (size_t)size);
        b->column[1].offsets[i + 1] = at + size;
        ((int64_t *)b->column[2].values)[i] = e[i].qty;
        ((int64_t *)b->column[3].values)[i] = e[i].value < VALUES ? e[i].value : 0;
        if (e[i].value == VALUES)
            assert_int_equal(batch_set_null(b, 3), 0);
        b->n_rows++;
    }
    return b;
}

static const char config_text[] =
    "streams:\n"
    "  t: {time: {field: ts, unit: us}, fields: {k: string, qty: int, v: int}}\n"
    "pipelines:\n"
    "  p:\n"
    "    from: t\n"
    "    key: [k]\n"
    "    window: {tumbling: 10s}\n"
    "    workers: %u\n"
    "    %s\n"
    "    analyzers:\n"
    "      - count\n"
    "      - stats: {of: qty, emit: [sum]}\n"
    "      - topk: {of: v, k: 2}\n";

struct run {
    struct stage stage;
    struct results *results;
};

typedef int put_function(void *ctx, const char *pipeline, unsigned worker,
                         unsigned workers, uint64_t position, int64_t watermark_us,
                         struct rowset *rows);

static void run_prepare(struct run *r, unsigned workers, const char *lines,
                        int64_t watermark_us, put_function *put, void *ctx)
{
    char text[1024];
    snprintf(text, sizeof(text), config_text, workers, lines);
    *r = (struct run){.results = calloc(1, sizeof(*r->results))};
    assert_non_null(r->results);
    r->results->side = calloc(EVENTS, sizeof(*r->results->side));
    assert_non_null(r->results->side);
    pthread_mutex_init(&r->results->lock, NULL);
    for (int i = 0; i < 8; i++)
        r->results->seen_us[i] = INT64_MIN;
    const struct pipeline_sink sink = {.put = put, .ctx = ctx ? ctx : r->results};
    stage_prepare(&r->stage, text, &sink, watermark_us);
}

static void run_new_with(struct run *r, unsigned workers, const char *lines,
                         int64_t watermark_us, put_function *put, void *ctx)
{
    run_prepare(r, workers, lines, watermark_us, put, ctx);
    stage_start(&r->stage, (struct log_options){0});
}

static void run_new(struct run *r, unsigned workers, const char *lines,
                    int64_t watermark_us)
{
    run_new_with(r, workers, lines, watermark_us, put_results, NULL);
}

/* Every cut is an entry of its own: the log joins what waits, so nothing is to wait. */
static void run_events(struct run *r, const struct event *e, uint32_t n,
                       uint32_t cut_rows)
{
    int64_t limit_us = clock_monotonic_us() + 60 * SECOND_US;
    for (uint32_t i = 0; i < n; i += cut_rows) {
        uint32_t rows = n - i < cut_rows ? n - i : cut_rows;
        struct batch *b = cut(r->stage.config->stream[0].schema, e + i, rows);
        assert_int_equal(stage_append(&r->stage, b), 0);
        struct pipeline_status status = {0};
        while (status.position < i / cut_rows + 1 && !status.error[0] &&
               clock_monotonic_us() < limit_us) {
            sched_yield();
            pipeline_status(r->stage.pipeline, &status);
        }
        if (!status.error[0])
            assert_int_equal(status.position, i / cut_rows + 1);
    }
}

static void run_free(struct run *r)
{
    stage_free(&r->stage);
    free(r->results->side);
    free(r->results);
}

/* The two most frequent values, the smaller one first where they are equally frequent. */
static struct top model_top(const struct group *g)
{
    struct top t = {.revision = g->revision};
    bool taken[VALUES] = {false};
    for (; t.n < TOP; t.n++) {
        int best = -1;
        for (int v = 0; v < VALUES; v++)
            if (!taken[v] && g->of_value[v] &&
                (best < 0 || g->of_value[v] > g->of_value[best]))
                best = v;
        if (best < 0)
            break;
        taken[best] = true;
        t.value[t.n] = best;
        t.count[t.n] = g->of_value[best];
    }
    t.seen = t.n > 0 || t.revision > 0; /* one without rows is told of when revised */
    return t;
}

static void assert_groups_of_model(const struct model *m, const struct results *r)
{
    for (size_t w = 0; w < WINDOWS; w++) {
        for (size_t k = 0; k < KEYS; k++) {
            const struct group *want = &m->group[w][k], *got = &r->own[w][k];
            assert_int_equal(got->count, want->count);
            assert_int_equal(got->sum, want->sum);
            assert_int_equal(got->revision, want->revision);
            struct top top = model_top(want);
            assert_memory_equal(&r->top[w][k], &top, sizeof(top));
        }
    }
}

static void assert_revised_as_in_model(unsigned workers, uint32_t cut_rows,
                                       int jitter_s, int out_of_orderness_s,
                                       int lateness_s)
{
    struct event *e = calloc(EVENTS, sizeof(*e));
    assert_non_null(e);
    make_events(e, (unsigned)lateness_s, jitter_s);
    struct model *m = model_new(e, out_of_orderness_s, REVISE, lateness_s);
    char lines[128];
    snprintf(lines, sizeof(lines),
             "late: revise\n    allowed_lateness: %ds\n    out_of_orderness: %ds",
             lateness_s, out_of_orderness_s);
    struct run r;
    run_new(&r, workers, lines, INT64_MIN);
    run_events(&r, e, EVENTS, cut_rows);
    struct pipeline_status status;
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_string_equal(status.error, "");
    assert_true(m->folded > 100);
    assert_int_equal(status.late_by[CONFIG_LATE_REVISE], m->folded);
    assert_int_equal(status.late_by[CONFIG_LATE_DROP], m->dropped);
    assert_int_equal(status.late_by[CONFIG_LATE_SIDE], 0);
    assert_int_equal(status.events, EVENTS - m->dropped);
    assert_int_equal(status.rows, r.results->rows);
    assert_int_equal(status.groups, 0);
    if (cut_rows == EVENTS) /* all of it in one entry: nothing is given out twice */
        assert_int_equal(status.revisions, 0);
    else
        assert_in_range(status.revisions, cut_rows == 13 || lateness_s > 100,
                        m->folded);
    assert_groups_of_model(m, r.results);
    run_free(&r);
    free(m);
    free(e);
}

static void
revised_rows_are_those_of_the_model_whatever_the_workers_and_the_cuts(void **state)
{
    (void)state;
    static const unsigned workers[] = {1, 4};
    static const uint32_t cuts[] = {13, 1000, 5000, EVENTS};
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < sizeof(cuts) / sizeof(cuts[0]); k++) {
            assert_revised_as_in_model(workers[i], cuts[k], 30, 4, 8);
            assert_revised_as_in_model(workers[i], cuts[k], 60, 0, 1);
            assert_revised_as_in_model(workers[i], cuts[k], 90, 0, 300);
        }
    }
}

static int compare_side(const void *a, const void *b)
{
    const struct side *x = a, *y = b;
    int64_t d =
        x->position != y->position ? x->position - y->position : x->row - y->row;
    return (d > 0) - (d < 0);
}

static void assert_aside_as_in_model(unsigned workers, uint32_t cut_rows)
{
    struct event *e = calloc(EVENTS, sizeof(*e));
    assert_non_null(e);
    make_events(e, 5, 30);
    struct model *m = model_new(e, 2, SIDE, 0);
    struct run r;
    run_new(&r, workers, "late: side\n    out_of_orderness: 2s", INT64_MIN);
    run_events(&r, e, EVENTS, cut_rows);
    struct pipeline_status status;
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_string_equal(status.error, "");
    assert_true(m->n_side > 100);
    assert_int_equal(status.late_by[CONFIG_LATE_SIDE], m->n_side);
    assert_int_equal(status.late, m->n_side);
    assert_int_equal(status.rows,
                     r.results->rows); /* events are not counted as results */
    assert_groups_of_model(m, r.results);
    assert_int_equal(r.results->n_side, m->n_side);
    struct side *side = r.results->side;
    qsort(side, m->n_side, sizeof(*side), compare_side);
    for (size_t i = 0; i < m->n_side; i++) {
        const struct event *want = &e[m->side[i]];
        assert_int_equal(side[i].position, m->side[i] / cut_rows + 1);
        assert_int_equal(side[i].row, m->side[i] % cut_rows);
        assert_int_equal(side[i].us, want->us);
        assert_int_equal(side[i].window_us, want->us - want->us % (WINDOW * SECOND_US));
        assert_int_equal(side[i].key, want->key);
        assert_int_equal(side[i].qty, want->qty);
        assert_int_equal(side[i].value, want->value);
    }
    run_free(&r);
    free(m);
    free(e);
}

static void
late_events_go_aside_as_they_came_whatever_the_workers_and_the_cuts(void **state)
{
    (void)state;
    static const unsigned workers[] = {1, 4};
    static const uint32_t cuts[] = {7, 5000, EVENTS};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 3; k++)
            assert_aside_as_in_model(workers[i], cuts[k]);
}

static int put_stored(void *ctx, const char *pipeline, unsigned worker,
                      unsigned workers, uint64_t position, int64_t watermark_us,
                      struct rowset *rows)
{
    const struct store_report report = {.pipeline = pipeline,
                                        .worker = worker,
                                        .workers = workers,
                                        .position = position,
                                        .watermark_us = watermark_us,
                                        .rows = rows};
    return store_put(*(struct store **)ctx, &report);
}

/* From the beginning of the log, as after a crash without a checkpoint. */
static void run_into_file(const char *path, const struct event *e, unsigned workers,
                          uint32_t cut_rows)
{
    struct error error = {0};
    struct store *store;
    const struct store_options options = {.path = path, .commit_interval_us = 1000};
    if (store_open(&options, NULL, &store, &error) < 0)
        fail_msg("%s", error.text);
    struct run r;
    run_new_with(&r, workers, "late: revise\n    allowed_lateness: 20s", INT64_MIN,
                 put_stored, &store);
    const struct table *const *table;
    size_t n = pipeline_tables(r.stage.pipeline, &table);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(store_table(store, table[i], &error), 0);
    assert_int_equal(store_start(store, &error), 0);
    run_events(&r, e, EVENTS, cut_rows);
    struct pipeline_status status;
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_string_equal(status.error, "");
    store_free(store);
    run_free(&r);
}

/* All rows of a statement as one text; the caller frees it. */
static char *read_all(const char *path, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    sqlite3_str *text = sqlite3_str_new(NULL);
    while (sqlite3_step(statement) == SQLITE_ROW)
        for (int c = 0; c < sqlite3_column_count(statement); c++)
            sqlite3_str_appendf(text, "%s ", sqlite3_column_text(statement, c));
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return sqlite3_str_finish(text);
}

static char *model_text(const struct model *m)
{
    sqlite3_str *text = sqlite3_str_new(NULL);
    for (int64_t w = 0; w < WINDOWS; w++) {
        for (int k = 0; k < KEYS; k++) {
            const struct group *g = &m->group[w][k];
            if (g->count)
                sqlite3_str_appendf(text, "%lld k%02d %lld %lld %lld ",
                                    (long long)(w * WINDOW * SECOND_US), k,
                                    (long long)g->revision, (long long)g->count,
                                    (long long)g->sum);
        }
    }
    return sqlite3_str_finish(text);
}

static char *model_top_text(const struct model *m)
{
    sqlite3_str *text = sqlite3_str_new(NULL);
    for (int64_t w = 0; w < WINDOWS; w++) {
        for (int k = 0; k < KEYS; k++) {
            struct top t = model_top(&m->group[w][k]);
            for (int64_t i = 0; i < t.n; i++)
                sqlite3_str_appendf(text, "%lld k%02d %lld %lld %lld %lld ",
                                    (long long)(w * WINDOW * SECOND_US), k,
                                    (long long)(i + 1), (long long)t.revision,
                                    (long long)t.value[i], (long long)t.count[i]);
        }
    }
    return sqlite3_str_finish(text);
}

static void assert_file(const char *path, const char *sql, char *expected)
{
    char *got = read_all(path, sql);
    assert_string_equal(got, expected);
    sqlite3_free(got);
}

static void the_log_read_again_into_the_same_file_changes_nothing(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-late-XXXXXX", path[64], command[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/weir.db", folder);
    struct event *e = calloc(EVENTS, sizeof(*e));
    assert_non_null(e);
    make_events(e, 77, 60);
    struct model *m = model_new(e, 0, REVISE, 20);
    char *own = model_text(m), *top = model_top_text(m);
    static const struct {
        unsigned workers;
        uint32_t cut;
    } again[] = {{1, 100}, {1, 100}, {4, 100}, {2, 5000}, {1, EVENTS}, {3, 700}};
    for (size_t i = 0; i < sizeof(again) / sizeof(again[0]); i++) {
        run_into_file(path, e, again[i].workers, again[i].cut);
        assert_file(path, "SELECT window_start, k, revision, \"count\", qty_sum FROM p",
                    own);
        assert_file(path,
                    "SELECT window_start, k, rank, revision, v, v_count FROM p_topk",
                    top);
    }
    sqlite3_free(own);
    sqlite3_free(top);
    free(m);
    free(e);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* The groups of windows that closed before the start are not here. A row of what came since would take
 * the place of one that knows of all. */
static void assert_not_revised(struct run *r, uint32_t cut_rows)
{
    static const struct event e[] = {
        {.us = 19 * SECOND_US, .key = 1, .qty = 7},  /* window until 20 s: before */
        {.us = 21 * SECOND_US, .key = 1, .qty = 10}, /* until 30 s: of this run */
        {.us = 35 * SECOND_US, .key = 2, .qty = 1},
        {.us = 18 * SECOND_US, .key = 1, .qty = 7},
        {.us = 22 * SECOND_US, .key = 1, .qty = 5},
    };
    stage_start(&r->stage, (struct log_options){0});
    run_events(r, e, 5, cut_rows);
    struct pipeline_status status;
    stage_end(&r->stage, LOG_FINISH, &status);
    assert_int_equal(status.late_by[CONFIG_LATE_DROP], 2);
    assert_int_equal(status.late_by[CONFIG_LATE_REVISE], 1);
    assert_int_equal(r->results->own[1][1].count, 0);
    assert_int_equal(r->results->own[2][1].count, 2);
    assert_int_equal(r->results->own[2][1].sum, 15);
    assert_int_equal(r->results->own[2][1].revision, 1);
    run_free(r);
}

static const char revising[] = "late: revise\n    allowed_lateness: 1h";

static void results_of_an_earlier_run_are_not_revised(void **state)
{
    (void)state;
    for (uint32_t rows = 1; rows <= 5; rows += 4) {
        struct run r;
        run_prepare(&r, 1, revising, 25 * SECOND_US, put_results, NULL);
        assert_not_revised(&r, rows);
    }
}

/* They were given out behind the checkpoint whose groups cannot be taken, or before it. */
static void
results_given_out_around_a_checkpoint_without_groups_are_not_revised(void **state)
{
    (void)state;
    static const struct {
        int64_t committed_s, checkpoint_s;
    } watermark[] = {{25, 12}, {25, 25}, {12, 25}};
    for (size_t i = 0; i < sizeof(watermark) / sizeof(watermark[0]); i++) {
        const struct stored_marks marks = {
            .version = 1,
            .value_us = watermark[i].checkpoint_s * SECOND_US,
            .newest_us = watermark[i].checkpoint_s * SECOND_US,
            .unknown_us = INT64_MIN};
        struct run r;
        run_prepare(&r, 1, revising, watermark[i].committed_s * SECOND_US, put_results,
                    NULL);
        assert_int_equal(checkpoint_load_marks(r.stage.pipeline, (const char *)&marks,
                                               sizeof(marks), false),
                         0);
        assert_not_revised(&r, 1);
    }
}

/* Read again behind a checkpoint, a row that was in time is not late now, though its window was given out. */
static void
events_of_results_given_out_behind_a_checkpoint_do_not_go_aside(void **state)
{
    (void)state;
    static const struct event e[] = {
        {.us = 15 * SECOND_US, .key = 1},
        {.us = 21 * SECOND_US, .key = 1},
        {.us = 16 * SECOND_US, .key = 1}, /* late when it came, too */
        {.us = 25 * SECOND_US, .key = 1},
    };
    const struct stored_marks marks = {.version = 1,
                                       .value_us = 12 * SECOND_US,
                                       .newest_us = 12 * SECOND_US,
                                       .unknown_us = INT64_MIN};
    struct run r;
    struct pipeline_status status;
    run_prepare(&r, 1, "late: side", 20 * SECOND_US, put_results, NULL);
    assert_int_equal(checkpoint_load_marks(r.stage.pipeline, (const char *)&marks,
                                           sizeof(marks), false),
                     0);
    stage_start(&r.stage, (struct log_options){0});
    run_events(&r, e, 4, 1);
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_int_equal(status.late_by[CONFIG_LATE_DROP], 1);
    assert_int_equal(status.late_by[CONFIG_LATE_SIDE], 1);
    assert_int_equal(r.results->n_side, 1);
    assert_int_equal(r.results->side[0].us, 16 * SECOND_US);
    assert_int_equal(r.results->own[1][1].count, 0);
    assert_int_equal(r.results->own[2][1].count, 2);
    run_free(&r);
}

static void a_group_that_only_late_events_made_is_given_out(void **state)
{
    (void)state;
    static const struct event e[] = {
        {.us = 5 * SECOND_US, .key = 1, .qty = 7},
        {.us = 15 * SECOND_US, .key = 1, .qty = 1},
        {.us = 4 * SECOND_US, .key = 0, .qty = 2, .value = VALUES},
        {.us = 10 * SECOND_US - 1, .key = 0, .qty = 3, .value = VALUES},
        {.us = 20 * SECOND_US, .key = 1}, /* 0 s to 10 s is over now, by 10 s */
        {.us = 6 * SECOND_US, .key = 0, .qty = 100},
    };
    struct run r;
    run_new(&r, 1, "late: revise\n    allowed_lateness: 10s", INT64_MIN);
    run_events(&r, e, 6, 1);
    struct pipeline_status status;
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_int_equal(status.late_by[CONFIG_LATE_REVISE], 2);
    assert_int_equal(status.late_by[CONFIG_LATE_DROP], 1);
    assert_int_equal(r.results->own[0][0].count, 2);
    assert_int_equal(r.results->own[0][0].sum, 5);
    assert_int_equal(r.results->own[0][0].revision, 2);
    assert_true(r.results->top[0][0].seen); /* that it has no rows is said */
    assert_int_equal(r.results->top[0][0].n, 0);
    assert_int_equal(r.results->top[0][0].revision, 2);
    run_free(&r);
}

/* Counts rows of the pipeline's own table. */
static int put_counted(void *ctx, const char *pipeline, unsigned worker,
                       unsigned workers, uint64_t position, int64_t watermark_us,
                       struct rowset *rows)
{
    (void)pipeline, (void)workers, (void)position;
    struct results *r = ctx;
    for (struct rowset *next; rows; rows = next) {
        assert_in_range(rows->n_rows, 1, 20000);
        r->rows += strcmp(rows->table->name, "p") == 0 ? rows->n_rows : 0;
        next = rows->next;
        rowset_free(rows);
    }
    assert_true(watermark_us >= r->seen_us[worker]);
    r->seen_us[worker] = watermark_us;
    return 0;
}

static void many_groups_go_in_pieces_and_the_watermark_never_goes_back(void **state)
{
    (void)state;
    enum { N = 40000 };
    struct event *e = calloc(N, sizeof(*e));
    assert_non_null(e);
    for (int i = 0; i < N; i++)
        e[i] = (struct event){.us = 5 * SECOND_US, .key = i};
    const struct event next = {.us = 12 * SECOND_US};
    struct run r;
    run_new_with(&r, 1, "late: revise\n    allowed_lateness: 1h", INT64_MIN,
                 put_counted, NULL);
    struct pipeline_status status;
    static const uint64_t rows[] = {0, N, 2 * N};
    for (int i = 0; i < 3; i++) { /* on time, passed, late */
        struct batch *b =
            cut(r.stage.config->stream[0].schema, i == 1 ? &next : e, i == 1 ? 1 : N);
        assert_int_equal(stage_append(&r.stage, b), 0);
        int64_t limit_us = clock_monotonic_us() + 60 * SECOND_US;
        do {
            sched_yield();
            pipeline_status(r.stage.pipeline, &status);
        } while (status.position < (uint64_t)i + 1 && clock_monotonic_us() < limit_us);
        assert_int_equal(r.results->rows, rows[i]);
    }
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_string_equal(status.error, "");
    assert_int_equal(status.revisions, N);
    assert_int_equal(r.results->rows, 2 * N + 1);
    run_free(&r);
    free(e);
}

static void a_pipeline_may_fail_instead_of_dropping_rows_over_max_groups(void **state)
{
    (void)state;
    struct event e[10];
    for (int i = 0; i < 10; i++)
        e[i] = (struct event){.us = i, .key = i % 5};
    struct pipeline_status status;
    struct run r;
    run_new(&r, 1, "max_groups: 4\n    over_max_groups: drop", INT64_MIN);
    run_events(&r, e, 10, 10);
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_string_equal(status.error, "");
    assert_int_equal(status.over_groups, 2);
    assert_int_equal(status.events, 8);
    run_free(&r);

    run_new(&r, 1, "max_groups: 4\n    over_max_groups: fail", INT64_MIN);
    run_events(&r, e, 10, 10);
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_string_equal(
        status.error, "max_groups: 4 groups are open, and an event belongs to another "
                      "one; raise max_groups, or say 'over_max_groups: drop'");
    assert_int_equal(status.over_groups, 0);
    assert_int_equal(r.results->rows, 0);
    run_free(&r);

    run_new(&r, 1, "max_groups: 5\n    over_max_groups: fail", INT64_MIN);
    run_events(&r, e, 10, 10);
    stage_end(&r.stage, LOG_FINISH, &status);
    assert_string_equal(status.error, "");
    assert_int_equal(status.events, 10);
    run_free(&r);
}

/* What pipeline_new says of these lines and fields; on success `columns` are those of the last table. */
static void assert_tables(const char *fields, const char *lines, const char *error_text,
                          const char *columns)
{
    char text[1024];
    int n = snprintf(text, sizeof(text),
                     "streams:\n"
                     "  t: {time: {field: ts, unit: us}, fields: %s}\n"
                     "pipelines:\n"
                     "  p:\n"
                     "    from: t\n"
                     "    window: {tumbling: 10s}\n"
                     "    %s\n",
                     fields, lines);
    struct config *config;
    struct plugins *plugins;
    struct pipeline *p = NULL;
    struct error error = {0};
    if (config_parse("test.yaml", text, (size_t)n, &config, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(plugins_new(NULL, &plugins), 0);
    pipeline_new(config, &config->pipeline[0], plugins, NULL, &p, &error);
    assert_string_equal(error.text, error_text);
    const struct table *const *tables;
    size_t n_tables = p ? pipeline_tables(p, &tables) : 0;
    char got[1024] = "";
    for (size_t c = 0; n_tables && c < tables[n_tables - 1]->n_columns; c++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", c ? " " : "",
                 tables[n_tables - 1]->column[c].name);
    assert_string_equal(got, columns);
    pipeline_unref(p);
    plugins_free(plugins);
    config_free(config);
}

static void tables_have_the_columns_that_late_events_need(void **state)
{
    (void)state;
    assert_tables("{v: int}", "late: side\n    analyzers: [count]", "",
                  "window_start position row window_end ts v");
    assert_tables("{Row: int, position: int, position_: int, window_end: bool}",
                  "late: side\n    analyzers: [count]", "",
                  "window_start position row window_end ts Row_ position_ position__ "
                  "window_end_");
    assert_tables(
        "{v: int}",
        "late: side\n    analyzers: [topk: {of: v}, {topk: {of: v}, as: late}]",
        "test.yaml:7:11: table 'p_late' of late events is there already: an "
        "analyzer has the name, or the `as`, 'late'",
        "");
    assert_tables("{v: int}", "analyzers: [count]", "",
                  "window_start window_end count");
    assert_tables("{v: int}",
                  "late: revise\n    allowed_lateness: 1s\n    analyzers: [count]", "",
                  "window_start window_end revision count");
    assert_tables(
        "{v: int}",
        "late: revise\n    allowed_lateness: 1s\n    analyzers: [topk: {of: v}]", "",
        "window_start rank window_end revision v v_count v_error");
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            revised_rows_are_those_of_the_model_whatever_the_workers_and_the_cuts),
        cmocka_unit_test(
            late_events_go_aside_as_they_came_whatever_the_workers_and_the_cuts),
        cmocka_unit_test(the_log_read_again_into_the_same_file_changes_nothing),
        cmocka_unit_test(results_of_an_earlier_run_are_not_revised),
        cmocka_unit_test(
            results_given_out_around_a_checkpoint_without_groups_are_not_revised),
        cmocka_unit_test(
            events_of_results_given_out_behind_a_checkpoint_do_not_go_aside),
        cmocka_unit_test(a_group_that_only_late_events_made_is_given_out),
        cmocka_unit_test(many_groups_go_in_pieces_and_the_watermark_never_goes_back),
        cmocka_unit_test(a_pipeline_may_fail_instead_of_dropping_rows_over_max_groups),
        cmocka_unit_test(tables_have_the_columns_that_late_events_need),
    };
    return cmocka_run_group_tests_name("late events", tests, NULL, NULL);
}
