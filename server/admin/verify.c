/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/verify.h"

#include "journal/journal.h"
#include "pipeline/checkpoint.h"
#include "store/db.h"
#include "store/journals.h"
#include "store/migrate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FAULTS_MAX              20 /* of one PRAGMA */
#define SCHEMA_WITH_CHECKPOINTS 3

struct verify {
    const struct verify_options *o;
    sqlite3 *db;
    int version;
    bool damaged; /* what is in the tables cannot be relied on */
    size_t faults;
    struct error *error;
};

static void say(struct verify *v, enum verify_said what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct verify *v, enum verify_said what, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    v->faults += what == VERIFY_FAULT;
    v->o->say(v->o->ctx, what, text);
}

/* Damage is what is looked for; other failures end the check. */
static int failed(struct verify *v)
{
    int code = sqlite3_errcode(v->db) & 0xff;
    if (code != SQLITE_CORRUPT && code != SQLITE_NOTADB)
        return db_error(v->db, v->error);
    say(v, VERIFY_FAULT, "database '%s': %s", v->o->database, sqlite3_errmsg(v->db));
    return 0;
}

/* Calls row(v, s) for every row. One text parameter, or NULL. */
static int each_row(struct verify *v, const char *sql, const char *parameter,
                    void (*row)(struct verify *v, sqlite3_stmt *s, void *ctx),
                    void *ctx)
{
    DB_STATEMENT s = NULL;
    if (sqlite3_prepare_v2(v->db, sql, -1, &s, NULL))
        return failed(v);
    if (parameter)
        sqlite3_bind_text(s, 1, parameter, -1, SQLITE_STATIC);
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW)
        row(v, s, ctx);
    return code == SQLITE_DONE ? 0 : failed(v);
}

static const char *text_of(sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return text ? text : "";
}

/* ---- The file --------------------------------------------------------------------------------- */

static void look_at_integrity(struct verify *v, sqlite3_stmt *s, void *ctx)
{
    (void)ctx;
    const char *text = text_of(s, 0);
    if (strcmp(text, "ok") != 0)
        say(v, VERIFY_FAULT, "database '%s': %s", v->o->database, text);
}

/* The quick one finds nearly all, and what it finds the other one would tell again. */
static int check_integrity(struct verify *v)
{
    size_t before = v->faults;
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA quick_check(%d)", FAULTS_MAX);
    int err = each_row(v, sql, NULL, look_at_integrity, NULL);
    snprintf(sql, sizeof(sql), "PRAGMA integrity_check(%d)", FAULTS_MAX);
    if (!err && v->faults == before)
        err = each_row(v, sql, NULL, look_at_integrity, NULL);
    if (!err && v->faults > before)
        say(v, VERIFY_TO_DO,
            "start from the newest backup (weir backup); or save what can be read: "
            "sqlite3 '%s' .recover | sqlite3 new.db",
            v->o->database);
    return err;
}

static int check_version(struct verify *v)
{
    struct stat st = {0};
    int err = migrate_check(v->db, v->error);
    if (!err)
        err = migrate_found(v->db, &v->version, v->error);
    if (err)
        return err;
    if (v->version == 0) {
        say(v, VERIFY_FAULT, "database '%s': no tables of weir", v->o->database);
        return 0;
    }
    stat(v->o->database, &st);
    say(v, VERIFY_FOUND, "database %s: %llu bytes, schema version %d%s", v->o->database,
        (unsigned long long)st.st_size, v->version,
        v->version < migrate_version() ? ", brought up to date by the next start" : "");
    return 0;
}

static void say_missing(struct verify *v, sqlite3_stmt *s, void *ctx)
{
    (void)ctx;
    say(v, VERIFY_FAULT, "table '%s' of pipeline '%s' is missing", text_of(s, 0),
        text_of(s, 1));
    say(v, VERIFY_TO_DO, "the next start makes it anew, empty");
}

static void say_foreign(struct verify *v, sqlite3_stmt *s, void *ctx)
{
    (void)ctx;
    say(v, VERIFY_FOUND, "table %s: not weir's", text_of(s, 0));
}

static int check_tables(struct verify *v)
{
    int err = each_row(v,
                       "SELECT name, pipeline FROM weir_tables WHERE name NOT IN"
                       " (SELECT name FROM sqlite_schema WHERE type = 'table')",
                       NULL, say_missing, NULL);
    return err ? err
               : each_row(v,
                          "SELECT name FROM sqlite_schema WHERE type = 'table'"
                          " AND name NOT LIKE 'weir\\_%' ESCAPE '\\'"
                          " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
                          " AND name COLLATE NOCASE NOT IN"
                          " (SELECT name FROM weir_tables)",
                          NULL, say_foreign, NULL);
}

/* ---- Stored groups ---------------------------------------------------------------------------- */

struct groups {
    const char *pipeline, *definition;
    uint64_t blocks, groups;
    bool damaged;
};

static void count_groups(struct verify *v, sqlite3_stmt *s, void *ctx)
{
    struct groups *g = ctx;
    uint64_t n;
    const char *data = sqlite3_column_blob(s, 1);
    g->blocks++;
    if (!checkpoint_block_form(g->definition, data ? data : "",
                               (size_t)sqlite3_column_bytes(s, 1), &n)) {
        g->groups += n;
        return;
    }
    g->damaged = true;
    say(v, VERIFY_FAULT,
        "pipeline '%s': block %lld of its stored groups is not what its definition "
        "says",
        g->pipeline, (long long)sqlite3_column_int64(s, 0));
}

static void groups_to_do(struct verify *v)
{
    say(v, VERIFY_TO_DO,
        "start from the newest backup; or give the pipeline another name, which begins "
        "without them");
}

/* Columns: number, pipeline, position, definition, marks, groups. */
static void check_checkpoint(struct verify *v, sqlite3_stmt *s, void *ret_error)
{
    int *err = ret_error;
    const char *pipeline = text_of(s, 1);
    const void *marks = sqlite3_column_blob(s, 4);
    struct groups g = {.pipeline = pipeline, .definition = text_of(s, 3)};
    size_t before = v->faults;
    char sql[160];
    long long first = (long long)sqlite3_column_int64(s, 0);
    uint64_t groups = (uint64_t)sqlite3_column_int64(s, 5);
    if (marks && checkpoint_marks_form(marks, (size_t)sqlite3_column_bytes(s, 4)))
        say(v, VERIFY_FAULT, "pipeline '%s': its stored watermark is damaged",
            pipeline);
    snprintf(sql, sizeof(sql),
             "SELECT id, data FROM weir_states"
             " WHERE id >= %lld << 40 AND id < (%lld + 1) << 40",
             first, first);
    if (!*err)
        *err = each_row(v, sql, NULL, count_groups, &g);
    if (!*err && !g.damaged && g.groups != groups)
        say(v, VERIFY_FAULT, "pipeline '%s': %llu groups are stored, not %llu",
            pipeline, (unsigned long long)g.groups, (unsigned long long)groups);
    if (v->faults > before)
        groups_to_do(v);
    say(v, VERIFY_FOUND,
        "pipeline %s: checkpoint at entry %lld, %llu groups in %llu blocks", pipeline,
        (long long)sqlite3_column_int64(s, 2), (unsigned long long)g.groups,
        (unsigned long long)g.blocks);
}

static void say_orphans(struct verify *v, sqlite3_stmt *s, void *ctx)
{
    (void)ctx;
    long long n = (long long)sqlite3_column_int64(s, 0);
    if (n)
        say(v, VERIFY_FAULT, "%lld blocks of stored groups belong to no checkpoint", n);
}

static int check_checkpoints(struct verify *v)
{
    int failure = 0;
    if (v->version < SCHEMA_WITH_CHECKPOINTS)
        return 0;
    int err = each_row(v,
                       "SELECT number, pipeline, position, definition, marks, groups"
                       " FROM weir_checkpoints ORDER BY pipeline",
                       NULL, check_checkpoint, &failure);
    if (!err)
        err = failure;
    return err ? err
               : each_row(v,
                          "SELECT count(*) FROM weir_states WHERE id >> 40 NOT IN"
                          " (SELECT number FROM weir_checkpoints)",
                          NULL, say_orphans, NULL);
}

/* ---- Journals --------------------------------------------------------------------------------- */

static int check_frames(struct verify *v, const struct journals_stream *s,
                        struct journal_report *ret)
{
    struct error damage = {""};
    int err = journal_verify(s->folder, ret, &damage);
    if (err)
        return error_set(v->error, err, "%s", damage.text);
    if (ret->end == 0)
        say(v, VERIFY_FOUND, "stream %s: no entries in its journal", s->name);
    else
        say(v, VERIFY_FOUND,
            "stream %s: entries %llu to %llu; %llu segments, %llu frames, %llu bytes",
            s->name, (unsigned long long)ret->first, (unsigned long long)ret->end - 1,
            (unsigned long long)ret->segments, (unsigned long long)ret->frames,
            (unsigned long long)ret->bytes);
    if (ret->torn)
        say(v, VERIFY_FOUND,
            "stream %s: %llu bytes of a frame that is being written, or never was "
            "completed and is cut by the next start",
            s->name, (unsigned long long)ret->torn);
    if (!ret->damaged)
        return 0;
    say(v, VERIFY_FAULT, "stream '%s': %s (%llu frames are damaged in all)", s->name,
        damage.text, (unsigned long long)ret->damaged);
    say(v, VERIFY_TO_DO,
        "start from the newest backup; or weir serve --skip-damaged, which goes on "
        "without these entries");
    return 0;
}

/* As the server sees it when it starts; see recover.h and log_new. */
static void check_positions(struct verify *v, const struct journals_stream *s,
                            const struct journals_needs *n,
                            const struct journal_report *j)
{
    unsigned long long first = j->first, end = j->end, least = n->least;
    if (!n->known || j->end == 0)
        return;
    if (n->most >= j->end && n->least + 1 < j->end) {
        say(v, VERIFY_FAULT,
            "stream '%s': the journal ends at %llu, but the database has seen entry "
            "%llu: they do not belong together",
            s->name, end - 1, (unsigned long long)n->most);
        say(v, VERIFY_TO_DO,
            "bring back the files that belong together, or start from "
            "the newest backup");
    } else if (n->least + 1 >= j->end && n->most >= j->end) {
        say(v, VERIFY_FOUND,
            "stream %s: the database has seen entry %llu; nothing in the journal is "
            "needed",
            s->name, (unsigned long long)n->most);
    } else if (n->least + 1 < j->first) {
        say(v, VERIFY_FAULT,
            "stream '%s': entries %llu to %llu are needed and not in the journal",
            s->name, least + 1, first - 1);
        say(v, VERIFY_TO_DO,
            "a start gives up the windows that were open at entry %llu", least);
    }
}

/* What the checkpoints need is looked up first: a server that runs goes on meanwhile. */
static int check_journal(struct verify *v, const struct journals_stream *s)
{
    struct journals_needs needs;
    struct journal_report report;
    int err = journals_needs(v->db, v->o->config, s->name, &needs, v->error);
    if (v->damaged) {
        needs.known = false;
        err = 0;
    }
    if (!err)
        err = check_frames(v, s, &report);
    if (!err)
        check_positions(v, s, &needs, &report);
    return err;
}

static int check_journals(struct verify *v)
{
    struct journals j;
    int err = journals_hold(v->o->journal, &j, v->error);
    if (!err && j.n == 0)
        say(v, VERIFY_FOUND, "no journals in %s", v->o->journal);
    for (size_t i = 0; !err && i < j.n; i++)
        err = check_journal(v, &j.stream[i]);
    journals_release(&j);
    return err;
}

/* ---- All of it -------------------------------------------------------------------------------- */

static int check(struct verify *v)
{
    int err = check_integrity(v);
    v->damaged = v->faults > 0;
    if (!err && !v->damaged)
        err = check_version(v);
    if (!err && v->version)
        err = check_tables(v);
    if (!err && v->version)
        err = check_checkpoints(v);
    return err ? err : check_journals(v);
}

int verify_database(const struct verify_options *o, size_t *ret_faults,
                    struct error *error)
{
    struct verify v = {.o = o, .error = error};
    int err =
        db_open(o->database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, &v.db, error);
    if (!err)
        err = check(&v);
    sqlite3_close(v.db);
    if (err)
        error_prefix(error, "checking '%s'", o->database);
    *ret_faults = v.faults;
    return err;
}
