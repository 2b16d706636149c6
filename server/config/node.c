/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree of a configuration file: look-ups and messages about its nodes.
 */
#include "config/node.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 63 /* longer words get no suggestion */
#define TEXT_MAX 47 /* of a scalar, in a message */

void node_clear(struct node *n)
{
    for (size_t i = 0; i < n->n; i++) {
        node_clear(&n->item[i]);
        if (n->key)
            node_clear(&n->key[i]);
    }
    free(n->item);
    free(n->key);
    free(n->text);
    *n = (struct node){0};
}

void node_free(struct node *n)
{
    if (!n)
        return;
    node_clear(n);
    free(n); /* and the name of the file, which lies behind the root */
}

bool node_is_null(const struct node *n)
{
    return n->kind == NODE_SCALAR && !n->quoted &&
           (!*n->text || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
}

const struct node *node_get(const struct node *map, const char *key)
{
    for (size_t i = 0; map->kind == NODE_MAP && i < map->n; i++) {
        if (strcmp(map->key[i].text, key) == 0)
            return &map->item[i];
    }
    return NULL;
}

static bool equal_maps(const struct node *a, const struct node *b)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct node *other = node_get(b, a->key[i].text);
        if (!other || !node_equal(&a->item[i], other))
            return false;
    }
    return true;
}

bool node_equal(const struct node *a, const struct node *b)
{
    if (!a || !b)
        return a == b;
    if (a->kind != b->kind || a->n != b->n)
        return false;
    if (a->kind == NODE_MAP)
        return equal_maps(a, b);
    if (a->kind == NODE_SCALAR)
        return a->quoted == b->quoted && strcmp(a->text, b->text) == 0;
    for (size_t i = 0; i < a->n; i++)
        if (!node_equal(&a->item[i], &b->item[i]))
            return false;
    return true;
}

static bool is_one_of(const char *key, const char *const *list)
{
    while (*list && strcmp(*list, key) != 0)
        list++;
    return *list;
}

static bool has_equal(const struct node *a, const struct node *b,
                      const char *const *but)
{
    for (size_t i = 0; i < a->n; i++) {
        const char *key = a->key[i].text;
        if (!is_one_of(key, but) && !node_equal(&a->item[i], node_get(b, key)))
            return false;
    }
    return true;
}

bool node_equal_but(const struct node *a, const struct node *b, const char *const *keys)
{
    return a->kind == NODE_MAP && b->kind == NODE_MAP && has_equal(a, b, keys) &&
           has_equal(b, a, keys);
}

int node_error(const struct node *n, struct error *error, const char *format, ...)
{
    char text[sizeof error->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *p = text; *p; p++) { /* words of the file may hold line feeds */
        if (iscntrl((unsigned char)*p))
            *p = ' ';
    }
    return error_set(error, -EINVAL, "%s:%u:%u: %s", n->file, n->line, n->column, text);
}

int node_expected(const struct node *n, const char *what, struct error *error)
{
    if (n->kind == NODE_LIST)
        return node_error(n, error, "expected %s, found a list", what);
    if (n->kind == NODE_MAP)
        return node_error(n, error, "expected %s, found a mapping", what);
    if (node_is_null(n))
        return node_error(n, error, "expected %s, found nothing", what);
    size_t size = strnlen(n->text, TEXT_MAX);
    while (size > 0 && ((unsigned char)n->text[size] & 0xc0) == 0x80)
        size--; /* not within a character of UTF-8 */
    return node_error(n, error,
                      n->quoted ? "expected %s, found the string \"%.*s%s\""
                                : "expected %s, found '%.*s%s'",
                      what, (int)size, n->text, n->text[size] ? "..." : "");
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to change, add, leave out, or exchange with the next one (optimal string
 * alignment), without regard to case. */
static size_t word_distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t d[WORD_MAX + 1][WORD_MAX + 1];
    for (size_t i = 0; i <= na; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= nb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        for (size_t j = 1; j <= nb; j++) {
            int x = tolower((unsigned char)a[i - 1]),
                y = tolower((unsigned char)b[j - 1]);
            size_t best = least(d[i - 1][j], d[i][j - 1]) + 1;
            best = least(best, d[i - 1][j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]))
                best = least(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    }
    return d[na][nb];
}

void node_suggest(struct error *error, const char *word, const char *const *words,
                  size_t n)
{
    size_t length = strlen(word), best = 3;
    const char *found = NULL;
    if (!error || length == 0 || length > WORD_MAX)
        return;
    for (size_t i = 0; i < n; i++) {
        size_t other = strlen(words[i]);
        if (other > WORD_MAX)
            continue;
        /* Up to two faults, but most of a short word must be right. */
        size_t distance = word_distance(word, length, words[i], other);
        if (distance < best && 2 * distance <= least(length, other)) {
            best = distance;
            found = words[i];
        }
    }
    if (!found)
        return;
    size_t end = strlen(error->text);
    snprintf(error->text + end, sizeof error->text - end, ", did you mean '%s'?",
             found);
}
