/* SPDX-License-Identifier: Apache-2.0
 *
 * A YAML document as a tree that remembers where everything stands. ${VAR} forms in scalars are
 * already replaced.
 */
#ifndef WEIR_CONFIG_NODE_H
#define WEIR_CONFIG_NODE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    const char *file;      /* shared by the whole tree */
    unsigned line, column; /* from 1 */
    char *text;            /* scalar, zero-terminated; otherwise NULL */
    bool quoted;           /* "10" and '10' are strings, 10 is a number */
    size_t n;              /* items of a list, pairs of a map */
    struct node *item;     /* items; of a map: values */
    struct node *key;      /* of a map: the keys, in the same order; scalars */
};

#define NODE_FILE_MAX (1u << 20) /* bytes of a document */
#define NODE_TEXT_MAX (4u << 20) /* bytes of all scalars, after aliases and variables */
#define NODE_COUNT_MAX                                                                 \
    100000u /* nodes of the tree, keys and what aliases copy included */
#define NODE_DEPTH_MAX 64u

/* One document from `size` bytes. `file` is the name for messages. An alias is a copy of what its
 * anchor names, within the limits above. A scalar in which a variable was replaced counts as not
 * quoted, so that "${WORKERS}" can be a number where YAML asks for the quotes. Keys are taken as they
 * stand. -EINVAL with "file:line:column: text", -ENOMEM, -E2BIG. Columns count characters. */
int node_parse(const char *file, const char *text, size_t size, struct node **ret,
               struct error *error);
int node_load(const char *path, struct node **ret,
              struct error *error); /* -ENOENT, ... */
void node_free(struct node *n);     /* a tree, by its root; takes NULL */
void node_clear(
    struct node *n); /* what a node holds, not the node itself; leaves it zeroed */

/* A value that was left out: `key:`, `~` or `null`, not quoted. */
bool node_is_null(const struct node *n);

const struct node *node_get(const struct node *map,
                            const char *key); /* NULL: not there */

/* The same values, whatever their places; the order of a mapping's keys does not matter. Either may be NULL. */
bool node_equal(const struct node *a, const struct node *b);

/* The same of two mappings, but for these keys, which either may have. */
bool node_equal_but(const struct node *a, const struct node *b,
                    const char *const *keys /* NULL-ended */);

/* Returns -EINVAL with "file:line:column: " and the text. */
int node_error(const struct node *n, struct error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends ", did you mean 'x'?" to the text when one of the n words is close to `word`. */
void node_suggest(struct error *error, const char *word, const char *const *words,
                  size_t n);

/* "expected WHAT, found 'text'" (or a list, a mapping, nothing); returns -EINVAL. */
int node_expected(const struct node *n, const char *what, struct error *error);

/* Scalars read as; -EINVAL with the place. A quoted scalar is no number and no truth value. */
int node_int(const struct node *n, int64_t min, int64_t max, int64_t *ret,
             struct error *error);
int node_float(const struct node *n, double *ret, struct error *error);
int node_bool(const struct node *n, bool *ret,
              struct error *error); /* true/false yes/no on/off */
int node_text(const struct node *n, const char **ret,
              struct error *error); /* not empty */
int node_duration(const struct node *n, int64_t *ret_us,
                  struct error *error); /* "10s" */
int node_size(const struct node *n, uint64_t *ret,
              struct error *error); /* "64MiB", "10kB", 4096 */
int node_name(const struct node *n, const char **ret,
              struct error *error); /* [a-zA-Z_][a-zA-Z0-9_]{0,62} */
/* One of the words, which the message names all: its place among them. */
int node_word(const struct node *n, const char *const *words, size_t n_words,
              struct error *error);

#endif
