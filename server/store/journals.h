/* SPDX-License-Identifier: Apache-2.0
 *
 * The journals that belong to a database, seen from outside, and what the database needs of them.
 */
#ifndef WEIR_STORE_JOURNALS_H
#define WEIR_STORE_JOURNALS_H

#include "base/error.h"
#include "config/config.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct journals_stream {
    char *name, *folder;
    int hold; /* descriptor */
};

struct journals {
    size_t n;
    struct journals_stream *stream; /* by name */
};

/* Lists the journals in the folder (none if it is not there) and holds their trimming off, until they are
 * released. -EACCES, -ENOMEM, ... */
int journals_hold(const char *folder, struct journals *ret, struct error *error);
void journals_release(struct journals *j);

/* Up to where the keys of the stream's requests are in the file. -ENOENT: the file does not know the stream. */
int journals_kept(sqlite3 *db, const char *stream, uint64_t *ret_position,
                  struct error *error);

/* How far the database is with a stream: the keys of its requests, and the checkpoints of those pipelines that
 * the configuration feeds with it. */
struct journals_needs {
    bool known;     /* the stream is; otherwise the numbers are 0 */
    uint64_t kept;  /* keys of requests are there up to this entry */
    uint64_t least; /* entries up to here are not needed any more */
    uint64_t most;  /* of the last one that the database has seen */
};
/* `config` NULL: only the keys are looked at. -EIO, ... */
int journals_needs(sqlite3 *db, const struct config *config, const char *stream,
                   struct journals_needs *ret, struct error *error);

#endif
