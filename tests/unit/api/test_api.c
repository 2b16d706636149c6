/* SPDX-License-Identifier: Apache-2.0
 *
 * The API over real sockets: answers agree with the rows that the test put, and with what the sqlite3
 * shell says of the same file.
 *
 * The table: 20 windows of a minute from 2026-01-02T00:00:00Z on, in each the symbols A to E; count is
 * 10 * window + symbol (A = 0), price_mean count / 4, or null where count is a multiple of 7.
 */
#include "api/api.h"
#include "base/clock.h"
#include "http/client.h"
#include "query/child.h"
#include "store/shell.h"
#include "store/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

#define START_US  (1767312000 * SECOND_US) /* 2026-01-02T00:00:00Z, from date(1) */
#define MINUTE_US (60 * SECOND_US)
#define WINDOWS   20
#define SYMBOLS   5
#define SQL_ROWS  300
#define RESULTS   "/api/v1/pipelines/trades_1m/results"

static const char yaml[] =
    "server: {database: unused.db, sql_timeout: 2s, sql_max_rows: 300}\n"
    "streams:\n"
    "  trades:\n"
    "    time: {field: ts, unit: ms}\n"
    "    fields: {symbol: string, price: float}\n"
    "pipelines:\n"
    "  trades_1m:\n"
    "    from: trades\n"
    "    key: [symbol]\n"
    "    window: {tumbling: 1m}\n"
    "    analyzers: [count, {stats: {of: price, emit: [mean]}}]\n";

static struct {
    struct config *config;
    struct metrics *metrics;
    struct plugins *plugins;
    struct pipeline *pipeline;
    struct running *running;
    struct source_stream stream;
    struct store *store;
    struct reader_pool *readers;
    struct query_pool *queries;
    struct http_server *http;
    struct api *api;
    bool ready;
} is;

static bool is_ready(void *ctx, struct error *why)
{
    (void)ctx;
    strcpy(why->text, "recovering");
    return is.ready;
}

static void fill(const struct table *t)
{
    struct rowset *r;
    assert_int_equal(rowset_new(t, WINDOWS * SYMBOLS, &r), 0);
    for (int w = 0; w < WINDOWS; w++) {
        for (int s = 0; s < SYMBOLS; s++) {
            struct weir_cell *c = rowset_row(r);
            char symbol = (char)('A' + s);
            int count = 10 * w + s;
            cell_put_int(&c[0], START_US + w * MINUTE_US);
            cell_put_string(&c[1], &symbol, 1);
            assert_int_equal(rowset_keep(r, &c[1]), 0);
            cell_put_int(&c[3], count);
            if (count % 7)
                cell_put_float(&c[4], count / 4.0);
        }
    }
    struct store_report report = {
        "trades_1m", 0, 1, 1, START_US + WINDOWS * MINUTE_US, r};
    assert_int_equal(store_put(is.store, &report), 0);
    assert_int_equal(store_flush(is.store), 0);
}

static int start_stages(struct error *error)
{
    struct store_options options = {.path = shell_path("weir.db"),
                                    .commit_interval_us = 1000};
    const struct table *const *tables;
    int err = config_parse("test.yaml", yaml, sizeof(yaml) - 1, &is.config, error);
    if (!err)
        err = metrics_new(&is.metrics);
    if (!err)
        err = plugins_new(is.config->server.plugin_path, &is.plugins);
    if (!err)
        err = pipeline_new(is.config, &is.config->pipeline[0], is.plugins, is.metrics,
                           &is.pipeline, error);
    if (!err)
        err = running_new(&is.running);
    if (!err)
        running_set(is.running, running_list_of(&is.pipeline, 1));
    if (!err)
        err = store_open(&options, is.metrics, &is.store, error);
    if (!err) {
        assert_int_equal(pipeline_tables(is.pipeline, &tables), 1);
        err = store_table(is.store, tables[0], error);
    }
    if (!err)
        err = store_start(is.store, error);
    if (!err)
        fill(tables[0]);
    return err;
}

static int start_http(struct error *error)
{
    struct http_options http = {.address = "127.0.0.1",
                                .epoll_threads = 1,
                                .max_connections = 50,
                                .query_threads = 2,
                                .max_queries = 10,
                                .slow_threads = 2,
                                .max_slow = 10};
    const struct query_options queries = {
        .database = shell_path("weir.db"), .memory = 64 << 20, .temp = 16 << 20};
    is.stream.name = "trades";
    struct api_context context = {.config = is.config,
                                  .metrics = is.metrics,
                                  .plugins = is.plugins,
                                  .running = is.running,
                                  .stream = &is.stream,
                                  .version = "1.2.3",
                                  .ready = is_ready};
    int err = reader_pool_new(shell_path("weir.db"), 2, &is.readers);
    if (!err)
        err = query_pool_new(&queries, is.metrics, &is.queries);
    context.store = is.store;
    context.readers = is.readers;
    context.queries = is.queries;
    if (!err)
        err = http_new(&http, is.metrics, &is.http, error);
    if (!err)
        err = api_setup(is.http, &context, &is.api, error);
    return err ? err : http_start(is.http, error);
}

static int group_setup(void **state)
{
    struct error error = {""};
    is.ready = true;
    if (shell_setup(state))
        return -1;
    int err = start_stages(&error);
    if (!err)
        err = start_http(&error);
    if (err)
        fprintf(stderr, "%d: %s\n", err, error.text);
    return err;
}

static int group_teardown(void **state)
{
    http_free(is.http);
    api_free(is.api);
    query_pool_free(is.queries);
    reader_pool_free(is.readers);
    store_free(is.store);
    running_free(is.running);
    pipeline_unref(is.pipeline);
    plugins_free(is.plugins);
    metrics_free(is.metrics);
    config_free(is.config);
    return shell_teardown(state);
}

/* The answer to a GET, kept until the next. */
static struct answer got;

static const char *get_with(unsigned status, const char *path, const char *headers)
{
    answer_free(&got);
    client_once(http_port(is.http), "GET", path, headers, NULL, 0, &got);
    if (got.status != status)
        fail_msg("%s: %u, not %u: %s", path, got.status, status, got.body);
    assert_true(got.whole);
    return got.body;
}

static const char *get(unsigned status, const char *path)
{
    return get_with(status, path, "");
}

static void assert_header(const char *name, const char *value)
{
    char text[256];
    assert_string_equal(answer_header(&got, name, text), value);
}

static void assert_code(const char *code)
{
    char text[100];
    assert_header("Content-Type", "application/problem+json");
    snprintf(text, sizeof(text), "\"code\":\"%s\"", code);
    assert_non_null(strstr(got.body, text));
}

/* ---- Results ---- */

static void csv_of_everything_is_what_the_shell_prints(void **state)
{
    (void)state;
    const char *want =
        shell_with("-csv", "weir.db",
                   "SELECT window_start, window_end, symbol, \\\"count\\\", price_mean "
                   "FROM trades_1m_readable ORDER BY 1, 2");
    const char *header = "window_start,window_end,symbol,count,price_mean\r\n";
    const char *body = get(200, RESULTS "?format=csv");
    assert_header("Content-Type", "text/csv; charset=utf-8");
    assert_memory_equal(body, header, strlen(header));
    /* The shell writes 2.0 where JSON and this server write 2, and ends lines its own way. */
    struct buffer text = {0};
    for (const char *p = want; *p; p++) {
        if (strncmp(p, ".0\n", 3) == 0)
            p += 2;
        buffer_puts(&text, *p == '\n' ? "\r" : "");
        buffer_putc(&text, *p);
    }
    assert_string_equal(body + strlen(header), buffer_text(&text));
    buffer_free(&text);
}

static void json_is_an_array_of_objects(void **state)
{
    (void)state;
    assert_string_equal(get(200, RESULTS "?limit=2"),
                        "[\n{\"window_start\":\"2026-01-02T00:00:00Z\",\"window_end\":"
                        "\"2026-01-02T00:01:00Z\",\"symbol\":\"A\",\"count\":0,"
                        "\"price_mean\":null},\n"
                        "{\"window_start\":\"2026-01-02T00:00:00Z\",\"window_end\":"
                        "\"2026-01-02T00:01:00Z\",\"symbol\":\"B\",\"count\":1,"
                        "\"price_mean\":0.25}\n]\n");
    assert_header("Content-Type", "application/json");
    assert_string_equal(get(200, RESULTS "?symbol=nobody&"), "[]\n");
    assert_string_equal(get(200, RESULTS "?to=0"), "[]\n");
    assert_string_equal(get(200, RESULTS "/trades_1m?symbol=nobody"), "[]\n");
}

static void columns_order_times_and_filters(void **state)
{
    (void)state;
    assert_string_equal(
        get(200, RESULTS "?format=ndjson&columns=count,window_end&limit=3&order=desc"),
        "{\"count\":194,\"window_end\":\"2026-01-02T00:20:00Z\"}\n"
        "{\"count\":193,\"window_end\":\"2026-01-02T00:20:00Z\"}\n"
        "{\"count\":192,\"window_end\":\"2026-01-02T00:20:00Z\"}\n");
    assert_string_equal(
        get(200, RESULTS "?format=csv&columns=window_start,symbol&times=us&symbol=E&"
                         "key.symbol=B&from=2026-01-02T00:18:30Z"),
        "window_start,symbol\r\n1767313140000000,B\r\n1767313140000000,E\r\n");
    /* `to` is not included, `from` is: two windows. */
    assert_string_equal(get(200, RESULTS
                            "?format=csv&columns=count&symbol=A&from=1767312060000000&"
                            "to=2026-01-02T00:03:00%2B00:00"),
                        "count\r\n10\r\n20\r\n");
    assert_string_equal(get(200, RESULTS "?format=csv&columns=count&from=-1m&to=now"),
                        "count\r\n"); /* long ago */
}

static void accept_chooses_the_format(void **state)
{
    (void)state;
    static const struct {
        const char *accept, *type;
    } row[] = {
        /* RFC 9110, 12.5.1 and 12.4.2 */
        {"text/html;q=0.9, text/csv;q=0.1", "text/csv; charset=utf-8"},
        {"text/csv;q=0.5, application/json", "application/json"},
        {"text/csv;q=0.5, application/x-ndjson; q=0.501", "application/x-ndjson"},
        {"application/json;q=0, */*", "application/x-ndjson"},
        {"*/*, text/csv", "text/csv; charset=utf-8"},
        {"*/*;q=0.1, text/*;q=0.2", "text/csv; charset=utf-8"},
        {"text/csv;header=present;Q=1.000, application/json;q=0.999",
         "text/csv; charset=utf-8"},
        {"text/csv, application/json", "text/csv; charset=utf-8"},
        {"text/html,application/xml;q=0.9,*/*;q=0.8", "application/json"},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char header[256];
        snprintf(header, sizeof(header), "Accept: %s\r\n", row[i].accept);
        get_with(200, RESULTS "?limit=1", header);
        assert_header("Content-Type", row[i].type);
    }
    get_with(406, RESULTS "?limit=1", "Accept: */*;q=0\r\n");
    get_with(406, RESULTS "?limit=1", "Accept: application/json;q=0.000\r\n");
    get_with(200, RESULTS "?limit=1", "Accept: application/x-ndjson\r\n");
    assert_header("Content-Type", "application/x-ndjson");
    get_with(200, RESULTS "?limit=1", "Accept: */*\r\n");
    assert_header("Content-Type", "application/json");
    get_with(406, RESULTS "?limit=1", "Accept: image/png\r\n");
    assert_code("not_acceptable");
}

/* Pages of 7 rows, by the cursor alone and by Link, are the whole table. */
static void pages_make_up_the_whole(const char *arguments)
{
    char path[1024], cursor[256], link[1024], want[1200];
    struct buffer whole = {0};
    snprintf(path, sizeof(path), RESULTS "?format=ndjson&limit=7&%s", arguments);
    int pages = 0;
    do {
        assert_in_range(pages++, 0, 20);
        buffer_puts(&whole, get(200, path));
        answer_header(&got, "Weir-Next-Cursor", cursor);
        snprintf(want, sizeof(want),
                 "Link: <" RESULTS "?format=ndjson&limit=7&%s&cursor=%s>; rel=\"next\"",
                 arguments, cursor);
        assert_int_equal(strstr(got.headers, want) != NULL, cursor[0] != 0);
        snprintf(link, sizeof(link), RESULTS "?format=ndjson&limit=7&%s&cursor=%s",
                 arguments, cursor);
        strcpy(path, link);
    } while (cursor[0]);
    snprintf(path, sizeof(path), RESULTS "?format=ndjson&limit=all&%s", arguments);
    assert_string_equal(buffer_text(&whole), get(200, path));
    assert_int_equal(pages, (strstr(arguments, "symbol") ? 20 + 6 : 100 + 6) / 7);
    buffer_free(&whole);
}

static void pages_follow_the_cursor(void **state)
{
    (void)state;
    pages_make_up_the_whole("order=asc");
    pages_make_up_the_whole("order=desc");
    pages_make_up_the_whole("symbol=C");
    get(200, RESULTS "?limit=100");
    assert_header("Weir-Next-Cursor", ""); /* exactly all */
    get(200, RESULTS "?limit=99");
    assert_non_null(strstr(got.headers, "Weir-Next-Cursor"));
}

static void wrong_questions_are_answered_400(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "limit=0",        "limit=-1",
        "limit=100001",   "limit=ten",
        "limit=all",      "order=up",
        "from=yesterday", "to=2026-13-01",
        "columns=",       "columns=count,,symbol",
        "columns=no",     "format=xml",
        "format=table",   "times=ns",
        "symbols=A",      "cursor=",
        "cursor=abc",     "cursor=aTE7",
        "window=1",       "count=1",
        "cursor=%C3%A4",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char path[256];
        snprintf(path, sizeof(path), RESULTS "?%s", wrong[i]);
        get(400, path);
        assert_code("bad_parameter");
    }
    assert_non_null(strstr(get(400, RESULTS "?symbols=A"), "the key columns symbol"));
}

static void unknown_things_are_404(void **state)
{
    (void)state;
    get(404, "/api/v1/pipelines/nothing/results");
    assert_code("unknown_pipeline");
    assert_non_null(strstr(get(404, RESULTS "/nothing"), "there are: trades_1m"));
    assert_code("unknown_table");
    get(404, "/api/v1/pipelines/nothing");
    get(404, "/api/v1/pipelines/nothing/watermarks");
    get(404, "/api/v1/streams/nothing");
    assert_code("unknown_stream");
}

/* ---- SQL ---- */

static const char *post(unsigned status, const char *path, const char *type,
                        const char *body)
{
    char headers[128];
    snprintf(headers, sizeof(headers), "Content-Type: %s\r\n", type);
    answer_free(&got);
    client_once(http_port(is.http), "POST", path, headers, body, strlen(body), &got);
    if (got.status != status)
        fail_msg("%s: %u, not %u: %s", body, got.status, status, got.body);
    return got.body;
}

/* valgrind knows neither the limits of the processes that run SQL nor how they are waited for. */
static void needs_processes(void)
{
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        skip();
}

static void sql_answers_by_get_and_post(void **state)
{
    (void)state;
    needs_processes();
    /* 10 * (0 + ... + 19) * 5 + (0 + 1 + 2 + 3 + 4) * 20 */
    const char *want =
        "{\"columns\":[\"n\",\"s\"],\"rows\":[\n[100,9700]\n],\"truncated\":false}\n";
    assert_string_equal(
        get(200, "/api/v1/sql?q=SELECT%20count(*)%20n,sum(%22count%22)%20s%20"
                 "FROM%20trades_1m"),
        want);
    const char *sql = "SELECT count(*) n, sum(\"count\") s FROM trades_1m";
    assert_string_equal(post(200, "/api/v1/sql", "text/plain; charset=utf-8", sql),
                        want);
    assert_string_equal(
        post(200, "/api/v1/sql", "application/json",
             "{\"sql\": \"SELECT count(*) n, sum(\\\"count\\\") s FROM trades_1m\"}"),
        want);
    assert_string_equal(post(200, "/api/v1/sql?format=csv", "text/plain", sql),
                        "n,s\r\n100,9700\r\n");
    assert_string_equal(
        post(200, "/api/v1/sql?format=ndjson", "text/plain",
             "SELECT 1 a, NULL b, 'x\"y' c, 0.5 d, 9e999 e, x'00ff' f"),
        "{\"a\":1,\"b\":null,\"c\":\"x\\\"y\",\"d\":0.5,\"e\":null,\"f\":\"00ff\"}\n");
    assert_string_equal(post(200, "/api/v1/sql?format=csv", "text/plain",
                             "SELECT 'a,b', 'say \"x\"', '', NULL, 'plain', 9e999"),
                        "\"'a,b'\",\"'say \"\"x\"\"'\",'',NULL,'plain',9e999\r\n"
                        "\"a,b\",\"say \"\"x\"\"\",\"\",,plain,\r\n");
}

static void sql_takes_parameters(void **state)
{
    (void)state;
    needs_processes();
    assert_string_equal(
        post(200, "/api/v1/sql?format=ndjson", "application/json",
             "{\"sql\":\"SELECT :a a, @b b, $c c, :d d, :e "
             "e\",\"params\":{\"a\":9007199254740993,"
             "\"b\":\"\\u00e9\",\"c\":null,\"d\":true,\"e\":0.1},\"timeout_ms\":2000}"),
        "{\"a\":9007199254740993,\"b\":\"\xc3\xa9\",\"c\":null,\"d\":1,\"e\":0.1}\n");
    assert_string_equal(
        post(
            200, "/api/v1/sql", "application/json",
            "{\"format\":\"ndjson\",\"sql\":\"SELECT ? || ? x\",\"params\":[1,\"b\"]}"),
        "{\"x\":\"1b\"}\n");
    static const char *const wrong[] = {
        "{\"sql\":\"SELECT :a\"}",
        "{\"sql\":\"SELECT :a\",\"params\":{\"b\":1}}",
        "{\"sql\":\"SELECT :a\",\"params\":{\"a\":1,\"b\":1}}",
        "{\"sql\":\"SELECT :a\",\"params\":{\"a\":[1]}}",
        "{\"sql\":\"SELECT ?\",\"params\":[1,2]}",
        "{\"sql\":\"SELECT 1\",\"parms\":{}}",
        "{\"sql\":\"SELECT 1\",\"sql\":\"SELECT 2\"}",
        "{\"sql\":1}",
        "{\"sql\":\"SELECT 1\",\"timeout_ms\":\"soon\"}",
        "{\"sql\":\"SELECT 1\"",
        "[\"SELECT 1\"]",
        "",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        post(400, "/api/v1/sql", "application/json", wrong[i]);
    post(415, "/api/v1/sql", "application/xml", "<sql/>");
    get(400, "/api/v1/sql");
    get(400, "/api/v1/sql?q=SELECT%201&limit=5");
    get(400, "/api/v1/sql?q=SELECT%201&timeout_ms=0");
}

static void sql_that_writes_is_refused(void **state)
{
    (void)state;
    needs_processes();
    post(403, "/api/v1/sql", "text/plain", "DELETE FROM trades_1m");
    assert_code("not_authorized");
    post(403, "/api/v1/sql", "text/plain", "ATTACH '/tmp/x.db' AS x");
    post(403, "/api/v1/sql", "text/plain", "PRAGMA query_only = 0");
    assert_non_null(
        strstr(post(400, "/api/v1/sql", "text/plain", "SELECT 1,\n  nothing"),
               "\"line\":2,\"column\":3"));
    assert_code("bad_sql");
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM trades_1m"), "100\n");
}

#define ENDLESS                                                                        \
    "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c) SELECT "

static void sql_over_its_limits_is_ended(void **state)
{
    (void)state;
    needs_processes();
    int64_t begin = clock_monotonic_us();
    post(504, "/api/v1/sql", "text/plain", ENDLESS "count(*) FROM c");
    assert_code("timeout");
    post(504, "/api/v1/sql?timeout_ms=1", "text/plain", ENDLESS "count(*) FROM c");
    /* A larger time than the configured one is no way out. */
    post(504, "/api/v1/sql?timeout_ms=60000", "text/plain", ENDLESS "count(*) FROM c");
    assert_in_range(clock_monotonic_us() - begin, 4 * SECOND_US, 60 * SECOND_US);

    const char *body = post(200, "/api/v1/sql", "text/plain", ENDLESS "x FROM c");
    assert_non_null(
        strstr(body, "\n[300]\n],\"truncated\":true,\"reason\":\"rows\"}\n"));
    assert_header("Weir-Truncated", "rows");
    body = post(200, "/api/v1/sql?format=csv", "text/plain", ENDLESS "x FROM c");
    assert_header("Weir-Truncated", "rows");
    post(200, "/api/v1/sql", "text/plain",
         ENDLESS "x FROM c LIMIT 300"); /* exactly the limit */
    assert_non_null(strstr(got.body, "\"truncated\":false"));

    /* Too much for a header to say it: JSON says so at its end, CSV is cut off. */
    body = post(200, "/api/v1/sql", "text/plain", ENDLESS "printf('%1000d', x) FROM c");
    assert_non_null(strstr(body, "\"truncated\":true,\"reason\":\"rows\"}\n"));
    assert_true(got.whole);
    post(200, "/api/v1/sql?format=csv", "text/plain",
         ENDLESS "printf('%1000d', x) FROM c");
    assert_false(got.whole);
}

/* ---- The rest ---- */

static void probes_answer(void **state)
{
    (void)state;
    assert_string_equal(get(200, "/live"), "{\"live\":true}\n");
    assert_string_equal(get(200, "/ready"), "{\"ready\":true}\n");
    is.ready = false;
    assert_non_null(strstr(get(503, "/ready"), "recovering"));
    is.ready = true;
    assert_non_null(strstr(get(200, "/version"), "\"version\":\"1.2.3\""));
    assert_non_null(strstr(get(200, "/metrics"), "\nweir_store_rows_total 100\n"));
    assert_non_null(
        strstr(get(200, "/"), "<script type=\"module\" src=\"/page/main.js\">"));
    assert_non_null(strstr(get(200, "/page/net.js"), "/api/v1/pipelines/"));
    get(404, "/page/none.js");
    assert_non_null(strstr(get(200, "/openapi.json"), "\"openapi\": \"3.1"));
}

static void overviews_tell_settings(void **state)
{
    (void)state;
    const char *body = get(200, "/api/v1/streams");
    assert_non_null(strstr(
        body, "[{\"name\":\"trades\",\"time\":{\"field\":\"ts\",\"unit\":\"ms\"},"
              "\"fields\":[{\"name\":\"symbol\",\"type\":\"string\"},"
              "{\"name\":\"price\",\"type\":\"float\"}]"));
    metric_add(&is.stream.accepted, 42);
    metric_add(&is.stream.rejected[DECODE_SYNTAX], 2);
    metric_add(&is.stream.rejected[DECODE_FUTURE], 1);
    body = get(200, "/api/v1/streams/trades");
    assert_non_null(strstr(body, "\"accepted\":42,\"rejected\":3,"));
    assert_non_null(strstr(body, "\"future\":1"));
    body = get(200, "/api/v1/pipelines");
    assert_non_null(strstr(body,
                           "\"name\":\"trades_1m\",\"from\":\"trades\",\"where\":null,"
                           "\"key\":[\"symbol\"],\"window\":\"1m\""));
    assert_non_null(strstr(body, "\"retain\":null"));
    assert_non_null(
        strstr(body, "{\"name\":\"symbol\",\"type\":\"string\",\"key\":true"));
    assert_non_null(strstr(get(200, "/api/v1/pipelines/trades_1m"),
                           "\"status\":{\"watermark\":null"));
    assert_non_null(
        strstr(get(200, "/api/v1/pipelines/trades_1m/watermarks"), "\"sources\":["));
    body = get(200, "/api/v1/plugins");
    assert_non_null(strstr(body, "\"name\":\"count\""));
    assert_non_null(strstr(body, "\"name\":\"stats\""));
    get(400, "/api/v1/plugins?name=count");
    assert_code("unknown_parameter");
}

/* This program is the one that the pool starts, too. */
int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], QUERY_CHILD_COMMAND) == 0)
        return query_child(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_of_everything_is_what_the_shell_prints),
        cmocka_unit_test(json_is_an_array_of_objects),
        cmocka_unit_test(columns_order_times_and_filters),
        cmocka_unit_test(accept_chooses_the_format),
        cmocka_unit_test(pages_follow_the_cursor),
        cmocka_unit_test(wrong_questions_are_answered_400),
        cmocka_unit_test(unknown_things_are_404),
        cmocka_unit_test(sql_answers_by_get_and_post),
        cmocka_unit_test(sql_takes_parameters),
        cmocka_unit_test(sql_that_writes_is_refused),
        cmocka_unit_test(sql_over_its_limits_is_ended),
        cmocka_unit_test(probes_answer),
        cmocka_unit_test(overviews_tell_settings),
    };
    int failed = cmocka_run_group_tests(tests, group_setup, group_teardown);
    answer_free(&got);
    return failed;
}
