/* SPDX-License-Identifier: Apache-2.0 */
#include "carry/copies.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "base/sha256.h"
#include "carry/internal.h"
#include "store/db.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES TARGET_BYTES /* of pages that are sent at once */
#define SUMS        4096         /* that are asked for at once */
#define REST        9            /* a pause of 1 ms is followed by 9 ms without one */

/* ---- There -------------------------------------------------------------------------------------- */

static void put_table(struct buffer *to, const struct carrier *c, const char *name)
{
    far_quote(to, c->config->schema, '"');
    buffer_printf(to, ".%s", name);
}

static int run(struct carrier *c, const char *before, const char *table,
               const char *behind, const struct pg_param *param, size_t n,
               PGresult **ret, struct error *error)
{
    struct buffer sql = {0};
    buffer_puts(&sql, before);
    put_table(&sql, c, table);
    buffer_puts(&sql, behind);
    return far_run(c, &sql, param, n, ret, error);
}

/* ALTER TABLE waits for all others: only once. Where somebody has dropped the table all servers whose pages were in it send all of theirs,
 * as the copy is not the one that they have made. */
static int make_pages(struct carrier *c, struct error *error)
{
    struct buffer name = {0};
    PG_RESULT there = NULL;
    put_table(&name, c, "weir_copy_pages");
    int err = name.error ? error_set(error, -ENOMEM, "out of memory")
                         : pg_ask(&c->pg, "SELECT to_regclass($1) IS NULL",
                                  &PG_TEXT(buffer_text(&name)), 1, &there, error);
    buffer_free(&name);
    if (err || *PQgetvalue(there, 0, 0) != 't')
        return err;
    err = run(c, "CREATE TABLE ", "weir_copy_pages",
              " (shard text, page bigint, bytes bytea NOT NULL, PRIMARY KEY (shard, "
              "page))",
              NULL, 0, NULL, error);
    if (!err)
        err = run(c, "ALTER TABLE ", "weir_copy_pages",
                  " ALTER COLUMN bytes SET STORAGE EXTERNAL", NULL, 0, NULL, error);
    return err ? err
               : run(c, "UPDATE ", "weir_copies",
                     " SET seq = 1, copied = NULL WHERE seq > 0", NULL, 0, NULL, error);
}

int copies_schema(struct carrier *c, struct error *error)
{
    int err = run(c, "CREATE TABLE IF NOT EXISTS ", "weir_copies",
                  " (shard text PRIMARY KEY, format integer NOT NULL,"
                  " epoch bigint NOT NULL, writer text NOT NULL, host text NOT NULL,"
                  " pid integer NOT NULL, claimed timestamptz NOT NULL,"
                  " backend integer, backend_start timestamptz,"
                  " database text, seq bigint NOT NULL, page_size integer,"
                  " pages bigint, copied timestamptz)",
                  NULL, 0, NULL, error);
    return err ? err : make_pages(c, error);
}

/* Whose it is now, for people. */
static int superseded(struct carrier *c, struct error *error)
{
    PG_RESULT r = NULL;
    struct error ignored;
    int err = run(c, "SELECT host, pid, epoch FROM ", "weir_copies",
                  " WHERE shard = $1", &PG_TEXT(c->config->shard), 1, &r, &ignored);
    const bool there = !err && PQntuples(r) > 0;
    error_set(error, -EEXIST,
              "shard '%s': a server on '%s' (process %s) has taken its place: this one "
              "writes nothing more and ends",
              c->config->shard, there ? PQgetvalue(r, 0, 0) : "?",
              there ? PQgetvalue(r, 0, 1) : "?");
    c->copies.with->superseded(c->copies.with->ctx, error->text);
    return -EEXIST;
}

struct mine {
    char epoch[24], seq[24], next[24], pid[24], host[128];
};

static void note_mine(const struct carrier *c, struct mine *m)
{
    const struct carry_claim *claim = &c->copies.with->claim;
    snprintf(m->epoch, sizeof(m->epoch), "%" PRId64, claim->epoch);
    snprintf(m->seq, sizeof(m->seq), "%" PRId64, c->copies.seq);
    snprintf(m->next, sizeof(m->next), "%" PRId64, c->copies.seq + 1);
    snprintf(m->pid, sizeof(m->pid), "%ld", (long)getpid());
    memset(m->host, 0, sizeof(m->host));
    gethostname(m->host, sizeof(m->host) - 1);
}

/* A PostgreSQL that has lost what it had (an old backup of it, a standby that was behind) knows of no later claim: ours holds. */
static int claim_again(struct carrier *c, const struct mine *m, struct error *error)
{
    const struct pg_param param[] = {PG_TEXT(c->config->shard), PG_TEXT(m->epoch),
                                     PG_TEXT(c->copies.with->claim.writer),
                                     PG_TEXT(m->host), PG_TEXT(m->pid)};
    return run(c, "INSERT INTO ", "weir_copies",
               " AS p (shard, format, epoch, writer, host, pid, claimed, seq)"
               " VALUES ($1, 1, $2::bigint, $3, $4, $5::integer, now(), 0)"
               " ON CONFLICT (shard) DO UPDATE SET epoch = excluded.epoch,"
               " writer = excluded.writer, host = excluded.host, pid = excluded.pid,"
               " claimed = excluded.claimed WHERE p.epoch < excluded.epoch",
               param, sizeof(param) / sizeof(param[0]), NULL, error);
}

/* What is there, with the session that a successor is to end. */
static int ask_mine(struct carrier *c, const struct mine *m, PGresult **ret,
                    struct error *error)
{
    const struct pg_param param[] = {PG_TEXT(c->config->shard), PG_TEXT(m->epoch),
                                     PG_TEXT(c->copies.with->claim.writer)};
    return run(c, "UPDATE ", "weir_copies",
               " AS p SET backend = a.pid, backend_start = a.backend_start FROM"
               " pg_stat_activity a WHERE a.pid = pg_backend_pid() AND shard = $1 AND"
               " epoch = $2::bigint AND writer = $3 RETURNING seq",
               param, sizeof(param) / sizeof(param[0]), ret, error);
}

int copies_begin(struct carrier *c, struct error *error)
{
    struct copies *p = &c->copies;
    struct mine m;
    PG_RESULT r = NULL;
    if (!p->with)
        return 0;
    note_mine(c, &m);
    int err = claim_again(c, &m, error);
    if (!err)
        err = ask_mine(c, &m, &r, error);
    if (err)
        return err;
    if (PQntuples(r) == 0)
        return superseded(c, error);
    const int64_t seq = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    if (p->tried && seq == p->tried) { /* it was done */
        free(p->owed);
        p->owed = NULL;
        p->n_owed = 0;
    } else if (seq != p->seq) {
        p->all = true;
    }
    p->seq = seq;
    p->tried = 0;
    p->next_us = 0;
    return 0;
}

/* ---- Here --------------------------------------------------------------------------------------- */

void copies_let_go(struct carrier *c)
{
    struct copies *p = &c->copies;
    if (p->open && db_exec(c->base.db, "COMMIT", NULL))
        db_exec(c->base.db, "ROLLBACK", NULL);
    pages_end(&p->snapshot);
    p->open = p->there = false;
}

struct noting {
    struct carrier *carrier;
    struct error *error;
    bool same;
};

static int look(struct store *s, void *noting)
{
    struct noting *n = noting;
    n->same = pages_are_same(s);
    return 0;
}

/* Before the copy is made the file says that it is: a file that says less than what is there is an older one (claim.c). */
static int note_next(struct store *s, void *noting)
{
    struct noting *n = noting;
    const struct copies *p = &n->carrier->copies;
    char text[48 + CARRIED_ID];
    snprintf(text, sizeof(text), "%" PRId64 " %" PRId64 " %s", p->with->claim.epoch,
             p->seq + 1, p->with->claim.writer);
    int err = pages_put_meta(s, CARRY_META_COPY, text, n->error);
    if (!err)
        pages_shorten_wal(s);
    return err;
}

static int take_snapshot(struct store *s, void *noting)
{
    struct noting *n = noting;
    struct carrier *c = n->carrier;
    return pages_begin(s, c->base.db, &c->copies.snapshot, n->error);
}

static int owe(struct copies *p, struct error *error)
{
    const struct pages_snapshot *s = &p->snapshot;
    p->all = p->all || s->all;
    if (s->n_changed > p->n_owed) {
        uint64_t *more = realloc(p->owed, s->n_changed * sizeof(*more));
        if (!more) {
            p->all = true;
            return error_set(error, -ENOMEM, "out of memory");
        }
        memset(more + p->n_owed, 0, (s->n_changed - p->n_owed) * sizeof(*more));
        p->owed = more;
        p->n_owed = s->n_changed;
    }
    for (size_t i = 0; i < s->n_changed; i++)
        p->owed[i] |= s->changed[i];
    return 0;
}

static int snapshot(struct carrier *c, bool last, struct error *error)
{
    struct copies *p = &c->copies;
    struct noting n = {.carrier = c, .error = error};
    int64_t pause_us = 0;
    copies_let_go(c);
    int err = store_call(c->base.store, note_next, &n);
    if (!err && last)
        err = store_call(c->base.store, take_snapshot, &n);
    else if (!err)
        err = p->with->at_rest(p->with->ctx, take_snapshot, &n, &pause_us, error);
    if (pause_us) /* also for nothing: a pipeline that hangs does not keep the other streams */
        histogram_add(&p->pause, pause_us);
    p->next_us = clock_monotonic_us() + REST * pause_us;
    if (err)
        return error->text[0] ? err : error_set(error, err, "%s", strerror(-err));
    p->open = true;
    for (struct target_table *k = c->base.set->first; k; k = k->next)
        ((struct carried *)k)->noted_then = k->noted;
    return owe(p, error);
}

/* ---- A copy ------------------------------------------------------------------------------------- */

static bool is_owed(const struct copies *p, uint32_t page)
{
    return page > p->n_there ||
           ((page - 1) / 64 < p->n_owed && pages_is_set(p->owed, page));
}

static int fence(struct carrier *c, const struct mine *m, struct error *error)
{
    const struct pages_snapshot *s = &c->copies.snapshot;
    PG_RESULT r = NULL;
    char size[24], pages[24];
    snprintf(size, sizeof(size), "%u", s->page_bytes);
    snprintf(pages, sizeof(pages), "%u", s->n);
    const struct pg_param param[] = {PG_TEXT(c->config->shard),
                                     PG_TEXT(m->epoch),
                                     PG_TEXT(c->copies.with->claim.writer),
                                     PG_TEXT(m->seq),
                                     PG_TEXT(m->next),
                                     PG_TEXT(c->base.set->database),
                                     PG_TEXT(size),
                                     PG_TEXT(pages)};
    int err = run(c, "UPDATE ", "weir_copies",
                  fault_skips("copy_fence")
                      ? " SET seq = $5::bigint, database = $6, page_size = $7::integer,"
                        " pages = $8::bigint, copied = now() WHERE shard = $1 AND"
                        " ($2::bigint, $3::text, $4::bigint) IS NOT NULL"
                      : " SET seq = $5::bigint, database = $6, page_size = $7::integer,"
                        " pages = $8::bigint, copied = now() WHERE shard = $1 AND"
                        " epoch = $2::bigint AND writer = $3 AND seq = $4::bigint",
                  param, sizeof(param) / sizeof(param[0]), &r, error);
    if (!err && strcmp(PQcmdTuples(r), "1"))
        err = error_set(error, -ESTALE, "the copy there is another one");
    return err;
}

/* Those of pages first .. last, in order; of one that is not there none. */
static int ask_sums(struct carrier *c, uint32_t first, uint32_t last, PGresult **ret,
                    struct error *error)
{
    char from[24], to[24];
    struct buffer sql = {0};
    snprintf(from, sizeof(from), "%u", first);
    snprintf(to, sizeof(to), "%u", last);
    const struct pg_param param[] = {PG_TEXT(c->config->shard), PG_TEXT(from),
                                     PG_TEXT(to)};
    buffer_puts(&sql, "SELECT page, sha256(bytes) FROM ");
    put_table(&sql, c, "weir_copy_pages");
    buffer_puts(&sql, " WHERE shard = $1 AND page >= $2::bigint AND page <= $3::bigint"
                      " ORDER BY page");
    int err = sql.error ? error_set(error, -ENOMEM, "out of memory")
                        : pg_fetch(&c->pg, buffer_text(&sql), param, 3, ret, error);
    buffer_free(&sql);
    return err;
}

static uint64_t big(const char *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof(n));
    return be64toh(n);
}

/* Nobody knows what has changed: pages that are there as they are here are not owed. */
static int compare(struct carrier *c, uint32_t first, uint32_t last,
                   struct error *error)
{
    struct copies *p = &c->copies;
    uint8_t sum[SHA256_SIZE];
    PG_RESULT r = NULL;
    int row = 0, err = ask_sums(c, first, last, &r, error);
    for (uint32_t page = first; !err && page <= last; page++) {
        const uint64_t bit = UINT64_C(1) << (page - 1) % 64;
        while (row < PQntuples(r) && big(PQgetvalue(r, row, 0)) < page)
            row++;
        bool same = row < PQntuples(r) && big(PQgetvalue(r, row, 0)) == page &&
                    PQgetlength(r, row, 1) == SHA256_SIZE;
        if (same) {
            err = pages_read(&p->snapshot, page, p->page, error);
            sha256(p->page, p->snapshot.page_bytes, sum);
            same = memcmp(PQgetvalue(r, row, 1), sum, sizeof(sum)) == 0;
        }
        if (same)
            p->owed[(page - 1) / 64] &= ~bit;
        else
            p->owed[(page - 1) / 64] |= bit;
    }
    return err;
}

static int compare_all(struct carrier *c, struct error *error)
{
    struct copies *p = &c->copies;
    const uint32_t n = p->snapshot.n;
    const size_t words = (size_t)n / 64 + 1;
    int err = 0;
    if (p->n_owed < words) {
        uint64_t *more = realloc(p->owed, words * sizeof(*more));
        if (!more)
            return error_set(error, -ENOMEM, "out of memory");
        p->owed = more;
        p->n_owed = words;
    }
    for (uint32_t page = 1; !err && page <= n; page += SUMS)
        err = compare(c, page, n - page < SUMS ? n : page + SUMS - 1, error);
    p->n_there = err ? p->n_there : n;
    return err;
}

static int add_page(struct carrier *c, uint32_t page, struct error *error)
{
    struct copies *p = &c->copies;
    const uint32_t eight = htobe32(8), bytes = htobe32(p->snapshot.page_bytes);
    const uint64_t number = htobe64(page);
    int err = pages_read(&p->snapshot, page, p->page, error);
    if (err)
        return err;
    if (copy_row(&c->rows, 3) || copy_text(&c->rows, c->config->shard) ||
        copy_bytes(&c->rows, &eight, sizeof(eight)) ||
        copy_bytes(&c->rows, &number, sizeof(number)) ||
        copy_bytes(&c->rows, &bytes, sizeof(bytes)) ||
        copy_bytes(&c->rows, p->page, p->snapshot.page_bytes))
        return error_set(error, -ENOMEM, "out of memory");
    c->rows.rows++;
    return 0;
}

/* In the place of those that are there. */
static int send_piece(struct carrier *c, struct buffer *list, struct error *error)
{
    struct buffer sql = {0};
    buffer_putc(list, '}');
    if (copy_end(&c->rows) || list->error)
        return error_set(error, -ENOMEM, "out of memory");
    const struct pg_param param[] = {PG_TEXT(c->config->shard),
                                     PG_TEXT(buffer_text(list))};
    int err =
        run(c, "DELETE FROM ", "weir_copy_pages",
            " WHERE shard = $1 AND page = ANY($2::bigint[])", param, 2, NULL, error);
    buffer_puts(&sql, "COPY ");
    put_table(&sql, c, "weir_copy_pages");
    buffer_puts(&sql, " (shard, page, bytes) FROM STDIN (FORMAT binary)");
    if (!err)
        err = sql.error ? error_set(error, -ENOMEM, "out of memory")
                        : pg_copy(&c->pg, buffer_text(&sql), c->rows.data, c->rows.size,
                                  error);
    buffer_free(&sql);
    return err;
}

static int send_pages(struct carrier *c, struct error *error)
{
    struct copies *p = &c->copies;
    int err = 0;
    for (uint32_t page = 1; !err && page <= p->snapshot.n;) {
        struct buffer list = {0};
        size_t n = 0;
        buffer_putc(&list, '{');
        err = copy_begin(&c->rows) ? error_set(error, -ENOMEM, "out of memory") : 0;
        for (; !err && page <= p->snapshot.n && c->rows.size < PIECE_BYTES; page++) {
            if (!is_owed(p, page))
                continue;
            buffer_printf(&list, "%s%u", n++ ? "," : "", page);
            err = add_page(c, page, error);
        }
        if (!err && n)
            err = send_piece(c, &list, error);
        buffer_free(&list);
        metric_add(&p->pages, err ? 0 : n);
        metric_add(&p->bytes, err ? 0 : n * p->snapshot.page_bytes);
    }
    return err;
}

static int delete_rest(struct carrier *c, struct error *error)
{
    char n[24];
    snprintf(n, sizeof(n), "%u", c->copies.snapshot.n);
    const struct pg_param param[] = {PG_TEXT(c->config->shard), PG_TEXT(n)};
    return run(c, "DELETE FROM ", "weir_copy_pages",
               " WHERE shard = $1 AND page > $2::bigint", param, 2, NULL, error);
}

/* Writes nothing; `lock`: until the end of the transaction, or "". Of a copy whose pages somebody has dropped all is sent again. */
static int check_mine(struct carrier *c, const char *lock, struct error *error)
{
    struct mine m;
    PG_RESULT r = NULL;
    struct buffer where = {0};
    note_mine(c, &m);
    const struct pg_param param[] = {PG_TEXT(c->config->shard), PG_TEXT(m.epoch),
                                     PG_TEXT(c->copies.with->claim.writer)};
    buffer_printf(&where, " WHERE shard = $1 AND epoch = $2::bigint AND writer = $3%s",
                  lock);
    int err = where.error ? error_set(error, -ENOMEM, "out of memory")
                          : run(c, "SELECT copied IS NULL FROM ", "weir_copies",
                                buffer_text(&where), param,
                                sizeof(param) / sizeof(param[0]), &r, error);
    buffer_free(&where);
    if (err)
        return err;
    if (PQntuples(r) == 0)
        return superseded(c, error);
    c->copies.all = c->copies.all || *PQgetvalue(r, 0, 0) == 't';
    return 0;
}

static int put_copy(struct carrier *c, struct error *error)
{
    struct copies *p = &c->copies;
    struct mine m;
    char *room = realloc(p->page, p->snapshot.page_bytes);
    if (!room)
        return error_set(error, -ENOMEM, "out of memory");
    p->page = room;
    note_mine(c, &m);
    fault_point("copy_begin");
    int err = pg_run(&c->pg, "BEGIN", error);
    if (!err && !fault_skips("copy_fence"))
        err = check_mine(c, "", error);
    if (!err)
        err = fence(c, &m, error);
    fault_point("copy_fenced");
    if (!err && p->all && !(err = compare_all(c, error)))
        p->all = false;
    if (!err)
        err = send_pages(c, error);
    if (!err)
        err = delete_rest(c, error);
    fault_point("copy_commit");
    if (p->snapshot.n < p->n_there) /* perhaps: too little is only sent once more */
        p->n_there = p->snapshot.n;
    if (!err) {
        p->tried = p->seq + 1;
        err = pg_run(&c->pg, "COMMIT", error);
        fault_point("copy_committed");
    } else {
        err = far_finish(c, err, error);
    }
    return err;
}

static void copied(struct carrier *c)
{
    struct copies *p = &c->copies;
    if (p->n_owed)
        memset(p->owed, 0, p->n_owed * sizeof(*p->owed));
    p->n_there = p->snapshot.n;
    p->seq++;
    p->look_us = clock_monotonic_us() + TARGET_EVERY_US;
    p->tried = 0;
    p->there = true;
    if (p->told)
        logger_info("carry", "the database is copied again");
    p->told = false;
    metric_add(&p->made, 1);
    atomic_store_explicit(&p->size, (uint64_t)p->snapshot.n * p->snapshot.page_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&p->shown_us, p->made_us, memory_order_relaxed);
    for (struct target_table *k = c->base.set->first; k; k = k->next) {
        ((struct carried *)k)->copied = ((struct carried *)k)->noted_then;
        k->look = true;
    }
}

/* ---- When --------------------------------------------------------------------------------------- */

static bool has_rows(const struct carrier *c)
{
    const struct target_table *k = c->base.set->first;
    while (k && !(k->stage == TARGET_TAKE || k->stage == TARGET_FILL ||
                  (k->stage == TARGET_CHANGES && k->look)))
        k = k->next;
    return k;
}

int copies_check(struct carrier *c, struct error *error)
{
    return c->copies.with ? check_mine(c, " FOR SHARE", error) : 0;
}

/* Nothing has changed since the last copy: only whether it is ours still is asked. */
static int stay(struct carrier *c, struct error *error)
{
    int err = check_mine(c, "", error);
    c->copies.look_us = clock_monotonic_us() + TARGET_EVERY_US;
    return err;
}

static bool nothing_to_do(struct carrier *c)
{
    struct copies *p = &c->copies;
    struct noting n = {.carrier = c};
    if (p->all || p->tried || (!p->there && has_rows(c)) ||
        store_call(c->base.store, look, &n))
        return false;
    for (size_t i = 0; i < p->n_owed; i++)
        if (p->owed[i])
            return false;
    return n.same;
}

static int make(struct carrier *c, bool last, struct error *error)
{
    struct copies *p = &c->copies;
    const int64_t begin_us = clock_monotonic_us();
    if (nothing_to_do(c)) {
        int stayed = stay(c, error);
        if (!stayed)
            atomic_store_explicit(&p->shown_us, begin_us, memory_order_relaxed);
        return stayed;
    }
    int err = snapshot(c, last, error);
    if (!err) {
        p->made_us = begin_us;
        fault_point("copy_snapshot");
        err = put_copy(c, error);
    }
    if (!err) {
        copied(c);
        return 0;
    }
    copies_let_go(c);
    if (err == -ESTALE && c->pg.c) /* another's, or PostgreSQL has lost some */
        err = copies_begin(c, error);
    return err;
}

static void failed(struct carrier *c, int err, const struct error *error)
{
    struct copies *p = &c->copies;
    if (err == -ECANCELED || err == -ESHUTDOWN || err == -EEXIST)
        return;
    metric_add(&p->failures, 1);
    if (!c->pg.c) {
        target_away(&c->base, err, error);
        return;
    }
    if (!p->told)
        logger_error("carry",
                     "the database is not copied, and rows wait: %s; tried again",
                     error->text);
    p->told = true;
    if (err == -EINVAL && !strcmp(c->pg.state, "42P01")) { /* a table is gone */
        p->all = true;
        copies_let_go(c);
        pg_close(&c->pg); /* who connects makes it */
    }
}

/* Between copies, at least once a second. When to come again. */
static int64_t look_whether_mine(struct carrier *c, int64_t now_us)
{
    struct copies *p = &c->copies;
    struct error error = {""};
    int err = now_us < p->look_us ? 0 : stay(c, &error);
    if (err)
        failed(c, err, &error);
    return p->next_us < p->look_us ? p->next_us : p->look_us;
}

int64_t copies_make(struct carrier *c)
{
    struct copies *p = &c->copies;
    struct error error = {""};
    if (!p->with)
        return INT64_MAX;
    const bool last = target_last_is_wanted(&c->base);
    const int64_t begin_us = clock_monotonic_us();
    if (begin_us < p->next_us && !last)
        return look_whether_mine(c, begin_us);
    p->next_us = 0;
    int err = make(c, last, &error);
    int64_t next_us =
        begin_us + (err ? c->base.config->backoff_us : c->config->copy_us);
    p->next_us = next_us > p->next_us ? next_us : p->next_us;
    if (err)
        failed(c, err, &error);
    if (last)
        target_last_is_over(&c->base, !err);
    return p->next_us;
}

bool copies_wait(const struct carrier *c, const struct carried *k)
{
    const struct copies *p = &c->copies;
    return p->with && !(p->there && (k->base.stage == TARGET_TAKE || k->copied));
}

/* ---- Its coming and going ----------------------------------------------------------------------- */

/* NaN: there was none yet. */
static double age(void *copies)
{
    const struct copies *p = copies;
    int64_t us = atomic_load_explicit(&p->shown_us, memory_order_relaxed);
    return us ? (double)(clock_monotonic_us() - us) / 1e6 : NAN;
}

static int count(struct carrier *c)
{
    struct copies *p = &c->copies;
    const struct {
        const char *name, *help;
        const _Atomic uint64_t *at;
    } all[] = {
        {"weir_copies_total", "Copies of the database that were made in PostgreSQL.",
         &p->made},
        {"weir_copy_failures_total",
         "Copies of the database that failed; they are made later.", &p->failures},
        {"weir_copy_pages_total", "Pages of the database that were sent.", &p->pages},
        {"weir_copy_bytes_total", "Bytes of these pages.", &p->bytes},
    };
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++)
        err = metrics_add(c->base.metrics, METRIC_COUNTER, all[i].name, all[i].help, "",
                          all[i].at, 1);
    if (!err)
        err = metrics_add(c->base.metrics, METRIC_GAUGE, "weir_copy_size_bytes",
                          "Size of the database in the last copy.", "", &p->size, 1);
    if (!err)
        err = metrics_add_call(c->base.metrics, METRIC_GAUGE, "weir_copy_age_seconds",
                               "Since the moment of the last copy in PostgreSQL.", "",
                               age, p);
    if (!err)
        err = metrics_add_histogram(c->base.metrics, "weir_copy_pause_seconds",
                                    "For how long all streams were held for a copy.",
                                    "", &p->pause);
    return err;
}

void copies_open(struct carrier *c, const struct carry_copying *with)
{
    struct copies *p = &c->copies;
    p->with = with;
    p->snapshot.wal = -1;
    p->all = true;
    if (!with)
        return;
    c->base.stays = true;
    p->seq = with->claim.seq;
    if (count(c))
        logger_warn("carry", "copies are not in /metrics: out of memory");
}

void copies_close(struct carrier *c)
{
    struct copies *p = &c->copies;
    copies_let_go(c);
    free(p->owed);
    free(p->page);
}
