/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys of requests: against a naive model, at their limits, and from many threads.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "log/idempotency.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define T0 (1700000000 * SECOND_US)

static struct {
    struct idempotency *keys;
    struct metrics *metrics;
} t;

static void open_keys(uint64_t max_keys, int64_t retain_us)
{
    const struct idempotency_options options = {
        .stream = "ticks", .max_keys = max_keys, .retain_us = retain_us};
    assert_int_equal(metrics_new(&t.metrics), 0);
    assert_int_equal(idempotency_new(&options, t.metrics, &t.keys), 0);
}

static int tear_down(void **state)
{
    (void)state;
    idempotency_free(t.keys);
    metrics_free(t.metrics);
    return 0;
}

static bool metrics_say(const char *line)
{
    struct buffer b = {0};
    metrics_print(t.metrics, &b);
    bool said = strstr(buffer_text(&b), line);
    buffer_free(&b);
    return said;
}

/* What begin says; of a known key its answer must be that of `position`. */
static int begin(const char *key, int64_t now_us, uint64_t position)
{
    struct request_known known = {0};
    int rc = idempotency_begin(t.keys, key, strlen(key), now_us, &known);
    if (rc != 1)
        return rc;
    assert_int_equal(known.digest, position * 7);
    assert_int_equal(known.answer.position, position);
    assert_int_equal(known.answer.accepted, position + 1);
    assert_int_equal(known.answer.rejected, position % 3);
    if (position % 3)
        assert_memory_equal(known.answer.errors, "[{},{},{}]", position % 3 * 3);
    assert_int_equal(known.answer.errors_size, position % 3 * 3);
    request_answer_free(&known.answer);
    return 1;
}

static int complete(const char *key, int64_t taken_us, uint64_t position)
{
    static char errors[] = "[{},{},{}]";
    struct request_id k = {.key = key,
                           .size = strlen(key),
                           .digest = position * 7,
                           .answer = {.accepted = position + 1,
                                      .rejected = position % 3,
                                      .position = position}};
    if (position % 3) {
        k.answer.errors = errors;
        k.answer.errors_size = position % 3 * 3;
    }
    return idempotency_complete(t.keys, &k, taken_us);
}

static void key_is_reserved_then_known(void **state)
{
    (void)state;
    open_keys(10, 3600 * SECOND_US);
    assert_int_equal(begin("a", T0, 0), 0);
    assert_int_equal(begin("a", T0, 0), -EBUSY);
    assert_int_equal(begin("b", T0, 0), 0);
    assert_int_equal(complete("a", T0, 5), 0);
    assert_int_equal(begin("a", T0 + 1, 5), 1);
    assert_int_equal(begin("a", T0 + 2, 5), 1);
    assert_int_equal(begin("b", T0, 0), -EBUSY);
    idempotency_abandon(t.keys, "b", 1);
    assert_int_equal(begin("b", T0, 0), 0);
    idempotency_abandon(t.keys, "a", 1); /* harmless: it is known */
    idempotency_abandon(t.keys, "c", 1);
    assert_int_equal(begin("a", T0, 5), 1);
    assert_int_equal(begin("c", T0, 0), 0);
    assert_true(metrics_say("weir_idempotency_keys{stream=\"ticks\"} 1\n"));
    assert_true(metrics_say("weir_idempotency_replayed_total{stream=\"ticks\"} 3\n"));
}

static void key_of_any_length_is_told_from_its_beginning(void **state)
{
    (void)state;
    char key[REQUEST_KEY_MAX + 1] = "";
    open_keys(1000, 3600 * SECOND_US);
    for (uint64_t i = 1; i <= REQUEST_KEY_MAX; i++) {
        key[i - 1] = 'k';
        assert_int_equal(begin(key, T0, 0), 0);
        assert_int_equal(complete(key, T0, i), 0);
    }
    for (uint64_t i = REQUEST_KEY_MAX; i >= 1; i--) {
        assert_int_equal(begin(key, T0, i), 1);
        key[i - 1] = 0;
    }
}

static void key_is_forgotten_by_age(void **state)
{
    (void)state;
    open_keys(1000, 10 * SECOND_US);
    complete("a", T0, 1);
    complete("b", T0 + 5 * SECOND_US, 2);
    assert_int_equal(begin("a", T0 + 10 * SECOND_US - 1, 1), 1);
    assert_int_equal(begin("a", T0 + 10 * SECOND_US, 0), 0);
    assert_int_equal(begin("b", T0 + 10 * SECOND_US, 2), 1);
    assert_int_equal(begin("b", T0 + 15 * SECOND_US, 0), 0);
    assert_true(metrics_say(
        "weir_idempotency_evicted_total{stream=\"ticks\",reason=\"age\"} 2\n"));
    assert_true(metrics_say("weir_idempotency_keys{stream=\"ticks\"} 0\n"));
    /* reserved ones have no age */
    assert_int_equal(begin("a", T0 + 1000 * SECOND_US, 0), -EBUSY);
}

static void oldest_keys_go_when_there_are_too_many(void **state)
{
    (void)state;
    char key[16];
    open_keys(100, 3600 * SECOND_US);
    for (uint64_t i = 1; i <= 1000; i++) {
        snprintf(key, sizeof(key), "k%llu", (unsigned long long)i);
        assert_int_equal(begin(key, T0, 0), 0);
        assert_int_equal(complete(key, T0, i), 0);
    }
    for (uint64_t i = 901; i <= 1000; i++) {
        snprintf(key, sizeof(key), "k%llu", (unsigned long long)i);
        assert_int_equal(begin(key, T0, i), 1);
    }
    assert_int_equal(begin("k900", T0, 0), 0);
    assert_true(metrics_say(
        "weir_idempotency_evicted_total{stream=\"ticks\",reason=\"number\"} 900\n"));
    assert_true(metrics_say("weir_idempotency_keys{stream=\"ticks\"} 100\n"));
}

static void errors_of_many_keys_are_bounded_in_memory(void **state)
{
    (void)state;
    enum { KEYS = 1000, SIZE = 20000 };
    static char errors[SIZE];
    char key[16];
    open_keys(KEYS, 3600 * SECOND_US);
    for (uint64_t i = 1; i <= KEYS; i++) {
        snprintf(key, sizeof(key), "k%llu", (unsigned long long)i);
        const struct request_id k = {
            .key = key,
            .size = strlen(key),
            .answer = {.position = i, .errors = errors, .errors_size = SIZE}};
        assert_int_equal(idempotency_complete(t.keys, &k, T0), 0);
    }
    /* 400,000 bytes hold no more than 20 times 20,000, and the keys beside: 19 */
    assert_true(metrics_say("weir_idempotency_keys{stream=\"ticks\"} 19\n"));
    assert_true(metrics_say(
        "weir_idempotency_evicted_total{stream=\"ticks\",reason=\"memory\"} 981\n"));
}

/* ---- All of them ---- */

struct seen {
    uint64_t position[5000];
    size_t n, stop_at;
};

static int see(void *ctx, const struct request_id *key, int64_t taken_us)
{
    struct seen *s = ctx;
    char expected[32];
    snprintf(expected, sizeof(expected), "k%05lld", (long long)(taken_us - T0));
    assert_int_equal(key->size, strlen(expected));
    assert_memory_equal(key->key, expected, key->size);
    assert_int_equal(key->answer.accepted, key->answer.position + 1);
    s->position[s->n++] = key->answer.position;
    return s->n == s->stop_at ? -EIO : 0;
}

/* Three requests share a position; they come nearly in order. */
static void keys_are_shown_by_position(void **state)
{
    (void)state;
    static struct seen s;
    open_keys(10000, 3600 * SECOND_US);
    for (int i = 0; i < 4500; i++) {
        int k = i ^ 1;
        char key[16];
        snprintf(key, sizeof(key), "k%05d", k);
        assert_int_equal(complete(key, T0 + k, (uint64_t)k / 3 + 1), 0);
    }
    s.n = 0;
    assert_int_equal(idempotency_each(t.keys, 0, UINT64_MAX, see, &s), 0);
    assert_int_equal(s.n, 4500);
    for (size_t i = 0; i < s.n; i++)
        assert_int_equal(s.position[i], i / 3 + 1);
    s.n = 0;
    assert_int_equal(idempotency_each(t.keys, 100, 200, see, &s), 0);
    assert_int_equal(s.n, 300);
    assert_int_equal(s.position[0], 101);
    assert_int_equal(s.position[299], 200);
    s.n = 0;
    assert_int_equal(idempotency_each(t.keys, 1500, UINT64_MAX, see, &s), 0);
    assert_int_equal(s.n, 0);
    s.stop_at = 7;
    assert_int_equal(idempotency_each(t.keys, 0, UINT64_MAX, see, &s), -EIO);
    assert_int_equal(s.n, 7);
}

/* ---- Against a model ---- */

#define MODEL_KEYS 200

static uint64_t dice(void)
{
    static uint64_t x = 88172645463325252;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

/* Keys come and go by age only; the model is an array. */
static void same_as_a_naive_model(void **state)
{
    (void)state;
    struct {
        bool reserved, known;
        int64_t taken_us;
        uint64_t position;
    } model[MODEL_KEYS] = {0};
    int64_t now_us = T0, retain_us = 1000;
    uint64_t position = 0;
    open_keys(1000, retain_us);
    for (int i = 0; i < 200000; i++) {
        size_t k = dice() % MODEL_KEYS;
        char key[16];
        snprintf(key, sizeof(key), "%zu", k);
        now_us += (int64_t)(dice() % 5);
        if (model[k].known && model[k].taken_us + retain_us <= now_us)
            model[k].known = false;
        if (!model[k].reserved) {
            assert_int_equal(begin(key, now_us, model[k].position), model[k].known);
            model[k].reserved = !model[k].known;
        } else if (dice() % 3 == 0) {
            assert_int_equal(begin(key, now_us, 0), -EBUSY);
        } else if (dice() % 4 == 0) {
            idempotency_abandon(t.keys, key, strlen(key));
            model[k].reserved = false;
        } else {
            assert_int_equal(complete(key, now_us, ++position), 0);
            model[k].reserved = false;
            model[k].known = true;
            model[k].taken_us = now_us;
            model[k].position = position;
        }
    }
}

/* ---- Many threads ---- */

static _Atomic uint64_t taken, next_position;
static _Atomic bool stop;

static void *producer(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        char key[16];
        struct request_known known;
        int size = snprintf(key, sizeof(key), "k%05d", i);
        int rc = idempotency_begin(t.keys, key, (size_t)size, T0, &known);
        if (rc == 1)
            request_answer_free(&known.answer);
        if (rc)
            continue;
        taken++;
        complete(key, T0 + i, ++next_position);
    }
    return NULL;
}

static int look(void *ctx, const struct request_id *key, int64_t taken_us)
{
    char expected[16];
    (void)ctx;
    snprintf(expected, sizeof(expected), "k%05d", (int)(taken_us - T0));
    assert_memory_equal(key->key, expected, key->size);
    return 0;
}

static void *looker(void *arg)
{
    (void)arg;
    while (!stop) {
        idempotency_each(t.keys, next_position / 2, UINT64_MAX, look, NULL);
        nanosleep(&(struct timespec){.tv_nsec = 10000},
                  NULL); /* valgrind's lock is not fair */
    }
    return NULL;
}

static void each_key_is_new_to_one_thread_only(void **state)
{
    (void)state;
    pthread_t thread[4];
    open_keys(100000, 3600 * SECOND_US);
    taken = next_position = 0;
    stop = false;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, i ? producer : looker, NULL),
                         0);
    for (int i = 1; i < 4; i++)
        pthread_join(thread[i], NULL);
    stop = true;
    pthread_join(thread[0], NULL);
    assert_int_equal(taken, 20000);
    assert_true(metrics_say("weir_idempotency_keys{stream=\"ticks\"} 20000\n"));
}

/* ---- Known before their place is -------------------------------------------------------------- */

#define EARLY 100000

/* Keys of requests that nobody waits for are completed twice: at once, at the end of the list, and when they have
 * their position. However many wait, that takes no longer. */
static void keys_that_wait_for_their_position_get_it_in_no_time(void **state)
{
    (void)state;
    char key[32];
    open_keys(EARLY, 3600 * SECOND_US);
    for (int i = 0; i < EARLY; i++) {
        snprintf(key, sizeof(key), "early-%d", i);
        assert_int_equal(begin(key, T0, 0), 0);
        assert_int_equal(complete(key, T0, UINT64_MAX), 0);
    }
    int64_t since_us = clock_monotonic_us();
    for (int i = 0; i < EARLY; i++) {
        snprintf(key, sizeof(key), "early-%d", i);
        assert_int_equal(complete(key, T0 + i, (uint64_t)i / 3 + 1), 0);
    }
    assert_true(clock_monotonic_us() - since_us < 3 * SECOND_US);
    for (int i = 0; i < EARLY; i += 997) {
        snprintf(key, sizeof(key), "early-%d", i);
        assert_int_equal(begin(key, T0, (uint64_t)i / 3 + 1), 1);
    }
    assert_true(metrics_say("weir_idempotency_keys{stream=\"ticks\"} 100000\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(keys_that_wait_for_their_position_get_it_in_no_time),
        TEST(key_is_reserved_then_known),
        TEST(key_of_any_length_is_told_from_its_beginning),
        TEST(key_is_forgotten_by_age),
        TEST(oldest_keys_go_when_there_are_too_many),
        TEST(errors_of_many_keys_are_bounded_in_memory),
        TEST(keys_are_shown_by_position),
        TEST(same_as_a_naive_model),
        TEST(each_key_is_new_to_one_thread_only),
    };
    hash_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
