/* SPDX-License-Identifier: Apache-2.0
 *
 * `source:` of a stream: what weir reads itself, files.
 */
#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *const format_word[] = {"ndjson", "json", "csv", "lines"};
static const char *const begin_word[] = {"oldest", "newest"};

/* ---- The section ------------------------------------------------------------------------------- */

static int read_format(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    static const enum decode_format format[] = {DECODE_NDJSON, DECODE_JSON, DECODE_CSV,
                                                DECODE_LINES};
    struct config_source *s = target;
    (void)ctx;
    int r = node_word(n, format_word, COUNT(format_word), error);
    if (r < 0)
        return r;
    s->format = format[r];
    s->format_node = n;
    return 0;
}

static int read_begin(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    int r = node_word(n, begin_word, COUNT(begin_word), error);
    s->newest = r == 1;
    return r < 0 ? r : 0;
}

static int read_file(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_source *s = target;
    (void)ctx;
    return fields_text(n, &s->file, error);
}

static const struct field source_fields[] = {
    {"file", FIELD_CALL, .required = true, .read = read_file,
     .schema = FIELD_SCHEMA_TEXT},
    {"format", FIELD_CALL, .read = read_format, .words = format_word,
     .n_words = COUNT(format_word)},
    {"begin", FIELD_CALL, .read = read_begin, .words = begin_word,
     .n_words = COUNT(begin_word)},
    {"kafka", .type = FIELD_LATER},
};

void source_section_schema(struct buffer *to)
{
    fields_schema(source_fields, COUNT(source_fields), to);
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), n = strlen(end);
    return size >= n && !strcasecmp(text + size - n, end);
}

/* By the name, where `format` is not given. */
static int check_file(const struct node *n, struct config_source *s,
                      struct error *error)
{
    const struct node *at = node_get(n, "file");
    if (ends_with(s->file, ".gz") || ends_with(s->file, ".zst"))
        return node_error(at, error,
                          "a file that is written to cannot be packed; weir run reads "
                          "packed files");
    if (s->format_node && s->format == DECODE_JSON)
        return node_error(s->format_node, error,
                          "a file is read line by line: ndjson, csv or lines");
    if (s->format_node)
        return 0;
    if (ends_with(s->file, ".csv"))
        s->format = DECODE_CSV;
    else if (ends_with(s->file, ".lp"))
        s->format = DECODE_LINES;
    else if (ends_with(s->file, ".json"))
        return node_error(at, error,
                          "a JSON array is not read line by line; `format: ndjson` if "
                          "each line is an object");
    return 0;
}

int source_section(const struct node *n, struct config_source *ret, struct error *error)
{
    ret->node = n;
    ret->format = DECODE_NDJSON;
    if (n->kind != NODE_MAP)
        return node_expected(n, "{file: PATH}", error);
    int r = fields_read(source_fields, COUNT(source_fields), n, "'source'", ret, NULL,
                        error);
    return r == 0 ? check_file(n, ret, error) : r;
}

void source_section_free(struct config_source *s)
{
    free(s->file);
}
