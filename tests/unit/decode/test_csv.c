/* SPDX-License-Identifier: Apache-2.0
 *
 * CSV to rows.
 */
#include "fixture.h"

#define REST " ok=null at=null\n"

static const char *decode_csv(const char *body)
{
    struct decode_options o = fixture_options();
    return fixture_decode(&o, DECODE_CSV, body, strlen(body));
}

/* The cell of column `name` in the only row, or the reason that the row is rejected for. */
static const char *decode_cell(const char *name, const char *cell)
{
    static char shown[256];
    char body[1024], prefix[64];
    snprintf(body, sizeof body, "ts,%s\n1,%s\n", name, cell);
    const char *text = decode_csv(body);
    if (strncmp(text, "bad 2:", 6) == 0) {
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

static void header_decides_the_order(void **state)
{
    (void)state;
    assert_string_equal(
        decode_csv("qty,unknown,symbol,ts,price\n7,x,AB,1,1.5\n8,,CD,2,-2\n"),
        "row ts=1000 symbol=\"AB\" price=0x1.8p+0 qty=7" REST
        "row ts=2000 symbol=\"CD\" price=-0x1p+1 qty=8" REST
        "end 2 accepted, 0 rejected\n");
}

static void quoted_fields_hold_anything(void **state)
{
    (void)state;
    assert_string_equal(
        decode_csv("\"ts\",\"symbol\",\"q\"\"x\",qty\r\n"
                   "1,\"a, \"\"b\"\"\r\nc\",\"\",\"7\"\r\n"
                   "2,\"\",\"\"\"\",8\r\n"
                   "3,,,\r\n"),
        "row ts=1000 symbol=\"a, \\\"b\\\"\\r\\nc\" price=null qty=7" REST
        "row ts=2000 symbol=\"\" price=null qty=8" REST
        "row ts=3000 symbol=null price=null qty=null" REST
        "end 3 accepted, 0 rejected\n");
}

static void cells_are_checked_by_type(void **state)
{
    (void)state;
    static const struct {
        const char *column, *cell, *expected;
    } cases[] = {
        {"qty", "17", "17"},
        {"qty", "-17", "-17"},
        {"qty", "17.0", "17"},
        {"qty", "1e3", "1000"},
        {"qty", "9223372036854775807", "9223372036854775807"},
        {"qty", "9223372036854775808", "range"},
        {"qty", "17.5", "type"},
        {"qty", " 17", "type"},
        {"qty", "17 ", "type"},
        {"qty", "017", "type"},
        {"qty", "+17", "type"},
        {"qty", "0x11", "type"},
        {"qty", "true", "type"},
        {"qty", "\"\"", "type"},
        {"qty", "\"1\"\"2\"", "type"},
        {"qty", "", "null"},
        {"price", "0.1", "0x1.999999999999ap-4"},
        {"price", "1e400", "range"},
        {"price", "nan", "type"},
        {"price", "inf", "type"},
        {"price", "1,5", "fields"},
        {"ok", "true", "true"},
        {"ok", "false", "false"},
        {"ok", "1", "true"},
        {"ok", "0", "false"},
        {"ok", "\"1\"", "true"},
        {"ok", "yes", "type"},
        {"ok", "TRUE", "type"},
        {"ok", "\"\"", "type"},
        {"ok", "", "null"},
        {"symbol", "null", "\"null\""},
        {"symbol", "17", "\"17\""},
        {"symbol", "\\n", "\"\\\\n\""},
        {"symbol", "\xc3\xa9", "\"\xc3\xa9\""},
        {"symbol", "\xc3", "utf8"},
        {"symbol", "\"\xed\xa0\x80\"", "utf8"},
        {"at", "2023-11-14T22:13:20Z", "1700000000000000"},
        {"at", "2023-11-14 22:13:20", "1700000000000000"},
        {"at", "1700000000123456", "1700000000123456"},
        {"at", "-1", "-1"},
        {"at", "soon", "type"},
        {"at", "-", "type"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *got = decode_cell(cases[i].column, cases[i].cell);
        if (strcmp(got, cases[i].expected) != 0)
            fail_msg("%s: %s gave %s, expected %s", cases[i].column, cases[i].cell, got,
                     cases[i].expected);
    }
}

static void quotes_out_of_place_are_rejected_alone(void **state)
{
    (void)state;
    assert_string_equal(
        decode_csv("ts,symbol\n1,5\" pipe\n2,\"a\"b\n3,\"a\" \n4,\"ok\"\n5,x\n"),
        "row ts=4000 symbol=\"ok\" price=null qty=null" REST
        "row ts=5000 symbol=\"x\" price=null qty=null" REST
        "bad 2:4 syntax a quote in a field that does not begin with one\n"
        "bad 3:6 syntax expected ',' or the end of the line after a quoted field\n"
        "bad 4:6 syntax expected ',' or the end of the line after a quoted field\n"
        "end 2 accepted, 3 rejected\n");
    assert_string_equal(decode_csv("ts,symbol\n1,\"a\"\r,b\n2,c\r\n"),
                        "row ts=2000 symbol=\"c\" price=null qty=null" REST
                        "bad 2:7 syntax a carriage return behind a quoted field\n"
                        "end 1 accepted, 1 rejected\n");
}

static void quote_left_open_takes_the_rest(void **state)
{
    (void)state;
    assert_string_equal(decode_csv("ts,symbol\n1,a\n2,\"b\n3,c\n"),
                        "row ts=1000 symbol=\"a\" price=null qty=null" REST
                        "bad 3:0 syntax a quoted field is not closed\n"
                        "end 1 accepted, 1 rejected\n");
}

static void rows_need_all_fields(void **state)
{
    (void)state;
    assert_string_equal(decode_csv("ts,symbol,qty\n1,a\n2,a,1,2\n3,a,1\n4\n"),
                        "row ts=3000 symbol=\"a\" price=null qty=1" REST
                        "bad 2:0 fields expected 3 fields, got 2\n"
                        "bad 3:0 fields expected 3 fields, got 4\n"
                        "bad 5:0 fields expected 3 fields, got 1\n"
                        "end 1 accepted, 3 rejected\n");
}

static void blank_lines_are_skipped(void **state)
{
    (void)state;
    assert_string_equal(decode_csv("\n\r\nts,qty\n\n1,2\n\r\n3,x\n"),
                        "row ts=1000 symbol=null price=null qty=2" REST
                        "bad 7:3 type field 'qty': expected a whole number, got x\n"
                        "end 1 accepted, 1 rejected\n");
    assert_string_equal(decode_csv(""), "end 0 accepted, 0 rejected\n");
    assert_string_equal(decode_csv("ts"), "end 0 accepted, 0 rejected\n");
}

static void byte_order_mark_is_no_part_of_the_header(void **state)
{
    (void)state;
    const char *expected =
        "row ts=1000 symbol=null price=null qty=2" REST "end 1 accepted, 0 rejected\n";
    assert_string_equal(decode_csv("\xef\xbb\xbfts,qty\n1,2\n"), expected);
    assert_string_equal(decode_csv("\xef\xbb\xbf\"ts\",qty\n1,2\n"), expected);
    assert_string_equal(decode_csv("\xef\xbbts,qty\n1,2\n"),
                        "bad 1:1 utf8 byte 0xef is not valid UTF-8 here\n"
                        "end 0 accepted, 1 rejected\n");
}

static void wrong_header_ends_the_body(void **state)
{
    (void)state;
    assert_string_equal(decode_csv("symbol,qty\na,1\n"),
                        "bad 1:0 no_time the header does not name 'ts', the time\n"
                        "end 0 accepted, 1 rejected\n");
    assert_string_equal(decode_csv("ts;qty\n1;2\n"),
                        "bad 1:0 no_time the header does not name 'ts', the time; "
                        "values are separated by ',', not ';'\n"
                        "end 0 accepted, 1 rejected\n");
    assert_string_equal(decode_csv("ts,qty,price,qty\n1,2,3,4\n"),
                        "bad 1:14 fields the header names 'qty' twice\n"
                        "end 0 accepted, 1 rejected\n");
    assert_string_equal(
        decode_csv("ts,qty\r1,2\r3,4\r"), /* else all of it were a header, and lost */
        "bad 1:7 syntax a carriage return in the header; lines end in LF or CRLF\n"
        "end 0 accepted, 1 rejected\n");
    assert_string_equal(decode_csv("ts,other,other\n1,2,3\n"),
                        "row ts=1000 symbol=null price=null qty=null" REST
                        "end 1 accepted, 0 rejected\n");
    assert_string_equal(
        decode_csv("ts,\"qty\"x\n1,2\n"),
        "bad 1:9 syntax expected ',' or the end of the line after a quoted field\n"
        "end 0 accepted, 1 rejected\n");
    struct decode_options o = fixture_options();
    o.record_max = 8;
    const char body[] = "ts,symbol\n1,a\n";
    assert_string_equal(fixture_decode(&o, DECODE_CSV, body, strlen(body)),
                        "bad 1:0 too_long longer than the limit of 8 bytes\n"
                        "end 0 accepted, 1 rejected\n");
}

/* Rows with null keys, else, and nobody is told. */
static void header_that_nearly_names_a_field_ends_the_body(void **state)
{
    (void)state;
    assert_string_equal(
        decode_csv("ts, symbol\n1,a\n"),
        "bad 1:4 fields the header names ' symbol', the stream's field is 'symbol'\n"
        "end 0 accepted, 1 rejected\n");
    assert_string_equal(
        decode_csv("ts,price,Symbol\n1,2,a\n"),
        "bad 1:10 fields the header names 'Symbol', the stream's field is 'symbol'\n"
        "end 0 accepted, 1 rejected\n");
    assert_string_equal(
        decode_csv("TS,symbol\n1,a\n"),
        "bad 1:1 fields the header names 'TS', the stream's field is 'ts'\n"
        "end 0 accepted, 1 rejected\n");
    /* A field that is there, and another column that is called nearly so. */
    assert_string_equal(decode_csv("ts,qty,Qty,nothing\n1,2,3,4\n"),
                        "row ts=1000 symbol=null price=null qty=2" REST
                        "end 1 accepted, 0 rejected\n");
    struct decode_options o = fixture_options();
    o.time_unit = DECODE_ARRIVAL;
    const char none[] = "name,cpu\na,1\n";
    assert_string_equal(fixture_decode(&o, DECODE_CSV, none, strlen(none)),
                        "bad 1:0 no_fields the header names none of the stream's "
                        "fields, such as 'symbol'\n"
                        "end 0 accepted, 1 rejected\n");
}

static void times_are_text_or_numbers(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    const char ms[] = "ts\n1.5\n\n2023-11-14 22:13:20\n\"\"\n";
    assert_string_equal(fixture_decode(&o, DECODE_CSV, ms, strlen(ms)),
                        "row ts=1500 symbol=null price=null qty=null" REST
                        "bad 4:1 type field 'ts': expected a time as a number, got "
                        "2023-11-14 22:13:20\n"
                        "bad 5:2 type field 'ts': expected a time as a number, got \n"
                        "end 1 accepted, 2 rejected\n");
    o.time_unit = DECODE_RFC3339;
    const char text[] = "qty,ts\n1,2023-11-14 22:13:20\n2,1700000000\n3,\n"
                        "4,1700000000123.5\n5,01.11.2026 09:01\n";
    assert_string_equal(fixture_decode(&o, DECODE_CSV, text, strlen(text)),
                        "row ts=1700000000000000 symbol=null price=null qty=1" REST
                        "bad 3:3 no_time field 'ts': expected an RFC 3339 time "
                        "(numbers want unit: s), got 1700000000\n"
                        "bad 4:0 no_time field 'ts', the time, is missing or null\n"
                        "bad 5:3 no_time field 'ts': expected an RFC 3339 time "
                        "(numbers want unit: ms), got 1700000000123.5\n"
                        "bad 6:3 no_time field 'ts': expected an RFC 3339 time, got "
                        "01.11.2026 09:01\n"
                        "end 1 accepted, 4 rejected\n");
    o.time_unit = DECODE_ARRIVAL;
    const char arrival[] = "qty\n1\n";
    assert_string_equal(fixture_decode(&o, DECODE_CSV, arrival, strlen(arrival)),
                        "row ts=1800000000000000 symbol=null price=null qty=1" REST
                        "end 1 accepted, 0 rejected\n");
}

static void long_row_is_skipped_to_its_end(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    o.record_max = 20;
    const char body[] = "ts,symbol\n1,\"quoted\nand far too long\"\n2,a\n"
                        "3,\"quoted\nand far too long";
    assert_string_equal(fixture_decode(&o, DECODE_CSV, body, strlen(body)),
                        "row ts=2000 symbol=\"a\" price=null qty=null" REST
                        "bad 2:0 too_long longer than the limit of 20 bytes\n"
                        "bad 5:0 too_long longer than the limit of 20 bytes\n"
                        "end 1 accepted, 2 rejected\n");
}

static void more_fields_than_a_row_can_have(void **state)
{
    (void)state;
    struct buffer body = {0};
    struct decode_options o = fixture_options();
    o.record_max = 1u << 20;
    buffer_puts(&body, "ts,qty\n1");
    for (size_t i = 0; i < 5000; i++)
        buffer_puts(&body, ",\"x\"\"\"");
    buffer_puts(&body, "\n2,3\n");
    assert_string_equal(fixture_decode(&o, DECODE_CSV, body.data, body.size),
                        "row ts=2000 symbol=null price=null qty=3" REST
                        "bad 2:0 fields expected 2 fields, got 5001\n"
                        "end 1 accepted, 1 rejected\n");
    buffer_free(&body);
}

static void pieces_may_end_anywhere(void **state)
{
    (void)state;
    struct decode_options o = fixture_options();
    o.record_max = 100;
    const char body[] = "\xef\xbb\xbfqty,\"symbol\",ts,\"more \"\"\r\n\"\r\n"
                        "1,\"a\"\"\r\nb\",1,x\r\n2,\"\xc3\xa9\",2,\r\n\r\n3,\"bad\" "
                        ",3,\r\n4,\"\"\"\",4,\"\"\r\n"
                        "5,\"far too long far too long far too long far too long far\n "
                        "too long far too long far too "
                        "long far too long\",5,\n6,\xc3,6,\n7,a\"b,7,\n8,,8,\n9,\"end";
    fixture_check_splits(&o, DECODE_CSV, body, sizeof body - 1);
    fixture_check_splits(&o, DECODE_CSV, body,
                         sizeof body - 9); /* ends in a row without line feed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_decides_the_order),
        cmocka_unit_test(quoted_fields_hold_anything),
        cmocka_unit_test(cells_are_checked_by_type),
        cmocka_unit_test(quotes_out_of_place_are_rejected_alone),
        cmocka_unit_test(quote_left_open_takes_the_rest),
        cmocka_unit_test(rows_need_all_fields),
        cmocka_unit_test(blank_lines_are_skipped),
        cmocka_unit_test(byte_order_mark_is_no_part_of_the_header),
        cmocka_unit_test(wrong_header_ends_the_body),
        cmocka_unit_test(header_that_nearly_names_a_field_ends_the_body),
        cmocka_unit_test(times_are_text_or_numbers),
        cmocka_unit_test(long_row_is_skipped_to_its_end),
        cmocka_unit_test(more_fields_than_a_row_can_have),
        cmocka_unit_test(pieces_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
