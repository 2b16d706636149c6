/* SPDX-License-Identifier: Apache-2.0
 *
 * Fields within objects and lists, a row of each element, defaults, and what is taken leniently.
 */
#include "fixture.h"

#include "decode/paths.h"

#include <errno.h>

/* Columns, and where they are; the time is in a list. */
static struct decode_field fields[] = {
    {.path = (char[]){"times[1].at"}},
    {.path = (char[]){"user.id"}},
    {.path = (char[]){"user.home.\"zip.code\""}},
    {.path = (char[]){"media[0].kind"}},
    {.name = (char[]){"log.level"},
     .has_default = true,
     .text = (char[]){"info"},
     .size = 4},
    {.has_default = true, .init.i = 7},
};
static const char columns[] =
    "ts,user:string,zip:int,kind:string,level:string,likes:int";

static struct decode_field each_fields[] = {
    {0},
    {.path = (char[]){"items[*].sku"}},
    {.path = (char[]){"items[*].n"}, .has_default = true, .init.i = 1},
    {.path = (char[]){"buyer.name"}},
};
static const char each_columns[] = "ts,sku:string,n:int,buyer:string";

struct given {
    struct schema *schema;
    struct paths *paths;
    struct decode_options o;
};

static void give(struct given *g, const char *names, const struct decode_field *field)
{
    size_t column;
    struct error error = {0};
    g->schema = dump_schema(names);
    if (paths_new(g->schema, field, 0, &g->paths, &column, &error) < 0)
        fail_msg("%s", error.text);
    g->o = fixture_options();
    g->o.schema = g->schema;
    g->o.field = field;
    g->o.paths = g->paths;
}

static void take_back(struct given *g)
{
    paths_free(g->paths);
    schema_free(g->schema);
}

/* The body gives `expected`, however it is cut, and the same in an array. */
static void check(const struct given *g, const char *body, const char *expected)
{
    const char *got = fixture_decode(&g->o, DECODE_NDJSON, body, strlen(body));
    if (strcmp(got, expected) != 0)
        fail_msg("%s\ngave\n%s\nnot\n%s", body, got, expected);
    fixture_check_splits(&g->o, DECODE_NDJSON, body, strlen(body));
}

#define HEAD "{\"times\":[0,{\"at\":1}]"
#define ROW  "row ts=1000 "

/* Each line alone, and all of them, one after the other, so that each meets the layouts of the others. */
static const struct {
    const char *line, *result;
} cases[] = {
    {HEAD ",\"user\":{\"id\":\"a\",\"home\":{\"zip.code\":5}},\"likes\":3}",
     ROW "user=\"a\" zip=5 kind=null level=\"info\" likes=3"},
    {HEAD ",\"user\":{\"id\":\"b\",\"home\":{\"zip.code\":6}},\"likes\":4}",
     ROW "user=\"b\" zip=6 kind=null level=\"info\" likes=4"},
    {HEAD ",\"user\":{\"home\":{\"zip.code\":5,\"x\":[{}]},\"id\":\"a\"}}",
     ROW "user=\"a\" zip=5 kind=null level=\"info\" likes=7"},
    {HEAD ",\"user\":{\"id\":\"a\",\"home\":null},\"likes\":null}",
     ROW "user=\"a\" zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"user\":null,\"media\":null,\"log.level\":null}",
     ROW "user=null zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"user\":{},\"media\":[]}",
     ROW "user=null zip=null kind=null level=\"info\" likes=7"},
    {HEAD
     ", \"user\" : { \"id\" : \"a\" , \"home\" : { } } , \"media\" : [ { } , 1 ] }",
     ROW "user=\"a\" zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"us\\u0065r\":{\"\\u0069d\":\"a\"},\"user.id\":\"no\"}",
     ROW "user=\"a\" zip=null kind=null level=\"info\" likes=7"},
    /* a key that comes twice: the last one counts, with all that is in it */
    {HEAD ",\"user\":{\"id\":\"a\",\"id\":\"b\"}}",
     ROW "user=\"b\" zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"user\":{\"id\":\"a\",\"home\":{\"zip.code\":5}},\"user\":{\"id\":\"b\"}}",
     ROW "user=\"b\" zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"user\":{\"id\":\"a\"},\"user\":null}",
     ROW "user=null zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"user\":null,\"user\":{\"id\":\"a\"}}",
     ROW "user=\"a\" zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"media\":[{\"kind\":\"x\"}],\"media\":[]}",
     ROW "user=null zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"media\":[{\"kind\":\"x\",\"kind\":null}]}",
     ROW "user=null zip=null kind=null level=\"info\" likes=7"},
    {HEAD ",\"user\":5}",
     "bad 1:30 type field 'user': expected an object that it is in, got 5"},
    {HEAD ",\"media\":{\"kind\":1}}",
     "bad 1:31 type field 'kind': expected a list that it is in, got {\"kind\":1}"},
    {HEAD ",\"user\":{\"id\":5}}",
     "bad 1:36 type field 'user': expected a string, got 5"},
    {HEAD ",\"media\":[{\"kind\":\"x\"},]}", "bad 1:45 syntax expected a value"},
    {HEAD ",\"user\":{\"id\":\"a\",}}",
     "bad 1:40 syntax expected a key in quotes after ','"},
    {HEAD ",\"user\":{\"id\":\"a\"]}",
     "bad 1:39 syntax expected ',' or '}' after a value"},
    {"{\"times\":[0]}", "bad 1:0 no_time field 'ts', the time, is missing or null"},
    {"{\"times\":[0,{\"at\":2},{\"at\":3}]}",
     "row ts=2000 user=null zip=null kind=null level=\"info\" likes=7"},
};

#define N_CASES (sizeof(cases) / sizeof(cases[0]))

static bool is_row(size_t i)
{
    return cases[i].result[0] == 'r';
}

static void each_form_gives_its_row_or_its_fault(void **state)
{
    (void)state;
    struct given g;
    char line[1000], result[1000];
    give(&g, columns, fields);
    for (size_t i = 0; i < N_CASES; i++) {
        snprintf(line, sizeof(line), "%s\n", cases[i].line);
        snprintf(result, sizeof(result), "%s\nend %d accepted, %d rejected\n",
                 cases[i].result, is_row(i), !is_row(i));
        check(&g, line, result);
    }
    take_back(&g);
}

/* In any order: a line meets the layouts of the others. */
static void each_form_gives_the_same_after_any_other(void **state)
{
    (void)state;
    struct given g;
    struct buffer body = {0}, expected = {0};
    give(&g, columns, fields);
    for (size_t step = 1; step < N_CASES; step++)
        for (size_t k = 0; k < N_CASES; k++) {
            size_t i = k * step % N_CASES;
            buffer_printf(&body, "%s\n", cases[i].line);
            if (is_row(i))
                buffer_printf(&expected, "%s\n", cases[i].result);
        }
    char *got =
        strdup(fixture_decode(&g.o, DECODE_NDJSON, buffer_text(&body), body.size));
    char *end = strstr(got, "bad ");
    assert_non_null(end);
    *end = 0;
    assert_string_equal(got, buffer_text(&expected));
    free(got);
    buffer_free(&body);
    buffer_free(&expected);
    take_back(&g);
}

/* ---- A row of each element -------------------------------------------------------------------- */

static void each_element_is_a_row(void **state)
{
    (void)state;
    struct given g;
    give(&g, each_columns, each_fields);
    check(&g,
          "{\"ts\":1,\"items\":[{\"sku\":\"a\",\"n\":2},{\"sku\":\"b\"},{}, "
          "null],\"buyer\":{"
          "\"name\":\"me\"}}\n"
          "{\"ts\":2,\"items\":[]}\n"
          "{\"ts\":3}\n"
          "{\"items\":[{\"n\":5}],\"ts\":4}\n",
          "row ts=1000 sku=\"a\" n=2 buyer=\"me\"\n"
          "row ts=1000 sku=\"b\" n=1 buyer=\"me\"\n"
          "row ts=1000 sku=null n=1 buyer=\"me\"\n"
          "row ts=1000 sku=null n=1 buyer=\"me\"\n"
          "row ts=4000 sku=null n=5 buyer=null\n"
          "end 4 accepted, 0 rejected\n");
    take_back(&g);
}

static void a_list_with_a_wrong_element_is_rejected_as_a_whole(void **state)
{
    (void)state;
    struct given g;
    give(&g, each_columns, each_fields);
    check(&g,
          "{\"ts\":1,\"items\":[{\"sku\":\"a\"},{\"sku\":1}]}\n"
          "{\"ts\":2,\"items\":[{\"sku\":\"b\"}]}\n"
          "{\"items\":[]}\n"
          "{\"ts\":3,\"items\":{\"sku\":\"a\"}}\n",
          "row ts=2000 sku=\"b\" n=1 buyer=null\n"
          "bad 1:37 type field 'sku': expected a string, got 1\n"
          "bad 3:0 no_time field 'ts', the time, is missing or null\n"
          "bad 4:17 type field 'sku': expected a list that it is in, got "
          "{\"sku\":\"a\"}\n"
          "end 1 accepted, 3 rejected\n");
    take_back(&g);
}

/* The last list of a key counts, and so do the values beside it, wherever they stand. */
static void a_list_that_comes_twice_counts_once(void **state)
{
    (void)state;
    struct given g;
    give(&g, each_columns, each_fields);
    check(&g,
          "{\"items\":[{\"sku\":\"a\"}],\"ts\":1,\"items\":[{\"sku\":\"b\"},{\"sku\":"
          "\"c\"}],"
          "\"buyer\":{\"name\":\"x\"}}\n"
          "{\"items\":[{\"sku\":\"a\"}],\"ts\":1,\"items\":null}\n",
          "row ts=1000 sku=\"b\" n=1 buyer=\"x\"\n"
          "row ts=1000 sku=\"c\" n=1 buyer=\"x\"\n"
          "end 2 accepted, 0 rejected\n");
    take_back(&g);
}

/* More rows than a batch begins with, and than are left in it: the record moves on to the next as a whole. */
static void a_record_of_many_rows_goes_into_one_batch(void **state)
{
    (void)state;
    struct given g;
    struct decoder *d;
    struct batch *b;
    struct buffer body = {0};
    give(&g, each_columns, each_fields);
    g.o.record_max = 16 << 20;
    assert_int_equal(decoder_new(&g.o, DECODE_NDJSON, &d), 0);
    assert_int_equal(batch_new(g.schema, 0, &b), 0);
    for (int record = 0; record < 3; record++) {
        buffer_puts(&body, "{\"ts\":1,\"buyer\":{\"name\":\"somebody\"},\"items\":[");
        for (int i = 0; i < (record < 2 ? 40000 : 70000); i++)
            buffer_printf(&body, "%s{\"sku\":\"%d\",\"n\":%d}", i ? "," : "", i, i);
        buffer_puts(&body, "]}\n");
    }
    buffer_puts(&body, "{\"ts\":1,\"items\":[{}]}\n");
    const char *p = body.data;
    size_t n = body.size;
    decoder_reset(d, FIXTURE_NOW_US);
    for (int record = 0; record < 3; record++) {
        int r = decoder_feed(d, &p, &n, b);
        if (r == DECODE_DONE)
            r = decoder_finish(d, b);
        assert_int_equal(r, record < 2 ? DECODE_FULL : DECODE_DONE);
        assert_int_equal(b->n_rows, record < 2 ? 40000 : 1);
        for (uint32_t row = 0; record < 2 && row < b->n_rows; row++) {
            assert_int_equal(((const int64_t *)b->column[2].values)[row], row);
            assert_int_equal(b->column[3].offsets[row + 1], 8 * (row + 1));
        }
        batch_clear(b);
    }
    const struct decode_stats *s = decoder_stats(d);
    assert_int_equal(s->accepted, 3);
    assert_int_equal(s->by_reason[DECODE_TOO_LONG], 1);
    batch_unref(b);
    decoder_free(d);
    buffer_free(&body);
    take_back(&g);
}

/* ---- Paths that make no sense ----------------------------------------------------------------- */

static void check_refused(const char *a, const char *b, const char *text)
{
    struct schema *s = dump_schema("ts,a:int,b:int");
    struct decode_field f[3] = {{0}, {.path = strdup(a)}, {.path = strdup(b)}};
    struct paths *paths = NULL;
    struct error error = {0};
    size_t column;
    int r = paths_new(s, f, 0, &paths, &column, &error);
    if (r != -EINVAL || strcmp(error.text, text) != 0)
        fail_msg("%s, %s gave %d %s, not %s", a, b, r, error.text, text);
    free(f[1].path);
    free(f[2].path);
    schema_free(s);
}

static void paths_that_exclude_each_other_are_refused(void **state)
{
    (void)state;
    check_refused("x.y", "x", "another field reads a part of this value");
    check_refused("x", "x.y", "what it is in is read as a value by another field");
    check_refused("x", "x", "another field reads the same value");
    check_refused("x[0]", "x.y", "another field takes what it is in for a list");
    check_refused("x[*]", "y[*]", "one list of a stream can be a row each");
    check_refused("x[*][*]", "y", "one list of a stream can be a row each");
    check_refused("x.", "y", "a key is missing before ''");
    check_refused("[0]", "y", "a key is missing before '[0]'");
    check_refused("x[-1]", "y", "expected a number or * in [ ]");
    check_refused("x[1", "y", "expected ']'");
    check_refused("x[99999]", "y", "elements are numbered from 0 to 65535");
    check_refused("\"x", "y", "a quote is not closed");
    check_refused("x\"y\"", "y", "expected '.' or '[' before '\"y\"'");
    check_refused("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "y",
                  "a path has at most 16 steps");
    check_refused("ts", "y", "another field reads the same value");
}

/* ---- Lenient ---------------------------------------------------------------------------------- */

static void numbers_and_times_in_other_forms_are_taken_where_asked_for(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    static const char body[] =
        "{\"ts\":\"1700000000123\",\"price\":\"0.00100000\",\"qty\":\"-5\","
        "\"at\":\"2026-01-02T03:04+0100\"}\n"
        "{\"ts\":1,\"at\":\"2026-01-02 03:04:05.5-01\"}\n"
        "{\"ts\":1,\"at\":\"2026-01-02T03:04Z\"}\n"
        "{\"ts\":1,\"at\":\"1700000000000000\"}\n"
        "{\"ts\":1,\"qty\":\"\"}\n"
        "{\"ts\":1,\"qty\":\"1.5\"}\n"
        "{\"ts\":1,\"price\":\"12 \"}\n"
        "{\"ts\":1,\"ok\":\"true\"}\n"
        "{\"ts\":1,\"at\":\"2026-01-02T03\"}\n";
    o.lenient = DECODE_LENIENT_NUMBERS | DECODE_LENIENT_TIMES;
    /* times as Python's datetime has them */
    assert_string_equal(
        fixture_decode(&o, DECODE_NDJSON, body, sizeof(body) - 1),
        "row ts=1700000000123000 symbol=null price=0x1.0624dd2f1a9fcp-10 qty=-5 "
        "ok=null "
        "at=1767319440000000\n"
        "row ts=1000 symbol=null price=null qty=null ok=null at=1767326645500000\n"
        "row ts=1000 symbol=null price=null qty=null ok=null at=1767323040000000\n"
        "row ts=1000 symbol=null price=null qty=null ok=null at=1700000000000000\n"
        "bad 5:15 type field 'qty': expected a whole number, got \"\"\n"
        "bad 6:16 type field 'qty': expected a whole number, got 1.5\n"
        "bad 7:17 type field 'price': expected a number, got \"12 \"\n"
        "bad 8:14 type field 'ok': expected true or false, got \"true\"\n"
        "bad 9:15 type field 'at': expected an RFC 3339 time, got 2026-01-02T03\n"
        "end 4 accepted, 5 rejected\n");
    fixture_check_splits(&o, DECODE_NDJSON, body, sizeof(body) - 1);
    o.lenient = 0;
    const char *strict = fixture_decode(&o, DECODE_NDJSON, body, sizeof(body) - 1);
    assert_non_null(strstr(strict, "end 0 accepted, 9 rejected\n"));
    assert_non_null(strstr(strict,
                           "field 'ts': expected a time as a number (text wants "
                           "lenient: times), got \"1700000000123\"\n"));
    static const char wants[] = "{\"ts\":1,\"at\":\"2026-01-02T03:04Z\"}\n"
                                "{\"ts\":1,\"at\":\"2026-01-02T03\"}\n"
                                "{\"ts\":1,\"qty\":\"404\"}\n"
                                "{\"ts\":1,\"price\":\"0.25\"}\n"
                                "{\"ts\":1,\"price\":\"0.25 EUR\"}\n";
    assert_string_equal(
        fixture_decode(&o, DECODE_NDJSON, wants, sizeof(wants) - 1),
        "bad 1:15 type field 'at': expected an RFC 3339 time (such as this wants "
        "lenient: times), got 2026-01-02T03:04Z\n"
        "bad 2:15 type field 'at': expected an RFC 3339 time, got 2026-01-02T03\n"
        "bad 3:15 type field 'qty': expected a whole number (text wants lenient: "
        "numbers), got \"404\"\n"
        "bad 4:17 type field 'price': expected a number (text wants lenient: numbers), "
        "got \"0.25\"\n"
        "bad 5:17 type field 'price': expected a number, got \"0.25 EUR\"\n"
        "end 0 accepted, 5 rejected\n");
}

static void a_header_of_csv_has_the_names_that_the_fields_have_in_it(void **state)
{
    (void)state;
    struct given g;
    give(&g, columns, fields);
    static const char body[] = "user.id,times[1].at,log.level,extra,likes\n"
                               "a,1,warn,x,3\n"
                               "b,2,,x,\n";
    assert_string_equal(
        fixture_decode(&g.o, DECODE_CSV, body, sizeof(body) - 1),
        "row ts=1000 user=\"a\" zip=null kind=null level=\"warn\" likes=3\n"
        "row ts=2000 user=\"b\" zip=null kind=null level=\"info\" likes=7\n"
        "end 2 accepted, 0 rejected\n");
    take_back(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_gives_its_row_or_its_fault),
        cmocka_unit_test(each_form_gives_the_same_after_any_other),
        cmocka_unit_test(each_element_is_a_row),
        cmocka_unit_test(a_list_with_a_wrong_element_is_rejected_as_a_whole),
        cmocka_unit_test(a_list_that_comes_twice_counts_once),
        cmocka_unit_test(a_record_of_many_rows_goes_into_one_batch),
        cmocka_unit_test(paths_that_exclude_each_other_are_refused),
        cmocka_unit_test(numbers_and_times_in_other_forms_are_taken_where_asked_for),
        cmocka_unit_test(a_header_of_csv_has_the_names_that_the_fields_have_in_it),
    };
    return cmocka_run_group_tests_name("paths", tests, fixture_setup, fixture_teardown);
}
