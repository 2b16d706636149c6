/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing, the frame that is being made, and commits.
 */
#include "journal/internal.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAME_KEEP   ((size_t)4 << 20) /* of memory, after larger frames */
#define SMALL_ENOUGH 64                /* frames in a row that did not need more */

/* ---- Opening ---- */

static uint64_t round_up(uint64_t size)
{
    return (size + JOURNAL_BLOCK - 1) & ~(uint64_t)(JOURNAL_BLOCK - 1);
}

/* Under a limit a segment is a quarter of it at most: the last one cannot be trimmed. */
static void choose_sizes(struct journal_options *o)
{
    uint64_t size = o->segment_size ? o->segment_size : SEGMENT_DEFAULT;
    if (o->limit && size > o->limit / 4)
        size = o->limit / 4;
    o->segment_size = round_up(size > SEGMENT_LEAST ? size : SEGMENT_LEAST);
}

static int open_metrics(struct journal *j, struct metrics *m, struct error *error)
{
    const struct {
        enum metric_kind kind;
        const char *name, *help;
        const _Atomic uint64_t *value;
        double scale;
    } all[] = {
        {METRIC_GAUGE, "weir_journal_bytes", "Bytes of all files of the journal.",
         &j->count.bytes, 1},
        {METRIC_GAUGE, "weir_journal_segments", "Segments that hold positions.",
         &j->count.segments, 1},
        {METRIC_COUNTER, "weir_journal_frames_total", "Frames written and synced.",
         &j->count.frames, 1},
        {METRIC_COUNTER, "weir_journal_written_bytes_total",
         "Bytes of frames, with heads and padding.", &j->count.written, 1},
        {METRIC_COUNTER, "weir_journal_sync_seconds_total",
         "Time spent writing and syncing frames.", &j->count.sync_ns, 1e-9},
        {METRIC_COUNTER, "weir_journal_damaged_frames_total",
         "Frames that could not be read and were passed over.", &j->count.damaged, 1},
        {METRIC_COUNTER, "weir_journal_torn_bytes_total",
         "Bytes of frames that a crash had left incomplete, cut.", &j->count.torn, 1},
    };
    struct buffer labels = {0};
    int err = 0;
    metrics_put_label(&labels, "stream", j->stream);
    for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++)
        err = metrics_add(m, all[i].kind, all[i].name, all[i].help,
                          buffer_text(&labels), all[i].value, all[i].scale);
    err = err ? err : labels.error;
    buffer_free(&labels);
    return err ? error_set(error, err, "out of memory") : 0;
}

static int open_folder(struct journal *j, struct error *error)
{
    int err = j->options.made ? 0 : folder_make(j->path, error);
    if (!err)
        err = folder_open(j->path, &j->folder, error);
    if (!err && (err = file_id_of(j->folder, &j->folder_id)))
        error_set(error, err, "%s", strerror(-err));
    if (!err)
        err = folder_lock(j->folder, &j->lock_file, error);
    if (err)
        return err;
    err = folder_hold(j->folder, true, &j->hold);
    if (err)
        return error_set(error, err, "hold: %s", strerror(-err));
    unlinkat(j->folder, FOLDER_HALF_MADE, 0);
    j->direct = !j->options.buffered && folder_is_direct(j->folder);
    return 0;
}

static int open_steps(struct journal *j, const struct journal_options *o,
                      struct metrics *metrics, struct error *error)
{
    j->path = strdup(o->folder);
    j->stream = strdup(o->stream);
    if (!j->path || !j->stream)
        return error_set(error, -ENOMEM, "out of memory");
    int err = open_folder(j, error);
    if (!err)
        err = recover(j, error);
    if (!err && metrics)
        err = open_metrics(j, metrics, error);
    return err;
}

int journal_open(const struct journal_options *options, struct metrics *metrics,
                 struct journal **ret, struct error *error)
{
    struct journal *j = calloc(1, sizeof(*j));
    if (!j)
        return error_set(error, -ENOMEM, "out of memory");
    j->options = *options;
    j->folder = j->lock_file = j->hold = j->fd = -1;
    j->filling = &j->own;
    j->next = 1;
    choose_sizes(&j->options);
    pthread_mutex_init(&j->lock, NULL);
    pthread_mutex_init(&j->trim_lock, NULL);
    pthread_cond_init(&j->changed, NULL);
    pthread_cond_init(&j->idle, NULL);
    int err = open_steps(j, options, metrics, error);
    if (err) {
        error_prefix(error, "journal '%s'", options->folder);
        journal_close(j);
        return err;
    }
    *ret = j;
    return 0;
}

static void close_file(int fd)
{
    if (fd >= 0)
        close(fd);
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    prepare_stop(j);
    close_file(j->fd);
    close_file(j->hold);
    close_file(j->lock_file);
    close_file(j->folder);
    pthread_cond_destroy(&j->idle);
    pthread_cond_destroy(&j->changed);
    pthread_mutex_destroy(&j->trim_lock);
    pthread_mutex_destroy(&j->lock);
    free(j->own.bytes);
    free(j->begin.bytes);
    free(j->segment);
    free(j->stream);
    free(j->path);
    free(j);
}

/* ---- Positions ---- */

struct span {
    uint64_t first, end;
};

/* To the caller nothing changes. */
static struct span positions(const struct journal *journal)
{
    struct journal *j = (struct journal *)journal;
    pthread_mutex_lock(&j->lock);
    struct span s = {j->n_segments ? j->segment[0].first : j->next, j->next};
    pthread_mutex_unlock(&j->lock);
    return s;
}

uint64_t journal_first(const struct journal *j)
{
    return positions(j).first;
}

uint64_t journal_end(const struct journal *j)
{
    return positions(j).end;
}

uint64_t journal_bytes(const struct journal *j)
{
    return atomic_load_explicit(&j->count.bytes, memory_order_relaxed);
}

int journal_restart(struct journal *j, uint64_t next)
{
    if (next < j->next)
        return -EINVAL;
    pthread_mutex_lock(&j->lock);
    int err = j->readers ? -EBUSY : segments_clear(j);
    if (!err)
        j->next = next;
    pthread_mutex_unlock(&j->lock);
    return err;
}

/* ---- The frame that is being made ---- */

static int frame_grow(struct frame_buffer *f, size_t need)
{
    size_t room = f->room ? f->room : 16 * JOURNAL_BLOCK;
    while (room < need)
        room *= 2;
    char *bytes = aligned_alloc(JOURNAL_BLOCK, room);
    if (!bytes)
        return -ENOMEM;
    if (f->bytes)
        memcpy(bytes + FRAME_HEAD, f->bytes + FRAME_HEAD, f->size);
    free(f->bytes);
    f->bytes = bytes;
    f->room = room;
    return 0;
}

static void frame_clear(struct frame_buffer *f)
{
    f->small = f->size <= FRAME_KEEP - JOURNAL_BLOCK ? f->small + 1 : 0;
    f->size = 0;
    if (f->room <= FRAME_KEEP || f->small < SMALL_ENOUGH)
        return;
    free(f->bytes);
    *f = (struct frame_buffer){0};
}

void *journal_room(struct journal *j, size_t size)
{
    struct frame_buffer *f = j->filling;
    if (size > JOURNAL_FRAME_MAX - f->size || (f == &j->own && j->uncertain))
        return NULL;
    size_t need = (size_t)frame_length(f->size + size);
    if (need > f->room && frame_grow(f, need))
        return NULL;
    return f->bytes + FRAME_HEAD + f->size;
}

void journal_added(struct journal *j, size_t size)
{
    j->filling->size += size;
}

size_t journal_pending(const struct journal *j)
{
    return j->own.size;
}

void journal_abandon(struct journal *j)
{
    j->uncertain = false;
    frame_clear(&j->own);
}

/* ---- Is it still there? ---- */

int journal_check(struct journal *j, struct error *error)
{
    char name[FOLDER_NAME_MAX];
    pthread_mutex_lock(&j->lock);
    struct file_id last = j->last_id;
    if (last.ino)
        folder_segment_name(segment_last(j)->number, name);
    pthread_mutex_unlock(&j->lock);
    if (!file_id_is_at(&j->folder_id, AT_FDCWD, j->path))
        return error_set(error, -ESTALE,
                         "the folder '%s' was moved, removed or replaced", j->path);
    if (last.ino && !file_id_is_at(&last, j->folder, name))
        return error_set(error, -ESTALE, "'%s/%s' was moved, removed or replaced",
                         j->path, name);
    return 0;
}

/* ---- Commits ---- */

/* Where a frame goes: behind the last one, which only this thread moves. */
struct place {
    uint64_t segment, offset, size; /* of the file; 0: there is none */
    uint64_t before;                /* where the segment before it ends */
};

static struct place place_now(struct journal *j)
{
    struct place p = {0};
    pthread_mutex_lock(&j->lock);
    if (j->n_segments > 0) {
        const struct segment *s = segment_last(j);
        p = (struct place){s->number, s->end, s->closed ? s->end : s->size, 0};
        if (j->n_segments > 1 && s[-1].number + 1 == s->number)
            p.before = s[-1].end;
    }
    pthread_mutex_unlock(&j->lock);
    return p;
}

static int open_last(struct journal *j, uint64_t number)
{
    struct file_id id;
    int fd =
        folder_open_segment(j->folder, number, O_WRONLY | (j->direct ? O_DIRECT : 0));
    int err = fd < 0 ? fd : file_id_of(fd, &id);
    if (err) {
        close_file(fd);
        return err;
    }
    pthread_mutex_lock(&j->lock);
    j->fd = fd;
    j->last_id = id;
    pthread_mutex_unlock(&j->lock);
    return 0;
}

/* Its name is on disk, and it is open. */
static int segment_ready(struct journal *j, uint64_t number)
{
    int err = j->fd < 0 ? open_last(j, number) : 0;
    if (err)
        return err;
    if (j->folder_dirty && fsync(j->folder))
        return -errno;
    j->folder_dirty = false;
    return 0;
}

/* -ENOSPC: not all of it was written. Any other failure: nobody knows. */
static int write_and_sync(struct journal *j, const char *bytes, uint64_t length,
                          uint64_t offset)
{
    int64_t start = clock_monotonic_ns();
    fault_point("journal_write");
    int err = folder_write(j->fd, bytes, (size_t)length, offset);
    fault_point("journal_written");
    if (err)
        return err == -EDQUOT ? -ENOSPC : err;
    if (fdatasync(j->fd))
        return -EIO;
    fault_point("journal_synced");
    metric_add(&j->count.sync_ns, (uint64_t)(clock_monotonic_ns() - start));
    return 0;
}

/* From now on readers see it. */
static void publish(struct journal *j, uint64_t length, uint32_t n)
{
    metric_add(&j->count.frames, 1);
    metric_add(&j->count.written, length);
    pthread_mutex_lock(&j->lock);
    segment_last(j)->end += length;
    j->next += n;
    prepare_look(j);
    pthread_mutex_unlock(&j->lock);
}

static int put_frame(struct journal *j, struct frame_buffer *f, uint32_t n,
                     struct error *error)
{
    struct place p = place_now(j);
    struct frame_head head = {.segment = p.segment,
                              .first = j->next,
                              .size = f->size,
                              .n = n,
                              .salt = j->salt};
    if (p.offset == 0) {
        head.flags = FRAME_BEGINS;
        head.before = p.before;
    }
    uint64_t length = frame_length(f->size);
    if (length > f->room && frame_grow(f, (size_t)length)) /* an empty payload */
        return error_set(error, -ENOMEM, "out of memory");
    int err = segment_ready(j, p.segment);
    if (err)
        return error_set(error, err == -ENOSPC || err == -EDQUOT ? -EIO : err,
                         "segment %08llu: %s", (unsigned long long)p.segment,
                         strerror(-err));
    frame_seal(f->bytes, &head);
    err = write_and_sync(j, f->bytes, length, p.offset);
    j->uncertain |= err && err != -ENOSPC && f == &j->own;
    if (err)
        return error_set(error, err, "segment %08llu, offset %llu: %s",
                         (unsigned long long)p.segment, (unsigned long long)p.offset,
                         strerror(-err));
    publish(j, length, n);
    return 0;
}

static int make_begin(struct journal *j, struct error *error)
{
    j->begin.size = 0;
    if (!j->options.begin_segment)
        return 0;
    j->filling = &j->begin;
    int err = j->options.begin_segment(j->options.ctx, j);
    j->filling = &j->own;
    return err ? error_set(error, err, "the beginning of a segment: %s", strerror(-err))
               : 0;
}

/* A segment that has a frame already needs no beginning. */
static int begin_segment(struct journal *j, const struct place *p, uint64_t length,
                         struct error *error)
{
    int err = make_begin(j, error);
    if (err)
        return err;
    uint64_t need = length + (j->begin.size ? frame_length(j->begin.size) : 0);
    if (p->offset > 0 || need > p->size) {
        err = segments_next(j, need, error);
        if (err)
            return err;
        fault_point("journal_roll");
    }
    if (j->begin.size)
        err = put_frame(j, &j->begin, 0, error);
    frame_clear(&j->begin);
    return err;
}

/* What is removed a moment after a commit is as lost as what was removed a moment before: not each of
 * thousands a second has to look. */
static int check_again(struct journal *j, struct error *error)
{
    int64_t now_us = clock_monotonic_us();
    if (now_us - j->checked_us < JOURNAL_CHECK_US)
        return 0;
    int err = journal_check(j, error);
    j->checked_us = err ? 0 : now_us;
    return err;
}

static int commit(struct journal *j, uint32_t n, struct error *error)
{
    struct place p = place_now(j);
    uint64_t length = frame_length(j->own.size);
    int err = check_again(j, error);
    if (err)
        return err;
    if (n > UINT64_MAX - j->next)
        return error_set(error, -EINVAL, "there are no more positions");
    if (p.offset == 0 || length > p.size || p.offset > p.size - length)
        err = begin_segment(j, &p, length, error);
    return err ? err : put_frame(j, &j->own, n, error);
}

int journal_commit(struct journal *j, uint32_t n, uint64_t *ret_first,
                   struct error *error)
{
    uint64_t first = j->next;
    int err = commit(j, n, error);
    if (err) {
        error_prefix(error, "journal '%s'", j->path);
        /* What this or an earlier attempt may have left on disk is there, whatever went wrong now. */
        return j->uncertain ? -EIO : err;
    }
    j->uncertain = false;
    frame_clear(&j->own);
    *ret_first = first;
    return 0;
}

int journal_reserve(struct journal *j, size_t size, struct error *error)
{
    struct place p = place_now(j);
    uint64_t need = frame_length(size);
    int err = journal_check(j, error);
    if (!err && (p.offset > p.size || need > p.size - p.offset)) {
        err = make_begin(j, error);
        if (!err)
            err = segments_reserve(j, need + frame_length(j->begin.size), error);
        frame_clear(&j->begin);
    }
    if (err)
        error_prefix(error, "journal '%s'", j->path);
    return err;
}
