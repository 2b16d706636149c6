/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that writes one spare full of zeros while the last segment fills, so that a commit only
 * ever overwrites blocks that the file system has long known. It goes no faster than commits do: the
 * spare is ready when the segment is nearly full, and commits in between hardly wait for it.
 */
#include "base/thread.h"
#include "journal/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)

/* All of these with the lock held. */

static bool has_spare(const struct journal *j)
{
    for (size_t i = 0; i < j->n_spares; i++)
        if (j->spare[i].size >= segments_target(j))
            return true;
    return false;
}

static bool has_bytes(struct journal *j)
{
    uint64_t bytes = atomic_load_explicit(&j->count.bytes, memory_order_relaxed);
    return !j->options.limit || bytes + segments_target(j) <= j->options.limit;
}

static bool is_due(struct journal *j)
{
    if (j->n_segments == 0)
        return false;
    const struct segment *s = segment_last(j);
    return s->end >= s->size / 2 && s->number != j->no_spare_for && !has_spare(j) &&
           has_bytes(j);
}

/* Bytes of a spare of `size` that may have been written by now: none when the segment is half full,
 * all when a block less than seven eighths are. */
static uint64_t allowed(struct journal *j, uint64_t size)
{
    const struct segment *s = segment_last(j);
    if (s->end <= s->size / 2)
        return 0;
    double done = (double)(s->end + JOURNAL_BLOCK - s->size / 2);
    return (uint64_t)(done / ((double)s->size * 0.375) * (double)size);
}

/* ---- The thread ---- */

/* False: told to stop. */
static bool wait_for_turn(struct journal *j, uint64_t written, uint64_t size)
{
    pthread_mutex_lock(&j->lock);
    while (!j->stop && !j->give_up && allowed(j, size) <= written)
        pthread_cond_wait(&j->changed, &j->lock);
    bool go = !j->stop && !j->give_up;
    pthread_mutex_unlock(&j->lock);
    return go;
}

static int write_zeros(struct journal *j, int fd, const char *zeros, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += PIECE) {
        size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
        if (!wait_for_turn(j, at, size))
            return -ECANCELED;
        int err = folder_write(fd, zeros, n, at);
        if (err)
            return err;
    }
    return fsync(fd) ? -errno : 0;
}

static int write_file(struct journal *j, uint64_t size)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | (j->direct ? O_DIRECT : 0);
    char *zeros = aligned_alloc(JOURNAL_BLOCK, PIECE);
    if (!zeros)
        return -ENOMEM;
    memset(zeros, 0, PIECE);
    int fd = openat(j->folder, FOLDER_HALF_MADE, flags, 0600);
    int err = fd < 0 ? -errno : write_zeros(j, fd, zeros, size);
    if (fd >= 0)
        close(fd);
    free(zeros);
    return err;
}

static int make_spare(struct journal *j, uint64_t size, struct spare *ret)
{
    char name[FOLDER_NAME_MAX];
    struct spare s = {.size = size};
    int err = write_file(j, size);
    if (!err) {
        pthread_mutex_lock(&j->lock);
        s.number = j->next_spare++;
        pthread_mutex_unlock(&j->lock);
        folder_spare_name(s.number, name);
        if (renameat(j->folder, FOLDER_HALF_MADE, j->folder, name))
            err = -errno;
    }
    if (err)
        unlinkat(j->folder, FOLDER_HALF_MADE, 0);
    *ret = s;
    return err;
}

/* With the lock held, which is given away meanwhile. That there is no room for a spare is no error. */
static void prepare_one(struct journal *j)
{
    struct spare s, drop;
    uint64_t size = segments_target(j);
    j->preparing = true;
    metric_add(&j->count.bytes, size);
    pthread_mutex_unlock(&j->lock);
    int err = make_spare(j, size, &s);
    pthread_mutex_lock(&j->lock);
    if (err) {
        metric_add(&j->count.bytes, (uint64_t)-size);
        j->no_spare_for = segment_last(j)->number;
    } else if (segments_keep_spare(j, &s, &drop)) {
        segments_drop(j, &drop);
    }
    j->preparing = j->give_up = false;
    pthread_cond_broadcast(&j->idle);
}

static void *prepare_run(void *journal)
{
    struct journal *j = journal;
    pthread_mutex_lock(&j->lock);
    while (!j->stop) {
        if (is_due(j))
            prepare_one(j);
        else
            pthread_cond_wait(&j->changed, &j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* Most journals never fill half a segment, and need no thread. */
void prepare_look(struct journal *j)
{
    if (!j->preparing && !is_due(j))
        return;
    if (!j->started)
        j->started = !thread_start(&j->thread, "journal", prepare_run, j);
    if (j->started)
        pthread_cond_signal(&j->changed);
    else
        j->no_spare_for = segment_last(j)->number;
}

void prepare_give_up(struct journal *j)
{
    if (j->n_segments > 0) /* nor does it begin another now */
        j->no_spare_for = segment_last(j)->number;
    j->give_up = j->preparing;
    pthread_cond_signal(&j->changed);
    while (j->preparing)
        pthread_cond_wait(&j->idle, &j->lock);
}

void prepare_stop(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    j->stop = true;
    pthread_cond_signal(&j->changed);
    pthread_mutex_unlock(&j->lock);
    if (j->started)
        pthread_join(j->thread, NULL);
}
