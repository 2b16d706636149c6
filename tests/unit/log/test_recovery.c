/* SPDX-License-Identifier: Apache-2.0
 *
 * A log and its journal: what was said to be durable comes again, and goes once nobody needs it. fdatasync
 * can be made to fail (--wrap).
 */
#include "base/hash.h"
#include "fixture.h"

#include <unistd.h>

static _Atomic int sync_error, syncs_failed;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
    if (!sync_error)
        return __real_fdatasync(fd);
    syncs_failed++;
    errno = sync_error;
    return -1;
}

static void what_was_durable_comes_again_in_order(void **state)
{
    struct fixture *f = *state;
    uint32_t a, b;
    uint64_t position[300], last = 0;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(log_source(f->log, "left", 4, &a), 0);
    assert_int_equal(log_source(f->log, "right", 5, &b), 0);
    int64_t next = 0;
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t n = 1 + i % 7 * 700;
        position[i] = fixture_durable(f,
                                      i % 3 == 0   ? 0
                                      : i % 3 == 1 ? a
                                                   : b,
                                      next, n, NULL);
        assert_true(position[i] > last);
        last = position[i];
        next += n;
    }
    assert_int_equal(last, 300); /* each waited for the one before */
    fixture_leave(f);

    fixture_open(f);
    fixture_wait_ready(f);
    fixture_close(f, LOG_LEAVE);
    sink_check(&f->sink[0], 1, 0, next);
    for (size_t i = 0; i < f->sink[0].n; i++) {
        const struct log_entry *e = f->sink[0].entry[i];
        uint32_t place = (uint32_t)(e->position - 1) % 3;
        assert_int_equal(e->source, place == 0 ? 0 : place == 1 ? a : b);
    }
}

static void names_have_the_same_numbers_again(void **state)
{
    struct fixture *f = *state;
    uint32_t a, b, again;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(log_source(f->log, "left", 4, &a), 0);
    fixture_durable(f, a, 0, 1, NULL);
    assert_int_equal(log_source(f->log, "right", 5, &b), 0);
    fixture_durable(f, b, 1, 1, NULL);
    fixture_leave(f);

    /* Even if no entry is needed any more. */
    f->options.position = f->options.least = f->options.kept = f->sink[0].position = 2;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_string_equal(log_source_name(f->log, a), "left");
    assert_int_equal(log_source(f->log, "right", 5, &again), 0);
    assert_int_equal(again, b);
    assert_int_equal(fixture_durable(f, b, 2, 1, NULL), 3);
    fixture_leave(f);
    sink_check(&f->sink[0], 3, 2, 3);
}

static struct batch *one_row(const struct schema *s, int64_t n, double x)
{
    struct batch *b;
    assert_int_equal(batch_new(s, 1, &b), 0);
    for (size_t i = 0; i < s->n; i++)
        memset(b->column[i].values, 0, sizeof(int64_t));
    ((int64_t *)b->column[schema_find(s, "n")].values)[0] = n;
    ((double *)b->column[schema_find(s, "x")].values)[0] = x;
    b->n_rows = 1;
    return b;
}

/* Each row is found under the schema that it was written with, also in a segment that began with another. */
static void a_schema_may_change_from_start_to_start(void **state)
{
    struct fixture *f = *state;
    struct schema *old = f->schema, *fresh;
    assert_int_equal(schema_new(4, "ts", &fresh), 0);
    assert_int_equal(schema_set(fresh, 1, "n", WEIR_INT), 0);
    assert_int_equal(schema_set(fresh, 2, "y", WEIR_FLOAT), 0);
    assert_int_equal(schema_set(fresh, 3, "x", WEIR_FLOAT), 0);
    for (int i = 0; i < 6; i++) {
        struct schema *now = i % 2 ? fresh : old;
        f->options.schema = f->schema = now;
        fixture_open(f);
        fixture_wait_ready(f);
        struct batch *b = one_row(now, i, i + 0.5);
        struct waited *w = waited_new();
        const struct request r = {.n = 1, .batch = &b, .ticket = &w->ticket};
        assert_int_equal(log_append(f->log, &r), 0);
        assert_int_equal(waited_for(w, NULL), 0);
        fixture_leave(f);
        int64_t next = 0;
        for (size_t k = 0; k < f->sink[0].n; k++) {
            const struct batch *found = f->sink[0].entry[k]->batch;
            for (uint32_t row = 0; row < found->n_rows; row++, next++) {
                assert_int_equal(weir_int(&found->view[schema_find(now, "n")], row),
                                 next);
                assert_true(weir_number(&found->view[schema_find(now, "x")], row) ==
                            (double)next + 0.5);
            }
        }
        assert_int_equal(next, i + 1);
    }
    fixture_forget(f);
    f->schema = old;
    schema_free(fresh);
}

static void only_what_a_pipeline_does_not_know_comes_again(void **state)
{
    struct fixture *f = *state;
    f->n_sinks = 2;
    fixture_open(f);
    fixture_wait_ready(f);
    for (int64_t i = 0; i < 10; i++)
        assert_int_equal(fixture_durable(f, 0, i, 1, NULL), i + 1);
    fixture_leave(f);
    f->sink[0].position = 4;
    f->sink[1].position = 8;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(fixture_durable(f, 0, 10, 1, NULL), 11);
    fixture_leave(f);
    sink_check(&f->sink[0], 5, 4, 11);
    sink_check(&f->sink[1], 9, 8, 11);
}

/* ---- Keys of requests ------------------------------------------------------------------------- */

static void keys_are_known_again(void **state)
{
    struct fixture *f = *state;
    struct request_known known;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(log_key_begin(f->log, "one", 3, &known), 0);
    assert_int_equal(fixture_durable(f, 0, 0, 5, "one"), 1);
    assert_int_equal(log_key_begin(f->log, "two", 3, &known), 0);
    assert_int_equal(fixture_durable(f, 0, 5, 6, "two"), 2);
    fixture_leave(f);
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(log_key_begin(f->log, "two", 3, &known), 1);
    assert_int_equal(known.digest, 5);
    assert_int_equal(known.answer.accepted, 6);
    assert_int_equal(known.answer.position, 2);
    request_answer_free(&known.answer);
    assert_string_equal(fixture_keys(f, 0, UINT64_MAX), "one@1 two@2 ");
    assert_int_equal(log_key_begin(f->log, "three", 5, &known), 0);
    fixture_leave(f);
}

/* A checkpoint at an entry stores the keys up to it: they are to be known by then. */
static void check_key_is_known(struct fixture *f, const struct log_entry *e)
{
    if (e->kind != LOG_BATCH)
        return;
    char key[32];
    snprintf(key, sizeof(key), "key@%llu ", (unsigned long long)e->position);
    f->bad |= !strstr(fixture_keys(f, 0, e->position), key);
}

static void keys_are_read_before_their_entries(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(fixture_durable(f, 0, 0, 3, "key"), 1);
    fixture_leave(f);
    f->on_put = check_key_is_known;
    for (int i = 0; i < 50; i++) {
        fixture_open(f);
        fixture_wait_ready(f);
        fixture_wait_entries(f, &f->sink[0], 1);
        fixture_leave(f);
        assert_false(f->bad);
    }
}

/* ---- Checkpoints and the room of the journal --------------------------------------------------- */

#define LIMIT ((uint64_t)512 << 10)

static void wait_us(int64_t us)
{
    int64_t until_us = clock_monotonic_us() + us;
    while (clock_monotonic_us() < until_us)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void wait_checkpoints(struct fixture *f, const struct sink *s, size_t n)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    size_t now = 0;
    while (now < n && clock_monotonic_us() < until_us) {
        pthread_mutex_lock(&f->lock);
        now = s->checkpoints;
        pthread_mutex_unlock(&f->lock);
    }
    assert_true(now >= n);
}

static void wait_checkpointed(struct fixture *f, const struct sink *s,
                              uint64_t position)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    uint64_t now = 0;
    while (now < position && clock_monotonic_us() < until_us) {
        pthread_mutex_lock(&f->lock);
        now = s->checkpointed;
        pthread_mutex_unlock(&f->lock);
    }
    assert_true(now >= position);
}

static void do_nothing(void *ctx)
{
    (void)ctx;
}

static void wait_first(struct fixture *f, uint64_t first)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    while (log_first(f->log) < first) {
        assert_true(clock_monotonic_us() < until_us);
        usleep(1000);
    }
}

/* What the ticket says; or what log_append has said. */
static int try_durable(struct fixture *f, int64_t first, uint32_t n)
{
    struct waited *w = waited_new();
    int r = fixture_append(f, 0, first, n, NULL, w);
    if (r == 0)
        return waited_for(w, NULL);
    free(w);
    return r;
}

/* As a producer does that repeats what was not taken. */
static void durable_at_last(struct fixture *f, int64_t first, uint32_t n)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    int r;
    while ((r = try_durable(f, first, n)) == -EDQUOT) {
        assert_true(clock_monotonic_us() < until_us);
        usleep(1000);
    }
    assert_int_equal(r, 0);
}

static void what_all_have_stored_is_trimmed(void **state)
{
    struct fixture *f = *state;
    f->n_sinks = 2;
    f->options.checkpoint_interval_us = 1000;
    f->keeps = f->sink[1].stores = false;
    fixture_open(f);
    fixture_wait_ready(f);
    int64_t next = 0;
    for (int i = 0; i < 100; i++, next += 1000)
        fixture_durable(f, 0, next, 1000, NULL);
    wait_checkpoints(f, &f->sink[1], 1);
    uint64_t checkpointed = f->sink[1].checkpointed;
    assert_int_equal(log_first(f->log), 1);
    log_kept(f->log, 100); /* the second pipeline still needs all */
    fixture_durable(f, 0, next, 1, NULL);
    assert_int_equal(log_first(f->log), 1);
    pthread_mutex_lock(&f->lock);
    f->sink[1].stores = f->keeps = true;
    pthread_mutex_unlock(&f->lock);
    log_stored(f->log, "b", checkpointed);
    wait_first(f, 2);
    durable_at_last(f, next + 1, 1);
    wait_first(f, 50);
    assert_true(log_first(f->log) <= 102);
    fixture_leave(f);
    for (size_t i = 0; i < 2; i++)
        sink_check(&f->sink[i], 1, 0, next + 2);
    /* What is there comes again, and no more. */
    fixture_open(f);
    uint64_t first = log_first(f->log);
    fixture_wait_ready(f);
    fixture_leave(f);
    assert_int_equal(f->sink[0].entry[0]->position - f->sink[0].entry[0]->n_parts +
                         (f->sink[0].entry[0]->n_parts > 0),
                     first);
    sink_check(&f->sink[0], first, (int64_t)(first - 1) * 1000, next + 2);
}

/* Even if nothing comes any more, which would be the reason for another one. */
static void checkpoints_that_found_no_room_are_asked_for_again(void **state)
{
    struct fixture *f = *state;
    f->options.checkpoint_interval_us = 1000;
    f->sink[0].refusals = 3;
    fixture_open(f);
    fixture_wait_ready(f);
    for (int64_t i = 0; i < 10; i++)
        fixture_durable(f, 0, 1000 * i, 1000, NULL);
    pthread_mutex_lock(&f->lock);
    f->sink[0].refusals =
        3; /* of those for all that there is, whatever was asked for meanwhile */
    pthread_mutex_unlock(&f->lock);
    fixture_durable(f, 0, 10000, 5000, NULL);
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    for (uint64_t position = 0; position < 11;) {
        assert_true(clock_monotonic_us() < until_us);
        usleep(1000);
        pthread_mutex_lock(&f->lock);
        position = f->sink[0].checkpointed;
        pthread_mutex_unlock(&f->lock);
    }
    fixture_leave(f);
}

static void a_full_journal_refuses_who_asks_and_keeps_the_rest(void **state)
{
    struct fixture *f = *state;
    f->journal.limit = LIMIT;
    f->options.checkpoint_interval_us = 1000;
    f->options.linger_us = SECOND_US;
    f->sink[0].stores = false;
    fixture_open(f);
    fixture_wait_ready(f);
    int64_t next = 0;
    int r;
    while ((r = try_durable(f, next, 1000)) == 0)
        next += 1000;
    assert_int_equal(r, -EDQUOT);
    assert_in_range(next, LIMIT / 32 / 2, LIMIT / 16);
    /* Nobody is asked to wait for ever: after a while it is tried again. */
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    while ((r = fixture_append(f, 0, next, 1000, NULL, NULL)) == -EDQUOT) {
        assert_true(clock_monotonic_us() < until_us);
        usleep(1000);
    }
    assert_int_equal(r, 0);
    assert_int_equal(try_durable(f, -1, 1000), -EDQUOT);
    wait_checkpoints(f, &f->sink[0], 1);
    log_stored(f->log, "a", f->sink[0].checkpointed);
    pthread_mutex_lock(&f->lock);
    f->sink[0].stores = true;
    pthread_mutex_unlock(&f->lock);
    durable_at_last(f, next + 1000, 1000);
    assert_true(log_first(f->log) > 1);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, next + 2000);
}

static void who_has_failed_holds_the_journal_until_it_is_nearly_full(void **state)
{
    struct fixture *f = *state;
    f->n_sinks = 2;
    f->journal.limit = LIMIT;
    f->options.checkpoint_interval_us = 1000;
    fixture_open(f);
    fixture_wait_ready(f);
    f->sink[1].failed = true;
    int64_t next = 0;
    for (; next < 8000; next += 1000)
        fixture_durable(f, 0, next, 1000, NULL);
    wait_checkpointed(f, &f->sink[0], 8);
    assert_int_equal(log_first(f->log), 1);
    for (; next < (int64_t)LIMIT / 16 * 4; next += 1000)
        durable_at_last(f, next, 1000);
    assert_true(log_first(f->log) > 9);
    fixture_leave(f);
    assert_int_equal(f->sink[1].checkpoints, 0);
    for (size_t i = 0; i < 2; i++)
        sink_check(&f->sink[i], 1, 0, next);
}

/* Before it is nearly full: there is no room for the next request, and nobody else puts anything in. */
static void who_has_failed_gives_way_to_a_large_request(void **state)
{
    struct fixture *f = *state;
    f->n_sinks = 2;
    f->journal.limit = LIMIT;
    f->options.checkpoint_interval_us = 1000;
    fixture_open(f);
    fixture_wait_ready(f);
    f->sink[1].failed = true;
    int64_t next = 0;
    for (; next < 9000; next += 1000)
        fixture_durable(f, 0, next, 1000, NULL);
    wait_checkpointed(f, &f->sink[0], 9);
    for (int i = 0; i < 2; i++) /* the dispatch thread has looked at it between them */
        assert_int_equal(log_call(f->log, do_nothing, NULL), 0);
    assert_int_equal(log_first(f->log), 1);
    assert_int_equal(try_durable(f, next, 7500), -EDQUOT);
    durable_at_last(f, next, 7500);
    assert_true(log_first(f->log) > 1);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, next + 7500);
}

static void what_can_never_fit_is_refused_and_holds_nobody_up(void **state)
{
    struct fixture *f = *state;
    f->journal.limit = LIMIT;
    f->options.checkpoint_interval_us = 1000;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(fixture_append(f, 0, 0, 13000, NULL, NULL), -EMSGSIZE);
    assert_int_equal(try_durable(f, 0, 13000), -EMSGSIZE);
    /* The largest that is taken, again and again: each needs the room of those before it. */
    int64_t next = 0;
    for (; next < 8 * 7500; next += 7500)
        durable_at_last(f, next, 7500);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, next);
}

/* Together they are more than the journal may have. */
static void rows_that_nobody_waits_for_are_written_in_pieces_that_fit(void **state)
{
    struct fixture *f = *state;
    f->journal.limit = LIMIT;
    f->options.checkpoint_interval_us = 1000;
    f->options.linger_us = SECOND_US;
    fixture_open(f);
    fixture_wait_ready(f);
    int64_t next = 0;
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    for (; next < 30000; next += 1000) {
        int r;
        while ((r = fixture_append(f, 0, next, 1000, NULL, NULL)) == -EDQUOT) {
            assert_true(clock_monotonic_us() < until_us); /* until it is trimmed */
            usleep(1000);
        }
        assert_int_equal(r, 0);
    }
    while (log_last(f->log) < 3) /* pieces, not how many */
        assert_true(clock_monotonic_us() < until_us);
    durable_at_last(f, next, 1);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, next + 1);
}

/* Behind rows that fill a frame and that cannot be written. */
static void who_asks_behind_a_full_frame_is_refused_too(void **state)
{
    struct fixture *f = *state;
    f->journal.limit = LIMIT;
    f->options.checkpoint_interval_us = 1000;
    f->options.linger_us = SECOND_US;
    f->sink[0].stores = false;
    fixture_open(f);
    fixture_wait_ready(f);
    int64_t next = 0;
    while (try_durable(f, next, 1000) == 0)
        next += 1000;
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    int r;
    while ((r = fixture_append(f, 0, next, 6000, NULL, NULL)) == -EDQUOT) {
        assert_true(clock_monotonic_us() < until_us);
        usleep(1000);
    }
    assert_int_equal(r, 0);
    assert_int_equal(try_durable(f, -1, 6000), -EDQUOT);
    log_stored(f->log, "a", log_last(f->log));
    f->sink[0].stores = true;
    durable_at_last(f, next + 6000, 6000);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, next + 12000);
}

/* ---- The end ---------------------------------------------------------------------------------- */

static void *close_soon(void *ctx)
{
    struct fixture *f = ctx;
    log_close(f->log, LOG_STOP, clock_monotonic_us() + SECOND_US / 10);
    return NULL;
}

/* The pipelines do not get on: what they have not been given is in the journal. */
static void an_end_that_cannot_wait_leaves_the_rest_to_the_next_start(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    f->options.checkpoint_interval_us = 3600 * SECOND_US;
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_gate(f, true);
    int64_t next = 0;
    for (; next < 20 * LOG_GATHER_ROWS; next += LOG_GATHER_ROWS)
        fixture_durable(f, 0, next, LOG_GATHER_ROWS, NULL);
    assert_int_equal(pthread_create(&thread, NULL, close_soon, f), 0);
    wait_us(SECOND_US / 2);
    fixture_gate(f, false);
    pthread_join(thread, NULL);
    fixture_leave(f);
    assert_true(f->sink[0].n < 20);
    assert_int_equal(f->sink[0].checkpoints, 0);
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_close(f, LOG_STOP);
    assert_int_equal(f->sink[0].checkpoints, 1);
    assert_int_equal(f->sink[0].checkpointed, 20);
    sink_check(&f->sink[0], 1, 0, next);
}

static void an_end_with_a_full_journal_comes_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    f->journal.limit = LIMIT;
    f->sink[0].stores = false;
    fixture_open(f);
    fixture_wait_ready(f);
    int64_t next = 0;
    int r;
    while ((r = try_durable(f, next, 1000)) == 0)
        next += 1000;
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    while ((r = fixture_append(f, 0, next, 1000, NULL, NULL)) == -EDQUOT) {
        assert_true(clock_monotonic_us() < until_us);
        usleep(1000);
    }
    assert_int_equal(r, 0);
    int64_t since_us = clock_monotonic_us();
    close_soon(f);
    assert_in_range(clock_monotonic_us() - since_us, SECOND_US / 10, 10 * SECOND_US);
    fixture_leave(f);
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, next); /* what was said to be durable, and no more */
}

/* What was written and not synced is there after all: it was not said to be lost, nor handed on before. */
static void
a_frame_that_may_be_on_disk_is_neither_there_nor_lost_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct waited *unknown = waited_new(), *behind = waited_new();
    struct request_known known;
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_durable(f, 0, 0, 5, NULL);
    fixture_wait_entries(f, &f->sink[0], 1);
    sync_error = EIO;
    syncs_failed = 0;
    assert_int_equal(log_key_begin(f->log, "key", 3, &known), 0);
    assert_int_equal(fixture_append(f, 0, 5, 5, "key", unknown), 0);
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    while (!syncs_failed)
        assert_true(clock_monotonic_us() < until_us);
    assert_int_equal(fixture_append(f, 0, 10, 5, NULL, NULL), 0);
    assert_int_equal(fixture_append(f, 0, 15, 5, NULL, behind), 0);
    close_soon(f);
    assert_int_equal(waited_for(unknown, NULL), -EIO);
    assert_int_equal(waited_for(behind, NULL), -ESHUTDOWN);
    assert_int_equal(log_key_begin(f->log, "key", 3, &known), -EBUSY);
    sync_error = 0;
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, 5);
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(log_key_begin(f->log, "key", 3, &known), 1);
    request_answer_free(&known.answer);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, 10);
}

/* ---- Silence ---------------------------------------------------------------------------------- */

#define IDLE_US (SECOND_US / 2)

/* Reading the journal takes longer than a source may be silent: nobody could send meanwhile. */
static void nobody_is_silent_while_the_journal_is_read(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_wait_ready(f);
    for (int64_t i = 0; i < 40; i++)
        fixture_durable(f, 0, i, 1, NULL);
    fixture_leave(f);
    f->sink[0].idle_us = IDLE_US;
    fixture_gate(f, true);
    fixture_open(f);
    wait_us(2 * IDLE_US);
    int64_t since_us = clock_monotonic_us();
    fixture_gate(f, false);
    fixture_wait_kind(f, &f->sink[0], LOG_IDLE);
    assert_true(clock_monotonic_us() - since_us >= IDLE_US);
    fixture_leave(f);
}

/* A watermark may know a source by a number that no name has any more. */
static void a_source_without_a_name_becomes_idle(void **state)
{
    struct fixture *f = *state;
    int64_t source_us[] = {INT64_MIN, INT64_MIN, 5 * SECOND_US};
    f->sink[0].idle_us = IDLE_US;
    f->sink[0].source_us = source_us;
    f->sink[0].n_sources = 3;
    fixture_open(f);
    /* Those of source 0 may have sent rows before they had reached anything; of source 1 nobody has heard. */
    fixture_wait_entries(f, &f->sink[0], 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(f->sink[0].entry[i]->kind, LOG_IDLE);
        assert_int_equal(f->sink[0].entry[i]->source, 2 * i);
    }
    fixture_leave(f);
}

/* ---- Damage ----------------------------------------------------------------------------------- */

/* Flips a bit in the payload of frame `k` of a segment (docs/journal.md draws the bytes). */
static void damage(struct fixture *f, unsigned segment, unsigned k)
{
    char path[128];
    uint64_t at = 0, size;
    snprintf(path, sizeof(path), "%s/%08u.journal", f->folder, segment);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    for (;; k--) {
        assert_int_equal(fseek(file, (long)at + 24, SEEK_SET), 0);
        assert_int_equal(fread(&size, sizeof(size), 1, file), 1);
        if (k == 0)
            break;
        at += (64 + size + 4095) / 4096 * 4096;
    }
    assert_int_equal(fseek(file, (long)(at + 64 + size / 2), SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    assert_int_equal(fputc(byte ^ 0x10, file), byte ^ 0x10);
    assert_int_equal(fclose(file), 0);
}

/* The rows of all batches, by their n. */
static void check_rows(const struct sink *s, const int64_t *n, size_t n_rows)
{
    size_t next = 0;
    for (size_t i = 0; i < s->n; i++)
        for (uint32_t k = 0; k < s->entry[i]->batch->n_rows; k++, next++) {
            assert_true(next < n_rows);
            assert_int_equal(weir_int(&s->entry[i]->batch->view[1], k), n[next]);
        }
    assert_int_equal(next, n_rows);
}

static uint32_t source_of(struct fixture *f, const char *name)
{
    uint32_t source;
    assert_int_equal(log_source(f->log, name, strlen(name), &source), 0);
    return source;
}

static double unreadable(struct fixture *f)
{
    struct buffer b = {0};
    const char name[] = "\nweir_log_unreadable_batches_total{stream=\"s\"} ";
    metrics_print(f->metrics, &b);
    const char *at = strstr(buffer_text(&b), name);
    assert_non_null(at);
    double value = strtod(at + strlen(name), NULL);
    buffer_free(&b);
    return value;
}

/* One frame each: a begins the segment, "b" and "c" are said where they send first. */
static void a_number_whose_name_was_lost_is_nobody_elses(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_durable(f, source_of(f, "a"), 0, 1, NULL);
    fixture_durable(f, source_of(f, "b"), 1, 1, NULL);
    fixture_durable(f, source_of(f, "c"), 2, 1, NULL);
    fixture_durable(f, source_of(f, "d"), 3, 1, NULL);
    fixture_durable(f, source_of(f, "d"), 4, 1, NULL);
    fixture_leave(f);
    damage(f, 1, 2); /* after what begins the segment, and a */
    damage(f, 1, 4);
    f->journal.skip_damaged = true;
    for (int i = 0; i < 3;
         i++) { /* the second time it is read as it was written then */
        fixture_open(f);
        fixture_wait_ready(f);
        assert_int_equal(source_of(f, "a"), 1);
        assert_string_equal(log_source_name(f->log, 2), "?2");
        assert_int_equal(source_of(f, "c"), 3);
        assert_string_equal(log_source_name(f->log, 4), "?4");
        assert_int_equal(source_of(f, "new"), 5);
        assert_int_equal(fixture_durable(f, 5, 5 + i, 1, NULL), 6 + i);
        fixture_leave(f);
        static const int64_t kept[] = {0, 2, 4, 5, 6, 7};
        check_rows(&f->sink[0], kept, 4 + (size_t)i);
    }
}

/* A checkpoint knows the number. */
static void a_lost_number_that_a_watermark_knows_is_nobody_elses(void **state)
{
    struct fixture *f = *state;
    const int64_t source_us[] = {INT64_MIN, 0, SECOND_US};
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_durable(f, source_of(f, "a"), 0, 1, NULL);
    fixture_durable(f, source_of(f, "b"), 1, 1, NULL);
    fixture_durable(f, source_of(f, "a"), 2, 1, NULL);
    fixture_leave(f);
    damage(f, 1, 2);
    f->journal.skip_damaged = true;
    f->sink[0].position = 2;
    f->sink[0].source_us = source_us;
    f->sink[0].n_sources = 3;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(source_of(f, "new"), 3);
    fixture_leave(f);
    sink_check(&f->sink[0], 3, 2, 3);
}

/* Two segments of two requests each, and a third one. Frames of the first one: its beginning, 1, 2; of the second
 * one: its beginning, 3, 4. */
static void fill_segments(struct fixture *f)
{
    f->options.linger_us = 0;
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_durable(f, source_of(f, "a"), 0, 1000, NULL);
    fixture_durable(f, source_of(f, "b"), 1000, 1000, NULL);
    for (int64_t next = 2000; next < 5000; next += 1000)
        fixture_durable(f, source_of(f, "a"), next, 1000, NULL);
    fixture_leave(f);
    f->journal.skip_damaged = true;
}

static void a_segment_without_its_beginning_is_read_by_what_follows(void **state)
{
    struct fixture *f = *state;
    fill_segments(f);
    damage(f, 1, 0); /* what is in the first frame behind it is said there again */
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(source_of(f, "b"), 2);
    assert_int_equal(unreadable(f), 0);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, 5000);
}

static void without_a_schema_batches_are_passed_over_and_counted(void **state)
{
    struct fixture *f = *state;
    fill_segments(f);
    damage(f, 1, 0);
    damage(f, 1, 1);
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(source_of(f, "a"), 1); /* the next segment says it again */
    assert_int_equal(source_of(f, "b"), 2);
    assert_int_equal(unreadable(f), 1);
    fixture_leave(f);
    sink_check(&f->sink[0], 3, 2000, 5000);
    damage(f, 2, 0); /* from here on there is no schema before the third segment */
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(source_of(f, "new"), 3);
    assert_int_equal(unreadable(f), 3);
    fixture_leave(f);
    sink_check(&f->sink[0], 5, 4000, 5000);
}

/* As many columns, as wide: nothing but the names tells one from the other. */
static void rows_are_not_read_by_a_schema_from_before_the_gap(void **state)
{
    struct fixture *f = *state;
    struct schema *old = f->schema, *fresh;
    assert_int_equal(schema_new(4, "ts", &fresh), 0);
    assert_int_equal(schema_set(fresh, 1, "n", WEIR_INT), 0);
    assert_int_equal(schema_set(fresh, 2, "y", WEIR_FLOAT), 0);
    assert_int_equal(schema_set(fresh, 3, "x", WEIR_FLOAT), 0);
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_durable(f, 0, 0, 1, NULL);
    fixture_leave(f);
    f->options.schema = f->schema = fresh;
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_durable(f, 0, 1, 1, NULL);
    fixture_durable(f, 0, 2, 1, NULL);
    fixture_leave(f);
    damage(f, 1, 2); /* in which the schema changes */
    f->journal.skip_damaged = true;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(unreadable(f), 1);
    fixture_durable(f, 0, 3, 1, NULL);
    fixture_leave(f);
    check_rows(&f->sink[0], (const int64_t[]){0, 3}, 2);
    fixture_forget(f);
    f->schema = old;
    schema_free(fresh);
}

/* ---- Pipelines that come and go --------------------------------------------------------------- */

struct newcomer {
    struct fixture *fixture;
    uint64_t missed; /* log_last when it came */
    int result;
};

static void come_anew(void *ctx)
{
    struct newcomer *c = ctx;
    struct fixture *f = c->fixture;
    struct sink *s = &f->sink[1];
    struct error error = {0};
    log_unsubscribe(f->log, s->name);
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < s->n; i++)
        log_entry_unref(s->entry[i]);
    s->n = 0;
    pthread_mutex_unlock(&f->lock);
    c->missed = log_last(f->log);
    struct log_sink sink = sink_of(s);
    c->result = log_resubscribe(f->log, &sink, &s->keys, &error);
}

static void forget_and_close(struct fixture *f)
{
    log_close(f->log, LOG_FINISH, INT64_MAX);
    log_forget(f->log);
    fixture_leave(f);
}

static void what_is_not_stored_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_durable(f, 0, 0, 3, "key");
    f->sink[0].stores = false;
    forget_and_close(f);
    f->sink[0].stores = true;
    f->keeps = false;
    fixture_open(f);
    fixture_wait_ready(f);
    forget_and_close(f);
    sink_check(&f->sink[0], 1, 0, 3);
    f->keeps = true;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_string_equal(fixture_keys(f, 0, 1), "key@1 ");
    forget_and_close(f);
    sink_check(&f->sink[0], 1, 0, 3);
    f->options.position = f->options.least = f->options.kept = f->sink[0].position = 1;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(log_last(f->log), 1);
    assert_int_equal(log_first(f->log), 2);
    fixture_leave(f);
    assert_int_equal(f->sink[0].n, 0);
}

static void names_outlive_what_is_forgotten(void **state)
{
    struct fixture *f = *state;
    uint32_t a, b;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_int_equal(log_source(f->log, "left", 4, &a), 0);
    assert_int_equal(log_source(f->log, "right", 5, &b), 0);
    fixture_durable(f, b, 0, 3, NULL);
    forget_and_close(f);
    f->options.position = f->options.least = f->options.kept = f->sink[0].position = 1;
    fixture_open(f);
    fixture_wait_ready(f);
    assert_string_equal(log_source_name(f->log, a), "left");
    assert_string_equal(log_source_name(f->log, b), "right");
    assert_int_equal(fixture_durable(f, b, 3, 1, NULL), 2);
    fixture_leave(f);
    fixture_open(f);
    fixture_leave(f);
    sink_check(&f->sink[0], 2, 3, 4);
}

static _Atomic bool storing;

static void *store_again_and_again(void *ctx)
{
    struct fixture *f = ctx;
    while (storing)
        log_stored(f->log, "b", 0);
    return NULL;
}

static void who_comes_later_gets_what_it_missed(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    f->sink[0].idle_us = 1; /* the gatherer looks at the list, too */
    fixture_open(f);
    fixture_wait_ready(f);
    storing = true;
    assert_int_equal(pthread_create(&thread, NULL, store_again_and_again, f), 0);
    struct newcomer c = {.fixture = f};
    int64_t next = 0;
    for (int i = 0; i < 100; i++) {
        fixture_durable(f, 0, next, 3, NULL);
        next += 3;
        f->sink[1].position = 0;
        assert_int_equal(log_call(f->log, come_anew, &c), 0);
        assert_int_equal(c.result, 0);
        /* What waits in the backlog comes later; time may go on, too. */
        assert_true(c.missed <= log_last(f->log));
    }
    storing = false;
    pthread_join(thread, NULL);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, next);
    sink_check(&f->sink[1], 1, 0, next);
}

/* It was not asked for the checkpoint that is under way, and would be waited for. */
static void who_comes_during_a_checkpoint_is_asked_for_one(void **state)
{
    struct fixture *f = *state;
    f->n_sinks = 2;
    f->options.checkpoint_interval_us = 1000;
    f->sink[1].stores = false;
    fixture_open(f);
    fixture_wait_ready(f);
    int64_t next = 0;
    for (int i = 0; i < 100; i++, next += 1000)
        fixture_durable(f, 0, next, 1000, NULL);
    wait_checkpoints(f, &f->sink[1], 1);
    assert_int_equal(log_first(f->log), 1);
    struct newcomer c = {.fixture = f};
    f->sink[1].stores = true;
    assert_int_equal(log_call(f->log, come_anew, &c), 0);
    assert_int_equal(c.result, 0);
    wait_first(f, 50); /* also if nothing more comes */
    fixture_leave(f);
}

/* As a backup does. Nothing new comes in then: the next checkpoint will not do it. */
static void what_was_held_is_trimmed_once_there_is_no_room(void **state)
{
    struct fixture *f = *state;
    int hold, r;
    f->journal.limit = LIMIT;
    f->options.checkpoint_interval_us = 1000;
    f->sink[0].stores = false;
    fixture_open(f);
    fixture_wait_ready(f);
    int64_t next = 0;
    while ((r = try_durable(f, next, 1000)) == 0)
        next += 1000;
    assert_int_equal(r, -EDQUOT);
    assert_int_equal(journal_hold(f->folder, &hold, NULL), 0);
    wait_checkpoints(f, &f->sink[0], 1);
    f->sink[0].stores = true;
    log_stored(f->log, "a", f->sink[0].checkpointed);
    wait_checkpointed(f, &f->sink[0], (uint64_t)next / 1000);
    usleep(200000); /* for it to be tried in vain */
    assert_int_equal(log_first(f->log), 1);
    close(hold);
    wait_first(f, 2);
    durable_at_last(f, next, 1000);
    fixture_leave(f);
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_durable_comes_again_in_order,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(names_have_the_same_numbers_again,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_schema_may_change_from_start_to_start,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(only_what_a_pipeline_does_not_know_comes_again,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(keys_are_known_again, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(keys_are_read_before_their_entries,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_is_not_stored_is_not_forgotten,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(names_outlive_what_is_forgotten, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_all_have_stored_is_trimmed, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(
            checkpoints_that_found_no_room_are_asked_for_again, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            a_full_journal_refuses_who_asks_and_keeps_the_rest, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            who_has_failed_holds_the_journal_until_it_is_nearly_full, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(who_has_failed_gives_way_to_a_large_request,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            what_can_never_fit_is_refused_and_holds_nobody_up, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            rows_that_nobody_waits_for_are_written_in_pieces_that_fit, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(who_asks_behind_a_full_frame_is_refused_too,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            an_end_that_cannot_wait_leaves_the_rest_to_the_next_start, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            an_end_with_a_full_journal_comes_at_its_deadline, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            a_frame_that_may_be_on_disk_is_neither_there_nor_lost_at_the_end,
            fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(nobody_is_silent_while_the_journal_is_read,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_source_without_a_name_becomes_idle,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(who_comes_during_a_checkpoint_is_asked_for_one,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_was_held_is_trimmed_once_there_is_no_room,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_number_whose_name_was_lost_is_nobody_elses,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            a_lost_number_that_a_watermark_knows_is_nobody_elses, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            a_segment_without_its_beginning_is_read_by_what_follows, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            without_a_schema_batches_are_passed_over_and_counted, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            rows_are_not_read_by_a_schema_from_before_the_gap, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(who_comes_later_gets_what_it_missed,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
