/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads what is committed, while more is being committed.
 */
#include "journal/internal.h"

#include "base/logger.h"
#include "journal/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct journal_reader {
    struct journal *j;
    struct journal_reader *next; /* under the journal's lock */
    uint64_t number; /* of its segment, and no older one is used again; 0: no
                                  * segment yet. Under the journal's lock */
    bool end_known;  /* of the segment: all before it are frames */
    struct scan scan;
    uint64_t expected; /* position; 0: not known yet */
    int failed;        /* what it said once it says again */
    struct error error;
};

uint64_t readers_first_segment(const struct journal *j)
{
    uint64_t least = UINT64_MAX;
    for (const struct journal_reader *r = j->readers; r; r = r->next)
        if (r->number < least)
            least = r->number;
    return least;
}

/* The last segment that begins at or before the position. With the lock held. */
static uint64_t find_position(const struct journal *j, uint64_t from)
{
    uint64_t number = j->n_segments ? j->segment[0].number : 0;
    for (size_t i = 1; i < j->n_segments && j->segment[i].first <= from; i++)
        number = j->segment[i].number;
    return number;
}

int journal_reader_new(struct journal *j, uint64_t from, struct journal_reader **ret,
                       struct error *error)
{
    struct journal_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, -ENOMEM, "out of memory");
    r->j = j;
    r->scan.fd = -1;
    pthread_mutex_lock(&j->lock);
    r->number = find_position(j, from);
    r->next = j->readers;
    j->readers = r;
    pthread_mutex_unlock(&j->lock);
    *ret = r;
    return 0;
}

void journal_reader_free(struct journal_reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->j->lock);
    struct journal_reader **p = &r->j->readers;
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
    pthread_mutex_unlock(&r->j->lock);
    scan_finish(&r->scan);
    free(r);
}

/* ---- From segment to segment ---- */

/* What there is to read behind what has been read. */
enum step {
    STEP_NONE,
    STEP_MORE, /* of this segment */
    STEP_NEXT, /* segment; the reader's number is now its */
};

/* With the lock held. A segment of which the end is not known is read to the end of its file. */
static void set_end(struct journal_reader *r, const struct segment *s, bool last)
{
    r->end_known = last || s->end > 0;
    r->scan.end = r->end_known ? s->end : s->size;
}

static enum step step(struct journal_reader *r)
{
    struct journal *j = r->j;
    enum step step = STEP_NONE;
    pthread_mutex_lock(&j->lock);
    for (size_t i = 0; i < j->n_segments && step == STEP_NONE; i++) {
        const struct segment *s = &j->segment[i];
        bool last = i + 1 == j->n_segments;
        bool here = s->number == r->number && r->scan.fd >= 0;
        if (s->number < r->number || (here && r->scan.end >= s->end))
            continue;
        step = here ? STEP_MORE : STEP_NEXT;
        r->number = s->number;
        set_end(r, s, last);
    }
    pthread_mutex_unlock(&j->lock);
    return step;
}

static int open_segment(struct journal_reader *r)
{
    uint64_t end = r->scan.end;
    int fd = folder_open_segment(r->j->folder, r->number, O_RDONLY);
    if (fd < 0)
        return fd;
    scan_finish(&r->scan);
    int err = scan_begin(&r->scan, fd, r->number, r->j->salt, end ? end : 1);
    r->scan.end = end;
    return err;
}

/* ---- Damage ---- */

static int fail(struct journal_reader *r, int err, const char *text, const char *hint)
{
    r->failed = err;
    return error_set(&r->error, err, "journal '%s': %s%s", r->j->path, text, hint);
}

/* Positions from `expected` to `next` cannot be read. */
static int lost(struct journal_reader *r, uint64_t segment, uint64_t offset,
                uint64_t next, uint64_t frames)
{
    struct error text;
    scan_lost_text(&text, segment, offset, r->expected, next);
    if (!r->j->options.skip_damaged)
        return fail(r, -EBADMSG, text.text, SKIP_HINT);
    logger_warn("journal", "journal '%s': %s; passed over", r->j->path, text.text);
    metric_add(&r->j->count.damaged, frames);
    return 0;
}

/* Position that must come next, if nothing is lost: the first one of the next segment, or the end. */
static uint64_t position_after(struct journal_reader *r)
{
    struct journal *j = r->j;
    pthread_mutex_lock(&j->lock);
    uint64_t next = j->next;
    for (size_t i = j->n_segments; i-- > 0 && j->segment[i].number > r->number;)
        next = j->segment[i].first;
    pthread_mutex_unlock(&j->lock);
    return next;
}

/* No more frames, and yet the segment goes on. */
static int pass_tail(struct journal_reader *r)
{
    struct scan *s = &r->scan;
    if (s->fd < 0 || !r->end_known || s->offset >= s->end)
        return 0;
    uint64_t after = position_after(r);
    int err = lost(r, s->segment, s->offset, after, 1);
    s->offset = s->end;
    r->expected = after;
    return err;
}

/* ---- Frames ---- */

/* 1: *ret is to be handed out. 0: its positions have been read before. */
static int take(struct journal_reader *r, uint64_t offset, const struct scan_frame *f,
                struct journal_frame *ret)
{
    const struct frame_head *h = &f->head;
    bool fits = !r->expected || h->first == r->expected;
    int err = f->damaged || !fits
                  ? lost(r, h->segment, offset, h->first, f->damaged ? f->damaged : 1)
                  : 0;
    if (err)
        return err;
    if (r->expected && h->first < r->expected)
        return 0;
    r->expected = h->first + h->n;
    *ret = (struct journal_frame){h->first, h->n, f->payload, (size_t)h->size};
    return 1;
}

/* 1: a frame. 0: no more in what is known of this segment. */
static int next_here(struct journal_reader *r, struct journal_frame *ret)
{
    struct scan_frame f;
    while (r->scan.fd >= 0) {
        uint64_t offset = r->scan.offset;
        int err = scan_next(&r->scan, &f);
        if (err < 0)
            return fail(r, err, strerror(-err), "");
        if (err == 0)
            return pass_tail(r);
        err = take(r, offset, &f, ret);
        if (err)
            return err;
    }
    return 0;
}

static int next(struct journal_reader *r, struct journal_frame *ret)
{
    for (;;) {
        int err = next_here(r, ret);
        if (err)
            return err;
        enum step s = step(r);
        if (s == STEP_NONE)
            return 0;
        err = s == STEP_NEXT ? open_segment(r) : 0;
        if (err)
            return fail(r, err, strerror(-err), "");
    }
}

int journal_reader_next(struct journal_reader *r, struct journal_frame *ret,
                        struct error *error)
{
    int result = r->failed ? r->failed : next(r, ret);
    if (result < 0)
        error_set(error, result, "%s", r->error.text);
    return result;
}
