/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this folder share: the open journal.
 *
 *      journal.c   the frame that is being made, commits
 *      recover.c   finds the end when a journal is opened
 *      segments.c  the list of segments: the next one, the oldest ones
 *      prepare.c   the thread that writes a spare before it is needed
 *      reader.c    reads what is committed, meanwhile
 *      verify.c, copy.c   a folder from outside
 */
#ifndef WEIR_JOURNAL_INTERNAL_H
#define WEIR_JOURNAL_INTERNAL_H

#include "base/fileid.h"
#include "journal/folder.h"
#include "journal/frame.h"

#include <pthread.h>

#define SEGMENT_FIRST   ((uint64_t)4 << 20)
#define SEGMENT_DEFAULT ((uint64_t)64 << 20)
#define SEGMENT_LEAST   ((uint64_t)64 << 10)
#define SPARES_MAX      2u
#define SKIP_HINT       " (weir serve --skip-damaged passes over it)"

struct segment {
    uint64_t number;
    uint64_t size;  /* of the file */
    uint64_t first; /* position that its first frame begins with */
    uint64_t end; /* offset where its frames end; 0: not known unless it is the last */
    bool closed;  /* of the last one: nothing is added, so that it can be trimmed */
};

struct spare {
    uint64_t number, size;
};

/* A frame in memory: room for the head, the payload so far. */
struct frame_buffer {
    char *bytes;    /* aligned to a block; NULL: none yet */
    size_t room;    /* a multiple of a block */
    size_t size;    /* of the payload */
    unsigned small; /* frames in a row that would have fitted into FRAME_KEEP */
};

struct journal {
    char *path, *stream;
    struct journal_options options; /* sizes rounded; strings are not to be used */
    int folder, lock_file, hold;
    struct file_id folder_id;
    bool direct;
    uint64_t salt; /* of all frames; never 0 once the journal is open */

    /* The thread that writes. */
    struct frame_buffer own, begin;
    struct frame_buffer *filling;
    bool uncertain;     /* the frame may be on disk though its commit failed */
    bool folder_dirty;  /* a segment has its name, maybe not yet on disk */
    int fd;             /* of the last segment, or -1 */
    int64_t checked_us; /* when a commit last found all in its place */

    /* Of trimming: one at a time. Taken before `lock`. */
    pthread_mutex_t trim_lock;

    pthread_mutex_t lock; /* all that follows */
    struct segment *segment;
    size_t n_segments, room;
    struct spare spare[SPARES_MAX];
    size_t n_spares;
    struct file_id last_id; /* of `fd`; ino 0: it is not open */
    uint64_t next_spare;    /* number of the next one */
    uint64_t last_number;   /* of a segment, ever */
    uint64_t old_number;    /* up to this one they may be of a higher limit: */
    uint64_t old_bytes;     /* of these what is more than half of the limit of today */
    uint64_t next;          /* position; written by the thread that writes */
    struct journal_reader *readers;

    pthread_t thread;
    pthread_cond_t changed; /* commits, new segments; for the thread */
    pthread_cond_t idle;    /* the thread has ended a spare, or given it up */
    bool started, stop;
    bool preparing, give_up;
    uint64_t no_spare_for; /* segment for whose successor none could be made */

    struct {
        _Atomic uint64_t bytes, segments, frames, written, sync_ns, damaged, torn;
    } count; /* relaxed: they are only looked at */
};

/* With the lock held. The list is never empty when it is called. */
static inline struct segment *segment_last(struct journal *j)
{
    return &j->segment[j->n_segments - 1];
}

/* ---- segments.c ---- */

int segments_push(struct journal *j, const struct segment *s); /* -ENOMEM */

/* The next segment, with room for `need` bytes, becomes the last one; its name may not be on disk yet
 * (folder_dirty). -ENOSPC, -EDQUOT, ... : nothing has changed. */
int segments_next(struct journal *j, uint64_t need, struct error *error);

/* Bytes of a segment that was there at the opening, beyond half of the limit: the limit was higher then. They do
 * not count, or nothing could be written until it is trimmed, and it is not trimmed as long as it is the last. With
 * the lock held. */
uint64_t segments_old_bytes(const struct journal *j, const struct segment *s);

/* Bytes that the next segment should have. With the lock held. */
uint64_t segments_target(const struct journal *j);

/* Has a spare with `need` bytes ready, or makes one. -ENOSPC, -EDQUOT, ... */
int segments_reserve(struct journal *j, uint64_t need, struct error *error);

/* Closes the file that is written. With the lock held. */
void segments_close_file(struct journal *j);

/* Takes a spare file in, unless it is too small or too large to be of use, or there are larger ones;
 * writes in *ret_drop the number of the one that is not wanted any more. With the lock held. */
bool segments_keep_spare(struct journal *j, const struct spare *s,
                         struct spare *ret_drop);

/* Unlinks; its bytes are free again. */
void segments_drop(struct journal *j, const struct spare *s);

/* Unlinks all segments, and the spares, of a journal that holds no positions; waits while trimming is held
 * off. With the lock held. */
int segments_clear(struct journal *j);

/* ---- prepare.c ---- */

/* After a commit: has a spare made if one is due. With the lock held. */
void prepare_look(struct journal *j);
/* Ends what is being made. With the lock held, which is given away meanwhile. */
void prepare_give_up(struct journal *j);
void prepare_stop(struct journal *j);

/* ---- recover.c ---- */

int recover(struct journal *j, struct error *error);

/* ---- reader.c ---- */

/* Least number of a segment that a reader needs; UINT64_MAX: none. With the lock held. */
uint64_t readers_first_segment(const struct journal *j);

#endif
