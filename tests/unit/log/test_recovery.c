/* SPDX-License-Identifier: Apache-2.0
 *
 * A log and its journal: what was said to be durable comes again, and goes once nobody needs it.
 */
#include "base/hash.h"
#include "fixture.h"

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

/* ---- Pipelines that come and go --------------------------------------------------------------- */

struct newcomer {
    struct fixture *fixture;
    uint64_t missed; /* log_position when it came */
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
    c->missed = log_position(f->log);
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
    assert_int_equal(log_end(f->log), 1);
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
    f->sink[0].idle_us = 1; /* the log thread looks at the list, too */
    fixture_open(f);
    fixture_wait_ready(f);
    storing = true;
    assert_int_equal(pthread_create(&thread, NULL, store_again_and_again, f), 0);
    struct newcomer c = {.fixture = f};
    int64_t next = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t position = fixture_durable(f, 0, next, 3, NULL);
        next += 3;
        f->sink[1].position = 0;
        assert_int_equal(log_call(f->log, come_anew, &c), 0);
        assert_int_equal(c.result, 0);
        assert_true(c.missed >= position - 1);
    }
    storing = false;
    pthread_join(thread, NULL);
    fixture_leave(f);
    sink_check(&f->sink[0], 1, 0, next);
    sink_check(&f->sink[1], 1, 0, next);
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_durable_comes_again_in_order,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(names_have_the_same_numbers_again,
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
        cmocka_unit_test_setup_teardown(who_comes_later_gets_what_it_missed,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
