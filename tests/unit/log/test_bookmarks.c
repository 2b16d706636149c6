/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

static uint32_t source_of(struct fixture *f, const char *name)
{
    uint32_t source = 0;
    assert_int_equal(log_source(f->log, name, strlen(name), &source), 0);
    return source;
}

static void append(struct fixture *f, const char *source, int64_t first, uint32_t n,
                   const char *bookmark)
{
    struct batch *b = n ? fixture_rows(f, first, n) : NULL;
    struct request r = {.source = source_of(f, source),
                        .n = n ? 1 : 0,
                        .batch = &b,
                        .bookmark = bookmark};
    assert_int_equal(log_append(f->log, &r), 0);
}

static void assert_bookmark(struct fixture *f, const char *source, const char *bookmark)
{
    char *found;
    assert_int_equal(log_bookmark(f->log, source_of(f, source), &found), 0);
    if (bookmark)
        assert_string_equal(found, bookmark);
    else
        assert_null(found);
    free(found);
}

static void bookmark_is_found_with_its_rows_after_a_crash(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_wait_ready(f);
    append(f, "p/0", 0, 10, "at 10");
    append(f, "p/1", 10, 10, "at 20");
    append(f, "p/0", 20, 10, "at 30");
    fixture_wait_entries(f, &f->sink[0], 3);
    fixture_leave(f);
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_wait_entries(f, &f->sink[0], 3);
    sink_check(&f->sink[0], 1, 0, 30);
    assert_bookmark(f, "p/0", "at 30");
    assert_bookmark(f, "p/1", "at 20");
    assert_bookmark(f, "p/2", NULL);
}

static void journal_is_believed_before_the_database(void **state)
{
    struct fixture *f = *state;
    struct error error;
    fixture_open(f);
    fixture_wait_ready(f);
    append(f, "p/0", 0, 10, "new");
    fixture_wait_entries(f, &f->sink[0], 1);
    fixture_leave(f);
    f->n_sinks = 0;
    assert_int_equal(metrics_new(&f->metrics), 0);
    assert_int_equal(tasks_new("t", 2, false, &f->tasks), 0);
    f->options.front = f->options.back = f->tasks;
    assert_int_equal(log_new(&f->options, f->metrics, &f->log, &error), 0);
    assert_int_equal(log_know_bookmark(f->log, "p/0", "old"), 0);
    assert_int_equal(log_know_bookmark(f->log, "p/1", "trimmed"), 0);
    assert_int_equal(log_start(f->log, &error), 0);
    fixture_wait_ready(f);
    assert_bookmark(f, "p/0", "new");
    assert_bookmark(f, "p/1", "trimmed");
}

static void last_bookmarks_are_kept_at_a_stop(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_wait_ready(f);
    append(f, "p/0", 0, 10, "at 10");
    append(f, "p/1", 10, 10, "at 20");
    append(f, "p/0", 0, 0, "at 11, which was wrong");
    fixture_close(f, LOG_STOP);
    assert_string_equal(f->marks, "p/0=at 11, which was wrong p/1=at 20 ");
    fixture_open(f);
}

static void kept_bookmark_knows_no_rows_behind_its_position(void **state)
{
    struct fixture *f = *state;
    f->options.checkpoint_interval_us = 1;
    fixture_open(f);
    fixture_wait_ready(f);
    for (int64_t i = 0; i < 200; i++) {
        char bookmark[32];
        snprintf(bookmark, sizeof(bookmark), "%lld", (long long)i + 1);
        append(f, "p/0", i, 1, i % 2 ? bookmark : NULL);
    }
    fixture_close(f, LOG_LEAVE);
    /* Rows up to the position that was kept last, by what the sink has got. */
    long long rows = 0, bookmark = 0;
    uint32_t index;
    for (size_t i = 0; i < f->sink[0].n; i++) {
        const struct log_entry *e = f->sink[0].entry[i];
        for (uint32_t row = 0; row < e->batch->n_rows; row++)
            rows += log_entry_row(e, row, &index) <= f->kept;
    }
    if (f->marks[0])
        assert_int_equal(sscanf(f->marks, "p/0=%lld ", &bookmark), 1);
    assert_in_range(bookmark, rows - rows % 2, rows);
    f->options.checkpoint_interval_us = 0;
    fixture_open(f);
}

static void request_without_rows_says_that_the_source_is_there(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_wait_ready(f);
    append(f, "p/3", 0, 0, "at 0");
    const struct log_entry *e = fixture_wait_kind(f, &f->sink[0], LOG_HEARD);
    assert_string_equal(log_source_name(f->log, e->source), "p/3");
    fixture_leave(f);
    fixture_open(f);
    fixture_wait_ready(f);
    fixture_wait_kind(f, &f->sink[0], LOG_HEARD);
    assert_bookmark(f, "p/3", "at 0");
}

int main(void)
{
#define TEST(name)                                                                     \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(bookmark_is_found_with_its_rows_after_a_crash),
        TEST(journal_is_believed_before_the_database),
        TEST(last_bookmarks_are_kept_at_a_stop),
        TEST(kept_bookmark_knows_no_rows_behind_its_position),
        TEST(request_without_rows_says_that_the_source_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
