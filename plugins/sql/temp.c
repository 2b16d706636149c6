/* SPDX-License-Identifier: Apache-2.0 */
#include "temp.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PIECE ((size_t)64 << 10) /* bytes */

struct file {
    sqlite3_file base;
    struct temp *temp;
    size_t size;
    char **piece; /* NULL: zeros */
    size_t n;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int file_close(sqlite3_file *file)
{
    struct file *f = (struct file *)file;
    struct weir_ctx *ctx = f->temp->ctx;
    for (size_t i = 0; i < f->n; i++) {
        f->temp->used -= f->piece[i] ? PIECE : 0;
        ctx->host->free(ctx, f->piece[i]);
    }
    ctx->host->free(ctx, f->piece);
    return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *to, int n, sqlite3_int64 from)
{
    const struct file *f = (struct file *)file;
    size_t at = (size_t)from, end = least(at + (size_t)n, f->size);
    memset(to, 0, (size_t)n);
    for (size_t size; at < end; at += size) {
        size = least(end - at, PIECE - at % PIECE);
        if (f->piece[at / PIECE])
            memcpy((char *)to + (at - (size_t)from), f->piece[at / PIECE] + at % PIECE,
                   size);
    }
    return (size_t)from + (size_t)n > f->size ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

/* Places for pieces up to `end`, twice as many as there were. */
static bool grow(struct file *f, size_t end)
{
    struct weir_ctx *ctx = f->temp->ctx;
    size_t n = f->n ? f->n : 8;
    while (n * PIECE < end)
        n *= 2;
    if (n == f->n)
        return true;
    char **piece = ctx->host->alloc(ctx, n * sizeof(*piece));
    if (!piece)
        return false;
    if (f->n)
        memcpy(piece, f->piece, f->n * sizeof(*piece));
    ctx->host->free(ctx, f->piece);
    f->piece = piece;
    f->n = n;
    return true;
}

static char *piece_at(struct file *f, size_t at)
{
    struct temp *t = f->temp;
    char **piece = &f->piece[at / PIECE];
    if (*piece)
        return *piece;
    if (t->used + PIECE <= t->most)
        *piece = t->ctx->host->alloc(t->ctx, PIECE);
    t->used += *piece ? PIECE : 0;
    return *piece;
}

static int file_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 to)
{
    struct file *f = (struct file *)file;
    size_t at = (size_t)to, end = at + (size_t)n;
    bool room = end <= f->temp->most && grow(f, end);
    for (size_t size; room && at < end; at += size) {
        char *piece = piece_at(f, at);
        size = least(end - at, PIECE - at % PIECE);
        room = piece;
        if (room)
            memcpy(piece + at % PIECE, (const char *)from + (at - (size_t)to), size);
    }
    if (!room) {
        f->temp->over = 1;
        return SQLITE_FULL;
    }
    f->size = end > f->size ? end : f->size;
    return SQLITE_OK;
}

/* What is cut off and written again later begins with zeros. */
static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct file *f = (struct file *)file;
    for (size_t at = (size_t)size; at < f->size;) {
        size_t n = least(f->size - at, PIECE - at % PIECE);
        if (f->piece[at / PIECE])
            memset(f->piece[at / PIECE] + at % PIECE, 0, n);
        at += n;
    }
    f->size = least(f->size, (size_t)size);
    return SQLITE_OK;
}

static int file_sync(sqlite3_file *file, int flags)
{
    (void)file, (void)flags;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64)((struct file *)file)->size;
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int level)
{
    (void)file, (void)level;
    return SQLITE_OK;
}

static int file_check_lock(sqlite3_file *file, int *ret)
{
    (void)file;
    *ret = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int what, void *argument)
{
    (void)file, (void)what, (void)argument;
    return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

static int file_device(sqlite3_file *file)
{
    (void)file;
    return 0;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_device,
};

/* ---- The file system --------------------------------------------------------------------------- */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                    int *ret_flags)
{
    struct file *f = (struct file *)file;
    f->base.pMethods = NULL;
    if (name && !(flags & SQLITE_OPEN_DELETEONCLOSE))
        return SQLITE_CANTOPEN; /* none that stay */
    *f = (struct file){.base.pMethods = &methods, .temp = (struct temp *)vfs};
    if (ret_flags)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs, (void)name, (void)sync;
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
    (void)vfs, (void)name, (void)flags;
    *ret = 0;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int room, char *to)
{
    (void)vfs;
    return snprintf(to, (size_t)room, "%s", name) < room ? SQLITE_OK : SQLITE_CANTOPEN;
}

int temp_install(struct temp *t, struct weir_ctx *ctx, size_t most)
{
    sqlite3_vfs *usual = sqlite3_vfs_find(NULL);
    if (!usual)
        return SQLITE_ERROR;
    *t = (struct temp){.vfs = *usual, .ctx = ctx, .most = most};
    snprintf(t->name, sizeof(t->name), "weir-sql-%p", (void *)t);
    t->vfs.pNext = NULL;
    t->vfs.zName = t->name;
    t->vfs.iVersion = 1;
    t->vfs.szOsFile = sizeof(struct file);
    t->vfs.xOpen = vfs_open;
    t->vfs.xDelete = vfs_delete;
    t->vfs.xAccess = vfs_access;
    t->vfs.xFullPathname = vfs_full_path;
    return sqlite3_vfs_register(&t->vfs, 0);
}

void temp_remove(struct temp *t)
{
    if (t->vfs.zName)
        sqlite3_vfs_unregister(&t->vfs);
}
