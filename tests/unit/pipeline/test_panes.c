/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows of several panes, held against a model that puts each row into each of its windows.
 */
#include "fixture.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS     7
#define EVENTS   20000
#define SECONDS  600
#define DELAY_US (5 * SECOND_US)  /* out_of_orderness */
#define EXTRA_US (25 * SECOND_US) /* allowed_lateness */
#define WINDOWS  (SECONDS + 200)  /* the one that ends at i seconds */
#define BLOCKS   4096

static const char config_text[] =
    "streams:\n"
    "  t: {time: {field: ts, unit: us}, fields: {k: int, v: int}}\n"
    "pipelines:\n"
    "  p: {from: t, key: k, window: %s, out_of_orderness: 5s, workers: "
    "%u,\n"
    "      late: %s, analyzers: [count, {stats: {of: v, emit: [sum, min]}},\n"
    "                            {topk: {of: v, k: 1}}]}\n";

/* Windows as the configuration says them, and in seconds. */
struct windows {
    const char *text;
    int size, by, offset;
};

struct event {
    int64_t us, value;
    int key;
};

struct cell {
    int64_t revision, count, sum, min;
};

struct cells {
    struct cell at[WINDOWS][KEYS];
    uint64_t late, revised;
};

/* What comes out, and the last checkpoint. */
struct results {
    pthread_mutex_t lock;
    const struct windows *windows;
    struct cells cells;
    uint64_t aside, top, far;
    char *marks;
    size_t marks_size;
    uint64_t position;
    struct checkpoint_block block[BLOCKS]; /* of all workers */
    size_t n_blocks;
};

static void take_row(struct results *r, const struct table *t,
                     const struct weir_cell *c)
{
    int64_t start_us = c[0].as.i, end_us = c[t->n_primary].as.i;
    assert_int_equal(end_us - start_us, r->windows->size * SECOND_US);
    int64_t by_us = r->windows->by * SECOND_US;
    assert_int_equal((start_us % by_us + by_us) % by_us,
                     r->windows->offset * SECOND_US);
    if (t->late) {
        r->aside++;
        return;
    }
    if (!strcmp(t->name, "p_topk")) {
        r->top += !t->revision || !c[t->revision].as.i;
        return;
    }
    /* window_start, k, window_end, revision if there is one, count, v_sum, v_min */
    r->far += end_us / SECOND_US >= WINDOWS;
    if (end_us / SECOND_US >= WINDOWS)
        return;
    struct cell *cell = &r->cells.at[end_us / SECOND_US][c[1].as.i];
    const struct weir_cell *out = c + (t->revision ? t->revision + 1 : 3);
    struct cell is = {t->revision ? c[t->revision].as.i : 0, out[0].as.i, out[1].as.i,
                      out[2].as.i};
    assert_true(!cell->count || is.revision > cell->revision); /* once */
    *cell = is;
}

static int put_results(void *ctx, const char *pipeline, unsigned worker,
                       unsigned workers, uint64_t position, int64_t watermark_us,
                       struct rowset *rows)
{
    (void)pipeline, (void)worker, (void)workers, (void)position, (void)watermark_us;
    struct results *r = ctx;
    pthread_mutex_lock(&r->lock);
    for (struct rowset *next; rows; rows = next) {
        for (size_t i = 0; i < rows->n_rows; i++)
            take_row(r, rows->table, rows->cell + i * rows->table->n_columns);
        next = rows->next;
        rowset_free(rows);
    }
    pthread_mutex_unlock(&r->lock);
    return 0;
}

/* Each run makes one, at its end: all blocks are in it. */
static int put_checkpoint(void *ctx, const char *pipeline, struct checkpoint *c)
{
    (void)pipeline;
    struct results *r = ctx;
    pthread_mutex_lock(&r->lock);
    assert_true(c->whole);
    r->position = c->position;
    if (c->marks) {
        r->marks = c->marks;
        r->marks_size = c->marks_size;
        c->marks = NULL;
    }
    for (size_t i = 0; i < c->n_blocks; i++) {
        r->block[r->n_blocks++] = c->block[i];
        c->block[i].data = NULL;
    }
    pthread_mutex_unlock(&r->lock);
    checkpoint_free(c);
    return 0;
}

static void results_free(struct results *r)
{
    for (size_t i = 0; i < r->n_blocks; i++)
        free(r->block[i].data);
    free(r->marks);
    free(r);
}

/* Time goes on by 30 ms an event; most are up to 4 s behind, some up to 60 s. */
static void make_events(struct event *e, unsigned seed)
{
    for (int i = 0; i < EVENTS; i++) {
        int most_ms = rand_r(&seed) % 20 ? 4000 : 60000;
        int64_t us = INT64_C(30000) * i - INT64_C(1000) * (rand_r(&seed) % most_ms);
        e[i].us = us < 0 ? 0 : us;
        e[i].value = rand_r(&seed) % 1000 - 500;
        e[i].key = rand_r(&seed) % KEYS;
    }
}

/* A row is in every window that holds its time and that the watermark at the row has not passed, or not by
 * extra_us. */
static struct cells *model(const struct windows *s, const struct event *e,
                           int64_t extra_us)
{
    struct cells *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    int64_t newest_us = INT64_MIN / 2;
    for (int i = 0; i < EVENTS; i++) {
        newest_us = e[i].us > newest_us ? e[i].us : newest_us;
        bool in = false, late = false;
        for (int64_t start = s->offset - 100 * s->by; start < SECONDS; start += s->by) {
            int64_t start_us = start * SECOND_US,
                    end_us = start_us + s->size * SECOND_US;
            int64_t behind_us = newest_us - DELAY_US - end_us;
            if (e[i].us < start_us || e[i].us >= end_us ||
                (behind_us >= 0 && behind_us >= extra_us))
                continue;
            struct cell *c = &m->at[start + s->size][e[i].key];
            c->min = !c->count || e[i].value < c->min ? e[i].value : c->min;
            c->count++;
            c->sum += e[i].value;
            c->revision += behind_us >= 0;
            late |= behind_us >= 0;
            in = true;
        }
        m->late += !in;
        m->revised += late;
    }
    return m;
}

static struct batch *cut(const struct schema *s, const struct event *e, uint32_t n)
{
    struct batch *b;
    assert_int_equal(batch_new(s, n, &b), 0);
    for (uint32_t i = 0; i < n; i++) {
        ((int64_t *)b->column[0].values)[i] = e[i].us;
        ((int64_t *)b->column[1].values)[i] = e[i].key;
        ((int64_t *)b->column[2].values)[i] = e[i].value;
        b->n_rows++;
    }
    return b;
}

static void prepare(struct stage *s, struct results *r, unsigned workers,
                    const char *late)
{
    char text[1024];
    snprintf(text, sizeof(text), config_text, r->windows->text, workers, late);
    const struct pipeline_sink sink = {
        .put = put_results, .checkpoint = put_checkpoint, .ctx = r};
    stage_prepare(s, text, &sink, INT64_MIN);
}

/* Takes what the last checkpoint had. */
static void load(struct stage *s, struct results *r)
{
    struct error error = {0};
    assert_int_equal(checkpoint_load_marks(s->pipeline, r->marks, r->marks_size, true),
                     0);
    for (size_t i = 0; i < r->n_blocks; i++) {
        if (r->block[i].size)
            assert_int_equal(checkpoint_load_block(s->pipeline, r->block[i].data,
                                                   r->block[i].size, &error),
                             0);
        free(r->block[i].data);
    }
    r->n_blocks = 0;
    free(r->marks);
    r->marks = NULL;
}

/* Feeds all events, in requests of up to `most`; stops and goes on from a checkpoint `stops` times, with other
 * numbers of workers. */
static void assert_as_the_model(const struct windows *windows, unsigned seed,
                                uint32_t most, unsigned workers, int stops,
                                const char *late)
{
    static struct event e[EVENTS];
    make_events(e, seed);
    struct cells *want = model(windows, e, strstr(late, "revise") ? EXTRA_US : 0);
    struct results *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    pthread_mutex_init(&r->lock, NULL);
    r->windows = windows;
    uint64_t dropped = 0, revised = 0;
    for (int run = 0, from = 0; run <= stops; run++) {
        int to = run == stops ? EVENTS : from + EVENTS / (stops + 1) + 13;
        struct stage s;
        struct pipeline_status status;
        prepare(&s, r, workers + 2 * (unsigned)run, late);
        if (run)
            load(&s, r);
        stage_start(&s, (struct log_options){.position = r->position});
        while (from < to) {
            uint32_t n = 1 + (uint32_t)rand_r(&seed) % most;
            n = n < (uint32_t)(to - from) ? n : (uint32_t)(to - from);
            assert_int_equal(
                stage_append(&s, cut(s.config->stream[0].schema, e + from, n)), 0);
            from += (int)n;
        }
        stage_end(&s, run == stops ? LOG_FINISH : LOG_STOP, &status);
        assert_string_equal(status.error, "");
        dropped += status.late - status.late_by[CONFIG_LATE_REVISE];
        revised += status.late_by[CONFIG_LATE_REVISE];
        if (run == stops)
            assert_int_equal(status.groups, 0);
        stage_free(&s);
    }
    assert_true(want->late < 1200 && (want->late > 20 || windows->size > 30));
    assert_int_equal(dropped, want->late);
    assert_int_equal(revised, strstr(late, "revise") ? want->revised : 0);
    assert_int_equal(r->aside, strcmp(late, "side") ? 0 : want->late);
    uint64_t given = 0;
    for (int w = 0; w < WINDOWS; w++) {
        for (int k = 0; k < KEYS; k++) {
            given += want->at[w][k].count > 0;
            assert_memory_equal(&r->cells.at[w][k], &want->at[w][k],
                                sizeof(struct cell));
        }
    }
    if (!strstr(late, "revise"))
        assert_int_equal(r->top, given);
    results_free(r);
    free(want);
}

/* Ends at every pane, at every second, and a pane of 5 s; with an offset; many panes. */
static const struct windows windows[] = {
    {"{hopping: 30s, by: 10s}", 30, 10, 0},
    {"{hopping: 30s, by: 20s, offset: 3s}", 30, 20, 3},
    {"{hopping: 25s, by: 10s, offset: 9s}", 25, 10, 9},
    {"{hopping: 60s, by: 1s}", 60, 1, 0},
    {"{hopping: 20s, by: 20s}", 20, 20, 0},
};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
static const char revise[] = "revise, allowed_lateness: 25s";

static void windows_are_merged_from_panes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(windows); i++) {
        assert_as_the_model(&windows[i], i, 300, 1, 0, "drop");
        assert_as_the_model(&windows[i], 100 + i, 300, 3, 0, "side");
        assert_as_the_model(&windows[i], 200 + i, 300, 2, 0, revise);
    }
}

/* The watermark passes windows in the middle of an entry, and rows late for some of them, not for others, follow. */
static void what_a_window_holds_does_not_depend_on_entries(void **state)
{
    (void)state;
    assert_as_the_model(&windows[0], 3, 1, 1, 0, "drop");
    for (unsigned i = 0; i < 3; i++) {
        assert_as_the_model(&windows[i], 3, EVENTS, 1, 0, "drop");
        assert_as_the_model(&windows[i], 3, EVENTS, 7, 0, "side");
        assert_as_the_model(&windows[i], 3, EVENTS, 2, 0, revise);
    }
    assert_as_the_model(&windows[0], 3, 1, 1, 0, revise);
}

static void panes_go_on_from_a_checkpoint(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(windows); i++) {
        assert_as_the_model(&windows[i], 4, 200, 1, 1, "drop");
        assert_as_the_model(&windows[i], 5, 2000, 2, 5, "side");
        assert_as_the_model(&windows[i], 6, 1000, 1, 3, revise);
    }
}

/* Windows without rows are neither given out nor gone through one by one: there are 100,000,000,000 of them. */
static void a_gap_is_passed_over(void **state)
{
    (void)state;
    static const int64_t at_us[] = {0, 15 * SECOND_US, 600 * SECOND_US,
                                    INT64_C(1000000000000) * SECOND_US};
    /* 0 s: ends at 10, 20, 30; 15 s: at 20, 30, 40; 600 s: at 610, 620, 630 */
    static const int64_t sums[WINDOWS] = {
        [10] = 1, [20] = 3, [30] = 3, [40] = 2, [610] = 3, [620] = 3, [630] = 3};
    struct results *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    pthread_mutex_init(&r->lock, NULL);
    r->windows = &windows[0];
    struct event e[4];
    struct stage s;
    struct pipeline_status status;
    for (int i = 0; i < 4; i++)
        e[i] = (struct event){.us = at_us[i], .value = i + 1};
    prepare(&s, r, 1, "drop");
    stage_start(&s, (struct log_options){0});
    assert_int_equal(stage_append(&s, cut(s.config->stream[0].schema, e, 4)), 0);
    stage_end(&s, LOG_FINISH, &status);
    for (int w = 0; w < WINDOWS; w++)
        assert_int_equal(r->cells.at[w][0].sum, sums[w]);
    assert_int_equal(r->far, 3);
    stage_free(&s);
    results_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_merged_from_panes),
        cmocka_unit_test(what_a_window_holds_does_not_depend_on_entries),
        cmocka_unit_test(panes_go_on_from_a_checkpoint),
        cmocka_unit_test(a_gap_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
