/* SPDX-License-Identifier: Apache-2.0
 *
 * A statement on a connection of its own: what it may say, which columns of the events it reads, which columns it gives
 * and of what types, and how long it may run.
 */
#ifndef STATEMENT_H
#define STATEMENT_H

#include "events.h"
#include "temp.h"

#define STATEMENT_COLUMNS 64
#define STATEMENT_NAME    64 /* bytes, with the zero */

struct statement {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    struct events events;
    struct temp temp;
    int n; /* result columns */
    char name[STATEMENT_COLUMNS][STATEMENT_NAME];
    uint32_t type[STATEMENT_COLUMNS]; /* enum weir_type */
    int64_t most_ns, end_ns; /* CPU time that it may take, and at which it is over */
    bool over;               /* it was */
};

/* In a plugin's open: events, name and n of them, most_ns and temp.most are set. Fails with a text by weir_fail. */
int statement_open(struct statement *s, struct weir_ctx *ctx, const char *sql);
void statement_close(struct statement *s);

/* The rows of a window follow; -1 as weir_fail. */
int statement_begin(struct statement *s, int64_t start_us, int64_t end_us,
                    const struct weir_rows *rows);
/* 1: there is a row, 0: no more, -1 as weir_fail. */
int statement_step(struct statement *s);
void statement_end(struct statement *s); /* with these rows */

#endif
