/* SPDX-License-Identifier: Apache-2.0
 *
 * The intake: what producers put, and who is told what.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "log/intake.h"
#include "log/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ROWS_MAX   100
#define BYTES_MAX  ((size_t)1 << 30)
#define STORED_MAX 4096

struct fixture {
    struct schema *schema;
    struct idempotency *keys;
    struct intake *intake;
    bool heard[LOG_SOURCES_MAX];
    unsigned told; /* tickets that were called */
};

static int setup(void **state)
{
    const struct idempotency_options options = {
        .stream = "s", .max_keys = 100, .retain_us = 3600 * SECOND_US};
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(schema_new(1, "ts", &f->schema), 0);
    assert_int_equal(idempotency_new(&options, NULL, &f->keys), 0);
    assert_int_equal(
        intake_new(ROWS_MAX, BYTES_MAX, STORED_MAX, f->keys, NULL, &f->intake), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    intake_free(f->intake);
    idempotency_free(f->keys);
    schema_free(f->schema);
    free(f);
    return 0;
}

/* `batches` batches of one row; what is not taken is freed here. */
static int append(struct fixture *f, uint32_t source, uint32_t batches,
                  struct ticket *t, const char *key)
{
    struct batch *b[8];
    for (uint32_t i = 0; i < batches; i++) {
        assert_int_equal(batch_new(f->schema, 1, &b[i]), 0);
        ((int64_t *)b[i]->column[0].values)[0] = 0;
        b[i]->n_rows = 1;
    }
    const struct request_id k = {.key = key, .size = key ? strlen(key) : 0};
    const struct request r = {.source = source,
                              .n = batches,
                              .batch = b,
                              .ticket = t,
                              .key = key ? &k : NULL};
    int err = intake_append(f->intake, &r, false);
    for (uint32_t i = 0; err && i < batches; i++)
        batch_unref(b[i]);
    return err;
}

static struct intake_item *take(struct fixture *f, bool *ret_closed)
{
    return intake_take(f->intake, 0, 1, BYTES_MAX, 0, ret_closed);
}

/* As the log's thread does with what has gone its way. */
static void done(struct fixture *f, struct intake_item *list, int result,
                 uint64_t position)
{
    for (struct intake_item *next; list; list = next) {
        next = list->next;
        for (size_t i = 0; i < list->n; i++)
            intake_release(f->intake, list->entry[i]);
        if (!intake_tell(f->intake, list, result, position))
            intake_done(list);
    }
}

static void note(void *ctx)
{
    struct fixture *f = ctx;
    f->told++;
}

static void hear(void *ctx, uint32_t source)
{
    struct fixture *f = ctx;
    f->heard[source] = true;
}

static unsigned heard(struct fixture *f)
{
    unsigned n = 0;
    memset(f->heard, 0, sizeof(f->heard));
    intake_heard(f->intake, hear, f);
    for (size_t i = 0; i < LOG_SOURCES_MAX; i++)
        n += f->heard[i];
    return n;
}

static void before_it_opens_and_after_it_closes_nothing_is_taken(void **state)
{
    struct fixture *f = *state;
    bool closed;
    assert_int_equal(append(f, 0, 1, NULL, NULL), -EAGAIN);
    intake_open(f->intake);
    assert_int_equal(append(f, 0, 1, NULL, NULL), 0);
    intake_close(f->intake);
    assert_int_equal(append(f, 0, 1, NULL, NULL), -ESHUTDOWN);
    struct intake_item *list = take(f, &closed);
    assert_non_null(list);
    assert_null(list->next);
    done(f, list, 0, 1);
    assert_null(take(f, &closed));
    assert_true(closed);
}

/* Nothing is counted, and the batches stay the caller's. */
static void what_the_journal_could_never_hold_is_not_taken(void **state)
{
    struct fixture *f = *state;
    struct ticket t = {.done = note, .ctx = f};
    bool closed;
    intake_open(f->intake);
    for (uint32_t rows = 1; rows <= 1024; rows *= 4) { /* 8 bytes each */
        struct batch *b;
        assert_int_equal(batch_new(f->schema, rows, &b), 0);
        for (; b->n_rows < rows; b->n_rows++)
            ((int64_t *)b->column[0].values)[b->n_rows] =
                b->n_rows ? INT64_MAX / 1024 * b->n_rows : INT64_MIN;
        const struct request r = {.n = 1, .batch = &b, .ticket = &t};
        if (rows > STORED_MAX / 8) {
            assert_int_equal(intake_append(f->intake, &r, false), -EMSGSIZE);
            assert_int_equal(intake_append(f->intake, &r, true), -EMSGSIZE);
            batch_unref(b);
            continue;
        }
        assert_int_equal(intake_append(f->intake, &r, false), 0);
        done(f, take(f, &closed), 0, 1);
    }
    assert_int_equal(intake_rows(f->intake), 0);
    assert_int_equal(f->told, 5);
}

/* By the bytes that it takes as it is, if a quick look says too much; then its batches are not joined with others. */
static void what_just_fits_is_taken_as_it_is(void **state)
{
    struct fixture *f = *state;
    bool closed;
    intake_open(f->intake);
    struct batch *b;
    assert_int_equal(batch_new(f->schema, 1024, &b), 0);
    for (; b->n_rows < 1024; b->n_rows++) /* 2 bytes each */
        ((int64_t *)b->column[0].values)[b->n_rows] = b->n_rows;
    const struct request r = {.n = 1, .batch = &b};
    assert_int_equal(intake_append(f->intake, &r, false), 0);
    struct intake_item *list = take(f, &closed);
    assert_true(list->entry[0]->whole);
    assert_in_range(list->stored, 2048, 2048 + 200);
    done(f, list, 0, 1);
    assert_int_equal(append(f, 0, 1, NULL, NULL), 0);
    list = take(f, &closed);
    assert_false(list->entry[0]->whole);
    done(f, list, 0, 1);
}

static void it_takes_so_many_rows_and_an_empty_one_takes_any_request(void **state)
{
    struct fixture *f = *state;
    bool closed;
    intake_open(f->intake);
    for (int i = 0; i < ROWS_MAX; i++)
        assert_int_equal(append(f, 0, 1, NULL, NULL), 0);
    assert_int_equal(append(f, 0, 1, NULL, NULL), -EAGAIN);
    assert_int_equal(intake_rows(f->intake), ROWS_MAX);
    /* Taken is not gone: the room comes back when the rows have gone on. */
    struct intake_item *list = take(f, &closed);
    assert_int_equal(append(f, 0, 1, NULL, NULL), -EAGAIN);
    done(f, list, 0, 1);
    assert_int_equal(intake_rows(f->intake), 0);
    assert_int_equal(append(f, 0, 8, NULL, NULL), 0);

    struct batch *large;
    assert_int_equal(batch_new(f->schema, 2 * ROWS_MAX, &large), 0);
    memset(large->column[0].values, 0, 2 * ROWS_MAX * sizeof(int64_t));
    large->n_rows = 2 * ROWS_MAX;
    const struct request r = {.n = 1, .batch = &large};
    assert_int_equal(intake_append(f->intake, &r, false), -EAGAIN);
    done(f, take(f, &closed), 0, 1);
    assert_int_equal(intake_append(f->intake, &r, false), 0);
}

static void who_was_told_to_wait_is_not_silent(void **state)
{
    struct fixture *f = *state;
    bool closed;
    intake_open(f->intake);
    assert_int_equal(append(f, 3, 1, NULL, NULL), 0);
    assert_int_equal(heard(f), 1);
    assert_true(f->heard[3]);
    done(f, take(f, &closed), 0, 1);
    assert_int_equal(heard(f), 0);
    for (int i = 0; i < ROWS_MAX; i++)
        assert_int_equal(append(f, 0, 1, NULL, NULL), 0);
    assert_int_equal(append(f, 5, 1, NULL, NULL), -EAGAIN);
    done(f, take(f, &closed), 0, 1);
    assert_int_equal(heard(f), 1);
    assert_true(f->heard[5]);
    assert_int_equal(heard(f), 0);
    /* Also if it is the disk that has no room. */
    intake_refuse(f->intake, -ENOSPC, INT64_MAX);
    assert_int_equal(append(f, 7, 1, NULL, NULL), -ENOSPC);
    assert_int_equal(heard(f), 1);
    assert_true(f->heard[7]);
    intake_refuse(f->intake, 0, 0);
    assert_int_equal(append(f, 7, 1, NULL, NULL), 0);
}

static void a_ticket_is_called_once_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct ticket t[3];
    bool closed;
    intake_open(f->intake);
    for (int i = 0; i < 3; i++) {
        t[i] = (struct ticket){.done = note, .ctx = f};
        assert_int_equal(append(f, 0, 2, &t[i], NULL), 0);
    }
    intake_cancel(f->intake, &t[0]); /* before it is taken */
    struct intake_item *list = take(f, &closed);
    intake_cancel(f->intake, &t[1]); /* after it */
    done(f, list, -EDQUOT, 0);
    assert_int_equal(f->told, 1);
    assert_int_equal(t[2].result, -EDQUOT);
    for (int i = 0; i < 3; i++)
        intake_cancel(f->intake, &t[i]); /* too late, and twice */
    assert_int_equal(f->told, 1);
}

/* Told or not, the memory goes where it came from, but for batches that went on. */
static void what_was_copied_comes_back_with_its_ticket(void **state)
{
    struct fixture *f = *state;
    struct ticket t[3];
    bool closed;
    intake_open(f->intake);
    for (int i = 0; i < 3; i++) {
        t[i] = (struct ticket){.done = note, .ctx = f, .returns = true};
        assert_int_equal(append(f, 0, 1, &t[i], NULL), 0);
    }
    struct intake_item *list = take(f, &closed);
    struct batch *copied = list->entry[0]->batch;
    struct log_entry *on = list->next->entry[0];
    intake_release(f->intake, on);
    list->next->entry[0] = NULL;
    intake_cancel(f->intake, &t[2]); /* it is the log's then */
    struct intake_item *last = list->next->next;
    list->next->next = NULL;
    intake_release(f->intake, list->entry[0]);
    struct intake_item *second = list->next;
    assert_true(intake_tell(f->intake, list, 0, 1));
    assert_true(intake_tell(f->intake, second, 0, 1));
    assert_int_equal(f->told, 2);
    done(f, last, 0, 1);
    assert_int_equal(f->told, 2);
    for (int i = 0; i < 3; i++) {
        intake_cancel(f->intake, &t[i]);
        assert_ptr_equal(t[i].spare, i == 0 ? copied : NULL);
        intake_cancel(f->intake, &t[i]); /* twice is once */
    }
    batch_unref(t[0].spare);
    log_entry_unref(on);
}

static void a_request_without_rows_is_told_of_those_before(void **state)
{
    struct fixture *f = *state;
    struct ticket t = {.done = note, .ctx = f};
    bool closed;
    intake_open(f->intake);
    assert_int_equal(append(f, 0, 1, NULL, NULL), 0);
    assert_int_equal(append(f, 0, 0, NULL, NULL), 0); /* nothing at all */
    assert_int_equal(append(f, 0, 0, &t, NULL), 0);
    struct intake_item *list = take(f, &closed);
    assert_non_null(list->next);
    assert_int_equal(list->next->n, 0);
    done(f, list, 0, 4);
    assert_int_equal(f->told, 1);
    assert_int_equal(t.position, 4);
}

static void a_key_that_nobody_waits_for_is_known_at_once(void **state)
{
    struct fixture *f = *state;
    struct request_known known;
    bool closed;
    intake_open(f->intake);
    assert_int_equal(idempotency_begin(f->keys, "k", 1, clock_now_us(), &known), 0);
    assert_int_equal(append(f, 0, 1, NULL, "k"), 0);
    assert_int_equal(idempotency_begin(f->keys, "k", 1, clock_now_us(), &known), 1);
    assert_true(known.answer.position == POSITION_UNKNOWN);
    struct ticket t = {.done = note, .ctx = f};
    assert_int_equal(idempotency_begin(f->keys, "l", 1, clock_now_us(), &known), 0);
    assert_int_equal(append(f, 0, 1, &t, "l"), 0);
    assert_int_equal(idempotency_begin(f->keys, "l", 1, clock_now_us(), &known),
                     -EBUSY);
    done(f, take(f, &closed), 0, 2);
}

/* ---- Many at once ----------------------------------------------------------------------------- */

#define PRODUCERS 4
#define EACH      5000

struct producer {
    struct fixture *fixture;
    uint32_t source;
    uint64_t cancelled;
    _Atomic uint64_t told;
};

static void count(void *ctx)
{
    struct producer *p = ctx;
    p->told++;
}

static void *produce(void *ctx)
{
    struct producer *p = ctx;
    struct ticket *t = calloc(EACH, sizeof(*t));
    for (unsigned i = 0; i < EACH; i++) {
        t[i] = (struct ticket){.done = count, .ctx = p, .returns = i % 2};
        while (append(p->fixture, p->source, 1, &t[i], NULL) == -EAGAIN)
            sched_yield();
        if (i % 3 == 0) /* at whatever moment that is */
            intake_cancel(p->fixture->intake, &t[i / 2]);
    }
    for (unsigned i = 0; i < EACH; i++) {
        intake_cancel(p->fixture->intake, &t[i]);
        batch_unref(t[i].spare);
        p->cancelled += t[i].position == 0;
    }
    free(t); /* nobody calls them any more */
    return NULL;
}

static void tickets_are_cancelled_while_they_are_called(void **state)
{
    struct fixture *f = *state;
    struct producer p[PRODUCERS] = {0};
    pthread_t thread[PRODUCERS];
    intake_open(f->intake);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        p[i].fixture = f;
        p[i].source = i;
        assert_int_equal(pthread_create(&thread[i], NULL, produce, &p[i]), 0);
    }
    uint64_t items = 0;
    bool closed;
    while (items < PRODUCERS * EACH) {
        struct intake_item *list = take(f, &closed);
        for (const struct intake_item *i = list; i; i = i->next)
            items++;
        done(f, list, 0, 1);
    }
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(p[i].told + p[i].cancelled, EACH);
    }
    assert_int_equal(intake_rows(f->intake), 0);
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            before_it_opens_and_after_it_closes_nothing_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(
            it_takes_so_many_rows_and_an_empty_one_takes_any_request, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_journal_could_never_hold_is_not_taken,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_just_fits_is_taken_as_it_is, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_was_told_to_wait_is_not_silent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_ticket_is_called_once_or_not_at_all, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_copied_comes_back_with_its_ticket,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_without_rows_is_told_of_those_before,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_that_nobody_waits_for_is_known_at_once,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(tickets_are_cancelled_while_they_are_called,
                                        setup, teardown),
    };
    return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
