/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <errno.h>
#include <string.h>

static const char digit[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buffer *to, const void *from, size_t size)
{
    const uint8_t *bytes = from;
    for (size_t i = 0; i < size; i += 3) {
        size_t n = size - i < 3 ? size - i : 3;
        uint32_t v = (uint32_t)bytes[i] << 16;
        v |= n > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        v |= n > 2 ? bytes[i + 2] : 0;
        for (size_t k = 0; k < 4; k++)
            buffer_putc(to, k <= n ? digit[v >> (18 - 6 * k) & 63] : '=');
    }
}

int base64_take(const char *text, size_t size, struct buffer *ret)
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
