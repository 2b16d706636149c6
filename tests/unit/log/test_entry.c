/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries of the log as bytes of the journal, and back.
 */
#include "base/clock.h"
#include "log/entry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char root[64], folder[80];
    struct schema *schema;
    struct journal *journal;
    struct journal_reader *reader;
    char read[4096]; /* what entry_read has called, as text */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error error = {0};
    assert_non_null(f);
    snprintf(f->root, sizeof(f->root), "%s/weir-entry-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->folder, sizeof(f->folder), "%s/journal", f->root);
    assert_int_equal(schema_new(3, "ts", &f->schema), 0);
    assert_int_equal(schema_set(f->schema, 1, "n", WEIR_INT), 0);
    assert_int_equal(schema_set(f->schema, 2, "s", WEIR_STRING), 0);
    const struct journal_options options = {
        .folder = f->folder, .stream = "s", .segment_size = 1 << 20};
    if (journal_open(&options, NULL, &f->journal, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(journal_reader_new(f->journal, 1, &f->reader, &error), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[96];
    journal_reader_free(f->reader);
    journal_close(f->journal);
    schema_free(f->schema);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->root);
    free(f);
    return system(command);
}

/* ---- Writing ---------------------------------------------------------------------------------- */

static struct log_entry *batch_of(struct fixture *f, uint32_t source, int64_t first,
                                  uint32_t n)
{
    struct log_entry *e;
    assert_int_equal(entry_new(LOG_BATCH, &e), 0);
    e->source = source;
    assert_int_equal(batch_new(f->schema, n, &e->batch), 0);
    for (uint32_t i = 0; i < n; i++) {
        struct column *s = &e->batch->column[2];
        ((int64_t *)e->batch->column[0].values)[i] = first + i;
        ((int64_t *)e->batch->column[1].values)[i] = -first - i;
        assert_int_equal(batch_bytes(e->batch, 2, 2), 0);
        memcpy(s->bytes + s->offsets[i], "ab", 2);
        s->offsets[i + 1] = s->offsets[i] + 2;
        e->batch->n_rows++;
    }
    return e;
}

static void write_batch(struct fixture *f, uint32_t source, int64_t first, uint32_t n)
{
    struct log_entry *e = batch_of(f, source, first, n);
    assert_int_equal(entry_write(f->journal, e), 0);
    log_entry_unref(e);
}

static void write_held(struct fixture *f, int64_t first, uint32_t n, int64_t reached_us)
{
    struct log_entry *e = batch_of(f, 0, first, n);
    e->held = true;
    e->reached_us = reached_us;
    assert_int_equal(entry_write(f->journal, e), 0);
    log_entry_unref(e);
}

static void write_mark(struct fixture *f, enum log_kind kind, const char *pipeline,
                       uint32_t source, int64_t us)
{
    struct log_entry *e;
    assert_int_equal(entry_mark(kind, pipeline, source, us, &e), 0);
    assert_int_equal(entry_write(f->journal, e), 0);
    log_entry_unref(e);
}

static void write_key(struct fixture *f, const char *key, char *errors)
{
    const struct request_id k = {
        .key = key,
        .size = strlen(key),
        .digest = 1,
        .answer = {.accepted = 2,
                   .rejected = 3,
                   .position = 4,
                   .errors = errors,
                   .errors_size = errors ? strlen(errors) : 0}};
    assert_int_equal(entry_write_request_id(f->journal, &k, -5), 0);
}

static struct journal_frame commit(struct fixture *f, uint32_t n)
{
    struct journal_frame frame;
    struct error error = {0};
    uint64_t first;
    assert_int_equal(journal_commit(f->journal, n, &first, &error), 0);
    assert_int_equal(journal_reader_next(f->reader, &frame, &error), 1);
    return frame;
}

/* ---- Reading ---------------------------------------------------------------------------------- */

static void say(struct fixture *f, const char *format, ...)
{
    size_t used = strlen(f->read);
    va_list args;
    va_start(args, format);
    vsnprintf(f->read + used, sizeof(f->read) - used, format, args);
    va_end(args);
}

static int on_entry(void *ctx, struct log_entry *e)
{
    struct fixture *f = ctx;
    unsigned long long position = e->position;
    if (e->kind == LOG_BATCH) {
        batch_seal(e->batch);
        say(f, "batch@%llu(%u: %u rows %lld..%lld", position, e->source,
            e->batch->n_rows, (long long)e->batch->span.min_us,
            (long long)e->batch->span.max_us);
        if (e->held)
            say(f, " reached %lld", (long long)e->reached_us);
        say(f, ") ");
    } else if (e->kind == LOG_IDLE) {
        say(f, "idle@%llu(%s %u) ", position, e->pipeline, e->source);
    } else if (e->kind == LOG_HEARD) {
        say(f, "heard@%llu(%u) ", position, e->source);
    } else {
        say(f, "%s@%llu(%s %lld) ", e->kind == LOG_REACHED ? "reached" : "advance",
            position, e->pipeline ? e->pipeline : "all", (long long)e->time_us);
    }
    log_entry_unref(e);
    return 0;
}

static int on_source(void *ctx, uint32_t number, const char *name, size_t size)
{
    say(ctx, "source(%u %.*s) ", number, (int)size, name);
    return 0;
}

static int on_request_id(void *ctx, const struct request_id *key, int64_t taken_us)
{
    const struct request_answer *a = &key->answer;
    say(ctx, "key(%.*s %llu %llu %llu %llu %.*s %lld) ", (int)key->size, key->key,
        (unsigned long long)key->digest, (unsigned long long)a->accepted,
        (unsigned long long)a->rejected, (unsigned long long)a->position,
        (int)a->errors_size, a->errors_size ? a->errors : "", (long long)taken_us);
    return 0;
}

static int on_bookmark(void *ctx, uint32_t source, const char *bookmark, size_t size)
{
    say(ctx, "bookmark(%u %.*s) ", source, (int)size, bookmark);
    return 0;
}

static int read_into(struct fixture *f, const struct journal_frame *frame,
                     uint64_t after, uint64_t up_to, struct codec_map **map)
{
    const struct entry_calls calls = {.entry = on_entry,
                                      .source = on_source,
                                      .key = on_request_id,
                                      .bookmark = on_bookmark,
                                      .ctx = f};
    f->read[0] = 0;
    return entry_read(frame, after, up_to, f->schema, map, &calls);
}

static struct journal_frame all_kinds(struct fixture *f)
{
    assert_int_equal(entry_write_schema(f->journal, f->schema), 0);
    assert_int_equal(entry_write_source(f->journal, 1, "left"), 0);
    assert_int_equal(entry_write_source(f->journal, LOG_SOURCES_MAX - 1, "r"), 0);
    write_key(f, "k", NULL);
    write_key(f, "another key", (char[]){"[1]"});
    write_batch(f, 1, 100, 3);
    write_mark(f, LOG_IDLE, "pipeline", 7, 0);
    write_mark(f, LOG_ADVANCE, "", 0, INT64_MIN);
    write_batch(f, 0, 200, 4000);
    write_held(f, 300, 2, -7);
    write_mark(f, LOG_REACHED, NULL, 0, 12);
    return commit(f, 6);
}

static void what_is_written_is_read(void **state)
{
    struct fixture *f = *state;
    struct codec_map *map = NULL;
    struct journal_frame frame = all_kinds(f);
    assert_int_equal(read_into(f, &frame, 0, UINT64_MAX, &map), 0);
    assert_string_equal(
        f->read,
        "source(1 left) source(1023 r) key(k 1 2 3 4  -5) key(another key 1 2 3 4 [1] "
        "-5) batch@1(1: 3 rows 100..102) idle@2(pipeline 7) advance@3(all "
        "-9223372036854775808) batch@4(0: 4000 rows 200..4199) "
        "batch@5(0: 2 rows 300..301 reached -7) reached@6(all 12) ");
    codec_map_free(map);
}

static void positions_that_are_not_wanted_are_passed_over(void **state)
{
    struct fixture *f = *state;
    struct codec_map *map = NULL;
    struct journal_frame frame = all_kinds(f);
    const char *others = "source(1 left) source(1023 r) key(k 1 2 3 4  -5) key(another "
                         "key 1 2 3 4 [1] -5) ";
    char expected[512];
    assert_int_equal(read_into(f, &frame, 1, 2, &map), 0);
    snprintf(expected, sizeof(expected), "%sidle@2(pipeline 7) ", others);
    assert_string_equal(f->read, expected);
    assert_int_equal(read_into(f, &frame, 6, UINT64_MAX, &map), 0);
    assert_string_equal(f->read, others);
    /* The schema in force is that of an earlier frame. */
    write_batch(f, 2, 300, 1);
    frame = commit(f, 1);
    assert_int_equal(read_into(f, &frame, 0, UINT64_MAX, &map), 0);
    assert_string_equal(f->read, "batch@7(2: 1 rows 300..300) ");
    codec_map_free(map);
    map = NULL;
    assert_int_equal(read_into(f, &frame, 0, UINT64_MAX, &map), -EBADMSG);
}

static int stop(void *ctx, struct log_entry *e)
{
    (void)ctx;
    log_entry_unref(e);
    return -ESHUTDOWN;
}

static void bookmark_is_read_with_the_entry_that_follows(void **state)
{
    struct fixture *f = *state;
    struct codec_map *map = NULL;
    const size_t size = entry_bookmark_size("at 9");
    assert_int_equal(entry_write_schema(f->journal, f->schema), 0);
    size_t before = journal_pending(f->journal);
    assert_int_equal(entry_write_bookmark(f->journal, 7, "at 9"), 0);
    assert_int_equal(journal_pending(f->journal), before + size);
    write_mark(f, LOG_HEARD, NULL, 7, 0);
    assert_int_equal(journal_pending(f->journal), before + size + ENTRY_MARK_SIZE);
    assert_int_equal(entry_write_bookmark(f->journal, 8, "x"), 0);
    write_batch(f, 8, 1, 2);
    struct journal_frame frame = commit(f, 2);
    assert_int_equal(read_into(f, &frame, 0, UINT64_MAX, &map), 0);
    assert_string_equal(
        f->read, "bookmark(7 at 9) heard@1(7) bookmark(8 x) batch@2(8: 2 rows 1..2) ");
    assert_int_equal(read_into(f, &frame, 1, UINT64_MAX, &map), 0);
    assert_string_equal(f->read, "bookmark(8 x) batch@2(8: 2 rows 1..2) ");
    codec_map_free(map);
}

static void what_a_call_says_ends_it(void **state)
{
    struct fixture *f = *state;
    struct codec_map *map = NULL;
    struct journal_frame frame = all_kinds(f);
    const struct entry_calls calls = {
        .entry = stop, .source = on_source, .key = on_request_id, .ctx = f};
    assert_int_equal(entry_read(&frame, 0, UINT64_MAX, f->schema, &map, &calls),
                     -ESHUTDOWN);
    codec_map_free(map);
}

/* ---- Bytes that are none ---------------------------------------------------------------------- */

static void another_number_of_positions_is_refused(void **state)
{
    struct fixture *f = *state;
    struct codec_map *map = NULL;
    struct journal_frame frame = all_kinds(f);
    for (frame.n = 0; frame.n < 8; frame.n++)
        assert_int_equal(read_into(f, &frame, 0, UINT64_MAX, &map),
                         frame.n == 6 ? 0 : -EBADMSG);
    codec_map_free(map);
}

static void a_name_is_text_without_zeros(void **state)
{
    struct fixture *f = *state;
    struct codec_map *map = NULL;
    assert_int_equal(entry_write_source(f->journal, 1, "name"), 0);
    struct journal_frame frame = commit(f, 0);
    char *bytes = aligned_alloc(64, (frame.size + 63) / 64 * 64);
    memcpy(bytes, frame.payload, frame.size);
    frame.payload = bytes;
    assert_int_equal(read_into(f, &frame, 0, UINT64_MAX, &map), 0);
    bytes[16 + 1] = 0; /* behind the head and the number */
    assert_int_equal(read_into(f, &frame, 0, UINT64_MAX, &map), -EBADMSG);
    free(bytes);
}

static void arbitrary_bytes_are_refused_or_taken_for_others(void **state)
{
    struct fixture *f = *state;
    struct journal_frame whole = all_kinds(f);
    unsigned seed = 3;
    for (int i = 0; i < 20000; i++) {
        struct codec_map *map = NULL;
        struct journal_frame frame = whole;
        if (i % 4 == 0)
            frame.size = (size_t)rand_r(&seed) % (whole.size + 1);
        char *bytes = aligned_alloc(64, (frame.size + 64) / 64 * 64);
        memcpy(bytes, whole.payload, frame.size);
        /* Most of it is the large batch, of which test_codec takes care. */
        size_t reach = frame.size < 400 ? frame.size : 400;
        for (int k = rand_r(&seed) % 6; reach && k > 0; k--)
            bytes[(size_t)rand_r(&seed) % reach] =
                (char)(rand_r(&seed) % 2 ? rand_r(&seed) : 0);
        frame.payload = bytes;
        int r = read_into(f, &frame, 0, UINT64_MAX, &map);
        assert_true(r == 0 || r == -EBADMSG);
        codec_map_free(map);
        free(bytes);
    }
}

/* ---- Joining ---------------------------------------------------------------------------------- */

static struct log_entry *batch_entry(struct fixture *f, uint64_t position, int64_t n)
{
    struct log_entry *e;
    assert_int_equal(entry_new(LOG_BATCH, &e), 0);
    e->position = position;
    assert_int_equal(batch_new(f->schema, 1, &e->batch), 0);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(batch_grow(e->batch), 0);
        ((int64_t *)e->batch->column[0].values)[i] = (int64_t)position * 100 + i;
        ((int64_t *)e->batch->column[1].values)[i] = 0;
        e->batch->column[2].offsets[i + 1] = 0;
        e->batch->n_rows++;
    }
    return e;
}

static void joined_rows_know_where_they_were(void **state)
{
    struct fixture *f = *state;
    struct log_entry *e = batch_entry(f, 10, 3);
    uint32_t index, end;
    assert_int_equal(log_entry_row(e, 2, &index), 10);
    assert_int_equal(index, 2);
    assert_int_equal(log_entry_sequence(e, 1, &end) + 1, (10 << 16) + 1);
    assert_int_equal(end, 3);
    for (uint64_t position = 11; position < 40; position++)
        assert_int_equal(
            entry_join(e, batch_entry(f, position, (int64_t)position % 3 + 1)), 0);
    assert_int_equal(e->position, 39);
    for (uint32_t row = 0; row < e->batch->n_rows; row++) {
        int64_t n = ((const int64_t *)e->batch->column[0].values)[row];
        assert_int_equal(log_entry_row(e, row, &index), n / 100);
        assert_int_equal(index, n % 100);
        assert_int_equal(log_entry_sequence(e, row, &end) + row,
                         (n / 100 << 16) + n % 100);
        assert_int_equal(end, row - n % 100 + (n / 100 == 10 ? 3 : n / 100 % 3 + 1));
    }
    log_entry_unref(e);
}

/* ---- Sizes ------------------------------------------------------------------------------------ */

/* Rows of every type, any of them null, as wide as can be or as narrow. */
static struct log_entry *any_entry(const struct schema *s, uint32_t n, unsigned *seed)
{
    struct log_entry *e;
    assert_int_equal(entry_new(LOG_BATCH, &e), 0);
    assert_int_equal(batch_new(s, n, &e->batch), 0);
    struct batch *b = e->batch;
    int64_t wide = rand_r(seed) % 2 ? INT64_MIN / 65536 : 1;
    bool nulls = rand_r(seed) % 2;
    for (; b->n_rows < n; b->n_rows++) {
        for (size_t i = 0; i < s->n; i++) {
            struct column *c = &b->column[i];
            bool null = nulls && i && rand_r(seed) % 3 == 0;
            size_t size = null || c->type != WEIR_STRING ? 0 : (size_t)rand_r(seed) % 9;
            if (null)
                assert_int_equal(batch_set_null(b, i), 0);
            if (c->type == WEIR_BOOL) {
                batch_put_bool(c, b->n_rows, !null);
            } else if (c->type != WEIR_STRING) {
                ((int64_t *)c->values)[b->n_rows] = null ? 0 : wide * b->n_rows;
            } else {
                assert_int_equal(batch_bytes(b, i, size), 0);
                memset(c->bytes + c->offsets[b->n_rows], 'x', size);
                c->offsets[b->n_rows + 1] = c->offsets[b->n_rows] + (int32_t)size;
            }
        }
    }
    return e;
}

static size_t written_size(struct fixture *f, const struct log_entry *e)
{
    size_t before = journal_pending(f->journal);
    assert_int_equal(entry_write(f->journal, e), 0);
    return journal_pending(f->journal) - before;
}

/* However it is joined: sizes at most add up. */
static void a_batch_takes_no_more_than_was_said_before(void **state)
{
    struct fixture *f = *state;
    struct schema *s;
    unsigned seed = 5;
    assert_int_equal(schema_new(6, "ts", &s), 0);
    for (size_t i = 1; i < 6; i++) {
        char name[2] = {(char)('a' + i), 0};
        assert_int_equal(schema_set(s, i, name, (enum weir_type)i), 0);
    }
    for (int i = 0; i < 500; i++) {
        uint32_t rows = i < 100 ? (uint32_t)i + 1 : (uint32_t)rand_r(&seed) % 3000 + 1;
        struct log_entry *a = any_entry(s, rows, &seed);
        struct log_entry *b = any_entry(s, rows % 100 + 1, &seed);
        size_t most = entry_size_max(a->batch), both = most + entry_size_max(b->batch);
        size_t size = written_size(f, a);
        a->held = true;
        assert_int_equal(written_size(f, a), size + sizeof(a->reached_us));
        assert_int_equal(entry_size(a->batch), size + sizeof(a->reached_us));
        assert_true(entry_size(a->batch) <= most);
        assert_int_equal(entry_join(a, b), 0);
        assert_true(written_size(f, a) <= both);
        log_entry_unref(a);
        journal_abandon(f->journal);
    }
    const struct request_id key = {
        .key = "key",
        .size = 3,
        .answer = {.errors = (char[]){"[12]"}, .errors_size = 4}};
    assert_int_equal(entry_write_request_id(f->journal, &key, 0), 0);
    assert_int_equal(entry_request_id_size(&key), journal_pending(f->journal));
    schema_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(positions_that_are_not_wanted_are_passed_over,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(bookmark_is_read_with_the_entry_that_follows,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_call_says_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(another_number_of_positions_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_name_is_text_without_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(arbitrary_bytes_are_refused_or_taken_for_others,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(joined_rows_know_where_they_were, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_batch_takes_no_more_than_was_said_before,
                                        setup, teardown),
    };
    return cmocka_run_group_tests_name("entry", tests, NULL, NULL);
}
