/* SPDX-License-Identifier: Apache-2.0
 *
 * The pages of the file as they are at a moment, and which of them have changed since the moment before: for copies
 * (carry/copies.c). SQLite says neither, but its WAL does (https://www.sqlite.org/fileformat2.html#walformat):
 *
 *      -shm: how many frames are committed, of which WAL -+   the writer, after each commit, under its lock
 *      -wal: frame 1 | frame 2 | ... each says its page  -+--> bits of pages that have changed
 *
 *      pages_begin:  a read transaction of another connection, while nobody commits: what it sees is frames 1 .. n
 *      pages_read:   the last of these frames that has the page, checked by its sum; or the page in the file
 *
 * While the transaction is open SQLite changes neither: it moves no page beyond what the transaction sees into the file, and begins the
 * WAL anew only if all of it is in the file, which then is not written to. So a frame that is not what it was means the file has the page.
 */
#ifndef WEIR_STORE_PAGES_H
#define WEIR_STORE_PAGES_H

#include "store/store.h"

#include <sqlite3.h>

#define PAGES_SALT 8

struct pages_snapshot {
    uint32_t page_bytes;
    uint32_t n;        /* pages of the file, from 1 on */
    uint64_t *changed; /* bits: page 1 is bit 0; since the snapshot before */
    size_t n_changed;  /* words of it */
    bool all;          /* nobody knows which */
    /* What pages_read wants. */
    sqlite3 *db; /* whose transaction it is */
    int wal;     /* -1: there is none */
    unsigned char salt[PAGES_SALT];
    uint32_t n_frames, *frame_page; /* of each frame, from 1 on at 0 */
    uint32_t *frame;                /* of each page its last frame; 0: in the file */
};

static inline bool pages_is_set(const uint64_t *bits, uint32_t page)
{
    return bits[(page - 1) / 64] >> (page - 1) % 64 & 1;
}

/* From now on it is noted. Before store_start, or within store_call. -ENOMEM. */
int pages_follow(struct store *s, struct error *error);

/* All of these within store_call. */
/* Has nothing changed since the last snapshot? */
bool pages_are_same(struct store *s);
/* Pages are moved from the WAL to the file if it is long, so that it begins anew with one of the next commits. */
void pages_shorten_wal(struct store *s);
/* A line of weir_meta, in a transaction of its own. */
int pages_put_meta(struct store *s, const char *key, const char *value,
                   struct error *error);
/* `db` reads the same file, and is in no transaction; behind this it is in one, unless this has failed. pages_end. */
int pages_begin(struct store *s, sqlite3 *db, struct pages_snapshot *ret,
                struct error *error);

/* The bytes of the page, by the thread that has db. -EBADMSG: the WAL is damaged. */
int pages_read(struct pages_snapshot *p, uint32_t page, void *to, struct error *error);
/* Forgets it; the transaction stays. */
void pages_end(struct pages_snapshot *p);

/* A line of weir_meta; free(). -ENOENT: there is none. */
int pages_meta(sqlite3 *db, const char *key, char **ret, struct error *error);

#endif
