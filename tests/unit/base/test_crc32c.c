/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32C against published values and, on random bytes, against the definition, a bit at a time.
 */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t by_bit(uint32_t crc, const unsigned char *p, size_t size)
{
    crc = ~crc;
    for (; size > 0; size--, p++) {
        crc ^= *p;
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* RFC 3720, B.4, where the bytes of the CRC stand in the order of transmission. */
static void published_values_come_out(void **state)
{
    unsigned char zeros[32] = {0}, ones[32], rising[32], falling[32];
    (void)state;
    memset(ones, 0xff, sizeof ones);
    for (unsigned char i = 0; i < 32; i++) {
        rising[i] = i;
        falling[i] = (unsigned char)(31 - i);
    }
    const struct {
        const void *bytes;
        size_t size;
        uint32_t crc;
    } known[] = {{zeros, 32, 0x8a9136aa},      {ones, 32, 0x62a8ab43},
                 {rising, 32, 0x46dd794e},     {falling, 32, 0x113fdb5c},
                 {"123456789", 9, 0xe3069283}, {"", 0, 0}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_int_equal(crc32c(0, known[i].bytes, known[i].size), known[i].crc);
        assert_int_equal(crc32c_by_table(0, known[i].bytes, known[i].size),
                         known[i].crc);
    }
}

static void any_bytes_in_any_pieces_give_the_same(void **state)
{
    enum { SIZE = 64 << 10 };
    unsigned char *bytes = malloc(SIZE);
    (void)state;
    assert_non_null(bytes);
    srand(1);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(rand() >> 7);
    for (int round = 0; round < 300; round++) {
        size_t from = (size_t)rand() % 64;
        size_t size = (size_t)rand() % (round % 2 ? 2000 : SIZE - 64);
        size_t cut = size ? (size_t)rand() % size : 0;
        const unsigned char *p = bytes + from;
        uint32_t want = by_bit(0, p, size);
        assert_int_equal(crc32c(0, p, size), want);
        assert_int_equal(crc32c_by_table(0, p, size), want);
        assert_int_equal(crc32c(crc32c(0, p, cut), p + cut, size - cut), want);
        assert_int_equal(
            crc32c_by_table(crc32c_by_table(0, p, cut), p + cut, size - cut), want);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values_come_out),
        cmocka_unit_test(any_bytes_in_any_pieces_give_the_same),
    };
    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
