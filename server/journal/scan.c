/* SPDX-License-Identifier: Apache-2.0 */
#include "journal/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCAN_READ ((size_t)2 << 20)
#define SCAN_KEEP ((size_t)8 << 20) /* a larger buffer is given back when it can be */

enum look {
    LOOK_NONE,
    LOOK_CUT, /* a good head, another payload */
    LOOK_WHOLE,
};

int scan_begin(struct scan *s, int fd, uint64_t segment, uint64_t salt, uint64_t end)
{
    struct stat st;
    s->fd = fd;
    s->segment = segment;
    s->salt = salt;
    s->offset = s->at = s->size = 0;
    if (end == 0 && fstat(fd, &st))
        return -errno;
    s->end = end ? end : (uint64_t)st.st_size;
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

void scan_finish(struct scan *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->buffer);
    *s = (struct scan){.fd = -1};
}

void scan_forget(struct scan *s)
{
    s->size = 0;
}

/* Room for `size` bytes, with the bytes from `offset` on that are there already in front. */
static int scan_move(struct scan *s, uint64_t offset, size_t size)
{
    bool inside = offset >= s->at && offset < s->at + s->size;
    const char *from = inside ? s->buffer + (offset - s->at) : NULL;
    size_t keep = inside ? s->size - (size_t)(offset - s->at) : 0;
    bool large = s->room > SCAN_KEEP && size <= SCAN_READ && keep <= SCAN_READ;
    if (s->room < size || large) {
        size_t room = (size + JOURNAL_BLOCK - 1) & ~(size_t)(JOURNAL_BLOCK - 1);
        char *buffer = aligned_alloc(JOURNAL_BLOCK, room);
        if (!buffer)
            return -ENOMEM;
        if (keep)
            memcpy(buffer, from, keep);
        free(s->buffer);
        s->buffer = buffer;
        s->room = room;
    } else if (keep) {
        memmove(s->buffer, from, keep);
    }
    s->at = offset;
    s->size = keep;
    return 0;
}

/* 1: the bytes [offset, offset + size) are in the buffer. 0: the file, or what may be read, ends before. */
static int scan_load(struct scan *s, uint64_t offset, size_t size)
{
    if (offset >= s->at && offset + size <= s->at + s->size)
        return 1;
    if (offset >= s->end || size > s->end - offset)
        return 0;
    size_t want = size > SCAN_READ ? size : SCAN_READ;
    if (want > s->end - offset)
        want = (size_t)(s->end - offset);
    int err = scan_move(s, offset, want);
    while (!err && s->size < want) {
        ssize_t n =
            pread(s->fd, s->buffer + s->size, want - s->size, (off_t)(s->at + s->size));
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            err = -errno;
        s->size += n > 0 ? (size_t)n : 0;
    }
    return err ? err : s->size >= size;
}

static const char *scan_bytes(const struct scan *s, uint64_t offset)
{
    return s->buffer + (offset - s->at);
}

static bool scan_head(struct scan *s, uint64_t offset, struct frame_head *ret)
{
    if (!frame_read_head(scan_bytes(s, offset), s->segment, s->salt, ret))
        return false;
    s->salt = ret->salt;
    return true;
}

/* An enum look, or -errno. */
static int scan_look(struct scan *s, uint64_t offset, struct scan_frame *ret)
{
    int r = scan_load(s, offset, FRAME_HEAD);
    if (r <= 0)
        return r < 0 ? r : LOOK_NONE;
    if (!scan_head(s, offset, &ret->head))
        return LOOK_NONE;
    r = scan_load(s, offset, FRAME_HEAD + (size_t)ret->head.size);
    if (r <= 0)
        return r < 0 ? r : LOOK_CUT;
    ret->offset = offset;
    ret->payload = scan_bytes(s, offset) + FRAME_HEAD;
    return frame_payload_is_whole(&ret->head, ret->payload) ? LOOK_WHOLE : LOOK_CUT;
}

/* Goes over bytes that are no whole frame. 1: found one behind them. 0: none. */
static int scan_search(struct scan *s, int look, struct scan_frame *ret)
{
    uint64_t offset = s->offset, damaged = 1;
    while (look != LOOK_WHOLE) {
        /* The payload of a frame with a good head is not looked into: it may hold anything. */
        offset += look == LOOK_CUT ? frame_length(ret->head.size) : JOURNAL_BLOCK;
        if (offset >= s->end)
            return 0;
        look = scan_look(s, offset, ret);
        if (look < 0)
            return look;
        damaged += look == LOOK_CUT;
    }
    ret->damaged = damaged;
    return 1;
}

static int scan_take(struct scan *s, const struct scan_frame *f)
{
    s->offset = f->offset + frame_length(f->head.size);
    return 1;
}

int scan_next(struct scan *s, struct scan_frame *ret)
{
    struct scan_frame f = {.damaged = 0};
    int look = scan_look(s, s->offset, &f);
    if (look != LOOK_WHOLE && look >= 0) {
        int r = scan_search(s, look, &f);
        if (r <= 0)
            return r;
        /* One comes after the other: what is followed by a frame was complete before, and may only
         * have been read too early. */
        uint64_t later = f.offset, damaged = f.damaged;
        scan_forget(s);
        look = scan_look(s, s->offset, &f);
        f.damaged = 0;
        if (look >= 0 && look != LOOK_WHOLE) {
            look = scan_look(s, later, &f);
            f.damaged = damaged;
        }
    }
    if (look < 0)
        return look;
    if (look != LOOK_WHOLE) /* it was there a moment ago */
        return -EIO;
    *ret = f;
    return scan_take(s, ret);
}

int scan_torn(struct scan *s, uint64_t *ret)
{
    uint64_t left = s->end > s->offset ? s->end - s->offset : 0;
    size_t size = left < FRAME_HEAD ? (size_t)left : FRAME_HEAD;
    struct frame_head head;
    *ret = 0;
    int r = size ? scan_load(s, s->offset, size) : 0;
    if (r <= 0)
        return r;
    const char *bytes = scan_bytes(s, s->offset);
    if (size == FRAME_HEAD && scan_head(s, s->offset, &head))
        *ret = frame_length(head.size);
    else if (frame_looks_begun(bytes, size, s->segment, s->salt))
        *ret = JOURNAL_BLOCK;
    if (*ret > left)
        *ret = left;
    return 0;
}

static int search_first(int fd, uint64_t segment, uint64_t salt, struct frame_head *ret)
{
    struct scan scan = {.fd = -1};
    struct scan_frame f;
    int r = scan_begin(&scan, fd, segment, salt, 0);
    if (!r)
        r = scan_next(&scan, &f);
    if (r == 1)
        *ret = f.head;
    scan_finish(&scan);
    return r;
}

static bool read_first(int fd, char bytes[FRAME_HEAD])
{
    return pread(fd, bytes, FRAME_HEAD, 0) == FRAME_HEAD;
}

int scan_first(int folder, uint64_t segment, uint64_t salt, struct frame_head *ret)
{
    char bytes[FRAME_HEAD];
    int fd = folder_open_segment(folder, segment, O_RDONLY);
    if (fd < 0)
        return fd;
    if (read_first(fd, bytes) && frame_read_head(bytes, segment, salt, ret)) {
        close(fd);
        return 1;
    }
    return search_first(fd, segment, salt, ret);
}

/* A segment that cannot be read is none that tells; who needs it will say so. */
int scan_salt(int folder, const struct folder_list *l, uint64_t *ret,
              struct error *error)
{
    char bytes[FRAME_HEAD];
    struct frame_head head = {.salt = 0};
    uint64_t foreign = 0;
    for (size_t i = l->n_segments; i-- > 0 && !head.salt;) {
        uint64_t number = l->segment[i].number;
        int fd = folder_open_segment(folder, number, O_RDONLY);
        if (fd < 0)
            continue;
        if (read_first(fd, bytes) && !frame_read_head(bytes, number, 0, &head) &&
            frame_is_foreign(bytes, number))
            foreign = number;
        close(fd);
    }
    if (!head.salt && foreign)
        return error_set(error, -EPROTONOSUPPORT,
                         "segment %08" PRIu64 " was written by another version of "
                         "weir, and cannot be read by this one",
                         foreign);
    *ret = head.salt;
    return 0;
}

void scan_lost_text(struct error *text, uint64_t segment, uint64_t offset,
                    uint64_t expected, uint64_t next)
{
    char name[FOLDER_NAME_MAX];
    folder_segment_name(segment, name);
    error_set(text, 0, "%s, offset %" PRIu64 ": damaged", name, offset);
    struct error where = *text;
    if (expected == 0)
        error_set(text, 0, "%.100s; positions before %" PRIu64 " may be lost",
                  where.text, next);
    else if (next > expected)
        error_set(text, 0, "%.100s; positions %" PRIu64 " to %" PRIu64 " are lost",
                  where.text, expected, next - 1);
    else if (next < expected)
        error_set(text, 0, "%.100s; positions %" PRIu64 " to %" PRIu64 " come again",
                  where.text, next, expected - 1);
    else
        error_set(text, 0, "%.100s; no position is lost", where.text);
}
