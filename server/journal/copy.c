/* SPDX-License-Identifier: Apache-2.0
 *
 * A copy of a journal that may be in use. Bytes are copied as they are: what is damaged is damaged in
 * the copy, too, and journal_verify says so.
 */
#include "journal/scan.h"
#include "journal/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)

/* Begins with the last segment that begins at or before `from`. */
static int find_first(struct walk *w, uint64_t from, uint64_t *ret)
{
    uint64_t number;
    struct frame_head head;
    int r;
    *ret = 0;
    while ((r = walk_look(w, &number)) == 1) {
        r = scan_first(w->folder, number, w->salt, &head);
        if (r < 0 || (r == 1 && *ret && head.first > from))
            break;
        w->number = number;
        if (*ret == 0 || r == 1)
            *ret = number;
    }
    return r < 0 ? r : 0;
}

/* Of the last segment: where the last whole frame ends. */
static int find_last_end(const struct walk *w, uint64_t *ret)
{
    struct scan scan = {.fd = -1};
    struct scan_frame f;
    int fd = folder_open_segment(w->folder, w->number, O_RDONLY);
    if (fd < 0)
        return fd;
    int r = scan_begin(&scan, fd, w->number, w->salt, 0);
    while (!r && (r = scan_next(&scan, &f)) == 1)
        r = 0;
    *ret = scan.offset;
    scan_finish(&scan);
    return r;
}

/* Bytes of this segment that are to be copied; UINT64_MAX: all. 1: there is a segment behind it. 0: there
 * was none, and what has come since is not copied. */
static int find_end(struct walk *w, uint64_t *ret)
{
    uint64_t next;
    int r = walk_look(w, &next);
    if (r == 0)
        return find_last_end(w, ret);
    if (r == 1)
        r = walk_end(w, next, ret);
    if (r == 0)
        *ret = UINT64_MAX;
    return r < 0 ? r : 1;
}

static int copy_bytes(int from, int to, uint64_t end)
{
    char *piece = malloc(PIECE);
    int err = piece ? 0 : -ENOMEM;
    for (uint64_t at = 0; !err && at < end;) {
        size_t size = end - at < PIECE ? (size_t)(end - at) : PIECE;
        ssize_t n = pread(from, piece, size, (off_t)at);
        if (n == 0)
            break;
        if (n < 0) {
            err = errno == EINTR ? 0 : -errno;
            continue;
        }
        err = folder_write(to, piece, (size_t)n, at);
        at += (uint64_t)n;
    }
    free(piece);
    if (!err && fsync(to))
        err = -errno;
    return err;
}

/* 1: and there is a next one. 0: it was the last. */
static int copy_segment(struct walk *w, int folder)
{
    char name[FOLDER_NAME_MAX];
    uint64_t end;
    int more = find_end(w, &end);
    if (more < 0)
        return more;
    int from = folder_open_segment(w->folder, w->number, O_RDONLY);
    if (from < 0)
        return from;
    folder_segment_name(w->number, name);
    int to = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int err = to < 0 ? -errno : copy_bytes(from, to, end);
    if (to >= 0)
        close(to);
    close(from);
    return err ? err : more;
}

static int copy_segments(struct walk *w, uint64_t from, int folder)
{
    uint64_t number;
    int r = find_first(w, from, &number);
    if (r || number == 0)
        return r;
    do {
        w->number = number;
        r = copy_segment(w, folder);
    } while (r == 1 && (r = walk_look(w, &number)) == 1);
    return r ? r : fsync(folder) ? -errno : 0;
}

static int hold(int folder, int *ret)
{
    int err = folder_hold_shared(folder, true, ret);
    return err == -EROFS || err == -EACCES ? folder_hold_shared(folder, false, ret)
                                           : err;
}

int journal_hold(const char *folder, int *ret, struct error *error)
{
    int fd, err = folder_open(folder, &fd, error);
    if (!err) {
        err = hold(fd, ret);
        if (err)
            error_set(error, err, "hold: %s", strerror(-err));
        close(fd);
    }
    if (err)
        error_prefix(error, "journal '%s'", folder);
    return err;
}

int journal_copy(const char *folder, uint64_t from, const char *to, struct error *error)
{
    struct walk w;
    int copy = -1, err = walk_begin(&w, folder, error);
    if (err)
        error_prefix(error, "journal '%s'", folder);
    if (!err)
        err = folder_make(to, error);
    if (!err)
        err = folder_open(to, &copy, error);
    if (!err) {
        err = copy_segments(&w, from, copy);
        if (err)
            error_set(error, err, "cannot copy journal '%s' to '%s': %s", folder, to,
                      strerror(-err));
    }
    if (copy >= 0)
        close(copy);
    walk_finish(&w);
    return err;
}
