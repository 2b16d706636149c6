/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/lookup.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/logger.h"
#include "base/sha256.h"
#include "expr/filter.h"
#include "log/entry.h"
#include "lookup/asker.h"
#include "pipeline/ask.h"
#include "pipeline/checkpoint.h"
#include "pipeline/lookup_stored.h"
#include "pipeline/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_US                                                                        \
    10000 /* before other tasks have theirs; the entry at hand is handed on first */

/* An entry, and what is asked of each service for it. */
struct waiting {
    struct log_entry *entry;
    struct lookup *lookup;
    _Atomic uint32_t open; /* services that have not answered all; release, acquire */
    bool asked;            /* something is not stored yet */
    uint64_t rows_size;    /* memory of the rows, */
    uint64_t size; /* of keys and answers; the lookups' until all have answered */
    struct asked {
        struct key_ids *keys;
        uint8_t *wanted; /* NULL: all */
        struct answer **answer;
        struct lookup_ask ask;
    } of[];
};

struct lookup {
    struct pipeline *pipeline;
    struct task task;
    struct mailbox mailbox;
    struct waiter room; /* of the sink */
    size_t n;
    struct service **service;
    struct asker **asker;   /* of each; NULL: it is a look-up */
    struct filter **filter; /* of each; NULL: it is asked about all rows */
    uint64_t digest;        /* of what answers mean */
    /* The task's. */
    struct waiting **waiting; /* [first, first + n_waiting), modulo its room */
    size_t first, n_waiting, waiting_room;
    uint64_t rows;                  /* of those */
    struct lookup_held held;        /* by those */
    uint64_t number;                /* of the last that was asked for */
    struct log_entry *handing;      /* not all workers have it */
    uint64_t position;              /* of the last entry handed on */
    bool ends;                      /* the end waits */
    struct stored_answers **stored; /* by position: [first_stored, n_stored) are left */
    size_t first_stored, n_stored, stored_room;
    const struct answer **at_row; /* scratch: for each row of a batch */
    _Atomic bool draining;        /* relaxed: all that has come is taken */
    _Atomic uint64_t n_waits;     /* rows; shown; relaxed */
    pthread_mutex_t lock;         /* protects the next ones */
    pthread_cond_t rests;
    bool settled; /* there is nothing that it could do */
};

/* ---- What was stored ----------------------------------------------------------------------------- */

/* What a plugin asks, and what it makes of it, may depend on all of its parameters. */
static void define_plugin(const struct step *s, struct buffer *to)
{
    const struct weir_analyzer *a = &s->binding->plugin->analyzer;
    buffer_printf(to, "async %s %s", s->ask->name, a->name);
    for (const struct weir_param *p = a->params; p && p->name; p++)
        checkpoint_put_param(to, p, s->binding->config);
}

void lookup_define(const struct pipeline *p, struct buffer *to)
{
    const struct schema *s = p->schema;
    for (size_t i = 0; i < ask_services(p); i++) {
        const struct config_lookup *l = ask_service(p, i);
        if (ask_step(p, i))
            define_plugin(ask_step(p, i), to);
        else
            buffer_printf(to, "http_lookup %s", l->name);
        buffer_puts(to, " on");
        for (size_t k = 0; k < l->n_on; k++)
            buffer_printf(to, " %s:%s", s->column[l->on[k]].name,
                          schema_type_name(s->column[l->on[k]].type));
        if (l->where) {
            buffer_puts(to, " where ");
            buffer_put_json_string(to, l->where, strlen(l->where));
        }
        buffer_puts(to, " columns");
        for (size_t k = 1; k < l->answer->n; k++) {
            const struct decode_field *f = l->field ? &l->field[k] : NULL;
            const char *path = !f ? NULL : f->path ? f->path : f->name;
            buffer_printf(to, " %s:%s", l->answer->column[k].name,
                          schema_type_name(l->answer->column[k].type));
            if (path)
                buffer_put_json_string(to, path, strlen(path));
        }
        buffer_putc(to, '\n');
    }
}

static int make_digest(struct lookup *l)
{
    uint8_t digest[SHA256_SIZE];
    struct buffer b = {0};
    lookup_define(l->pipeline, &b);
    int err = b.error;
    if (!err)
        sha256(b.data, b.size, digest);
    buffer_free(&b);
    if (!err)
        memcpy(&l->digest, digest, sizeof(l->digest));
    return err;
}

int lookup_load(struct lookup *l, uint64_t first, uint64_t last, const char *data,
                size_t size)
{
    const struct schema *answer[ASK_SERVICES_MAX];
    struct stored_answers *s;
    for (size_t i = 0; i < l->n; i++)
        answer[i] = ask_service(l->pipeline, i)->answer;
    int err = stored_answers_load(data, size, l->digest, answer, l->n, &s);
    if (err < 0)
        return err == -ESTALE ? 0 : err;
    s->first = first;
    s->last = last;
    if (l->n_stored == l->stored_room) {
        size_t room = l->stored_room ? 2 * l->stored_room : 64;
        struct stored_answers **grown =
            realloc(l->stored, room * sizeof(struct stored_answers *));
        if (!grown) {
            stored_answers_free(s);
            return -ENOMEM;
        }
        l->stored = grown;
        l->stored_room = room;
    }
    l->stored[l->n_stored++] = s;
    return 0;
}

/* The answers to the entry at this position; NULL: there are none. Of several the oldest: it was there first. */
static const struct stored_answers *find_stored(const struct lookup *l,
                                                uint64_t position)
{
    size_t low = l->first_stored, high = l->n_stored;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (l->stored[middle]->last < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < l->n_stored && l->stored[low]->first <= position ? l->stored[low]
                                                                  : NULL;
}

static void forget_stored(struct lookup *l)
{
    while (l->first_stored < l->n_stored &&
           l->stored[l->first_stored]->last <= l->position)
        stored_answers_free(l->stored[l->first_stored++]);
}

static struct answer *stored_of_row(const struct lookup *l, size_t service,
                                    const struct waiting *w, uint32_t row)
{
    const struct key_ids *k = w->of[service].keys;
    uint32_t id = k->id[row], index;
    const struct stored_answers *s =
        find_stored(l, log_entry_row(w->entry, row, &index));
    return s ? stored_answers_find(s, service, k->bytes + k->offset[id],
                                   k->offset[id + 1] - k->offset[id], k->hash[id])
             : NULL;
}

/* ---- Asking -------------------------------------------------------------------------------------- */

static void waiting_free(struct waiting *w)
{
    for (size_t i = 0; w && i < w->lookup->n; i++) {
        struct asked *a = &w->of[i];
        for (uint32_t id = 0; a->answer && id < a->keys->n; id++)
            answer_unref(a->answer[id]);
        keys_free(a->keys);
        free(a->wanted);
        free(a->answer);
        free(a->ask.key);
    }
    if (w)
        log_entry_unref(w->entry);
    free(w);
}

/* All have answered. */
static void waiting_done(struct lookup *l, struct waiting *w)
{
    uint64_t size = w->rows_size + w->size;
    waiting_free(w);
    if (atomic_fetch_sub(&l->held.bytes, size) >= LOOKUP_BYTES_MAX)
        lookups_wake(l->service[0]); /* one thread serves all */
}

/* On the thread of the lookups. */
static void done(void *waiting)
{
    struct waiting *w = waiting;
    struct lookup *l = w->lookup;
    if (atomic_fetch_sub_explicit(&w->open, 1, memory_order_acq_rel) == 1)
        task_wake(&l->task); /* w may be gone */
}

/* Rows that are not to be asked about have no key. */
static int leave_out(const struct lookup *l, struct waiting *w, size_t service)
{
    const struct batch *b = w->entry->batch;
    uint32_t *id = w->of[service].keys->id, row[BATCH_BLOCK], keep[BATCH_BLOCK];
    uint64_t errors = 0;
    for (uint32_t first = 0, n; first < b->n_rows; first += n) {
        n = b->n_rows - first < BATCH_BLOCK ? b->n_rows - first : BATCH_BLOCK;
        for (uint32_t i = 0; i < n; i++)
            row[i] = first + i;
        int kept = filter_rows(l->filter[service], b, row, n, keep, &errors);
        if (kept < 0)
            return kept;
        for (uint32_t i = 0, k = 0; i < n; i++) {
            if (k < (uint32_t)kept && keep[k] == i)
                k++;
            else
                id[first + i] = KEY_NULL;
        }
    }
    metric_add(&service_count(l->service[service])->where_errors, errors);
    return 0;
}

/* Which keys are asked for, as rows have no answer yet. */
static int choose_wanted(const struct lookup *l, struct waiting *w, size_t service,
                         bool *ret_any)
{
    struct asked *a = &w->of[service];
    *ret_any = a->keys->n > 0;
    if (l->first_stored == l->n_stored && !l->filter[service])
        return 0;
    if (!(a->wanted = calloc(a->keys->n + 1, 1)))
        return -ENOMEM;
    *ret_any = false;
    for (uint32_t row = 0; row < w->entry->batch->n_rows; row++) {
        uint32_t id = a->keys->id[row];
        if (id >= KEY_TOO_LONG || a->wanted[id] || stored_of_row(l, service, w, row))
            continue;
        a->wanted[id] = 1;
        *ret_any = true;
    }
    return 0;
}

static int prepare(const struct lookup *l, struct waiting *w, size_t service,
                   bool *ret_any)
{
    const struct config_lookup *c = ask_service(l->pipeline, service);
    struct asked *a = &w->of[service];
    int r = keys_new(w->entry->batch, c->on, c->n_on, &a->keys);
    if (r < 0)
        return r;
    if (l->filter[service] && (r = leave_out(l, w, service)) < 0)
        return r;
    w->size += a->keys->bytes_size + a->keys->n * sizeof(struct ask_key);
    a->answer = calloc((size_t)a->keys->n + 1, sizeof(*a->answer));
    a->ask.key = calloc((size_t)a->keys->n + 1, sizeof(*a->ask.key));
    r = a->answer && a->ask.key ? choose_wanted(l, w, service, ret_any) : -ENOMEM;
    a->ask.keys = a->keys;
    a->ask.wanted = a->wanted;
    a->ask.answer = a->answer;
    a->ask.done = done;
    a->ask.ctx = w;
    a->ask.held = &w->lookup->held;
    a->ask.number = w->lookup->number;
    a->ask.size = &w->size;
    return r;
}

/* Takes the entry, unless it fails. */
static int ask(struct lookup *l, struct log_entry *e, struct waiting **ret)
{
    struct waiting *w = calloc(1, sizeof(*w) + l->n * sizeof(w->of[0]));
    bool any[ASK_SERVICES_MAX] = {false};
    int r = 0;
    if (!w)
        return -ENOMEM;
    w->lookup = l;
    w->entry = e;
    w->rows_size = e->kind == LOG_BATCH ? batch_memory(e->batch) : 0;
    l->number++;
    for (size_t i = 0; r == 0 && e->kind == LOG_BATCH && i < l->n; i++) {
        r = prepare(l, w, i, &any[i]);
        w->asked = w->asked || any[i];
    }
    if (r < 0) {
        w->entry = NULL;
        waiting_free(w);
        return r;
    }
    atomic_fetch_add(&l->held.bytes, w->rows_size + w->size);
    atomic_init(&w->open, 1);
    for (size_t i = 0; i < l->n; i++) {
        if (!any[i])
            continue;
        atomic_fetch_add_explicit(&w->open, 1, memory_order_relaxed);
        lookups_ask(l->service[i], &w->of[i].ask);
    }
    atomic_fetch_sub_explicit(&w->open, 1, memory_order_acq_rel);
    *ret = w;
    return 0;
}

static int waiting_put(struct lookup *l, struct log_entry *e)
{
    struct waiting *w;
    if (l->n_waiting == l->waiting_room) {
        size_t room = l->waiting_room ? 2 * l->waiting_room : 16;
        struct waiting **grown = malloc(room * sizeof(struct waiting *));
        if (!grown)
            return -ENOMEM;
        for (size_t i = 0; i < l->n_waiting; i++)
            grown[i] = l->waiting[(l->first + i) & (l->waiting_room - 1)];
        free(l->waiting);
        l->waiting = grown;
        l->waiting_room = room;
        l->first = 0;
    }
    int r = ask(l, e, &w);
    if (r < 0)
        return r;
    l->waiting[(l->first + l->n_waiting++) & (l->waiting_room - 1)] = w;
    l->rows += e->kind == LOG_BATCH ? e->batch->n_rows : 0;
    l->ends = l->ends || e->kind == LOG_END;
    return 0;
}

static struct waiting *waiting_take(struct lookup *l)
{
    struct waiting *w = l->waiting[l->first];
    l->first = (l->first + 1) & (l->waiting_room - 1);
    l->n_waiting--;
    atomic_store(&l->held.first, l->number - l->n_waiting + 1);
    l->rows -= w->entry->kind == LOG_BATCH ? w->entry->batch->n_rows : 0;
    return w;
}

static bool is_answered(const struct lookup *l)
{
    return l->n_waiting &&
           !atomic_load_explicit(&l->waiting[l->first]->open, memory_order_acquire);
}

/* ---- Handing on ---------------------------------------------------------------------------------- */

/* In front of what follows from them. */
static int store_answers(struct lookup *l, const struct waiting *w)
{
    const struct pipeline_sink *sink = &l->pipeline->sink;
    const struct log_entry *e = w->entry;
    struct buffer b = {0};
    size_t total = 0;
    if (!w->asked || !sink->answers)
        return 0;
    stored_answers_head(&b, (uint32_t)l->n, l->digest);
    for (size_t i = 0; i < l->n; i++) {
        const struct asked *a = &w->of[i];
        uint32_t n = 0;
        for (uint32_t id = 0; id < a->keys->n; id++)
            n += a->answer[id] != NULL;
        stored_answers_service(&b, n);
        for (uint32_t id = 0; id < a->keys->n; id++)
            if (a->answer[id])
                stored_answers_put(&b, a->keys->bytes + a->keys->offset[id],
                                   a->keys->offset[id + 1] - a->keys->offset[id],
                                   a->answer[id]);
        total += n;
    }
    struct pipeline_answers *r = b.error ? NULL : calloc(1, sizeof(*r));
    if (!r) {
        buffer_free(&b);
        return -ENOMEM;
    }
    *r = (struct pipeline_answers){.first =
                                       e->n_parts ? e->part[0].position : e->position,
                                   .last = e->position,
                                   .n = total,
                                   .data = b.data,
                                   .size = b.size};
    return sink->answers(sink->ctx, l->pipeline->config->name, r);
}

/* The answer of each row, into at_row. */
static void spread(struct lookup *l, const struct waiting *w, size_t service)
{
    const struct asked *a = &w->of[service];
    const bool stored = l->first_stored < l->n_stored;
    for (uint32_t row = 0; row < w->entry->batch->n_rows; row++) {
        uint32_t id = a->keys->id[row];
        const struct answer *answer = NULL;
        if (id < KEY_TOO_LONG && stored)
            answer = stored_of_row(l, service, w, row);
        if (id < KEY_TOO_LONG && !answer)
            answer = a->answer[id];
        l->at_row[row] = answer;
    }
}

static int stop_for(struct lookup *l, size_t service, const char *why)
{
    struct error error;
    char text[256];
    service_error(l->service[service], text, sizeof(text));
    error_set(&error, -EIO, "%s '%s': %s%s",
              l->asker[service] ? "analyzer" : "http_lookup",
              ask_service(l->pipeline, service)->name, text, why);
    pipeline_fail(l->pipeline, &error);
    return -EIO;
}

/* What becomes of rows that nobody has answered for. -EIO: the pipeline stops. */
static int heed_errors(struct lookup *l, size_t service, uint32_t rows, uint8_t **gone)
{
    const struct config_lookup *c = ask_service(l->pipeline, service);
    struct service_counters *count = service_count(l->service[service]);
    uint64_t n = 0;
    for (uint32_t row = 0; row < rows; row++) {
        if (!l->at_row[row] || l->at_row[row]->bytes.outcome != ANSWER_FAILED)
            continue;
        n++;
        if (c->on_error != CONFIG_DROP_ON_ERROR)
            continue;
        if (!*gone && !(*gone = calloc((rows + 7) / 8, 1)))
            return -ENOMEM;
        (*gone)[row >> 3] |= (uint8_t)(1u << (row & 7));
    }
    if (n && l->asker[service] && service_is_over(l->service[service]))
        return stop_for(l, service, "");
    if (n && c->on_error == CONFIG_STOP_ON_ERROR)
        return stop_for(l, service, "; 'on_error: stop'");
    metric_add(c->on_error == CONFIG_DROP_ON_ERROR ? &count->dropped_rows
                                                   : &count->null_rows,
               n);
    return 0;
}

/* The batch with the columns of all look-ups. */
static int widen(struct lookup *l, const struct waiting *w, struct batch **ret,
                 uint8_t **gone)
{
    const struct config_lookups *c = &l->pipeline->config->lookups;
    struct batch *b;
    uint64_t cut = 0;
    int r = 0;
    if (!c->n)
        b = batch_ref(w->entry->batch);
    else if ((r = batch_extend(w->entry->batch, c->schema, &b)) < 0)
        return r;
    for (size_t i = 0; r == 0 && i < c->n; i++) {
        const struct config_lookup *lookup = &c->lookup[i];
        spread(l, w, i);
        r = heed_errors(l, i, b->n_rows, gone);
        for (size_t k = 0; r == 0 && k + 1 < lookup->answer->n; k++)
            r = answer_gather(l->at_row, k, lookup->answer, b, lookup->first + k, &cut);
    }
    metric_add(&l->pipeline->join_cut, cut);
    if (r < 0) {
        batch_unref(b);
        return r;
    }
    *ret = b;
    return 0;
}

/* Likewise for analyzers: before anything of the entry is stored. */
static int heed_asking(struct lookup *l, const struct waiting *w)
{
    int r = 0;
    for (size_t i = l->pipeline->config->lookups.n; r == 0 && i < l->n; i++) {
        spread(l, w, i);
        r = heed_errors(l, i, w->entry->batch->n_rows, NULL);
    }
    return r;
}

/* What analyzers have asked for is behind all other columns. */
static int add_answers(struct lookup *l, const struct waiting *w)
{
    struct log_entry *e = l->handing;
    struct batch *b;
    uint64_t cut = 0;
    if (!l->pipeline->wide)
        return 0;
    int r = batch_extend(e->batch, l->pipeline->wide, &b);
    if (r < 0)
        return r;
    for (size_t i = l->pipeline->config->lookups.n; r == 0 && i < l->n; i++) {
        const struct config_lookup *c = ask_service(l->pipeline, i);
        spread(l, w, i);
        for (size_t k = 0; r == 0 && k + 1 < c->answer->n; k++)
            r = answer_gather(l->at_row, k, c->answer, b, c->first + k, &cut);
    }
    metric_add(&l->pipeline->join_cut, cut);
    batch_unref(e->batch);
    e->batch = b;
    return r;
}

static int hand_on_batch(struct lookup *l, const struct waiting *w)
{
    struct pipeline *p = l->pipeline;
    struct log_entry *wide;
    uint8_t *gone = NULL;
    int r = derived_copy(w->entry, &wide);
    if (r < 0)
        return r;
    r = widen(l, w, &wide->batch, &gone);
    if (r == 0)
        r = heed_asking(l, w);
    if (r == 0)
        r = store_answers(l, w);
    if (r == 0 && p->derive) {
        r = derived_entry(p, wide, &l->handing);
    } else if (r == 0 && (r = derived_keys(p, wide)) == 0) {
        l->handing = wide;
        wide = NULL;
    }
    log_entry_unref(wide);
    if (r < 0) {
        free(gone);
        return r;
    }
    l->handing->gone = gone;
    return add_answers(l, w);
}

static void stop(struct lookup *l, int r)
{
    struct error error;
    error_set(&error, r, "what others know cannot be looked up: %s", strerror(-r));
    pipeline_fail(l->pipeline, &error); /* the first text stays */
}

static void hand_on(struct lookup *l)
{
    struct waiting *w = waiting_take(l);
    struct log_entry *e = w->entry;
    int r = 0;
    if (e->position > l->position)
        l->position = e->position;
    if (e->kind == LOG_BATCH) {
        r = hand_on_batch(l, w);
    } else {
        l->handing = e;
        w->entry = NULL;
    }
    waiting_done(l, w);
    forget_stored(l);
    if (r < 0)
        stop(l, r);
}

/* It is of what has been handed on: entries that wait are read again. */
static int hand_on_checkpoint(struct lookup *l, const struct log_entry *e)
{
    struct log_entry *mark;
    int r = entry_new(LOG_CHECKPOINT, &mark);
    if (r < 0)
        return r;
    mark->number = e->number;
    mark->position = l->position;
    l->handing = mark;
    return 0;
}

/* ---- The task ------------------------------------------------------------------------------------ */

static bool is_draining(const struct lookup *l)
{
    return atomic_load_explicit(&l->draining, memory_order_relaxed);
}

static bool take(struct lookup *l)
{
    bool space = l->rows < LOOKUP_ROWS_MAX && l->n_waiting < LOOKUP_ENTRIES_MAX &&
                 atomic_load(&l->held.bytes) < LOOKUP_BYTES_MAX,
         room;
    struct log_entry *e =
        space || is_draining(l) ? mailbox_take(&l->mailbox, &room) : NULL;
    int r = 0;
    if (!e)
        return false;
    if (room)
        log_room(l->pipeline->log);
    if (e->kind == LOG_CHECKPOINT && !l->ends) {
        r = hand_on_checkpoint(l, e);
        log_entry_unref(e);
    } else if ((r = waiting_put(l, e)) < 0) {
        log_entry_unref(e);
    }
    mailbox_done(&l->mailbox);
    if (r < 0)
        stop(l, r);
    return true;
}

static void count_skipped(struct lookup *l, const struct log_entry *e)
{
    metric_add(&l->pipeline->skipped, e->kind == LOG_BATCH ? e->batch->n_rows : 0);
}

/* What waits for answers stays until they come, or the services are gone. */
static bool drop_all(struct lookup *l)
{
    bool room, any = false;
    struct log_entry *e = l->handing;
    if (e && !l->pipeline->given)
        count_skipped(l, e);
    l->handing = NULL;
    log_entry_unref(e);
    while (is_answered(l)) {
        struct waiting *w = waiting_take(l);
        count_skipped(l, w->entry);
        waiting_done(l, w);
        any = true;
    }
    while ((e = mailbox_take(&l->mailbox, &room))) {
        if (room)
            log_room(l->pipeline->log);
        count_skipped(l, e);
        log_entry_unref(e);
        mailbox_done(&l->mailbox);
        any = true;
    }
    return any;
}

/* Is there room for its answers, or has it none? */
static bool may_store(struct lookup *l)
{
    const struct pipeline_sink *sink = &l->pipeline->sink;
    return !l->waiting[l->first]->asked || !sink->answers || !sink->ready ||
           sink->ready(sink->ctx, &l->room);
}

/* One thing that can be done. False: there is none. */
static bool step(struct lookup *l)
{
    struct pipeline *p = l->pipeline;
    if (pipeline_failed(p) || atomic_load_explicit(&p->leaving, memory_order_relaxed))
        return drop_all(l);
    if (l->handing) {
        if (!pipeline_give(p, l->handing, false))
            return false;
        l->handing = NULL;
        return true;
    }
    if (is_answered(l) && may_store(l)) {
        hand_on(l);
        return true;
    }
    return take(l);
}

static bool is_settled(struct lookup *l)
{
    const struct pipeline *p = l->pipeline;
    bool gives_up = pipeline_failed(l->pipeline) ||
                    atomic_load_explicit(&p->leaving, memory_order_relaxed);
    return (gives_up || !l->handing) && !mailbox_length(&l->mailbox) &&
           (gives_up || !l->n_waiting || (!l->ends && !is_answered(l)));
}

static int64_t lookup_run(void *lookup)
{
    struct lookup *l = lookup;
    int64_t begun_ns = clock_thread_cpu_ns(), again_us = TASK_SLEEPS;
    int64_t until_us = clock_monotonic_us() + TURN_US;
    while (again_us == TASK_SLEEPS && step(l))
        if (clock_monotonic_us() >= until_us)
            again_us = TASK_AGAIN;
    atomic_store_explicit(&l->n_waits, l->rows, memory_order_relaxed);
    metric_add(&l->pipeline->cpu_ns, (uint64_t)(clock_thread_cpu_ns() - begun_ns));
    pthread_mutex_lock(&l->lock);
    l->settled = again_us == TASK_SLEEPS && is_settled(l);
    if (l->settled)
        pthread_cond_broadcast(&l->rests);
    pthread_mutex_unlock(&l->lock);
    return again_us;
}

bool lookup_put(struct lookup *l, struct log_entry *e, bool command)
{
    bool taken = mailbox_put(&l->mailbox, e, command);
    task_wake(&l->task);
    return taken;
}

void lookup_wake(struct lookup *l)
{
    task_wake(&l->task);
}

static void wake(void *lookup)
{
    lookup_wake(lookup);
}

bool lookup_drain(struct lookup *l, int64_t deadline_us)
{
    int r = 0;
    if (!l->task.run)
        return true;
    atomic_store_explicit(&l->draining, true, memory_order_relaxed);
    pthread_mutex_lock(&l->lock);
    l->settled = false;
    task_wake(&l->task);
    while (!l->settled && r != ETIMEDOUT)
        r = clock_cond_wait(&l->rests, &l->lock, deadline_us);
    bool settled = l->settled;
    pthread_mutex_unlock(&l->lock);
    return settled;
}

/* ---- Metrics ------------------------------------------------------------------------------------- */

static int count_service(const struct lookup *l, size_t i, struct metrics *m)
{
    static const char lookups[] = "Look-ups at other services, by outcome.";
    static const char rows[] =
        "Events whose look-up has failed, by what became of them.";
    struct service_counters *c = service_count(l->service[i]);
    const struct {
        enum metric_kind kind;
        const char *name, *help, *label;
        const _Atomic uint64_t *value;
    } all[] = {
        {METRIC_COUNTER, "weir_lookups_total", lookups, ",outcome=\"found\"",
         &c->found},
        {METRIC_COUNTER, "weir_lookups_total", lookups, ",outcome=\"missing\"",
         &c->missing},
        {METRIC_COUNTER, "weir_lookups_total", lookups, ",outcome=\"failed\"",
         &c->failed},
        {METRIC_COUNTER, "weir_lookups_total", lookups, ",outcome=\"kept\"", &c->kept},
        {METRIC_COUNTER, "weir_lookup_failed_requests_total",
         "Requests that failed and are repeated.", "", &c->retries},
        {METRIC_COUNTER, "weir_lookup_failed_events_total", rows, ",outcome=\"null\"",
         &c->null_rows},
        {METRIC_COUNTER, "weir_lookup_failed_events_total", rows, ",outcome=\"drop\"",
         &c->dropped_rows},
        {METRIC_COUNTER, "weir_lookup_failed_events_total", rows,
         ",outcome=\"where_error\"", &c->where_errors},
        {METRIC_GAUGE, "weir_lookup_requests", "Requests under way.", "", &c->flying},
        {METRIC_GAUGE, "weir_lookup_kept_bytes", "Answers that are kept.", "",
         &c->bytes},
        {METRIC_GAUGE, "weir_lookup_broken",
         "1: so many have failed that most are not even tried.", "", &c->broken},
    };
    char labels[256];
    int r = 0;
    for (size_t k = 0; r == 0 && k < sizeof(all) / sizeof(all[0]); k++) {
        snprintf(labels, sizeof(labels), "pipeline=\"%s\",lookup=\"%s\"%s",
                 l->pipeline->config->name, ask_service(l->pipeline, i)->name,
                 all[k].label);
        r = metrics_add(m, all[k].kind, all[k].name, all[k].help, labels, all[k].value,
                        1);
    }
    return r;
}

static int count_services(const struct lookup *l)
{
    int r = 0;
    for (size_t i = 0; r == 0 && l->pipeline->metrics && i < l->n; i++)
        r = count_service(l, i, l->pipeline->metrics);
    return r;
}

/* ---- Beginning and end --------------------------------------------------------------------------- */

static int make_service(struct lookup *l, struct lookups *lookups, size_t i,
                        struct error *error)
{
    const char *pipeline = l->pipeline->config->name;
    const struct config_lookup *c = ask_service(l->pipeline, i);
    struct step *s = ask_step(l->pipeline, i);
    enum weir_type type[CONFIG_LOOKUP_ON_MAX];
    for (size_t k = 0; k < c->n_on; k++)
        type[k] = l->pipeline->schema->column[c->on[k]].type;
    int r =
        s ? asker_new(s->binding, pipeline, c->answer, &s->held, &l->asker[i], error)
          : 0;
    if (r < 0 || (r = ask_filter(l->pipeline, i, &l->filter[i], error)) < 0) {
        asker_free(l->asker[i]);
        return r;
    }
    r = service_new(lookups, pipeline, c, type, l->asker[i], &l->service[i]);
    if (r < 0) {
        asker_free(l->asker[i]);
        filter_free(l->filter[i]);
    }
    return r < 0 ? error_set(error, r, "no memory") : 0;
}

static int make_services(struct lookup *l, struct lookups *lookups, struct error *error)
{
    int r = 0;
    while (l->n < ask_services(l->pipeline) &&
           (r = make_service(l, lookups, l->n, error)) == 0)
        l->n++;
    return r;
}

int lookup_new(struct pipeline *p, struct lookups *lookups, struct lookup **ret,
               struct error *error)
{
    struct lookup *l = calloc(1, sizeof(*l));
    if (!l)
        return error_set(error, -ENOMEM, "no memory");
    l->pipeline = p;
    l->room = (struct waiter){.wake = wake, .ctx = l};
    pthread_mutex_init(&l->lock, NULL);
    clock_cond_init(&l->rests);
    mailbox_setup(&l->mailbox);
    l->service = calloc(ask_services(p), sizeof(struct service *));
    l->asker = calloc(ask_services(p), sizeof(struct asker *));
    l->filter = calloc(ask_services(p), sizeof(struct filter *));
    l->at_row = calloc(BATCH_ROWS_MAX, sizeof(const struct answer *));
    int r = l->service && l->asker && l->filter && l->at_row ? make_digest(l) : -ENOMEM;
    if (r < 0)
        error_set(error, r, "no memory");
    else
        r = make_services(l, lookups, error);
    if (r < 0) {
        lookup_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void lookup_end(struct lookup *l)
{
    task_end(&l->task);
}

void lookup_free(struct lookup *l)
{
    if (!l)
        return;
    task_end(&l->task);
    if (l->pipeline->sink.unwait)
        l->pipeline->sink.unwait(l->pipeline->sink.ctx, &l->room);
    for (size_t i = 0; i < l->n; i++) { /* nothing is answered any more */
        if (l->pipeline->metrics)
            metrics_remove(l->pipeline->metrics, service_count(l->service[i]),
                           sizeof(struct service_counters));
        service_free(l->service[i]);
        asker_free(l->asker[i]);
        filter_free(l->filter[i]);
    }
    log_entry_unref(l->handing);
    while (l->n_waiting)
        waiting_free(waiting_take(l));
    while (l->first_stored < l->n_stored)
        stored_answers_free(l->stored[l->first_stored++]);
    mailbox_clear(&l->mailbox);
    pthread_cond_destroy(&l->rests);
    pthread_mutex_destroy(&l->lock);
    free(l->stored);
    free(l->waiting);
    free(l->at_row);
    free(l->service);
    free(l->asker);
    free(l->filter);
    free(l);
}

int lookup_start(struct lookup *l, struct tasks *tasks, uint64_t position)
{
    l->position = position;
    atomic_store(&l->held.first, 1);
    forget_stored(l);
    int r = count_services(l);
    return r < 0 ? r : task_begin(&l->task, tasks, lookup_run, l);
}

uint64_t lookup_waiting(struct lookup *l)
{
    return atomic_load_explicit(&l->n_waits, memory_order_relaxed);
}

unsigned lookup_queued(struct lookup *l)
{
    return mailbox_length(&l->mailbox);
}

size_t lookup_services(const struct lookup *l)
{
    return l->n;
}

struct service *lookup_service(const struct lookup *l, size_t i)
{
    return l->service[i];
}
