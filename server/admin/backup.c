/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/backup.h"

#include "base/clock.h"
#include "base/sync.h"
#include "journal/journal.h"
#include "store/db.h"
#include "store/journals.h"
#include "store/migrate.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_PAGES 256 /* 4 MiB between two looks whether it is cancelled */

struct backup {
    const struct backup_options *o;
    char *to, *part;
    int lock;                 /* descriptor of `part`, flocked while it is being made */
    char *database, *journal; /* in `part` */
    struct journals from;
    sqlite3 *db, *copy;
    struct backup_report report;
};

void backup_report_free(struct backup_report *r)
{
    for (size_t i = 0; i < r->n_streams; i++)
        free(r->stream[i].name);
    free(r->stream);
    *r = (struct backup_report){0};
}

static bool is_cancelled(const struct backup *b)
{
    return b->o->cancelled && b->o->cancelled(b->o->ctx);
}

/* ---- Folders ---------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path) && errno != ENOENT ? -errno : 0;
}

int backup_remove(const char *folder)
{
    int err = nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return err == -1 ? -errno : err;
}

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 || fsync(fd) ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return err;
}

static int name_paths(struct backup *b)
{
    size_t size = strlen(b->o->to);
    while (size > 1 && b->o->to[size - 1] == '/')
        size--;
    b->to = strndup(b->o->to, size);
    if (!b->to || asprintf(&b->part, "%s.part", b->to) < 0)
        b->part = NULL;
    if (!b->part || asprintf(&b->database, "%s/" BACKUP_DATABASE, b->part) < 0)
        b->database = NULL;
    if (!b->database || asprintf(&b->journal, "%s.journal", b->database) < 0)
        b->journal = NULL;
    return b->journal ? 0 : -ENOMEM;
}

static bool is_empty(DIR *folder)
{
    struct dirent *e;
    do
        e = readdir(folder);
    while (e && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")));
    return !e;
}

/* What rename, which replaces an empty folder, would only find out at the end. */
static int check_target(const char *to, struct error *error)
{
    struct stat st;
    if (lstat(to, &st))
        return errno == ENOENT ? 0 : error_set(error, -errno, "%s", strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(error, -EEXIST, "is there, and not a folder");
    DIR *folder = opendir(to);
    if (!folder)
        return error_set(error, -errno, "%s", strerror(errno));
    bool empty = is_empty(folder);
    closedir(folder);
    return empty ? 0 : error_set(error, -EEXIST, "is there, and not empty");
}

static int lock_part(struct backup *b, struct error *error)
{
    b->lock = open(b->part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->lock >= 0 && !flock(b->lock, LOCK_EX | LOCK_NB))
        return 0;
    int err = -errno;
    rmdir(b->part);
    return error_set(error, err, "'%s': %s", b->part, strerror(-err));
}

static int make_part(struct backup *b, struct error *error)
{
    int err = check_target(b->to, error);
    if (err)
        return err;
    err = mkdir(b->part, 0700) ? -errno : 0;
    if (!err)
        return lock_part(b, error);
    return err == -EEXIST
               ? error_set(error, err,
                           "'%s' is there: another backup is being made, or one was "
                           "interrupted; remove it then",
                           b->part)
               : error_set(error, err == -ENOENT ? -ENOTDIR : err, "%s",
                           strerror(-err));
}

/* It has its name at last. */
static int finish(struct backup *b, struct error *error)
{
    int err = sync_path(b->part);
    if (!err && rename(b->part, b->to))
        err = -errno;
    if (err)
        return error_set(error, err, "%s", strerror(-err));
    err = sync_parent(b->to);
    return err ? error_set(error, err, "it is made, but not synced: %s", strerror(-err))
               : 0;
}

/* ---- The snapshot ----------------------------------------------------------------------------- */

static int open_snapshot(struct backup *b, struct error *error)
{
    int version = 0;
    int err = db_open(b->o->database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                      &b->db, error);
    if (!err)
        err = db_exec(b->db, "BEGIN", error);
    if (!err) /* the first look is what the snapshot shows from now on */
        err = migrate_check(b->db, error);
    if (!err)
        err = migrate_found(b->db, &version, error);
    if (!err && version == 0)
        err = error_set(error, -EINVAL, "no database of weir");
    if (err)
        error_prefix(error, "database '%s'", b->o->database);
    return err;
}

/* ---- Journals --------------------------------------------------------------------------------- */

static int add_stream(struct backup_report *r, const char *name, uint64_t known,
                      const struct journal_report *journal)
{
    struct backup_stream *more =
        realloc(r->stream, (r->n_streams + 1) * sizeof(r->stream[0]));
    if (!more)
        return -ENOMEM;
    r->stream = more;
    struct backup_stream s = {.name = strdup(name),
                              .position =
                                  journal->end > known ? journal->end - 1 : known,
                              .damaged = journal->damaged};
    if (!s.name)
        return -ENOMEM;
    r->stream[r->n_streams++] = s;
    return 0;
}

/* Of the files: a segment that was just left for the next one may be copied with what lies behind its last frame. */
static int count_bytes(struct backup_report *r, const char *copy)
{
    struct stat st;
    DIR *folder = opendir(copy);
    if (!folder)
        return -errno;
    for (struct dirent *e; (e = readdir(folder));)
        if (!fstatat(dirfd(folder), e->d_name, &st, 0) && S_ISREG(st.st_mode))
            r->bytes += (uint64_t)st.st_size;
    closedir(folder);
    return 0;
}

/* All is read again: the end is what the copy has, not what the original had a moment ago. */
static int look_at_copy(struct backup *b, const char *name, uint64_t known,
                        const char *copy, struct error *error)
{
    struct journal_report journal;
    struct error damage = {""};
    int err = journal_verify(copy, &journal, &damage);
    if (err < 0)
        return error_set(error, err, "%s", damage.text);
    if (journal.damaged && !b->report.damage.text[0])
        error_set(&b->report.damage, 0, "stream '%s': %.450s", name, damage.text);
    err = add_stream(&b->report, name, known, &journal);
    if (!err)
        err = count_bytes(&b->report, copy);
    return err ? error_set(error, err, "'%s': %s", copy, strerror(-err)) : 0;
}

static int copy_journal(struct backup *b, const struct journals_stream *s,
                        struct error *error)
{
    char *copy;
    struct journals_needs needs;
    int err = journals_needs(b->db, NULL, s->name, &needs, error);
    if (err)
        return err;
    if (asprintf(&copy, "%s/%s", b->journal, s->name) < 0)
        return error_set(error, -ENOMEM, "out of memory");
    err = journal_copy(s->folder, 1, copy, error);
    if (!err)
        err = look_at_copy(b, s->name, needs.most, copy, error);
    free(copy);
    return err;
}

static int copy_journals(struct backup *b, struct error *error)
{
    if (mkdir(b->journal, 0700))
        return error_set(error, -errno, "'%s': %s", b->journal, strerror(errno));
    int err = 0;
    for (size_t i = 0; !err && i < b->from.n; i++) {
        err = is_cancelled(b) ? error_set(error, -ECANCELED, "cancelled")
                              : copy_journal(b, &b->from.stream[i], error);
    }
    if (!err && (err = sync_path(b->journal)) < 0)
        error_set(error, err, "'%s': %s", b->journal, strerror(-err));
    return err;
}

/* ---- The database ----------------------------------------------------------------------------- */

/* Has the kernel begin to write, so that the sync at the end does not take the disk from others for
 * long. */
static void write_behind(int fd)
{
    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* The source connection has the snapshot open: what others write does not make SQLite begin anew. */
static int copy_pages(struct backup *b, sqlite3_backup *copy, int fd,
                      struct error *error)
{
    int code = SQLITE_OK;
    while (code == SQLITE_OK) {
        if (is_cancelled(b))
            return error_set(error, -ECANCELED, "cancelled");
        code = sqlite3_backup_step(copy, PIECE_PAGES);
        write_behind(fd);
    }
    return code == SQLITE_DONE
               ? 0
               : error_set(error, db_errno(code), "%s", sqlite3_errstr(code));
}

static int copy_to(struct backup *b, int fd, struct error *error)
{
    sqlite3_backup *copy = sqlite3_backup_init(b->copy, "main", b->db, "main");
    if (!copy)
        return db_error(b->copy, error);
    int err = copy_pages(b, copy, fd, error);
    int code = sqlite3_backup_finish(copy);
    return err || !code ? err
                        : error_set(error, db_errno(code), "%s", sqlite3_errstr(code));
}

/* A crash leaves a file that is never looked at: no journal, one sync. */
static int open_copy(struct backup *b, struct error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int err = db_open(b->database, flags, &b->copy, error);
    return err ? err
               : db_exec(b->copy, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF",
                         error);
}

static int sync_copy(struct backup *b, int fd, struct error *error)
{
    struct stat st;
    int code = sqlite3_close(b->copy);
    b->copy = NULL;
    if (code)
        return error_set(error, db_errno(code), "%s", sqlite3_errstr(code));
    if (fsync(fd) || fstat(fd, &st))
        return error_set(error, -errno, "%s", strerror(errno));
    b->report.bytes += (uint64_t)st.st_size;
    return 0;
}

static int copy_database(struct backup *b, struct error *error)
{
    int err = open_copy(b, error);
    int fd = err ? -1 : open(b->database, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (!err && fd < 0)
        err = error_set(error, -errno, "%s", strerror(errno));
    if (!err)
        err = copy_to(b, fd, error);
    if (!err)
        err = sync_copy(b, fd, error);
    if (fd >= 0)
        close(fd);
    if (err)
        error_prefix(error, "copying database '%s'", b->o->database);
    return err;
}

/* ---- All of it -------------------------------------------------------------------------------- */

static int make(struct backup *b, struct error *error)
{
    int err = journals_hold(b->o->journal, &b->from, error);
    if (!err)
        err = open_snapshot(b, error);
    if (!err)
        err = copy_journals(b, error);
    journals_release(&b->from);
    if (!err)
        err = copy_database(b, error);
    sqlite3_close(b->copy);
    sqlite3_close(b->db);
    return err;
}

static int make_in_part(struct backup *b, struct error *error)
{
    int err = make_part(b, error);
    if (err)
        return err;
    err = make(b, error);
    if (!err)
        err = finish(b, error);
    if (err)
        backup_remove(b->part);
    return err;
}

int backup_make(const struct backup_options *o, struct backup_report *ret,
                struct error *error)
{
    struct backup b = {.o = o, .lock = -1};
    int64_t begun_us = clock_monotonic_us();
    int err = name_paths(&b);
    err = err ? error_set(error, err, "out of memory") : make_in_part(&b, error);
    if (err)
        error_prefix(error, "backup '%s'", o->to);
    b.report.took_us = clock_monotonic_us() - begun_us;
    if (err)
        backup_report_free(&b.report);
    else
        *ret = b.report;
    if (b.lock >= 0)
        close(b.lock);
    free(b.journal);
    free(b.database);
    free(b.part);
    free(b.to);
    return err;
}
