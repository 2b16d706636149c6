/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/paths.h"

#include <errno.h>
#include <stdlib.h>

/* One step of a path, read off its front. */
struct step {
    bool in_list, each;
    uint32_t element;
    char *key;
    size_t size;
};

static int no_memory(struct error *error)
{
    return error_set(error, -ENOMEM, "no memory");
}

/* "a key", with \" and \\ in it. */
static int read_quoted(const char **at, struct step *ret, struct error *error)
{
    const char *p = *at + 1;
    for (; *p && *p != '"'; p++) {
        if (*p == '\\' && p[1])
            p++;
        ret->key[ret->size++] = *p;
    }
    if (!*p)
        return error_set(error, -EINVAL, "a quote is not closed");
    *at = p + 1;
    return 0;
}

static int read_key(const char **at, struct step *ret, struct error *error)
{
    ret->key = malloc(strlen(*at) + 1);
    if (!ret->key)
        return no_memory(error);
    int r = 0;
    if (**at == '"') {
        r = read_quoted(at, ret, error);
    } else {
        ret->size = strcspn(*at, ".[]\"");
        memcpy(ret->key, *at, ret->size);
        *at += ret->size;
        if (ret->size == 0)
            r = error_set(error, -EINVAL, "a key is missing before '%.20s'", *at);
    }
    ret->key[ret->size] = 0;
    return r;
}

static int read_element(const char **at, struct step *ret, struct error *error)
{
    const char *p = *at + 1;
    ret->in_list = true;
    if (*p == '*') {
        ret->each = true;
        p++;
    } else {
        if (*p < '0' || *p > '9')
            return error_set(error, -EINVAL, "expected a number or * in [ ]");
        while (*p >= '0' && *p <= '9' && ret->element <= PATHS_ELEMENT_MAX)
            ret->element = ret->element * 10 + (uint32_t)(*p++ - '0');
        if (ret->element > PATHS_ELEMENT_MAX)
            return error_set(error, -EINVAL, "elements are numbered from 0 to %d",
                             PATHS_ELEMENT_MAX);
    }
    if (*p != ']')
        return error_set(error, -EINVAL, "expected ']'");
    *at = p + 1;
    return 0;
}

/* The next step; behind a key or an element stands nothing, a dot, or a bracket. */
static int read_step(const char **at, bool first, struct step *ret, struct error *error)
{
    *ret = (struct step){0};
    if (!first && **at == '[')
        return read_element(at, ret, error);
    if (!first && **at != '.')
        return error_set(error, -EINVAL, "expected '.' or '[' before '%.20s'", *at);
    if (!first)
        (*at)++;
    return read_key(at, ret, error);
}

/* ---- The tree --------------------------------------------------------------------------------- */

static int add_node(struct paths *t, uint16_t parent, uint16_t *ret)
{
    if (t->n == t->room) {
        size_t room = t->room ? 2 * t->room : 16;
        struct paths_node *node = realloc(t->node, room * sizeof(*node));
        if (!node)
            return -ENOMEM;
        t->node = node;
        t->room = room;
    }
    t->node[t->n] = (struct paths_node){.parent = parent,
                                        .child = PATHS_NONE,
                                        .next = PATHS_NONE,
                                        .column = PATHS_NONE};
    *ret = (uint16_t)t->n++;
    return 0;
}

static uint16_t find_step(const struct paths *t, uint16_t parent, const struct step *s)
{
    if (!s->in_list)
        return paths_find(t, parent, s->key, s->size);
    uint16_t i = t->node[parent].child;
    while (i != PATHS_NONE &&
           (t->node[i].each != s->each || t->node[i].element != s->element))
        i = t->node[i].next;
    return i;
}

/* The node behind a step, made if need be; takes its key. */
static int take_step(struct paths *t, uint16_t parent, struct step *s, uint16_t *ret,
                     struct error *error)
{
    struct paths_node *p = &t->node[parent];
    enum paths_kind kind = s->in_list ? PATHS_LIST : PATHS_OBJECT;
    bool empty = p->child == PATHS_NONE;
    if (p->column != PATHS_NONE && p->kind == PATHS_COLUMN)
        return error_set(error, -EINVAL,
                         "what it is in is read as a value by another field");
    if (!empty && p->kind != kind)
        return error_set(error, -EINVAL, "another field takes what it is in for %s",
                         p->kind == PATHS_LIST ? "a list" : "an object");
    p->kind = kind;
    *ret = find_step(t, parent, s);
    if (*ret != PATHS_NONE)
        return 0;
    if (s->each && t->each != PATHS_NONE)
        return error_set(error, -EINVAL, "one list of a stream can be a row each");
    if (add_node(t, parent, ret) < 0)
        return no_memory(error);
    struct paths_node *node = &t->node[*ret];
    node->key = s->key;
    node->size = (uint32_t)s->size;
    node->element = s->element;
    node->each = s->each;
    s->key = NULL;
    node->next = t->node[parent].child;
    t->node[parent].child = *ret;
    if (s->each)
        t->each = *ret;
    return 0;
}

static int end_path(struct paths *t, uint16_t at, size_t column, struct error *error)
{
    struct paths_node *node = &t->node[at];
    if (node->child != PATHS_NONE)
        return error_set(error, -EINVAL, "another field reads a part of this value");
    if (node->column != PATHS_NONE)
        return error_set(error, -EINVAL, "another field reads the same value");
    node->kind = PATHS_COLUMN;
    for (uint16_t i = at; i != PATHS_NONE; i = t->node[i].parent) {
        t->node[i].below[column / 64] |= UINT64_C(1) << (column % 64);
        if (t->node[i].column == PATHS_NONE)
            t->node[i].column = (uint16_t)column;
    }
    return 0;
}

static int add_path(struct paths *t, const char *text, size_t column,
                    struct error *error)
{
    uint16_t at = PATHS_ROOT;
    const char *p = text;
    int r = 0;
    for (unsigned n = 0; r == 0 && (n == 0 || *p); n++) {
        struct step s = {0};
        r = n < PATHS_STEPS_MAX
                ? read_step(&p, n == 0, &s, error)
                : error_set(error, -EINVAL, "a path has at most %d steps",
                            PATHS_STEPS_MAX);
        if (r == 0)
            r = take_step(t, at, &s, &at, error);
        free(s.key);
    }
    return r < 0 ? r : end_path(t, at, column, error);
}

/* A key of the record, as it stands. */
static int add_name(struct paths *t, const char *name, size_t column,
                    struct error *error)
{
    uint16_t at = PATHS_ROOT;
    struct step s = {.key = strdup(name), .size = strlen(name)};
    int r = s.key ? take_step(t, at, &s, &at, error) : no_memory(error);
    free(s.key);
    return r < 0 ? r : end_path(t, at, column, error);
}

int paths_new(const struct schema *schema, const struct decode_field *field,
              size_t first, struct paths **ret, size_t *ret_column, struct error *error)
{
    struct paths *t = calloc(1, sizeof(*t));
    uint16_t root;
    if (!t || add_node(t, PATHS_NONE, &root) < 0) {
        free(t);
        return no_memory(error);
    }
    t->node[root].kind = PATHS_OBJECT;
    t->each = PATHS_NONE;
    int r = 0;
    for (size_t c = first; r == 0 && c < schema->n; c++) {
        *ret_column = c;
        const struct decode_field *f = field ? &field[c] : NULL;
        r = f && f->path ? add_path(t, f->path, c, error)
                         : add_name(t, f && f->name ? f->name : schema->column[c].name,
                                    c, error);
    }
    for (size_t c = 0; r == 0 && c < schema->n; c++)
        if (t->each == PATHS_NONE || !(t->node[t->each].below[c / 64] >> (c % 64) & 1))
            t->repeated[c / 64] |= UINT64_C(1) << (c % 64);
    if (r == 0 && !(t->repeated[0] & 1)) {
        *ret_column = 0;
        r = error_set(error, -EINVAL,
                      "the time cannot be that of each element of a list");
    }
    if (r < 0) {
        paths_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void paths_free(struct paths *t)
{
    for (size_t i = 0; t && i < t->n; i++)
        free(t->node[i].key);
    if (t)
        free(t->node);
    free(t);
}
