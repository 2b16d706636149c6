/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds out, when a journal is opened, what it holds: which segments there are, where the last one
 * ends, and whether its end was torn. What lies in the middle is looked at when it is read.
 */
#include "journal/internal.h"

#include "base/logger.h"
#include "journal/scan.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static int scan_segment(struct journal *j, const struct segment *s, struct scan *scan)
{
    int fd = folder_open_segment(j->folder, s->number, O_RDONLY);
    return fd < 0 ? fd : scan_begin(scan, fd, s->number, j->salt, 0);
}

/* Damage: said and passed over, or the end of it. */
static int damaged(struct journal *j, uint64_t frames, struct error *text,
                   struct error *error)
{
    if (!j->options.skip_damaged)
        return error_set(error, -EBADMSG, "%s" SKIP_HINT, text->text);
    logger_warn("journal", "journal '%s': %s; passed over", j->path, text->text);
    metric_add(&j->count.damaged, frames);
    return 0;
}

/* ---- The files ---- */

static int take_segments(struct journal *j, const struct folder_list *l,
                         struct error *error)
{
    struct error text;
    int err = 0;
    for (size_t i = 0; !err && i < l->n_segments; i++) {
        const struct folder_file *f = &l->segment[i];
        struct segment s = {.number = f->number,
                            .size = f->size & ~(uint64_t)(JOURNAL_BLOCK - 1)};
        if (i > 0 && f->number != f[-1].number + 1) {
            error_set(&text, 0,
                      "segments %08" PRIu64 " to %08" PRIu64
                      " are missing, with all their positions",
                      f[-1].number + 1, f->number - 1);
            err = damaged(j, 1, &text, error);
        }
        if (!err && segments_push(j, &s))
            err = error_set(error, -ENOMEM, "out of memory");
        metric_add(&j->count.bytes, f->size);
        j->last_number = f->number;
    }
    return err;
}

/* Without segments their numbers begin again, and what the spares hold would look like theirs. */
static void take_spares(struct journal *j, const struct folder_list *l)
{
    for (size_t i = 0; i < l->n_spares; i++) {
        struct spare s = {l->spare[i].number, l->spare[i].size}, drop = s;
        j->next_spare = s.number + 1;
        metric_add(&j->count.bytes, s.size);
        if (l->n_segments == 0 || segments_keep_spare(j, &s, &drop))
            segments_drop(j, &drop);
    }
}

/* ---- The first frames ---- */

/* Where the segments before `last` begin and end, from the first frames of them and of their
 * successors. Of `last` its first position is known. */
static int look_at_segments(struct journal *j, size_t last, struct error *error)
{
    for (size_t i = last + 1; i-- > 0;) {
        struct segment *s = &j->segment[i];
        struct frame_head head;
        int r = scan_first(j->folder, s->number, j->salt, &head);
        if (r < 0)
            return error_set(error, r, "segment %08" PRIu64 ": %s", s->number,
                             strerror(-r));
        if (i < last)
            s->first = r ? head.first : s[1].first;
        bool next_to = i > 0 && s[-1].number + 1 == s->number;
        if (r && head.flags & FRAME_BEGINS && next_to && head.before <= s[-1].size)
            s[-1].end = head.before;
    }
    return 0;
}

/* ---- The end ---- */

/* What scan_next passed over before the frame `f` whose first position should be `expected` (0: not
 * known). */
static int check_frame(struct journal *j, const struct scan_frame *f, uint64_t offset,
                       uint64_t expected, struct error *error)
{
    struct error text;
    if (!f->damaged && (!expected || f->head.first == expected))
        return 0;
    scan_lost_text(&text, f->head.segment, offset, expected, f->head.first);
    return damaged(j, f->damaged ? f->damaged : 1, &text, error);
}

struct end {
    bool any;          /* there is a frame */
    uint64_t first;    /* position of the first one */
    uint64_t position; /* behind the last one */
    uint64_t offset, torn;
    bool damaged; /* before it, and passed over */
};

static int find_end(struct journal *j, const struct segment *s, struct end *ret,
                    struct error *error)
{
    struct scan scan = {.fd = -1};
    struct scan_frame f;
    uint64_t offset = 0;
    int r = scan_segment(j, s, &scan), err = 0;
    *ret = (struct end){.any = false};
    while (!r && !err && (r = scan_next(&scan, &f)) == 1) {
        r = 0;
        uint64_t expected = ret->any ? ret->position : 0;
        err = check_frame(j, &f, offset, expected, error);
        ret->damaged |= f.damaged || (expected && f.head.first != expected);
        if (!ret->any)
            ret->first = f.head.first;
        if (!ret->any || f.head.first + f.head.n > ret->position)
            ret->position = f.head.first + f.head.n;
        ret->any = true;
        offset = ret->offset = scan.offset;
    }
    if (!r && !err)
        r = scan_torn(&scan, &ret->torn);
    j->salt = scan.salt;
    scan_finish(&scan);
    return r < 0 ? error_set(error, r, "segment %08" PRIu64 ": %s", s->number,
                             strerror(-r))
                 : err;
}

static int write_zeros(int fd, uint64_t offset, uint64_t size)
{
    static const char zeros[JOURNAL_BLOCK];
    uint64_t end = offset + size;
    int err = 0;
    for (; !err && offset < end; offset += sizeof(zeros)) {
        size_t n =
            end - offset < sizeof(zeros) ? (size_t)(end - offset) : sizeof(zeros);
        err = folder_write(fd, zeros, n, offset);
    }
    return err;
}

static int cut(struct journal *j, const struct segment *s, const struct end *end,
               struct error *error)
{
    logger_warn("journal",
                "journal '%s': %08" PRIu64 ".journal ends with %" PRIu64
                " bytes of a frame that was never completed, at offset %" PRIu64
                "; cut",
                j->path, s->number, end->torn, end->offset);
    metric_add(&j->count.torn, end->torn);
    int fd = folder_open_segment(j->folder, s->number, O_WRONLY);
    int err = fd < 0 ? fd : write_zeros(fd, end->offset, end->torn);
    if (!err && fdatasync(fd))
        err = -errno;
    if (fd >= 0)
        close(fd);
    return err ? error_set(error, err, "segment %08" PRIu64 ": cannot cut: %s",
                           s->number, strerror(-err))
               : 0;
}

/* The last segment that has a frame, and the empty ones behind it. */
static int find_last(struct journal *j, struct error *error)
{
    struct end end = {.any = false};
    size_t i = j->n_segments;
    while (i > 0 && !end.any) {
        struct segment *s = &j->segment[--i];
        int err = find_end(j, s, &end, error);
        if (!err && end.torn)
            err = cut(j, s, &end, error);
        if (err)
            return err;
        s->first = end.first;
        s->end = end.offset;
        s->closed = end.damaged;
    }
    if (end.any)
        j->next = end.position;
    for (size_t k = end.any ? i + 1 : 0; k < j->n_segments; k++)
        j->segment[k].first = j->next;
    return end.any ? look_at_segments(j, i, error) : 0;
}

/* Of a journal that has no frame. */
static int choose_salt(struct journal *j, struct error *error)
{
    while (!j->salt)
        if (getrandom(&j->salt, sizeof(j->salt), 0) < 0 && errno != EINTR)
            return error_set(error, -errno, "no random number: %s", strerror(errno));
    return 0;
}

/* The last one gets nothing more, so that it can be trimmed once what it has is not needed. */
static void close_old_segments(struct journal *j)
{
    j->old_number = j->last_number;
    for (size_t i = 0; i < j->n_segments; i++) {
        uint64_t more = segments_old_bytes(j, &j->segment[i]);
        j->old_bytes += more;
        if (more && i + 1 == j->n_segments)
            j->segment[i].closed = true;
    }
}

/* What is found is handed on, and committed to: a process that was killed may have written the last frames, or named the last
 * segment, and have synced neither. */
static int sync_found(struct journal *j, struct error *error)
{
    int err = 0;
    for (size_t i = j->n_segments; !err && i-- > 0;) {
        int fd = folder_open_segment(j->folder, j->segment[i].number, O_RDONLY);
        err = fd < 0 ? fd : fdatasync(fd) ? -errno : 0;
        if (fd >= 0)
            close(fd);
        if (j->segment[i].end) /* those before it were synced when it was begun */
            break;
    }
    if (!err && j->n_segments && fsync(j->folder))
        err = -errno;
    return err ? error_set(error, err, "cannot make durable what is there: %s",
                           strerror(-err))
               : 0;
}

int recover(struct journal *j, struct error *error)
{
    struct folder_list l;
    int err = folder_read(j->folder, &l);
    if (err)
        return error_set(error, err, "%s", strerror(-err));
    err = scan_salt(j->folder, &l, &j->salt, error);
    if (!err)
        err = take_segments(j, &l, error);
    if (!err) {
        take_spares(j, &l);
        err = find_last(j, error);
        close_old_segments(j);
    }
    if (!err)
        err = sync_found(j, error);
    if (!err)
        err = choose_salt(j, error);
    folder_list_free(&l);
    return err;
}
