/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys of requests, and bookmarks, into the file, so that they are known when the journal has forgotten them.
 */
#include "store/db.h"
#include "store/internal.h"
#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

int requests_prepare(struct store *s, struct error *error)
{
    unsigned keep = SQLITE_PREPARE_PERSISTENT;
    int err =
        db_prepare(s->db, sql_request_put, keep, &s->statement.request_put, error);
    if (!err)
        err = db_prepare(s->db, sql_request_forget, keep, &s->statement.request_forget,
                         error);
    if (!err)
        err = db_prepare(s->db, sql_bookmark_put, keep, &s->statement.bookmark_put,
                         error);
    if (!err)
        err = db_prepare(s->db, sql_stream_put, keep, &s->statement.stream_put, error);
    return err;
}

void requests_free(struct store *s)
{
    sqlite3_finalize(s->statement.request_put);
    sqlite3_finalize(s->statement.request_forget);
    sqlite3_finalize(s->statement.bookmark_put);
    sqlite3_finalize(s->statement.stream_put);
}

struct store_key *store_key_new(const struct request_id *key, int64_t taken_us)
{
    struct store_key *k = malloc(sizeof(*k) + request_id_bytes(key));
    if (k)
        *k = (struct store_key){.key = request_id_copy(key, (char *)(k + 1)),
                                .taken_us = taken_us};
    return k;
}

struct store_bookmark *store_bookmark_new(const char *source, const char *bookmark)
{
    size_t source_size = strlen(source) + 1, size = strlen(bookmark) + 1;
    struct store_bookmark *b = malloc(sizeof(*b) + source_size + size);
    if (!b)
        return NULL;
    b->next = NULL;
    b->source = memcpy(b + 1, source, source_size);
    b->bookmark = memcpy(b->source + source_size, bookmark, size);
    return b;
}

void store_stream_free(struct store_stream *r)
{
    if (!r)
        return;
    for (struct store_key *k = r->keys, *next; k; k = next) {
        next = k->next;
        free(k);
    }
    for (struct store_bookmark *b = r->bookmarks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(r);
}

static int requests_put(struct store *s, const char *stream, const struct store_key *k)
{
    sqlite3_stmt *put = s->statement.request_put;
    const struct request_answer *a = &k->key.answer;
    sqlite3_bind_text(put, 1, stream, -1, SQLITE_STATIC);
    sqlite3_bind_text(put, 2, k->key.key, (int)k->key.size, SQLITE_STATIC);
    sqlite3_bind_int64(put, 3, (sqlite3_int64)k->key.digest);
    sqlite3_bind_int64(put, 4, (sqlite3_int64)a->accepted);
    sqlite3_bind_int64(put, 5, (sqlite3_int64)a->rejected);
    sqlite3_bind_int64(put, 6, (sqlite3_int64)a->position);
    if (a->errors_size)
        sqlite3_bind_text(put, 7, a->errors, (int)a->errors_size, SQLITE_STATIC);
    else
        sqlite3_bind_null(put, 7);
    sqlite3_bind_int64(put, 8, k->taken_us);
    return db_step(put);
}

static int requests_forget(struct store *s, const struct store_stream *r)
{
    sqlite3_stmt *forget = s->statement.request_forget;
    sqlite3_bind_text(forget, 1, r->stream, -1, SQLITE_STATIC);
    sqlite3_bind_int64(forget, 2, r->forget_us);
    sqlite3_bind_int64(forget, 3, (sqlite3_int64)r->max_keys);
    return db_step(forget);
}

int requests_write(struct store *s, const struct store_stream *r)
{
    int code = SQLITE_OK;
    for (const struct store_key *k = r->keys; !code && k; k = k->next)
        code = requests_put(s, r->stream, k);
    if (!code && r->keys)
        code = requests_forget(s, r);
    sqlite3_stmt *put = s->statement.bookmark_put;
    for (const struct store_bookmark *b = r->bookmarks; !code && b; b = b->next) {
        sqlite3_bind_text(put, 1, r->stream, -1, SQLITE_STATIC);
        sqlite3_bind_text(put, 2, b->source, -1, SQLITE_STATIC);
        sqlite3_bind_text(put, 3, b->bookmark, -1, SQLITE_STATIC);
        code = db_step(put);
    }
    sqlite3_bind_text(s->statement.stream_put, 1, r->stream, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s->statement.stream_put, 2, (sqlite3_int64)r->position);
    return code ? code : db_step(s->statement.stream_put);
}
