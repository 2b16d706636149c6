/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads all of a journal and says what there is.
 */
#include "journal/scan.h"
#include "journal/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct verify {
    struct walk walk;
    struct journal_report report;
    struct scan scan; /* of the segment that is being read */
    struct error damage;
};

static void note(struct verify *v, uint64_t frames, uint64_t offset, uint64_t next)
{
    v->report.damaged += frames;
    if (v->damage.text[0] == 0)
        scan_lost_text(&v->damage, v->scan.segment, offset, v->report.end, next);
}

static void count_frame(struct verify *v, const struct scan_frame *f, uint64_t offset)
{
    const struct frame_head *h = &f->head;
    struct journal_report *r = &v->report;
    if (f->damaged || (r->end && h->first != r->end))
        note(v, f->damaged ? f->damaged : 1, offset, h->first);
    if (r->end == 0)
        r->first = h->first;
    if (h->first + h->n > r->end)
        r->end = h->first + h->n;
    r->frames++;
    r->bytes += frame_length(h->size);
}

static int count_frames(struct verify *v)
{
    struct scan_frame f;
    int r;
    uint64_t offset = v->scan.offset;
    while ((r = scan_next(&v->scan, &f)) == 1) {
        count_frame(v, &f, offset);
        offset = v->scan.offset;
    }
    return r;
}

/* Whether the frames end where the next segment says. */
static int count_tail(struct verify *v, uint64_t next)
{
    struct frame_head head;
    uint64_t end;
    int r = walk_end(&v->walk, next, &end);
    if (r <= 0 || v->scan.offset >= end)
        return r < 0 ? r : 0;
    r = scan_first(v->walk.folder, next, v->walk.salt, &head);
    if (r <= 0)
        return r;
    note(v, 1, v->scan.offset, head.first);
    v->report.end = head.first;
    return 0;
}

/* Frames may be added until there is a next segment. 1: there is one. 0: there was none, and what has
 * come since is not counted. */
static int count_segment(struct verify *v)
{
    uint64_t next;
    int r = count_frames(v);
    if (!r)
        r = walk_look(&v->walk, &next);
    if (r == 0)
        return scan_torn(&v->scan, &v->report.torn);
    if (r < 0)
        return r;
    scan_forget(&v->scan);
    r = count_frames(v);
    if (!r)
        r = count_tail(v, next);
    return r ? r : 1;
}

static int count_all(struct verify *v)
{
    uint64_t number;
    int r = 1;
    while (r == 1 && (r = walk_look(&v->walk, &number)) == 1) {
        v->walk.number = number;
        r = folder_open_segment(v->walk.folder, number, O_RDONLY);
        if (r < 0)
            return r;
        scan_finish(&v->scan);
        r = scan_begin(&v->scan, r, number, v->walk.salt, 0);
        v->report.segments++;
        r = r ? r : count_segment(v);
    }
    return r;
}

int journal_verify(const char *folder, struct journal_report *ret, struct error *error)
{
    struct verify v = {.scan = {.fd = -1}};
    int err = walk_begin(&v.walk, folder, error);
    if (!err) {
        err = count_all(&v);
        if (err)
            error_set(error, err, "%s", strerror(-err));
    }
    scan_finish(&v.scan);
    walk_finish(&v.walk);
    if (err) {
        error_prefix(error, "journal '%s'", folder);
        return err;
    }
    if (v.report.damaged)
        error_set(error, 0, "journal '%s': %s", folder, v.damage.text);
    *ret = v.report;
    return 0;
}
