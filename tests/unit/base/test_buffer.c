/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers and JSON output. Expected texts of numbers are those of repr() in Python.
 */
#include "base/buffer.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void put_json(struct buffer *b, const char *bytes, size_t size)
{
    buffer_clear(b);
    buffer_put_json_string(b, bytes, size);
}

static void bytes_are_kept_in_order(void **state)
{
    struct buffer b = {0};
    (void)state;
    assert_string_equal(buffer_text(&b), "");
    buffer_put(&b, "a\0b", 3);
    buffer_putc(&b, 'c');
    buffer_puts(&b, "de");
    buffer_printf(&b, "%d-%s", 42, "x");
    assert_int_equal(b.size, 10);
    assert_memory_equal(buffer_text(&b), "a\0bcde42-x", 11);
    assert_int_equal(b.size, 10);
    buffer_free(&b);
    assert_null(b.data);
    assert_int_equal(b.size, 0);
}

static void it_grows_over_many_writes(void **state)
{
    struct buffer b = {0};
    (void)state;
    for (int i = 0; i < 100000; i++)
        buffer_printf(&b, "%05d", i);
    assert_int_equal(b.error, 0);
    assert_int_equal(b.size, 500000);
    assert_memory_equal(b.data, "0000000001", 10);
    assert_memory_equal(b.data + b.size - 10, "9999899999", 10);
    buffer_free(&b);
}

static void a_write_over_the_limit_fails_and_the_error_stays(void **state)
{
    struct buffer b = {.limit = 4};
    (void)state;
    buffer_puts(&b, "abcd");
    assert_int_equal(b.error, 0);
    assert_string_equal(buffer_text(&b), "abcd"); /* the zero does not count */
    buffer_putc(&b, 'e');
    assert_int_equal(b.error, -EFBIG);
    assert_int_equal(b.size, 4);
    assert_string_equal(buffer_text(&b), "");
    buffer_clear(&b);
    buffer_puts(&b, "abcde");
    buffer_putc(&b, 'x'); /* would fit, but comes after a failure */
    assert_int_equal(b.error, -EFBIG);
    assert_int_equal(b.size, 0);
    buffer_clear(&b);
    buffer_putc(&b, 'x');
    assert_string_equal(buffer_text(&b), "x");
    buffer_free(&b);
}

static void json_strings_are_escaped(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *json;
    } known[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
        {"\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9,
         "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         3,
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xc3", 1, "\"\xef\xbf\xbd\""},                 /* cut */
        {"\xc0\x80", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""}, /* overlong */
        {"\xe0\x9f\xbf", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xf0\x8f\xbf\xbf", 4, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", 3, /* surrogate */
         "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xf4\x90\x80\x80", 4, /* above U+10FFFF */
         "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    struct buffer b = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++) {
        put_json(&b, known[i].bytes, known[i].size);
        assert_string_equal(buffer_text(&b), known[i].json);
    }
    buffer_free(&b);
}

/* Python: repr(v), without a ".0" at the end. */
static const struct {
    double v;
    const char *text;
} known_doubles[] = {
    {0x1.999999999999ap-4, "0.1"},
    {0x1.999999999999ap-3, "0.2"},
    {0x1.3333333333333p-2, "0.3"},
    {0x1.3333333333334p-2, "0.30000000000000004"},
    {0x1.5555555555555p-2, "0.3333333333333333"},
    {0x1.5555555555555p-1, "0.6666666666666666"},
    {0x1.7e43c8800759cp+996, "1e+300"},
    {0x1.fffffffffffffp+1023, "1.7976931348623157e+308"},
    {0x1.0000000000000p-1022, "2.2250738585072014e-308"},
    {0x0.0000000000001p-1022, "5e-324"},
    {0x0.00000000007e8p-1022, "1e-320"},
    {0x1.e240c9fbe76c9p+16, "123456.789"},
    {0x1.0f0cf064dd592p+73, "1e+22"},
    {0x1.52d02c7e14af6p+76, "1e+23"},
    {0x1.0000000000002p+52, "4503599627370498"},
    {0x1.1de784a000000p+28, "299792458"},
    {0x1.fe185ca57c517p+78, "6.02214076e+23"},
    {0x1.79ca10c924223p-63, "1.6e-19"},
    {-0x1.4000000000000p+1, "-2.5"},
    {0x1.86a0000000000p+16, "100000"},
    {0x1.a36e2eb1c432dp-14, "0.0001"},
    {0x1.4f8b588e368f1p-17, "1e-05"},
    {0x1.921fb54442d18p+1, "3.141592653589793"},
    {0x1.5bf0a8b145769p+1, "2.718281828459045"},
    {0x1.ad7f29abcaf48p-24, "1e-07"},
    {0x1.78c29dccccccdp+23, "12345678.9"},
    {-0x1.c0806705fca16p-353, "-9.548508409040584e-107"},
    {0x1.1621582283d15p-581, "1.3727162719547383e-175"},
    {0x1.821a4c74803e3p-353, "8.220049573381495e-107"},
    {-0x1.7107e855c3844p+369, "-1.73336951388566e+111"},
    {0x1.a92d864ac5db9p+494, "8.494708964028502e+148"},
    {-0x1.68a437d5c8dfcp-70, "-1.1932625513480043e-21"},
    {0x1.55d6807923986p+899, "5.643471623958227e+270"},
    {0x1.bc8d60b21fbacp+240, "3.068186913711019e+72"},
    {-0x1.a4aa2b410d93cp+403, "-3.394566963765668e+121"},
    {-0x1.43c25fbb230bbp-553, "-4.2893812496622665e-167"},
    {-0x1.3560d97dae38dp-703, "-2.8718579705907977e-212"},
    {-0x1.c06d864c2f2e3p-421, "-3.234628570576015e-127"},
    {0x1.8fef02b9c014ep-333, "8.928107471530137e-101"},
    {0x1.890c78092b4d4p-94, "7.751518962134485e-29"},
    {0x1.6324dfb695ffbp-973, "1.7377159311371022e-293"},
    {0x1.38131c541013dp-206, "1.18533039614711e-62"},
    {-0x1.ac8ce8a245e6bp+697, "-1.1006999387928028e+210"},
    {-0x1.fe8f8dc3bf364p-826, "-4.4568810870003366e-249"},
    {0x1.a5aa33b6fe507p+633, "5.871035296595969e+190"},
    {0x1.4f92283868a29p+385, "1.0329818526566707e+116"},
    {-0x1.33418f3d4e711p+400, "-3.099265647963264e+120"},
    {0x1.02cfa93ea5c4ep+424, "4.379870024434759e+127"},
    {-0x1.5b4617589a82bp+655, "-2.0280525593148235e+197"},
    {-0x1.24d4244ef7febp-371, "-2.378182898109223e-112"},
    {-0x1.3cecb8c497c68p-577, "-2.5026989805393096e-174"},
    {-0x1.9f87ff5059285p-84, "-8.391586553945958e-26"},
    {0x1.97bc701762741p+548, "1.4674955992328384e+165"},
    {-0x1.10487c89da11bp+439, "-1.5099024781488912e+132"},
    {-0x1.3b337d20b5d59p+839, "-4.5135074105853516e+252"},
    {-0x1.edca7e2dcaa37p+772, "-4.7913715151980556e+232"},
    {-0x1.33218bd91a1b7p-972, "-3.0055777005334847e-293"},
    {0x1.67d8fcf23cae8p-494, "2.748278870120666e-149"},
    {-0x1.3806984c81999p+113, "-1.265726859905256e+34"},
    {0x1.aae908fb5262cp-182, "2.7204293401433094e-55"},
    {-0x1.0cd576d14475bp+819, "-3.671220128921709e+246"},
    {0x1.97d0b0e5e18bap+947, "1.8950878025539994e+285"},
    {0x1.f576cdeb8fc4cp+470, "5.971697858821403e+141"},
    {-0x1.d3c9691eb79fap-801, "-1.370192019404491e-241"},
    {-0x1.642f43328ad08p+783, "-7.078183236533641e+235"},
    {0x1.495dd81355c53p+670, "6.302845443463175e+201"},
    {-0x1.d7171a272862fp+14, "-30149.77554"},
    {-0x1.4e47800000000p+17, "-171151"},
    {0x1.2c9d976b3bb84p+16, "76957.59148"},
    {-0x1.46fa000000000p+16, "-83706"},
    {0x1.296e5f0a3d70ap+19, "609138.97"},
    {0x1.8c8887ae147aep+16, "101512.53"},
    {0x1.608c3718388b6p+19, "722017.72170665"},
    {0x1.2222640275254p+19, "594195.1253"},
    {-0x1.c895366666666p+19, "-935081.7"},
    {-0x1.96ff800000000p+19, "-833532"},
    {-0x1.6f326ced91687p+16, "-94002.4255"},
    {-0x1.e924600000000p+18, "-500881.5"},
    {0x1.2251edc28f5c3p+19, "594575.43"},
    {-0x1.2fdc933333333p+18, "-311154.3"},
    {-0x1.44bc6c5460aa6p+19, "-665059.3853"},
    {0x1.abd199999999ap+15, "54760.8"},
    {0x1.31f840bac710dp+18, "313313.0114"},
    {-0x1.61e4bd6abde40p+16, "-90596.73991"},
    {-0x1.b64b333333333p+12, "-7012.7"},
    {-0x1.d1335b0813cacp+19, "-952730.844736"},
    {0x1.5f952b35e0a9cp-2, "0.34334247127859796"},
    {0x1.97a7ebcc08d60p-1, "0.7962030111852236"},
    {0x1.089f788debe72p-2, "0.2584208332654959"},
    {0x1.038a88732d40ap-2, "0.25345814898474883"},
    {0x1.75d68360a5bd7p-1, "0.730152230785161"},
    {0x1.f4170a0d61bf2p-1, "0.9767382756552918"},
    {0x1.ee5e5766c2f28p-1, "0.9655635178509998"},
    {0x1.ba03e96894c16p-2, "0.43165554714977483"},
    {0x1.f37bbd4155157p-1, "0.9755534307719625"},
    {0x1.cd90e40492c4cp-3, "0.22537401331860207"},
    {0x1.96d9d712bf422p-2, "0.3973153691475223"},
    {0x1.216416e016670p-5, "0.035326046636964814"},
    {0x1.eb77230a412b3p-1, "0.9598933172242908"},
    {0x1.c85d53da30846p-2, "0.4456685163423838"},
    {0x1.033af96b673b7p-1, "0.506309313164471"},
};

static void doubles_are_as_short_as_python_writes_them(void **state)
{
    struct buffer b = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(known_doubles); i++) {
        buffer_clear(&b);
        buffer_put_json_double(&b, known_doubles[i].v);
        assert_string_equal(buffer_text(&b), known_doubles[i].text);
    }
    buffer_free(&b);
}

static void doubles_read_back_as_the_same_bits(void **state)
{
    struct buffer b = {0};
    uint64_t bits = 88172645463325252u;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        double v, back;
        bits ^= bits << 13; /* Marsaglia's xorshift64 */
        bits ^= bits >> 7;
        bits ^= bits << 17;
        memcpy(&v, &bits, sizeof v);
        if (v != v || v - v != 0)
            continue;
        buffer_clear(&b);
        buffer_put_json_double(&b, v);
        back = strtod(buffer_text(&b), NULL);
        assert_memory_equal(&v, &back, sizeof v);
    }
    buffer_free(&b);
}

static void what_json_cannot_hold_is_null(void **state)
{
    const double v[] = {NAN, INFINITY, -INFINITY};
    struct buffer b = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(v); i++) {
        buffer_clear(&b);
        buffer_put_json_double(&b, v[i]);
        assert_string_equal(buffer_text(&b), "null");
    }
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_kept_in_order),
        cmocka_unit_test(it_grows_over_many_writes),
        cmocka_unit_test(a_write_over_the_limit_fails_and_the_error_stays),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(doubles_are_as_short_as_python_writes_them),
        cmocka_unit_test(doubles_read_back_as_the_same_bits),
        cmocka_unit_test(what_json_cannot_hold_is_null),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
