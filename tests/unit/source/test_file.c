/* SPDX-License-Identifier: Apache-2.0
 *
 * Files into a sink that only remembers.
 */
#include "../http/client.h"
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    struct sink sink;
    struct source_result result;
    char folder[64];
    char path[64][96];
    size_t n_paths;
    uint64_t bytes, total, rows; /* as the progress call said last */
} t;

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    sink_open(&t.sink);
    strcpy(t.folder, "/tmp/weir-test-XXXXXX");
    assert_non_null(mkdtemp(t.folder));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < t.n_paths; i++)
        unlink(t.path[i]);
    rmdir(t.folder);
    sink_close(&t.sink);
    return 0;
}

static const char *put(const char *name, const void *data, size_t size)
{
    char *path = t.path[t.n_paths++];
    snprintf(path, sizeof(t.path[0]), "%s/%s", t.folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    return path;
}

static const char *put_text(const char *name, const char *text)
{
    return put(name, text, strlen(text));
}

static void progress(void *ctx, uint64_t bytes, uint64_t total, uint64_t rows)
{
    (void)ctx;
    assert_true(bytes >= t.bytes && rows >= t.rows);
    t.bytes = bytes;
    t.total = total;
    t.rows = rows;
}

static int read_files(const char *const *path, size_t n, struct error *error)
{
    const struct source_files files = {.stream = &t.sink.stream,
                                       .path = path,
                                       .n = n,
                                       .format = SOURCE_BY_NAME,
                                       .progress = progress};
    return source_file(&files, &t.result, error);
}

static void files_of_all_formats_are_read(void **state)
{
    (void)state;
    struct error error = {0};
    size_t size;
    char *zipped = client_gzip("ts,k,v\n1,a,1000\n", 16, &size);
    const char *path[] = {
        put_text("a.ndjson",
                 "{\"ts\":1,\"k\":\"a\",\"v\":1}\n{\"ts\":1,\"k\":\"a\",\"v\":2}"),
        put_text("b.JSON", "[{\"ts\":1,\"k\":\"a\",\"v\":10}]"),
        put_text("c.csv", "k,v,ts\nx,100,1\n"),
        put("d.csv.gz", zipped, size),
        put_text("e.jsonl", ""),
    };
    free(zipped);
    assert_return_code(read_files(path, 5, &error), 0);
    assert_int_equal(t.result.accepted, 5);
    assert_int_equal(t.sink.sum, 1113);
    assert_int_equal(t.sink.stream.accepted, 5);
    assert_int_equal(t.rows, 5);
}

static void large_file_is_read_in_pieces(void **state)
{
    (void)state;
    struct error error = {0};
    const size_t n = 200000;
    char *text = malloc(n * 32 + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        char line[64];
        int size =
            snprintf(line, sizeof(line), "{\"ts\":123,\"k\":\"abc\",\"v\":%6zu}\n", i);
        assert_int_equal(size, 32);
        memcpy(text + i * 32, line, 32);
    }
    const char *path[] = {put("a.ndjson", text, n * 32)};
    assert_return_code(read_files(path, 1, &error), 0);
    assert_int_equal(t.sink.rows, n);
    assert_int_equal(t.sink.sum, n * (n - 1) / 2);
    assert_int_equal(t.bytes, n * 32);
    assert_int_equal(t.total, n * 32);
    free(text);
}

static void bad_lines_are_named_with_their_file(void **state)
{
    (void)state;
    struct error error = {0};
    const char *path[] = {put_text("a.ndjson", "{\"ts\":1,\"v\":1}\n{]\n"),
                          put_text("b.csv", "ts,v\n1,x\n1,2\n")};
    assert_return_code(read_files(path, 2, &error), 0);
    assert_int_equal(t.result.accepted, 2);
    assert_int_equal(t.result.rejected, 2);
    assert_int_equal(t.result.n_faults, 2);
    assert_string_equal(t.result.fault[0].path, path[0]);
    assert_int_equal(t.result.fault[0].error.line, 2);
    assert_string_equal(t.result.fault[1].path, path[1]);
    assert_int_equal(t.result.fault[1].error.line, 2);
    assert_int_equal(t.result.by_reason[DECODE_TYPE], 1);
}

static void failures_name_the_file(void **state)
{
    (void)state;
    struct error error = {0};
    const char *none = "/nowhere/at/all.csv";
    assert_int_equal(read_files(&none, 1, &error), -ENOENT);
    assert_non_null(strstr(error.text, "\"/nowhere/at/all.csv\": No such file"));
    const char *folder = "/tmp";
    assert_int_equal(read_files(&folder, 1, &error), -EINVAL);
    assert_non_null(strstr(error.text, "does not say the format"));
    const char *wrong = put_text("a.json", "\n\nnull");
    assert_int_equal(read_files(&wrong, 1, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "a.json:3:1: "));
    size_t size;
    char *zipped = client_gzip("ts,k,v\n1,a,1000\n", 16, &size);
    const char *cut = put("b.csv.gz", zipped, size - 6);
    assert_int_equal(read_files(&cut, 1, &error), -EIO);
    free(zipped);
    t.sink.closed = true;
    const char *good = put_text("c.ndjson", "{\"ts\":1,\"v\":1}\n");
    assert_int_equal(read_files(&good, 1, &error), -ESHUTDOWN);
}

static void standard_input_is_read(void **state)
{
    (void)state;
    struct error error = {0};
    const char *from = put_text("in", "{\"ts\":1,\"v\":42}\n");
    int old = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO);
    close(fd);
    const char *path = "-";
    assert_return_code(read_files(&path, 1, &error), 0);
    assert_int_equal(t.sink.sum, 42);
    assert_int_equal(t.total, 0);
    if (old >= 0) {
        dup2(old, STDIN_FILENO);
        close(old);
    }
}

static void stop_is_heard(void **state)
{
    (void)state;
    struct error error = {0};
    static const _Atomic bool stop = true;
    const char *path = put_text("a.ndjson", "{\"ts\":1,\"v\":42}\n");
    const struct source_files files = {.stream = &t.sink.stream,
                                       .path = &path,
                                       .n = 1,
                                       .format = DECODE_NDJSON,
                                       .stop = &stop};
    assert_int_equal(source_file(&files, &t.result, &error), -EINTR);
    assert_int_equal(t.sink.rows, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(files_of_all_formats_are_read),
        TEST(large_file_is_read_in_pieces),
        TEST(bad_lines_are_named_with_their_file),
        TEST(failures_name_the_file),
        TEST(standard_input_is_read),
        TEST(stop_is_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
