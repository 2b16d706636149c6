/* SPDX-License-Identifier: Apache-2.0
 *
 * Records what a power loss could undo: preloaded into a program (LD_PRELOAD), it keeps for every file
 * below $POWERLOSS_FOLDER what stood in the place of all that was written since the last successful
 * fsync or fdatasync of that file, and which names were made, moved or removed since the last fsync of
 * their folder. What it keeps lies in $POWERLOSS_STATE, outlives kill -9, and is read by powerloss.py,
 * which then plays the power loss. README.md beside this file says what that models, and what not.
 *
 *      STATE/undo/INODE    records: WRITE TRUNCATE SYNC DONE, in the order of what they tell of
 *      STATE/names         lines: seq, kind, path, other path, file in kept/
 *      STATE/kept/SEQ      hard links to files that were removed or replaced
 *      STATE/refused       lines: what the program did that is not modelled
 *
 * All calls are made as bare system calls, so that nothing of it comes back here.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SECTOR    512u
#define FILES_MAX 4096u
#define EXPORT    __attribute__((visibility("default")))

enum kind { WRITE = 1, TRUNCATE, SYNC, DONE };

struct record { /* followed by `length` bytes that stood at `offset` */
    uint32_t magic, kind;
    uint64_t seq;
    uint64_t offset; /* a multiple of SECTOR */
    uint64_t length; /* what the file had of the sectors that are written to */
    uint64_t size;   /* of the file before */
    uint64_t end;    /* of the write; TRUNCATE: the new size */
};

struct file {
    ino_t inode;
    int read_fd; /* never closed: that would give back the process's locks on the file */
    int undo_fd;
    uint64_t last; /* seq of the newest record; protected by lock */
    pthread_mutex_t lock;
};

static struct file file[FILES_MAX];
static size_t n_files;
static uint64_t last_seq;
/* protects the table and last_seq */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
/* held from the note of a change of names until it is done: only the last one may not have been. Taken
 * before the others. */
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX], state[PATH_MAX];
static dev_t device;
static int names_fd = -1;

/* ---- Its own files ---- */

__attribute__((format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vdprintf(2, format, list);
    va_end(list);
    _exit(99);
}

__attribute__((format(printf, 3, 4))) static void print(char *to, size_t size,
                                                        const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(to, size, format, list);
    va_end(list);
    if (n < 0 || (size_t)n >= size)
        die("powerloss: a path is too long\n");
}

static int open_raw(const char *path, int flags)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

static void append(int fd, const void *bytes, size_t size)
{
    struct iovec all = {(void *)bytes, size};
    if (syscall(SYS_writev, fd, &all, 1) != (long)size)
        die("powerloss: cannot record: %s\n", strerror(errno));
}

static void append_name(const char *text)
{
    append(names_fd, text, strlen(text));
}

static void refuse(const char *what, const char *name)
{
    char path[PATH_MAX + 16], text[PATH_MAX + 64];
    print(path, sizeof path, "%s/refused", state);
    int fd = open_raw(path, O_WRONLY | O_CREAT | O_APPEND);
    if (fd < 0)
        die("powerloss: %s: %s\n", path, strerror(errno));
    print(text, sizeof text, "%s %s\n", what, name);
    append(fd, text, strlen(text));
    close(fd);
}

__attribute__((constructor)) static void begin(void)
{
    const char *in = getenv("POWERLOSS_FOLDER"), *to = getenv("POWERLOSS_STATE");
    struct stat st;
    if (!in || !to)
        return;
    char path[PATH_MAX];
    if (!realpath(in, path) || stat(path, &st) < 0)
        die("powerloss: %s: %s\n", in, strerror(errno));
    device = st.st_dev;
    print(state, sizeof state, "%s", to);
    char names[PATH_MAX + 16];
    print(names, sizeof names, "%s/names", state);
    names_fd = open_raw(names, O_WRONLY | O_CREAT | O_APPEND);
    if (names_fd < 0)
        die("powerloss: %s: %s\n", names, strerror(errno));
    print(folder, sizeof folder, "%s/", path);
}

/* Grows from process to process: the machine is not started anew in between. Table locked. */
static uint64_t next_seq(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t seq = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    last_seq = seq > last_seq ? seq : last_seq + 1;
    return last_seq;
}

static uint64_t take_seq(void)
{
    pthread_mutex_lock(&table_lock);
    uint64_t seq = next_seq();
    pthread_mutex_unlock(&table_lock);
    return seq;
}

/* ---- Which files ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_below(const char *path)
{
    return folder[0] && strncmp(path, folder, strlen(folder)) == 0;
}

static bool is_ours(const char *path)
{
    return is_below(path) && !ends_with(path, "-shm") && !ends_with(path, ".lock");
}

static bool path_of(int fd, char *ret)
{
    char link[64];
    print(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, ret, PATH_MAX - 1);
    if (n <= 0)
        return false;
    ret[n] = '\0';
    return true;
}

/* The absolute path of a name whose folder exists. */
static bool full_path(int at, const char *name, char *ret)
{
    char parent[PATH_MAX], real[PATH_MAX];
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    if (name[0] == '/' || at == AT_FDCWD)
        print(parent, sizeof parent, "%.*s",
              slash ? (int)(slash - name + (slash == name)) : 1, slash ? name : ".");
    else if (path_of(at, real))
        print(parent, sizeof parent, "%s/%.*s", real, slash ? (int)(slash - name) : 0,
              name);
    else
        return false;
    if (!realpath(parent, real))
        return false;
    print(ret, PATH_MAX, "%s/%s", real, base);
    return true;
}

static struct file *find(int fd, struct stat *ret)
{
    if (!folder[0])
        return NULL;
    int kept = errno;
    struct file *found = NULL;
    if (fstat(fd, ret) == 0 && S_ISREG(ret->st_mode) && ret->st_dev == device) {
        pthread_mutex_lock(&table_lock);
        for (size_t i = 0; i < n_files && !found; i++)
            if (file[i].inode == ret->st_ino)
                found = &file[i];
        pthread_mutex_unlock(&table_lock);
    }
    errno = kept;
    return found;
}

/* A file was opened. One that was made now is empty; what is known of its inode was of another. */
static void watch(int fd, const char *path, bool made)
{
    struct stat st;
    char undo[PATH_MAX + 64], again[64];
    struct file *f = find(fd, &st);
    if (f && made && syscall(SYS_ftruncate, f->undo_fd, 0) < 0)
        die("powerloss: %s: %s\n", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_dev != device)
        return;
    print(again, sizeof again, "/proc/self/fd/%d", fd);
    if (f) {
        if (made)
            f->read_fd = open_raw(again, O_RDONLY);
        return;
    }
    pthread_mutex_lock(&table_lock);
    if (n_files == FILES_MAX)
        die("powerloss: too many files\n");
    f = &file[n_files];
    print(undo, sizeof undo, "%s/undo/%llu", state, (unsigned long long)st.st_ino);
    f->undo_fd = open_raw(undo, O_WRONLY | O_CREAT | O_APPEND | (made ? O_TRUNC : 0));
    f->read_fd = open_raw(again, O_RDONLY);
    if (f->undo_fd < 0 || f->read_fd < 0)
        die("powerloss: %s: %s\n", path, strerror(errno));
    f->inode = st.st_ino;
    f->last = next_seq();
    pthread_mutex_init(&f->lock, NULL);
    n_files++;
    pthread_mutex_unlock(&table_lock);
}

/* ---- What stood there ---- */

static void read_old(struct file *f, uint64_t offset, char *to, uint64_t size)
{
    for (uint64_t at = 0; at < size;) {
        ssize_t n = (ssize_t)syscall(SYS_pread64, f->read_fd, to + at, size - at,
                                     (off_t)(offset + at));
        if (n <= 0)
            die("powerloss: cannot read: %s\n", n < 0 ? strerror(errno) : "the end");
        at += (uint64_t)n;
    }
}

/* Writes the record and the bytes that are there from r->offset on, up to `upto` or the end. */
static void record_old(struct file *f, struct record *r, uint64_t upto)
{
    uint64_t end = upto < r->size ? upto : r->size;
    r->length = end > r->offset ? end - r->offset : 0;
    char *all = malloc(sizeof *r + r->length);
    if (!all)
        die("powerloss: no memory\n");
    memcpy(all, r, sizeof *r);
    read_old(f, r->offset, all + sizeof *r, r->length);
    append(f->undo_fd, all, sizeof *r + r->length);
    free(all);
    f->last = r->seq;
}

static void record_mark(struct file *f, enum kind kind, uint64_t seq)
{
    struct record r = {0x70776c73, kind, seq, 0, 0, 0, 0};
    append(f->undo_fd, &r, sizeof r);
}

/* Returns with the file locked, until after_write: the next one must see what this one wrote. */
static uint64_t before_write(struct file *f, int fd, uint64_t offset, uint64_t n)
{
    struct stat st;
    pthread_mutex_lock(&f->lock);
    if (fstat(fd, &st) < 0)
        die("powerloss: %s\n", strerror(errno));
    struct record r = {
        0x70776c73,           WRITE,     take_seq(), offset / SECTOR * SECTOR, 0,
        (uint64_t)st.st_size, offset + n};
    record_old(f, &r, (r.end + SECTOR - 1) / SECTOR * SECTOR);
    return r.seq;
}

static void after_write(struct file *f, int fd, uint64_t seq, bool written,
                        bool durable)
{
    int kept = errno;
    int flags = fcntl(fd, F_GETFL);
    if (written && (durable || (flags >= 0 && flags & O_DSYNC)))
        record_mark(f, DONE, seq);
    pthread_mutex_unlock(&f->lock);
    errno = kept;
}

static void before_truncate(struct file *f, int fd, uint64_t size)
{
    struct stat st;
    pthread_mutex_lock(&f->lock);
    if (fstat(fd, &st) < 0)
        die("powerloss: %s\n", strerror(errno));
    struct record r = {
        0x70776c73,           TRUNCATE, take_seq(), size / SECTOR * SECTOR, 0,
        (uint64_t)st.st_size, size};
    record_old(f, &r, UINT64_MAX);
}

static uint64_t position(int fd, const struct stat *st)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && flags & O_APPEND)
        return (uint64_t)st->st_size;
    return (uint64_t)lseek(fd, 0, SEEK_CUR);
}

static uint64_t total(const struct iovec *v, int n)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += v[i].iov_len;
    return sum;
}

/* ---- Calls on an open file ---- */

/* Runs `call` as a write of n bytes at `offset`; the file is `f`. */
#define AS_WRITE(f, fd, offset, n, durable, call)                                      \
    do {                                                                               \
        uint64_t seq = before_write(f, fd, offset, n);                                 \
        ssize_t r = (ssize_t)(call);                                                   \
        after_write(f, fd, seq, r > 0, durable);                                       \
        return r;                                                                      \
    } while (0)

EXPORT ssize_t write(int fd, const void *bytes, size_t n)
{
    struct stat st;
    struct file *f = find(fd, &st);
    if (!f)
        return (ssize_t)syscall(SYS_write, fd, bytes, n);
    AS_WRITE(f, fd, position(fd, &st), n, false, syscall(SYS_write, fd, bytes, n));
}

EXPORT ssize_t writev(int fd, const struct iovec *v, int n)
{
    struct stat st;
    struct file *f = find(fd, &st);
    if (!f)
        return (ssize_t)syscall(SYS_writev, fd, v, n);
    AS_WRITE(f, fd, position(fd, &st), total(v, n), false,
             syscall(SYS_writev, fd, v, n));
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t offset)
{
    struct stat st;
    struct file *f = find(fd, &st);
    if (!f)
        return (ssize_t)syscall(SYS_pwrite64, fd, bytes, n, offset);
    AS_WRITE(f, fd, (uint64_t)offset, n, false,
             syscall(SYS_pwrite64, fd, bytes, n, offset));
}

EXPORT ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    return pwrite64(fd, bytes, n, offset);
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *v, int n, off_t offset,
                           int flags)
{
    struct stat st;
    struct file *f = find(fd, &st);
    if (!f)
        return (ssize_t)syscall(SYS_pwritev2, fd, v, n, offset, 0L, flags);
    uint64_t at = offset == -1 ? position(fd, &st) : (uint64_t)offset;
    AS_WRITE(f, fd, at, total(v, n), flags & (RWF_DSYNC | RWF_SYNC),
             syscall(SYS_pwritev2, fd, v, n, offset, 0L, flags));
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t offset, int flags)
{
    return pwritev64v2(fd, v, n, offset, flags);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t offset)
{
    return pwritev64v2(fd, v, n, offset, 0);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *v, int n, off_t offset)
{
    return pwritev64v2(fd, v, n, offset, 0);
}

EXPORT int ftruncate64(int fd, off_t size)
{
    struct stat st;
    struct file *f = find(fd, &st);
    if (!f || size < 0)
        return (int)syscall(SYS_ftruncate, fd, size);
    before_truncate(f, fd, (uint64_t)size);
    int r = (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_unlock(&f->lock);
    return r;
}

EXPORT int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

/* Room that is only reserved changes nothing that can be read; zeros that are written do. */
EXPORT int fallocate64(int fd, int mode, off_t offset, off_t n)
{
    struct stat st;
    struct file *f = find(fd, &st);
    bool grows = !(mode & FALLOC_FL_KEEP_SIZE) && offset + n > st.st_size;
    bool zeros = mode & (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE);
    if (f && mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
        refuse("fallocate that moves bytes", "");
    if (!f || (!grows && !zeros))
        return (int)syscall(SYS_fallocate, fd, mode, offset, n);
    if (!zeros) {
        before_truncate(f, fd, (uint64_t)(offset + n));
        int r = (int)syscall(SYS_fallocate, fd, mode, offset, n);
        pthread_mutex_unlock(&f->lock);
        return r;
    }
    uint64_t seq = before_write(f, fd, (uint64_t)offset, (uint64_t)n);
    int r = (int)syscall(SYS_fallocate, fd, mode, offset, n);
    after_write(f, fd, seq, r == 0, false);
    return r;
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t n)
{
    return fallocate64(fd, mode, offset, n);
}

EXPORT int posix_fallocate64(int fd, off_t offset, off_t n)
{
    int kept = errno;
    int r = fallocate64(fd, 0, offset, n) < 0 ? errno : 0;
    errno = kept;
    return r;
}

EXPORT int posix_fallocate(int fd, off_t offset, off_t n)
{
    return posix_fallocate64(fd, offset, n);
}

static void folder_synced(int fd, uint64_t upto)
{
    char path[PATH_MAX], line[PATH_MAX + 64];
    if (!path_of(fd, path))
        return;
    size_t n = strlen(folder) - 1;
    if (is_below(path) || (strncmp(path, folder, n) == 0 && !path[n])) {
        print(line, sizeof line, "%llu\tS\t%s\t\t\n", (unsigned long long)upto, path);
        append_name(line);
    }
}

static int sync_as(long call, int fd)
{
    struct stat st = {0};
    struct file *f = find(fd, &st);
    uint64_t upto = take_seq();
    if (f) {
        pthread_mutex_lock(&f->lock);
        upto = f->last;
        pthread_mutex_unlock(&f->lock);
    }
    int r = (int)syscall(call, fd);
    if (r < 0 || !folder[0])
        return r;
    int kept = errno;
    if (f) {
        pthread_mutex_lock(&f->lock);
        if (f->last != upto)
            record_mark(f, SYNC, upto);
        else if (syscall(SYS_ftruncate, f->undo_fd, 0) < 0)
            die("powerloss: %s\n", strerror(errno));
        pthread_mutex_unlock(&f->lock);
    } else if (S_ISDIR(st.st_mode)) {
        folder_synced(fd, upto);
    }
    errno = kept;
    return r;
}

EXPORT int fsync(int fd)
{
    return sync_as(SYS_fsync, fd);
}

EXPORT int fdatasync(int fd)
{
    return sync_as(SYS_fdatasync, fd);
}

EXPORT void *mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    struct stat st;
    if (fd >= 0 && flags & MAP_SHARED && protection & PROT_WRITE && find(fd, &st))
        refuse("mmap that writes", "");
    return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, offset);
}

EXPORT void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    return mmap64(at, n, protection, flags, fd, offset);
}

/* ---- Names ---- */

static void note(char kind, const char *path, const char *other, const char *kept)
{
    char line[3 * PATH_MAX];
    pthread_mutex_lock(&table_lock);
    print(line, sizeof line, "%llu\t%c\t%s\t%s\t%s\n", (unsigned long long)next_seq(),
          kind, path, other, kept);
    append_name(line);
    pthread_mutex_unlock(&table_lock);
}

/* A second name for a file that is about to lose its own. Empty: there is no such file. */
static void keep(const char *path, char *ret, size_t size)
{
    struct stat st;
    ret[0] = '\0';
    if (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return;
    print(ret, size, "%llu", (unsigned long long)take_seq());
    char to[PATH_MAX + 64];
    print(to, sizeof to, "%s/kept/%s", state, ret);
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, to, 0) < 0)
        refuse("no link to", path);
}

/* Is there something, links followed? */
static bool is_there(const char *path)
{
    struct stat st;
    return fstatat(AT_FDCWD, path, &st, 0) == 0;
}

static int open_as(int at, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    int kept = errno;
    bool ours = folder[0] && full_path(at, name, path) && is_ours(path);
    errno = kept;
    if (!ours)
        return (int)syscall(SYS_openat, at, name, flags | O_LARGEFILE, mode);
    pthread_mutex_lock(&names_lock);
    struct stat st = {0};
    bool made = flags & O_CREAT && !is_there(path);
    if (made)
        note('C', path, "", "");
    else if (flags & O_TRUNC && fstatat(AT_FDCWD, path, &st, 0) == 0 && st.st_size > 0)
        refuse("O_TRUNC of", path);
    errno = kept;
    int fd = (int)syscall(SYS_openat, at, name, flags | O_LARGEFILE, mode);
    kept = errno;
    if (fd >= 0)
        watch(fd, path, made);
    pthread_mutex_unlock(&names_lock);
    errno = kept;
    return fd;
}

static mode_t mode_of(int flags, va_list list)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
}

EXPORT int open64(const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_as(AT_FDCWD, name, flags, mode);
}

EXPORT int open(const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_as(AT_FDCWD, name, flags, mode);
}

EXPORT int openat64(int at, const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_as(at, name, flags, mode);
}

EXPORT int openat(int at, const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_as(at, name, flags, mode);
}

/* What open becomes with _FORTIFY_SOURCE. */
int __open_2(const char *name, int flags);
int __open64_2(const char *name, int flags);
int __openat_2(int at, const char *name, int flags);
int __openat64_2(int at, const char *name, int flags);

EXPORT int __open_2(const char *name, int flags)
{
    return open_as(AT_FDCWD, name, flags, 0);
}

EXPORT int __open64_2(const char *name, int flags)
{
    return open_as(AT_FDCWD, name, flags, 0);
}

EXPORT int __openat_2(int at, const char *name, int flags)
{
    return open_as(at, name, flags, 0);
}

EXPORT int __openat64_2(int at, const char *name, int flags)
{
    return open_as(at, name, flags, 0);
}

EXPORT int creat(const char *name, mode_t mode)
{
    return open_as(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int creat64(const char *name, mode_t mode)
{
    return open_as(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int unlinkat(int at, const char *name, int flags)
{
    char path[PATH_MAX], kept[32];
    if (!folder[0] || !full_path(at, name, path) || !is_ours(path))
        return (int)syscall(SYS_unlinkat, at, name, flags);
    pthread_mutex_lock(&names_lock);
    keep(path, kept, sizeof kept);
    if (is_there(path))
        note(flags & AT_REMOVEDIR ? 'R' : 'U', path, "", kept);
    int r = (int)syscall(SYS_unlinkat, at, name, flags);
    pthread_mutex_unlock(&names_lock);
    return r;
}

EXPORT int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

EXPORT int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

EXPORT int renameat2(int from, const char *old, int to, const char *name,
                     unsigned flags)
{
    char before[PATH_MAX], after[PATH_MAX], kept[32];
    if (!folder[0] || !full_path(from, old, before) || !full_path(to, name, after) ||
        !is_ours(before) || !is_ours(after))
        return (int)syscall(SYS_renameat2, from, old, to, name, flags);
    if (flags & RENAME_EXCHANGE)
        refuse("exchange of names", before);
    pthread_mutex_lock(&names_lock);
    keep(after, kept, sizeof kept);
    if (is_there(before))
        note('M', before, after, kept);
    int r = (int)syscall(SYS_renameat2, from, old, to, name, flags);
    pthread_mutex_unlock(&names_lock);
    return r;
}

EXPORT int renameat(int from, const char *old, int to, const char *name)
{
    return renameat2(from, old, to, name, 0);
}

EXPORT int rename(const char *old, const char *name)
{
    return renameat2(AT_FDCWD, old, AT_FDCWD, name, 0);
}

/* Runs `call`, which makes the name. */
#define AS_NAME(at, name, call)                                                        \
    do {                                                                               \
        char path[PATH_MAX];                                                           \
        if (!folder[0] || !full_path(at, name, path) || !is_ours(path))                \
            return (int)(call);                                                        \
        pthread_mutex_lock(&names_lock);                                               \
        if (!is_there(path))                                                           \
            note('C', path, "", "");                                                   \
        int r = (int)(call);                                                           \
        pthread_mutex_unlock(&names_lock);                                             \
        return r;                                                                      \
    } while (0)

EXPORT int linkat(int from, const char *old, int to, const char *name, int flags)
{
    AS_NAME(to, name, syscall(SYS_linkat, from, old, to, name, flags));
}

EXPORT int link(const char *old, const char *name)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, name, 0);
}

EXPORT int mkdirat(int at, const char *name, mode_t mode)
{
    AS_NAME(at, name, syscall(SYS_mkdirat, at, name, mode));
}

EXPORT int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}
