/* SPDX-License-Identifier: Apache-2.0
 *
 * libweir-shard: the rows are the same however parts are dealt to shards and moved between them, and are those that are counted
 * here; what cannot be dealt, or was not saved by a shard, is refused with the reason.
 */
#include "weir/shard.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENTS    20000
#define KEYS      97
#define CHUNK     500 /* events that a router reads at once */
#define PARTS     16u
#define SHARDS    3u
#define ROWS_MAX  40000
#define WINDOW_US INT64_C(10000000)
#define BEHIND_US INT64_C(3000000) /* out_of_orderness */
#define WINDOWS   64

#define CONFIG(run)                                                                    \
    "streams:\n"                                                                       \
    "  t:\n"                                                                           \
    "    time: {field: ts, unit: us}\n"                                                \
    "    fields: {k: string, n: int, v: float, s: string}\n"                           \
    "    derive: {half: n / 2}\n"                                                      \
    "pipelines:\n"                                                                     \
    "  p:\n"                                                                           \
    "    from: t\n"                                                                    \
    "    key: [k]\n"                                                                   \
    "    window: {tumbling: 10s}\n"                                                    \
    "    out_of_orderness: 3s\n"                                                       \
    "    analyzers: [count, {sum: {of: n}" run                                         \
    "}, {sum: {of: half}, as: halves}, {stats: {of: v}" run "},\n"                     \
    "      {first: v}, {topk: {of: s, k: 3, capacity: 4}" run                          \
    "}, {sql: \"SELECT max(s) AS top FROM events\"}]\n"

static const char config_text[] = CONFIG("");
static const char process_text[] = CONFIG(", run: process");

/* What `run: process` starts: this program is in tests/unit/shard of the build. */
static const char *weir_program(void)
{
    static char path[4096 + 64];
    char here[4096];
    ssize_t n = readlink("/proc/self/exe", here, sizeof(here) - 1);
    assert_true(n > 0);
    here[n] = '\0';
    for (int up = 0; up < 4; up++)
        *strrchr(here, '/') = '\0';
    snprintf(path, sizeof(path), "%s/weir", here);
    return path;
}

static const char head_text[] =
    "streams:\n"
    "  t: {time: {field: ts, unit: us}, fields: {k: string, n: int, v: float}}\n"
    "  u: {time: {field: ts, unit: us}, fields: {k: string, m: int}}\n"
    "  a: {time: arrival, fields: {k: string, n: int}}\n"
    "pipelines:\n";

static struct weir_shard_options options_of(const char *text)
{
    return (struct weir_shard_options){.file = "test.yaml",
                                       .config = text,
                                       .config_size = strlen(text),
                                       .pipeline = "p",
                                       .parts = PARTS,
                                       .program = weir_program()};
}

/* ---- Events ------------------------------------------------------------------------------------- */

struct event {
    int64_t ts, n;
    unsigned key;
};
static struct event event[EVENTS];
static uint64_t seed = 7;

static uint64_t chance(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

/* Out of order by less than is allowed, but for one in a hundred. */
static void make_events(void)
{
    for (unsigned i = 0; i < EVENTS; i++) {
        int64_t back = chance(100) ? (int64_t)chance(2900000) : 40000000;
        event[i] =
            (struct event){.ts = INT64_C(1700000000000000) + i * INT64_C(10000) - back,
                           .n = (int64_t)chance(1000) - 500,
                           .key = (unsigned)chance(KEYS)};
    }
}

static char *chunk_text(unsigned first, size_t *ret_size)
{
    char *text = malloc(CHUNK * 128), *at = text;
    assert_non_null(text);
    for (unsigned i = first; i < first + CHUNK; i++)
        at += sprintf(at,
                      "{\"ts\":%" PRId64 ",\"k\":\"key %u\",\"n\":%" PRId64
                      ",\"v\":%.3f,\"s\":\"s%u\"}\n",
                      event[i].ts, event[i].key, event[i].n,
                      (double)event[i].n / 7 + i * 1e-3, (event[i].key + i) % 13);
    *ret_size = (size_t)(at - text);
    return text;
}

/* ---- Shards ------------------------------------------------------------------------------------- */

struct results {
    char *line[ROWS_MAX];
    size_t n;
    uint64_t late, events;
};

struct crew { /* shards with parts, in ranges */
    struct weir_shard *shard[SHARDS];
    unsigned n;
    struct results *results;
};

/* What stands behind a name in an object. */
static const char *value_in(const char *line, const char *name)
{
    char word[64];
    snprintf(word, sizeof(word), "\"%s\":", name);
    const char *at = strstr(line, word);
    assert_non_null(at);
    return at + strlen(word);
}

static void check_value(const struct weir_shard_column *c,
                        const struct weir_shard_values *v, uint32_t row,
                        const char *json)
{
    const char *text = value_in(json, c->name);
    if (v->null[row]) {
        assert_int_equal(strncmp(text, "null", 4), 0);
        assert_false(c->flags & WEIR_SHARD_NOT_NULL);
    } else if (c->type == WEIR_SHARD_STRING) {
        const size_t size = v->offsets[row + 1] - v->offsets[row];
        assert_int_equal(text[0], '"');
        assert_int_equal(strncmp(text + 1, v->bytes + v->offsets[row], size), 0);
        assert_int_equal(text[1 + size], '"');
    } else if (c->type == WEIR_SHARD_FLOAT) {
        assert_true(strtod(text, NULL) == ((const double *)v->values)[row]);
    } else {
        assert_int_equal(strtoll(text, NULL, 10), ((const int64_t *)v->values)[row]);
    }
}

/* They are the same rows in the same order, some at a time. */
static void check_columns(struct weir_shard *s, const struct weir_shard_row *row,
                          size_t n)
{
    struct weir_shard_error error;
    const struct weir_shard_columns *c;
    size_t tables, at = 0;
    const struct weir_shard_table *table = weir_shard_tables(s, &tables);
    for (;;) {
        assert_int_equal(weir_shard_next(s, 7, &c, &error), 0);
        if (!c)
            break;
        assert_true(c->table < tables && c->n_rows > 0 && c->n_rows <= 7);
        for (uint32_t r = 0; r < c->n_rows; r++, at++) {
            assert_true(at < n);
            assert_string_equal(table[c->table].name, row[at].table);
            for (size_t i = 0; i < table[c->table].n_columns; i++)
                check_value(&table[c->table].column[i], &c->column[i], r, row[at].json);
        }
    }
    assert_int_equal(at, n);
}

static void take_rows(struct crew *c, unsigned i)
{
    struct weir_shard_error error;
    const struct weir_shard_row *row;
    size_t n;
    assert_int_equal(weir_shard_rows(c->shard[i], &row, &n, &error), 0);
    check_columns(c->shard[i], row, n);
    for (size_t k = 0; k < n; k++) {
        struct results *r = c->results;
        assert_true(r->n < ROWS_MAX);
        assert_int_equal(strlen(row[k].json), row[k].size);
        assert_true(asprintf(&r->line[r->n++], "%s %s", row[k].table, row[k].json) > 0);
    }
}

static void crew_open(struct crew *c, unsigned n, const char *text,
                      struct results *results)
{
    struct weir_shard_error error;
    const struct weir_shard_options o = options_of(text);
    *c = (struct crew){.n = n, .results = results};
    for (unsigned i = 0; i < n; i++)
        if (weir_shard_open(&o, &c->shard[i], &error) < 0)
            fail_msg("%s", error.text);
}

static void crew_close(struct crew *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        struct weir_shard_figures f;
        weir_shard_count(c->shard[i], &f);
        c->results->late += f.late;
        c->results->events += f.events;
        weir_shard_close(c->shard[i]);
    }
}

static void crew_read(struct crew *c, const struct weir_piece *piece, size_t n)
{
    struct weir_shard_error error;
    for (size_t k = 0; k < n; k++)
        for (unsigned i = 0; i < c->n; i++) {
            const bool all = piece[k].part < 0;
            if (!all && (uint32_t)piece[k].part * c->n / PARTS != i)
                continue;
            int r = all ? weir_shard_advance(c->shard[i], piece[k].watermark_us, &error)
                        : weir_shard_fold(c->shard[i], piece[k].bytes, piece[k].size,
                                          &error);
            if (r < 0)
                fail_msg("%s", error.text);
            take_rows(c, i);
        }
}

/* All parts go from some shards to others. */
static void crew_move(struct crew *from, struct crew *to)
{
    struct weir_shard_error error;
    for (unsigned i = 0; i < from->n; i++)
        if (weir_shard_save(from->shard[i], &error) < 0)
            fail_msg("%s", error.text);
    for (uint32_t part = 0; part < PARTS; part++) {
        size_t size;
        const void *bytes =
            weir_shard_saved(from->shard[part * from->n / PARTS], part, &size);
        if (weir_shard_load(to->shard[part * to->n / PARTS], bytes, size, &error) < 0)
            fail_msg("%s", error.text);
    }
    crew_close(from);
}

static void crew_end(struct crew *c)
{
    struct weir_shard_error error;
    for (unsigned i = 0; i < c->n; i++) {
        assert_int_equal(weir_shard_end(c->shard[i], &error), 0);
        take_rows(c, i);
    }
}

/* With `many`, how many shards there are changes after every tenth chunk, and the router is another one. */
static void run(bool many, const char *config, struct results *results)
{
    struct weir_shard_error error;
    const struct weir_shard_options o = options_of(config);
    struct weir_router *router;
    struct crew now, next;
    assert_int_equal(weir_router_open(&o, &router, &error), 0);
    crew_open(&now, many ? 2 : 1, config, results);
    for (unsigned first = 0; first < EVENTS; first += CHUNK) {
        const struct weir_piece *piece;
        size_t size, n;
        char *text = chunk_text(first, &size);
        assert_int_equal(weir_router_read(router, text, size, &piece, &n, &error), 0);
        crew_read(&now, piece, n);
        free(text);
        if (!many || first / CHUNK % 10 != 9)
            continue;
        crew_open(&next, now.n % SHARDS + 1, config, results);
        crew_move(&now, &next);
        now = next;
        int64_t newest_us = weir_router_newest(router);
        weir_router_close(router);
        assert_int_equal(weir_router_open(&o, &router, &error), 0);
        weir_router_go_on(router, newest_us);
    }
    crew_end(&now);
    crew_close(&now);
    weir_router_close(router);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_same(struct results *a, struct results *b)
{
    qsort(a->line, a->n, sizeof(a->line[0]), by_text);
    qsort(b->line, b->n, sizeof(b->line[0]), by_text);
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        assert_string_equal(a->line[i], b->line[i]);
}

static void results_free(struct results *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->line[i]);
    free(r);
}

/* ---- What the rows should be ---------------------------------------------------------------------- */

static struct expected {
    int64_t count, sum;
} expected[WINDOWS][KEYS];

/* Late is a row whose window had ended at the newest time so far, its own among them, less 3 s. */
static uint64_t expect(int64_t *ret_first)
{
    int64_t newest = INT64_MIN;
    const int64_t first = (event[0].ts / WINDOW_US - 10) * WINDOW_US;
    uint64_t late = 0;
    memset(expected, 0, sizeof(expected));
    for (unsigned i = 0; i < EVENTS; i++) {
        newest = event[i].ts > newest ? event[i].ts : newest;
        int64_t window = (event[i].ts - first) / WINDOW_US;
        if (first + (window + 1) * WINDOW_US <= newest - BEHIND_US) {
            late++;
            continue;
        }
        expected[window][event[i].key].count++;
        expected[window][event[i].key].sum += event[i].n;
    }
    *ret_first = first;
    return late;
}

static int64_t number_in(const char *line, const char *name)
{
    return strtoll(value_in(line, name), NULL, 10);
}

static void check_rows(const struct results *r, int64_t first)
{
    size_t groups = 0, found = 0;
    for (size_t w = 0; w < WINDOWS; w++)
        for (size_t k = 0; k < KEYS; k++)
            groups += expected[w][k].count > 0;
    for (size_t i = 0; i < r->n; i++) {
        if (strncmp(r->line[i], "p ", 2) != 0)
            continue;
        const char *key = strstr(r->line[i], "\"k\":\"key ");
        assert_non_null(key);
        const struct expected *e =
            &expected[(number_in(r->line[i], "window_start") - first) / WINDOW_US]
                     [strtoul(key + strlen("\"k\":\"key "), NULL, 10)];
        assert_int_equal(number_in(r->line[i], "count"), e->count);
        assert_int_equal(number_in(r->line[i], "n_sum"), e->sum);
        found++;
    }
    assert_int_equal(found, groups);
}

/* ---- Tests -------------------------------------------------------------------------------------- */

static void rows_are_the_same_however_parts_are_moved(void **state)
{
    (void)state;
    struct results *one = calloc(1, sizeof(*one)), *many = calloc(1, sizeof(*many));
    assert_true(one && many);
    int64_t first;
    make_events();
    const uint64_t late = expect(&first);
    assert_true(late > 50);
    run(false, config_text, one);
    run(true, config_text, many);
    assert_int_equal(one->late, late);
    assert_int_equal(many->late, late);
    assert_int_equal(one->events, EVENTS - late);
    check_rows(one, first);
    assert_same(one, many);
    results_free(one);
    results_free(many);
}

static void analyzers_in_processes_of_their_own_give_the_same_rows(void **state)
{
    (void)state;
    struct results *here = calloc(1, sizeof(*here)), *apart = calloc(1, sizeof(*apart));
    assert_true(here && apart);
    make_events();
    run(false, config_text, here);
    run(true, process_text, apart);
    assert_same(here, apart);
    results_free(here);
    results_free(apart);
}

static void tables_say_what_their_columns_are(void **state)
{
    (void)state;
    static const struct weir_shard_column many[] = {
        {"window_start", WEIR_SHARD_TIME, WEIR_SHARD_PRIMARY | WEIR_SHARD_NOT_NULL},
        {"window_end", WEIR_SHARD_TIME, WEIR_SHARD_NOT_NULL},
        {"k", WEIR_SHARD_STRING, WEIR_SHARD_PRIMARY | WEIR_SHARD_NOT_NULL},
        {"rank", WEIR_SHARD_INT, WEIR_SHARD_PRIMARY | WEIR_SHARD_NOT_NULL},
        {"s", WEIR_SHARD_STRING, 0},
    };
    const struct weir_shard_options o = options_of(config_text);
    struct weir_shard_error error;
    struct weir_shard *shard;
    size_t n;
    assert_int_equal(weir_shard_open(&o, &shard, &error), 0);
    const struct weir_shard_table *table = weir_shard_tables(shard, &n);
    assert_int_equal(n, 3);
    assert_string_equal(table[0].name, "p");
    assert_string_equal(table[0].column[3].name, "count");
    assert_int_equal(table[0].column[3].type, WEIR_SHARD_INT);
    assert_int_equal(table[0].column[3].flags, 0);
    assert_string_equal(table[1].name, "p_topk");
    assert_string_equal(table[2].name, "p_sql");
    for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++) {
        assert_string_equal(table[1].column[i].name, many[i].name);
        assert_int_equal(table[1].column[i].type, many[i].type);
        assert_int_equal(table[1].column[i].flags, many[i].flags);
    }
    weir_shard_close(shard);
}

static void where_events_and_rows_go_is_told(void **state)
{
    (void)state;
    static const struct weir_shard_setting wanted[] = {
        {"kafka.brokers", "a:1,b:2"},
        {"kafka.topic", "one"},
        {"kafka.topic", "two"},
        {"kafka.option.client.id", "c"},
        {"kafka.option_file.sasl.password", "/secret"},
        {"kafka.begin", "newest"},
        {"kafka.on_lost", "stop"},
        {"postgresql.connect.dbname", "d"},
        {"postgresql.connect.host", "h"},
        {"postgresql.schema", "results"},
    };
    static const char text[] =
        "server: {postgresql: {connect: \"postgresql://u@h/d\", schema: results}}\n"
        "streams:\n"
        "  t:\n"
        "    time: {field: ts, unit: us}\n"
        "    fields: {k: string}\n"
        "    source: {kafka: {brokers: \"a:1,b:2\", topics: [one, two], begin: "
        "newest,\n"
        "      options: {client.id: c, sasl.password: {file: /secret}}}}\n"
        "pipelines:\n"
        "  p: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [count]}\n";
    const struct weir_shard_options o = options_of(text);
    struct weir_shard_error error;
    struct weir_shard *shard;
    size_t n, found = 0;
    if (weir_shard_open(&o, &shard, &error) < 0) {
        assert_non_null(strstr(error.text, "built without"));
        skip();
    }
    const struct weir_shard_setting *s = weir_shard_settings(shard, &n);
    for (size_t i = 0; i < n; i++)
        found += found < sizeof(wanted) / sizeof(wanted[0]) &&
                 !strcmp(s[i].name, wanted[found].name) &&
                 !strcmp(s[i].value, wanted[found].value);
    assert_int_equal(found, sizeof(wanted) / sizeof(wanted[0]));
    weir_shard_close(shard);
}

static void wrong_lines_are_counted_and_the_rest_is_dealt(void **state)
{
    (void)state;
    static const char text[] = "{\"ts\":1700000000000000,\"k\":\"a\",\"n\":1}\n"
                               "{\"ts\":1700000000000000,\"k\":\"a\",\"n\":\"x\"}\n"
                               "\n"
                               "{\"ts\":1700000000000001,\"k\":null,\"n\":1}\n"
                               "{\"ts\":1700000000000002,\"k\":\"b\",\"n\":1}";
    const struct weir_shard_options o = options_of(config_text);
    struct weir_shard_error error;
    struct weir_router *router;
    struct weir_router_figures f;
    const struct weir_piece *piece;
    size_t n, rows = 0;
    assert_int_equal(weir_router_open(&o, &router, &error), 0);
    assert_int_equal(weir_router_read(router, text, strlen(text), &piece, &n, &error),
                     0);
    for (size_t i = 0; i < n; i++)
        rows += piece[i].rows;
    weir_router_count(router, &f);
    assert_int_equal(rows, 2);
    assert_int_equal(f.events, 3);
    assert_int_equal(f.rejected, 1);
    assert_int_equal(f.null_keys, 1);
    assert_non_null(strstr(f.last_rejected, "line 2, column "));
    assert_non_null(strstr(f.last_rejected, "type: "));
    weir_router_close(router);
}

/* Messages with four events in all, of which one is wrong. */
static void check_messages(const char *format, const char *a, const char *bad,
                           const char *b)
{
    char config[1024], bytes[1024];
    const char *message[] = {a, bad, "", b};
    uint32_t size[4];
    struct weir_shard_error error;
    struct weir_router *router;
    struct weir_router_figures f;
    const struct weir_piece *piece;
    size_t n, rows = 0, at = 0;
    snprintf(config, sizeof(config),
             "streams:\n"
             "  t:\n"
             "    time: {field: ts, unit: us}\n"
             "    fields: {k: string, n: int}\n"
             "    source: {kafka: {brokers: \"a:1\", topics: one, format: %s}}\n"
             "pipelines:\n"
             "  p: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [count]}\n",
             format);
    for (unsigned i = 0; i < 4; i++) {
        size[i] = (uint32_t)strlen(message[i]);
        memcpy(bytes + at, message[i], size[i]);
        at += size[i];
    }
    const struct weir_shard_options o = options_of(config);
    if (weir_router_open(&o, &router, &error) < 0) {
        assert_non_null(strstr(error.text, "built without"));
        skip();
    }
    assert_int_equal(
        weir_router_read_messages(router, bytes, size, 4, &piece, &n, &error), 0);
    for (size_t i = 0; i < n; i++)
        rows += piece[i].rows;
    weir_router_count(router, &f);
    assert_int_equal(rows, 4);
    assert_int_equal(f.events, 4);
    assert_int_equal(f.rejected, 1);
    assert_non_null(strstr(f.last_rejected, "line "));
    assert_int_equal(weir_router_newest(router), INT64_C(1700000000000004));
    weir_router_close(router);
}

static void each_message_is_read_by_itself(void **state)
{
    (void)state;
    check_messages("json",
                   "[{\"ts\":1700000000000001,\"k\":\"a\",\"n\":1},\n"
                   "{\"ts\":1700000000000004,\"k\":\"b\",\"n\":1}]",
                   "[{\"ts\":1700000000000002,\"k\":\"a\",\"n\":1}, {\"ts\":",
                   "{\"ts\":1700000000000003,\"k\":\"c\",\"n\":1}");
    check_messages("csv", "k,ts,n\na,1700000000000001,1\nb,1700000000000004,2",
                   "n,k\n1,a", "ts,k,n\n1700000000000002,c,1\n1700000000000003,a,4\n");
    check_messages(
        "lines", "t,k=a n=1i 1700000000000001000\nt,k=b n=1i 1700000000000004000",
        "t,k=a n=",
        "t,k=c n=1i 1700000000000002000\nt n=1i,k=\"d\" 1700000000000003000\n");
    check_messages("ndjson",
                   "{\"ts\":1700000000000001,\"k\":\"a\",\"n\":1}\n"
                   "{\"ts\":1700000000000004,\"k\":\"b\",\"n\":1}",
                   "{\"ts\":1700000000000002,\"k\":\"c\",\"n\":1}\n{\"ts\":",
                   "{\"ts\":1700000000000003,\"k\":\"c\",\"n\":1}");
}

static void what_cannot_be_dealt_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *pipelines, *why;
    } table[] = {
        {"  p: {from: t, window: none, select: [n]}\n", "it has no windows"},
        {"  p: {from: t, key: [k], window: {session: 3s}, analyzers: [count]}\n",
         "its windows are by key"},
        {"  p: {from: t, window: {tumbling: 1s}, analyzers: [count]}\n",
         "it has no key"},
        {"  p: {from: t, key: [k], window: {tumbling: 1s}, late: side, analyzers: "
         "[count]}\n",
         "late events are dropped here"},
        {"  p: {from: a, key: [k], window: {tumbling: 1s}, analyzers: [count]}\n",
         "no time of their own"},
        {"  p: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [{count: {}, "
         "run: process}]}\n",
         "'run: process'"},
        {"  q: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [count]}\n"
         "  p: {from: q, key: [k], window: {tumbling: 5s}, analyzers: [count]}\n",
         "the results of another pipeline"},
        {"  p: {from: t, key: [k], window: {tumbling: 1s}, join: {u: {on: [k], as_of: "
         "true, within: 5s, columns: [m]}}, analyzers: [count]}\n",
         "it joins other streams"},
        {"  q: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [count]}\n",
         "there is no pipeline 'p'"},
        {"  p: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [cuont]}\n",
         "cuont"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char text[2048];
        struct weir_shard_error error = {{0}};
        struct weir_shard *shard;
        struct weir_router *router;
        snprintf(text, sizeof(text), "%s%s", head_text, table[i].pipelines);
        struct weir_shard_options o = options_of(text);
        o.program = NULL;
        assert_true(weir_shard_open(&o, &shard, &error) < 0);
        if (!strstr(error.text, table[i].why))
            fail_msg("'%s' is not in: %s", table[i].why, error.text);
        assert_true(weir_router_open(&o, &router, &error) < 0);
    }
}

static void an_analyzer_that_fails_is_named(void **state)
{
    (void)state;
    static const char line[] =
        "{\"ts\":1700000000000000,\"k\":\"a\",\"n\":9223372036854775807}\n"
        "{\"ts\":1700000000000000,\"k\":\"a\",\"n\":9223372036854775807}\n";
    char text[2048];
    snprintf(text, sizeof(text), "%s%s", head_text,
             "  p: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [{sql: "
             "\"SELECT sum(n) AS s FROM events\"}]}\n");
    const struct weir_shard_options o = options_of(text);
    struct weir_shard_error error;
    struct weir_router *router;
    struct weir_shard *shard;
    const struct weir_piece *piece;
    size_t n;
    assert_int_equal(weir_router_open(&o, &router, &error), 0);
    assert_int_equal(weir_shard_open(&o, &shard, &error), 0);
    assert_int_equal(weir_router_read(router, line, strlen(line), &piece, &n, &error),
                     0);
    for (size_t i = 0; i < n; i++)
        if (piece[i].part >= 0)
            assert_int_equal(
                weir_shard_fold(shard, piece[i].bytes, piece[i].size, &error), 0);
    assert_true(weir_shard_end(shard, &error) < 0);
    assert_non_null(strstr(error.text, "pipeline 'p': analyzer 'sql': "));
    error.text[0] = '\0';
    assert_true(weir_shard_end(shard, &error) < 0); /* it stays so */
    assert_non_null(strstr(error.text, "analyzer 'sql'"));
    weir_shard_close(shard);
    weir_router_close(router);
}

/* A process of which this one is the parent; 0: there is none. */
static pid_t child_now(void)
{
    pid_t child = 0;
    DIR *all = opendir("/proc");
    assert_non_null(all);
    for (struct dirent *d; !child && (d = readdir(all));) {
        char path[300];
        int pid, parent;
        snprintf(path, sizeof(path), "/proc/%s/stat", d->d_name);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%d (weir%*[^)]) %*c %d", &pid, &parent) == 2 &&
            parent == getpid())
            child = pid;
        if (f)
            fclose(f);
    }
    closedir(all);
    return child;
}

static void an_analyzer_whose_process_ends_is_named(void **state)
{
    (void)state;
    static const char line[] = "{\"ts\":1700000000000000,\"k\":\"a\",\"n\":1}\n";
    char text[2048];
    snprintf(text, sizeof(text), "%s%s", head_text,
             "  p: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [{sum: {of: "
             "n}, run: process}]}\n");
    const struct weir_shard_options o = options_of(text);
    struct weir_shard_error error;
    struct weir_router *router;
    struct weir_shard *shard;
    const struct weir_piece *piece;
    size_t n;
    assert_int_equal(weir_router_open(&o, &router, &error), 0);
    if (weir_shard_open(&o, &shard, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(weir_router_read(router, line, strlen(line), &piece, &n, &error),
                     0);
    const pid_t child = child_now();
    assert_true(child > 0);
    kill(child, SIGKILL);
    for (size_t i = 0; i < n; i++) /* it may be found here, or when rows are wanted */
        if (piece[i].part >= 0)
            weir_shard_fold(shard, piece[i].bytes, piece[i].size, &error);
    assert_true(weir_shard_end(shard, &error) < 0);
    assert_non_null(strstr(error.text, "pipeline 'p': analyzer 'sum': its process was "
                                       "killed by signal 9"));
    assert_true(weir_shard_save(shard, &error) < 0);
    weir_shard_close(shard);
    weir_router_close(router);
}

static void assert_not_loaded(const struct weir_shard_options *o, const void *bytes,
                              size_t size, int err, const char *why)
{
    struct weir_shard_error error;
    struct weir_shard *shard;
    assert_int_equal(weir_shard_open(o, &shard, &error), 0);
    assert_int_equal(weir_shard_load(shard, bytes, size, &error), err);
    if (!strstr(error.text, why))
        fail_msg("'%s' is not in: %s", why, error.text);
    weir_shard_close(shard);
}

static void only_what_a_shard_of_this_pipeline_saved_is_loaded(void **state)
{
    (void)state;
    static const char other[] =
        "  p: {from: t, key: [k], window: {tumbling: 1s}, analyzers: [count]}\n";
    char text[2048];
    struct weir_shard_options o = options_of(config_text);
    struct weir_shard_error error;
    struct weir_shard *shard;
    size_t size;
    assert_int_equal(weir_shard_open(&o, &shard, &error), 0);
    assert_int_equal(weir_shard_save(shard, &error), 0);
    const char *saved = weir_shard_saved(shard, 3, &size);
    char *bytes = malloc(size);
    assert_non_null(bytes);
    memcpy(bytes, saved, size);
    weir_shard_close(shard);

    bytes[size - 1] ^= 1;
    assert_not_loaded(&o, bytes, size, -EBADMSG, "damaged");
    bytes[size - 1] ^= 1;
    assert_not_loaded(&o, bytes, 12, -EBADMSG, "cut short");
    assert_not_loaded(&o, bytes, size - 8, -EBADMSG, "damaged");
    o.parts = 2 * PARTS;
    assert_not_loaded(&o, bytes, size, -EBADMSG, "their number is for good");
    snprintf(text, sizeof(text), "%s%s", head_text, other);
    o = options_of(text);
    assert_not_loaded(&o, bytes, size, -ESTALE, "another definition");
    free(bytes);
}

static void bytes_that_no_router_wrote_are_refused(void **state)
{
    (void)state;
    const struct weir_shard_options o = options_of(config_text);
    struct weir_shard_error error;
    struct weir_shard *shard;
    assert_int_equal(weir_shard_open(&o, &shard, &error), 0);
    assert_int_equal(weir_shard_fold(shard, "something", 9, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "rows are not as a router writes them"));
    weir_shard_close(shard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_same_however_parts_are_moved),
        cmocka_unit_test(tables_say_what_their_columns_are),
        cmocka_unit_test(where_events_and_rows_go_is_told),
        cmocka_unit_test(wrong_lines_are_counted_and_the_rest_is_dealt),
        cmocka_unit_test(each_message_is_read_by_itself),
        cmocka_unit_test(what_cannot_be_dealt_is_refused),
        cmocka_unit_test(an_analyzer_that_fails_is_named),
        cmocka_unit_test(analyzers_in_processes_of_their_own_give_the_same_rows),
        cmocka_unit_test(an_analyzer_whose_process_ends_is_named),
        cmocka_unit_test(only_what_a_shard_of_this_pipeline_saved_is_loaded),
        cmocka_unit_test(bytes_that_no_router_wrote_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
