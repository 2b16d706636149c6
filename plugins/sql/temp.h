/* SPDX-License-Identifier: Apache-2.0
 *
 * Temporary files of a connection, in memory and with a limit: what SQLite sorts, groups or keeps of a recursion beyond
 * its caches goes there. It has no other bound on that, but one for the whole process.
 */
#ifndef TEMP_H
#define TEMP_H

#include "weir/plugin.h"

#include <sqlite3.h>

struct temp {
    sqlite3_vfs vfs; /* first: SQLite's pointer is ours */
    struct weir_ctx *ctx;
    size_t used, most; /* bytes */
    int over;          /* there was no room for what was to be written */
    char name[40];
};

/* A file system of this name that has nothing but temporary files, `most` bytes in all. An SQLite code. */
int temp_install(struct temp *t, struct weir_ctx *ctx, size_t most);
void temp_remove(
    struct temp *t); /* after the connection is closed; also if never installed */

#endif
