/* SPDX-License-Identifier: Apache-2.0
 *
 * Where in a record the columns are: a tree of objects and lists with columns as its leaves.
 *
 *      user.id              an object's key in an object
 *      tags[0], tags[*]     an element, each element: a row of each
 *      "log.level".x        a key with a dot in it
 *
 * Immutable once made.
 */
#ifndef WEIR_DECODE_PATHS_H
#define WEIR_DECODE_PATHS_H

#include "base/error.h"
#include "decode/decode.h"

#include <string.h>

#define PATHS_WORDS       (SCHEMA_COLUMNS_MAX / 64)
#define PATHS_STEPS_MAX   16    /* of one path */
#define PATHS_ELEMENT_MAX 65535 /* an element's index */
#define PATHS_ROOT        0
#define PATHS_NONE        UINT16_MAX

enum paths_kind { PATHS_COLUMN, PATHS_OBJECT, PATHS_LIST };

struct paths_node {
    enum paths_kind kind;
    uint16_t parent, child,
        next;         /* PATHS_NONE: there is none; `next` has the same parent */
    char *key;        /* in an object; NULL: */
    uint32_t size;    /* of the key; */
    uint32_t element; /* or the index in a list */
    bool each;        /* or all of them */
    uint16_t column;  /* PATHS_COLUMN; of others the first below, for messages */
    uint64_t below[PATHS_WORDS]; /* columns */
};

struct paths {
    size_t n, room;
    struct paths_node *node;
    uint16_t each; /* the node of all elements; PATHS_NONE: no list is one row each */
    uint64_t repeated[PATHS_WORDS]; /* columns that are not below it */
};

/* `first`: the first column that is in a record at all. -EINVAL with what is wrong, and the column that it is wrong
 * with in *ret_column; -ENOMEM. */
int paths_new(const struct schema *schema, const struct decode_field *field,
              size_t first, struct paths **ret, size_t *ret_column,
              struct error *error);
void paths_free(struct paths *p); /* takes NULL */

/* The node of a key in an object; PATHS_NONE. */
static inline uint16_t paths_find(const struct paths *p, uint16_t object,
                                  const char *key, size_t size)
{
    uint16_t i = p->node[object].child;
    while (i != PATHS_NONE &&
           (p->node[i].size != size || memcmp(p->node[i].key, key, size) != 0))
        i = p->node[i].next;
    return i;
}

#endif
