/* SPDX-License-Identifier: Apache-2.0
 *
 * Small JSON answers, written front to back into a buffer.
 */
#include "api/jsonout.h"
#include "base/clock.h"

#include <inttypes.h>
#include <string.h>

/* A comma unless the value is the first of all or of its list or object. */
static void jsonout_begin(struct buffer *b, const char *name)
{
    char last = b->size ? b->data[b->size - 1] : '{';
    if (last != '{' && last != '[')
        buffer_putc(b, ',');
    if (name) {
        buffer_put_json_string(b, name, strlen(name));
        buffer_putc(b, ':');
    }
}

void jsonout_open(struct buffer *b, const char *name, char bracket)
{
    jsonout_begin(b, name);
    buffer_putc(b, bracket);
}

void jsonout_close(struct buffer *b, char bracket)
{
    buffer_putc(b, bracket);
}

void jsonout_string(struct buffer *b, const char *name, const char *value)
{
    jsonout_begin(b, name);
    if (value)
        buffer_put_json_string(b, value, strlen(value));
    else
        buffer_puts(b, "null");
}

void jsonout_count(struct buffer *b, const char *name, uint64_t value)
{
    jsonout_begin(b, name);
    buffer_printf(b, "%" PRIu64, value);
}

void jsonout_bool(struct buffer *b, const char *name, bool value)
{
    jsonout_begin(b, name);
    buffer_puts(b, value ? "true" : "false");
}

void jsonout_time(struct buffer *b, const char *name, int64_t us)
{
    char text[CLOCK_TEXT_MAX];
    bool known = us != INT64_MIN && us != INT64_MAX;
    if (known)
        clock_format(us, text);
    jsonout_string(b, name, known ? text : NULL);
}

void jsonout_duration(struct buffer *b, const char *name, int64_t us)
{
    char text[CLOCK_TEXT_MAX];
    if (us != INT64_MAX)
        clock_format_duration(us, text);
    jsonout_string(b, name, us != INT64_MAX ? text : NULL);
}
