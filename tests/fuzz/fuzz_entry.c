/* SPDX-License-Identifier: Apache-2.0
 *
 * The payload of a journal's frame, as the log reads it. The first byte is the number of positions it
 * says to have, the payload begins at the eighth.
 */
#include "log/entry.h"

#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void broken(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static struct schema *wanted(void)
{
    static struct schema *s;
    if (!s && (schema_new(3, "ts", &s) || schema_set(s, 1, "n", WEIR_INT) ||
               schema_set(s, 2, "s", WEIR_STRING)))
        broken("no schema");
    return s;
}

struct seen {
    uint64_t position;
};

static int on_entry(void *ctx, struct log_entry *e)
{
    struct seen *s = ctx;
    if (e->position != ++s->position || e->source >= LOG_SOURCES_MAX)
        broken("position or source");
    if (e->kind == LOG_BATCH)
        batch_seal(e->batch);
    else if (e->pipeline && strlen(e->pipeline) >= 256)
        broken("a name");
    log_entry_unref(e);
    return 0;
}

static int on_source(void *ctx, uint32_t number, const char *name, size_t size)
{
    (void)ctx;
    if (number == 0 || number >= LOG_SOURCES_MAX || size == 0 || memchr(name, 0, size))
        broken("a source");
    return 0;
}

static int on_request_id(void *ctx, const struct request_id *key, int64_t taken_us)
{
    (void)ctx, (void)taken_us;
    unsigned char sum = 0;
    if (key->size == 0 || key->size > REQUEST_KEY_MAX)
        broken("a key");
    for (size_t i = 0; i < key->size; i++) /* a sanitizer sees what lies outside */
        sum += (unsigned char)key->key[i];
    for (size_t i = 0; i < key->answer.errors_size; i++)
        sum += (unsigned char)key->answer.errors[i];
    __asm__ volatile("" ::"r"(sum));
    return 0;
}

static int on_bookmark(void *ctx, uint32_t source, const char *bookmark, size_t size)
{
    (void)ctx;
    if (source >= LOG_SOURCES_MAX || !size || size > REQUEST_BOOKMARK_MAX ||
        memchr(bookmark, 0, size))
        broken("a bookmark");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8)
        return 0;
    struct seen seen = {0};
    const struct entry_calls calls = {.entry = on_entry,
                                      .source = on_source,
                                      .key = on_request_id,
                                      .bookmark = on_bookmark,
                                      .ctx = &seen};
    const struct journal_frame frame = {
        .first = 1, .n = data[0], .payload = (const char *)data + 8, .size = size - 8};
    struct codec_map *map = NULL;
    int r = entry_read(&frame, 0, UINT64_MAX, wanted(), &map, &calls);
    if (r != 0 && r != -EBADMSG)
        broken("neither taken nor refused");
    if (r == 0 && seen.position != frame.n)
        broken("another number of positions");
    codec_map_free(map);
    return 0;
}
