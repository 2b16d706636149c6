/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines of the log, as they arrive on standard error; the texts of errors; the hash.
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/logger.h"

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

static char written[65536];
static int capture_fd;

static int capture_begin(void)
{
    int saved = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    assert_non_null(file);
    capture_fd = dup(fileno(file));
    fclose(file);
    assert_true(dup2(capture_fd, STDERR_FILENO) >= 0);
    return saved;
}

/* What was written to standard error since is in `written`. */
static void capture_end(int saved)
{
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    ssize_t n = pread(capture_fd, written, sizeof written - 1, 0);
    close(capture_fd);
    assert_true(n >= 0);
    written[n] = 0;
}

#define CAPTURE(statement)                                                             \
    do {                                                                               \
        int saved_ = capture_begin();                                                  \
        statement;                                                                     \
        capture_end(saved_);                                                           \
    } while (0)

/* The line behind its time, which must be one of now. */
static const char *behind_time(const char *line, const char *before)
{
    int64_t us;
    assert_memory_equal(line, before, strlen(before));
    line += strlen(before);
    size_t n = strcspn(line, "Z") + 1;
    assert_int_equal(clock_parse(line, n, &us), 0);
    assert_true(us <= clock_now_us() && us > clock_now_us() - 60 * SECOND_US);
    return line + n;
}

static void a_line_has_time_level_part_and_message(void **state)
{
    (void)state;
    logger_setup(LOGGER_INFO, false);
    CAPTURE(logger_warn("store", "%d rows in '%s'", 3, "trades_10s"));
    assert_string_equal(behind_time(written, "ts="),
                        " level=warn part=store msg=\"3 rows in 'trades_10s'\"\n");
}

static void lines_of_a_shard_say_which(void **state)
{
    (void)state;
    logger_setup(LOGGER_INFO, false);
    logger_shard("eu-3");
    CAPTURE(logger_warn("store", "full"));
    assert_string_equal(behind_time(written, "ts="),
                        " level=warn part=store shard=eu-3 msg=\"full\"\n");
    logger_setup(LOGGER_INFO, true);
    CAPTURE(logger_warn("store", "full"));
    assert_string_equal(behind_time(written, "{\"ts\":\""),
                        "\",\"level\":\"warn\",\"part\":\"store\",\"shard\":\"eu-3\","
                        "\"msg\":\"full\"}\n");
    char long_one[65];
    memset(long_one, 'x', 64);
    long_one[64] = 0;
    logger_setup(LOGGER_INFO, false);
    const char *none[] = {NULL, "", "a b", "a\"", long_one};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        logger_shard(none[i]);
        CAPTURE(logger_warn("store", "full"));
        assert_string_equal(behind_time(written, "ts="),
                            " level=warn part=store msg=\"full\"\n");
    }
}

static void lines_below_the_level_are_dropped(void **state)
{
    (void)state;
    logger_setup(LOGGER_WARN, false);
    CAPTURE(logger_debug("a", "x"); logger_info("a", "x"));
    assert_string_equal(written, "");
    CAPTURE(logger_error("a", "x"));
    assert_string_equal(behind_time(written, "ts="), " level=error part=a msg=\"x\"\n");
    logger_setup(LOGGER_DEBUG, false);
    CAPTURE(logger_debug("a", "x"));
    assert_string_equal(behind_time(written, "ts="), " level=debug part=a msg=\"x\"\n");
}

static void json_lines_are_objects(void **state)
{
    (void)state;
    logger_setup(LOGGER_INFO, true);
    CAPTURE(logger_info("main", "a \"b\" \\"));
    assert_string_equal(behind_time(written, "{\"ts\":\""),
                        "\",\"level\":\"info\",\"part\":\"main\","
                        "\"msg\":\"a \\\"b\\\" \\\\\"}\n");
}

static void a_message_stays_one_line(void **state)
{
    (void)state;
    logger_setup(LOGGER_INFO, false);
    CAPTURE(logger_info("http", "a\nts=0 level=error\x1b[0m\x7f \xff \xc3\xa9"));
    assert_string_equal(
        behind_time(written, "ts="),
        " level=info part=http msg=\"a\\nts=0 level=error\\u001b[0m\\u007f "
        "\xef\xbf\xbd \xc3\xa9\"\n");
}

static void a_long_message_is_cut_and_the_line_still_ends(void **state)
{
    static char text[10000];
    static const char end[] = "\\u0001\"}\n";
    (void)state;
    logger_setup(LOGGER_INFO, true);
    memset(text, 1, sizeof text - 1); /* six bytes each when escaped */
    CAPTURE(logger_info("x", "%s", text));
    size_t n = strlen(written);
    assert_in_range(n, 3000, 4096);
    assert_string_equal(written + n - strlen(end), end);
    assert_ptr_equal(strchr(written, '\n'), written + n - 1);
}

static void errno_survives_logging(void **state)
{
    int after = 0;
    (void)state;
    logger_setup(LOGGER_INFO, false);
    CAPTURE(errno = ENOSPC; logger_info("x", "y"); after = errno);
    assert_int_equal(after, ENOSPC);
}

static void an_error_keeps_its_text_and_gets_prefixes(void **state)
{
    struct error e = {0};
    char text[2000];
    (void)state;
    assert_int_equal(error_set(&e, -EINVAL, "%s is %d", "x", 3), -EINVAL);
    assert_string_equal(e.text, "x is 3");
    error_prefix(&e, "pipeline '%s'", "p");
    assert_string_equal(e.text, "pipeline 'p': x is 3");
    assert_int_equal(error_set(NULL, -ENOMEM, "x"), -ENOMEM);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    error_set(&e, -EINVAL, "%s", text);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    error_prefix(&e, "p");
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_memory_equal(e.text, "p: aaa", 6);
}

struct shown {
    size_t n;
    int64_t last_us;
    char text[3 * LOGGER_KEPT * 32];
};

static void show(const struct logger_kept *kept, void *ctx)
{
    struct shown *s = ctx;
    assert_true(s->n == 0 || kept->time_us <= s->last_us);
    s->last_us = kept->time_us;
    size_t size = strlen(s->text);
    snprintf(s->text + size, sizeof s->text - size, "%s %s %.12s\n", kept->level,
             kept->part, kept->message);
    s->n++;
    assert_true(strlen(kept->message) <= LOGGER_KEPT_SIZE);
}

static void the_newest_warnings_and_errors_are_kept(void **state)
{
    static struct shown shown;
    static char text[2000];
    (void)state;
    memset(text, 'a', sizeof text - 1);
    CAPTURE({
        logger_warn("a", "first");
        for (int i = 0; i < LOGGER_KEPT - 2; i++)
            logger_error("b", "%d", i);
        logger_info("c", "not kept");
        logger_warn("a part of the server", "%s", text);
    });
    logger_each_kept(show, &shown);
    assert_int_equal(shown.n, LOGGER_KEPT);
    static const char newest[] = "warn a part of the s aaaaaaaaaaaa\nerror b 97\n";
    assert_memory_equal(shown.text, newest, strlen(newest));
    const char *end = strstr(shown.text, "error b 0\n");
    assert_non_null(end);
    assert_string_equal(end, "error b 0\nwarn a first\n");
    CAPTURE(logger_warn("d", "one more"));
    memset(&shown, 0, sizeof shown);
    logger_each_kept(show, &shown);
    assert_int_equal(shown.n, LOGGER_KEPT);
    assert_null(strstr(shown.text, "first"));
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* 20,000 keys make 2e8 pairs: by chance one run in 9e10 finds two of 64 bits equal. */
static void the_hash_tells_keys_apart_and_has_a_key_of_its_own(void **state)
{
    static const char zero[10000];
    static uint64_t seen[20000];
    size_t n = 0;
    (void)state;
    uint64_t fixed = hash_bytes("abc", 3), fixed_number = hash_u64(7);
    hash_setup();
    assert_true(hash_bytes("abc", 3) != fixed || hash_u64(7) != fixed_number);
    for (int i = 0; i < 10000; i++) {
        char text[32];
        int length = snprintf(text, sizeof text, "key%d", i);
        seen[n++] = hash_bytes(text, (size_t)length);
    }
    for (size_t size = 0; size < sizeof zero; size++) /* differ in length only */
        seen[n++] = hash_bytes(zero, size);
    qsort(seen, n, sizeof seen[0], by_value);
    for (size_t i = 1; i < n; i++)
        assert_true(seen[i] != seen[i - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_part_and_message),
        cmocka_unit_test(lines_of_a_shard_say_which),
        cmocka_unit_test(lines_below_the_level_are_dropped),
        cmocka_unit_test(json_lines_are_objects),
        cmocka_unit_test(a_message_stays_one_line),
        cmocka_unit_test(a_long_message_is_cut_and_the_line_still_ends),
        cmocka_unit_test(errno_survives_logging),
        cmocka_unit_test(the_newest_warnings_and_errors_are_kept),
        cmocka_unit_test(an_error_keeps_its_text_and_gets_prefixes),
        cmocka_unit_test(the_hash_tells_keys_apart_and_has_a_key_of_its_own),
    };
    return cmocka_run_group_tests_name("logger, error, hash", tests, NULL, NULL);
}
