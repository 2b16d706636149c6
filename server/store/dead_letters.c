/* SPDX-License-Identifier: Apache-2.0
 *
 * Rejected records: from any thread through the inbox into weir_dead_letters.
 *
 *      dead_letters_put -> numbers, a copy -> [inbox] -> dead_letters_write: rows; those that are more
 *                                                        than the stream's limit are deleted
 *                           \- without those of files that are there already (dead_known.h)
 */
#include "store/dead_letters.h"

#include "base/utf8.h"
#include "store/db.h"
#include "store/dead_known.h"
#include "store/internal.h"
#include "store/sql.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEAD_ESCAPE_MAX 4 /* bytes that stand for one of a record */

struct dead_stream {
    char *name;
    uint64_t limit;
    uint64_t number;         /* of the letter put last; with the lock */
    struct dead_known known; /* with the lock */
    _Atomic uint64_t kept, dropped;
    struct dead_stream *next;
};

struct dead_letters {
    struct dead_stream *streams; /* fixed after store_start */
    pthread_mutex_t
        lock; /* protects the two below, and each stream's number and known */
    size_t batches, bytes;     /* that wait */
    sqlite3_stmt *put, *bound; /* the writer's */
};

struct dead_row {
    struct dead_letter letter; /* its texts are in the batch; reason is a literal */
    uint64_t number;
    bool escaped;
};

struct dead_batch {
    struct dead_letters *owner;
    struct dead_stream *stream;
    size_t bytes;
    size_t n; /* 0: delete all letters of the stream */
    struct dead_row row[];
};

/* ---- A copy of letters ---- */

static bool dead_needs_escape(const char *p, size_t size)
{
    for (size_t length, i = 0; i < size; i += length)
        if (!p[i] || !(length = utf8_length(p + i, size - i)))
            return true;
    return false;
}

/* Returns where the text ends. */
static char *dead_escape(char *to, const char *p, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < size;) {
        size_t length = p[i] ? utf8_length(p + i, size - i) : 0;
        if (!length) {
            unsigned char c = (unsigned char)p[i++];
            *to++ = '\\';
            *to++ = 'x';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
            continue;
        }
        if (p[i] == '\\')
            *to++ = '\\';
        memcpy(to, p + i, length);
        to += length;
        i += length;
    }
    return to;
}

/* Bytes of the letter's texts in a batch, at most. */
static size_t dead_room(const struct dead_letter *l)
{
    bool escaped = dead_needs_escape(l->record, l->record_size);
    return strlen(l->source) + 1 + strlen(l->message) + 1 +
           l->record_size * (escaped ? DEAD_ESCAPE_MAX : 1);
}

static const char *dead_copy_text(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

static void dead_copy(struct dead_row *to, const struct dead_letter *l, char **at)
{
    char *record = NULL;
    *to = (struct dead_row){.letter = *l};
    to->letter.source = dead_copy_text(at, l->source);
    to->letter.message = dead_copy_text(at, l->message);
    if (!l->record)
        return;
    record = *at;
    to->escaped = dead_needs_escape(l->record, l->record_size);
    if (to->escaped)
        *at = dead_escape(record, l->record, l->record_size);
    else
        *at = (char *)memcpy(record, l->record, l->record_size) + l->record_size;
    to->letter.record = record;
    to->letter.record_size = (size_t)(*at - record);
}

static struct dead_batch *dead_batch_new(struct dead_letters *d, struct dead_stream *s,
                                         const struct dead_letter *list, size_t n)
{
    size_t texts = 0;
    for (size_t i = 0; i < n; i++)
        texts += dead_room(&list[i]);
    size_t bytes = sizeof(struct dead_batch) + n * sizeof(struct dead_row) + texts;
    struct dead_batch *b = calloc(1, bytes);
    if (!b)
        return NULL;
    b->owner = d;
    b->stream = s;
    b->bytes = bytes;
    b->n = n;
    char *at = (char *)&b->row[n];
    for (size_t i = 0; i < n; i++)
        dead_copy(&b->row[i], &list[i], &at);
    return b;
}

void dead_batch_free(struct dead_batch *b)
{
    if (!b)
        return;
    struct dead_letters *d = b->owner;
    pthread_mutex_lock(&d->lock);
    d->batches--;
    d->bytes -= b->bytes;
    pthread_mutex_unlock(&d->lock);
    free(b);
}

/* ---- From any thread ---- */

static struct dead_stream *dead_find(const struct store *s, const char *name)
{
    struct dead_stream *at = s->dead ? s->dead->streams : NULL;
    while (at && strcmp(at->name, name) != 0)
        at = at->next;
    return at;
}

/* With the lock held: numbers the letters in the order in which they are written. Takes the batch, but
 * for -EAGAIN. */
static int dead_hand_on(struct store *s, struct dead_batch *b)
{
    struct dead_letters *d = s->dead;
    bool full = d->batches >= DEAD_BATCHES_MAX ||
                (d->batches && d->bytes + b->bytes > DEAD_BYTES_MAX);
    if (b->n == 0)
        full =
            d->batches >= 2 * DEAD_BATCHES_MAX; /* whoever empties it comes through */
    if (full)
        return -EAGAIN;
    for (size_t i = 0; i < b->n; i++)
        b->row[i].number = b->stream->number + i + 1;
    int err = inbox_put_dead(s->inbox, b);
    if (err)
        return err;
    d->batches++;
    d->bytes += b->bytes;
    b->stream->number += b->n;
    return 0;
}

/* With the lock held. Is it among those that the table keeps, once `newest` is there? */
static bool dead_is_there(const struct dead_stream *s, const struct dead_letter *l,
                          uint64_t newest)
{
    uint64_t number = l->once ? dead_known_number(&s->known, dead_hash(l)) : 0;
    return number && (newest < s->limit || number > newest - s->limit);
}

/* With the lock held. Those that this batch itself pushes out are put again. */
static void dead_leave_out_known(struct dead_batch *b)
{
    size_t left = 0;
    for (size_t i = 0; i < b->n; i++)
        if (!dead_is_there(b->stream, &b->row[i].letter, b->stream->number + left))
            b->row[left++] = b->row[i];
    b->n = left;
}

/* With the lock held, so that the batch is still there. */
static void dead_know(const struct dead_batch *b)
{
    if (b->n == 0)
        dead_known_clear(&b->stream->known);
    for (size_t i = 0; i < b->n; i++)
        if (b->row[i].letter.once)
            dead_known_add(&b->stream->known, dead_hash(&b->row[i].letter),
                           b->row[i].number);
}

/* *ret_n: letters that are put, or would have been. */
static int dead_put(struct store *s, struct dead_batch *b, size_t *ret_n)
{
    const bool letters = b->n > 0;
    pthread_mutex_lock(&s->dead->lock);
    dead_leave_out_known(b);
    *ret_n = b->n;
    const bool put = b->n > 0 || !letters;
    int err = put ? dead_hand_on(s, b) : 0;
    if (put && err == 0)
        dead_know(b);
    pthread_mutex_unlock(&s->dead->lock);
    if (!put || err)
        free(b);
    return err;
}

void dead_letters_put(struct store *s, const struct dead_letter *list, size_t n)
{
    struct dead_stream *stream = n ? dead_find(s, list[0].stream) : NULL;
    if (!stream || stream->limit == 0)
        return;
    struct dead_batch *b = dead_batch_new(s->dead, stream, list, n);
    if (!b || dead_put(s, b, &n))
        metric_add(&stream->dropped, n);
}

int dead_letters_empty(struct store *s, const char *stream, int64_t deadline_us)
{
    struct dead_stream *found = dead_find(s, stream);
    if (!found)
        return -ENOENT;
    struct dead_batch *b = dead_batch_new(s->dead, found, NULL, 0);
    size_t n;
    int err = b ? dead_put(s, b, &n) : -ENOMEM;
    return err ? err : inbox_flush_until(s->inbox, deadline_us);
}

/* ---- The writer ---- */

static int dead_put_row(sqlite3_stmt *put, const struct dead_stream *s,
                        const struct dead_row *row)
{
    const struct dead_letter *l = &row->letter;
    sqlite3_bind_text(put, 1, s->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(put, 2, (sqlite3_int64)row->number);
    sqlite3_bind_int64(put, 3, l->received_us);
    sqlite3_bind_text(put, 4, l->source, -1, SQLITE_STATIC);
    sqlite3_bind_int64(put, 5, (sqlite3_int64)l->line);
    sqlite3_bind_int64(put, 6, l->column);
    sqlite3_bind_text(put, 7, l->reason, -1, SQLITE_STATIC);
    sqlite3_bind_text(put, 8, l->message, -1, SQLITE_STATIC);
    sqlite3_bind_text(put, 9, l->record, (int)l->record_size, SQLITE_STATIC);
    sqlite3_bind_int(put, 10, row->escaped);
    sqlite3_bind_int(put, 11, l->truncated);
    int code = db_step(put);
    sqlite3_clear_bindings(put);
    return code;
}

/* Deletes the stream's letters up to `number`. */
static int dead_bound(sqlite3_stmt *bound, const struct dead_stream *s, int64_t number)
{
    sqlite3_bind_text(bound, 1, s->name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(bound, 2, number);
    return db_step(bound);
}

int dead_letters_write(struct store *s, const struct dead_batch *b)
{
    struct dead_letters *d = s->dead;
    int code = SQLITE_OK;
    if (b->n == 0)
        return dead_bound(d->bound, b->stream, INT64_MAX);
    for (size_t i = 0; code == SQLITE_OK && i < b->n; i++)
        code = dead_put_row(d->put, b->stream, &b->row[i]);
    int64_t last = (int64_t)b->row[b->n - 1].number;
    if (code == SQLITE_OK)
        code = dead_bound(d->bound, b->stream, last - (int64_t)b->stream->limit);
    return code;
}

void dead_letters_committed(const struct dead_batch *b)
{
    metric_add(&b->stream->kept, b->n);
}

void dead_letters_given_up(const struct dead_batch *b)
{
    metric_add(&b->stream->dropped, b->n);
    pthread_mutex_lock(&b->owner->lock);
    for (size_t i = 0; i < b->n; i++)
        dead_known_forget(&b->stream->known, dead_hash(&b->row[i].letter),
                          b->row[i].number);
    pthread_mutex_unlock(&b->owner->lock);
}

/* ---- Making and ending ---- */

static int dead_open(struct store *s, struct error *error)
{
    struct dead_letters *d = calloc(1, sizeof(*d));
    if (!d)
        return error_set(error, -ENOMEM, "out of memory");
    pthread_mutex_init(&d->lock, NULL);
    s->dead = d;
    int err = db_prepare(s->db, sql_dead_letter_put, SQLITE_PREPARE_PERSISTENT, &d->put,
                         error);
    if (!err)
        err = db_prepare(
            s->db, "DELETE FROM weir_dead_letters WHERE stream = ? AND number <= ?",
            SQLITE_PREPARE_PERSISTENT, &d->bound, error);
    return err;
}

/* Of those that the table has. */
static int dead_load_known(struct store *s, struct dead_stream *stream,
                           struct error *error)
{
    sqlite3_stmt *get;
    int code, err = db_prepare(s->db,
                               "SELECT source, line, \"column\", record, number FROM "
                               "weir_dead_letters WHERE stream = ? AND source <> '' "
                               "ORDER BY number",
                               0, &get, error);
    if (err)
        return err;
    sqlite3_bind_text(get, 1, stream->name, -1, SQLITE_STATIC);
    while ((code = sqlite3_step(get)) == SQLITE_ROW) {
        const struct dead_letter l = {
            .source = (const char *)sqlite3_column_text(get, 0),
            .line = (uint64_t)sqlite3_column_int64(get, 1),
            .column = (uint32_t)sqlite3_column_int64(get, 2),
            .record = (const char *)sqlite3_column_text(get, 3),
            .record_size = (size_t)sqlite3_column_bytes(get, 3),
        };
        if (l.source)
            dead_known_add(&stream->known, dead_hash(&l),
                           (uint64_t)sqlite3_column_int64(get, 4));
    }
    sqlite3_finalize(get);
    return code == SQLITE_DONE ? 0 : db_error(s->db, error);
}

static int dead_metrics(struct dead_stream *stream, struct metrics *m)
{
    char label[160];
    snprintf(label, sizeof(label), "stream=\"%s\"", stream->name);
    int err = metrics_add(m, METRIC_COUNTER, "weir_dead_letters_total",
                          "Rejected records that were kept.", label, &stream->kept, 1);
    if (!err)
        err = metrics_add(m, METRIC_COUNTER, "weir_dead_letters_dropped_total",
                          "Rejected records not kept because they came too fast.",
                          label, &stream->dropped, 1);
    return err;
}

int dead_letters_keep(struct store *s, const char *stream, uint64_t limit,
                      struct metrics *metrics, struct error *error)
{
    int err = s->dead ? 0 : dead_open(s, error);
    if (err)
        return err;
    struct dead_stream *made = calloc(1, sizeof(*made));
    if (!made || !(made->name = strdup(stream))) {
        free(made);
        return error_set(error, -ENOMEM, "out of memory");
    }
    made->limit = limit;
    made->next = s->dead->streams;
    s->dead->streams = made;
    sqlite3_int64 last = 0;
    err = db_int(s->db, "SELECT max(number) FROM weir_dead_letters WHERE stream = ?",
                 stream, &last, error);
    if (!err && last > 0 && dead_bound(s->dead->bound, made, last - (int64_t)limit))
        err = db_error(s->db, error);
    made->number = (uint64_t)last;
    made->known.limit = limit;
    if (!err && limit)
        err = dead_load_known(s, made, error);
    if (!err && metrics && dead_metrics(made, metrics))
        err = error_set(error, -ENOMEM, "out of memory");
    return err;
}

void dead_letters_free(struct dead_letters *d)
{
    if (!d)
        return;
    for (struct dead_stream *s = d->streams, *next; s; s = next) {
        next = s->next;
        dead_known_clear(&s->known);
        free(s->name);
        free(s);
    }
    sqlite3_finalize(d->put);
    sqlite3_finalize(d->bound);
    pthread_mutex_destroy(&d->lock);
    free(d);
}
