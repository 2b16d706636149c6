/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of a table to items: each row as it is now, as text, with its lane; of an alert what it means to it.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/logger.h"
#include "hook/internal.h"
#include "query/rowout.h"
#include "store/changes.h"
#include "store/db.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEED_ROWS 500 /* at once: other hooks have their turn */

static const char *const kind_of_notice[] = {
    [ALERT_FIRING] = "firing",
    [ALERT_REPEATED] = "repeat",
    [ALERT_RESOLVED] = "resolved",
};

/* ---- Items -------------------------------------------------------------------------------------- */

/* One allocation. NULL: no memory. */
static struct item *item_new(int64_t seq, const char *key, size_t key_size,
                             const char *text, size_t size)
{
    struct item *i = calloc(1, sizeof(*i) + key_size + size + 2);
    if (!i)
        return NULL;
    char *at = (char *)(i + 1);
    memcpy(at, key, key_size);
    i->key = at;
    at += key_size + 1;
    if (size)
        memcpy(at, text, size);
    i->text = at;
    i->size = size;
    i->seq = seq;
    return i;
}

static unsigned lane_of(const struct hook *k, const char *key, size_t size)
{
    return (unsigned)(hash_bytes(key, size) % k->spec->config->in_flight);
}

/* [value, ...] of the key; of a table without one []. */
static void put_key(const struct hook_spec *s, sqlite3_stmt *row, struct buffer *to)
{
    buffer_putc(to, '[');
    for (size_t i = 0; i < s->n_keys; i++) {
        if (i)
            buffer_putc(to, ',');
        rowout_put_value(to, row, (int)s->key[i], s->columns->column[s->key[i]].type);
    }
    buffer_putc(to, ']');
}

static void put_row(const struct hook_spec *s, sqlite3_stmt *row, struct buffer *to)
{
    buffer_putc(to, '{');
    for (size_t i = 0; i < s->columns->n; i++) {
        const struct schema_column *c = &s->columns->column[i];
        if (i)
            buffer_putc(to, ',');
        buffer_put_json_string(to, c->name, strlen(c->name));
        buffer_putc(to, ':');
        rowout_put_value(to, row, (int)i, c->type);
    }
    buffer_putc(to, '}');
}

/* {"id":...,"kind":...,"since":...,"row":{...}}, or what the template says. */
static void put_text(const struct hook *k, sqlite3_stmt *row, int64_t seq,
                     const struct alert_step *step, struct buffer *to)
{
    const struct hook_spec *s = k->spec;
    bool revised = s->revision >= 0 && sqlite3_column_int64(row, s->revision) > 0;
    const char *kind = k->alerts ? kind_of_notice[step->notice]
                       : revised ? "revised"
                                 : "row";
    char id[48], since[CLOCK_TEXT_MAX] = "";
    snprintf(id, sizeof(id), "%" PRId64 "-%" PRId64, k->since_us, seq);
    if (k->alerts)
        clock_format(step->state.since_us, since);
    if (s->body) {
        const char *const word[TEMPLATE_WORDS] = {[TEMPLATE_ID] = id,
                                                  [TEMPLATE_KIND] = kind,
                                                  [TEMPLATE_SINCE] = since,
                                                  [TEMPLATE_PIPELINE] = k->id.pipeline,
                                                  [TEMPLATE_TABLE] = k->id.table,
                                                  [TEMPLATE_HOOK] = k->id.hook};
        template_put(s->body, word, row, to);
        return;
    }
    buffer_printf(to, "{\"id\":\"%s\",\"kind\":\"%s\",", id, kind);
    if (k->alerts)
        buffer_printf(to, "\"since\":\"%s\",", since);
    buffer_puts(to, "\"row\":");
    put_row(s, row, to);
    buffer_putc(to, '}');
}

/* ---- A row --------------------------------------------------------------------------------------- */

/* An alert learns of all rows, rows that `when` does not want are passed over. Returns 1 where there is nothing to do
 * about it. */
static int look_at(struct hook *k, sqlite3_stmt *row, const char *key,
                   struct alert_step *ret)
{
    bool holds = true;
    int err = k->spec->when ? single_holds(k->spec->when, row, &holds) : 0;
    if (err == -EDOM) { /* neither true nor false */
        metric_add(&k->count.errors, 1);
        return 1;
    }
    if (err || !k->alerts)
        return err ? err : !holds;
    err = alerts_step(k->alerts, key, sqlite3_column_int64(row, (int)k->spec->time),
                      holds, ret);
    if (ret->over)
        metric_add(&k->count.over_keys, 1);
    return err ? err : !(ret->changed || ret->gone);
}

static int take_row(struct hook *k, sqlite3_stmt *row, int64_t seq, struct buffer *key,
                    struct buffer *text)
{
    struct alert_step step = {.notice = ALERT_NONE};
    buffer_clear(key);
    buffer_clear(text);
    put_key(k->spec, row, key);
    const char *key_text = buffer_text(key);
    int err = key->error ? key->error : look_at(k, row, key_text, &step);
    if (err)
        return err < 0 ? err : 0;
    bool notice = !k->alerts || step.notice != ALERT_NONE;
    if (notice)
        put_text(k, row, seq, &step, text);
    struct item *i =
        text->error ? NULL : item_new(seq, key_text, key->size, text->data, text->size);
    if (!i)
        return -ENOMEM;
    i->notice = notice;
    i->step = step;
    i->stage = ITEM_FRESH;
    i->lane = lane_of(k, key_text, key->size);
    hook_append(k, i);
    if (!k->alerts)
        hook_ready(k, i);
    return 0;
}

/* ---- Reading -------------------------------------------------------------------------------------- */

static char *make_sql(const struct hook_spec *s)
{
    sqlite3_str *sql = sqlite3_str_new(NULL);
    sqlite3_str_appendall(sql, "SELECT ");
    for (size_t i = 0; i < s->columns->n; i++)
        sqlite3_str_appendf(sql, "t.\"%w\", ", s->columns->column[i].name);
    sqlite3_str_appendall(sql, "c.seq FROM ");
    changes_append_join(sql, s->table, true);
    sqlite3_str_appendall(sql, " WHERE c.seq > ?1 ORDER BY c.seq LIMIT ?2");
    return sqlite3_str_finish(sql);
}

static void skip(struct hook *k, int64_t to, const char *why)
{
    uint64_t n = (uint64_t)(to - k->read);
    metric_add(&k->count.skipped, n);
    logger_warn("hook",
                "webhook '%s' of pipeline '%s': %" PRIu64 " rows are not sent: %s",
                k->id.hook, k->id.pipeline, n, why);
    k->read = to;
}

/* What is not there any more, and what would be too much. */
static void keep_up(struct hook *k, const struct changes *known)
{
    if (known->since_us != k->since_us) {
        logger_warn("hook",
                    "webhook '%s' of pipeline '%s': table '%s' was made anew, or not "
                    "followed meanwhile: rows of before that were not sent are lost",
                    k->id.hook, k->id.pipeline, k->id.table);
        k->since_us = known->since_us;
        k->read = known->first;
    }
    if (known->first > k->read)
        skip(k, known->first, "what changed since is not known any more");
    int64_t lag = (int64_t)k->spec->config->max_lag;
    if (known->last - k->read > lag)
        skip(k, known->last - lag, "it is behind by more than 'max_lag'");
    k->last = known->last;
}

static int read_rows(struct hook *k, sqlite3_stmt *s, struct error *error)
{
    struct buffer key = {0}, text = {0};
    int err = 0, code = SQLITE_DONE;
    size_t rows = 0;
    while (!err && k->n < HOOK_ITEMS_MAX && k->bytes < HOOK_BYTES_MAX &&
           (code = sqlite3_step(s)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(s, (int)k->spec->columns->n);
        rows++;
        if (sqlite3_column_type(s, 0) == SQLITE_NULL)
            metric_add(&k->count.deleted, 1); /* by retention, or as a revision */
        else
            err = take_row(k, s, seq, &key, &text);
        if (!err)
            k->read = seq;
    }
    buffer_free(&key);
    buffer_free(&text);
    if (err)
        return error_set(error, err, "out of memory");
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return db_error(k->hooks->db, error);
    k->look = code == SQLITE_ROW || rows == FEED_ROWS;
    return 0;
}

int feed_look(struct hook *k, struct error *error)
{
    struct changes known;
    int err = changes_look(k->hooks->db, k->id.table, &known, error);
    if (err)
        return err;
    k->news = false;
    if (known.since_us == k->since_us)
        keep_up(k, &known);
    return 0;
}

int feed_read(struct hook *k, struct error *error)
{
    struct changes known;
    DB_STATEMENT s = NULL;
    sqlite3 *db = k->hooks->db;
    int err = changes_look(db, k->id.table, &known, error);
    if (err)
        return err;
    k->news = false;
    k->look = known.since_us == k->since_us || !k->n; /* numbers of before end first */
    if (!k->look)
        return 0;
    keep_up(k, &known);
    char *sql = make_sql(k->spec);
    err = sql ? db_prepare(db, sql, 0, &s, error) : -ENOMEM;
    sqlite3_free(sql);
    if (err)
        return err == -ENOMEM ? error_set(error, err, "out of memory") : err;
    sqlite3_bind_int64(s, 1, k->read);
    sqlite3_bind_int64(s, 2, FEED_ROWS);
    return read_rows(k, s, error);
}

/* ---- Loading ------------------------------------------------------------------------------------ */

static int load_state(void *hook, const char *key, const struct hook_state *state)
{
    return alerts_put(((struct hook *)hook)->alerts, key, state);
}

static int load_notice(void *hook, int64_t seq, const char *key, const char *body)
{
    struct hook *k = hook;
    struct item *i = item_new(seq, key, strlen(key), body, strlen(body));
    if (!i)
        return -ENOMEM;
    i->notice = true;
    i->lane = lane_of(k, key, strlen(key));
    hook_append(k, i);
    hook_ready(k, i);
    return 0;
}

int feed_load(struct hook *k, struct error *error)
{
    const struct config_hook *c = k->spec->config;
    const struct alert_rule rule = {.for_us = c->for_us,
                                    .repeat_us = c->repeat_us,
                                    .resolved = c->resolved,
                                    .max_keys = c->max_keys};
    sqlite3 *db = k->hooks->db;
    for (size_t i = 0; i < c->in_flight; i++)
        lane_cancel(&k->lane[i]);
    for (struct item *i = k->first; i; i = i->next)
        i->stage = ITEM_OVER;
    hook_sweep(k);
    alerts_free(k->alerts);
    k->alerts = NULL;
    int err = hooks_place(db, &k->id, &k->since_us, &k->read, error);
    if (err == -ENOENT)
        return error_set(error, err, "it has no place in the database");
    if (!err && c->alert && alerts_new(&rule, &k->alerts))
        err = error_set(error, -ENOMEM, "out of memory");
    if (!err && c->alert)
        err = hooks_each_state(db, &k->id, load_state, k, error);
    if (!err && c->alert)
        err = hooks_each_notice(db, &k->id, load_notice, k, error);
    if (err)
        return err;
    k->saved = k->read;
    k->look = true;
    return 0;
}
