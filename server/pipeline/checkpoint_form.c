/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether stored groups have the form that their definition says, without the plugins that made them.
 */
#include "pipeline/checkpoint.h"

#include "batch/keys.h"
#include "config/config.h"
#include "pipeline/stored.h"
#include "window/watermark.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The state of an analyzer, as its line of the definition says: analyzer NAME state=8 saved ... */
struct form {
    bool saved;
    uint64_t size;
};

/* The form in the first line of `text`; false: it is not the line of an analyzer. */
static bool read_line(const char *text, struct form *ret)
{
    static const char word[] = "analyzer ", size[] = " state=", saved[] = " saved";
    const char *end = text + strcspn(text, "\n");
    if (strncmp(text, word, sizeof(word) - 1) != 0)
        return false;
    const char *at = strstr(text, size);
    if (!at || at > end)
        return false;
    char *rest;
    ret->size = strtoull(at + sizeof(size) - 1, &rest, 10);
    ret->saved = strncmp(rest, saved, sizeof(saved) - 1) == 0;
    return true;
}

static const char *next_line(const char *text)
{
    text += strcspn(text, "\n");
    return *text ? text + 1 : text;
}

static bool pass_state(struct stored_bytes *r, const struct form *f)
{
    if (!f->saved)
        return stored_take(r, f->size);
    uint64_t size;
    const char *bytes = stored_take(r, sizeof(size));
    if (!bytes)
        return false;
    memcpy(&size, bytes, sizeof(size));
    return stored_take(r, size);
}

/* The first line says which windows these are: those by key have a span for each group. */
static bool has_spans(const char *definition)
{
    static const char word[] = "window ";
    if (strncmp(definition, word, sizeof(word) - 1) != 0)
        return false;
    for (size_t k = CONFIG_SESSION; k <= CONFIG_UNTIL; k++) {
        size_t size = strlen(config_window_word[k]);
        const char *at = definition + sizeof(word) - 1;
        if (strncmp(at, config_window_word[k], size) == 0 &&
            (at[size] == ' ' || at[size] == '\n'))
            return true;
    }
    return false;
}
static_assert(CONFIG_UNTIL - CONFIG_SESSION == 3, "those between are by key");

static bool pass_group(struct stored_bytes *r, const char *definition)
{
    static const struct form given = {.saved = true};
    struct stored_group head;
    struct stored_span span;
    struct form form;
    const bool spans = has_spans(definition);
    const char *bytes = stored_take(r, sizeof(head));
    if (!bytes)
        return false;
    memcpy(&head, bytes, sizeof(head));
    bool row = !spans && head.key_size & STORED_ROW;
    head.key_size &= spans ? UINT32_MAX : ~STORED_ROW;
    if (head.key_size > KEY_BYTES_MAX || !stored_take(r, head.key_size))
        return false;
    if (spans) {
        bytes = stored_take(r, sizeof(span));
        if (!bytes)
            return false;
        memcpy(&span, bytes, sizeof(span));
        row = span.given & SPAN_ROW;
    }
    for (const char *line = definition; *line; line = next_line(line))
        if (read_line(line, &form) && !pass_state(r, &form))
            return false;
    return !row || pass_state(r, &given);
}

int checkpoint_block_form(const char *definition, const char *data, size_t size,
                          uint64_t *ret_groups)
{
    struct stored_bytes r = {.at = data, .end = data + size};
    uint64_t groups = 0;
    for (; r.at < r.end; groups++)
        if (!pass_group(&r, definition))
            return -EBADMSG;
    *ret_groups = groups;
    return 0;
}

int checkpoint_marks_form(const char *marks, size_t size)
{
    struct stored_marks head;
    if (size < sizeof(head))
        return -EBADMSG;
    memcpy(&head, marks, sizeof(head));
    size_t known = sizeof(head) + head.n * sizeof(struct stored_source);
    bool fits = head.version == 1 && head.n <= WATERMARK_SOURCES &&
                (size == known || size == known + sizeof(uint64_t));
    return fits ? 0 : -EBADMSG;
}
