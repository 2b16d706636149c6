/* SPDX-License-Identifier: Apache-2.0
 *
 * The frames of one segment file, one after the other, read in large pieces and checked. The file may
 * be written meanwhile.
 */
#ifndef WEIR_JOURNAL_SCAN_H
#define WEIR_JOURNAL_SCAN_H

#include "journal/folder.h"
#include "journal/frame.h"

struct scan {
    int fd; /* -1: none */
    uint64_t segment;
    uint64_t salt;   /* of the journal; 0: that of the first head that is found */
    uint64_t offset; /* of the next frame */
    uint64_t end;    /* nothing is read from here on */
    char *buffer;
    size_t room;
    uint64_t at; /* the buffer holds [at, at + size) of the file */
    size_t size;
};

struct scan_frame {
    struct frame_head head;
    const char *payload; /* valid until the next call; aligned to 64 */
    uint64_t offset;
    uint64_t
        damaged; /* frames before it that cannot be read, so far as they can be told
                       * apart */
};

/* Takes the descriptor. `end` 0: the end of the file. -EIO, ... */
int scan_begin(struct scan *s, int fd, uint64_t segment, uint64_t salt, uint64_t end);
void scan_finish(struct scan *s); /* closes, frees; may be called twice */

/* 1: the next whole frame, at s->offset or behind what cannot be read. 0: there is none before s->end,
 * and s->offset is where the last one ended. -EIO, -ENOMEM. */
int scan_next(struct scan *s, struct scan_frame *ret);

/* What has been read may have been written again since. */
void scan_forget(struct scan *s);

/* After scan_next has found no more: bytes at s->offset of a frame that was begun. */
int scan_torn(struct scan *s, uint64_t *ret);

/* The head of the first frame of a segment; of the first whole one, if the beginning is damaged. 1, or
 * 0: there is none. -errno. */
int scan_first(int folder, uint64_t segment, uint64_t salt, struct frame_head *ret);

/* The salt of the journal, from the newest segment that begins with a head: what lies there was never up to
 * a client. 0: none does. -EPROTONOSUPPORT: none does, but one has that of another version. */
int scan_salt(int folder, const struct folder_list *l, uint64_t *ret,
              struct error *error);

/* What is wrong: at `offset` position `expected` (0: not known) should follow, and the next frame that
 * can be read has `next`. */
void scan_lost_text(struct error *text, uint64_t segment, uint64_t offset,
                    uint64_t expected, uint64_t next);

#endif
