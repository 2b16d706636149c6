/* SPDX-License-Identifier: Apache-2.0
 *
 * The common part of SQLite's expressions as a tree: what it means can be computed here (vector.h), and its type is
 * known before there are rows. SQLite has checked the text: nothing is refused here; what this parser does not
 * know is EXPR_OTHER, for SQLite itself.
 *
 *      OR < AND < NOT < = IS IN LIKE BETWEEN < comparisons < + - < * / % < || < unary + -
 */
#ifndef WEIR_EXPR_PARSE_H
#define WEIR_EXPR_PARSE_H

#include "batch/schema.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

enum expr_op {
    EXPR_OTHER, /* a value that only SQLite computes; `type` may be known all the same */
    EXPR_NULL,
    EXPR_INT,
    EXPR_REAL,
    EXPR_TEXT,
    EXPR_COLUMN,
    EXPR_NEGATE, /* from here on with operands */
    EXPR_ADD,
    EXPR_SUBTRACT,
    EXPR_MULTIPLY,
    EXPR_DIVIDE,
    EXPR_MODULO,
    EXPR_EQUAL,
    EXPR_UNEQUAL,
    EXPR_LESS,
    EXPR_LESS_EQUAL,
    EXPR_GREATER,
    EXPR_GREATER_EQUAL,
    EXPR_IS,
    EXPR_IS_NOT,
    EXPR_IS_NULL,
    EXPR_NOT_NULL,
    EXPR_NOT,
    EXPR_AND,
    EXPR_OR,
    EXPR_CASE, /* a WHEN, its THEN, and what follows: an EXPR_CASE, the ELSE, or EXPR_NULL */
    EXPR_SPLIT_PART, /* of a by b, the part i, which is at least 1 */
};

struct expr_node {
    enum expr_op op;
    uint32_t
        type; /* enum weir_type of the value where it is not null; 0: not known, or always null */
    const struct expr_node *a, *b, *c;
    size_t column; /* EXPR_COLUMN */
    int64_t i;     /* EXPR_INT, EXPR_SPLIT_PART */
    double f;      /* EXPR_REAL: as SQLite reads it */
    char *text;    /* EXPR_TEXT, without quotes */
    size_t size;
};

#define EXPR_NODES_MAX 1000 /* an expression with more is left to SQLite */
#define EXPR_DEPTH_MAX 100  /* the same for one that is nested more deeply */

struct expr_tree {
    const struct expr_node *root;
    struct expr_node *node; /* EXPR_NODES_MAX */
    size_t n;
};

/* `db`: any connection, for numbers. The columns of `schema` must stay. -ENOMEM. */
int expr_parse(sqlite3 *db, const struct schema *schema, const char *text,
               struct expr_tree *ret);
void expr_tree_free(struct expr_tree *t);

#endif
