/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that others write to, read as they grow: one, or all that a pattern finds, each a lane. A path is followed
 * through rotation:
 *
 *      PATH ---- end, and PATH is another file ---- quiet for a second ---> its last line, though it has no end
 *       ^                                                                              |
 *       +------ what lies beside it as PATH.1, PATH-20260102, ... and is newer, oldest first, then PATH itself
 *
 * At a start the file of the bookmark is looked for in the same way: at PATH, then beside it.
 *
 * What has another name that the pattern finds, too, is the same file by its inode and how it begins, and is read on
 * under that name. A file that has several names at once, by links, is read under one of them.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "source/place.h"
#include "source/pull.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)
#define LOOK_MS                                                                        \
    1000 /* for files that are new, or of a file system that tells nothing */
#define QUIET_US                                                                       \
    SECOND_US          /* of one that was renamed: who wrote to it does so no more */
#define MOVED_US 20000 /* after a rename others may follow, */
#define MOVED_LOOKS                                                                    \
    25 /* but a folder in which there is always something is not waited for */
#define QUIET_MS 100
#define DELETED_US                                                                     \
    (60 * SECOND_US)   /* who wrote to a file that was deleted does so no more */
#define DATE_MIN  6    /* "-1" is no date: worker-1 lies beside worker */
#define GATHER_US 2000 /* what is written meanwhile is read at once */

struct tail {
    struct lane lane;
    int fd;             /* -1: there is no file now */
    struct place place; /* how far what was handed on goes */
    bool known;         /* there is a place */
    uint64_t at;        /* how far it was fed, at least as far */
    bool broken;        /* cannot be read; until another file is there */
    bool waiting;       /* was at its end: it may have been written anew since */
    bool anew;          /* the body has to begin again, at `place` */
    bool over;          /* of that file no more is to be read here */
    int64_t seen_ns;    /* its time of change, when last looked at */
    int64_t quiet_us;   /* since when it is renamed and does not grow; 0: it is not */
    int said;           /* why it cannot be opened, the last that was said */
};

/* A bookmark of the start. */
struct former {
    struct former *next;
    struct place place;
    char name[];
};

struct tails {
    struct pull *pull;
    struct tail **tail;
    size_t n;
    char *buffer;
    int watch; /* inotify; -1 */
    bool
        newest; /* files are begun at their ends: those that are there when nothing was ever read */
    struct former *former; /* files whose names are not there any more */
    bool full;             /* it was said that there are too many */
    int64_t look_us;       /* when to look for new files */
};

/* ---- Which file it is -------------------------------------------------------------------------- */

/* ".1", "-20260102", ".2026-01-02": behind the name of a file that was renamed. */
static bool is_old_suffix(const char *s)
{
    size_t size = *s == '.' || *s == '-' ? strlen(s + 1) : 0;
    return size >= (*s == '-' ? DATE_MIN : 1) && strspn(s + 1, "0123456789-") == size;
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
}

/* Of the files in a folder that are called as `name` was renamed: the one of the place, or (`newer`) the oldest that was
 * changed after it was. A descriptor; -ENOENT. */
static int scan(DIR *d, const char *name, const struct place *p, bool newer)
{
    int found = -ENOENT;
    int64_t oldest_ns = INT64_MAX;
    size_t size = strlen(name);
    rewinddir(d);
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (strncmp(e->d_name, name, size) || !is_old_suffix(e->d_name + size) ||
            fstatat(dirfd(d), e->d_name, &st, 0) < 0 || !S_ISREG(st.st_mode))
            continue;
        int64_t ns = place_changed_ns(&st);
        bool own = (uint64_t)st.st_ino == p->inode;
        if (newer ? ns <= p->changed_ns || ns >= oldest_ns : !own)
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (newer ? own && place_is_in(p, fd) : !place_is_of(p, fd))) {
            if (fd >= 0)
                close(fd);
            continue;
        }
        if (found >= 0)
            close(found);
        found = fd;
        oldest_ns = ns;
    }
    return found;
}

static int64_t changed_ns(DIR *d)
{
    struct stat st;
    return fstat(dirfd(d), &st) == 0 ? place_changed_ns(&st) : 0;
}

/* The same beside `path`. Who looks while files are renamed may see none of the names of one: the folder has to be as it was before,
 * and to have been so for a moment, as its time goes in steps. */
static int find_beside(const char *path, const struct place *p, bool newer)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    DIR *d = folder ? opendir(folder) : NULL;
    int found = -ENOENT;
    bool still = false;
    for (int i = 0; d && !still && i < MOVED_LOOKS; i++) {
        if (found >= 0)
            close(found);
        int64_t before_ns = changed_ns(d);
        if (clock_now_us() - before_ns / 1000 < MOVED_US)
            clock_sleep_us(MOVED_US);
        found = scan(d, slash ? slash + 1 : path, p, newer);
        still = changed_ns(d) == before_ns;
    }
    if (d)
        closedir(d);
    free(folder);
    return found;
}

/* ---- Reading ----------------------------------------------------------------------------------- */

static int hand_on(struct tail *t)
{
    char text[PLACE_TEXT_MAX];
    struct stat st;
    if (fstat(t->fd, &st) == 0)
        t->place.changed_ns = place_changed_ns(&st);
    t->place.offset = t->at;
    if (place_note(&t->place, t->fd) < 0)
        t->place.head = 0; /* cut at this moment: the next look finds out */
    place_print(&t->place, text);
    return lane_hand_on(&t->lane, text);
}

static int again(struct tail *t, int err)
{
    if (err == -ENOMEM) { /* the place is that of before: it is read once more */
        pull_wait(t->lane.pull, -1, NO_MEMORY_US / 1000);
        t->anew = true;
        return 1;
    }
    t->broken = true;
    const struct decode_stats *d = decoder_stats(t->lane.feed.decoder);
    if (err == -EBADMSG && d->n_errors)
        pull_say(t->lane.pull, "'%s': line %llu: %s; the rest of it cannot be read",
                 t->lane.name, (unsigned long long)d->errors[d->n_errors - 1].line,
                 d->errors[d->n_errors - 1].message);
    else if (err != -EBADMSG)
        pull_say(t->lane.pull, "'%s' cannot be read: %s", t->lane.name, strerror(-err));
    return 0;
}

/* The header again, in front of what follows from `place` on. */
static int feed_header(struct tails *all, struct tail *t)
{
    uint64_t at = 0;
    while (at < t->place.header) {
        size_t size = t->place.header - at < PIECE ? t->place.header - at : PIECE;
        ssize_t n = pread(t->fd, all->buffer, size, (off_t)at);
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        int err = lane_piece(&t->lane, all->buffer, (size_t)n);
        if (err < 0)
            return err;
        at += (uint64_t)n;
    }
    return 0;
}

static int begin_body(struct tails *all, struct tail *t)
{
    int err = lane_begin(&t->lane);
    if (err == 0)
        err = feed_header(all, t);
    t->at = t->place.offset;
    t->anew = err < 0;
    return err;
}

/* From its beginning, or where it is known from; takes the descriptor. */
static int begin_file(struct tails *all, struct tail *t, int fd,
                      const struct place *from)
{
    struct stat st;
    if (t->fd >= 0)
        close(t->fd);
    t->fd = fd;
    if (!from && fstat(fd, &st) < 0)
        return again(t, -errno);
    t->place = from ? *from : place_begin(&st);
    t->known = true;
    t->broken = t->waiting = t->over = false;
    t->quiet_us = 0;
    int err = begin_body(all, t);
    return err < 0 ? again(t, err) : hand_on(t) < 0 ? 0 : 1;
}

/* The header by itself, then whole lines as many as there are. 0: nothing is to be fed yet. */
static size_t whole_lines(const struct tail *t, const char *buffer, size_t n)
{
    bool header = t->lane.format == DECODE_CSV && !t->place.header;
    const char *feed = header ? memchr(buffer, '\n', n) : memrchr(buffer, '\n', n);
    if (feed)
        return (size_t)(feed - buffer) + 1;
    return n == PIECE ? n : 0; /* a long one is fed piece by piece */
}

/* What there is more of it. Returns whether there was; `end`: nothing follows. */
static int read_more(struct tails *all, struct tail *t, bool end)
{
    int err = t->anew ? begin_body(all, t) : 0;
    if (err < 0)
        return again(t, err);
    ssize_t n = pread(t->fd, all->buffer, PIECE, (off_t)t->at);
    if (n < 0)
        return again(t, -errno);
    size_t size =
        end && n < (ssize_t)PIECE ? (size_t)n : whole_lines(t, all->buffer, (size_t)n);
    if (!size)
        return 0;
    err = lane_piece(&t->lane, all->buffer, size);
    if (err < 0)
        return again(t, err);
    t->at += size;
    if (!decoder_is_between(t->lane.feed.decoder))
        return 1;
    if (t->lane.format == DECODE_CSV && !t->place.header)
        t->place.header = t->at;
    return hand_on(t) < 0 ? 0 : 1;
}

static void look_for_files(struct tails *all);

/* ---- Truncated, renamed, gone ------------------------------------------------------------------ */

static int truncated(struct tails *all, struct tail *t)
{
    pull_say(t->lane.pull,
             "'%s' was truncated, or written anew, after %llu bytes of it were read; "
             "it is read from its "
             "beginning, and what else was cut off is lost",
             t->lane.name, (unsigned long long)t->place.offset);
    int fd = t->fd;
    t->fd = -1;
    return begin_file(all, t, fd, NULL);
}

static int cannot_open(struct tail *t, int err)
{
    if (err != t->said && err == -ENOENT)
        logger_warn("source", "stream '%s': '%s' is not there; it is waited for",
                    t->lane.pull->stream->name, t->lane.name);
    else if (err != t->said)
        pull_say(t->lane.pull, "'%s': %s; tried again until it can be read",
                 t->lane.name, err == -EINVAL ? "no regular file" : strerror(-err));
    t->said = err;
    return 0;
}

/* Who reads the file at `path`, or is to, under another name that leads to it. */
static const struct tail *reader(const struct tails *all, const struct tail *t,
                                 const char *path)
{
    struct stat st, its;
    if (all->n < 2 || stat(path, &st) < 0)
        return NULL;
    for (size_t i = 0; i < all->n; i++) {
        const struct tail *o = all->tail[i];
        if (o == t || !o->known || o->over || o->place.inode != (uint64_t)st.st_ino ||
            (o->fd < 0 && t->known)) /* of two that are to, the first does */
            continue;
        int rc = o->fd >= 0 ? fstat(o->fd, &its) : stat(o->lane.name, &its);
        if (rc == 0 && its.st_ino == st.st_ino && its.st_dev == st.st_dev)
            return o;
    }
    return NULL;
}

/* How far the file was read under whatever name, as of the last time; false: it was not. */
static bool read_before(const struct tails *all, int fd, struct place *ret)
{
    const struct place *found = NULL;
    for (size_t i = 0; i < all->n; i++) {
        const struct place *p = &all->tail[i]->place;
        if (!all->tail[i]->known || !place_is_of(p, fd) ||
            (found &&
             (p->changed_ns < found->changed_ns ||
              (p->changed_ns == found->changed_ns && p->offset < found->offset))))
            continue;
        found = p;
    }
    if (found)
        *ret = *found;
    return found;
}

static int leave_to(struct tail *t, const struct tail *reader)
{
    if (t->said != -EEXIST)
        logger_info("source",
                    "stream '%s': '%s' is the same file as '%s', and read as that",
                    t->lane.pull->stream->name, t->lane.name, reader->lane.name);
    t->said = -EEXIST;
    return 0;
}

/* The file that follows: one that was renamed meanwhile, or the one that has the name now. That is opened first: if it is
 * renamed at this moment, it is found beside, too, behind those that are older. */
static int next_file(struct tails *all, struct tail *t)
{
    const struct tail *other = reader(all, t, t->lane.name);
    int named = other ? -EEXIST : open_file(t->lane.name);
    int fd = find_beside(t->lane.name, &t->place, true);
    if (fd >= 0 && named >= 0)
        close(named);
    struct place place;
    if (fd < 0 && named >= 0 && read_before(all, named, &place))
        return begin_file(all, t, named, &place);
    fd = fd >= 0 ? fd : named;
    if (fd >= 0)
        return begin_file(all, t, fd, NULL);
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
    if (other)
        t->over = true;
    return other ? leave_to(t, other) : cannot_open(t, fd);
}

/* Nobody writes to it any more: its last line needs no end. False: it is not all read. */
static bool read_rest(struct tails *all, struct tail *t, const char *what)
{
    while (!t->broken && !pull_stops(t->lane.pull) && read_more(all, t, true) > 0)
        ;
    if (pull_stops(t->lane.pull))
        return false;
    int err = t->broken ? 0 : lane_finish(&t->lane);
    if (err < 0 && again(t, err) > 0)
        return false;
    if (!t->broken && hand_on(t) < 0)
        return false;
    logger_info("source", "stream '%s': '%s' was %s; %llu bytes of it were read",
                t->lane.pull->stream->name, t->lane.name, what,
                (unsigned long long)t->place.offset);
    return true;
}

static void let_go(struct tail *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
    t->over = true;
    t->said = -ENOENT;
    t->quiet_us = 0;
}

static int finish(struct tails *all, struct tail *t)
{
    look_for_files(all);
    if (t->over) /* it is read on under another name */
        return 1;
    return read_rest(all, t, "renamed") ? next_file(all, t) : 0;
}

static bool is_deleted(const struct tail *t)
{
    struct stat st;
    return fstat(t->fd, &st) == 0 && st.st_nlink == 0 &&
           clock_now_us() - place_changed_ns(&st) / 1000 >= DELETED_US;
}

/* At its end: is it still the file of that name? */
static int look_at_name(struct tails *all, struct tail *t)
{
    struct stat st;
    bool there = stat(t->lane.name, &st) == 0;
    if (!there && is_deleted(t) && read_rest(all, t, "deleted"))
        let_go(t); /* the disk has its room again */
    if (!there || (uint64_t)st.st_ino == t->place.inode) {
        t->quiet_us = 0;
        return 0;
    }
    int64_t now_us = clock_monotonic_us();
    if (!t->quiet_us)
        t->quiet_us = now_us;
    bool old =
        fstat(t->fd, &st) == 0 &&
        clock_now_us() - place_changed_ns(&st) / 1000 >= QUIET_US &&
        clock_now_us() - st.st_ctim.tv_sec * SECOND_US - st.st_ctim.tv_nsec / 1000 >=
            QUIET_US; /* just renamed: its writer may not know yet */
    return old || now_us - t->quiet_us >= QUIET_US ? finish(all, t) : 0;
}

/* ---- Beginning --------------------------------------------------------------------------------- */

/* `begin: newest`: behind the last line of the file. */
static struct place at_end(struct tails *all, int fd, const struct stat *st,
                           enum decode_format format)
{
    struct place p = place_begin(st);
    off_t size = st->st_size, from = size > (off_t)PIECE ? size - (off_t)PIECE : 0;
    ssize_t n = pread(fd, all->buffer, PIECE, 0);
    const char *feed = n > 0 ? memchr(all->buffer, '\n', (size_t)n) : NULL;
    if (format == DECODE_CSV && feed)
        p.header = p.offset = (uint64_t)(feed - all->buffer) + 1;
    n = pread(fd, all->buffer, PIECE, from);
    feed = n > 0 ? memrchr(all->buffer, '\n', (size_t)n) : NULL;
    if (feed && (format != DECODE_CSV || p.header))
        p.offset = (uint64_t)from + (uint64_t)(feed - all->buffer) + 1;
    if (place_note(&p, fd) < 0)
        return place_begin(st);
    return p;
}

static int begin_first(struct tails *all, struct tail *t, int fd)
{
    struct stat st;
    if (!all->newest || fstat(fd, &st) < 0)
        return begin_file(all, t, fd, NULL);
    struct place p = at_end(all, fd, &st, t->lane.format);
    return begin_file(all, t, fd, &p);
}

/* The file of its place is read under another name. */
static bool is_elsewhere(const struct tails *all, const struct tail *t)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct tail *o = all->tail[i];
        if (o != t && o->known && o->place.inode == t->place.inode &&
            o->place.offset >= t->place.offset)
            return true;
    }
    return false;
}

static int open_tail(struct tails *all, struct tail *t)
{
    const struct tail *other = reader(all, t, t->lane.name);
    if (other)
        return leave_to(t, other);
    int fd = open_file(t->lane.name);
    if (fd < 0 && (!t->known || fd != -ENOENT))
        return cannot_open(t, fd);
    if (t->over) {
        if (fd < 0)
            return cannot_open(t, fd);
        close(fd);
        t->said = 0;
        return next_file(all, t);
    }
    t->said = 0;
    if (!t->known)
        return begin_first(all, t, fd);
    struct place place = t->place;
    if (fd >= 0 && place_is_of(&place, fd) && read_before(all, fd, &place))
        return begin_file(all, t, fd, &place);
    int old = find_beside(t->lane.name, &place, false);
    if (old >= 0 && fd >= 0)
        close(fd);
    if (old >= 0)
        return begin_file(all, t, old, &place);
    if (fd < 0)
        return cannot_open(t, fd);
    close(fd);
    if (is_elsewhere(all, t))
        return next_file(all, t);
    pull_say(
        t->lane.pull,
        "'%s' is not the file any more of which %llu bytes were read, and none beside "
        "it is: what that had behind them is lost; the next is read from its beginning",
        t->lane.name, (unsigned long long)place.offset);
    return next_file(all, t);
}

/* Returns whether something was read. */
static int step(struct tails *all, struct tail *t)
{
    struct stat st;
    if (t->fd < 0)
        return open_tail(all, t);
    if (fstat(t->fd, &st) < 0)
        return again(t, -errno);
    bool grown = (uint64_t)st.st_size > t->at;
    bool changed = place_changed_ns(&st) != t->seen_ns;
    t->seen_ns = place_changed_ns(&st);
    if ((uint64_t)st.st_size < t->at ||
        ((t->waiting ? grown || changed : changed && !grown) &&
         !place_is_of(&t->place, t->fd)))
        return truncated(all, t);
    t->anew = t->anew || lane_is_stale(&t->lane);
    int more = grown && !t->broken ? read_more(all, t, false) : 0;
    if (more) {
        t->quiet_us = 0;
        t->waiting = false;
        return more;
    }
    t->waiting = true;
    return look_at_name(all, t);
}

/* ---- All of them ------------------------------------------------------------------------------- */

static bool has_wildcards(const char *path)
{
    return strpbrk(path, "*?[") != NULL;
}

static struct tail *find_tail(const struct tails *all, const char *path)
{
    for (size_t i = 0; i < all->n; i++)
        if (!strcmp(all->tail[i]->lane.name, path))
            return all->tail[i];
    return NULL;
}

/* Is it what another file that the pattern finds was renamed to? */
static bool is_renamed(const struct tails *all, const char *path)
{
    const char *pattern = all->pull->config->file;
    char *name = strdup(path);
    bool renamed = false;
    for (size_t i = name ? strlen(name) : 0; !renamed && i > 0; i--) {
        if (!is_old_suffix(path + i))
            continue;
        name[i] = 0;
        renamed = fnmatch(pattern, name, FNM_PATHNAME | FNM_PERIOD) == 0 &&
                  (find_tail(all, name) || access(name, F_OK) == 0);
    }
    free(name);
    return renamed;
}

static void watch_folder(const struct tails *all, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (folder && all->watch >= 0) /* what it cannot tell is found by looking */
        (void)inotify_add_watch(all->watch, folder,
                                IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
    free(folder);
}

/* -ENOMEM. */
static int add_tail(struct tails *all, const char *path)
{
    char *bookmark = NULL;
    struct tail **list = realloc(all->tail, (all->n + 1) * sizeof(*list));
    struct tail *t = list ? calloc(1, sizeof(*t)) : NULL;
    if (list)
        all->tail = list;
    if (!t)
        return -ENOMEM;
    t->fd = -1;
    int err =
        lane_open(&t->lane, all->pull, path, all->pull->config->format, &bookmark);
    if (err == 0 && bookmark && !(t->known = place_parse(bookmark, &t->place)))
        err = pull_fail(all->pull, -EBADMSG,
                        "the bookmark of '%s' is none of a file: '%s'", path, bookmark);
    free(bookmark);
    if (err < 0) {
        lane_close(&t->lane);
        free(t);
        return err;
    }
    all->tail[all->n++] = t;
    watch_folder(all, path);
    return 0;
}

/* Is it a file that was read under this name, and has it no more? */
static bool had_name(const char *name, const struct place *place, int fd)
{
    struct stat st;
    bool has = stat(name, &st) == 0 && (uint64_t)st.st_ino == place->inode;
    return !has && place_is_of(place, fd);
}

/* How far the file was read under a name that it has no more; NULL: it was not. */
static const struct place *find_place(const struct tails *all, const struct tail *t,
                                      int fd, struct tail **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < all->n; i++) {
        struct tail *o = all->tail[i];
        if (o == t || !o->known || o->over || !had_name(o->lane.name, &o->place, fd))
            continue;
        *ret = o;
        return &o->place;
    }
    for (const struct former *f = all->former; f; f = f->next)
        if (!find_tail(all, f->name) && had_name(f->name, &f->place, fd))
            return &f->place;
    return NULL;
}

/* New names of files that were read before: they are read on under these. */
static void adopt_all(struct tails *all)
{
    for (size_t i = 0; i < all->n; i++) {
        struct tail *t = all->tail[i], *before;
        int fd = t->known || t->fd >= 0 ? -1 : open_file(t->lane.name);
        const struct place *place = fd < 0 ? NULL : find_place(all, t, fd, &before);
        if (!place) {
            if (fd >= 0)
                close(fd);
            continue;
        }
        logger_info("source", "stream '%s': '%s' was read before, under another name",
                    t->lane.pull->stream->name, t->lane.name);
        struct place from = *place;
        if (before)
            let_go(before);
        begin_file(all, t, fd, &from);
    }
}

static void look_for_files(struct tails *all)
{
    const char *pattern = all->pull->config->file;
    glob_t found;
    if (!has_wildcards(pattern) || glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        if (find_tail(all, path) || is_renamed(all, path))
            continue;
        int err = add_tail(all, path);
        if (err == -ENOSPC && !all->full)
            pull_say(
                all->pull,
                "'%s' and what follows is not read: a stream has at most 1023 sources",
                path);
        all->full = all->full || err == -ENOSPC;
    }
    globfree(&found);
    adopt_all(all);
}

static bool read_all(struct tails *all)
{
    bool more = false;
    uint64_t lag = 0;
    for (size_t i = 0; i < all->n && !pull_stops(all->pull); i++) {
        struct tail *t = all->tail[i];
        struct stat st;
        more = step(all, t) > 0 || more;
        uint64_t size = t->fd >= 0 && fstat(t->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
        uint64_t behind = size > t->place.offset ? size - t->place.offset : 0;
        lane_behind(&t->lane, behind && !t->waiting && !t->broken);
        lag += behind;
    }
    atomic_store_explicit(&all->pull->lag, lag, memory_order_relaxed);
    return more;
}

/* Until somebody has written, or it is time to look. */
static void rest(struct tails *all)
{
    char events[4096];
    int timeout_ms = LOOK_MS;
    for (size_t i = 0; i < all->n; i++)
        if (all->tail[i]->quiet_us)
            timeout_ms = QUIET_MS;
    pull_wait(all->pull, all->watch, timeout_ms);
    clock_sleep_us(GATHER_US);
    while (all->watch >= 0 && read(all->watch, events, sizeof(events)) > 0)
        ;
}

/* For source_sink.bookmarks. */
static int add_former(void *tails, const char *name, const char *bookmark)
{
    struct tails *all = tails;
    size_t size = strlen(name) + 1;
    if (fnmatch(all->pull->config->file, name, FNM_PATHNAME | FNM_PERIOD) != 0)
        return 0;
    struct former *f = malloc(sizeof(*f) + size);
    if (!f)
        return -ENOMEM;
    if (!place_parse(bookmark, &f->place)) { /* lane_open says so, if it is read */
        free(f);
        return 0;
    }
    memcpy(f->name, name, size);
    f->next = all->former;
    all->former = f;
    return 0;
}

void tail_run(struct pull *p)
{
    struct tails all = {.pull = p, .buffer = malloc(PIECE)};
    all.watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    watch_folder(&all, p->config->file);
    if (!all.buffer)
        pull_fail(p, -ENOMEM, "no memory to read files");
    else if (!has_wildcards(p->config->file)) {
        int err = add_tail(&all, p->config->file);
        if (err < 0 && err != -EBADMSG)
            pull_fail(p, err, "'%s': %s", p->config->file, strerror(-err));
    }
    const struct source_sink *sink = &p->stream->sink;
    int known = has_wildcards(p->config->file) && sink->bookmarks
                    ? sink->bookmarks(sink->ctx, add_former, &all)
                    : 0;
    if (known < 0)
        pull_fail(p, known, "what was read before: %s", strerror(-known));
    look_for_files(&all);
    all.newest = p->config->newest && !all.former;
    for (size_t i = 0; i < all.n; i++)
        all.newest = all.newest && !all.tail[i]->known;
    struct error none;
    while (all.buffer && !pull_stops(p) && !pull_has_failed(p, &none)) {
        if (clock_monotonic_us() >= all.look_us) {
            look_for_files(&all);
            all.look_us = clock_monotonic_us() + LOOK_MS * 1000;
        }
        bool more = read_all(&all);
        all.newest = false;
        if (!more)
            rest(&all);
    }
    for (size_t i = 0; i < all.n; i++) {
        if (all.tail[i]->fd >= 0)
            close(all.tail[i]->fd);
        lane_close(&all.tail[i]->lane);
        free(all.tail[i]);
    }
    for (struct former *f = all.former, *next; f; f = next) {
        next = f->next;
        free(f);
    }
    free(all.tail);
    free(all.buffer);
    if (all.watch >= 0)
        close(all.watch);
}

int tail_try(const struct config_source *config, struct error *error)
{
    const char *path = config->file;
    glob_t found = {0};
    if (has_wildcards(path)) {
        if (glob(path, 0, NULL, &found) != 0)
            return error_set(error, -ENOENT, "nothing is called '%s' yet", path);
        path = found.gl_pathv[0];
    }
    int fd = open_file(path), err = fd < 0 ? fd : 0;
    if (fd >= 0)
        close(fd);
    if (err == -ENOENT)
        error_set(error, err, "'%s' is not there yet", path);
    else if (err < 0)
        error_set(error, err, "'%s': %s", path,
                  err == -EINVAL ? "no regular file" : strerror(-err));
    globfree(&found);
    return err;
}
