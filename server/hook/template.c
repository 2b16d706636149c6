/* SPDX-License-Identifier: Apache-2.0 */
#include "hook/template.h"
#include "query/rowout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct part { /* a text, and what stands behind it */
    const char *text;
    size_t size;
    int column; /* -1: a word; -2: nothing */
    enum template_word word;
};

struct template
{
    const struct schema *schema; /* the caller's */
    char *text;
    size_t n;
    struct part *part;
};

const char *const template_word_name[TEMPLATE_WORDS] = {
    [TEMPLATE_ID] = "id",       [TEMPLATE_KIND] = "kind",
    [TEMPLATE_SINCE] = "since", [TEMPLATE_PIPELINE] = "pipeline",
    [TEMPLATE_TABLE] = "table", [TEMPLATE_HOOK] = "hook",
};

/* The length of a name in braces that begins here; 0: it is none. */
static size_t name_size(const char *at)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char more[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    if (*at != '{' || !at[1] || !strchr(first, at[1]))
        return 0;
    size_t size = strspn(at + 1, more);
    return at[1 + size] == '}' && size < 64 ? size : 0;
}

static int find_name(const struct schema *schema, const char *name, struct part *ret)
{
    ret->column = schema_find(schema, name);
    if (ret->column >= 0)
        return 0;
    for (size_t i = 0; i < TEMPLATE_WORDS; i++)
        if (strcmp(template_word_name[i], name) == 0) {
            ret->word = (enum template_word)i;
            return 0;
        }
    return -EINVAL;
}

int template_new(const char *text, const struct schema *schema, struct template **ret,
                 char ret_unknown[64])
{
    size_t room = 1;
    for (const char *c = text; *c; c++)
        room += *c == '{';
    struct template *t = calloc(1, sizeof(*t));
    if (!t || !(t->text = strdup(text)) ||
        !(t->part = calloc(room, sizeof(*t->part)))) {
        template_free(t);
        return -ENOMEM;
    }
    t->schema = schema;
    const char *from = t->text;
    for (const char *at = from;; at++) {
        size_t size = name_size(at);
        if (*at && !size)
            continue;
        struct part *p = &t->part[t->n++];
        *p = (struct part){.text = from, .size = (size_t)(at - from), .column = -2};
        if (!*at)
            break;
        char name[64];
        memcpy(name, at + 1, size);
        name[size] = 0;
        if (find_name(schema, name, p)) {
            memcpy(ret_unknown, name, size + 1);
            template_free(t);
            return -EINVAL;
        }
        at += size + 1;
        from = at + 1;
    }
    *ret = t;
    return 0;
}

void template_free(struct template *t)
{
    if (!t)
        return;
    free(t->part);
    free(t->text);
    free(t);
}

/* Without the quotes around it. */
static void put_inside(struct buffer *to, size_t from)
{
    if (to->error || to->size < from + 2 || to->data[from] != '"')
        return;
    memmove(to->data + from, to->data + from + 1, to->size - from - 2);
    to->size -= 2;
}

void template_put(const struct template *t, const char *const value[TEMPLATE_WORDS],
                  sqlite3_stmt *row, struct buffer *to)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct part *p = &t->part[i];
        buffer_put(to, p->text, p->size);
        size_t from = to->size;
        if (p->column >= 0)
            rowout_put_value(to, row, p->column,
                             t->schema->column[(size_t)p->column].type);
        else if (p->column == -1)
            buffer_put_json_string(to, value[p->word], strlen(value[p->word]));
        put_inside(to, from);
    }
}
