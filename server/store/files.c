/* SPDX-License-Identifier: Apache-2.0 */
#include "store/files.h"

#include "base/logger.h"
#include "base/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Of the database file itself, for weirs that call it by other names. SQLite locks the 512 bytes from
 * 0x40000000 on. */
#define LOCKED_BYTE 0x40001000

static const char *const suffix[] = {"", "-wal", "-shm"};

/* The process that holds the lock wrote its number into the file. */
static int lock_taken(int fd, struct error *error)
{
    char holder[32] = "";
    ssize_t n = pread(fd, holder, sizeof(holder) - 1, 0);
    if (n <= 0)
        return error_set(error, -EBUSY, "in use by another weir");
    holder[strcspn(holder, "\n")] = 0;
    return error_set(error, -EBUSY, "in use by another weir (process %s)", holder);
}

/* NAME.lock, which says who has the lock. */
static int lock_beside(struct files *f, const char *name, struct error *error)
{
    char *path = NULL;
    if (asprintf(&path, "%s.lock", name) < 0)
        return error_set(error, -ENOMEM, "out of memory");
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int err = -errno;
    if (f->lock < 0)
        error_set(error, err, "%s: %s", path, strerror(-err));
    free(path);
    if (f->lock < 0)
        return err;
    if (flock(f->lock, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? lock_taken(f->lock, error)
                                    : error_set(error, -errno, "%s", strerror(errno));
    char self[32];
    int n = snprintf(self, sizeof(self), "%ld\n", (long)getpid());
    if (ftruncate(f->lock, 0) || pwrite(f->lock, self, (size_t)n, 0) != n)
        return error_set(error, -EIO, "cannot write to the lock file");
    return 0;
}

/* The lock of an open file description: no other descriptor of this process takes it away. */
static int lock_file(struct files *f, struct error *error)
{
    struct flock l = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKED_BYTE, .l_len = 1};
    f->database = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (f->database < 0)
        return error_set(error, -errno, "%s", strerror(errno));
    if (fcntl(f->database, F_OFD_SETLK, &l) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return error_set(error, -EBUSY, "in use by another weir, by another name");
    return error_set(error, -errno, "cannot be locked: %s", strerror(errno));
}

bool files_in_use(const char *path)
{
    struct flock l = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKED_BYTE, .l_len = 1};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool in_use = fd >= 0 && fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
    if (fd >= 0)
        close(fd);
    return in_use;
}

/* What else is called so: SQLite looks for the WAL beside the name that it was given. */
static void warn_of_links(const struct files *f)
{
    struct stat st;
    if (fstat(f->database, &st) == 0 && st.st_nlink > 1)
        logger_warn("store",
                    "database '%s' is a file with %lu names: opened by another one it "
                    "would lack what is in '%s-wal'",
                    f->path, (unsigned long)st.st_nlink, f->path);
}

static int make_names(struct files *f, struct error *error)
{
    char *real = realpath(f->path, NULL);
    if (!real)
        return error_set(error, -errno, "%s", strerror(errno));
    int n = 0;
    for (size_t i = 0; n >= 0 && i < 3; i++)
        if ((n = asprintf(&f->name[i], "%s%s", real, suffix[i])) < 0)
            f->name[i] = NULL;
    free(real);
    return n < 0 ? error_set(error, -ENOMEM, "out of memory") : 0;
}

int files_lock(struct files *f, const char *path, struct error *error)
{
    *f = (struct files){.lock = -1, .database = -1, .path = strdup(path)};
    if (!f->path)
        return error_set(error, -ENOMEM, "out of memory");
    char *real = realpath(path, NULL); /* NULL: it is not there yet */
    int err = lock_beside(f, real ? real : path, error);
    free(real);
    if (!err)
        err = lock_file(f, error);
    if (!err)
        err = make_names(f, error);
    if (!err)
        warn_of_links(f);
    return err;
}

int files_sync_wal(const struct files *f, struct error *error)
{
    int fd = open(f->name[1], O_RDONLY | O_CLOEXEC), err = 0;
    if (fd < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(error, -errno, "'%s': %s", f->name[1], strerror(errno));
    if (fdatasync(fd))
        err = -errno;
    close(fd);
    if (!err)
        err = sync_parent(f->name[1]);
    return err ? error_set(error, err, "'%s' cannot be synced: %s", f->name[1],
                           strerror(-err))
               : 0;
}

int files_note(struct files *f, struct error *error)
{
    struct stat st;
    int err = file_id_of(f->database, &f->id[0]);
    if (err)
        return error_set(error, err, "%s", strerror(-err));
    for (size_t i = 1; i < 3; i++)
        if (stat(f->name[i], &st) == 0)
            f->id[i] = (struct file_id){st.st_dev, st.st_ino};
    return files_check(f, error);
}

int files_check(const struct files *f, struct error *error)
{
    if (!file_id_is_at(&f->id[0], AT_FDCWD, f->path))
        return error_set(error, -ESTALE, "'%s' was moved, removed or replaced",
                         f->path);
    for (size_t i = 0; i < 3; i++)
        if (f->id[i].ino && !file_id_is_at(&f->id[i], AT_FDCWD, f->name[i]))
            return error_set(error, -ESTALE, "'%s' was moved, removed or replaced",
                             f->name[i]);
    return 0;
}

void files_free(struct files *f)
{
    if (f->lock >= 0)
        close(f->lock);
    if (f->database >= 0)
        close(f->database);
    for (size_t i = 0; i < 3; i++)
        free(f->name[i]);
    free(f->path);
    *f = (struct files){.lock = -1, .database = -1};
}
