/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/hash.h"
#include "log/log.h"
#include "log/sources.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A pipeline that keeps what it gets; while `gate` is closed, it has no room. */
struct sink {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct log *log;
    bool gate_closed, shut; /* shut: for commands, too */
    struct log_entry *entry[4096];
    size_t n;
};

static bool sink_put(void *ctx, struct log_entry *e, bool command)
{
    struct sink *s = ctx;
    pthread_mutex_lock(&s->lock);
    bool has_room = !s->shut && (command || !s->gate_closed);
    if (has_room) {
        assert_true(s->n < 4096);
        s->entry[s->n++] = e;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return has_room;
}

static void sink_gate(struct sink *s, bool closed)
{
    pthread_mutex_lock(&s->lock);
    s->gate_closed = closed;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (!closed)
        log_room(s->log);
}

static _Atomic bool no_memory;
static _Atomic uint64_t reallocs_refused;

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size)
{
    if (!no_memory)
        return __real_realloc(p, size);
    reallocs_refused++;
    return NULL;
}

static size_t sink_count(struct sink *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->n;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* Until it has so many entries. */
static void sink_wait(struct sink *s, size_t n)
{
    int64_t until_us = clock_monotonic_us() + 30 * SECOND_US;
    while (sink_count(s) < n && clock_monotonic_us() < until_us)
        clock_sleep_us(1000);
    assert_true(sink_count(s) >= n);
}

static int64_t ten_seconds(void *ctx, int64_t us)
{
    (void)ctx;
    return (us / (10 * SECOND_US) + 1) * (10 * SECOND_US);
}

struct fixture {
    struct schema *schema;
    struct metrics *metrics;
    struct tasks *tasks;
    struct log *log;
    struct sink sink;
    size_t keys;
};

static struct fixture *fixture_new(uint64_t queue_events, int64_t linger_us,
                                   int64_t idle_us)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    pthread_mutex_init(&f->sink.lock, NULL);
    pthread_cond_init(&f->sink.changed, NULL);
    assert_int_equal(schema_new(2, "ts", &f->schema), 0);
    assert_int_equal(schema_set(f->schema, 1, "n", WEIR_INT), 0);
    assert_int_equal(metrics_new(&f->metrics), 0);
    assert_int_equal(tasks_new("t", 2, false, &f->tasks), 0);
    struct log_options options = {.name = "s",
                                  .schema = f->schema,
                                  .front = f->tasks,
                                  .back = f->tasks,
                                  .queue_events = queue_events,
                                  .linger_us = linger_us};
    assert_int_equal(log_new(&options, f->metrics, &f->log, NULL), 0);
    f->sink.log = f->log;
    struct log_sink sink = {.pipeline = "p",
                            .put = sink_put,
                            .ctx = &f->sink,
                            .idle_timeout_us = idle_us,
                            .next_border_us = ten_seconds,
                            .last_border_us = ten_seconds,
                            .key = (size_t[]){1},
                            .n_keys = 1};
    assert_int_equal(log_subscribe(f->log, &sink, &f->keys), 0);
    assert_int_equal(log_start(f->log, NULL), 0);
    return f;
}

static void fixture_free(struct fixture *f)
{
    log_free(f->log);
    tasks_free(f->tasks);
    for (size_t i = 0; i < f->sink.n; i++)
        log_entry_unref(f->sink.entry[i]);
    metrics_free(f->metrics);
    schema_free(f->schema);
    free(f);
}

/* Rows with n = first, first + 1, ...; time = n seconds. */
static struct batch *rows(struct fixture *f, int64_t first, uint32_t n)
{
    struct batch *b;
    assert_int_equal(batch_new(f->schema, n, &b), 0);
    for (uint32_t i = 0; i < n; i++) {
        ((int64_t *)b->column[0].values)[i] = (first + i) * SECOND_US;
        ((int64_t *)b->column[1].values)[i] = first + i;
        b->n_rows++;
    }
    return b;
}

static int append(struct log *l, uint32_t source, struct batch *b)
{
    const struct request r = {.source = source, .n = 1, .batch = &b};
    if (b->n_rows)
        return log_append(l, &r);
    batch_unref(b);
    return 0;
}

static int append_wait(struct log *l, uint32_t source, struct batch *b)
{
    const struct request r = {.source = source, .n = 1, .batch = &b};
    if (b->n_rows)
        return log_append_wait(l, &r);
    batch_unref(b);
    return 0;
}

/* The rows of all batches must be 0, 1, 2, ... n-1 in this order; returns the number of batches. */
static size_t assert_all_in_order(const struct sink *s, int64_t n)
{
    int64_t next = 0;
    size_t batches = 0;
    uint64_t position = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct log_entry *e = s->entry[i];
        assert_true(e->position >= position + (e->kind == LOG_BATCH));
        position = e->position;
        if (e->kind != LOG_BATCH)
            continue;
        batches++;
        for (uint32_t k = 0; k < e->batch->n_rows; k++)
            assert_int_equal(weir_int(&e->batch->view[1], k), next++);
        assert_int_equal(e->keys[0]->n, e->batch->n_rows);
    }
    assert_int_equal(next, n);
    return batches;
}

static void order_is_kept_among_small_and_large_chunks(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(1000000, 1000, INT64_MAX);
    int64_t next = 0;
    for (uint32_t k = 0; k < 300; k++) {
        uint32_t n = k % 17 ? k : 5000 + k;
        assert_int_equal(append_wait(f->log, 0, rows(f, next, n)), 0);
        next += n;
    }
    log_close(f->log, LOG_FINISH, INT64_MAX);
    assert_all_in_order(&f->sink, next);
    assert_int_equal(f->sink.entry[f->sink.n - 2]->kind, LOG_END);
    assert_int_equal(f->sink.entry[f->sink.n - 1]->kind, LOG_CHECKPOINT);
    fixture_free(f);
}

static void small_chunks_are_gathered(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(1000000, SECOND_US, INT64_MAX);
    for (int64_t k = 0; k < 1000; k++)
        assert_int_equal(append(f->log, 0, rows(f, k, 1)), 0);
    log_close(f->log, LOG_LEAVE, INT64_MAX);
    assert_in_range(assert_all_in_order(&f->sink, 1000), 1, 3);
    fixture_free(f);
}

/* In its frame; behind that nothing more is waited for. Of several attempts one is not held up by others on the machine. */
static void rows_that_nobody_waits_for_linger_once(void **state)
{
    (void)state;
    const int64_t linger_us = 100000;
    struct fixture *f = fixture_new(1000000, linger_us, INT64_MAX);
    int64_t least_us = INT64_MAX;
    for (int64_t k = 0; k < 20 && least_us >= 2 * linger_us; k++) {
        int64_t begin_us = clock_monotonic_us();
        assert_int_equal(append(f->log, 0, rows(f, k, 1)), 0);
        sink_wait(&f->sink, (size_t)k + 1);
        int64_t took_us = clock_monotonic_us() - begin_us;
        assert_true(took_us >= linger_us);
        least_us = took_us < least_us ? took_us : least_us;
    }
    assert_true(least_us < 2 * linger_us);
    fixture_free(f);
}

static void a_batch_holds_rows_of_one_source(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(1000000, SECOND_US, INT64_MAX);
    uint32_t a, b, again;
    assert_int_equal(log_source(f->log, "a", 1, &a), 0);
    assert_int_equal(log_source(f->log, "bcd", 2, &b), 0);
    assert_int_equal(log_source(f->log, "abc", 1, &again), 0);
    assert_int_equal(a, again);
    assert_int_not_equal(a, b);
    assert_string_equal(log_source_name(f->log, b), "bc");
    for (int64_t k = 0; k < 100; k++)
        assert_int_equal(append(f->log, k / 10 % 2 ? a : b, rows(f, k, 1)), 0);
    log_close(f->log, LOG_LEAVE, INT64_MAX);
    assert_in_range(assert_all_in_order(&f->sink, 100), 10, 100);
    for (size_t i = 0; i < f->sink.n; i++) {
        const struct log_entry *e = f->sink.entry[i];
        for (uint32_t k = 0; e->kind == LOG_BATCH && k < e->batch->n_rows; k++)
            assert_int_equal(e->source,
                             weir_int(&e->batch->view[1], k) / 10 % 2 ? a : b);
    }
    fixture_free(f);
}

struct woken {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool woken;
};

static void wake(void *ctx)
{
    struct woken *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->woken = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static void a_full_inbox_says_so_and_wakes_who_waits_when_there_is_room(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10000, 0, INT64_MAX);
    sink_gate(&f->sink, true);
    int64_t next = 0;
    struct batch *b;
    int r;
    while ((r = append(f->log, 0, b = rows(f, next, 4096))) == 0) {
        next += 4096;
        assert_true(next < 50000);
    }
    assert_int_equal(r, -EAGAIN);
    struct woken woken = {.lock = PTHREAD_MUTEX_INITIALIZER,
                          .cond = PTHREAD_COND_INITIALIZER};
    struct waiter w = {.wake = wake, .ctx = &woken};
    log_wait(f->log, &w);
    assert_false(woken.woken);
    sink_gate(&f->sink, false);
    pthread_mutex_lock(&woken.lock);
    while (!woken.woken)
        pthread_cond_wait(&woken.cond, &woken.lock);
    pthread_mutex_unlock(&woken.lock);
    assert_int_equal(append_wait(f->log, 0, b), 0);
    log_close(f->log, LOG_LEAVE, INT64_MAX);
    assert_all_in_order(&f->sink, next + 4096);
    fixture_free(f);
}

static void sink_shut(struct sink *s, bool shut)
{
    pthread_mutex_lock(&s->lock);
    s->shut = shut;
    pthread_mutex_unlock(&s->lock);
}

static void note_call(void *called)
{
    *(bool *)called = true;
}

static void a_command_gives_up_where_a_pipeline_takes_nothing(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10000, 0, INT64_MAX);
    bool called = false;
    int err = 0;
    sink_shut(&f->sink, true);
    assert_int_equal(append_wait(f->log, 0, rows(f, 0, 10)), 0);
    /* Until the entry is at hand there is nothing to wait for. */
    while (!err) {
        called = false;
        err = log_call_until(f->log, clock_monotonic_us() + 10000, note_call, &called);
        assert_true(called == !err);
    }
    assert_int_equal(err, -ETIMEDOUT);
    assert_int_equal(append_wait(f->log, 0, rows(f, 10, 10)), 0);
    sink_shut(&f->sink, false);
    assert_int_equal(log_call_until(f->log, INT64_MAX, note_call, &called), 0);
    assert_true(called);
    sink_gate(&f->sink, false);
    log_close(f->log, LOG_LEAVE, INT64_MAX);
    assert_all_in_order(&f->sink, 20);
    fixture_free(f);
}

static void a_waiter_taken_back_is_not_called(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10000, 0, INT64_MAX);
    sink_gate(&f->sink, true);
    struct batch *b;
    int64_t next = 0;
    while (append(f->log, 0, b = rows(f, next, 4096)) == 0)
        next += 4096;
    struct woken woken = {.lock = PTHREAD_MUTEX_INITIALIZER,
                          .cond = PTHREAD_COND_INITIALIZER};
    struct waiter w = {.wake = wake, .ctx = &woken};
    log_wait(f->log, &w);
    log_unwait(f->log, &w);
    sink_gate(&f->sink, false);
    log_close(f->log, LOG_LEAVE, INT64_MAX);
    assert_false(woken.woken);
    assert_int_equal(append(f->log, 0, b), -ESHUTDOWN);
    batch_unref(b);
    fixture_free(f);
}

struct appender {
    struct fixture *f;
    uint32_t source;
};

static void *append_thread(void *arg)
{
    struct appender *a = arg;
    for (int64_t k = 0; k < 500; k++)
        if (append_wait(a->f->log, a->source, rows(a->f, k * 100, 100)) < 0)
            return a;
    return NULL;
}

static void events_of_each_sender_keep_their_order(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(5000, 500, INT64_MAX);
    struct appender a[4];
    pthread_t thread[4];
    for (uint32_t i = 0; i < 4; i++) {
        char name = (char)('a' + i);
        a[i].f = f;
        assert_int_equal(log_source(f->log, &name, 1, &a[i].source), 0);
        assert_int_equal(pthread_create(&thread[i], NULL, append_thread, &a[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        assert_null(failed);
    }
    log_close(f->log, LOG_LEAVE, INT64_MAX);
    int64_t next[5] = {0};
    for (size_t i = 0; i < f->sink.n; i++) {
        const struct log_entry *e = f->sink.entry[i];
        for (uint32_t k = 0; k < e->batch->n_rows; k++)
            assert_int_equal(weir_int(&e->batch->view[1], k), next[e->source]++);
    }
    for (int i = 1; i < 5; i++)
        assert_int_equal(next[i], 50000);
    fixture_free(f);
}

/* ---- Silence, with a clock of our own --------------------------------------------------------- */

struct said {
    char text[1024];
    int refusals; /* say_later: before it is said */
};

static bool say(void *ctx, enum log_kind kind, uint32_t source, int64_t time_us)
{
    struct said *s = ctx;
    size_t n = strlen(s->text);
    if (kind == LOG_IDLE)
        snprintf(s->text + n, sizeof(s->text) - n, "idle %u;", source);
    else
        snprintf(s->text + n, sizeof(s->text) - n, "advance %d;",
                 (int)(time_us / SECOND_US));
    return true;
}

static int64_t an_hour(void *ctx, int64_t us)
{
    (void)ctx;
    return (us / (3600 * SECOND_US) + 1) * (3600 * SECOND_US);
}

#define S SECOND_US

static void a_silent_source_becomes_idle_once(void **state)
{
    (void)state;
    static struct sources sources;
    static struct silence silence;
    memset(&sources, 0, sizeof(sources));
    sources_init(&sources);
    silence_init(&silence);
    const struct log_sink sink = {.idle_timeout_us = 5 * S,
                                  .next_border_us = ten_seconds,
                                  .last_border_us = ten_seconds};
    struct said said = {.text = ""};
    sources_heard(&sources, 1, 1000 * S, 0);
    sources_heard(&sources, 2, 1001 * S, 3 * S);
    silence_check(&silence, &sources, &sink, 4 * S, say, &said);
    assert_string_equal(said.text, "");
    silence_check(&silence, &sources, &sink, 5 * S, say, &said);
    silence_check(&silence, &sources, &sink, 6 * S, say, &said);
    assert_string_equal(said.text, "idle 1;");
    sources_heard(&sources, 1, 1002 * S, 7 * S);
    silence_check(&silence, &sources, &sink, 7 * S, say, &said);
    silence_check(&silence, &sources, &sink, 12 * S, say, &said);
    assert_non_null(strstr(said.text, "idle 1;idle 1;idle 2;"));
}

static int64_t wanted_us(void *ctx)
{
    return *(int64_t *)ctx;
}

static int64_t never_again(void *ctx, int64_t us)
{
    (void)ctx;
    (void)us;
    return INT64_MAX;
}

static int64_t no_last(void *ctx, int64_t us)
{
    (void)ctx;
    (void)us;
    return INT64_MIN;
}

static void time_of_a_silent_stream_goes_on_to_where_others_wait(void **state)
{
    (void)state;
    static struct sources sources;
    static struct silence silence;
    memset(&sources, 0, sizeof(sources));
    sources_init(&sources);
    silence_init(&silence);
    int64_t us = INT64_MIN;
    const struct log_sink sink = {.idle_timeout_us = 5 * S,
                                  .next_border_us = never_again,
                                  .last_border_us = no_last,
                                  .wanted_us = wanted_us,
                                  .ctx = &us};
    struct said said = {.text = ""};
    silence_check(&silence, &sources, &sink, 1 * S, say, &said);
    silence_check(&silence, &sources, &sink, 7 * S, say, &said);
    assert_string_equal(said.text, ""); /* nobody waits */
    assert_true(silence_is_over(&silence, &sources, &sink));
    us = 100 * S; /* nobody has ever sent */
    assert_false(silence_is_over(&silence, &sources, &sink));
    silence_check(&silence, &sources, &sink, 8 * S, say, &said);
    silence_check(&silence, &sources, &sink, 9 * S, say, &said);
    assert_string_equal(said.text, "advance 100;");
    assert_true(silence_is_over(&silence, &sources, &sink));
    sources_heard(&sources, 0, 90 * S, 10 * S);
    us = 200 * S;
    silence_check(&silence, &sources, &sink, 14 * S, say, &said);
    assert_string_equal(said.text, "advance 100;");
    silence_check(&silence, &sources, &sink, 15 * S, say, &said);
    assert_string_equal(said.text, "advance 100;idle 0;advance 200;");
}

static void when_all_are_silent_windows_close_with_the_clock(void **state)
{
    (void)state;
    static struct sources sources;
    static struct silence silence;
    memset(&sources, 0, sizeof(sources));
    sources_init(&sources);
    silence_init(&silence);
    const struct log_sink sink = {.idle_timeout_us = 5 * S,
                                  .out_of_orderness_us = 12 * S,
                                  .next_border_us = ten_seconds,
                                  .last_border_us = ten_seconds};
    struct said said = {.text = ""};
    sources_heard(&sources, 0, 1003 * S,
                  0); /* watermark 991; open: [990,1000) and [1000,1010) */
    for (int64_t now = 1; now < 60; now++)
        silence_check(&silence, &sources, &sink, now * S, say, &said);
    /* 1000 when 9 s have passed, 1010 when 19 s have; then nothing is open */
    assert_string_equal(said.text, "idle 0;advance 1000;advance 1010;");
}

static void a_long_window_is_not_cut_short_by_a_pause(void **state)
{
    (void)state;
    static struct sources sources;
    static struct silence silence;
    memset(&sources, 0, sizeof(sources));
    sources_init(&sources);
    silence_init(&silence);
    const struct log_sink sink = {
        .idle_timeout_us = 5 * S, .next_border_us = an_hour, .last_border_us = an_hour};
    struct said said = {.text = ""};
    sources_heard(&sources, 0, 7260 * S, 0);
    for (int64_t now = 1; now < 3000; now++)
        silence_check(&silence, &sources, &sink, now * S, say, &said);
    assert_string_equal(said.text, "idle 0;");
}

static bool say_later(void *ctx, enum log_kind kind, uint32_t source, int64_t time_us)
{
    struct said *s = ctx;
    if (s->refusals == 0)
        return say(ctx, kind, source, time_us);
    s->refusals--;
    return false;
}

/* For want of memory, say. */
static void what_could_not_be_said_is_said_at_the_next_look(void **state)
{
    (void)state;
    static struct sources sources;
    static struct silence silence;
    memset(&sources, 0, sizeof(sources));
    sources_init(&sources);
    silence_init(&silence);
    const struct log_sink sink = {.idle_timeout_us = 5 * S,
                                  .next_border_us = ten_seconds,
                                  .last_border_us = ten_seconds};
    struct said said = {.refusals = 2};
    sources_heard(&sources, 0, 1009 * S, 0);
    silence_check(&silence, &sources, &sink, 5 * S, say_later, &said);
    assert_string_equal(said.text, "");
    silence_check(&silence, &sources, &sink, 6 * S, say_later, &said);
    silence_check(&silence, &sources, &sink, 7 * S, say_later, &said);
    assert_string_equal(said.text, "idle 0;advance 1010;");
}

static void what_arrives_without_being_complete_is_not_silent(void **state)
{
    (void)state;
    static struct sources sources;
    static struct silence silence;
    memset(&sources, 0, sizeof(sources));
    sources_init(&sources);
    silence_init(&silence);
    const struct log_sink sink = {.idle_timeout_us = 5 * S,
                                  .next_border_us = ten_seconds,
                                  .last_border_us = ten_seconds};
    struct said said = {.text = ""};
    sources_heard(&sources, 0, 1009 * S, 0);
    for (int64_t now = 1; now < 60; now++) {
        sources_alive(&sources, now < 30 ? 0 : 7,
                      now * S); /* 7 has sent no event yet */
        silence_check(&silence, &sources, &sink, now * S, say, &said);
    }
    assert_string_equal(said.text, "idle 0;"); /* time does not go on without 7 */
}

/* Heard of between two looks, and silent again at the second. */
static void a_source_that_was_heard_of_in_between_is_idle_again(void **state)
{
    (void)state;
    static struct sources sources;
    static struct silence silence;
    memset(&sources, 0, sizeof(sources));
    sources_init(&sources);
    silence_init(&silence);
    const struct log_sink sink = {.idle_timeout_us = S / 100,
                                  .next_border_us = an_hour,
                                  .last_border_us = an_hour};
    struct said said = {.text = ""};
    sources_heard(&sources, 3, 1000 * S, 0);
    silence_check(&silence, &sources, &sink, S, say, &said);
    sources_heard(&sources, 3, 1001 * S, S + 1);
    silence_check(&silence, &sources, &sink, 2 * S, say, &said);
    assert_string_equal(said.text, "idle 3;idle 3;");
}

/* A producer that sends every 3 s what it has collected, where idle_timeout is 1 s. */
static void a_pause_that_made_events_late_is_waited_for_from_then_on(void **state)
{
    (void)state;
    static struct sources sources;
    static struct silence silence;
    memset(&sources, 0, sizeof(sources));
    sources_init(&sources);
    silence_init(&silence);
    const struct log_sink sink = {.idle_timeout_us = S,
                                  .next_border_us = ten_seconds,
                                  .last_border_us = ten_seconds};
    struct said said = {.text = ""};
    int64_t pause_us = 0;
    for (int64_t now = 0; now < 60; now++) {
        int64_t newest = 1002 + now;
        if (now % 3 == 0) {
            bool found = silence_returned(&silence, &sources, &sink, 0,
                                          (newest - 2) * S, now * S, &pause_us);
            assert_int_equal(found,
                             now == 9); /* 1008 came at 6 s, 1010 was passed at 8 s */
            sources_heard(&sources, 0, newest * S, now * S);
        }
        silence_check(&silence, &sources, &sink, now * S, say, &said);
    }
    assert_int_equal(pause_us, 3 * S);
    assert_int_equal(silence_timeout(&silence, &sink), 6 * S);
    /* What is out of order by itself proves nothing, nor is there more than a minute. */
    for (int64_t now = 60; now < 1000; now++)
        silence_check(&silence, &sources, &sink, now * S, say, &said);
    assert_false(
        silence_returned(&silence, &sources, &sink, 0, 1050 * S, 1000 * S, &pause_us));
    assert_true(
        silence_returned(&silence, &sources, &sink, 0, 1059 * S, 1000 * S, &pause_us));
    assert_int_equal(silence_timeout(&silence, &sink), 60 * S);
}

static void
the_clock_of_silence_stands_still_while_the_server_does_not_run(void **state)
{
    (void)state;
    struct silence_clock c = {.us = 0, .at_us = 7 * S};
    for (int i = 1; i <= 20; i++) /* looked at every 50 ms */
        silence_step(&c, 7 * S + i * 50000);
    assert_int_equal(c.us, S);
    assert_int_equal(silence_now(&c, 8 * S + 30000), S + 30000);
    silence_step(&c, 20 * S); /* stopped for 12 s */
    assert_true(c.us > S && c.us <= S + 100000);
    int64_t before_us = c.us;
    silence_step(&c, 20 * S + 50000);
    assert_int_equal(c.us, before_us + 50000);
}

/* ---- Connections without a name --------------------------------------------------------------- */

/* Appends, and waits for it to be handed on as the next entry. */
static const struct log_entry *append_from(struct fixture *f, struct origin *o,
                                           int64_t first, uint32_t n)
{
    size_t before = sink_count(&f->sink);
    struct batch *b = rows(f, first, n);
    const struct request r = {.origin = o, .n = 1, .batch = &b};
    assert_int_equal(log_append(f->log, &r), 0);
    sink_wait(&f->sink, before + 1);
    return f->sink.entry[before];
}

static void connections_hold_back_what_is_reached(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(100000, 0, 3600 * S);
    struct origin *a = log_origin(f->log), *b = NULL;
    /* Alone: its rows say how far it is. */
    const struct log_entry *e = append_from(f, a, 0, 10);
    assert_false(e->held);
    b = log_origin(f->log);
    e = append_from(f, a, 10, 100);
    assert_true(e->held);
    assert_int_equal(e->reached_us, 9 * S); /* what there was when the other one came */
    e = append_from(f, b, 110, 10);
    assert_true(e->held);
    assert_int_equal(e->reached_us, 109 * S);
    e = append_from(f, b, 120, 100);
    assert_int_equal(e->reached_us, 109 * S);
    /* Its end is said, and what it held. */
    log_origin_end(a);
    sink_wait(&f->sink, 5);
    e = f->sink.entry[4];
    assert_int_equal(e->kind, LOG_REACHED);
    assert_null(e->pipeline);
    assert_int_equal(e->time_us, 219 * S);
    e = append_from(f, b, 220, 10);
    assert_false(e->held);
    log_origin_end(b);
    fixture_free(f);
}

static void there_are_so_many_connections_and_no_more(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(100000, 0, 3600 * S);
    static struct origin *o[LOG_ORIGINS_MAX];
    for (size_t i = 0; i < LOG_ORIGINS_MAX; i++)
        assert_non_null(o[i] = log_origin(f->log));
    assert_null(log_origin(f->log));
    assert_true(append_from(f, NULL, 0, 10)->held); /* by all that have begun */
    for (size_t i = 0; i < LOG_ORIGINS_MAX; i++)
        log_origin_end(o[i]);
    int64_t until_us = clock_monotonic_us() + 30 * S;
    while (!(o[0] = log_origin(f->log)) && clock_monotonic_us() < until_us)
        clock_sleep_us(1000);
    assert_non_null(o[0]);
    log_origin_end(o[0]);
    fixture_free(f);
}

/* ---- Without memory --------------------------------------------------------------------------- */

static void
a_log_without_memory_for_a_frame_goes_on_when_there_is_and_can_end(void **state)
{
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        struct fixture *f = fixture_new(100000, 0, INT64_MAX);
        uint64_t refused = reallocs_refused;
        no_memory = true;
        assert_int_equal(append(f->log, 0, rows(f, 0, 10)), 0);
        int64_t until_us = clock_monotonic_us() + 30 * S;
        while (reallocs_refused == refused && clock_monotonic_us() < until_us)
            clock_sleep_us(1000);
        assert_true(reallocs_refused > refused);
        if (ends)
            log_close(f->log, LOG_LEAVE, clock_monotonic_us());
        no_memory = false;
        if (!ends)
            sink_wait(&f->sink, 1);
        assert_int_equal(sink_count(&f->sink), !ends);
        fixture_free(f);
    }
}

/* The pipeline keeps all waiting for longer than idle_timeout, and then takes the rows of a source that
 * was told to wait in the meantime: time must not have gone on without them. */
static void a_source_that_was_told_to_wait_is_not_silent(void **state)
{
    (void)state;
    const int64_t idle_us = 100000;
    struct fixture *f = fixture_new(10000, 0, idle_us);
    sink_gate(&f->sink, true);
    struct batch *b;
    int64_t next = 0;
    for (int64_t full_us = INT64_MAX; clock_monotonic_us() < full_us; batch_unref(b)) {
        if (append(f->log, 0, b = rows(f, next, LOG_GATHER_ROWS)) == 0) {
            next += LOG_GATHER_ROWS;
            full_us = INT64_MAX;
            b = NULL;
        } else if (full_us ==
                   INT64_MAX) { /* for as long as this, the log thread waits, too */
            full_us = clock_monotonic_us() + 2 * idle_us;
        }
    }
    sink_gate(&f->sink, false);
    assert_int_equal(append_wait(f->log, 0, rows(f, next, LOG_GATHER_ROWS)), 0);
    log_close(f->log, LOG_LEAVE, INT64_MAX);
    for (size_t i = 0; i < f->sink.n; i++)
        assert_int_equal(f->sink.entry[i]->kind, LOG_BATCH);
    assert_all_in_order(&f->sink, next + LOG_GATHER_ROWS);
    fixture_free(f);
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_kept_among_small_and_large_chunks),
        cmocka_unit_test(small_chunks_are_gathered),
        cmocka_unit_test(rows_that_nobody_waits_for_linger_once),
        cmocka_unit_test(a_batch_holds_rows_of_one_source),
        cmocka_unit_test(a_full_inbox_says_so_and_wakes_who_waits_when_there_is_room),
        cmocka_unit_test(a_command_gives_up_where_a_pipeline_takes_nothing),
        cmocka_unit_test(a_waiter_taken_back_is_not_called),
        cmocka_unit_test(events_of_each_sender_keep_their_order),
        cmocka_unit_test(a_silent_source_becomes_idle_once),
        cmocka_unit_test(a_source_that_was_told_to_wait_is_not_silent),
        cmocka_unit_test(time_of_a_silent_stream_goes_on_to_where_others_wait),
        cmocka_unit_test(when_all_are_silent_windows_close_with_the_clock),
        cmocka_unit_test(a_long_window_is_not_cut_short_by_a_pause),
        cmocka_unit_test(what_could_not_be_said_is_said_at_the_next_look),
        cmocka_unit_test(what_arrives_without_being_complete_is_not_silent),
        cmocka_unit_test(a_source_that_was_heard_of_in_between_is_idle_again),
        cmocka_unit_test(a_pause_that_made_events_late_is_waited_for_from_then_on),
        cmocka_unit_test(
            the_clock_of_silence_stands_still_while_the_server_does_not_run),
        cmocka_unit_test(connections_hold_back_what_is_reached),
        cmocka_unit_test(there_are_so_many_connections_and_no_more),
        cmocka_unit_test(
            a_log_without_memory_for_a_frame_goes_on_when_there_is_and_can_end),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
