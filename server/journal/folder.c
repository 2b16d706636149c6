/* SPDX-License-Identifier: Apache-2.0 */
#include "journal/folder.h"

#include "base/sync.h"
#include "journal/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void folder_segment_name(uint64_t number, char name[FOLDER_NAME_MAX])
{
    snprintf(name, FOLDER_NAME_MAX, "%08" PRIu64 ".journal", number);
}

void folder_spare_name(uint64_t number, char name[FOLDER_NAME_MAX])
{
    snprintf(name, FOLDER_NAME_MAX, "spare-%" PRIu64, number);
}

/* ---- The list ---- */

/* The number in a name that is written exactly as `format` would write it. */
static bool number_of(const char *name,
                      void (*format)(uint64_t number, char name[FOLDER_NAME_MAX]),
                      uint64_t *ret)
{
    char again[FOLDER_NAME_MAX];
    const char *digits = name + strcspn(name, "0123456789");
    errno = 0;
    uint64_t number = strtoull(digits, NULL, 10);
    if (*digits == 0 || errno)
        return false;
    format(number, again);
    if (strcmp(again, name) != 0)
        return false;
    *ret = number;
    return true;
}

static int add_file(struct folder_file **list, size_t *n, uint64_t number,
                    uint64_t size)
{
    if ((*n & (*n - 1)) == 0) { /* full at every power of two */
        struct folder_file *more = realloc(*list, (*n ? *n * 2 : 1) * sizeof(**list));
        if (!more)
            return -ENOMEM;
        *list = more;
    }
    (*list)[(*n)++] = (struct folder_file){number, size};
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct folder_file *)a)->number;
    uint64_t y = ((const struct folder_file *)b)->number;
    return (x > y) - (x < y);
}

static int take_name(int folder, const char *name, struct folder_list *l)
{
    uint64_t number;
    bool segment = number_of(name, folder_segment_name, &number);
    struct stat st;
    if (!segment && !number_of(name, folder_spare_name, &number))
        return 0;
    if (fstatat(folder, name, &st, 0))
        return errno == ENOENT ? 0 : -errno; /* a running server used it again */
    return segment ? add_file(&l->segment, &l->n_segments, number, (uint64_t)st.st_size)
                   : add_file(&l->spare, &l->n_spares, number, (uint64_t)st.st_size);
}

int folder_read(int folder, struct folder_list *ret)
{
    struct folder_list l = {0};
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        err = -errno;
        if (fd >= 0)
            close(fd);
        return err;
    }
    for (struct dirent *e; !err && (e = readdir(d));)
        err = take_name(folder, e->d_name, &l);
    closedir(d);
    if (err) {
        folder_list_free(&l);
        return err;
    }
    if (l.n_segments)
        qsort(l.segment, l.n_segments, sizeof(l.segment[0]), by_number);
    if (l.n_spares)
        qsort(l.spare, l.n_spares, sizeof(l.spare[0]), by_number);
    *ret = l;
    return 0;
}

void folder_list_free(struct folder_list *l)
{
    free(l->segment);
    free(l->spare);
    *l = (struct folder_list){0};
}

/* ---- The folder and its locks ---- */

int folder_make(const char *path, struct error *error)
{
    if (mkdir(path, 0700) && errno != EEXIST)
        return error_set(error, -errno, "cannot make the folder: %s", strerror(errno));
    int err = sync_parent(path);
    return err ? error_set(error, err, "cannot make the folder durable: %s",
                           strerror(-err))
               : 0;
}

int folder_make_all(const char *parent, const char *const *name, size_t n)
{
    int err = 0, fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (size_t i = 0; !err && i < n; i++)
        if (mkdirat(fd, name[i], 0700) && errno != EEXIST)
            err = -errno;
    if (!err && fsync(fd))
        err = -errno;
    close(fd);
    return err;
}

int folder_open(const char *path, int *ret, struct error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, -errno, "%s", strerror(errno));
    *ret = fd;
    return 0;
}

int folder_flock(int fd, int operation)
{
    while (flock(fd, operation))
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* The process that holds the lock wrote its number into the file. */
static int lock_taken(int fd, struct error *error)
{
    char holder[32] = "";
    ssize_t n = pread(fd, holder, sizeof(holder) - 1, 0);
    close(fd);
    if (n <= 0)
        return error_set(error, -EBUSY, "in use by another weir");
    holder[strcspn(holder, "\n")] = 0;
    return error_set(error, -EBUSY, "in use by another weir (process %s)", holder);
}

int folder_lock(int folder, int *ret, struct error *error)
{
    char self[32];
    int n = snprintf(self, sizeof(self), "%ld\n", (long)getpid());
    int fd = openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, -errno, "lock: %s", strerror(errno));
    int err = folder_flock(fd, LOCK_EX | LOCK_NB);
    if (err == -EWOULDBLOCK)
        return lock_taken(fd, error);
    if (!err && ftruncate(fd, 0))
        err = -errno;
    if (!err)
        err = folder_write(fd, self, (size_t)n, 0);
    if (err) {
        close(fd);
        return error_set(error, err, "lock: %s", strerror(-err));
    }
    *ret = fd;
    return 0;
}

int folder_hold(int folder, bool make, int *ret)
{
    int flags = make ? O_RDWR | O_CREAT : O_RDONLY;
    int fd = openat(folder, "hold", flags | O_CLOEXEC, 0600);
    if (fd < 0 && (make || errno != ENOENT))
        return -errno;
    *ret = fd;
    return 0;
}

int folder_hold_shared(int folder, bool make, int *ret)
{
    int fd = -1, err = folder_hold(folder, make, &fd);
    if (!err && fd >= 0)
        err = folder_flock(fd, LOCK_SH);
    if (!err)
        *ret = fd;
    else if (fd >= 0)
        close(fd);
    return err;
}

static bool try_direct(int folder)
{
    int flags = O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC;
    char *block = aligned_alloc(JOURNAL_BLOCK, JOURNAL_BLOCK);
    int fd = block ? openat(folder, FOLDER_HALF_MADE, flags, 0600) : -1;
    bool works = false;
    if (fd >= 0) {
        memset(block, 0, JOURNAL_BLOCK);
        works = pwrite(fd, block, JOURNAL_BLOCK, 0) == JOURNAL_BLOCK;
        close(fd);
    }
    unlinkat(folder, FOLDER_HALF_MADE, 0); /* some make it and then refuse to open it */
    free(block);
    return works;
}

/* Folders of one file system are alike: of a thousand journals the first one is tried. */
bool folder_is_direct(int folder)
{
    static struct {
        pthread_mutex_t lock; /* protects the rest */
        bool known, works;
        dev_t device;
    } last = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct stat st;
    if (fstat(folder, &st))
        return try_direct(folder);
    pthread_mutex_lock(&last.lock);
    if (!last.known || last.device != st.st_dev) {
        last.works = try_direct(folder);
        last.device = st.st_dev;
        last.known = true;
    }
    bool works = last.works;
    pthread_mutex_unlock(&last.lock);
    return works;
}

/* ---- Files ---- */

int folder_open_segment(int folder, uint64_t number, int flags)
{
    char name[FOLDER_NAME_MAX];
    folder_segment_name(number, name);
    int fd = openat(folder, name, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int folder_write(int fd, const char *bytes, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t n = pwrite(fd, bytes, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        bytes += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}
