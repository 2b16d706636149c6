/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <unistd.h>

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    snprintf(f->root, sizeof(f->root), "%s/weir-log-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->folder, sizeof(f->folder), "%s/journal", f->root);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    assert_int_equal(schema_new(4, "ts", &f->schema), 0);
    assert_int_equal(schema_set(f->schema, 1, "n", WEIR_INT), 0);
    assert_int_equal(schema_set(f->schema, 2, "x", WEIR_FLOAT), 0);
    assert_int_equal(schema_set(f->schema, 3, "y", WEIR_FLOAT), 0);
    f->journal =
        (struct journal_options){.folder = f->folder, .segment_size = 64 << 10};
    f->options = (struct log_options){.name = "s",
                                      .schema = f->schema,
                                      .queue_events = 1000000,
                                      .journal = &f->journal,
                                      .idempotency_keys = 1000,
                                      .idempotency_retain_us = 3600 * SECOND_US};
    f->n_sinks = 1;
    f->keeps = true;
    for (size_t i = 0; i < SINKS; i++) {
        f->sink[i].fixture = f;
        f->sink[i].name[0] = (char)('a' + i);
        f->sink[i].idle_us = INT64_MAX;
        f->sink[i].stores = true;
    }
    *state = f;
    return 0;
}

static void forget_entries(struct sink *s)
{
    for (size_t i = 0; i < s->n; i++)
        log_entry_unref(s->entry[i]);
    s->n = s->checkpoints = 0;
}

void fixture_forget(struct fixture *f)
{
    for (size_t i = 0; i < SINKS; i++)
        forget_entries(&f->sink[i]);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->log)
        fixture_leave(f);
    fixture_forget(f);
    schema_free(f->schema);
    char command[96];
    snprintf(command, sizeof(command), "rm -rf '%s'", f->root);
    int r = system(command);
    free(f);
    return r;
}

/* ---- What the log calls ----------------------------------------------------------------------- */

bool sink_put(void *ctx, struct log_entry *e, bool command)
{
    struct sink *s = ctx;
    struct fixture *f = s->fixture;
    pthread_mutex_lock(&f->lock);
    bool is_checkpoint = e->kind == LOG_CHECKPOINT;
    bool refused = is_checkpoint && s->refusals > 0;
    s->refusals -= refused;
    if (refused || (f->gate_closed && !command)) {
        pthread_mutex_unlock(&f->lock);
        return false;
    }
    uint64_t position = e->position;
    if (f->on_put)
        f->on_put(f, e);
    if (is_checkpoint) {
        s->checkpoints++;
        s->checkpointed = position;
        log_entry_unref(e);
    } else {
        assert_true(s->n < SINK_MAX);
        s->entry[s->n++] = e;
    }
    bool stores = s->stores && !s->failed;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (is_checkpoint && stores)
        log_stored(f->log, s->name, position);
    return true;
}

static bool sink_failed(void *ctx)
{
    const struct sink *s = ctx;
    return s->failed;
}

static int64_t ten_seconds(void *ctx, int64_t us)
{
    (void)ctx;
    return (us / (10 * SECOND_US) + 1) * (10 * SECOND_US);
}

struct log_sink sink_of(struct sink *s)
{
    static const size_t key[] = {1};
    return (struct log_sink){.pipeline = s->name,
                             .put = sink_put,
                             .ctx = s,
                             .position = s->position,
                             .idle_timeout_us = s->idle_us,
                             .next_border_us = ten_seconds,
                             .last_border_us = ten_seconds,
                             .key = key,
                             .n_keys = 1,
                             .failed = sink_failed,
                             .source_us = s->source_us,
                             .n_sources = s->n_sources};
}

static int keep_bookmark(void *ctx, const char *source, const char *bookmark)
{
    struct fixture *f = ctx;
    size_t size = strlen(f->marks);
    snprintf(f->marks + size, sizeof(f->marks) - size, "%s=%s ", source, bookmark);
    return 0;
}

static int keep(void *ctx, uint64_t position)
{
    struct fixture *f = ctx;
    pthread_mutex_lock(&f->lock);
    bool keeps = f->keeps;
    if (keeps)
        f->kept = position;
    f->marks[0] = 0;
    assert_int_equal(log_bookmarks(f->log, keep_bookmark, f), 0);
    pthread_mutex_unlock(&f->lock);
    if (keeps)
        log_kept(f->log, position);
    return 0;
}

/* ---- From beginning to end -------------------------------------------------------------------- */

void fixture_open(struct fixture *f)
{
    struct error error = {0};
    fixture_forget(f);
    assert_int_equal(metrics_new(&f->metrics), 0);
    assert_int_equal(tasks_new("t", 2, false, &f->tasks), 0);
    f->options.front = f->options.back = f->tasks;
    f->options.keeper.keep = keep;
    f->options.keeper.ctx = f;
    if (log_new(&f->options, f->metrics, &f->log, &error) < 0)
        fail_msg("%s", error.text);
    for (size_t i = 0; i < f->n_sinks; i++) {
        struct log_sink sink = sink_of(&f->sink[i]);
        assert_int_equal(log_subscribe(f->log, &sink, &f->sink[i].keys), 0);
    }
    assert_int_equal(log_start(f->log, &error), 0);
}

void fixture_close(struct fixture *f, enum log_end end)
{
    log_close(f->log, end, INT64_MAX);
    log_free(f->log);
    tasks_free(f->tasks);
    f->log = NULL;
    metrics_free(f->metrics);
}

void fixture_leave(struct fixture *f)
{
    fixture_gate(f, false);
    fixture_close(f, LOG_LEAVE);
}

void fixture_gate(struct fixture *f, bool closed)
{
    pthread_mutex_lock(&f->lock);
    f->gate_closed = closed;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (!closed)
        log_room(f->log);
}

static struct timespec patience(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += PATIENCE_US / SECOND_US;
    return t;
}

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

void fixture_wait_ready(struct fixture *f)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    struct error error;
    while (!log_is_ready(f->log)) {
        if (log_failed(f->log, &error))
            fail_msg("%s", error.text);
        assert_true(clock_monotonic_us() < until_us);
        pause_a_little();
    }
}

void fixture_wait_entries(struct fixture *f, const struct sink *s, size_t n)
{
    struct timespec until = patience();
    int late = 0;
    pthread_mutex_lock(&f->lock);
    while (s->n < n && !late)
        late = pthread_cond_timedwait(&f->changed, &f->lock, &until);
    pthread_mutex_unlock(&f->lock);
    assert_int_equal(late, 0);
}

static const struct log_entry *of_kind(const struct sink *s, enum log_kind kind)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->entry[i]->kind == kind)
            return s->entry[i];
    return NULL;
}

const struct log_entry *fixture_wait_kind(struct fixture *f, const struct sink *s,
                                          enum log_kind kind)
{
    struct timespec until = patience();
    const struct log_entry *e;
    int late = 0;
    pthread_mutex_lock(&f->lock);
    while (!(e = of_kind(s, kind)) && !late)
        late = pthread_cond_timedwait(&f->changed, &f->lock, &until);
    pthread_mutex_unlock(&f->lock);
    assert_non_null(e);
    return e;
}

/* ---- Requests --------------------------------------------------------------------------------- */

struct batch *fixture_rows(struct fixture *f, int64_t first, uint32_t n)
{
    struct batch *b;
    unsigned seed = (unsigned)first;
    assert_int_equal(batch_new(f->schema, n, &b), 0);
    for (uint32_t i = 0; i < n; i++) {
        ((int64_t *)b->column[0].values)[i] = (first + i) * SECOND_US;
        ((int64_t *)b->column[1].values)[i] = first + i;
        ((double *)b->column[2].values)[i] = rand_r(&seed) * 1e-9;
        ((double *)b->column[3].values)[i] = rand_r(&seed) * 1e-9;
        b->n_rows++;
    }
    return b;
}

static void waited_done(void *ctx)
{
    struct waited *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

struct waited *waited_new(void)
{
    struct waited *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->ticket = (struct ticket){.done = waited_done, .ctx = w};
    return w;
}

int waited_for(struct waited *w, uint64_t *ret_position)
{
    struct timespec until = patience();
    pthread_mutex_lock(&w->lock);
    while (!w->done)
        assert_int_equal(pthread_cond_timedwait(&w->changed, &w->lock, &until), 0);
    pthread_mutex_unlock(&w->lock);
    int result = w->ticket.result;
    if (ret_position)
        *ret_position = w->ticket.position;
    free(w);
    return result;
}

int fixture_append(struct fixture *f, uint32_t source, int64_t first, uint32_t n,
                   const char *key, struct waited *w)
{
    struct batch *b = fixture_rows(f, first, n);
    const struct request_id k = {.key = key,
                                 .size = key ? strlen(key) : 0,
                                 .digest = (uint64_t)first,
                                 .answer = {.accepted = n}};
    const struct request r = {.source = source,
                              .n = 1,
                              .batch = &b,
                              .ticket = w ? &w->ticket : NULL,
                              .key = key ? &k : NULL};
    int err = log_append(f->log, &r);
    if (err)
        batch_unref(b);
    return err;
}

uint64_t fixture_durable(struct fixture *f, uint32_t source, int64_t first, uint32_t n,
                         const char *key)
{
    struct waited *w = waited_new();
    uint64_t position;
    assert_int_equal(fixture_append(f, source, first, n, key, w), 0);
    assert_int_equal(waited_for(w, &position), 0);
    return position;
}

static int note_key(void *ctx, const struct request_id *key, int64_t taken_us)
{
    struct fixture *f = ctx;
    (void)taken_us;
    size_t used = strlen(f->known);
    snprintf(f->known + used, sizeof(f->known) - used, "%.*s@%llu ", (int)key->size,
             key->key, (unsigned long long)key->answer.position);
    return 0;
}

const char *fixture_keys(struct fixture *f, uint64_t after, uint64_t up_to)
{
    f->known[0] = 0;
    assert_int_equal(log_keys(f->log, after, up_to, note_key, f), 0);
    return f->known;
}

void sink_check(const struct sink *s, uint64_t position, int64_t first, int64_t to)
{
    int64_t next = first;
    for (size_t i = 0; i < s->n; i++) {
        const struct log_entry *e = s->entry[i];
        if (e->kind != LOG_BATCH)
            continue;
        for (uint32_t k = 0; k < e->batch->n_rows; k++) {
            uint32_t index;
            uint64_t at = log_entry_row(e, k, &index);
            assert_true(at >= position);
            position = at;
            assert_int_equal(weir_int(&e->batch->view[1], k), next++);
        }
        assert_int_equal(e->keys[s->keys]->n, e->batch->n_rows);
    }
    assert_int_equal(next, to);
}
