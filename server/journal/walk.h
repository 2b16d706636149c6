/* SPDX-License-Identifier: Apache-2.0
 *
 * The segments of a folder from outside, while a running server may add to them. Trimming is held off.
 */
#ifndef WEIR_JOURNAL_WALK_H
#define WEIR_JOURNAL_WALK_H

#include "journal/folder.h"

struct walk {
    int folder, hold;
    uint64_t salt; /* of the journal; 0: not known */
    struct folder_list list;
    uint64_t number; /* of the segment; 0: before the first one */
};

int walk_begin(struct walk *w, const char *path, struct error *error);
void walk_finish(struct walk *w); /* also after walk_begin has failed */

/* 1: the number of the segment behind this one. 0: there is none. -errno. Once there is one, the one
 * before it does not change any more. */
int walk_look(struct walk *w, uint64_t *ret);

/* Where the frames of this segment end, by what the next one says. 1, or 0: it does not say. -errno. */
int walk_end(const struct walk *w, uint64_t next, uint64_t *ret);

#endif
