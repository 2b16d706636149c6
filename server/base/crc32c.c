/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32C by the crc32 instruction of SSE 4.2, or by tables, eight bytes a step (Kounavis, Berry:
 * A systematic approach to building high performance software-based CRC generators, 2005).
 *
 * The instruction has a latency of three cycles and can begin in each, so three stretches are computed
 * side by side and put together: the CRC of A and B is that of A, moved over as many zeros as B has
 * bytes, exclusive-or that of B (Adler: crc32c.c, 2013).
 */
#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL UINT32_C(0x82f63b78) /* reflected: bit 31 is x^0 */
#define LONG       4096u                /* bytes of a stretch */
#define SHORT      256u

static pthread_once_t tables_once = PTHREAD_ONCE_INIT;
static uint32_t table[8][256]; /* [k][b]: b and k zeros */

static uint32_t one_bit(uint32_t crc)
{
    return crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
}

#if defined(__x86_64__)

static uint32_t over_long[4][256], over_short[4][256]; /* byte i of a CRC moved on */
static bool have_instruction;

/* Fills in what each byte of a CRC becomes behind `zeros` zeros. */
static void make_over(uint32_t over[4][256], unsigned zeros)
{
    uint32_t bit[32];
    for (unsigned i = 0; i < 32; i++) {
        bit[i] = UINT32_C(1) << i;
        for (unsigned k = 0; k < zeros; k++)
            bit[i] = table[0][bit[i] & 0xff] ^ bit[i] >> 8;
    }
    for (unsigned i = 0; i < 4; i++)
        for (unsigned b = 0; b < 256; b++) {
            over[i][b] = 0;
            for (unsigned k = 0; k < 8; k++)
                over[i][b] ^= b >> k & 1 ? bit[i * 8 + k] : 0;
        }
}

#endif

static void make_tables(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (unsigned k = 0; k < 8; k++)
            crc = one_bit(crc);
        table[0][b] = crc;
    }
    for (unsigned k = 1; k < 8; k++)
        for (unsigned b = 0; b < 256; b++)
            table[k][b] = table[0][table[k - 1][b] & 0xff] ^ table[k - 1][b] >> 8;
#if defined(__x86_64__)
    make_over(over_long, LONG);
    make_over(over_short, SHORT);
    __builtin_cpu_init();
    have_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

static uint64_t load(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    pthread_once(&tables_once, make_tables);
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t v = load(p) ^ crc;
        crc = 0;
        for (unsigned k = 0; k < 8; k++, v >>= 8)
            crc ^= table[7 - k][v & 0xff];
    }
    for (; size > 0; size--, p++)
        crc = table[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    return ~crc;
}

#if defined(__x86_64__)

static inline uint32_t move_over(const uint32_t over[4][256], uint64_t crc)
{
    return over[0][crc & 0xff] ^ over[1][crc >> 8 & 0xff] ^ over[2][crc >> 16 & 0xff] ^
           over[3][crc >> 24 & 0xff];
}

/* Three stretches of `length` bytes, a multiple of 8. */
__attribute__((target("sse4.2"))) static inline uint64_t
three(uint64_t a, const unsigned char *p, size_t length, const uint32_t over[4][256])
{
    uint64_t b = 0, c = 0;
    for (const unsigned char *end = p + length; p < end; p += 8) {
        a = __builtin_ia32_crc32di(a, load(p));
        b = __builtin_ia32_crc32di(b, load(p + length));
        c = __builtin_ia32_crc32di(c, load(p + 2 * length));
    }
    b ^= move_over(over, a);
    return c ^ move_over(over, b);
}

__attribute__((target("sse4.2"))) static uint32_t
crc32c_by_instruction(uint32_t crc, const unsigned char *p, size_t size)
{
    uint64_t a = (uint32_t)~crc;
    for (; size >= 3 * LONG; size -= 3 * LONG, p += 3 * LONG)
        a = three(a, p, LONG, over_long);
    for (; size >= 3 * SHORT; size -= 3 * SHORT, p += 3 * SHORT)
        a = three(a, p, SHORT, over_short);
    for (; size >= 8; size -= 8, p += 8)
        a = __builtin_ia32_crc32di(a, load(p));
    uint32_t rest = (uint32_t)a;
    for (; size > 0; size--, p++)
        rest = __builtin_ia32_crc32qi(rest, *p);
    return ~rest;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t size)
{
    pthread_once(&tables_once, make_tables);
    return have_instruction ? crc32c_by_instruction(crc, bytes, size)
                            : crc32c_by_table(crc, bytes, size);
}

#elif defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

uint32_t crc32c(uint32_t crc, const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8)
        crc = __crc32cd(crc, load(p));
    for (; size > 0; size--, p++)
        crc = __crc32cb(crc, *p);
    return ~crc;
}

#else

uint32_t crc32c(uint32_t crc, const void *bytes, size_t size)
{
    return crc32c_by_table(crc, bytes, size);
}

#endif
