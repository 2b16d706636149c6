/* SPDX-License-Identifier: Apache-2.0
 *
 * Idempotency-Key of one request.
 */
#include "source/repeat.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

static bool repeat_is_key(const char *key, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return false;
    return size >= 1 && size <= REQUEST_KEY_MAX;
}

int repeat_begin(struct repeat *p, const struct source_sink *sink, const char *key)
{
    p->size = 0;
    p->reserved = p->known = false;
    p->crc = 0;
    if (!key)
        return 0;
    size_t size = strlen(key);
    if (!repeat_is_key(key, size))
        return -EINVAL;
    int rc = sink->key_begin(sink->ctx, key, size, &p->was);
    if (rc < 0)
        return rc;
    memcpy(p->key, key, size);
    p->size = size;
    p->known = rc == 1;
    p->reserved = !p->known;
    return 0;
}

void repeat_piece(struct repeat *p, const char *data, size_t size)
{
    if (p->size)
        p->crc = (uint32_t)crc32_z(p->crc, (const unsigned char *)data, size);
}

uint64_t repeat_digest(const struct repeat *p, uint64_t size, enum decode_format format)
{
    return (uint64_t)p->crc << 32 | (uint32_t)(size * 3 + (uint64_t)format);
}

void repeat_taken(struct repeat *p)
{
    p->reserved = false;
}

void repeat_end(struct repeat *p, const struct source_sink *sink)
{
    if (p->reserved)
        sink->key_abandon(sink->ctx, p->key, p->size);
    if (p->known)
        request_answer_free(&p->was.answer);
    p->reserved = p->known = false;
}
