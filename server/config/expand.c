/* SPDX-License-Identifier: Apache-2.0
 *
 * Variables of the environment in scalars.
 */
#include "config/expand.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_SIZE 128

/* Bytes of a variable's name at `p`. */
static size_t name_length(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && (isalpha((unsigned char)*p) || *p == '_' ||
                       (p > start && isdigit((unsigned char)*p))))
        p++;
    return (size_t)(p - start);
}

/* `p` stands behind "${", `close` at its '}'. */
static int expand_variable(const char *p, const char *close, struct buffer *out,
                           struct error *error)
{
    char name[NAME_MAX_SIZE];
    size_t length = name_length(p, close);
    const char *rest = p + length;
    int rest_size = (int)(close - rest);
    if (length == 0 || length >= sizeof name)
        return error_set(error, -EINVAL,
                         "'${' must be followed by the name of a variable "
                         "(a plain '${' is written '$${')");
    memcpy(name, p, length);
    name[length] = 0;
    bool with_default = rest_size >= 2 && memcmp(rest, ":-", 2) == 0;
    bool with_message = rest_size >= 2 && memcmp(rest, ":?", 2) == 0;
    if (rest_size > 0 && !with_default && !with_message)
        return error_set(
            error, -EINVAL,
            "'%.*s' cannot follow the name in '${%s': only ':-default' and "
            "':?message' can",
            rest_size, rest, name);

    const char *value = getenv(name);
    if (value && (*value || rest_size == 0)) {
        buffer_puts(out, value);
    } else if (with_default) {
        buffer_put(out, rest + 2, (size_t)rest_size - 2);
    } else if (with_message && rest_size > 2) {
        return error_set(error, -EINVAL, "%s: %.*s", name, rest_size - 2, rest + 2);
    } else if (!strcmp(name, "WEIR_SHARD") || !strcmp(name, "WEIR_PARTITIONS")) {
        return error_set(error, -EINVAL,
                         "the environment variable %s is not set: 'weir node' sets it "
                         "for each of its servers; for one of them: WEIR_SHARD=0 "
                         "WEIR_PARTITIONS=0 weir ...",
                         name);
    } else {
        return error_set(
            error, -EINVAL,
            "the environment variable %s is not set%s (a default is written "
            "'${%s:-value}')",
            name, with_message ? " or empty" : "", name);
    }
    return 0;
}

int expand(const char *text, size_t size, struct buffer *out, bool *ret_replaced,
           struct error *error)
{
    const char *p = text, *end = text + size;
    bool replaced = false;
    while (p < end) {
        const char *dollar = memchr(p, '$', (size_t)(end - p));
        if (!dollar || dollar + 1 == end)
            break;
        buffer_put(out, p, (size_t)(dollar - p));
        p = dollar + 2;
        if (dollar[1] == '{') {
            const char *close = memchr(p, '}', (size_t)(end - p));
            if (!close)
                return error_set(error, -EINVAL, "'${' without '}'");
            int r = expand_variable(p, close, out, error);
            if (r < 0)
                return r;
            replaced = true;
            p = close + 1;
        } else {
            buffer_putc(out, '$');
            if (dollar[1] != '$')
                p = dollar + 1;
        }
    }
    buffer_put(out, p, (size_t)(end - p));
    *ret_replaced = replaced;
    return out->error;
}
