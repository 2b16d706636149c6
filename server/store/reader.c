/* SPDX-License-Identifier: Apache-2.0
 *
 * Read-only connections for questions from outside.
 */
#include "config.h"

#include "base/clock.h"
#include "store/authorize.h"
#include "store/db.h"
#include "store/reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define READER_STEPS                                                                   \
    4000 /* of SQLite's machine between two looks at the clock: below 1 ms */

struct reader {
    sqlite3 *db;
    struct reader_pool *pool;
    int64_t deadline_us;
    bool (*gone)(void *ctx);
    void *gone_ctx;
    struct authorize_scope scope;
    int stopped; /* why the progress handler said stop: -ETIMEDOUT, -ECANCELED, or 0 */
    struct reader *next;
};

struct reader_pool {
    char *path;
    size_t keep;
    pthread_mutex_t mutex; /* protects the two below */
    struct reader *idle;
    size_t n_idle;
};

int reader_pool_new(const char *path, size_t keep, struct reader_pool **ret)
{
    struct reader_pool *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->path = strdup(path);
    p->keep = keep;
    if (!p->path) {
        free(p);
        return -ENOMEM;
    }
    pthread_mutex_init(&p->mutex, NULL);
    *ret = p;
    return 0;
}

static void reader_close(struct reader *r)
{
    sqlite3_close(r->db);
    free(r);
}

void reader_pool_free(struct reader_pool *p)
{
    if (!p)
        return;
    for (struct reader *r = p->idle, *next; r; r = next) {
        next = r->next;
        reader_close(r);
    }
    pthread_mutex_destroy(&p->mutex);
    free(p->path);
    free(p);
}

static int reader_progress(void *arg)
{
    struct reader *r = arg;
    if (clock_monotonic_us() >= r->deadline_us)
        r->stopped = -ETIMEDOUT;
    else if (r->gone && r->gone(r->gone_ctx))
        r->stopped = -ECANCELED;
    return r->stopped != 0;
}

static void reader_set_limits(sqlite3 *db)
{
    static const struct {
        int id, value;
    } limits[] = {
        {SQLITE_LIMIT_LENGTH, READER_VALUE_MAX},
        {SQLITE_LIMIT_SQL_LENGTH, READER_SQL_MAX},
        {SQLITE_LIMIT_COLUMN, 512},
        {SQLITE_LIMIT_EXPR_DEPTH, 200},
        {SQLITE_LIMIT_COMPOUND_SELECT, 100},
        {SQLITE_LIMIT_VDBE_OP, 250000},
        {SQLITE_LIMIT_FUNCTION_ARG, 64},
        {SQLITE_LIMIT_ATTACHED, 0},
        {SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
         100}, /* its time grows with the power of the length */
        {SQLITE_LIMIT_VARIABLE_NUMBER, 1000},
        {SQLITE_LIMIT_TRIGGER_DEPTH, 1},
        {SQLITE_LIMIT_WORKER_THREADS, 0},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        sqlite3_limit(db, limits[i].id, limits[i].value);
}

/* Large sorts go to temporary files, not to memory. */
static int reader_harden(struct reader *r, struct error *error)
{
    int err = db_exec(r->db,
                      "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;"
                      "PRAGMA cache_size = -4096; PRAGMA temp_store = FILE",
                      error);
    if (err)
        return err;
    /* Connecting a virtual table runs through the authorizer as a write to the schema. */
    err = db_exec(r->db,
                  "SELECT 1 FROM json_each('[]'), json_tree('[]'), pragma_table_list,"
                  " pragma_table_info('x'), pragma_table_xinfo('x')",
                  error);
    if (err)
        return err;
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    reader_set_limits(r->db);
    r->scope.db = r->db;
    sqlite3_set_authorizer(r->db, authorize, &r->scope);
    sqlite3_progress_handler(r->db, READER_STEPS, reader_progress, r);
    return 0;
}

static int reader_open(struct reader_pool *p, struct reader **ret, struct error *error)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, -ENOMEM, "out of memory");
    r->pool = p;
    r->deadline_us = INT64_MAX;
    int err =
        db_open(p->path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, &r->db, error);
    if (!err)
        err = reader_harden(r, error);
    if (err) {
        error_prefix(error, "database '%s'", p->path);
        reader_close(r);
        return err;
    }
    *ret = r;
    return 0;
}

int reader_get(struct reader_pool *p, struct reader **ret, struct error *error)
{
    pthread_mutex_lock(&p->mutex);
    struct reader *r = p->idle;
    if (r) {
        p->idle = r->next;
        p->n_idle--;
    }
    pthread_mutex_unlock(&p->mutex);
    if (!r)
        return reader_open(p, ret, error);
    reader_limit(r, INT64_MAX, NULL, NULL);
    r->scope.only = r->scope.own = false;
    *ret = r;
    return 0;
}

void reader_put(struct reader *r)
{
    if (!r)
        return;
    struct reader_pool *p = r->pool;
    pthread_mutex_lock(&p->mutex);
    bool keep = p->n_idle < p->keep;
    if (keep) {
        r->next = p->idle;
        p->idle = r;
        p->n_idle++;
    }
    pthread_mutex_unlock(&p->mutex);
    if (!keep)
        reader_close(r);
}

void reader_limit(struct reader *r, int64_t deadline_us, bool (*gone)(void *ctx),
                  void *ctx)
{
    r->deadline_us = deadline_us;
    r->gone = gone;
    r->gone_ctx = ctx;
    r->stopped = 0;
}

void reader_only(struct reader *r, const char *tables, size_t size)
{
    r->scope.only = true;
    r->scope.tables = tables;
    r->scope.size = size;
}

sqlite3 *reader_own(struct reader *r)
{
    r->scope.own = true;
    return r->db;
}

/* SQLite's result as this module's; the text is already set where it is SQLite's. */
static int reader_failed(struct reader *r, struct error *error)
{
    int code = sqlite3_errcode(r->db) & 0xff;
    if (code == SQLITE_INTERRUPT && r->stopped)
        return error_set(error, r->stopped,
                         r->stopped == -ETIMEDOUT ? "the statement took too long"
                                                  : "the client went away");
    int err = db_error(r->db, error);
    /* A denied function, or a denial inside of a virtual table, comes out as a mere error. */
    bool denied = code == SQLITE_AUTH || code == SQLITE_READONLY ||
                  strncmp(sqlite3_errmsg(r->db), "not authorized", 14) == 0 ||
                  strncmp(sqlite3_errmsg(r->db), "vtable constructor failed", 25) == 0;
    return denied ? -EPERM : err;
}

static int reader_check_single(struct reader *r, const char *rest, const char *end,
                               struct error *error)
{
    while (rest < end) {
        sqlite3_stmt *next = NULL; /* stays NULL for white space and comments */
        const char *after = end;
        int code = sqlite3_prepare_v2(r->db, rest, (int)(end - rest), &next, &after);
        sqlite3_finalize(next);
        if (code || next)
            return error_set(error, -EINVAL, "there is more than one statement");
        if (after <= rest)
            break;
        rest = after;
    }
    return 0;
}

int reader_prepare(struct reader *r, const char *sql, size_t size, sqlite3_stmt **ret,
                   int *ret_offset, struct error *error)
{
    *ret_offset = -1;
    if (size > READER_SQL_MAX)
        return error_set(error, -E2BIG, "the statement is longer than %d bytes",
                         READER_SQL_MAX);
    if (memchr(sql, 0, size))
        return error_set(error, -EINVAL, "the statement has a zero byte");
    sqlite3_stmt *statement = NULL;
    const char *rest = sql;
    if (sqlite3_prepare_v2(r->db, sql, (int)size, &statement, &rest)) {
        *ret_offset = sqlite3_error_offset(r->db);
        return reader_failed(r, error);
    }
    int err = statement ? reader_check_single(r, rest, sql + size, error)
                        : error_set(error, -EINVAL, "there is no statement");
    if (!err && !sqlite3_stmt_readonly(statement))
        err = error_set(error, -EPERM, "not authorized");
    if (err) {
        sqlite3_finalize(statement);
        return err;
    }
    *ret = statement;
    return 0;
}

int reader_is_time(struct reader *r, sqlite3_stmt *statement, int column,
                   struct error *error)
{
#ifdef HAVE_COLUMN_METADATA
    const char *table = sqlite3_column_table_name(statement, column);
    const char *name = sqlite3_column_origin_name(statement, column);
    if (!table || !name)
        return 0;
    const bool only = r->scope.only;
    DB_STATEMENT s = NULL;
    r->scope.only = false; /* for what we ask ourselves */
    int err = db_prepare(r->db,
                         "SELECT 1 FROM weir_columns WHERE table_name = ?1 COLLATE"
                         " NOCASE AND name = ?2 COLLATE NOCASE AND type = 'time'",
                         0, &s, error);
    r->scope.only = only;
    if (err)
        return err;
    sqlite3_bind_text(s, 1, table, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 2, name, -1, SQLITE_TRANSIENT);
    return reader_step(r, s, error);
#else
    (void)r;
    (void)statement;
    (void)column;
    return error_set(error, -EINVAL,
                     "times: this SQLite does not tell which columns are times; it was "
                     "built without SQLITE_ENABLE_COLUMN_METADATA");
#endif
}

int reader_step(struct reader *r, sqlite3_stmt *statement, struct error *error)
{
    /* A statement of few steps never meets the progress handler. */
    if (r->deadline_us != INT64_MAX && clock_monotonic_us() >= r->deadline_us)
        return error_set(error, -ETIMEDOUT, "the statement took too long");
    switch (sqlite3_step(statement)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return reader_failed(r, error);
    }
}
