/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of segments: a next one at its end, old ones off its beginning.
 */
#include "journal/internal.h"

#include "base/fault.h"
#include "base/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

int segments_push(struct journal *j, const struct segment *s)
{
    if (j->n_segments + 1 >= j->room) { /* one more, for put_back */
        size_t room = j->room ? j->room * 2 : 16;
        struct segment *more = realloc(j->segment, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        j->segment = more;
        j->room = room;
    }
    j->segment[j->n_segments++] = *s;
    metric_add(&j->count.segments, 1);
    return 0;
}

static void forget_first(struct journal *j)
{
    j->n_segments--;
    memmove(j->segment, j->segment + 1, j->n_segments * sizeof(j->segment[0]));
    metric_add(&j->count.segments, (uint64_t)-1);
}

/* Grows from segment to segment, so that a stream with little to say stays small. */
uint64_t segments_target(const struct journal *j)
{
    uint64_t most = j->options.segment_size;
    uint64_t size =
        j->n_segments ? 2 * j->segment[j->n_segments - 1].size : SEGMENT_FIRST;
    return size < most ? size : most;
}

/* ---- Spares ---- */

void segments_drop(struct journal *j, const struct spare *s)
{
    char name[FOLDER_NAME_MAX];
    folder_spare_name(s->number, name);
    if (!unlinkat(j->folder, name, 0) || errno == ENOENT)
        metric_add(&j->count.bytes, (uint64_t)-s->size);
}

bool segments_keep_spare(struct journal *j, const struct spare *s,
                         struct spare *ret_drop)
{
    *ret_drop = *s;
    if (s->size < segments_target(j) || s->size > 2 * j->options.segment_size)
        return true;
    if (j->n_spares < SPARES_MAX) {
        j->spare[j->n_spares++] = *s;
        return false;
    }
    size_t least = 0;
    for (size_t i = 1; i < j->n_spares; i++)
        if (j->spare[i].size < j->spare[least].size)
            least = i;
    if (j->spare[least].size < s->size) {
        *ret_drop = j->spare[least];
        j->spare[least] = *s;
    }
    return true;
}

/* The largest spare, if it has `need` bytes. */
static bool take_spare(struct journal *j, uint64_t need, struct spare *ret)
{
    size_t best = 0;
    pthread_mutex_lock(&j->lock);
    for (size_t i = 1; i < j->n_spares; i++)
        if (j->spare[i].size > j->spare[best].size)
            best = i;
    bool found = j->n_spares > 0 && j->spare[best].size >= need;
    if (found) {
        *ret = j->spare[best];
        j->spare[best] = j->spare[--j->n_spares];
    }
    pthread_mutex_unlock(&j->lock);
    return found;
}

static void give_up_spares(struct journal *j)
{
    struct spare s;
    pthread_mutex_lock(&j->lock);
    prepare_give_up(j);
    pthread_mutex_unlock(&j->lock);
    while (take_spare(j, 0, &s))
        segments_drop(j, &s);
}

/* ---- The next segment ---- */

uint64_t segments_old_bytes(const struct journal *j, const struct segment *s)
{
    uint64_t most = j->options.limit / 2;
    return j->options.limit && s->number <= j->old_number && s->size > most
               ? s->size - most
               : 0;
}

/* With the lock held. */
static uint64_t bytes_left(const struct journal *j)
{
    uint64_t bytes = atomic_load_explicit(&j->count.bytes, memory_order_relaxed);
    uint64_t limit = j->options.limit + j->old_bytes;
    if (!j->options.limit)
        return UINT64_MAX;
    return limit > bytes ? limit - bytes : 0;
}

/* Blocks for a file of `size` bytes; what cannot be reserved will be written anyway. */
static int reserve(int fd, uint64_t size)
{
    if (!fallocate(fd, 0, 0, (off_t)size))
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return -errno;
    return ftruncate(fd, (off_t)size) ? -errno : 0;
}

/* A number and bytes for a new file. The thread that prepares spares asks for bytes, too. */
static bool take_bytes(struct journal *j, uint64_t size, struct spare *ret)
{
    pthread_mutex_lock(&j->lock);
    bool fits = bytes_left(j) >= size;
    if (fits) {
        *ret = (struct spare){.number = j->next_spare++, .size = size};
        metric_add(&j->count.bytes, size);
    }
    pthread_mutex_unlock(&j->lock);
    return fits;
}

static int reserve_file(struct journal *j, const struct spare *s)
{
    char name[FOLDER_NAME_MAX];
    folder_spare_name(s->number, name);
    int fd = openat(j->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int err = reserve(fd, s->size);
    if (!err && fsync(fd))
        err = -errno;
    close(fd);
    if (err)
        unlinkat(j->folder, name, 0);
    return err;
}

/* Makes a spare that was never written, for at once. */
static int make_file(struct journal *j, uint64_t size, struct spare *ret)
{
    struct spare s;
    if (!take_bytes(j, size, &s))
        return -EDQUOT;
    int err = reserve_file(j, &s);
    if (err)
        metric_add(&j->count.bytes, (uint64_t)-size);
    else
        *ret = s;
    return err;
}

/* A file of `size` bytes, or as many as the limit leaves, but not less than `need`. */
static int make_within_limit(struct journal *j, uint64_t need, uint64_t size,
                             struct spare *ret)
{
    pthread_mutex_lock(&j->lock);
    uint64_t left = bytes_left(j) & ~(uint64_t)(JOURNAL_BLOCK - 1);
    pthread_mutex_unlock(&j->lock);
    left = left < size ? left : size;
    return make_file(j, left < need ? need : left, ret);
}

static bool is_full(int err)
{
    return err == -ENOSPC || err == -EDQUOT;
}

/* The best first: a spare that is large enough, a new file, any spare, a new file in place of the
 * spares, one that is just large enough. */
static int find_file(struct journal *j, uint64_t need, struct spare *ret)
{
    pthread_mutex_lock(&j->lock);
    uint64_t size = segments_target(j);
    pthread_mutex_unlock(&j->lock);
    size = size > need ? size : need;
    if (take_spare(j, size, ret))
        return 0;
    int err = make_file(j, size, ret);
    if (!is_full(err))
        return err;
    if (take_spare(j, need, ret))
        return 0;
    give_up_spares(j);
    err = make_within_limit(j, need, size, ret);
    return err == -ENOSPC ? make_within_limit(j, need, need, ret) : err;
}

static int no_file(struct journal *j, int err, uint64_t need, struct error *error)
{
    pthread_mutex_lock(&j->lock);
    bool limited = bytes_left(j) < need;
    pthread_mutex_unlock(&j->lock);
    if (err == -EDQUOT && limited)
        return error_set(error, -EDQUOT,
                         "the limit of %llu bytes is reached, and nothing could be "
                         "trimmed",
                         (unsigned long long)j->options.limit);
    return error_set(error, is_full(err) ? -ENOSPC : err,
                     "cannot make the next segment: %s", strerror(-err));
}

/* Gives the file the name of the next segment. */
static int install(struct journal *j, const struct spare *file)
{
    char from[FOLDER_NAME_MAX], to[FOLDER_NAME_MAX];
    struct segment s = {
        .number = j->last_number + 1,
        .size = file->size & ~(uint64_t)(JOURNAL_BLOCK - 1),
        .first = j->next,
    };
    folder_spare_name(file->number, from);
    folder_segment_name(s.number, to);
    pthread_mutex_lock(&j->lock);
    int err = segments_push(j, &s);
    if (!err && renameat(j->folder, from, j->folder, to)) {
        err = -errno;
        j->n_segments--;
        metric_add(&j->count.segments, (uint64_t)-1);
    }
    j->last_number += !err;
    pthread_mutex_unlock(&j->lock);
    return err;
}

int segments_next(struct journal *j, uint64_t need, struct error *error)
{
    struct spare file;
    int err = find_file(j, need, &file);
    if (err)
        return no_file(j, err, need, error);
    err = install(j, &file);
    if (err) {
        segments_drop(j, &file);
        return error_set(error, err, "cannot name the next segment: %s",
                         strerror(-err));
    }
    pthread_mutex_lock(&j->lock);
    segments_close_file(j);
    pthread_mutex_unlock(&j->lock);
    j->folder_dirty = true;
    return 0;
}

int segments_reserve(struct journal *j, uint64_t need, struct error *error)
{
    struct spare file, drop;
    int err = find_file(j, need, &file);
    if (err)
        return no_file(j, err, need, error);
    pthread_mutex_lock(&j->lock);
    bool dropping = segments_keep_spare(j, &file, &drop);
    pthread_mutex_unlock(&j->lock);
    if (dropping)
        segments_drop(j, &drop);
    return 0;
}

void segments_close_file(struct journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
    j->last_id = (struct file_id){.ino = 0};
}

/* ---- The oldest segments ---- */

/* Would less be left without the oldest segment than is to be kept? */
static bool is_kept(const struct journal *j)
{
    uint64_t others = 0;
    for (size_t i = 1; j->options.keep && i < j->n_segments; i++)
        others += j->segment[i].size;
    return others < j->options.keep;
}

/* Takes the oldest segment off the list, if all its positions are below `before`, nobody reads it, and it is not kept. */
static bool take_oldest(struct journal *j, uint64_t before, struct segment *ret)
{
    pthread_mutex_lock(&j->lock);
    bool found = j->n_segments > 1 && j->segment[1].first <= before && !is_kept(j) &&
                 j->segment[0].number < readers_first_segment(j);
    if (found && ret) {
        *ret = j->segment[0];
        j->old_bytes -= segments_old_bytes(j, ret);
        forget_first(j);
    }
    pthread_mutex_unlock(&j->lock);
    return found;
}

/* It could not be removed: it stands first again. */
static void put_back(struct journal *j, const struct segment *s)
{
    pthread_mutex_lock(&j->lock);
    memmove(j->segment + 1, j->segment, j->n_segments * sizeof(j->segment[0]));
    j->segment[0] = *s; /* there is room; see segments_push */
    j->old_bytes += segments_old_bytes(j, s);
    j->n_segments++;
    metric_add(&j->count.segments, 1);
    pthread_mutex_unlock(&j->lock);
}

/* It becomes a spare, which may then be dropped. */
static int retire(struct journal *j, const struct segment *s)
{
    char from[FOLDER_NAME_MAX], to[FOLDER_NAME_MAX];
    struct spare drop;
    pthread_mutex_lock(&j->lock);
    struct spare file = {.number = j->next_spare++, .size = s->size};
    pthread_mutex_unlock(&j->lock);
    folder_segment_name(s->number, from);
    folder_spare_name(file.number, to);
    if (renameat(j->folder, from, j->folder, to))
        return -errno;
    pthread_mutex_lock(&j->lock);
    bool dropping = segments_keep_spare(j, &file, &drop);
    pthread_mutex_unlock(&j->lock);
    if (dropping)
        segments_drop(j, &drop);
    return 0;
}

static void trim_all(struct journal *j, uint64_t before)
{
    struct segment s;
    while (take_oldest(j, before, &s)) {
        int err = retire(j, &s);
        if (err == -ENOENT) {
            logger_error(
                "journal",
                "journal '%s': somebody has removed segment %llu; nobody needs it "
                "any more",
                j->path, (unsigned long long)s.number);
            metric_add(&j->count.bytes, (uint64_t)-s.size);
        } else if (err) {
            logger_warn("journal", "journal '%s': cannot remove segment %llu: %s",
                        j->path, (unsigned long long)s.number, strerror(-err));
            put_back(j, &s);
            break;
        }
        fault_point("journal_trim");
        /* One name at a time: a crash must not leave a hole in the row. */
        fsync(j->folder);
    }
}

void journal_trim(struct journal *j, uint64_t before)
{
    struct error error;
    pthread_mutex_lock(&j->trim_lock);
    if (take_oldest(j, before, NULL) && !journal_check(j, &error) &&
        !folder_flock(j->hold, LOCK_EX | LOCK_NB)) {
        trim_all(j, before);
        folder_flock(j->hold, LOCK_UN);
    }
    pthread_mutex_unlock(&j->trim_lock);
}

/* Spares, too: with the last frame goes the salt by which frames differ from what their payloads held. */
static int clear_all(struct journal *j)
{
    char name[FOLDER_NAME_MAX];
    while (j->n_spares > 0)
        segments_drop(j, &j->spare[--j->n_spares]);
    while (j->n_segments > 0) {
        folder_segment_name(segment_last(j)->number, name);
        if (unlinkat(j->folder, name, 0))
            return -errno;
        metric_add(&j->count.bytes, (uint64_t)-segment_last(j)->size);
        metric_add(&j->count.segments, (uint64_t)-1);
        j->old_bytes -= segments_old_bytes(j, segment_last(j));
        j->n_segments--;
    }
    segments_close_file(j);
    return fsync(j->folder) ? -errno : 0;
}

int segments_clear(struct journal *j)
{
    prepare_give_up(j);                       /* it looks at the last segment */
    int err = folder_flock(j->hold, LOCK_EX); /* a backup may be reading them */
    if (err)
        return err;
    err = clear_all(j);
    folder_flock(j->hold, LOCK_UN);
    return err;
}
