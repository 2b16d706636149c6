/* SPDX-License-Identifier: Apache-2.0
 *
 * The database as files: PATH, PATH-wal, PATH-shm. They are known by device and inode, not only by name:
 * locked so that no second weir has them, whatever it calls them, and compared with what is there now,
 * since what is committed to a file that was moved away or removed is lost to the next start.
 */
#ifndef WEIR_STORE_FILES_H
#define WEIR_STORE_FILES_H

#include "base/error.h"
#include "base/fileid.h"

#include <stdbool.h>

struct files {
    char *path;    /* as it was given */
    char *name[3]; /* of the file that it leads to, and what SQLite puts beside it */
    struct file_id id[3]; /* ino 0: there is none */
    int lock;             /* descriptor of NAME.lock */
    int database; /* a descriptor of the file. POSIX takes the locks that SQLite has on it away
                   * when the process closes any of its descriptors, so it stays open for longer */
};

/* Makes the file if it is not there, and locks it. Before SQLite opens it. -EBUSY: another weir has it; the text
 * says which. After a failure files_free. */
int files_lock(struct files *f, const char *path, struct error *error);

/* Whether another weir has it. Nothing is made. */
bool files_in_use(const char *path);

/* What a process that was killed has committed last is on disk, also if no sync followed. Before SQLite opens it. */
int files_sync_wal(const struct files *f, struct error *error);

/* From now on those that are there are the ones. Once SQLite has opened it. */
int files_note(struct files *f, struct error *error);

/* 0, or -ESTALE: one was moved, removed or replaced. Any thread. */
int files_check(const struct files *f, struct error *error);

/* After SQLite has closed it. */
void files_free(struct files *f);

#endif
