/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection to PostgreSQL. All that waits ends at a time, or when it is told to: libpq's own blocking calls are not used,
 * but for the resolving of names.
 */
#ifndef WEIR_CARRY_PG_H
#define WEIR_CARRY_PG_H

#include "base/error.h"
#include "config/config.h"

#include <libpq-fe.h>
#include <stdbool.h>

struct pg {
    PGconn *c; /* NULL: not connected */
    int wake;  /* an eventfd; readable: `stop` is asked */
    bool (*stop)(void *ctx);
    void *ctx;
    int64_t timeout_us; /* of each call */
    int64_t until_us;   /* of the statement whose rows come one by one */
    bool binary;        /* values come in binary */
    char state[6];      /* SQLSTATE of the last failure; "": it was none of SQL's */
};

struct pg_param { /* text, unless it has a type: then in binary */
    Oid type;
    const char *data;
    int size;
};
#define PG_TEXT(text) ((struct pg_param){.data = (text)})
#define PG_PARAMS     640

/* -ECONNREFUSED: it cannot be reached, or refuses us; -ETIMEDOUT, -ECANCELED. */
int pg_open(struct pg *p, const struct config_postgresql *config, struct error *error);
void pg_close(struct pg *p);

/* One statement. -EINVAL: it has failed, `state` says how; others: the connection is closed, and nobody knows whether it was done.
 * `ret` may be NULL. */
int pg_ask(struct pg *p, const char *sql, const struct pg_param *param, size_t n,
           PGresult **ret, struct error *error);
/* The same, with values in binary. */
int pg_fetch(struct pg *p, const char *sql, const struct pg_param *param, size_t n,
             PGresult **ret, struct error *error);
/* The same, row by row, of which no more than one is held; no other statement before pg_row has said that there are no more, or
 * has failed. */
int pg_each(struct pg *p, const char *sql, const struct pg_param *param, size_t n,
            struct error *error);
/* 1: a row; 0: there are no more; what pg_ask returns. */
int pg_row(struct pg *p, PGresult **ret, struct error *error);
int pg_run(struct pg *p, const char *sql, struct error *error);
/* COPY ... FROM STDIN, all of it. */
int pg_copy(struct pg *p, const char *sql, const char *data, size_t size,
            struct error *error);

/* Until it is woken, the time has come, or something comes from there, which without a question means no good: then it is looked
 * at, and closed if so. */
void pg_idle(struct pg *p, int64_t until_us);

static inline void pg_cleanup_result(PGresult **r)
{
    PQclear(*r); /* takes NULL */
}
#define PG_RESULT __attribute__((cleanup(pg_cleanup_result))) PGresult *

#endif
