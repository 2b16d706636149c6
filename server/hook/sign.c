/* SPDX-License-Identifier: Apache-2.0
 *
 * HMAC (RFC 2104) with SHA-256, and base64 (RFC 4648).
 */
#include "hook/sign.h"
#include "base/sha256.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BLOCK 64u /* bytes, of SHA-256 */

static const char digit[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_base64(struct buffer *to, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += 3) {
        size_t n = size - i < 3 ? size - i : 3;
        uint32_t v = (uint32_t)bytes[i] << 16;
        v |= n > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        v |= n > 2 ? bytes[i + 2] : 0;
        for (size_t k = 0; k < 4; k++)
            buffer_putc(to, k <= n ? digit[v >> (18 - 6 * k) & 63] : '=');
    }
}

static int take_base64(const char *text, size_t size, struct buffer *ret)
{
    uint32_t v = 0;
    unsigned bits = 0;
    while (size > 0 && text[size - 1] == '=')
        size--;
    for (size_t i = 0; i < size; i++) {
        const char *at = text[i] ? strchr(digit, text[i]) : NULL;
        if (!at)
            return -EINVAL;
        v = v << 6 | (uint32_t)(at - digit);
        bits += 6;
        if (bits < 8)
            continue;
        bits -= 8;
        buffer_putc(ret, (char)(v >> bits & 255));
    }
    return size % 4 == 1 ? -EINVAL : 0;
}

int sign_secret(const char *text, size_t size, struct buffer *ret)
{
    static const char prefix[] = "whsec_";
    const size_t n = sizeof(prefix) - 1;
    int err = 0;
    if (size >= n && memcmp(text, prefix, n) == 0)
        err = take_base64(text + n, size - n, ret);
    else
        buffer_put(ret, text, size);
    return err ? err : ret->error ? ret->error : ret->size ? 0 : -EINVAL;
}

void sign_put(struct buffer *to, const struct buffer *secret, const char *id,
              int64_t time_s, const char *body, size_t size)
{
    uint8_t key[BLOCK] = {0}, outer[BLOCK + SHA256_SIZE], sum[SHA256_SIZE];
    struct buffer inner = {0};
    if (secret->size > BLOCK)
        sha256(secret->data, secret->size, key);
    else
        memcpy(key, secret->data, secret->size);
    for (size_t i = 0; i < BLOCK; i++) {
        buffer_putc(&inner, (char)(key[i] ^ 0x36));
        outer[i] = key[i] ^ 0x5c;
    }
    buffer_printf(&inner, "%s.%" PRId64 ".", id, time_s);
    buffer_put(&inner, body, size);
    if (inner.error) {
        to->error = to->error ? to->error : inner.error;
    } else {
        sha256(inner.data, inner.size, outer + BLOCK);
        sha256(outer, sizeof(outer), sum);
        buffer_puts(to, "v1,");
        put_base64(to, sum, sizeof(sum));
    }
    buffer_free(&inner);
}
