/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration file: what its keys mean, and what is refused, where and with which words. Lines
 * and columns are counted by hand.
 */
#include "base/buffer.h"
#include "base/clock.h"
#include "config/config.h"
#include "config/faults.h"

#include <ctype.h>
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

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct config *parse(const char *text)
{
    struct config *c = NULL;
    struct error error = {0};
    if (config_parse("f", text, strlen(text), &c, &error) < 0)
        fail_msg("%s\nin\n%s", error.text, text);
    return c;
}

static void check_refused(const char *text, const char *message)
{
    struct config *c = NULL;
    struct error error = {0};
    int r = config_parse("f", text, strlen(text), &c, &error);
    if (r != -EINVAL || strcmp(error.text, message) != 0)
        fail_msg("%s\ngave %d\n%s\nnot\n%s", text, r, error.text, message);
    assert_null(c);
}

/* A good file, in which cases put something else. Line 6 is the stream's, 12 the pipeline's. */
#define STREAM_HEAD                                                                    \
    "server: {listen: 127.0.0.1:0}\n"                                                  \
    "streams:\n"                                                                       \
    "  trades:\n"                                                                      \
    "    time: {field: ts, unit: ms}\n"                                                \
    "    fields: {symbol: string, price: float, qty: int, ok: bool, at: time, Rank: "  \
    "int}\n"
#define PIPELINE_HEAD                                                                  \
    "pipelines:\n"                                                                     \
    "  p:\n"                                                                           \
    "    from: trades\n"                                                               \
    "    window: {tumbling: 10s}\n"                                                    \
    "    analyzers: [count]\n"

static struct config *parse_stream(const char *lines)
{
    char text[2048];
    snprintf(text, sizeof text, "streams:\n  s:\n%s", lines);
    return parse(text);
}

static struct config *parse_pipeline(const char *line)
{
    char text[2048];
    snprintf(text, sizeof text, STREAM_HEAD PIPELINE_HEAD "%s\n", line);
    return parse(text);
}

/* ---- Where fields are -------------------------------------------------------------------------- */

static void fields_say_where_they_are_and_what_stands_for_them(void **state)
{
    (void)state;
    struct config *c =
        parse_stream("    time: {field: ts, unit: ms, path: meta.ts}\n"
                     "    lenient: [numbers]\n"
                     "    fields:\n"
                     "      user: {path: user.id, type: string}\n"
                     "      tag: {path: \"tags[*]\", each: true, type: string}\n"
                     "      level: {name: log.level, type: string, default: info}\n"
                     "      n: {type: int, default: -3}\n"
                     "      at: {type: time, default: 1970-01-01T00:00:01Z}\n"
                     "      yes: {type: bool, default: true}\n"
                     "      x: float\n");
    const struct config_stream *s = &c->stream[0];
    assert_int_equal(s->lenient, DECODE_LENIENT_NUMBERS);
    assert_string_equal(s->field[0].path, "meta.ts");
    assert_string_equal(s->field[1].path, "user.id");
    assert_string_equal(s->field[3].name, "log.level");
    assert_string_equal(s->field[3].text, "info");
    assert_true(s->field[4].has_default);
    assert_int_equal(s->field[4].init.i, -3);
    assert_int_equal(s->field[5].init.i, 1000000);
    assert_int_equal(s->field[6].init.i, 1);
    assert_false(s->field[7].has_default);
    assert_non_null(s->paths);
    config_free(c);
    c = parse_stream("    fields: {a: int}\n");
    assert_null(c->stream[0].paths);
    config_free(c);
}

static void fields_that_are_nowhere_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *field, *message;
    } e[] = {
        {"{path: u.id}", "f:3:17: the key 'type' is missing in a field"},
        {"{type: int, path: u..id}",
         "f:3:17: field 'a': a key is missing before '.id'"},
        {"{type: int, path: 'u[*]'}", "f:3:35: '[*]' makes a row of each element; "
                                      "'each: true' says that it is meant"},
        {"{type: int, path: u, each: true}",
         "f:3:44: 'each' needs a path with '[*]', such as tags[*]"},
        {"{type: int, path: u, name: v}",
         "f:3:17: a field has a 'path' or a 'name', not both"},
        {"{type: int, default: x}", "f:3:38: expected a whole number, found 'x'"},
        {"[int]",
         "f:3:17: expected a type, or {type: string, path: user.id}, found a list"},
        {"{type: int, name: b}, b: int",
         "f:3:42: field 'b': another field reads the same value"},
    };
    char text[512];
    for (size_t i = 0; i < COUNT(e); i++) {
        snprintf(text, sizeof text, "streams:\n  s:\n    fields: {a: %s}\n",
                 e[i].field);
        check_refused(text, e[i].message);
    }
    check_refused("streams: {s: {lenient: [all]}}",
                  "f:1:25: expected 'numbers' or 'times', found 'all'");
}

/* ---- derive ------------------------------------------------------------------------------------ */

static void derived_columns_have_the_type_of_their_expression(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum weir_type type;
    } e[] = {
        {"price * qty", WEIR_FLOAT},
        {"qty / 2", WEIR_INT},
        {"qty + ok", WEIR_INT},
        {"at", WEIR_TIME},
        {"at - ts", WEIR_INT},
        {"qty > 1", WEIR_BOOL},
        {"symbol LIKE 'A%'", WEIR_BOOL},
        {"upper(symbol)", WEIR_STRING},
        {"symbol || qty", WEIR_STRING},
        {"CASE WHEN ok THEN price ELSE 0 END", WEIR_FLOAT},
        {"CASE WHEN ok THEN symbol END", WEIR_STRING},
        {"coalesce(price, 0)", WEIR_FLOAT},
        {"iif(ok, qty, NULL)", WEIR_INT},
        {"max(qty, 3)", WEIR_INT},
        {"abs(price)", WEIR_FLOAT},
        {"CAST(price AS INTEGER)", WEIR_INT},
        {"round(price, 2)", WEIR_FLOAT},
        {"{expr: \"json_extract(symbol, '$.a')\", type: bool}", WEIR_BOOL},
        {"{expr: price, type: int}", WEIR_INT},
    };
    char lines[512];
    for (size_t i = 0; i < COUNT(e); i++) {
        snprintf(
            lines, sizeof lines,
            "    time: {field: ts, unit: ms}\n"
            "    fields: {symbol: string, price: float, qty: int, ok: bool, at: time}\n"
            "    derive:\n      x: %s\n      y: \"x IS NOT NULL\"\n",
            e[i].text);
        struct config *c = parse_stream(lines);
        const struct config_stream *s = &c->stream[0];
        assert_int_equal(s->schema->n, 6);
        assert_int_equal(s->columns->n, 8);
        assert_string_equal(s->columns->column[6].name, "x");
        if (s->columns->column[6].type != e[i].type)
            fail_msg("%s is of type %s", e[i].text,
                     schema_type_name(s->columns->column[6].type));
        assert_int_equal(s->columns->column[7].type, WEIR_BOOL);
        config_free(c);
    }
}

static void a_pipeline_sees_derived_columns_and_has_its_own(void **state)
{
    (void)state;
    struct config *c = parse_pipeline("    derive: {half: qty / 2, big: half > 10}\n"
                                      "    key: [big, symbol]");
    const struct config_pipeline *p = &c->pipeline[0];
    assert_int_equal(c->stream[0].columns->n, 7);
    assert_int_equal(p->schema->n, 9);
    assert_int_equal(p->key[0], 8);
    assert_int_equal(p->key[1], 1);
    config_free(c);
}

static void derived_columns_that_are_none_are_refused(void **state)
{
    (void)state;
    check_refused(STREAM_HEAD "    derive: {x: qty + }\n",
                  "f:6:17: near \")\": syntax error");
    check_refused(STREAM_HEAD "    derive: {x: y, y: qty}\n",
                  "f:6:17: no such column: y");
    check_refused(STREAM_HEAD "    derive: {PRICE: qty}\n",
                  "f:6:14: there is a column 'price' already");
    check_refused(STREAM_HEAD "    derive: {x: random()}\n",
                  "f:6:17: non-deterministic functions prohibited");
    check_refused(
        STREAM_HEAD "    derive: {x: \"json_extract(symbol, 'a')\"}\n",
        "f:6:17: the type of this expression cannot be told; give it one, such as "
        "{expr: ..., type: float}");
    check_refused(STREAM_HEAD "    derive: {x: {expr: qty, type: number}}\n",
                  "f:6:35: expected a type: string, float, int, bool or time, found "
                  "'number'");
    check_refused(STREAM_HEAD "    derive: {x: {expr: qty, typ: int}}\n",
                  "f:6:29: unknown key 'typ' of a derived column, which takes 'expr', "
                  "'type'");
    check_refused(
        STREAM_HEAD "    derive: {x: [qty]}\n",
        "f:6:17: expected an expression such as price * qty, or {expr: price * "
        "qty, type: float}, found a list");
    check_refused(STREAM_HEAD PIPELINE_HEAD "    derive: {x: prize}\n",
                  "f:11:17: no such column: prize");
}

/* ---- server ------------------------------------------------------------------------------------ */

static void server_has_defaults(void **state)
{
    (void)state;
    struct config *c = parse("streams: {s: {}}");
    const struct config_server *s = &c->server;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    assert_string_equal(s->address, "127.0.0.1");
    assert_int_equal(s->port, 8080);
    assert_string_equal(s->database, "weir.db");
    assert_non_null(s->plugin_path);
    assert_null(s->plugin_path[0]);
    assert_int_equal(s->threads, cores < 64 ? cores : 64);
    assert_int_equal(s->http_threads, cores < 16 ? cores : 16);
    assert_int_equal(s->query_threads, 4);
    assert_int_equal(s->nice, 10);
    assert_int_equal(s->max_connections, 4096);
    assert_int_equal(s->max_body, 67108864);
    assert_int_equal(s->max_record, 1048576);
    assert_int_equal(s->queue_events, 1000000);
    assert_int_equal(s->queue_wait_us, 1000000);
    assert_int_equal(s->linger_us, 2000);
    assert_int_equal(s->commit_interval_us, 100000);
    assert_int_equal(s->idempotency_retain_us, INT64_C(3600000000));
    assert_int_equal(s->idempotency_keys, 1000000);
    assert_int_equal(s->dead_letters, 10000);
    assert_int_equal(s->sql_timeout_us, 10000000);
    assert_int_equal(s->sql_max_rows, 1000000);
    assert_int_equal(s->sql_max_bytes, 268435456);
    assert_int_equal(s->sql_processes, 4);
    assert_int_equal(s->sql_memory, 268435456);
    assert_int_equal(s->sql_temp, 1073741824);
    assert_int_equal(s->spool_limit, 1073741824);
    assert_false(s->log_json);
    config_free(c);
    config_free(NULL);
}

static void server_keys_are_taken(void **state)
{
    (void)state;
    struct config *c = parse("server:\n"
                             "  listen: \"[::1]:65535\"\n"
                             "  database: /tmp/x y.db\n"
                             "  plugin_path: [a, 'b c']\n"
                             "  threads: 3\n"
                             "  http_threads: 64\n"
                             "  query_threads: 1\n"
                             "  nice: 19\n"
                             "  max_connections: 10\n"
                             "  max_body: 1GiB\n"
                             "  max_record: 64kB\n"
                             "  queue_events: 5\n"
                             "  queue_wait: 0s\n"
                             "  linger: 1s\n"
                             "  commit_interval: 1ms\n"
                             "  idempotency_retain: 30d\n"
                             "  idempotency_keys: 1\n"
                             "  dead_letters: 0\n"
                             "  sql_timeout: 1h\n"
                             "  sql_max_rows: 7\n"
                             "  sql_max_bytes: 1KiB\n"
                             "  sql_processes: 64\n"
                             "  sql_memory: 16MiB\n"
                             "  sql_temp: 1MiB\n"
                             "  spool_limit: 2GiB\n"
                             "  log_json: yes\n"
                             "streams: {s: {}}\n");
    const struct config_server *s = &c->server;
    assert_string_equal(s->address, "::1");
    assert_int_equal(s->port, 65535);
    assert_string_equal(s->database, "/tmp/x y.db");
    assert_string_equal(s->plugin_path[0], "a");
    assert_string_equal(s->plugin_path[1], "b c");
    assert_null(s->plugin_path[2]);
    assert_int_equal(s->threads, 3);
    assert_int_equal(s->http_threads, 64);
    assert_int_equal(s->query_threads, 1);
    assert_int_equal(s->nice, 19);
    assert_int_equal(s->max_connections, 10);
    assert_int_equal(s->max_body, 1073741824);
    assert_int_equal(s->max_record, 64000);
    assert_int_equal(s->queue_events, 5);
    assert_int_equal(s->queue_wait_us, 0);
    assert_int_equal(s->linger_us, 1000000);
    assert_int_equal(s->commit_interval_us, 1000);
    assert_int_equal(s->idempotency_retain_us, INT64_C(2592000000000));
    assert_int_equal(s->idempotency_keys, 1);
    assert_int_equal(s->dead_letters, 0);
    assert_int_equal(s->sql_timeout_us, INT64_C(3600000000));
    assert_int_equal(s->sql_max_rows, 7);
    assert_int_equal(s->sql_max_bytes, 1024);
    assert_int_equal(s->sql_processes, 64);
    assert_int_equal(s->sql_memory, 16777216);
    assert_int_equal(s->sql_temp, 1048576);
    assert_int_equal(s->spool_limit, 2147483648);
    assert_true(s->log_json);
    config_free(c);
}

static void addresses_of_this_machine_are_taken(void **state)
{
    static const struct {
        const char *listen, *address;
        unsigned port;
    } known[] = {
        {"127.0.0.1:8080", "127.0.0.1", 8080},
        {"127.255.0.9:0", "127.255.0.9", 0},
        {"'[::1]:80'", "::1", 80},
        {"localhost:9000", "127.0.0.1", 9000},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[128];
        snprintf(text, sizeof text,
                 "server: {listen: %s, plugin_path: x}\nstreams: {s: {}}",
                 known[i].listen);
        struct config *c = parse(text);
        assert_string_equal(c->server.address, known[i].address);
        assert_int_equal(c->server.port, known[i].port);
        assert_string_equal(c->server.plugin_path[0], "x");
        assert_null(c->server.plugin_path[1]);
        config_free(c);
    }
}

static void wrong_server_keys_are_refused(void **state)
{
#define ADDRESS                                                                        \
    "expected an address and a port, such as 127.0.0.1:8080 or \"[::1]:8080\", or "    \
    "unix:PATH, found "
#define REACHED                                                                        \
    "can be reached from other machines, and nothing says who may: name a file of "    \
    "tokens (server: tokens:, made by `weir token new`), ask for certificates of "     \
    "clients (server: tls: client_ca:), or listen on 127.0.0.1 or [::1]"
    static const struct {
        const char *line, *message;
    } known[] = {
        {"listen: 0.0.0.0:80", "f:2:11: '0.0.0.0:80' " REACHED},
        {"listen: 192.168.1.5:80", "f:2:11: '192.168.1.5:80' " REACHED},
        {"listen: '[::]:80'", "f:2:11: '[::]:80' " REACHED},
        {"listen: '[2001:db8::1]:80'", "f:2:11: '[2001:db8::1]:80' " REACHED},
        {"listen: '[::ffff:127.0.0.1]:80'", "f:2:11: '[::ffff:127.0.0.1]:80' " REACHED},
        {"listen: 8080", "f:2:11: " ADDRESS "'8080'"},
        {"listen: :8080", "f:2:11: " ADDRESS "':8080'"},
        {"listen: 127.0.0.1", "f:2:11: " ADDRESS "'127.0.0.1'"},
        {"listen: '127.0.0.1:'", "f:2:11: " ADDRESS "the string \"127.0.0.1:\""},
        {"listen: 127.0.0.1:65536", "f:2:11: " ADDRESS "'127.0.0.1:65536'"},
        {"listen: 127.0.0.1:-1", "f:2:11: " ADDRESS "'127.0.0.1:-1'"},
        {"listen: 127.0.0.1:80x", "f:2:11: " ADDRESS "'127.0.0.1:80x'"},
        {"listen: 127.0.0:80", "f:2:11: " ADDRESS "'127.0.0:80'"},
        {"listen: '::1:80'", "f:2:11: " ADDRESS "the string \"::1:80\""},
        {"listen: '[::1:80'", "f:2:11: " ADDRESS "the string \"[::1:80\""},
        {"listen: '[]:80'", "f:2:11: " ADDRESS "the string \"[]:80\""},
        {"listen: example.org:80", "f:2:11: " ADDRESS "'example.org:80'"},
        {"listen: [a]", "f:2:11: " ADDRESS "a list"},
        {"database: ''", "f:2:13: expected a text, found an empty one"},
        {"database: ':memory:'",
         "f:2:13: the database must be a file, given by its path: readers "
         "have connections of their own"},
        {"plugin_path: {a: b}",
         "f:2:16: expected a folder or a list of folders, found a mapping"},
        {"plugin_path: [a, [b]]", "f:2:20: expected a text, found a list"},
        {"http_threads: 0", "f:2:17: expected a whole number from 1 to 64, found '0'"},
        {"http_threads: 65",
         "f:2:17: expected a whole number from 1 to 64, found '65'"},
        {"query_threads: four",
         "f:2:18: expected a whole number from 1 to 64, found 'four'"},
        {"max_connections: 65537",
         "f:2:20: expected a whole number from 1 to 65536, found '65537'"},
        {"max_body: 1",
         "f:2:13: expected a size from 1024 to 4294967296 bytes, found '1'"},
        {"max_record: 17MiB",
         "f:2:15: expected a size from 64 to 16777216 bytes, found '17MiB'"},
        {"queue_events: 0",
         "f:2:17: expected a whole number from 1 to 1000000000, found '0'"},
        {"queue_wait: 61s", "f:2:15: expected a duration from 0s to 1m, found '61s'"},
        {"linger: 1001ms", "f:2:11: expected a duration from 0s to 1s, found '1001ms'"},
        {"linger: 2",
         "f:2:11: expected a duration with its unit, such as 250ms, 10s, 5m, 1h or "
         "7d, found '2'"},
        {"commit_interval: 0s",
         "f:2:20: expected a duration from 1ms to 1m, found '0s'"},
        {"idempotency_retain: 31d",
         "f:2:23: expected a duration from 1s to 30d, found '31d'"},
        {"idempotency_keys: 0", "f:2:21: expected a whole number from 1 to 100000000, "
                                "found '0'"},
        {"dead_letters: 1000001",
         "f:2:17: expected a whole number from 0 to 1000000, found '1000001'"},
        {"sql_timeout: 2h", "f:2:16: expected a duration from 1ms to 1h, found '2h'"},
        {"sql_max_rows: 1.5",
         "f:2:17: expected a whole number from 1 to 1000000000, found '1.5'"},
        {"sql_max_bytes: 17GiB",
         "f:2:18: expected a size from 1024 to 17179869184 bytes, found '17GiB'"},
        {"log_json: json", "f:2:13: expected true or false, found 'json'"},
        {"lissen: x",
         "f:2:3: unknown key 'lissen' in 'server', did you mean 'listen'?"},
        {"zzz: x", "f:2:3: unknown key 'zzz' in 'server'"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[256];
        snprintf(text, sizeof text, "server:\n  %s\nstreams: {s: {}}\n", known[i].line);
        check_refused(text, known[i].message);
    }
}

static void an_option_replaces_the_address(void **state)
{
    struct error error = {0};
    (void)state;
    struct config *c = parse("streams: {s: {}}");
    assert_int_equal(config_listen("[::1]:81", &c->server, &error), 0);
    assert_string_equal(c->server.address, "::1");
    assert_int_equal(c->server.port, 81);
    assert_int_equal(config_listen("0.0.0.0:82", &c->server, &error), -EINVAL);
    assert_string_equal(error.text, "--listen: '0.0.0.0:82' " REACHED);
    assert_int_equal(config_listen("x", &c->server, &error), -EINVAL);
    assert_string_equal(error.text, "--listen: " ADDRESS "'x'");
    assert_string_equal(c->server.address, "::1"); /* as it was */
    assert_int_equal(c->server.port, 81);
    config_free(c);
}

/* ---- The file ---------------------------------------------------------------------------------- */

static void wrong_files_are_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } known[] = {
        {"", "f:1:1: the file is empty"},
        {"x", "f:1:1: expected a mapping (key: value), found 'x'"},
        {"- a", "f:1:1: expected a mapping (key: value), found a list"},
        {"server: {}", "f:1:1: the key 'streams' is missing in the file"},
        {"# c\n\nserver: 1\nstreams: {s: {}}",
         "f:3:9: expected a mapping (key: value), found '1'"},
        {"server:\nstreams: {s: {}}",
         "f:1:8: expected a mapping (key: value), found nothing"},
        {"steams: {}",
         "f:1:1: unknown key 'steams' in the file, did you mean 'streams'?"},
        {"streams: {}", "f:1:10: no stream is declared"},
        {"streams: [s]",
         "f:1:10: expected a mapping of streams (name: ...), found a list"},
        {"streams: {s: {}}\npipelines: x",
         "f:2:12: expected a mapping of pipelines (name: ...), found 'x'"},
        {"\"a\\nb\": 1", "f:1:1: unknown key 'a b' in the file"}, /* stays one line */
        {"server: {listen: '${WEIR_NOT_SET:?one\n\n  two}'}",
         "f:1:18: WEIR_NOT_SET: one two"},
        {"streams: {s: {}, s: {}}",
         "f:1:18: the key 's' is there twice, first in line 1"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++)
        check_refused(known[i].text, known[i].message);
}

static void names_are_small_letters_digits_and_underscores(void **state)
{
#define NO_NAME                                                                        \
    "is no name for a stream: a small letter comes first, then small letters, digits " \
    "and '_'"
#define TAKEN                                                                          \
    "is no name for a stream: names that begin with weir_ or sqlite_ are those of "    \
    "the "                                                                             \
    "server's own tables"
#define NAME_48 "a23456789012345678901234567890123456789012345678"
    static const struct {
        const char *name, *message;
    } known[] = {
        {"Trades", "f:1:11: 'Trades' " NO_NAME},
        {"1a", "f:1:11: '1a' " NO_NAME},
        {"_a", "f:1:11: '_a' " NO_NAME},
        {"a-b", "f:1:11: 'a-b' " NO_NAME},
        {"'a b'", "f:1:11: 'a b' " NO_NAME},
        {"weir_x", "f:1:11: 'weir_x' " TAKEN},
        {"sqlite_x", "f:1:11: 'sqlite_x' " TAKEN},
        {NAME_48 "9", "f:1:11: the name '" NAME_48 "...' has more than 48 characters"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[128];
        snprintf(text, sizeof text, "streams: {%s: {}}", known[i].name);
        check_refused(text, known[i].message);
    }
    struct config *c = parse("streams: {" NAME_48 ": {}, weir: {}, a_1: {}}");
    assert_int_equal(c->n_streams, 3);
    assert_string_equal(c->stream[0].name, NAME_48);
    config_free(c);
    check_refused(STREAM_HEAD "pipelines: {trades: {}}",
                  "f:6:13: 'trades' is the name of a stream already");
    check_refused(
        STREAM_HEAD "pipelines: {weir_p: {}}",
        "f:6:13: 'weir_p' is no name for a pipeline: names that begin with weir_ or "
        "sqlite_ are those of the server's own tables");
}

static void the_number_of_streams_has_a_limit(void **state)
{
    struct buffer b = {0};
    (void)state;
    buffer_puts(&b, "streams:\n");
    for (int i = 0; i < 1000; i++)
        buffer_printf(&b, "  s%d: {}\n", i);
    struct config *c = parse(buffer_text(&b));
    assert_int_equal(c->n_streams, 1000);
    config_free(c);
    buffer_puts(&b, "  more: {}\n");
    check_refused(buffer_text(&b), "f:2:3: there are more than 1000 of them");
    buffer_free(&b);
}

/* ---- streams ----------------------------------------------------------------------------------- */

static void the_time_of_a_stream_has_several_forms(void **state)
{
    static const struct {
        const char *lines, *name;
        enum decode_unit unit;
    } known[] = {
        {"    time: {field: ts, unit: rfc3339}", "ts", DECODE_RFC3339},
        {"    time: {field: ts, unit: s}", "ts", DECODE_S},
        {"    time: {field: ts, unit: ms}", "ts", DECODE_MS},
        {"    time: {field: ts, unit: us}", "ts", DECODE_US},
        {"    time: {field: ts, unit: ns}", "ts", DECODE_NS},
        {"    time: {field: ts}", "ts", DECODE_RFC3339},
        {"    time: at", "at", DECODE_RFC3339},
        {"    time: arrival", "time", DECODE_ARRIVAL},
        {"    time: {field: arrival}", "arrival", DECODE_RFC3339},
        {"    fields: {}", "time", DECODE_ARRIVAL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        struct config *c = parse_stream(known[i].lines);
        assert_int_equal(c->stream[0].schema->n, 1);
        assert_string_equal(c->stream[0].schema->column[0].name, known[i].name);
        assert_int_equal(c->stream[0].schema->column[0].type, WEIR_TIME);
        assert_int_equal(c->stream[0].time_unit, known[i].unit);
        assert_int_equal(c->stream[0].max_future_skew_us, INT64_C(3600000000));
        config_free(c);
    }
}

static void fields_become_columns_in_their_order(void **state)
{
    static const enum weir_type type[] = {WEIR_TIME, WEIR_STRING, WEIR_FLOAT, WEIR_INT,
                                          WEIR_BOOL, WEIR_TIME,   WEIR_INT};
    static const char *const name[] = {"ts", "symbol", "price", "qty",
                                       "ok", "at",     "Rank"};
    (void)state;
    struct config *c = parse(STREAM_HEAD);
    const struct config_stream *s = &c->stream[0];
    assert_string_equal(s->name, "trades");
    assert_int_equal(s->node->line, 3);
    assert_int_equal(s->node->column, 3);
    assert_int_equal(s->schema->n, COUNT(type));
    for (size_t i = 0; i < COUNT(type); i++) {
        assert_string_equal(s->schema->column[i].name, name[i]);
        assert_int_equal(s->schema->column[i].type, type[i]);
    }
    config_free(c);
}

static void max_future_skew_can_be_off(void **state)
{
    static const struct {
        const char *lines;
        int64_t us;
    } known[] = {
        {"    max_future_skew: off", INT64_MAX},
        {"    max_future_skew: 'off'", INT64_MAX},
        {"    max_future_skew: 0s", 0},
        {"    max_future_skew: 90m", INT64_C(5400000000)},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        struct config *c = parse_stream(known[i].lines);
        assert_int_equal(c->stream[0].max_future_skew_us, known[i].us);
        config_free(c);
    }
}

static void answers_can_come_from_memory(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool durable;
    } known[] = {{"    ack: durable", true},
                 {"    ack: memory", false},
                 {"    fields: {}", true}};
    for (size_t i = 0; i < 3; i++) {
        struct config *c = parse_stream(known[i].line);
        assert_int_equal(c->stream[0].durable, known[i].durable);
        config_free(c);
    }
}

static void wrong_streams_are_refused(void **state)
{
#define EVENTS "what events call it is said by its 'name' or 'path'"
#define UNIT   "expected 'rfc3339', 's', 'ms', 'us' or 'ns', found "
#define TYPE   "expected a type: string, float, int, bool or time, found "
    static const struct {
        const char *line, *message;
    } known[] = {
        {"time: {field: ts, unit: sec}", "f:3:29: " UNIT "'sec'"},
        {"time: {field: ts, unit: mss}", "f:3:29: " UNIT "'mss', did you mean 'ms'?"},
        {"time: {unit: ms}", "f:3:11: the key 'field' is missing in 'time'"},
        {"time: {feild: ts}",
         "f:3:12: unknown key 'feild' in 'time', did you mean 'field'?"},
        {"time: [ts]",
         "f:3:11: expected a field such as ts, or {field: ts, unit: ms}, or arrival, "
         "found a list"},
        {"time: a.b",
         "f:3:11: expected a name of letters, digits and '_', found 'a.b'; " EVENTS},
        {"time:", "f:3:10: expected a name, found nothing"},
        {"fields: [a, b]",
         "f:3:13: expected a mapping of fields (name: type), found a list"},
        {"fields: {a: strnig}", "f:3:17: " TYPE "'strnig', did you mean 'string'?"},
        {"fields: {a: integer}", "f:3:17: " TYPE "'integer'"},
        {"fields: {a: [int]}",
         "f:3:17: expected a type, or {type: string, path: user.id}, found a list"},
        {"fields: {a-b: int}",
         "f:3:14: expected a name of letters, digits and '_', found 'a-b'; " EVENTS},
        {"fields: {'': int}",
         "f:3:14: expected a name that begins with a letter or '_', found the "
         "string \"\"; " EVENTS},
        {"fields: {a: int, A: int}",
         "f:3:22: 'A' and 'a' differ only in case, which SQLite ignores"},
        {"fields: {a: int, a: int}",
         "f:3:22: the key 'a' is there twice, first in line 3"},
        {"{time: ts, fields: {a: int, ts: int}}",
         "f:3:33: 'ts' is the time of the stream and not listed in 'fields'"},
        {"{time: ts, fields: {TS: int}}",
         "f:3:25: 'TS' is the time of the stream and not listed in 'fields'"},
        {"fields: {time: int}",
         "f:3:14: the column 'time' is the time of arrival here; 'time: "
         "time' in the stream makes the field its time"},
        {"ack: memoryy",
         "f:3:10: expected 'durable' or 'memory', found 'memoryy', did you mean "
         "'memory'?"},
        {"ack: yes", "f:3:10: expected 'durable' or 'memory', found 'yes'"},
        {"max_future_skew: forever",
         "f:3:22: expected a duration from 0s to 36525d, or 'off', "
         "found 'forever'"},
        {"max_future_skew: -1s",
         "f:3:22: expected a duration from 0s to 36525d, or 'off', found '-1s'"},
        {"feilds: {}",
         "f:3:5: unknown key 'feilds' in stream 's', did you mean 'fields'?"},
        {"[a]", "f:3:5: expected a mapping (key: value), found a list"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[256];
        snprintf(text, sizeof text, "streams:\n  s:\n    %s\n", known[i].line);
        check_refused(text, known[i].message);
    }
    check_refused("streams:\n  s:\n",
                  "f:2:5: expected a mapping (key: value), found nothing");
}

static void a_stream_has_at_most_255_fields(void **state)
{
    struct buffer b = {0};
    (void)state;
    buffer_puts(&b, "streams:\n  s:\n    fields:\n");
    for (int i = 0; i < 255; i++)
        buffer_printf(&b, "      f%d: int\n", i);
    struct config *c = parse(buffer_text(&b));
    assert_int_equal(c->stream[0].schema->n, 256);
    assert_string_equal(c->stream[0].schema->column[255].name, "f254");
    config_free(c);
    buffer_puts(&b, "      more: int\n");
    check_refused(buffer_text(&b),
                  "f:4:7: a stream can have 255 fields beside its time, not 256");
    buffer_free(&b);
}

/* ---- pipelines --------------------------------------------------------------------------------- */

static void pipelines_have_defaults(void **state)
{
    (void)state;
    struct config *c = parse_pipeline("");
    const struct config_pipeline *p = &c->pipeline[0];
    assert_int_equal(c->n_pipelines, 1);
    assert_string_equal(p->name, "p");
    assert_int_equal(p->node->line, 7);
    assert_int_equal(p->stream, 0);
    assert_null(p->where);
    assert_int_equal(p->n_keys, 0);
    assert_int_equal(p->window.size_us, 10000000);
    assert_int_equal(p->window.offset_us, 0);
    assert_int_equal(p->out_of_orderness_us, 0);
    assert_int_equal(p->idle_timeout_us, 30000000);
    assert_int_equal(p->retain_us, INT64_MAX);
    assert_int_equal(p->workers, 1);
    assert_int_equal(p->max_groups, 10000000);
    assert_false(p->over_max_groups_fails);
    assert_int_equal(p->late, CONFIG_LATE_DROP);
    assert_int_equal(p->allowed_lateness_us, 0);
    assert_int_equal(p->n_analyzers, 1);
    assert_string_equal(p->analyzer[0].plugin, "count");
    assert_null(p->analyzer[0].as);
    assert_null(p->analyzer[0].params);
    config_free(c);
}

static void pipeline_keys_are_taken(void **state)
{
    (void)state;
    struct config *c =
        parse("pipelines:\n" /* may stand before the streams */
              "  p:\n"
              "    from: b\n"
              "    where: price > 0 AND\n"
              "      symbol <> 'x'\n"
              "    key: [ok, qty, symbol]\n"
              "    window: {tumbling: 1d, offset: 6h}\n"
              "    out_of_orderness: 2s\n"
              "    idle_timeout: off\n"
              "    workers: 64\n"
              "    max_groups: 1000000000\n"
              "    over_max_groups: fail\n"
              "    late: revise\n"
              "    allowed_lateness: 7d\n"
              "    retain: 7d\n"
              "    analyzers:\n"
              "      - count\n"
              "      - stats: {of: price}\n"
              "        as: px\n"
              "      - run: thread\n"
              "        topk:\n"
              "          of: symbol\n"
              "      - ohlc:\n"
              "streams:\n"
              "  a: {}\n"
              "  b: {fields: {symbol: string, price: float, qty: int, ok: bool}}\n");
    const struct config_pipeline *p = &c->pipeline[0];
    assert_int_equal(p->stream, 1);
    assert_string_equal(p->where, "price > 0 AND symbol <> 'x'");
    assert_int_equal(p->where_node->line, 4);
    assert_int_equal(p->where_node->column, 12);
    assert_int_equal(p->n_keys, 3);
    assert_int_equal(p->key[0], 4);
    assert_int_equal(p->key[1], 3);
    assert_int_equal(p->key[2], 1);
    assert_int_equal(p->window.size_us, INT64_C(86400000000));
    assert_int_equal(p->window.offset_us, INT64_C(21600000000));
    assert_int_equal(p->out_of_orderness_us, 2000000);
    assert_int_equal(p->idle_timeout_us, INT64_MAX);
    assert_int_equal(p->workers, 64);
    assert_int_equal(p->max_groups, 1000000000);
    assert_true(p->over_max_groups_fails);
    assert_int_equal(p->late, CONFIG_LATE_REVISE);
    assert_int_equal(p->allowed_lateness_us, INT64_C(604800000000));
    assert_int_equal(p->retain_us, INT64_C(604800000000));
    assert_int_equal(p->n_analyzers, 4);
    assert_string_equal(p->analyzer[1].plugin, "stats");
    assert_string_equal(p->analyzer[1].as, "px");
    assert_int_equal(p->analyzer[1].node->line, 18);
    assert_int_equal(p->analyzer[1].node->column, 9);
    assert_string_equal(node_get(p->analyzer[1].params, "of")->text, "price");
    assert_string_equal(p->analyzer[2].plugin, "topk");
    assert_null(p->analyzer[2].as);
    assert_string_equal(node_get(p->analyzer[2].params, "of")->text, "symbol");
    assert_string_equal(p->analyzer[3].plugin, "ohlc");
    assert_null(p->analyzer[3].params);
    config_free(c);
}

static void
late_events_can_go_to_a_table_and_groups_over_the_limit_be_dropped(void **state)
{
    (void)state;
    struct config *c = parse_pipeline("    late: side\n    allowed_lateness: 0s\n"
                                      "    over_max_groups: drop");
    assert_int_equal(c->pipeline[0].late, CONFIG_LATE_SIDE);
    assert_int_equal(c->pipeline[0].allowed_lateness_us, 0);
    assert_false(c->pipeline[0].over_max_groups_fails);
    config_free(c);
}

static void a_key_can_be_one_name(void **state)
{
    (void)state;
    struct config *c = parse_pipeline("    key: symbol\n    retain: forever");
    assert_int_equal(c->pipeline[0].n_keys, 1);
    assert_int_equal(c->pipeline[0].key[0], 1);
    assert_int_equal(c->pipeline[0].retain_us, INT64_MAX);
    config_free(c);
}

static void wrong_pipeline_keys_are_refused(void **state)
{
    /* In line 11, behind four columns. */
    static const struct {
        const char *line, *message;
    } known[] = {
        {"where: ''", "f:11:12: expected a text, found an empty one"},
        {"where: [a]", "f:11:12: expected a text, found a list"},
        {"key: symbl",
         "f:11:10: the stream has no field 'symbl', did you mean 'symbol'?"},
        {"key: [symbol, Symbol]",
         "f:11:19: the stream has no field 'Symbol', did you mean 'symbol'?"},
        {"key: [symbol, qty, symbol]", "f:11:24: 'symbol' is in the key twice"},
        {"key: [price]",
         "f:11:11: 'price' is a float: numbers that are nearly equal would be "
         "different groups; keys are string, int or bool"},
        {"key: [at]", "f:11:11: 'at' is a time; keys are string, int or bool"},
        {"key: ts", "f:11:10: 'ts' is a time; keys are string, int or bool"},
        {"key: [Rank]",
         "f:11:11: a key cannot be called 'Rank': result tables have a column of "
         "that name"},
        {"key: {symbol: x}",
         "f:11:10: expected a field or a list of fields, found a mapping"},
        {"key: [[symbol]]", "f:11:11: expected a text, found a list"},
        {"out_of_orderness: off", "f:11:23: expected a duration with its unit, such as "
                                  "250ms, 10s, 5m, 1h or 7d, found "
                                  "'off'"},
        {"idle_timeout: 0s",
         "f:11:19: expected a duration from 1ms to 36525d, or 'off', found '0s'"},
        {"idle_timeout: never",
         "f:11:19: expected a duration from 1ms to 36525d, or 'off', found 'never'"},
        {"retain: 7",
         "f:11:13: expected a duration from 1s to 36525d, or 'forever', found '7'"},
        {"retain: off",
         "f:11:13: expected a duration from 1s to 36525d, or 'forever', found 'off'"},
        {"workers: 0", "f:11:14: expected a whole number from 1 to 64, found '0'"},
        {"workers: 65", "f:11:14: expected a whole number from 1 to 64, found '65'"},
        {"workers: '2'",
         "f:11:14: expected a whole number from 1 to 64, found the string \"2\""},
        {"max_groups: 1k",
         "f:11:17: expected a whole number from 1 to 1000000000, found '1k'"},
        {"allowed_lateness: 1s", "f:11:23: 'allowed_lateness' is for 'late: revise' "
                                 "only; to wait longer before "
                                 "results are given out, raise 'out_of_orderness'"},
        {"late: side\n    allowed_lateness: 1s",
         "f:12:23: 'allowed_lateness' is for 'late: revise' only; to wait longer "
         "before "
         "results are given out, raise 'out_of_orderness'"},
        {"retain: [1d, 7d]",
         "f:11:13: 'retain' is a list where 'window' has several sizes"},
        {"late: revise", "f:11:11: 'late: revise' needs 'allowed_lateness', such as "
                         "'allowed_lateness: 1m': for how long results can be revised"},
        {"late: revise\n    allowed_lateness: 0s",
         "f:11:11: 'late: revise' needs 'allowed_lateness', such as "
         "'allowed_lateness: 1m': for how long results can be revised"},
        {"late: revise\n    retain: 1m\n    allowed_lateness: 61s",
         "f:13:23: 'allowed_lateness' is longer than 'retain': results would be "
         "deleted "
         "while they can still be revised"},
        {"late: count", "f:11:11: expected 'drop', 'side' or 'revise', found 'count'"},
        {"late: [drop]", "f:11:11: expected a text, found a list"},
        {"over_max_groups: stop",
         "f:11:22: expected 'drop' or 'fail', found 'stop', did you mean 'drop'?"},
        {"wokers: 2",
         "f:11:5: unknown key 'wokers' in pipeline 'p', did you mean 'workers'?"},
        {"from: trades", "f:11:5: the key 'from' is there twice, first in line 8"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[1024];
        snprintf(text, sizeof text, STREAM_HEAD PIPELINE_HEAD "    %s\n",
                 known[i].line);
        check_refused(text, known[i].message);
    }
}

static void wrong_pipelines_are_refused(void **state)
{
    /* In line 7, behind five columns: "  p: ". */
    static const struct {
        const char *map, *message;
    } known[] = {
        {"x", "f:7:6: expected a mapping (key: value), found 'x'"},
        {"{window: {tumbling: 1s}, analyzers: [count]}",
         "f:7:6: the key 'from' is missing in pipeline 'p'"},
        {"{from: trades, analyzers: [count]}",
         "f:7:6: the key 'window' is missing in pipeline 'p'"},
        {"{from: trades, window: {tumbling: 1s}}",
         "f:7:6: the key 'analyzers' is missing in pipeline 'p'"},
        {"{from: trade, window: {tumbling: 1s}, analyzers: [count]}",
         "f:7:13: there is no stream or pipeline 'trade', did you mean 'trades'?"},
        {"{from: p, window: {tumbling: 1s}, analyzers: [count]}",
         "f:7:13: 'p' reads itself: p -> p"},
        {"{from: [trades], window: {tumbling: 1s}, analyzers: [count]}",
         "f:7:13: a list has 2 to 8 streams, such as [bids, auctions]"},
        {"{window: 10s, from: trades, analyzers: [count]}",
         "f:7:15: expected a window such as {tumbling: 10s}, found '10s'"},
        {"{window: {}, from: trades, analyzers: [count]}",
         "f:7:15: expected a window such as {tumbling: 10s}, found a mapping"},
        {"{window: {tumbling: 0s}, from: trades, analyzers: [count]}",
         "f:7:26: expected a duration from 1ms to 36525d, found '0s'"},
        {"{window: {tumbling: ten}, from: trades, analyzers: [count]}",
         "f:7:26: expected a duration with its unit, such as 250ms, 10s, 5m, 1h or 7d, "
         "found "
         "'ten'"},
        {"{window: {tumbling: 10s, offset: 10s}, from: trades, analyzers: [count]}",
         "f:7:39: the offset must be less than the window itself"},
        {"{window: {tumbing: 10s}, from: trades, analyzers: [count]}",
         "f:7:16: 'tumbing' is no kind of window, and none is named, did you mean "
         "'tumbling'?"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[1024];
        snprintf(text, sizeof text, STREAM_HEAD "pipelines:\n  p: %s\n", known[i].map);
        check_refused(text, known[i].message);
    }
}

static void windows_of_every_kind_are_checked(void **state)
{
    /* Its place in the line: "    window: " are twelve columns. */
    static const struct {
        const char *window, *message;
    } known[] = {
        {"sliding", "f:9:13: expected a window such as {tumbling: 10s}, found "
                    "'sliding'"},
        {"global",
         "f:9:13: expected a window such as {global: 10s, expire: 7d}, found 'global'"},
        {"{offset: 1s}", "f:9:14: 'offset' is no kind of window, and none is named"},
        {"{hoping: 1m, by: 10s}", "f:9:14: 'hoping' is no kind of window, and none is "
                                  "named, did you mean 'hopping'?"},
        {"{tumbling: 1m, hopping: 1m}",
         "f:9:28: unknown key 'hopping' in a window by 'tumbling'"},
        {"{tumbling: 1m, by: 10s}",
         "f:9:28: unknown key 'by' in a window by 'tumbling'"},
        {"{tumbling: 36526d}",
         "f:9:24: expected a duration from 1ms to 36525d, found '36526d'"},
        {"{tumbling: {a: 1s}}", "f:9:24: expected a duration with its unit, such as "
                                "250ms, 10s, 5m, 1h or 7d, found a mapping"},
        {"{tumbling: [10s]}", "f:9:24: a list has 2 to 8 sizes, not 1"},
        {"{tumbling: [1s, 2s, 4s, 8s, 16s, 32s, 64s, 128s, 256s]}",
         "f:9:24: a list has 2 to 8 sizes, not 9"},
        {"{tumbling: [10s, 15s]}", "f:9:30: each size must be a multiple of the one "
                                   "before: its windows are made of theirs"},
        {"{tumbling: [10s, 1m, 1m]}", "f:9:34: each size must be a multiple of the "
                                      "one before: its windows are made of theirs"},
        {"{tumbling: [1ms, 124ms, 15500ms]}", "f:9:37: a window would be made of more "
                                              "than 124 of the size before; put one "
                                              "in between"},
        {"{tumbling: [10s, 100010s]}", "f:9:30: a window would be made of more than "
                                       "10000 of the size before; put one in between"},
        {"{tumbling: 1mo}",
         "f:9:24: months are those of a zone: {tumbling: 1mo, zone: Europe/Berlin}, "
         "or 'zone: UTC'"},
        {"{tumbling: 1h, zone: UTC}", "f:9:24: expected 1d, 1w, 1mo, 3mo, 6mo or "
                                      "12mo, as there is a zone, found '1h'"},
        {"{tumbling: [1w, 1mo], zone: UTC}",
         "f:9:29: each size must be a multiple of the one before: its windows are made "
         "of theirs"},
        {"{tumbling: [7s, 1d], zone: UTC}", "f:9:25: with a zone windows begin with "
                                            "the day, which is no multiple of this"},
        {"{tumbling: [1s, 1mo], zone: UTC}", "f:9:29: a window would be made of more "
                                             "than 10000 of the size before; put one "
                                             "in between"},
        {"{tumbling: 1d, zone: UTC, offset: 24h}",
         "f:9:47: the offset must be less than the window itself"},
        {"{tumbling: 1d, zone: UTC, offset: 1500ms}",
         "f:9:47: the offset is in whole seconds, as there is a zone"},
        {"{tumbling: 1d, zone: [UTC]}", "f:9:34: expected a text, found a list"},
        {"{hopping: 1m}", "f:9:13: the key 'by' is missing in a window by 'hopping'"},
        {"{hopping: 1m, by: 61s}", "f:9:31: 'by' is longer than the window: events in "
                                   "between would be in none"},
        {"{hopping: 1m, by: 7ms}",
         "f:9:31: a window would be merged from more than 10000 parts, of the longest "
         "duration that divides both it and 'by'"},
        {"{hopping: 1m, by: 10s, offset: 10s}",
         "f:9:44: the offset must be less than 'by'"},
        {"{session: 30m, max: 29m}",
         "f:9:33: 'max' is shorter than the gap that ends a session"},
        {"{session: 0s}", "f:9:23: expected a duration from 1ms to 36525d, found '0s'"},
        {"{count: 0}",
         "f:9:21: expected a whole number from 1 to 1000000000, found '0'"},
        {"{count: 10, by: 5, running: true}",
         "f:9:29: with 'running' no window overlaps another: a result is of all events "
         "of the key so far"},
        {"{count: 10, by: 11}", "f:9:29: 'by' is more than the window has: events in "
                                "between would be in none"},
        {"{global: 10s, expire: 0s}", "f:9:35: expected a duration from 1ms to "
                                      "36525d, or 'never', found '0s'"},
        {"{until: tss}", "f:9:21: the stream has no field 'tss', did you mean 'ts'?"},
        {"{until: symbol}", "f:9:21: 'symbol' is no time, at which a window could "
                            "close, nor an int in the unit of the stream's time: it is "
                            "of type string"},
        {"{count: 100003, by: 7}",
         "f:9:33: a window would be merged from more than 10000 parts, of the largest "
         "number that divides both it and 'by'"},
        {"none",
         "f:10:16: 'analyzers' has no meaning with 'window: none': there are no "
         "groups"},
        {"{count: 10}\n    select: [ts]", "f:10:13: 'select' is for 'window: none': it "
                                          "keeps events as they are, without "
                                          "groups"},
        {"none\n    select: [tss]",
         "f:10:14: the stream has no field 'tss', did you mean 'ts'?"},
        {"{count: 10}\n    late: side",
         "f:10:11: 'late: side' has no meaning here: no event is late for a window by "
         "'count'"},
        {"{global: 10s}\n    late: revise\n    allowed_lateness: 1s",
         "f:10:11: 'late: revise' has no meaning here: no event is late for a window "
         "by 'global'"},
        {"{global: 10s}\n    retain: 1h",
         "f:10:13: results of a window for ever stay as long as their groups, which "
         "'expire' limits: {global: 10s, expire: 7d}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 STREAM_HEAD "pipelines:\n  p:\n    from: trades\n    window: %s\n"
                             "    analyzers: [count]\n",
                 known[i].window);
        check_refused(text, known[i].message);
    }
}

static void wrong_analyzers_are_refused(void **state)
{
    /* In line 10, behind four columns. */
    static const struct {
        const char *lines, *message;
    } known[] = {
        {"analyzers: count", "f:10:16: expected a list of analyzers, found 'count'"},
        {"analyzers: {stats: {of: x}}",
         "f:10:16: expected a list of analyzers, found a mapping"},
        {"analyzers: []", "f:10:16: a pipeline has 1 to 64 analyzers, not 0"},
        {"analyzers: [[count]]",
         "f:10:17: expected an analyzer such as 'count' or 'stats: {of: "
         "price}', found a list"},
        {"analyzers: [~]", "f:10:17: expected a text, found nothing"},
        {"analyzers: [Count]",
         "f:10:17: 'Count' is no name for a plugin: a small letter comes "
         "first, then small letters, digits and '_'"},
        {"analyzers: [../x]",
         "f:10:17: '../x' is no name for a plugin: a small letter comes "
         "first, then small letters, digits and '_'"},
        {"analyzers: [{count: {where: qty, as: a}, where: ok}]",
         "f:10:46: 'where' is there twice"},
        {"analyzers: [{as: x}]",
         "f:10:17: no analyzer is named here, such as 'stats: {of: price}'"},
        {"analyzers: [{}]",
         "f:10:17: no analyzer is named here, such as 'stats: {of: price}'"},
        {"analyzers: [stats: [price]]",
         "f:10:24: expected parameters such as {of: price}, found a list"},
        {"analyzers: [{stats: {}, as: Px}]",
         "f:10:33: 'Px' is no name for a table or column: a "
         "small letter comes first, then small letters, "
         "digits and '_'"},
        {"analyzers: [{stats: {}, ask: {retries: 1}}]",
         "f:10:34: 'ask' has a meaning with 'run: async' only"},
        {"analyzers: [{stats: {}, run: async, ask: {retry: 1}}]",
         "f:10:47: unknown key 'retry' in 'ask'"},
        {"analyzers: [{stats: {}, run: async, ask: {on_error: drop}}]",
         "f:10:57: an event that one analyzer has no answer for is there for the "
         "others: 'on_error' is null or 'stop'"},
        {"analyzers: [{stats: {}, run: async, ask: {in_flight: 0}}]",
         "f:10:58: expected a whole number from 1 to 10000, found '0'"},
        {"analyzers: [{stats: {}, run: async, ask: {backoff: 6s}}]",
         "f:10:46: 'backoff' is longer than 'max_backoff'"},
        {"analyzers: [{stats: {}, run: async, memory: 1GiB}]",
         "f:10:49: 'memory' has a meaning with 'run: process' only"},
        {"analyzers: [{a: {}, run: async}, {b: {}, run: async}, {c: {}, run: async},\n"
         "     {d: {}, run: async}, {e: {}, run: async}, {f: {}, run: async},\n"
         "     {g: {}, run: async}, {h: {}, run: async}, {i: {}, run: async}]",
         "f:12:61: a pipeline has at most 8 analyzers with 'run: async'"},
        {"backfill: journal\n    analyzers: [{stats: {}, run: async}]",
         "f:10:15: 'backfill' is for pipelines that ask no other services"},
        {"analyzers: [{stats: {}, memory: 1GiB}]",
         "f:10:37: 'memory' has a meaning with 'run: process' only"},
        {"analyzers: [{stats: {}, run: process, memory: 1KiB}]",
         "f:10:51: 'memory' is 16MiB to 1TiB"},
        {"analyzers: [{stats: {}, run: process, limit_time: 2h}]",
         "f:10:55: 'limit_time' is 100ms to 1h"},
        {"analyzers: [{stats: {}, processes: 2}]",
         "f:10:40: 'processes' has a meaning with 'run: process' only"},
        {"analyzers: [{stats: {}, run: process, processes: 2}]\n    workers: 3",
         "f:10:54: 'processes' is 2 and 'workers' 3: each worker has a process, so the "
         "one follows from the other"},
        {"analyzers: [{count: {}, run: process, processes: 2},\n"
         "                {stats: {}, run: process, processes: 3}]",
         "f:11:54: 'processes' is 3 here and 2 for 'count': analyzers of a pipeline "
         "share its groups among the same number"},
        {"analyzers: [{stats: {}, run: fast}]",
         "f:10:34: expected 'thread', 'process' or 'async', found 'fast'"},
        {"analyzers:\n      - stats:\n        of: price",
         "f:12:9: 'of' after 'stats': an item of the list is one analyzer, and its "
         "parameters "
         "stand further to the right than its name"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 STREAM_HEAD
                 "pipelines:\n  p:\n    from: trades\n    window: {tumbling: 10s}\n"
                 "    %s\n",
                 known[i].lines);
        check_refused(text, known[i].message);
    }
}

static void a_pipeline_has_at_most_64_analyzers(void **state)
{
    struct buffer b = {0};
    (void)state;
    buffer_puts(&b, STREAM_HEAD "pipelines:\n  p:\n    from: trades\n"
                                "    window: {tumbling: 10s}\n    analyzers:\n");
    for (int i = 0; i < 64; i++)
        buffer_puts(&b, "      - count\n");
    struct config *c = parse(buffer_text(&b));
    assert_int_equal(c->pipeline[0].n_analyzers, 64);
    config_free(c);
    buffer_puts(&b, "      - count\n");
    check_refused(buffer_text(&b), "f:11:7: a pipeline has 1 to 64 analyzers, not 65");
    buffer_free(&b);
}

/* ---- Around ------------------------------------------------------------------------------------ */

static void variables_can_be_numbers_even_in_quotes(void **state)
{
    (void)state;
    assert_int_equal(setenv("WEIR_WORKERS", "3", 1), 0);
    struct config *c = parse_pipeline("    workers: \"${WEIR_WORKERS}\"\n"
                                      "    retain: ${WEIR_RETAIN_NOT_SET:-2d}");
    assert_int_equal(c->pipeline[0].workers, 3);
    assert_int_equal(c->pipeline[0].retain_us, INT64_C(172800000000));
    config_free(c);
    assert_int_equal(setenv("WEIR_WORKERS", "many", 1), 0);
    check_refused(STREAM_HEAD PIPELINE_HEAD "    workers: ${WEIR_WORKERS}\n",
                  "f:11:14: expected a whole number from 1 to 64, found 'many'");
    unsetenv("WEIR_WORKERS");
}

static void check_faults(const char *text, size_t n, const char *const *expected)
{
    struct config *c = NULL;
    struct error error = {0};
    struct faults f;
    faults_begin(&f);
    int r = config_parse("f", text, strlen(text), &c, &error);
    faults_end();
    assert_int_equal(r, n ? -EINVAL : 0);
    for (size_t i = 0; i < n && i < f.n; i++)
        assert_string_equal(f.fault[i].text, expected[i]);
    assert_int_equal(f.n, n);
    config_free(c);
}

static void pipelines_that_read_pipelines_are_found_in_any_order(void **state)
{
    static const char text[] =
        STREAM_HEAD "pipelines:\n"
                    "  c: {from: b_topk, window: {tumbling: 1h}, analyzers: [count]}\n"
                    "  b: {from: p, key: [symbol], window: {tumbling: 1m}, analyzers: "
                    "[count]}\n"
                    "  p: {from: trades, key: [symbol], window: {tumbling: 1s}, "
                    "analyzers: [count]}\n"
                    "  b_top: {from: trades, window: {tumbling: 1s}, analyzers: "
                    "[count]}\n";
    struct config *c;
    struct error error = {0};
    (void)state;
    assert_int_equal(config_parse("f", text, strlen(text), &c, &error), 0);
    const struct config_pipeline *p = c->pipeline;
    assert_true(p[0].parent == 1 && p[0].depth == 2 && p[0].stream == 0);
    assert_true(p[1].parent == 2 && p[1].depth == 1 && p[1].stream == 0);
    assert_true(p[2].parent == SIZE_MAX && p[2].depth == 0 && !p[2].from);
    assert_string_equal(p[0].from, "b_topk");
    struct schema *columns;
    assert_int_equal(schema_new(2, "time", &columns), 0);
    assert_int_equal(schema_set(columns, 1, "symbol", WEIR_STRING), 0);
    assert_int_equal(config_resolve(c, 1, columns, &error), 0);
    assert_true(p[1].n_keys == 1 && p[1].key[0] == 1);
    schema_free(columns);
    config_free(c);
}

static void wrong_chains_are_refused(void **state)
{
    static const char text[] = STREAM_HEAD
        "pipelines:\n"
        "  a: {from: b, window: {tumbling: 1s}, analyzers: [count]}\n"
        "  b: {from: c, window: {tumbling: 1s}, analyzers: [count]}\n"
        "  c: {from: a, window: {tumbling: 1s}, analyzers: [count]}\n"
        "  d: {from: c, window: {tumbling: 1s}, analyzers: [count]}\n"
        "  r: {from: trades, window: {tumbling: 1s}, late: revise, "
        "allowed_lateness: 1m, analyzers: [count]}\n"
        "  e: {from: r, window: {tumbling: 1s}, analyzers: [count]}\n"
        "  o: {from: trades, window: {tumbling: 1s}, analyzers: [count]}\n"
        "  f: {from: o, window: {tumbling: 1s}, late: drop, analyzers: [count]}\n"
        "  g: {from: tradez, window: {tumbling: 1s}, analyzers: [count]}\n"
        "  h: {from: o, window: {tumbling: 1s}, idle_timeout: 1s, analyzers: "
        "[count]}\n";
    static const char *const expected[] = {
        "f:12:24: results of 'r' are replaced ('late: revise'), so what is made of "
        "them is never final: a pipeline that reads them is 'global'",
        "f:14:46: 'late' is for pipelines that read a stream: the results of 'o' come "
        "in "
        "order, none is late and none missing",
        "f:15:13: there is no stream or pipeline 'tradez', did you mean 'trades'?",
        "f:16:54: 'idle_timeout' is for pipelines that read a stream: the results of "
        "'o' "
        "come in order, none is late and none missing",
        "f:7:13: 'a' reads itself: a -> b -> c -> a",
        "f:8:13: 'b' reads itself: b -> c -> a -> b",
        "f:9:13: 'c' reads itself: c -> a -> b -> c",
    };
    (void)state;
    check_faults(text, COUNT(expected), expected);
}

static void all_faults_are_told_where_they_are_collected(void **state)
{
    static const char text[] =
        "server: {listen: 127.0.0.1:0, colour: red, nice: 99}\n"
        "streams:\n"
        "  trades:\n"
        "    time: {field: ts, unit: weeks}\n"
        "    fields: {symbol: string, price: flaot, Symbol: int}\n"
        "  good: {fields: {k: string, v: float}}\n"
        "pipelines:\n"
        "  p:\n"
        "    from: trades\n" /* its key cannot be looked at */
        "    key: [nothing]\n"
        "    window: {tumbling: 10s, offset: 11s}\n"
        "    analyzers: [count]\n"
        "  q:\n"
        "    from: good\n"
        "    key: [v, w, k]\n"
        "    workers: 65\n"
        "    analyzers: [Count, {run: thread}]\n"
        "  r: {from: goud, key: k, window: {tumbling: 1s}, "
        "analyzers: [count]}\n";
    static const char *const expected[] = {
        "f:1:31: unknown key 'colour' in 'server'",
        "f:1:50: expected a whole number from 0 to 19, found '99'",
        "f:4:29: expected 'rfc3339', 's', 'ms', 'us' or 'ns', found 'weeks'",
        "f:11:37: the offset must be less than the window itself",
        "f:14:5: the key 'window' is missing in pipeline 'q'",
        "f:15:11: 'v' is a float: numbers that are nearly equal would be different "
        "groups; keys are string, int or bool",
        "f:15:14: the stream has no field 'w'",
        "f:16:14: expected a whole number from 1 to 64, found '65'",
        "f:17:17: 'Count' is no name for a plugin: a small letter comes first, then "
        "small letters, digits and '_'",
        "f:17:24: no analyzer is named here, such as 'stats: {of: price}'",
        "f:18:13: there is no stream or pipeline 'goud', did you mean 'good'?",
    };
    (void)state;
    check_faults(text, COUNT(expected), expected);
    check_faults(STREAM_HEAD PIPELINE_HEAD, 0, NULL);
}

static void fields_behind_a_wrong_one_are_looked_at(void **state)
{
    static const char *const expected[] = {
        "f:3:15: expected a type: string, float, int, bool or time, found 'flaot', did "
        "you mean 'float'?",
        "f:3:30: expected a name of letters, digits and '_', found 'a b'; what events "
        "call it is said by its 'name' or 'path'",
        "f:3:56: 'C' and 'c' differ only in case, which SQLite ignores",
    };
    (void)state;
    check_faults("streams:\n"
                 "  s: {time: ts, fields: {\n"
                 "           a: flaot, b: int, a b: int, c: int, A: int, C: int}}\n",
                 COUNT(expected), expected);
}

/* Another word for each in turn: what is wrong is said with its place, whatever is read behind it. */
static void check_words_of(const char *file, const char *other)
{
    struct buffer text = {0};
    char piece[4096];
    FILE *f = fopen(file, "re");
    assert_non_null(f);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buffer_put(&text, piece, n);
    fclose(f);
    for (size_t i = 0; i < text.size; i++) {
        struct buffer changed = {0};
        struct config *c = NULL;
        struct error error = {0};
        struct faults faults;
        size_t end = i;
        while (end < text.size &&
               (isalnum((unsigned char)text.data[end]) || text.data[end] == '_'))
            end++;
        if (end == i)
            continue;
        buffer_put(&changed, text.data, i);
        buffer_put(&changed, other, strlen(other));
        buffer_put(&changed, text.data + end, text.size - end);
        faults_begin(&faults);
        int r = config_parse("f", changed.data, changed.size, &c, &error);
        faults_end();
        assert_true(r == 0 || r == -EINVAL);
        assert_true(r == 0 || faults.n > 0 || memcmp(error.text, "f:", 2) == 0);
        for (size_t k = 0; k < faults.n; k++)
            assert_memory_equal(faults.fault[k].text, "f:", 2);
        config_free(c);
        buffer_free(&changed);
        i = end;
    }
    buffer_free(&text);
}

static void no_more_than_twenty_faults_are_collected(void **state)
{
    char text[4096] = "streams:\n", line[64], place[32][96];
    const char *expected[FAULTS_MAX];
    (void)state;
    for (int i = 0; i < 30; i++) {
        snprintf(line, sizeof line, "  s%d: {ack: x}\n", i);
        strcat(text, line);
        snprintf(place[i], sizeof place[i],
                 "f:%d:%d: expected 'durable' or 'memory', found 'x'", i + 2,
                 i < 10 ? 13 : 14);
        if (i < FAULTS_MAX)
            expected[i] = place[i];
    }
    check_faults(text, FAULTS_MAX, expected);
}

/* Cut anywhere, the file is good or refused with a place; sanitizers and valgrind see the rest. */
static void every_cut_of_a_file_is_good_or_refused_with_its_place(void **state)
{
    static const char text[] = STREAM_HEAD PIPELINE_HEAD "    key: [symbol, qty]\n"
                                                         "    where: \"price > 0\"\n";
    size_t good = 0;
    (void)state;
    for (size_t size = 0; size < sizeof text; size++) {
        struct config *c = NULL;
        struct error error = {0};
        int r = config_parse("f", text, size, &c, &error);
        if (r == 0) {
            good++;
            config_free(c);
        } else {
            assert_int_equal(r, -EINVAL);
            assert_memory_equal(error.text, "f:", 2);
            assert_in_range(error.text[2], '1', '9');
        }
    }
    assert_true(good > 0);
}

static void the_configurations_that_are_shipped_are_good(void **state)
{
    static const char *const path[] = {ETC_DIR "/weir.yaml", ETC_DIR "/demo/demo.yaml"};
    (void)state;
    for (size_t i = 0; i < COUNT(path); i++) {
        struct config *c = NULL;
        struct error error = {0};
        if (config_load(path[i], &c, &error) < 0)
            fail_msg("%s", error.text);
        assert_true(c->n_streams > 0 && c->n_pipelines > 0);
        config_free(c);
    }
}

static void any_word_of_a_configuration_may_be_wrong(void **state)
{
    (void)state;
    check_words_of(ETC_DIR "/weir.yaml", "Nope");
    check_words_of(ETC_DIR "/demo/demo.yaml", "{}");
    check_words_of(ETC_DIR "/examples/shop.yaml", "[x, y]");
}

/* What stands in comments of the default file is what holds without it. */
static void the_default_file_says_what_the_defaults_are(void **state)
{
    struct config *file = NULL, *none = parse("streams: {s: {}}");
    struct error error = {0};
    (void)state;
    assert_int_equal(config_load(ETC_DIR "/weir.yaml", &file, &error), 0);
    const struct config_server *a = &file->server, *b = &none->server;
    assert_string_equal(a->address, b->address);
    assert_int_equal(a->port, b->port);
    assert_string_equal(a->database, b->database);
    assert_int_equal(a->threads, b->threads);
    assert_int_equal(a->http_threads, b->http_threads);
    assert_int_equal(a->query_threads, b->query_threads);
    assert_int_equal(a->nice, b->nice);
    assert_int_equal(a->max_connections, b->max_connections);
    assert_int_equal(a->max_body, b->max_body);
    assert_int_equal(a->max_record, b->max_record);
    assert_int_equal(a->queue_events, b->queue_events);
    assert_int_equal(a->queue_wait_us, b->queue_wait_us);
    assert_int_equal(a->linger_us, b->linger_us);
    assert_int_equal(a->commit_interval_us, b->commit_interval_us);
    assert_int_equal(a->idempotency_retain_us, b->idempotency_retain_us);
    assert_int_equal(a->idempotency_keys, b->idempotency_keys);
    assert_int_equal(a->dead_letters, b->dead_letters);
    assert_int_equal(a->sql_timeout_us, b->sql_timeout_us);
    assert_int_equal(a->sql_max_rows, b->sql_max_rows);
    assert_int_equal(a->sql_max_bytes, b->sql_max_bytes);
    assert_int_equal(a->sql_processes, b->sql_processes);
    assert_int_equal(a->sql_memory, b->sql_memory);
    assert_int_equal(a->sql_temp, b->sql_temp);
    assert_int_equal(a->spool_limit, b->spool_limit);
    assert_int_equal(a->log_json, b->log_json);
    config_free(file);
    config_free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_say_where_they_are_and_what_stands_for_them),
        cmocka_unit_test(fields_that_are_nowhere_are_refused),
        cmocka_unit_test(derived_columns_have_the_type_of_their_expression),
        cmocka_unit_test(a_pipeline_sees_derived_columns_and_has_its_own),
        cmocka_unit_test(derived_columns_that_are_none_are_refused),
        cmocka_unit_test(fields_behind_a_wrong_one_are_looked_at),
        cmocka_unit_test(any_word_of_a_configuration_may_be_wrong),
        cmocka_unit_test(server_has_defaults),
        cmocka_unit_test(server_keys_are_taken),
        cmocka_unit_test(addresses_of_this_machine_are_taken),
        cmocka_unit_test(wrong_server_keys_are_refused),
        cmocka_unit_test(an_option_replaces_the_address),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(names_are_small_letters_digits_and_underscores),
        cmocka_unit_test(the_number_of_streams_has_a_limit),
        cmocka_unit_test(the_time_of_a_stream_has_several_forms),
        cmocka_unit_test(fields_become_columns_in_their_order),
        cmocka_unit_test(max_future_skew_can_be_off),
        cmocka_unit_test(answers_can_come_from_memory),
        cmocka_unit_test(wrong_streams_are_refused),
        cmocka_unit_test(a_stream_has_at_most_255_fields),
        cmocka_unit_test(pipelines_have_defaults),
        cmocka_unit_test(pipeline_keys_are_taken),
        cmocka_unit_test(
            late_events_can_go_to_a_table_and_groups_over_the_limit_be_dropped),
        cmocka_unit_test(a_key_can_be_one_name),
        cmocka_unit_test(wrong_pipeline_keys_are_refused),
        cmocka_unit_test(wrong_pipelines_are_refused),
        cmocka_unit_test(windows_of_every_kind_are_checked),
        cmocka_unit_test(wrong_analyzers_are_refused),
        cmocka_unit_test(a_pipeline_has_at_most_64_analyzers),
        cmocka_unit_test(variables_can_be_numbers_even_in_quotes),
        cmocka_unit_test(pipelines_that_read_pipelines_are_found_in_any_order),
        cmocka_unit_test(wrong_chains_are_refused),
        cmocka_unit_test(all_faults_are_told_where_they_are_collected),
        cmocka_unit_test(no_more_than_twenty_faults_are_collected),
        cmocka_unit_test(every_cut_of_a_file_is_good_or_refused_with_its_place),
        cmocka_unit_test(the_configurations_that_are_shipped_are_good),
        cmocka_unit_test(the_default_file_says_what_the_defaults_are),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
