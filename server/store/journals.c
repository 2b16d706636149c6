/* SPDX-License-Identifier: Apache-2.0 */
#include "store/journals.h"

#include "journal/journal.h"
#include "store/db.h"
#include "store/migrate.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEMA_WITH_POSITIONS 3 /* version from which on the file has weir_streams */

/* ---- The folders ------------------------------------------------------------------------------ */

/* Names of streams are [a-zA-Z0-9_]+: whatever else lies in the folder is not weir's. */
static bool is_stream(const char *folder)
{
    const char *name = strrchr(folder, '/') + 1;
    struct stat st;
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789_")] == 0 &&
           stat(folder, &st) == 0 && S_ISDIR(st.st_mode);
}

static int add(struct journals *j, char *folder, struct error *error)
{
    struct journals_stream *more =
        realloc(j->stream, (j->n + 1) * sizeof(j->stream[0]));
    if (!more)
        return error_set(error, -ENOMEM, "out of memory");
    j->stream = more;
    struct journals_stream s = {.name = strdup(strrchr(folder, '/') + 1), .hold = -1};
    int err = s.name ? journal_hold(folder, &s.hold, error)
                     : error_set(error, -ENOMEM, "out of memory");
    if (err) {
        free(s.name);
        return err;
    }
    s.folder = folder;
    j->stream[j->n++] = s;
    return 0;
}

static int take(struct journals *j, const char *parent, const char *name,
                struct error *error)
{
    char *folder;
    if (asprintf(&folder, "%s/%s", parent, name) < 0)
        return error_set(error, -ENOMEM, "out of memory");
    bool wanted = is_stream(folder);
    int err = wanted ? add(j, folder, error) : 0;
    if (err || !wanted)
        free(folder);
    return err;
}

static int by_name(const void *a, const void *b)
{
    const struct journals_stream *x = a, *y = b;
    return strcmp(x->name, y->name);
}

int journals_hold(const char *folder, struct journals *ret, struct error *error)
{
    struct journals j = {0};
    DIR *d = opendir(folder);
    *ret = j;
    if (!d)
        return errno == ENOENT ? 0
                               : error_set(error, -errno, "journal '%s': %s", folder,
                                           strerror(errno));
    int err = 0;
    for (struct dirent *e; !err && (e = readdir(d));)
        err = take(&j, folder, e->d_name, error);
    closedir(d);
    if (j.n)
        qsort(j.stream, j.n, sizeof(j.stream[0]), by_name);
    if (err)
        journals_release(&j);
    *ret = j;
    return err;
}

void journals_release(struct journals *j)
{
    for (size_t i = 0; i < j->n; i++) {
        if (j->stream[i].hold >= 0)
            close(j->stream[i].hold);
        free(j->stream[i].folder);
        free(j->stream[i].name);
    }
    free(j->stream);
    *j = (struct journals){0};
}

/* ---- What the database needs ------------------------------------------------------------------ */

/* A checkpoint says how far the pipeline is with the stream that it read then. One that reads a pipeline gets what
 * that makes of the journal again. */
static int look_at_pipeline(sqlite3 *db, const char *pipeline, bool reads_stream,
                            const char *stream, struct journals_needs *n,
                            struct error *error)
{
    static const char sql[] =
        "SELECT position FROM weir_checkpoints WHERE pipeline = ? AND stream = ?";
    DB_STATEMENT s = NULL;
    int err = db_prepare(db, sql, 0, &s, error);
    if (err)
        return err;
    sqlite3_bind_text(s, 1, pipeline, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, stream, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    if (code != SQLITE_ROW)
        return code == SQLITE_DONE ? 0 : db_error(db, error);
    uint64_t position = (uint64_t)sqlite3_column_int64(s, 0);
    n->least = position < n->least && reads_stream ? position : n->least;
    n->most = position > n->most ? position : n->most;
    return 0;
}

/* The stream may be the one that it reads, or one that it joins: under a name of its own. */
static int look_at_streams(sqlite3 *db, const struct config *config,
                           const struct config_pipeline *p, const char *stream,
                           struct journals_needs *n, struct error *error)
{
    int err = 0;
    if (!strcmp(config->stream[p->stream].name, stream))
        err = look_at_pipeline(db, p->name, !p->from, stream, n, error);
    for (size_t i = 0; !err && i < p->joins.n; i++) {
        char *name;
        if (p->joins.join[i].result ||
            strcmp(config->stream[p->joins.join[i].stream].name, stream))
            continue;
        if (asprintf(&name, "%s.%s", p->name, stream) < 0)
            return error_set(error, -ENOMEM, "out of memory");
        err = look_at_pipeline(db, name, true, stream, n, error);
        free(name);
    }
    return err;
}

int journals_kept(sqlite3 *db, const char *stream, uint64_t *ret_position,
                  struct error *error)
{
    sqlite3_int64 position;
    int err = db_int(db, "SELECT position FROM weir_streams WHERE stream = ?", stream,
                     &position, error);
    if (!err)
        *ret_position = (uint64_t)position;
    return err;
}

int journals_needs(sqlite3 *db, const struct config *config, const char *stream,
                   struct journals_needs *ret, struct error *error)
{
    int version;
    struct journals_needs n = {.known = true};
    *ret = (struct journals_needs){.known = false};
    int err = migrate_found(db, &version, error);
    if (err || version < SCHEMA_WITH_POSITIONS)
        return err;
    err = journals_kept(db, stream, &n.kept, error);
    if (err)
        return err == -ENOENT ? 0 : err;
    n.least = n.most = n.kept;
    for (size_t i = 0; config && i < config->n_pipelines; i++) {
        err = look_at_streams(db, config, &config->pipeline[i], stream, &n, error);
        if (err)
            return err;
    }
    *ret = n;
    return 0;
}
