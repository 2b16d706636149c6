/* SPDX-License-Identifier: Apache-2.0
 *
 * A function that has been replaced cannot be called any more, so a second connection, opened at the first
 * call, has the originals: "SELECT date(?, ?)", prepared once for each number of arguments.
 */
#include "expr/pure_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ARGS_MAX 16

struct pure_time {
    char name[12];
    int first; /* argument that is a time; before it stands a format */
    sqlite3 *originals;
    sqlite3_stmt *call[ARGS_MAX + 1];
};

static void pure_time_free(void *function)
{
    struct pure_time *f = function;
    for (int n = 0; n <= ARGS_MAX; n++)
        sqlite3_finalize(f->call[n]);
    sqlite3_close(f->originals);
    free(f);
}

/* The first argument that is a word of the machine's own time; NULL: none is. */
static const char *machine_word(int n, sqlite3_value **arg)
{
    static const char *const words[] = {"now", "localtime", "utc"};
    for (int i = 0; i < n; i++) {
        int type = sqlite3_value_type(arg[i]);
        if (type != SQLITE_TEXT && type != SQLITE_BLOB)
            continue;
        const char *text = (const char *)sqlite3_value_text(arg[i]);
        for (size_t k = 0; text && k < sizeof(words) / sizeof(words[0]); k++)
            if (!strcasecmp(text, words[k]))
                return words[k];
    }
    return NULL;
}

static sqlite3_stmt *original(struct pure_time *f, int n)
{
    char sql[64] = "SELECT ";
    if (!f->originals &&
        sqlite3_open_v2(":memory:", &f->originals,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return NULL;
    if (!f->call[n]) {
        size_t at = (size_t)snprintf(sql, sizeof(sql), "SELECT %s(", f->name);
        for (int i = 0; i < n; i++)
            at += (size_t)snprintf(sql + at, sizeof(sql) - at, i ? ",?" : "?");
        snprintf(sql + at, sizeof(sql) - at, ")");
        sqlite3_prepare_v3(f->originals, sql, -1, SQLITE_PREPARE_PERSISTENT,
                           &f->call[n], NULL);
    }
    return f->call[n];
}

static void call(sqlite3_context *to, int n, sqlite3_value **arg)
{
    struct pure_time *f = sqlite3_user_data(to);
    char text[96];
    const char *word = n > f->first ? machine_word(n, arg) : "now";
    if (word || n > ARGS_MAX) {
        snprintf(text, sizeof(text),
                 word ? PURE_TIME_REFUSED "%s(): '%s' depends on the machine"
                      : "%s() has too many arguments",
                 f->name, word);
        sqlite3_result_error(to, text, -1);
        return;
    }
    sqlite3_stmt *s = original(f, n);
    if (!s) {
        sqlite3_result_error(
            to, f->originals ? sqlite3_errmsg(f->originals) : "no memory", -1);
        return;
    }
    int r = SQLITE_OK;
    for (int i = 0; r == SQLITE_OK && i < n; i++)
        r = sqlite3_bind_value(s, i + 1, arg[i]);
    if (r == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        sqlite3_result_value(to, sqlite3_column_value(s, 0));
    else
        sqlite3_result_error(to, sqlite3_errmsg(f->originals), -1);
    sqlite3_reset(s);
}

/* timediff() came with SQLite 3.43. */
static int is_there(sqlite3 *db, const char *name)
{
    char sql[64];
    sqlite3_stmt *s = NULL;
    snprintf(sql, sizeof(sql), "SELECT %s(0, 0)", name);
    int r = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    sqlite3_finalize(s);
    return r == SQLITE_OK;
}

int pure_time_install(sqlite3 *db)
{
    static const struct {
        const char *name;
        int first;
    } table[] = {{"date", 0},      {"time", 0},     {"datetime", 0}, {"julianday", 0},
                 {"unixepoch", 0}, {"strftime", 1}, {"timediff", 0}};
    int r = SQLITE_OK;
    for (size_t i = 0; r == SQLITE_OK && i < sizeof(table) / sizeof(table[0]); i++) {
        if (!is_there(db, table[i].name))
            continue;
        struct pure_time *f = calloc(1, sizeof(*f));
        if (!f)
            return SQLITE_NOMEM;
        snprintf(f->name, sizeof(f->name), "%s", table[i].name);
        f->first = table[i].first;
        /* On failure, too, SQLite frees it. */
        r = sqlite3_create_function_v2(
            db, f->name, -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, f,
            call, NULL, NULL, pure_time_free);
    }
    return r;
}
