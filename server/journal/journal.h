/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal of a stream: what was acknowledged, on disk, in order, until nobody needs it any more.
 * Append-only segment files, pre-written and used again, so that a commit is one write and one flush
 * of data and never changes the file system's own structures. docs/journal.md draws the bytes.
 *
 *      journal_room, journal_added, ... -> journal_commit: one frame, one write, one sync
 *      [segment 7: frame frame frame ....][segment 8: frame torn]  -> journal_open cuts the torn tail
 *
 * The unit is the frame: it is there as a whole or not at all. A frame holds entries with positions,
 * `first`, first + 1, ..., and may hold bytes that have none (names of sources, the schema). What is
 * in the payload is the log's business; the journal only counts.
 *
 * One thread writes (room, added, commit, abandon). journal_trim and readers may be on others.
 */
#ifndef WEIR_JOURNAL_JOURNAL_H
#define WEIR_JOURNAL_JOURNAL_H

#include "base/error.h"
#include "base/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_BLOCK                                                                  \
    4096u /* frames begin at multiples of it; a block is never written twice
                             * once a commit has succeeded */
#define JOURNAL_FRAME_MAX ((size_t)1 << 30) /* bytes of a payload */

struct journal;

struct journal_options {
    const char *folder;    /* made if missing, with mode 0700; its parent must exist */
    bool made;             /* it is there, and its name is durable */
    const char *stream;    /* for messages and metric labels */
    uint64_t segment_size; /* bytes; the first segments are smaller. 0: 64 MiB */
    uint64_t limit; /* of all files of the journal together, bytes; 0: none. A segment
                            * has at most a quarter of it */
    uint64_t keep;  /* bytes of segments that stay when they are not needed any more */
    bool
        skip_damaged; /* frames that cannot be read are passed over, and logged, not an error; no
                       * more are written to a last segment that has such ones */
    bool buffered; /* through the page cache even where O_DIRECT works */
    /* What every segment begins with, so that it can be read alone: a frame of its own without
     * positions. Called by journal_commit when a new segment begins; again, if that failed.
     * Appends with journal_room and journal_added. NULL: nothing. */
    int (*begin_segment)(void *ctx, struct journal *j);
    void *ctx;
};

/* Opens or makes the folder, finds the end, cuts a torn tail (logged with the bytes). -EBADMSG: a frame
 * in the middle is damaged: the text names file, offset and the positions that are lost. -EBUSY:
 * another process has it. -EPROTONOSUPPORT: another version of weir wrote it; nothing was changed. `metrics` may be NULL; it is not to be printed after journal_close. */
int journal_open(const struct journal_options *options, struct metrics *metrics,
                 struct journal **ret, struct error *error);
void journal_close(
    struct journal *j); /* takes NULL; what is not committed is forgotten */

/* Positions that can be read: [first, end). Equal: none. */
uint64_t journal_first(const struct journal *j);
uint64_t journal_end(const struct journal *j);
uint64_t journal_bytes(const struct journal *j); /* of all its files */

/* Forgets all entries and goes on, empty and without spares, at `next`. -EINVAL: below its end. -EBUSY: there are readers. -EIO, ... */
int journal_restart(struct journal *j, uint64_t next);

/* Room for `size` more bytes of the frame that is being made. NULL: no memory, JOURNAL_FRAME_MAX, or the
 * frame may be on disk already (its commit failed with -EIO). Valid until the next call. journal_added
 * takes the first `size` bytes of it into the frame. */
void *journal_room(struct journal *j, size_t size);
void journal_added(struct journal *j, size_t size);
size_t journal_pending(const struct journal *j); /* bytes added so far */

/* Commits look at most so often. */
#define JOURNAL_CHECK_US 10000

/* 0, or -ESTALE: the folder or the last segment is not where it was: moved, removed, replaced. Any thread. */
int journal_check(struct journal *j, struct error *error);

/* Room for a frame with a payload of `size` bytes, without writing one: in the last segment, or a spare is
 * made. As journal_commit: -ENOSPC, -EDQUOT, -ESTALE, ... On the thread that writes. */
int journal_reserve(struct journal *j, size_t size, struct error *error);

/* Writes the frame with `n` positions, syncs, and is ready for the next one; *ret_first is the first
 * position. n may be 0. After a failure the frame is kept: commit again, or abandon.
 * -ENOSPC, -EDQUOT (limit), -ENOMEM, -ESTALE (journal_check): it is not on disk. -EIO and others: it may or may not
 * be there, so it has to be committed again and never be abandoned. */
int journal_commit(struct journal *j, uint32_t n, uint64_t *ret_first,
                   struct error *error);
void journal_abandon(struct journal *j);

/* Positions below `before` are not needed any more: segments that hold no others are used again, or
 * removed, the oldest first, but for the last `keep` bytes of them. Nothing is, while journal_check fails. Any thread. */
void journal_trim(struct journal *j, uint64_t before);

/* ---- Reading ---- */

struct journal_reader;

struct journal_frame {
    uint64_t first; /* position */
    uint32_t n;
    const char *payload; /* valid until the next call; aligned to 64 */
    size_t size;
};

/* From the beginning of the segment that holds `from` (or of the first that there is behind it): what its
 * entries need may stand before them. Frames and entries before `from` are the caller's to pass over. What is
 * committed later is read, too. The segment it reads and those behind it are not used again. Free it
 * before the journal is closed. -ENOMEM. */
int journal_reader_new(struct journal *j, uint64_t from, struct journal_reader **ret,
                       struct error *error);
void journal_reader_free(struct journal_reader *r); /* takes NULL */

/* 1: a frame. 0: the end. -EBADMSG: damaged (with skip_damaged: passed over, logged and counted;
 * the next frame's `first` shows the gap). -EIO. */
int journal_reader_next(struct journal_reader *r, struct journal_frame *ret,
                        struct error *error);

/* ---- For weir check, weir backup: a folder that a running server may be writing ---- */

struct journal_report {
    uint64_t first, end; /* positions */
    uint64_t segments, frames, bytes;
    uint64_t damaged; /* frames in the middle that cannot be read */
    uint64_t torn; /* bytes behind the last frame that look like the beginning of one */
};

/* Reads everything and says what there is. -ENOENT, -EIO; damage is in the report, and the text of the
 * first in `error`. */
int journal_verify(const char *folder, struct journal_report *ret, struct error *error);

/* Holds trimming off until *ret is closed, also in another process; waits for one that is under way. What
 * the journal has now can be read as long. -1 where nobody ever wrote and nobody can. -ENOENT, ... */
int journal_hold(const char *folder, int *ret, struct error *error);

/* Copies all segments that hold positions >= from, up to the end, into the folder `to` (made), synced.
 * Trimming is held off meanwhile, also from another process. Damage is copied as it is. -EEXIST: there is
 * a journal in `to`. -ENOSPC, -EIO, ...: what was copied so far stays. */
int journal_copy(const char *folder, uint64_t from, const char *to,
                 struct error *error);

#endif
