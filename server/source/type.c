/* SPDX-License-Identifier: Apache-2.0
 *
 * Content-Type and Weir-Source of a POST of events.
 */
#include "source/type.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static bool type_is(const char *type, size_t size, const char *expected)
{
    return strlen(expected) == size && strncasecmp(type, expected, size) == 0;
}

/* JSON is UTF-8; of the other character sets only ASCII is part of it. */
static bool type_charset(const char *parameters)
{
    const char *at = strcasestr(parameters, "charset=");
    if (!at)
        return true;
    at += strlen("charset=");
    if (*at == '"')
        at++;
    size_t size = strcspn(at, "\"; \t");
    return type_is(at, size, "utf-8") || type_is(at, size, "utf8") ||
           type_is(at, size, "us-ascii");
}

int type_format(const char *type, enum decode_format *ret)
{
    static const struct {
        const char *type;
        enum decode_format format;
    } known[] = {
        {"application/x-ndjson", DECODE_NDJSON},
        {"application/json", DECODE_JSON},
        {"text/csv", DECODE_CSV},
        {"application/ndjson", DECODE_NDJSON},
        {"application/jsonl", DECODE_NDJSON},
        {"application/x-www-form-urlencoded", DECODE_NDJSON},
        {"text/plain", DECODE_NDJSON},
    };
    if (!type) {
        *ret = DECODE_NDJSON;
        return 0;
    }
    size_t size = strcspn(type, "; \t");
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (!type_is(type, size, known[i].type) || !type_charset(type + size))
            continue;
        *ret = known[i].format;
        return 0;
    }
    return -EINVAL;
}

bool type_is_source_name(const char *name, size_t size)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    return size > 0 && size <= TYPE_SOURCE_NAME_MAX && strspn(name, allowed) == size;
}
