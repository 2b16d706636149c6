/* SPDX-License-Identifier: Apache-2.0 */
#include "store/pages.h"

#include "store/db.h"
#include "store/internal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAL_HEADER   32
#define FRAME_HEADER 24
#define WAL_MAGIC    0x377f0682u /* its last bit: sums are of big-endian words */
#define SHM_SIZE     32768       /* that SQLite maps at once */
#define SHM_VERSION  3007000u

struct pages {
    int wal;                        /* -1: not opened yet */
    unsigned char salt[PAGES_SALT]; /* of the WAL that was looked at last, */
    uint32_t n_frames, room;        /* up to this frame */
    uint32_t *frame_page;           /* of each of them */
    uint64_t *changed;
    size_t n_changed;
    bool all;
    bool reset;            /* another WAL has begun since the last snapshot */
    sqlite3_int64 version; /* as SQLite counts commits of others */
};

/* ---- What has changed --------------------------------------------------------------------------- */

static sqlite3_file *file_of(sqlite3 *db)
{
    sqlite3_file *file = NULL;
    int code = sqlite3_file_control(db, NULL, SQLITE_FCNTL_FILE_POINTER, (void *)&file);
    return code == SQLITE_OK && file && file->pMethods ? file : NULL;
}

/* The head of the -shm file (https://www.sqlite.org/walformat.html#walidxfmt), which stands there twice. Opened by us and closed, that
 * file would lose SQLite's locks. */
struct wal_index {
    uint32_t version, unused, change;
    uint8_t is_init, big_endian;
    uint16_t page_size;
    uint32_t n_frames, n_pages, frame_sum[2];
    unsigned char salt[PAGES_SALT];
    uint32_t sum[2];
};
_Static_assert(sizeof(struct wal_index) == 48, "as SQLite has it");

static int look_at_index(sqlite3 *db, struct wal_index *ret)
{
    sqlite3_file *file = file_of(db);
    void volatile *shm = NULL;
    struct wal_index copy[2];
    if (!file || file->pMethods->iVersion < 2 ||
        file->pMethods->xShmMap(file, 0, SHM_SIZE, 0, &shm) != SQLITE_OK || !shm)
        return -EIO;
    memcpy(copy, (const void *)shm, sizeof(copy));
    if (memcmp(&copy[0], &copy[1], sizeof(copy[0])) != 0) /* it is being written */
        return -EAGAIN;
    *ret = copy[0];
    return ret->is_init && ret->version == SHM_VERSION ? 0 : -EIO;
}

static int read_at(int fd, void *to, size_t size, uint64_t at)
{
    ssize_t n = pread(fd, to, size, (off_t)at);
    if (n == (ssize_t)size)
        return 0;
    return n < 0 ? -errno : -ENODATA;
}

static uint32_t u32(const unsigned char *at)
{
    uint32_t big;
    memcpy(&big, at, sizeof(big));
    return be32toh(big);
}

static uint64_t frame_at(uint32_t frame, uint32_t page_bytes)
{
    return WAL_HEADER + (uint64_t)(frame - 1) * (FRAME_HEADER + page_bytes);
}

static int set_bit(struct pages *p, uint32_t page)
{
    const size_t word = (page - 1) / 64;
    if (word >= p->n_changed) {
        const size_t n = (word + 1) * 2;
        uint64_t *more = realloc(p->changed, n * sizeof(*more));
        if (!more)
            return -ENOMEM;
        memset(more + p->n_changed, 0, (n - p->n_changed) * sizeof(*more));
        p->changed = more;
        p->n_changed = n;
    }
    p->changed[word] |= UINT64_C(1) << (page - 1) % 64;
    return 0;
}

static int note_frame(struct pages *p, uint32_t frame, uint32_t page_bytes)
{
    unsigned char head[FRAME_HEADER];
    int err = read_at(p->wal, head, sizeof(head), frame_at(frame, page_bytes));
    if (!err && (memcmp(head + 8, p->salt, PAGES_SALT) != 0 || !u32(head)))
        err = -EBADMSG;
    if (!err && frame > p->room) {
        const uint32_t room = frame * 2;
        uint32_t *more = realloc(p->frame_page, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        p->frame_page = more;
        p->room = room;
    }
    if (!err) {
        p->frame_page[frame - 1] = u32(head);
        err = set_bit(p, u32(head));
    }
    return err;
}

/* Of 64 KiB it is 1. */
static uint32_t page_bytes_of(const struct wal_index *index)
{
    return (uint32_t)(index->page_size & 0xfe00) | (uint32_t)(index->page_size & 1)
                                                       << 16;
}

static int note_frames(struct store *s, const struct wal_index *index)
{
    struct pages *p = s->pages;
    int err = 0;
    if (p->wal < 0)
        p->wal = open(s->files.name[1], O_RDONLY | O_CLOEXEC);
    if (p->wal < 0)
        return -errno;
    if (memcmp(p->salt, index->salt, PAGES_SALT) != 0 ||
        index->n_frames < p->n_frames) {
        memcpy(p->salt, index->salt, PAGES_SALT);
        p->n_frames = 0;
        p->reset = true;
    }
    while (!err && p->n_frames < index->n_frames) {
        err = note_frame(p, p->n_frames + 1, page_bytes_of(index));
        p->n_frames += !err;
    }
    return err;
}

/* What cannot be read now is looked at with the next commit; what never can be, as all pages. */
static int note(struct store *s)
{
    struct wal_index index;
    int err = look_at_index(s->db, &index);
    if (!err && index.n_frames)
        err = note_frames(s, &index);
    if (err && err != -EAGAIN)
        s->pages->all = true;
    return err;
}

void pages_note(struct store *s)
{
    if (s->pages)
        note(s);
}

int pages_follow(struct store *s, struct error *error)
{
    if (s->pages)
        return 0;
    if (!(s->pages = calloc(1, sizeof(*s->pages))))
        return error_set(error, -ENOMEM, "out of memory");
    s->pages->wal = -1;
    s->pages->all = true;
    return 0;
}

void pages_unfollow(struct pages *p)
{
    if (!p)
        return;
    if (p->wal >= 0)
        close(p->wal);
    free(p->frame_page);
    free(p->changed);
    free(p);
}

bool pages_are_same(struct store *s)
{
    const struct pages *p = s->pages;
    sqlite3_int64 version = 0;
    struct error error;
    if (note(s) || p->all ||
        db_int(s->db, "PRAGMA data_version", NULL, &version, &error) ||
        version != p->version)
        return false;
    for (size_t i = 0; i < p->n_changed; i++)
        if (p->changed[i])
            return false;
    return true;
}

void pages_shorten_wal(struct store *s)
{
    if (s->pages->n_frames >= STORE_WAL_PAGES)
        sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

/* ---- A snapshot --------------------------------------------------------------------------------- */

int pages_put_meta(struct store *s, const char *key, const char *value,
                   struct error *error)
{
    DB_STATEMENT put = NULL;
    int err = db_prepare(
        s->db, "INSERT OR REPLACE INTO weir_meta (key, value) VALUES (?1, ?2)", 0, &put,
        error);
    if (err)
        return err;
    sqlite3_bind_text(put, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(put, 2, value, -1, SQLITE_STATIC);
    return db_run(put, error);
}

int pages_meta(sqlite3 *db, const char *key, char **ret, struct error *error)
{
    DB_STATEMENT get = NULL;
    int err =
        db_prepare(db, "SELECT value FROM weir_meta WHERE key = ?1", 0, &get, error);
    if (err)
        return err;
    sqlite3_bind_text(get, 1, key, -1, SQLITE_STATIC);
    int code = sqlite3_step(get);
    if (code != SQLITE_ROW)
        return code == SQLITE_DONE ? -ENOENT : db_error(db, error);
    const char *text = (const char *)sqlite3_column_text(get, 0);
    *ret = strdup(text ? text : "");
    return *ret ? 0 : error_set(error, -ENOMEM, "out of memory");
}

/* Who else has committed since, and a WAL that has begun anew since: what there was in the one before nobody has seen. */
static int look_at_others(struct store *s, struct error *error)
{
    struct pages *p = s->pages;
    sqlite3_int64 version;
    int err = db_int(s->db, "PRAGMA data_version", NULL, &version, error);
    if (err)
        return err;
    p->all = p->all || (p->reset && version != p->version);
    p->reset = false;
    p->version = version;
    return 0;
}

static int begin_reading(sqlite3 *db, struct pages_snapshot *ret, struct error *error)
{
    sqlite3_int64 bytes = 0, n = 0;
    int err = db_exec(db, "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1", error);
    if (!err)
        err = db_int(db, "PRAGMA page_size", NULL, &bytes, error);
    if (!err)
        err = db_int(db, "PRAGMA page_count", NULL, &n, error);
    ret->page_bytes = (uint32_t)bytes;
    ret->n = (uint32_t)n;
    return err;
}

static int take_frames(const struct pages *p, struct pages_snapshot *ret,
                       struct error *error)
{
    ret->n_frames = p->n_frames;
    ret->wal = p->wal;
    memcpy(ret->salt, p->salt, PAGES_SALT);
    ret->frame_page = malloc((size_t)p->n_frames * sizeof(uint32_t) + 1);
    if (!ret->frame_page)
        return error_set(error, -ENOMEM, "out of memory");
    if (p->n_frames)
        memcpy(ret->frame_page, p->frame_page, (size_t)p->n_frames * sizeof(uint32_t));
    return 0;
}

static void take_changed(struct pages *p, struct pages_snapshot *ret)
{
    ret->changed = p->changed;
    ret->n_changed = p->n_changed;
    ret->all = p->all;
    p->changed = NULL;
    p->n_changed = 0;
    p->all = false;
}

/* With the lock of who writes, so that what is noted is what the transaction sees. */
static int begin_locked(struct store *s, sqlite3 *db, struct pages_snapshot *ret,
                        struct error *error)
{
    int err = note(s);
    if (err)
        return error_set(error, err == -ENOMEM ? err : -EIO,
                         "the WAL cannot be read: %s", strerror(-err));
    err = look_at_others(s, error);
    if (!err)
        err = begin_reading(db, ret, error);
    if (!err)
        err = take_frames(s->pages, ret, error);
    if (!err)
        take_changed(s->pages, ret);
    return err;
}

int pages_begin(struct store *s, sqlite3 *db, struct pages_snapshot *ret,
                struct error *error)
{
    struct error ignored;
    *ret = (struct pages_snapshot){.db = db, .wal = -1};
    int err = db_run(s->begin, error);
    if (err)
        return err;
    err = begin_locked(s, db, ret, error);
    db_run(s->rollback, &ignored);
    if (err) {
        if (!sqlite3_get_autocommit(db))
            db_exec(db, "ROLLBACK", NULL);
        pages_end(ret);
    }
    return err;
}

void pages_end(struct pages_snapshot *p)
{
    free(p->changed);
    free(p->frame_page);
    free(p->frame);
    *p = (struct pages_snapshot){.wal = -1};
}

/* ---- Reading ------------------------------------------------------------------------------------ */

/* Sums go on from frame to frame, over the first 8 bytes of the head and the page. */
static void add_sum(const unsigned char *data, size_t size, bool big, uint32_t sum[2])
{
    for (size_t i = 0; i < size; i += 8) {
        uint32_t word[2];
        memcpy(word, data + i, sizeof(word));
        sum[0] += (big ? be32toh(word[0]) : le32toh(word[0])) + sum[1];
        sum[1] += (big ? be32toh(word[1]) : le32toh(word[1])) + sum[0];
    }
}

/* 0: it is that of the page; -ENODATA: of another WAL, so the file has the page; -EBADMSG. */
static int read_frame(const struct pages_snapshot *p, uint32_t page, uint32_t frame,
                      unsigned char *to)
{
    unsigned char wal[WAL_HEADER], before[FRAME_HEADER], head[FRAME_HEADER];
    const uint64_t at = frame_at(frame, p->page_bytes);
    int err = read_at(p->wal, wal, sizeof(wal), 0);
    if (!err && frame > 1)
        err =
            read_at(p->wal, before, sizeof(before), frame_at(frame - 1, p->page_bytes));
    if (!err)
        err = read_at(p->wal, head, sizeof(head), at);
    if (!err)
        err = read_at(p->wal, to, p->page_bytes, at + FRAME_HEADER);
    if (err)
        return err;
    const unsigned char *sum_at = frame > 1 ? before + 16 : wal + 24;
    uint32_t sum[2] = {u32(sum_at), u32(sum_at + 4)};
    const bool big = u32(wal) & 1;
    add_sum(head, 8, big, sum);
    add_sum(to, p->page_bytes, big, sum);
    const bool right =
        (u32(wal) & ~1u) == WAL_MAGIC && memcmp(head + 8, p->salt, PAGES_SALT) == 0 &&
        u32(head) == page && u32(head + 16) == sum[0] && u32(head + 20) == sum[1];
    /* The head of the WAL is written first when it begins anew: what has been read before that was right. */
    if (right)
        return 0;
    err = read_at(p->wal, wal, sizeof(wal), 0);
    if (err)
        return err;
    return memcmp(wal + 16, p->salt, PAGES_SALT) == 0 ? -EBADMSG : -ENODATA;
}

/* Which frame has which page; the last one that has it. */
static int find_frames(struct pages_snapshot *p, struct error *error)
{
    p->frame = calloc((size_t)p->n + 1, sizeof(*p->frame));
    if (!p->frame)
        return error_set(error, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < p->n_frames; i++)
        if (p->frame_page[i] <= p->n)
            p->frame[p->frame_page[i]] = i + 1;
    return 0;
}

int pages_read(struct pages_snapshot *p, uint32_t page, void *to, struct error *error)
{
    int err = p->frame ? 0 : find_frames(p, error);
    if (err)
        return err;
    err = p->frame[page] ? read_frame(p, page, p->frame[page], to) : -ENODATA;
    if (!err)
        return 0;
    if (err != -ENODATA)
        return error_set(error, err, "the WAL is damaged at frame %u", p->frame[page]);
    sqlite3_file *file = file_of(p->db);
    int code = file ? file->pMethods->xRead(file, to, (int)p->page_bytes,
                                            (sqlite3_int64)(page - 1) * p->page_bytes)
                    : SQLITE_IOERR;
    /* The page that SQLite keeps for its locks may be beyond the end, and is never used. */
    return code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ
               ? 0
               : error_set(error, -EIO, "page %u: %s", page, sqlite3_errstr(code));
}
