/* SPDX-License-Identifier: Apache-2.0 */
#include "carry/read.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "carry/pg.h"
#include "carry/types.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_US (60 * SECOND_US) /* a connection that nobody wants */

struct read_pool {
    const struct config_postgresql *config;
    int64_t timeout_us;
    pthread_mutex_t lock; /* guards idle */
    struct read *idle;
};

struct read {
    struct read_pool *pool;
    struct read *next; /* idle */
    int64_t since_us;
    struct pg pg;
    sqlite3 *memory; /* in which rows are columns */
    sqlite3_stmt *params, *row;
    int n_params, n_columns;
    const enum weir_type *type;
    PGresult *there; /* a row */
    bool more;       /* there may be rows behind it */
    bool given;      /* it is the one that read_step gave last */
};

/* ---- Connections -------------------------------------------------------------------------------- */

struct read_pool *read_pool_new(const struct config_postgresql *config,
                                int64_t timeout_us)
{
    struct read_pool *p = config && config->shard ? calloc(1, sizeof(*p)) : NULL;
    if (!p)
        return NULL;
    p->config = config;
    p->timeout_us = timeout_us;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

static void free_one(struct read *r)
{
    PQclear(r->there);
    pg_close(&r->pg);
    sqlite3_finalize(r->params);
    sqlite3_finalize(r->row);
    sqlite3_close(r->memory);
    free(r);
}

void read_pool_free(struct read_pool *p)
{
    if (!p)
        return;
    for (struct read *r = p->idle, *next; r; r = next) {
        next = r->next;
        free_one(r);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static int set_up(struct read *r, struct error *error)
{
    char ms[24];
    snprintf(ms, sizeof(ms), "%lldms", (long long)(r->pool->timeout_us / 1000));
    const struct pg_param param[] = {PG_TEXT(ms), PG_TEXT(r->pool->config->schema)};
    return pg_ask(&r->pg,
                  "SELECT set_config('default_transaction_read_only', 'on', false),"
                  " set_config('statement_timeout', $1, false),"
                  " set_config('search_path', quote_ident($2), false)",
                  param, 2, NULL, error);
}

static int open_one(struct read_pool *p, struct read **ret, struct error *error)
{
    struct read *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, -ENOMEM, "out of memory");
    r->pool = p;
    r->pg = (struct pg){.wake = -1, .timeout_us = p->timeout_us, .binary = true};
    int err = sqlite3_open(":memory:", &r->memory)
                  ? error_set(error, -ENOMEM, "out of memory")
                  : pg_open(&r->pg, p->config, error);
    if (!err)
        err = set_up(r, error);
    if (err)
        free_one(r);
    else
        *ret = r;
    return err;
}

/* One that was kept, if it lives still. */
static struct read *take_idle(struct read_pool *p)
{
    pthread_mutex_lock(&p->lock);
    struct read *r = p->idle;
    if (r)
        p->idle = r->next;
    pthread_mutex_unlock(&p->lock);
    if (!r)
        return NULL;
    pg_idle(&r->pg, 0);
    if (r->pg.c && clock_monotonic_us() - r->since_us < KEPT_US)
        return r;
    free_one(r);
    return NULL;
}

int read_get(struct read_pool *p, struct read **ret, struct error *error)
{
    *ret = take_idle(p);
    return *ret ? 0 : open_one(p, ret, error);
}

/* 1: `there` is the next row; 0: there is none. */
static int next_row(struct read *r, struct error *error)
{
    PQclear(r->there);
    r->there = NULL;
    int got = r->more ? pg_row(&r->pg, &r->there, error) : 0;
    r->more = got == 1;
    return got;
}

/* Rows that nobody has read; a LIMIT says how many they are at most. */
static void drain(struct read *r)
{
    struct error error;
    while (next_row(r, &error) == 1)
        ;
}

void read_put(struct read *r)
{
    if (!r)
        return;
    drain(r);
    sqlite3_finalize(r->params);
    r->params = NULL;
    r->since_us = clock_monotonic_us();
    struct read_pool *p = r->pool;
    size_t kept = 0;
    pthread_mutex_lock(&p->lock);
    for (const struct read *i = p->idle; i; i = i->next)
        kept++;
    const bool keep = r->pg.c && kept < READ_IDLE;
    if (keep) {
        r->next = p->idle;
        p->idle = r;
    }
    pthread_mutex_unlock(&p->lock);
    if (!keep)
        free_one(r);
}

/* ---- Parameters --------------------------------------------------------------------------------- */

/* SELECT ?, ?, ...: what is bound are its columns. */
static sqlite3_stmt *make_values(sqlite3 *db, int n)
{
    struct buffer sql = {0};
    sqlite3_stmt *s = NULL;
    buffer_puts(&sql, "SELECT ");
    for (int i = 0; i < n; i++)
        buffer_puts(&sql, i ? ", ?" : "?");
    if (!sql.error)
        sqlite3_prepare_v2(db, buffer_text(&sql), -1, &s, NULL);
    buffer_free(&sql);
    return s;
}

sqlite3_stmt *read_params(struct read *r, int n)
{
    sqlite3_finalize(r->params);
    r->params = n <= PG_PARAMS ? make_values(r->memory, n) : NULL;
    r->n_params = n;
    return r->params;
}

/* PostgreSQL's infinities are the ends of the numbers. */
static int64_t time_there(int64_t us)
{
    if (us == INT64_MIN || us == INT64_MAX)
        return us;
    return us < INT64_MIN + TYPES_2000_US ? INT64_MIN : us - TYPES_2000_US;
}

/* `room` outlives the parameter. */
static struct pg_param make_param(sqlite3_stmt *s, int i, enum weir_type type,
                                  uint64_t *room)
{
    struct pg_param p = {.type = type_there[type].oid, .data = (const char *)room};
    if (type == WEIR_STRING) {
        p.data = (const char *)sqlite3_column_text(s, i);
        p.size = sqlite3_column_bytes(s, i);
        return p;
    }
    int64_t v = sqlite3_column_int64(s, i);
    if (type == WEIR_BOOL) {
        *(char *)room = v != 0;
        p.size = 1;
        return p;
    }
    if (type == WEIR_FLOAT) {
        double f = sqlite3_column_double(s, i);
        memcpy(&v, &f, sizeof(v));
    }
    *room = htobe64((uint64_t)(type == WEIR_TIME ? time_there(v) : v));
    p.size = sizeof(*room);
    return p;
}

/* ? --> $1, $2, ..., outside of quoted names, in which alone there may be others. */
static void put_numbered(struct buffer *to, const char *sql)
{
    bool quoted = false;
    unsigned n = 0;
    for (; *sql; sql++) {
        quoted ^= *sql == '"';
        if (*sql == '?' && !quoted)
            buffer_printf(to, "$%u", ++n);
        else
            buffer_putc(to, *sql);
    }
}

/* ---- Rows --------------------------------------------------------------------------------------- */

static int refused(const struct read *r, int err, struct error *error)
{
    const char *state = r->pg.state;
    if (err != -EINVAL)
        return err;
    if (!strcmp(state, "42P01") || !strcmp(state, "42703") || !strcmp(state, "3F000"))
        return error_set(error, -ENOENT,
                         "PostgreSQL has no such table of several "
                         "servers: nothing was carried to it yet");
    if (!strcmp(state, "57014"))
        return error_set(error, -ETIMEDOUT, "it took longer than 'sql_timeout'");
    return strncmp(state, "22", 2) == 0
               ? err
               : error_set(error, -EIO, "PostgreSQL refuses it: SQLSTATE %s", state);
}

int read_begin(struct read *r, const char *sql, const enum weir_type *of_params,
               const enum weir_type *of_columns, int n, struct error *error)
{
    struct pg_param param[PG_PARAMS];
    uint64_t room[PG_PARAMS];
    struct buffer text = {0};
    drain(r);
    r->given = false;
    r->type = of_columns;
    if (!r->row || r->n_columns != n) {
        sqlite3_finalize(r->row);
        r->row = make_values(r->memory, n);
        r->n_columns = n;
    }
    put_numbered(&text, sql);
    if (!r->row || text.error || sqlite3_step(r->params) != SQLITE_ROW) {
        buffer_free(&text);
        return error_set(error, -ENOMEM, "out of memory");
    }
    for (int i = 0; i < r->n_params; i++)
        param[i] = make_param(r->params, i, of_params[i], &room[i]);
    int got = pg_each(&r->pg, buffer_text(&text), param, (size_t)r->n_params, error);
    buffer_free(&text);
    r->more = got == 0;
    if (got == 0)
        got = next_row(r, error);
    return got < 0 ? refused(r, got, error) : 0;
}

static int64_t number_there(const char *data, int size)
{
    uint64_t v = 0;
    if (size == sizeof(v))
        memcpy(&v, data, sizeof(v));
    return size == 1 ? *data : (int64_t)be64toh(v);
}

static void take_value(struct read *r, int i)
{
    const char *data = PQgetvalue(r->there, 0, i);
    const int size = PQgetlength(r->there, 0, i);
    if (PQgetisnull(r->there, 0, i)) {
        sqlite3_bind_null(r->row, i + 1);
        return;
    }
    if (r->type[i] == WEIR_STRING) {
        sqlite3_bind_text(r->row, i + 1, data, size, SQLITE_STATIC);
        return;
    }
    int64_t v = number_there(data, size);
    double f;
    memcpy(&f, &v, sizeof(f));
    if (r->type[i] == WEIR_TIME && __builtin_add_overflow(v, TYPES_2000_US, &v))
        v = INT64_MAX; /* infinity, which somebody has put there */
    if (r->type[i] == WEIR_FLOAT)
        sqlite3_bind_double(r->row, i + 1, f);
    else
        sqlite3_bind_int64(r->row, i + 1, v);
}

int read_step(struct read *r, sqlite3_stmt **ret, struct error *error)
{
    int got = r->given ? next_row(r, error) : r->there != NULL;
    if (got < 0)
        return refused(r, got, error);
    r->given = true;
    if (got == 0)
        return 0;
    sqlite3_reset(r->row);
    for (int i = 0; i < r->n_columns; i++)
        take_value(r, i);
    if (sqlite3_step(r->row) != SQLITE_ROW)
        return error_set(error, -ENOMEM, "out of memory");
    *ret = r->row;
    return 1;
}
