/* SPDX-License-Identifier: Apache-2.0
 *
 * HMAC (RFC 2104) with SHA-256.
 */
#include "hook/sign.h"
#include "base/base64.h"
#include "base/sha256.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BLOCK 64u /* bytes, of SHA-256 */

int sign_secret(const char *text, size_t size, struct buffer *ret)
{
    static const char prefix[] = "whsec_";
    const size_t n = sizeof(prefix) - 1;
    int err = 0;
    if (size >= n && memcmp(text, prefix, n) == 0)
        err = base64_take(text + n, size - n, ret);
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
        base64_put(to, sum, sizeof(sum));
    }
    buffer_free(&inner);
}
