/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/backup_folder.h"

#include "base/clock.h"
#include "base/logger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_BYTES 24 /* 20260102T030405.678Z, and a zero */
#define PART       ".part"

static void make_name(int64_t us, char name[NAME_BYTES])
{
    time_t s = (time_t)(us / SECOND_US);
    struct tm t;
    char text[NAME_BYTES];
    gmtime_r(&s, &t);
    strftime(text, sizeof(text), "%Y%m%dT%H%M%S", &t);
    snprintf(name, NAME_BYTES, "%.15s.%03uZ", text,
             (unsigned)(us % SECOND_US / 1000) % 1000);
}

/* What make_name makes, with `suffix` behind it. */
static bool is_name(const char *name, const char *suffix)
{
    static const char form[] = "00000000T000000.000Z";
    for (const char *f = form; *f; f++, name++) {
        bool digit = *name >= '0' && *name <= '9';
        if (*f == '0' ? !digit : *name != *f)
            return false;
    }
    return strcmp(name, suffix) == 0;
}

/* ---- What is removed -------------------------------------------------------------------------- */

/* Somebody holds the lock on it. */
static bool is_locked(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool locked = flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    close(fd);
    return locked;
}

static void warn(const char *path, int err)
{
    logger_warn("backup", "'%s' cannot be removed: %s", path, strerror(-err));
}

/* What is left of one that was interrupted. */
static void remove_part(const char *path)
{
    int err = is_locked(path) ? 0 : backup_remove(path);
    if (err < 0)
        warn(path, err);
}

/* By another name first, so that one that is half gone is never taken for a backup. */
static void remove_old(const char *path)
{
    char *lock = NULL, *part = NULL;
    int err = 0;
    if (asprintf(&lock, "%s/" BACKUP_DATABASE ".lock", path) < 0)
        lock = NULL;
    if (asprintf(&part, "%s" PART, path) < 0)
        part = NULL;
    if (!lock || !part)
        err = -ENOMEM;
    else if (is_locked(lock))
        err = -EBUSY;
    else if (rename(path, part))
        err = -errno;
    else
        err = backup_remove(part);
    if (err)
        warn(path, err);
    free(part);
    free(lock);
}

static int only_backups(const struct dirent *e)
{
    return is_name(e->d_name, "");
}

static int only_parts(const struct dirent *e)
{
    return is_name(e->d_name, PART);
}

static void remove_by_name(const char *folder, const char *name,
                           void (*remove_one)(const char *path))
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return;
    remove_one(path);
    free(path);
}

/* All but `keep` of the selected entries, the first by their names; never `made`. */
static void remove_but(const char *folder, unsigned keep, const char *made,
                       int (*selected)(const struct dirent *),
                       void (*remove_one)(const char *path))
{
    struct dirent **list;
    int n = scandir(folder, &list, selected, alphasort);
    int left = n;
    for (int i = 0; i < n; i++) {
        if ((unsigned)left > keep && strcmp(list[i]->d_name, made)) {
            remove_by_name(folder, list[i]->d_name, remove_one);
            left--;
        }
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

/* ---- What is added ---------------------------------------------------------------------------- */

static int make_folder(const char *folder, struct error *error)
{
    if (mkdir(folder, 0700) == 0 || errno == EEXIST)
        return 0;
    int err = -errno;
    return error_set(error, err, "'%s': %s", folder, strerror(-err));
}

int backup_folder_add(const char *folder, unsigned keep, const struct backup_options *o,
                      char **ret_path, struct backup_report *ret, struct error *error)
{
    char name[NAME_BYTES], *path;
    int err = make_folder(folder, error);
    if (err)
        return err;
    make_name(clock_now_us(), name);
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return error_set(error, -ENOMEM, "out of memory");
    remove_but(folder, 0, name, only_parts, remove_part);
    struct backup_options options = *o;
    options.to = path;
    err = backup_make(&options, ret, error);
    if (err) {
        free(path);
        return err;
    }
    remove_but(folder, keep, name, only_backups, remove_old);
    *ret_path = path;
    return 0;
}
