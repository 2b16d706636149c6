/* SPDX-License-Identifier: Apache-2.0
 *
 * A copy of a database and its journals, from files that a running server may be writing to: by itself
 * or by another process.
 *
 *      trimming of the journals is held off
 *        a snapshot of the database is opened
 *        the journals are copied: all that trimming has left, hence all that its checkpoints need
 *      trimming goes on
 *      the snapshot is copied
 *
 * What was acknowledged before is in the journals, or the snapshot knows it; entries that both have are
 * folded once, as after a crash.
 */
#ifndef WEIR_ADMIN_BACKUP_H
#define WEIR_ADMIN_BACKUP_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the folder; its journals are in weir.db.journal. */
#define BACKUP_DATABASE "weir.db"

struct backup_options {
    const char *database; /* file */
    const char *journal;  /* folder of the journals; need not be there */
    /* A folder that is not there, or empty; TO.part until it is complete. */
    const char *to;
    bool (*cancelled)(void *ctx); /* asked now and then; NULL: never */
    void *ctx;
};

struct backup_stream {
    char *name;
    uint64_t position; /* of the last entry */
    uint64_t damaged;  /* frames that cannot be read, in the original, too */
};

struct backup_report {
    uint64_t bytes;
    int64_t took_us;
    struct error damage; /* "" or the first of it */
    size_t n_streams;
    struct backup_stream *stream;
};
void backup_report_free(struct backup_report *r);

/* Makes the copy, synced. -EEXIST: `to` or TO.part is there; -ENOENT: no database; -EINVAL: not weir's;
 * -ECANCELED; -ENOSPC, -EIO, ... After a failure nothing is left. */
int backup_make(const struct backup_options *o, struct backup_report *ret,
                struct error *error);

/* Removes a backup, or what is left of one. */
int backup_remove(const char *folder);

#endif
