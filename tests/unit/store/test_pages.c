/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages of a snapshot, from the WAL and the file, are those that the sqlite3 library itself gives for the same snapshot
 * (sqlite3_serialize), and a copy that is kept up with the pages that have changed is that database.
 */
#include "shell.h"
#include "store/db.h"
#include "store/internal.h"
#include "store/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#if SQLITE_VERSION_NUMBER >= 3036000 || defined(SQLITE_ENABLE_DESERIALIZE)

struct image { /* the copy */
    unsigned char *bytes;
    uint32_t n;
};

struct base {
    struct store *store;
    sqlite3 *reader, *other; /* a program that weir knows nothing of */
    struct pages_snapshot snapshot;
    struct image image;
    unsigned dice;
};

static unsigned dice(struct base *b, unsigned n)
{
    b->dice = b->dice * 1103515245u + 12345u;
    return (b->dice >> 16) % n;
}

static int run_sql(struct store *s, void *ctx)
{
    struct error error = {""};
    int err = db_exec(s->db, ctx, &error);
    if (err)
        print_error("%s: %s\n", (char *)ctx, error.text);
    return err;
}

/* By the writer, on its thread. */
static void commit(struct base *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    assert_int_equal(store_call(b->store, run_sql, sql), 0);
    sqlite3_free(sql);
}

static int follow(struct store *s, void *ctx)
{
    return pages_follow(s, ctx);
}

static int begin(struct store *s, void *base)
{
    struct base *b = base;
    struct error error = {""};
    int err = pages_begin(s, b->reader, &b->snapshot, &error);
    if (err)
        print_error("%s\n", error.text);
    return err;
}

static void snapshot(struct base *b)
{
    if (!sqlite3_get_autocommit(b->reader))
        assert_int_equal(db_exec(b->reader, "COMMIT", NULL), 0);
    pages_end(&b->snapshot);
    assert_int_equal(store_call(b->store, begin, b), 0);
}

static bool is_owed(const struct pages_snapshot *s, uint32_t page)
{
    return s->all || ((page - 1) / 64 < s->n_changed && pages_is_set(s->changed, page));
}

/* Returns how many pages were taken over. */
static uint32_t take_over(struct base *b)
{
    const struct pages_snapshot *s = &b->snapshot;
    const size_t size = s->page_bytes;
    struct error error = {""};
    uint32_t taken = 0;
    b->image.bytes = realloc(b->image.bytes, s->n * size);
    assert_non_null(b->image.bytes);
    for (uint32_t page = 1; page <= s->n; page++) {
        if (!is_owed(s, page))
            continue;
        if (pages_read(&b->snapshot, page, b->image.bytes + (page - 1) * size, &error))
            fail_msg("%s", error.text);
        taken++;
    }
    b->image.n = s->n;
    return taken;
}

static void check(struct base *b)
{
    sqlite3_int64 size = 0;
    unsigned char *own = sqlite3_serialize(b->reader, "main", &size, 0);
    assert_non_null(own);
    assert_int_equal(size, (sqlite3_int64)b->image.n * b->snapshot.page_bytes);
    for (uint32_t page = 1; page <= b->image.n; page++)
        if (memcmp(own + (size_t)(page - 1) * b->snapshot.page_bytes,
                   b->image.bytes + (size_t)(page - 1) * b->snapshot.page_bytes,
                   b->snapshot.page_bytes) != 0)
            fail_msg("page %u of %u is another one", page, b->image.n);
    sqlite3_free(own);
}

/* As a file it is a database that is whole. */
static void check_file(struct base *b)
{
    FILE *f = fopen(shell_path("copy.db"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->image.bytes, b->snapshot.page_bytes, b->image.n, f),
                     b->image.n);
    fclose(f);
    assert_string_equal(shell("copy.db", "PRAGMA integrity_check"), "ok\n");
}

static void set_up(struct base *b, unsigned page_bytes, unsigned seed)
{
    char sql[200];
    struct error error = {""};
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 1000};
    *b = (struct base){.dice = seed, .snapshot = {.wal = -1}};
    snprintf(
        sql, sizeof(sql),
        "PRAGMA page_size = %u; PRAGMA journal_mode = WAL; CREATE TABLE theirs (x)",
        page_bytes);
    shell("weir.db", sql);
    if (store_open(&options, NULL, &b->store, &error) || store_start(b->store, &error))
        fail_msg("%s", error.text);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    assert_int_equal(db_open(options.path, flags, &b->reader, &error), 0);
    assert_int_equal(db_open(options.path, flags, &b->other, &error), 0);
    assert_int_equal(store_call(b->store, follow, &error), 0);
    commit(b, "PRAGMA synchronous = OFF"); /* it is quicker */
    commit(b, "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t (a)");
    snapshot(b);
    assert_true(b->snapshot.all);
    assert_int_equal(b->snapshot.page_bytes, page_bytes);
    take_over(b);
    check(b);
}

static void tear_down(struct base *b)
{
    if (!sqlite3_get_autocommit(b->reader))
        assert_int_equal(db_exec(b->reader, "COMMIT", NULL), 0);
    pages_end(&b->snapshot);
    sqlite3_close(b->reader);
    sqlite3_close(b->other);
    store_free(b->store);
    free(b->image.bytes);
}

static int shorten(struct store *s, void *ctx)
{
    (void)ctx;
    return sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                     NULL);
}

static void change(struct base *b)
{
    const unsigned id = dice(b, 400), size = 1 + dice(b, 3000);
    switch (dice(b, 8)) {
    case 0:
    case 1:
        commit(b, "INSERT OR REPLACE INTO t VALUES (%u, %u, randomblob(%u))", id,
               dice(b, 1000), size);
        break;
    case 2: /* larger than the cache: frames before the COMMIT, some written over */
        commit(
            b,
            "PRAGMA cache_size = 5; BEGIN; WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL "
            "SELECT x + 1 FROM n WHERE x < %u) INSERT INTO t (a, b) SELECT x, "
            "randomblob(700) FROM n; UPDATE t SET a = a + 1; COMMIT; "
            "PRAGMA cache_size = -16384",
            50 + dice(b, 100));
        break;
    case 3:
        commit(b, "DELETE FROM t WHERE id %% 7 = %u", dice(b, 7));
        break;
    case 4:
        commit(b, "BEGIN; UPDATE t SET b = zeroblob(2000); ROLLBACK");
        break;
    case 5:
        commit(b, "UPDATE t SET a = %u WHERE id < %u", dice(b, 1000), id);
        break;
    case 6:
        assert_int_equal(store_call(b->store, shorten, NULL), 0);
        break;
    default:
        commit(b, "DELETE FROM t WHERE id > 1500; PRAGMA incremental_vacuum");
    }
}

static void change_by_others(struct base *b)
{
    switch (dice(b, 4)) {
    case 0:
        assert_int_equal(
            db_exec(b->other, "INSERT INTO theirs VALUES (randomblob(900))", NULL), 0);
        break;
    case 1:
        assert_int_equal(
            db_exec(b->other, "DELETE FROM theirs WHERE rowid % 3 = 0", NULL), 0);
        break;
    default: /* whatever it can: the WAL may begin anew */
        sqlite3_wal_checkpoint_v2(b->other, NULL,
                                  dice(b, 2) ? SQLITE_CHECKPOINT_RESTART
                                             : SQLITE_CHECKPOINT_PASSIVE,
                                  NULL, NULL);
    }
}

static void rounds(unsigned page_bytes, unsigned seed, bool others)
{
    struct base b;
    unsigned char salt[PAGES_SALT];
    uint32_t taken = 0, there = 0, resets = 0;
    set_up(&b, page_bytes, seed);
    sqlite3_busy_timeout(b.other, 0);
    for (int round = 0; round < 60; round++) {
        for (unsigned n = dice(&b, 6); n > 0; n--) {
            change(&b);
            if (others && dice(&b, 3) == 0)
                change_by_others(&b);
            if (dice(&b, 5) == 0 && !sqlite3_get_autocommit(b.reader)) /* is let go */
                assert_int_equal(db_exec(b.reader, "COMMIT", NULL), 0);
        }
        memcpy(salt, b.snapshot.salt, sizeof(salt));
        snapshot(&b);
        resets += memcmp(salt, b.snapshot.salt, sizeof(salt)) != 0;
        /* Before the pages are read much may come. */
        for (unsigned n = dice(&b, 4); n > 0; n--) {
            change(&b);
            if (others)
                change_by_others(&b);
        }
        taken += take_over(&b);
        there += b.snapshot.n;
        check(&b);
    }
    check_file(&b);
    assert_true(resets > 0); /* of the WAL */
    if (!others)
        assert_true(taken < there); /* not all, each time */
    tear_down(&b);
}

static void copy_with_what_has_changed_is_the_snapshot(void **state)
{
    (void)state;
    static const unsigned sizes[] = {512, 4096, 16384, 65536};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        rounds(sizes[i], i + 1, false);
        shell_teardown(state);
        shell_setup(state);
    }
}

static void other_programs_may_write_too(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        rounds(4096, 100 + i, true);
        shell_teardown(state);
        shell_setup(state);
    }
}

static int are_same(struct store *s, void *same)
{
    *(bool *)same = pages_are_same(s);
    return 0;
}

static void nothing_has_changed_until_something_has(void **state)
{
    struct base b;
    bool same = false;
    (void)state;
    set_up(&b, 16384, 1);
    assert_int_equal(store_call(b.store, are_same, &same), 0);
    assert_true(same);
    commit(&b, "INSERT INTO t VALUES (1, 2, 3)");
    assert_int_equal(store_call(b.store, are_same, &same), 0);
    assert_false(same);
    snapshot(&b);
    assert_int_equal(store_call(b.store, are_same, &same), 0);
    assert_true(same);
    assert_int_equal(db_exec(b.other, "INSERT INTO theirs VALUES (1)", NULL), 0);
    assert_int_equal(store_call(b.store, are_same, &same), 0);
    assert_false(same);
    tear_down(&b);
}

/* A byte of the page's last frame, of its head or of its page. */
static void damage(const struct base *b, uint32_t frame, unsigned at)
{
    char path[300];
    unsigned char byte;
    snprintf(path, sizeof(path), "%s-wal", shell_path("weir.db"));
    int fd = open(path, O_RDWR);
    off_t offset = 32 + (off_t)(frame - 1) * (24 + b->snapshot.page_bytes) + at;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static void damaged_frame_is_told(void **state)
{
    static const unsigned at[] = {0, 3, 8, 17, 24, 24 + 4000};
    struct base b;
    struct error error;
    (void)state;
    set_up(&b, 4096, 1);
    commit(&b, "INSERT INTO t VALUES (1, 2, randomblob(3000))");
    snapshot(&b);
    uint32_t page = 1;
    while (!is_owed(&b.snapshot, page) || !b.snapshot.frame_page)
        page++;
    assert_int_equal(take_over(&b) > 0, true); /* finds the frames */
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        damage(&b, b.snapshot.frame[page], at[i]);
        unsigned char *bytes = malloc(4096);
        assert_int_equal(pages_read(&b.snapshot, page, bytes, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "the WAL is damaged at frame"));
        damage(&b, b.snapshot.frame[page], at[i]);
        assert_int_equal(pages_read(&b.snapshot, page, bytes, &error), 0);
        free(bytes);
    }
    check(&b);
    tear_down(&b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, shell_setup, shell_teardown)
    const struct CMUnitTest tests[] = {
        TEST(copy_with_what_has_changed_is_the_snapshot),
        TEST(other_programs_may_write_too),
        TEST(nothing_has_changed_until_something_has),
        TEST(damaged_frame_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 77; /* skipped: SQLite gives no pages itself */
}

#endif
