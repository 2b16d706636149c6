/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of a journal: names, a list of them, locks, whole reads and writes.
 */
#ifndef WEIR_JOURNAL_FOLDER_H
#define WEIR_JOURNAL_FOLDER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FOLDER_NAME_MAX  32
#define FOLDER_HALF_MADE "spare.new" /* removed when the journal is opened */

struct folder_file {
    uint64_t number;
    uint64_t size; /* bytes */
};

struct folder_list {
    struct folder_file *segment, *spare; /* by rising number */
    size_t n_segments, n_spares;
};

void folder_segment_name(uint64_t number, char name[FOLDER_NAME_MAX]);
void folder_spare_name(uint64_t number, char name[FOLDER_NAME_MAX]);

/* -errno, -ENOMEM. */
int folder_read(int folder, struct folder_list *ret);
void folder_list_free(struct folder_list *l);

/* Makes the folder, with mode 0700, and its entry durable, unless it is there. */
int folder_make(const char *path, struct error *error);
/* The same of many folders in `parent`, whose name is made durable once. */
int folder_make_all(const char *parent, const char *const *name, size_t n);
int folder_open(const char *path, int *ret, struct error *error);

/* For the process that writes. -EBUSY: another has it; the text names it. */
int folder_lock(int folder, int *ret, struct error *error);

/* The file by which trimming is held off. *ret is -1 where it is not there and `make` is false. */
int folder_hold(int folder, bool make, int *ret);
/* The same, locked: nothing is trimmed until it is closed. Waits for trimming that is under way. */
int folder_hold_shared(int folder, bool make, int *ret);

int folder_flock(int fd, int operation); /* flock, again after signals. 0 or -errno */

/* Whether files here can be written around the page cache. */
bool folder_is_direct(int folder);

int folder_open_segment(int folder, uint64_t number, int flags); /* or -errno */
int folder_write(int fd, const char *bytes, size_t size, uint64_t offset);

#endif
