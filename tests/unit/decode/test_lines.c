/* SPDX-License-Identifier: Apache-2.0
 *
 * Line protocol to rows.
 */
#include "fixture.h"

#define REST " ok=null at=null\n"

static const char *decode_lines(const char *body)
{
    struct decode_options o = fixture_options();
    return fixture_decode(&o, DECODE_LINES, body, strlen(body));
}

/* The cell of column `name` in the only row, or the reason that the line is rejected for. */
static const char *decode_cell(const char *name, const char *field)
{
    static char shown[256];
    char body[1024], prefix[64];
    snprintf(body, sizeof body, "m,symbol=S %s 1000\n", field);
    const char *text = decode_lines(body);
    if (strncmp(text, "bad 1:", 6) == 0) {
        sscanf(text + 6, "%*d %63s", prefix);
        return strcpy(shown, prefix);
    }
    snprintf(prefix, sizeof prefix, " %s=", name);
    const char *at = strstr(text, prefix);
    if (!at)
        fail_msg("%s gave\n%s", body, text);
    snprintf(shown, sizeof shown, "%s", at + strlen(prefix));
    shown[strcspn(shown, " \n")] = '\0';
    return shown;
}

static void tags_and_fields_are_columns(void **state)
{
    (void)state;
    assert_string_equal(
        decode_lines(
            "trades,symbol=AB,venue=X price=1.5,qty=7i,ok=t 1700000000123456789\n"
            "trades,symbol=CD,venue=X price=-2,qty=-8i,ok=f 1700000000123456789\n"
            "trades qty=1i\n"),
        "row ts=1700000000123456 symbol=\"AB\" price=0x1.8p+0 qty=7 ok=true at=null\n"
        "row ts=1700000000123456 symbol=\"CD\" price=-0x1p+1 qty=-8 ok=false at=null\n"
        "row ts=1800000000000000 symbol=null price=null qty=1" REST
        "end 3 accepted, 0 rejected\n");
}

static void backslashes_escape_what_separates(void **state)
{
    (void)state;
    assert_string_equal(
        decode_lines(
            "m\\,x,symbol=a\\ b\\,c\\=d\\e\\\\\\,f qty=1i 1000\n"
            "m,symbol=\"q\" qty=2i 1000\n"
            "m,sym\\=bol=x,\\ =y symbol=\"a \\\"b\\\" \\\\ \\n, =\",qty=3i 1000\n"),
        "row ts=1 symbol=\"a b,c=d\\\\e\\\\\\\\,f\" price=null qty=1" REST
        "row ts=1 symbol=\"\\\"q\\\"\" price=null qty=2" REST
        "row ts=1 symbol=\"a \\\"b\\\" \\\\ \\\\n, =\" price=null qty=3" REST
        "end 3 accepted, 0 rejected\n");
}

static void strings_hold_line_feeds(void **state)
{
    (void)state;
    assert_string_equal(decode_lines("m symbol=\"a\nb\",qty=1i 1000\n\n"
                                     "m symbol=\"\\\n\",qty=x 1000\n"
                                     "m qty=2i 1000"),
                        "row ts=1 symbol=\"a\\nb\" price=null qty=1" REST
                        "row ts=1 symbol=null price=null qty=2" REST
                        "bad 4:7 syntax expected a value\n"
                        "end 2 accepted, 1 rejected\n");
    assert_string_equal(decode_lines("m qty=1i 1000\nm symbol=\"open\nm qty=2i\n"),
                        "row ts=1 symbol=null price=null qty=1" REST
                        "bad 2:0 syntax a string is not closed\n"
                        "end 1 accepted, 1 rejected\n");
}

static void comments_and_empty_lines_are_nothing(void **state)
{
    (void)state;
    assert_string_equal(
        decode_lines(
            "# a comment, with s=\"a quote\n\n\r\n  \n  m   qty=1i   1000  \r\n"),
        "row ts=1 symbol=null price=null qty=1" REST "end 1 accepted, 0 rejected\n");
}

static void values_are_checked_by_type(void **state)
{
    static const struct {
        const char *column, *field, *expected;
    } cases[] = {
        {"price", "price=1", "0x1p+0"},
        {"price", "price=1i", "0x1p+0"},
        {"price", "price=1u", "0x1p+0"},
        {"price", "price=18446744073709551615u", "0x1p+64"},
        {"price", "price=.5", "0x1p-1"},
        {"price", "price=-.5", "-0x1p-1"},
        {"price", "price=1.", "0x1p+0"},
        {"price", "price=+1.5E2", "0x1.2cp+7"},
        {"price", "price=007.50", "0x1.ep+2"},
        {"price", "price=1e400", "range"},
        {"price", "price=NaN", "syntax"},
        {"price", "price=1.5.5", "syntax"},
        {"price", "price=1.5i", "syntax"},
        {"price", "price=-1u", "syntax"},
        {"price", "price=1ix", "syntax"},
        {"price", "price=\"1\"", "type"},
        {"price", "price=true", "type"},
        {"qty", "qty=9223372036854775807i", "9223372036854775807"},
        {"qty", "qty=9223372036854775808i", "range"},
        {"qty", "qty=9223372036854775808u", "range"},
        {"qty", "qty=17", "17"},
        {"qty", "qty=17.0", "17"},
        {"qty", "qty=17.5", "type"},
        {"qty", "qty=1i,qty=2i", "2"},
        {"ok", "ok=true", "true"},
        {"ok", "ok=TRUE", "true"},
        {"ok", "ok=T", "true"},
        {"ok", "ok=False", "false"},
        {"ok", "ok=tRUE", "syntax"},
        {"ok", "ok=1i", "type"},
        {"at", "at=5i", "5"},
        {"at", "at=\"1970-01-01T00:00:01Z\"", "1000000"},
        {"at", "at=\"yesterday\"", "type"},
        {"qty", "other=1i", "null"},
        {"symbol", "symbol=1", "type"},
        {"qty", "qty", "syntax"},
        {"qty", "qty=", "syntax"},
        {"qty", "=1i", "syntax"},
        {"qty", "qty=1i,", "syntax"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *got = decode_cell(cases[i].column, cases[i].field);
        if (strcmp(got, cases[i].expected) != 0)
            fail_msg("%s gave %s", cases[i].field, got);
    }
}

static void tags_of_other_types_are_read_as_text(void **state)
{
    (void)state;
    assert_string_equal(decode_lines("m,qty=7,price=2.5,ok=true symbol=\"x\" 1000\n"
                                     "m,qty=7x symbol=\"x\" 1000\n"),
                        "row ts=1 symbol=\"x\" price=0x1.4p+1 qty=7 ok=true at=null\n"
                        "bad 2:7 type field 'qty': expected a whole number, got 7x\n"
                        "end 1 accepted, 1 rejected\n");
}

static void bad_lines_are_rejected_alone(void **state)
{
    (void)state;
    assert_string_equal(
        decode_lines(
            "m\nm,symbol=A\n,a=b qty=1i\nm,symbol= qty=1i\nm,symbol=a=b qty=1i\n"
            "m qty=1i yesterday\nm qty=1i 5 6\nm qty=1i 999999999999999999999999\n"
            "m unknown=1\nm,symbol=\xff qty=1i\nm qty=1i 2000\n"),
        "row ts=2 symbol=null price=null qty=1" REST
        "bad 1:2 syntax the line has no fields\n"
        "bad 2:11 syntax the line has no fields\n"
        "bad 3:1 syntax expected a measurement\n"
        "bad 4:10 syntax expected the value of a tag\n"
        "bad 5:11 syntax an equals sign in a tag needs a backslash\n"
        "bad 6:10 no_time expected a time, a whole number, behind the fields\n"
        "bad 7:12 syntax unexpected text behind the time\n"
        "bad 8:10 range field 'ts': expected a time within 146000 years of 1970, got "
        "999999999999999999999999\n"
        "bad 9:0 no_fields none of the stream's fields is in the line, such as "
        "'symbol'\n"
        "bad 10:10 utf8 byte 0xff is not valid UTF-8 here\n"
        "end 1 accepted, 10 rejected\n");
}

static void times_are_of_the_precision_asked_for(void **state)
{
    static const struct {
        enum decode_unit unit;
        const char *line, *expected;
    } cases[] = {
        {DECODE_S, "m qty=1i 1700000000\n", "1700000000000000"},
        {DECODE_MS, "m qty=1i 1700000000123\n", "1700000000123000"},
        {DECODE_US, "m qty=1i 1700000000123456\n", "1700000000123456"},
        {DECODE_NS, "m qty=1i 1700000000123456999\n", "1700000000123456"},
        {DECODE_NS, "m qty=1i -1500\n", "-1"},
        {DECODE_MS, "m qty=1i 99999999999999999\n", "range"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct decode_options o = fixture_options();
        struct decoder *d = NULL;
        struct buffer text = {0};
        char expected[64];
        assert_int_equal(decoder_new(&o, DECODE_LINES, &d), 0);
        decoder_precision(d, cases[i].unit);
        decoder_reset(d, FIXTURE_NOW_US);
        dump_decode(d, o.schema, cases[i].line, strlen(cases[i].line), NULL, 0, &text);
        snprintf(expected, sizeof expected, "%s%s ",
                 cases[i].expected[0] == 'r' ? " " : "ts=", cases[i].expected);
        if (!strstr(buffer_text(&text), expected))
            fail_msg("%s gave\n%s", cases[i].line, buffer_text(&text));
        buffer_free(&text);
        decoder_free(d);
    }
}

static void arrival_is_the_time_where_the_stream_says_so(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    static const char body[] = "m qty=1i 5\nm qty=2i\nm qty=3i x\n";
    o.time_unit = DECODE_ARRIVAL;
    assert_string_equal(
        fixture_decode(&o, DECODE_LINES, body, strlen(body)),
        "row ts=1800000000000000 symbol=null price=null qty=1" REST
        "row ts=1800000000000000 symbol=null price=null qty=2" REST
        "bad 3:10 no_time expected a time, a whole number, behind the fields\n"
        "end 2 accepted, 1 rejected\n");
}

static void pieces_make_no_difference(void **state)
{
    static const char body[] =
        "trades,symbol=AB,venue=X price=1.5,qty=7i,ok=t 1700000000123456789\n"
        "trades,symbol=CD,venue=X price=1.5,qty=8i,ok=t 1700000000123456789\n"
        "# comment\n\n"
        "trades,symbol=a\\ b note=\"line\nfeed \\\" \\\\\",qty=9i 1700000000123456789\n"
        "trades,symbol=bad qty=x,note=\"a\nb\" 1700000000123456789\r\n"
        "trades,symbol=\xc3\xa4 qty=10i,x=1,y=2i,z=\"s\",w=t\n"
        "trades qty=11i 1700000000123456789";
    struct decode_options o = fixture_options();
    (void)state;
    fixture_check_splits(&o, DECODE_LINES, body, strlen(body));
    o.record_max = 60;
    fixture_check_splits(&o, DECODE_LINES, body, strlen(body));
}

/* ---- Several streams ---- */

struct routing {
    struct decoder *decoder[2];
    struct batch *batch[2];
    unsigned rooms;
};

static int routing_find(void *ctx, const char *name, size_t size, struct decoder **ret)
{
    struct routing *r = ctx;
    if (size == 5 && memcmp(name, "one,1", 5) == 0)
        *ret = r->decoder[0];
    if (size == 3 && memcmp(name, "two", 3) == 0)
        *ret = r->decoder[1];
    return 0;
}

static int routing_room(void *ctx, struct decoder *d)
{
    struct routing *r = ctx;
    unsigned i = d == r->decoder[1];
    r->rooms++;
    decoder_out(d, r->batch[i]);
    return 0;
}

static void measurements_choose_the_stream(void **state)
{
    static const char body[] = "two qty=1i 1000\none\\,1,symbol=A qty=2i 2000\n"
                               "two qty=3i,x=1 3000\nthree qty=4i 4000\nthree \n"
                               "two qty=true 5000\n,\n# two\ntwo qty=5i 6000\n";
    struct decode_options o = fixture_options();
    struct routing r = {0};
    const struct decode_route route = {routing_find, routing_room, &r};
    struct decoder *router = NULL;
    struct buffer rows = {0};
    const char *p = body;
    size_t n = strlen(body);
    (void)state;
    assert_int_equal(decoder_new(&o, DECODE_LINES, &router), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(decoder_new(&o, DECODE_LINES, &r.decoder[i]), 0);
        assert_int_equal(batch_new(o.schema, 16, &r.batch[i]), 0);
    }
    decoder_set_route(router, &route);
    assert_int_equal(decoder_feed(router, &p, &n, NULL), DECODE_DONE);
    assert_int_equal(decoder_finish(router, NULL), DECODE_DONE);
    for (int i = 0; i < 2; i++) {
        for (uint32_t row = 0; row < r.batch[i]->n_rows; row++) {
            dump_row(&rows, r.batch[i], row);
            buffer_putc(&rows, '\n');
        }
        buffer_puts(&rows, "-\n");
    }
    assert_string_equal(buffer_text(&rows),
                        "ts=2 symbol=\"A\" price=null qty=2" REST "-\n"
                        "ts=1 symbol=null price=null qty=1" REST
                        "ts=3 symbol=null price=null qty=3" REST
                        "ts=6 symbol=null price=null qty=5" REST "-\n");
    const struct decode_stats *all = decoder_stats(router),
                              *two = decoder_stats(r.decoder[1]);
    assert_int_equal(r.rooms, 2);
    assert_int_equal(all->accepted, 4);
    assert_int_equal(all->rejected, 2);
    assert_int_equal(all->unrouted, 2);
    assert_int_equal(all->errors[0].line, 6);
    assert_int_equal(all->errors[1].line, 7);
    assert_int_equal(two->accepted, 3);
    assert_int_equal(two->rejected, 1);
    assert_int_equal(two->skipped, 1);
    assert_int_equal(two->errors[0].line, 6);
    buffer_free(&rows);
    for (int i = 0; i < 2; i++) {
        decoder_free(r.decoder[i]);
        batch_unref(r.batch[i]);
    }
    decoder_free(router);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_and_fields_are_columns),
        cmocka_unit_test(backslashes_escape_what_separates),
        cmocka_unit_test(strings_hold_line_feeds),
        cmocka_unit_test(comments_and_empty_lines_are_nothing),
        cmocka_unit_test(values_are_checked_by_type),
        cmocka_unit_test(tags_of_other_types_are_read_as_text),
        cmocka_unit_test(bad_lines_are_rejected_alone),
        cmocka_unit_test(times_are_of_the_precision_asked_for),
        cmocka_unit_test(arrival_is_the_time_where_the_stream_says_so),
        cmocka_unit_test(pieces_make_no_difference),
        cmocka_unit_test(measurements_choose_the_stream),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
